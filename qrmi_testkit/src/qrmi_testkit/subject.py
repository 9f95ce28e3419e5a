"""What the suite tests: the attributes and fixtures that a backend's test class gives, and those that follow."""

from __future__ import annotations

import inspect
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, ClassVar, Protocol

import pytest

from qrmi_core import Hosted, Opening, Payload, TaskState, open_resource
from qrmi_core.variables import STATE_DIR
from qrmi_testkit.calls import within


class Start(Protocol):
    """`task_start`, with a new key unless one is given; what is still running after the test is stopped."""

    def __call__(self, payload: Payload, key: str | None = None) -> str: ...


def new_key() -> str:
    """A key that no task has yet."""
    return str(uuid.uuid4())


class Subject:
    """The backend under test. One resource serves a whole class of tests, as one account serves a site."""

    type: ClassVar[str]
    """The type text of the backend, as its entry point spells it."""
    environment: ClassVar[Mapping[str, str]] = {}
    """The settings; secrets are canaries. If they are known only when a server runs, override `opening` instead."""
    patience_s: ClassVar[float] = 60.0
    """How long `payload` may take from start to end, and any call to the service."""
    prompt_s: ClassVar[float] = 5.0
    """How long a verb may take that promises not to wait."""
    stop_s: ClassVar[float] = 10.0
    """How long a stopped task may take to end."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """``failing_payload = None`` takes out the tests that ask for one: declared, seen in review, never skipped."""
        super().__init_subclass__(**kwargs)
        if not cls.has_failing_payload():
            for name, test in inspect.getmembers(cls, inspect.isfunction):
                if "failing_payload" in inspect.signature(test).parameters:
                    setattr(cls, name, None)

    @classmethod
    def has_failing_payload(cls) -> bool:
        """Whether there is a payload that is accepted and then fails."""
        return getattr(cls, "failing_payload", None) is not None

    @pytest.fixture(scope="class")
    @classmethod
    def opening(cls) -> Opening:
        """How to open the resource. Every call of `open_resource` with it reaches the same account."""
        return Opening(
            name=f"test-{cls.type}", type=cls.type, environment=cls.environment, source="the conformance suite"
        )

    @pytest.fixture
    def payload(self) -> Payload:
        """Completes quickly."""
        raise NotImplementedError("override the fixture `payload`: it returns a Payload that completes quickly")

    @pytest.fixture
    def slow_payload(self) -> Payload:
        """Runs for several minutes unless it is stopped."""
        raise NotImplementedError("override the fixture `slow_payload`: it returns a Payload that runs for minutes")

    @pytest.fixture
    def failing_payload(self) -> Payload:
        """Is accepted, and ends FAILED. A backend that has no such payload says ``failing_payload = None``."""
        raise NotImplementedError("override the fixture `failing_payload`, or declare `failing_payload = None`")

    @pytest.fixture
    def bad_payload(self, payload: Payload) -> Payload:
        """Is refused by `task_start`."""
        return Payload.from_bytes(payload.kind, b"\xff\x00 no payload", source="bad.json")

    @pytest.fixture
    def payloads(self, payload: Payload) -> list[Payload]:
        """Several that complete quickly. Let them differ if a result shows which payload it is of."""
        return [payload] * 8

    @pytest.fixture
    def large_payload(self, payload: Payload) -> Payload:
        """10 MB that mean the same as `payload`: JSON does not mind blanks at its end."""
        return Payload.from_bytes(payload.kind, payload.read() + b" " * 10_000_000, source="large.json")

    @pytest.fixture
    def unicode_payload(self, payload: Payload) -> Payload:
        """Holds text of all planes. Better override it: this one adds a key, and a strict backend refuses that."""
        document = {**payload.json(), "note": "|ψ⟩ naïve 量子 😀\u2028"}
        return Payload.from_json(payload.kind, document, source="|ψ⟩ 😀.json")

    @pytest.fixture
    def task_count(self) -> Callable[[], int] | None:
        """How many tasks the service has accepted so far, where the tests can look behind the backend; else None."""
        return None

    def check_result(self, payload: Payload, result: bytes) -> None:
        """Assert that *result* is that of *payload*. By default: that there is one."""
        assert result

    @pytest.fixture(scope="class")
    @classmethod
    def state_folder(cls) -> Iterator[str]:
        """Where the resources of this class keep their state; the path is short enough for a socket."""
        with tempfile.TemporaryDirectory(prefix="qrmi-") as folder, pytest.MonkeyPatch.context() as patch:
            patch.setenv(STATE_DIR, folder)
            yield folder

    @pytest.fixture(autouse=True)
    def _in_state_folder(self, state_folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever a conftest.py does for each test: these tests share the state of their resource."""
        monkeypatch.setenv(STATE_DIR, state_folder)

    @pytest.fixture(scope="class")
    @classmethod
    def resource(cls, state_folder: str, opening: Opening) -> Iterator[Hosted]:
        """The resource under test, opened as programs open it."""
        resource = open_resource(opening)
        yield resource
        within(cls.patience_s, resource.close)

    @pytest.fixture
    def start(self, resource: Hosted) -> Iterator[Start]:
        """Starts tasks, and stops them after the test."""
        started: list[str] = []

        def start(payload: Payload, key: str | None = None) -> str:
            started.append(within(self.patience_s, resource.task_start, payload, key=key or new_key()))
            return started[-1]

        yield start
        for task_id in started:
            with suppress(Exception):  # how stopping may end is for other tests to say
                within(self.patience_s, resource.task_stop, task_id)

    def end_of(self, resource: Hosted, task_id: str) -> TaskState:
        """The state in which the task ends."""
        state = within(2 * self.patience_s, resource.task_wait, task_id, self.patience_s)
        assert state.status.is_terminal, f"{state} after {self.patience_s:g} s"
        return state
