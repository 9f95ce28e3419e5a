"""Sessions: acquiring and releasing may be repeated, by whoever knows the lease key or the token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from attrs import evolve

from qrmi_core import AcquireRequest, Hosted, NotOffered, Opening, Payload, Session, TaskStatus, open_resource
from qrmi_testkit.calls import within
from qrmi_testkit.subject import Subject, new_key

Acquire = Callable[[str], str]
"""From a lease key to a token; released after the test."""


def _listed(resource: Hosted) -> list[Session] | None:
    try:
        return list(resource.sessions())
    except NotOffered:
        return None


class Sessions(Subject):
    """`acquire`, `release`, `sessions`."""

    @pytest.fixture
    def acquire(self, resource: Hosted) -> Iterator[Acquire]:
        """Acquires sessions, and releases them after the test."""
        tokens: list[str] = []

        def acquire(lease_key: str) -> str:
            request = AcquireRequest(lease_key=lease_key, max_s=600, tags=("qrmi-testkit",))
            tokens.append(within(self.patience_s, resource.acquire, request))
            return tokens[-1]

        yield acquire
        for token in tokens:
            with suppress(Exception):  # how releasing may end is for the tests to say
                within(self.patience_s, resource.release, token)

    def test_a_session_has_a_token(self, acquire: Acquire) -> None:
        """`acquire` returns text that fits into an environment variable."""
        token = acquire(new_key())

        assert isinstance(token, str)
        assert token
        assert token.isprintable()

    def test_releasing_twice_is_releasing_once(self, resource: Hosted, acquire: Acquire) -> None:
        """`release` is idempotent."""
        token = acquire(new_key())

        within(self.patience_s, resource.release, token)
        within(self.patience_s, resource.release, token)

    def test_releasing_an_unknown_token_is_no_error(self, resource: Hosted) -> None:
        """A token that nobody gave out, or that the service has forgotten, is as good as released."""
        for token in (new_key(), "../../etc/passwd", "ψ", ""):
            within(self.patience_s, resource.release, token)

    def test_one_lease_key_is_one_session(self, resource: Hosted, acquire: Acquire) -> None:
        """Acquiring again with the same lease key, after a crash say, opens no second session that nobody closes."""
        before = _listed(resource)
        lease_key = new_key()
        tokens = [acquire(lease_key), acquire(lease_key)]
        during = _listed(resource)
        for token in tokens:
            resource.release(token)

        if before is not None and during is not None:
            assert len(before) + 1 == len(during)
            assert len(before) == len(_listed(resource) or ())

    def test_an_open_session_is_listed(self, resource: Hosted, acquire: Acquire) -> None:
        """Where `sessions` is offered, it lists a session from acquire to release."""
        token = acquire(new_key())
        during = _listed(resource)
        resource.release(token)

        if during is not None:
            assert token in [session.token for session in during]
            assert token not in [session.token for session in _listed(resource) or ()]

    def test_a_task_runs_in_a_session_that_somebody_else_acquired(
        self, opening: Opening, acquire: Acquire, payload: Payload
    ) -> None:
        """A job that was handed a token opens the resource with it and runs its tasks in that session."""
        with open_resource(evolve(opening, acquisition_token=acquire(new_key()))) as resource:
            task_id = resource.task_start(payload, key=new_key())

            assert self.end_of(resource, task_id).status is TaskStatus.COMPLETED
            self.check_result(payload, resource.task_result(task_id))
