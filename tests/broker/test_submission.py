"""What becomes of a submission whose answer was lost."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from qrmi_broker import submission
from qrmi_broker.lease import LeaseState
from qrmi_broker.submission import Submitter
from qrmi_broker.task import Task
from qrmi_core import AuthenticationFailed, NotOffered, OutcomeUnknown, QrmiError, ResourceUnavailable


class Vendor:
    """Answers each verb with what stands in its script: raised, or returned."""

    def __init__(self, **script: list[Any]) -> None:
        self.script = script

    async def call(self, verb: str, *_: Any, **__: Any) -> Any:
        answer = self.script[verb].pop(0) if len(self.script[verb]) > 1 else self.script[verb][0]
        if isinstance(answer, QrmiError):
            raise answer
        return answer

    async def hosted(self) -> Any:
        return SimpleNamespace(can_resend=True)


class Submissions(Submitter):
    """Notes how a task was written off."""

    written_off: bool | None = None

    async def _write_off(self, task: Task, exc: QrmiError, *, is_known: bool) -> None:
        self.written_off = is_known

    def _payload(self, task: Task) -> Any:
        return None


LOST, REFUSED = OutcomeUnknown("fez", "no answer"), AuthenticationFailed("fez", "401")


@pytest.mark.parametrize(
    ("starts", "finds", "error", "is_known"),
    [
        ([LOST, REFUSED], REFUSED, OutcomeUnknown, False),  # a credential that is refused from then on
        ([LOST, REFUSED], None, AuthenticationFailed, True),
        ([REFUSED], REFUSED, AuthenticationFailed, True),
    ],
)
def test_a_refusal_counts_unless_an_earlier_try_may_have_been_done(monkeypatch, starts, finds, error, is_known):
    """The ledger forgot a task that the vendor executes, and its user read that the credential is wrong."""
    monkeypatch.setattr(submission, "_LOOK_S", -1.0)
    monkeypatch.setattr(submission, "_RESEND_S", (0.0, 0.0))
    submitter = Submissions(ledger=None, vendors={"fez": Vendor(task_start=starts, find_task=[finds])}, spool=None)
    task = Task(id="t", resource="fez", uid=1, key="k", kind="script", digest="", size_bytes=0, fence=1)
    with pytest.raises(error):
        asyncio.run(submitter._send(task, SimpleNamespace(state=LeaseState.ACTIVE)))

    assert is_known is submitter.written_off


def a_task(**facts: Any) -> Task:
    """One of a few bytes."""
    return Task(id="t", resource="fez", uid=1, key="k", kind="script", digest="", size_bytes=0, fence=1, **facts)


def test_nothing_is_sent_again_after_the_end_of_its_lease(monkeypatch):
    """It would run beside the next holder of the lane, and nobody would stop it."""
    monkeypatch.setattr(submission, "_RESEND_S", (0.0, 0.0))
    starts: list[Any] = [ResourceUnavailable("fez", "away"), "sent again"]
    submitter = Submissions(ledger=None, vendors={"fez": Vendor(task_start=starts, find_task=[None])}, spool=None)
    with pytest.raises(ResourceUnavailable, match="away"):
        asyncio.run(submitter._send(a_task(), SimpleNamespace(state=LeaseState.RELEASING)))

    assert ["sent again"] == starts
    assert submitter.written_off is True


@pytest.mark.parametrize("is_leased", [True, False])
def test_after_a_restart_only_a_task_with_a_lease_is_sent(is_leased):
    """The same, where the broker died before it knew whether the vendor has it."""
    vendor = Vendor(task_start=["found"], find_task=[NotOffered("fez", "find_task")])
    ledger = SimpleNamespace(read=lambda work: is_leased)
    submitter = Submissions(ledger=ledger, vendors={"fez": vendor}, spool=None)
    if is_leased:
        assert "found" == asyncio.run(submitter._found_or_sent(a_task(payload=b"{}"), vendor))
    else:
        with pytest.raises(NotOffered):
            asyncio.run(submitter._found_or_sent(a_task(payload=b"{}"), vendor))
