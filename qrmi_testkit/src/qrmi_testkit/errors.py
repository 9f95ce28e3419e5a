"""What goes wrong: every error is one of ours, says what happened to which thing, and travels between processes."""

from __future__ import annotations

import pickle
from functools import partial
from typing import Any

import pytest

from qrmi_core import (
    BackendFault,
    ConfigError,
    Hosted,
    Opening,
    Payload,
    PayloadError,
    QrmiError,
    ResourceError,
    TaskError,
    TaskFailed,
    open_resource,
)
from qrmi_core.declarations import declaration
from qrmi_testkit.calls import Blocked, caught, within
from qrmi_testkit.subject import Start, Subject, new_key

_ABOUT_THE_RESOURCE = ("target", "metadata", "sessions", "is_accessible")
_ABOUT_A_TASK = ("task_status", "task_stop", "task_result", "task_logs", "task_usage")


class Provoking(Subject):
    """Everything that can be provoked without the service's help."""

    @pytest.fixture
    def raised(
        self,
        *,
        request: pytest.FixtureRequest,
        resource: Hosted,
        opening: Opening,
        start: Start,
        slow_payload: Payload,
        bad_payload: Payload,
    ) -> list[Exception]:
        """The exceptions that misuse brings about, as they were raised."""

        def life_of(payload: Payload) -> list[Exception | None]:
            """The result before the stop, and after it."""
            task_id = start(payload)
            early = self._caught(resource.task_result, task_id)
            self._caught(resource.task_stop, task_id)
            self._caught(resource.task_wait, task_id, self.stop_s)
            return [early, self._caught(resource.task_result, task_id)]

        def failure_of(payload: Payload) -> Exception | None:
            task_id = start(payload)
            self._caught(resource.task_wait, task_id, self.patience_s)
            return self._caught(resource.task_result, task_id)

        prefix = declaration(resource.backend.settings).prefix
        misspelt = opening.with_variables({f"{prefix}_NO_SUCH_SETTING": "1"})
        found = [
            *(self._caught(getattr(resource, verb)) for verb in _ABOUT_THE_RESOURCE),
            *(self._caught(getattr(resource, verb), "no-such-task") for verb in _ABOUT_A_TASK),
            self._caught(resource.task_start, bad_payload, key=new_key()),
            self._caught(resource.task_start, Payload.from_bytes("no-such-kind", b"{}"), key=new_key()),
            self._caught(lambda: open_resource(misspelt).close()),
            *life_of(slow_payload),
        ]
        if self.has_failing_payload():
            found.append(failure_of(request.getfixturevalue("failing_payload")))
        return [exc for exc in found if exc is not None]

    def _caught(self, *call: Any, **kwargs: Any) -> Exception | None:
        """What the call raises. That it blocks is for other tests to say."""
        exc = caught(partial(within, self.patience_s), *call, **kwargs)
        return None if isinstance(exc, Blocked) else exc


class Errors(Provoking):
    """The errors that reach the caller."""

    def test_every_error_is_one_of_ours(self, raised: list[Exception]) -> None:
        """No exception of a library, and none that says nothing about its kind, comes through a verb."""
        vague = (QrmiError, BackendFault)  # the second is what the host makes of anything else
        assert [] == [exc for exc in raised if not isinstance(exc, QrmiError) or type(exc) in vague]

    def test_every_error_says_what_to_whom_and_what_now(self, raised: list[Exception], opening: Opening) -> None:
        """One line: the thing it is about, the cause, what to do, and the anchor of the error's documentation."""
        for exc in raised:
            if isinstance(exc, QrmiError):
                text = str(exc)
                assert 1 == len(text.splitlines()), text
                assert text.endswith(f"[{exc.anchor()}]"), text
                assert self._facts_of(exc, opening), text
                assert all(str(fact).strip() and str(fact) in text for fact in self._facts_of(exc, opening)), text

    def _facts_of(self, exc: QrmiError, opening: Opening) -> tuple[str, ...]:
        """What the message has to show."""
        match exc:
            case TaskFailed():
                return (opening.name, exc.task_id, exc.detail)
            case TaskError():
                return (opening.name, exc.task_id)
            case ResourceError():
                return (opening.name, exc.detail)
            case PayloadError():
                return (exc.source, exc.problem, exc.remedy)
            case ConfigError():
                return (exc.source, *(part for _, problem, remedy in exc.faults for part in (problem, remedy)))
        return exc.args

    def test_every_error_survives_pickling(self, raised: list[Exception]) -> None:
        """An error that crosses to another process keeps its class, its fields and its words."""
        for exc in raised:
            copy = pickle.loads(pickle.dumps(exc))  # noqa: S301 - what we have just written

            assert (type(exc), vars(exc), str(exc)) == (type(copy), vars(copy), str(copy))
