"""What a user sees of each fault at each call: one task, its result or a reason, no session left open, no hang."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from attrs import evolve

from qrmi_core import (
    AcquireRequest,
    AuthenticationFailed,
    Hosted,
    OutcomeUnknown,
    Payload,
    PayloadError,
    QrmiError,
    RequestRefused,
    ResourceUnavailable,
    TaskFailed,
    TaskRunner,
    TaskTimeLimit,
)
from qrmi_core.door import Door, Reply

from .service import Service, bell

BASE = "/api/v1"
CALLS = {
    "token": ("POST", "/identity/token"),
    "open session": ("POST", f"{BASE}/sessions"),
    "look for the key": ("GET", f"{BASE}/jobs"),
    "submit": ("POST", f"{BASE}/jobs"),
    "status": ("GET", f"{BASE}/jobs/{{id}}"),
    "result": ("GET", f"{BASE}/jobs/{{id}}/results"),
    "close session": ("PATCH", f"{BASE}/sessions/{{id}}"),
}
FAULTS: dict[str, dict[str, Any]] = {
    "401": {"status": 401},
    "expired token": {"expire_tokens": True},
    "408": {"status": 408},
    "423": {"status": 423},
    "429 with Retry-After": {"status": 429, "retry_after_s": 1},
    "500": {"status": 500},
    "502, a page of a proxy": {"status": 502, "body": "<html>Bad gateway</html>"},
    "503, but it was done": {"status": 503, "when": "after"},
    "522": {"status": 522},
    "dropped": {"drop": True},
    "dropped, but it was done": {"drop": True, "when": "after"},
    "truncated": {"truncate": True},
    "slow": {"drip_s": 0.5},
}
DEADLINE_S = 25.0
"""Of one call, as the core sets it; a whole task with one fault takes less."""


class Silent:
    """Nobody listens to the events."""

    def event(self, name: str, **facts: Any) -> None:
        """Forget it."""


def run(resource: Hosted, payload: Payload | None = None, **facts: Any) -> dict[str, Any]:
    """What `qrun` does: a session, the task, its result."""
    return json.loads(TaskRunner(resource, Silent()).run(payload or bell(), **facts))


def is_bell(result: dict[str, Any]) -> bool:
    """The result is that of a pair."""
    return {"0x0", "0x3"} == set(result["results"][0]["data"]["c"]["samples"])


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """The pauses between tries are shorter; who waits for a service that does not come back, gives up soon."""
    monkeypatch.setattr("qrmi_core.runner.PATIENCE_S", 2.0)
    monkeypatch.setattr("qrmi_core.runner._RESEND_S", (0.1, 0.2))
    monkeypatch.setattr("qrmi_core.exchange._PAUSE_S", 0.05)
    monkeypatch.setattr("qrmi_ibm_qrs.resource._LOOKS_S", (0.0, 0.1))


@pytest.mark.parametrize(("call", "fault"), [one for one in product(CALLS, FAULTS) if one != ("token", "401")])
def test_one_fault_at_one_call_costs_time_only(running: Service, open_: Callable[..., Hosted], call: str, fault: str):
    """The task failed or ran twice, or its session stayed open, for a fault that was over at once."""
    resource = open_()
    method, route = CALLS[call]
    running.faults.add(method, route, **FAULTS[fault])
    started = time.monotonic()

    assert is_bell(run(resource))
    assert time.monotonic() - started < DEADLINE_S
    assert [] == running.faults.left, "the fault was met"
    assert 1 == len(running.submitted)
    assert [] == running.open_sessions


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_while_the_session_is_closed_leaves_none_open(running, open_, fault):
    """The list that says whether something is queued there was lost, and with it the session."""
    running.faults.add("GET", f"{BASE}/jobs", skip=1, **FAULTS[fault])

    assert is_bell(run(open_()))
    assert [] == running.faults.left
    assert [] == running.open_sessions


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("call", ["/jobs/{id}/cancel", "/sessions/{id}/close"])
def test_a_fault_while_a_task_is_cancelled_leaves_nothing_running(running, open_, fault, call):
    """A cancel or a close that met a fault was given up."""
    method = "POST" if "cancel" in call else "DELETE"
    running.faults.add(method, BASE + call, **FAULTS[fault])
    if method == "DELETE":
        running.faults.add(
            "GET", f"{BASE}/jobs", skip=1, times=None, status=503
        )  # so it cannot tell whether it may wait

    with pytest.raises(TaskTimeLimit) as info:
        run(open_(), bell("service_s=300"), timeout_s=0.5)
    assert 124 == info.value.exit_status
    assert "not confirmed" not in info.value.detail
    assert [] == running.faults.left or method == "DELETE"
    assert ["CANCELLED"] == [job.status.value for job in running.submitted]
    assert [] == running.open_sessions


LASTING: dict[str, tuple[str, dict[str, Any], type[QrmiError], int, int]] = {
    "unknown key": ("token", {"status": 400}, AuthenticationFailed, 4, 0),
    "refused by IAM": ("token", {"status": 401}, AuthenticationFailed, 4, 0),
    "no IAM": ("token", {"status": 503}, ResourceUnavailable, 3, 0),
    "session: 503": ("open session", {"status": 503}, ResourceUnavailable, 3, 0),
    "session: 403": ("open session", {"status": 403}, AuthenticationFailed, 4, 0),
    "submit: 401": ("submit", {"status": 401}, AuthenticationFailed, 4, 0),
    "submit: 403": ("submit", {"status": 403}, AuthenticationFailed, 4, 0),
    "submit: 400": ("submit", {"status": 400}, PayloadError, 2, 0),
    "submit: 409": ("submit", {"status": 409}, RequestRefused, 3, 0),
    "submit: 429": ("submit", {"status": 429, "retry_after_s": 3600}, ResourceUnavailable, 3, 0),
    "submit: 503": ("submit", {"status": 503}, ResourceUnavailable, 3, 0),
    "status: 503": ("status", {"status": 503}, ResourceUnavailable, 3, 1),
    "status: dropped": ("status", {"drop": True}, ResourceUnavailable, 3, 1),
    "result: 503": ("result", {"status": 503}, ResourceUnavailable, 3, 1),
    "result: truncated": ("result", {"truncate": True}, ResourceUnavailable, 3, 1),
}
"""The call, its fault that does not end, what is raised, with which exit status, and how many jobs there are."""


@pytest.mark.parametrize("name", LASTING)
def test_a_fault_that_lasts_ends_with_its_reason(running, open_, name):
    """A task hung, was submitted again, or ended with a status that says something else."""
    call, fault, error, status, jobs = LASTING[name]
    running.faults.add(*CALLS[call], times=None, **fault)
    started = time.monotonic()

    with pytest.raises(error) as info:
        run(open_())
    assert time.monotonic() - started < 2 * DEADLINE_S
    assert status == info.value.exit_status
    assert jobs == len(running.submitted)
    assert [] == running.open_sessions


@pytest.mark.parametrize("fault", [{"status": 503, "when": "after"}, {"drop": True, "when": "after"}])
def test_what_was_done_is_found_though_it_is_never_answered(running, open_, fault):
    """A service that answers no submission and no session, but does them all, got one of each for every try."""
    running.faults.add(*CALLS["submit"], times=None, **fault)
    running.faults.add(*CALLS["open session"], times=None, **fault)

    assert is_bell(run(open_()))
    assert 1 == len(running.submitted)
    assert 1 == len(running.sessions)
    assert [] == running.open_sessions


def test_a_submission_is_not_repeated_while_nobody_can_tell_what_became_of_it(running, open_):
    """The key could not be looked for, and the task was sent again on the chance that it was lost."""
    running.faults.add(*CALLS["submit"], drop=True, when="after")
    running.faults.add(*CALLS["look for the key"], skip=1, times=None, status=503)

    with pytest.raises(ResourceUnavailable) as info:
        run(open_(), key="my-run-1")
    assert "my-run-1" in info.value.detail
    assert 1 == len(running.submitted)
    assert [] == running.open_sessions
    running.faults.clear()
    assert is_bell(run(open_(), key="my-run-1"))
    assert 1 == len(running.submitted), "the same key found it"


def test_a_submission_that_arrives_late_is_cancelled(running, open_):
    """A proxy kept the first submission, and passed it on when the second one had been accepted: the task ran twice."""
    resource = open_()
    running.faults.add(*CALLS["submit"], drop=True)

    class Proxy:
        def event(self, name: str, **facts: Any) -> None:
            if name == "task.started":
                late = resource.inner._body(bell("service_s=300"), resource.inner._tag("k"), None)
                resource.inner.service.submit(late)

    result = TaskRunner(resource, Proxy()).run(bell("service_s=1"), key="k")
    assert is_bell(json.loads(result))
    assert ["COMPLETED", "CANCELLED"] == [job.status.value for job in running.submitted]


@pytest.mark.parametrize("call", ["token", "open session", "look for the key", "status", "result"])
def test_a_service_that_is_silent_is_not_waited_for_beyond_the_deadline(running, open_, call, monkeypatch):
    """One call that was never answered held the task for ever."""
    monkeypatch.setattr("qrmi_ibm_qrs._api._RESULT_S", 1.0)
    resource = open_()
    for door in (resource.inner.service._door, resource.inner.service._iam):
        door.deadline_s = 1.0
    running.faults.add(*CALLS[call], times=None, latency_s=3.0)
    started = time.monotonic()

    with pytest.raises(ResourceUnavailable):
        run(resource)
    assert time.monotonic() - started < DEADLINE_S


def test_a_failed_task_says_why_and_with_which_code(running, open_):
    """The reason that the service gave was dropped, as its own clients do."""
    running.faults.add(*CALLS["submit"], fail="The fridge is warm", fail_code=1010)

    with pytest.raises(TaskFailed) as info:
        run(open_())
    assert "The fridge is warm (code 1010). Mend the cause and submit the job again" == info.value.detail
    assert [] == running.open_sessions


def test_a_task_that_runs_longer_than_its_cost_has_failed(running, open_):
    """It was reported as cancelled, as if somebody had asked for that."""
    with pytest.raises(TaskFailed) as info:
        run(open_(TIMEOUT_SECONDS="1"), bell("service_s=300"))
    assert "1305" in info.value.detail
    assert "raise the time limit" in info.value.detail


@pytest.mark.parametrize("status", [401, 403, 400])
def test_a_submission_whose_answer_was_lost_is_no_refusal_whatever_the_look_for_it_says(running, open_, status):
    """A broker heard that the credential is wrong, took it for a refusal, and forgot a task that was paid for."""
    resource = open_()
    running.faults.add(*CALLS["submit"], drop=True, when="after")
    running.faults.add(*CALLS["look for the key"], skip=1, status=status, times=None)
    with pytest.raises(OutcomeUnknown):
        resource.task_start(bell(), key="k")
    running.faults.clear()

    assert running.submitted[0].id == resource.find_task("k")


@pytest.mark.parametrize("fault", [{"status": 409}, {"status": 500}, {"status": 403}, {"drop": True}])
def test_a_session_that_cannot_be_closed_gently_is_closed(running, open_, fault):
    """It stayed open for as long as its max_ttl, although nothing waited in it."""
    resource = open_()
    token = resource.acquire(AcquireRequest(lease_key="l"))
    running.faults.add(*CALLS["close session"], times=None, **fault)
    resource.release(token)

    assert [] == running.open_sessions


@pytest.mark.parametrize("status", [400, 401, 403, 404, 503])
def test_a_session_is_closed_though_nobody_may_list_its_jobs(running, open_, status):
    """It stayed open, and kept the processor for a lease that had ended."""
    resource = open_()
    token = resource.acquire(AcquireRequest(lease_key="l"))
    running.faults.add(*CALLS["look for the key"], status=status, times=None)
    resource.release(token)

    assert [] == running.open_sessions


@pytest.mark.parametrize("content", [b'"accepted"', b'["accepted"]', b"[]", b"{}", b"<html>"])
def test_a_submission_that_is_answered_with_something_else_is_found(running, open_, monkeypatch, content):
    """A job was made, a proxy said so in its own way, and the job was lost with an exception of Python."""
    ask = Door.ask

    def garbled(door: Door, method: str, path: str, **facts: Any) -> Reply:
        reply = ask(door, method, path, **facts)
        return evolve(reply, content=content) if (method, path) == ("POST", "/jobs") else reply

    monkeypatch.setattr(Door, "ask", garbled)
    task_id = open_(SESSION_MODE="job").task_start(bell(), key="k")

    assert [task_id] == [job.id for job in running.submitted]


def test_a_refusal_carries_the_services_code_and_solution(running, open_):
    """Whoever is to mend the cause got a status, and not what the service says about it."""
    with pytest.raises(PayloadError) as info:
        run(
            open_(SESSION_MODE="job"),
            Payload.from_json("qiskit-primitive", {"program_id": "sampler", "parameters": {}}),
        )
    assert "$.parameters.pubs" == info.value.path
    running.faults.add(*CALLS["submit"], status=409)
    with pytest.raises(RequestRefused) as refused:
        run(open_(SESSION_MODE="job"))
    assert (409, "1337") == (refused.value.status, refused.value.code)
    assert refused.value.solution in str(refused.value)
