"""Sessions: of which kind, for how long, given by somebody else, refused, ended, found again."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from qrmi_core import AcquireRequest, Hosted, OutcomeUnknown, RequestRefused, ResourceUnavailable, TaskStatus
from qrmi_ibm_qrs._records import Record
from qrmi_testkit.process import fresh

from .service import DEVICE, bell, opening
from .test_faults import CALLS, is_bell, run


def asked(lease_key: str = "lease", **facts: object) -> AcquireRequest:
    """A request for a session."""
    return AcquireRequest(lease_key=lease_key, **facts)


@pytest.mark.parametrize("mode", ["dedicated", "batch"])
def test_a_lease_opens_a_session_of_the_kind_that_is_set(running, open_, mode):
    """Every lease got a dedicated session, whatever was set."""
    token = open_(SESSION_MODE=mode.upper()).acquire(asked())

    assert [(mode, DEVICE)] == [(one.mode, one.device) for one in running.sessions.values()]
    assert [token] == running.open_sessions


@pytest.mark.parametrize(("max_s", "expected"), [(None, 7200), (90.2, 91), (1e9, 7200)])
def test_a_session_lives_as_long_as_its_job_at_most(running, open_, max_s, expected):
    """A job of an hour held the processor for eight."""
    open_(SESSION_MAX_TTL="7200").acquire(asked(max_s=max_s))

    assert [expected] == [one.max_ttl_s for one in running.sessions.values()]


def test_tasks_run_in_the_session_of_their_lease(running, open_):
    """A session was paid for, and the tasks ran beside it."""
    resource = open_()
    token = resource.acquire(asked())
    ids = [resource.task_start(bell(), key="1"), resource.task_start(bell(), key="2", session=token)]

    assert [token, token] == [running.jobs[one].session.id for one in ids]


def test_of_two_leases_each_task_runs_in_its_own_session(running, open_):
    """Releasing one lease cancelled a task of the other."""
    resource = open_()
    first, second = resource.acquire(asked("a")), resource.acquire(asked("b"))
    mine = resource.task_start(bell("service_s=1"), key="1", session=first)
    resource.task_start(bell("service_s=300"), key="2", session=second)
    resource.release(second)

    assert running.jobs[mine].session.id == first
    assert [first] == running.open_sessions
    assert resource.task_wait(mine, 30).status is TaskStatus.COMPLETED


def test_a_release_closes_a_session_gently_when_nothing_waits_in_it(running, open_):
    """What ran was cut short."""
    resource = open_()
    token = resource.acquire(asked())
    resource.release(token)

    assert "closed by its owner" == running.sessions[token].reason
    assert 0 == running.requests.count("DELETE")


def test_a_release_cancels_what_waits_in_the_session(new_service, open_):
    """Jobs of a lease that had ended went on to run, and to cost."""
    running = new_service(lanes=1)
    resource = open_(running)
    token = resource.acquire(asked())
    first, second = (resource.task_start(bell("service_s=300"), key=key) for key in "ab")
    wait_until_running(resource, first)
    resource.release(token)

    assert resource.task_status(second).status is TaskStatus.CANCELLED
    assert [] == running.open_sessions
    resource.task_stop(first)


def wait_until_running(resource: Hosted, task_id: str) -> None:
    """Until the processor works on it."""
    for _ in range(200):
        if resource.task_status(task_id).status is TaskStatus.RUNNING:
            return
        resource.task_wait(task_id, 0.05)
    raise AssertionError("it does not run")


@pytest.mark.parametrize(
    ("plan", "set_", "taken"), [("open", "dedicated", "batch"), ("none", "dedicated", "job"), ("none", "batch", "job")]
)
def test_what_the_plan_refuses_is_replaced_and_said_once(new_service, open_, plan, set_, taken):
    """On a plan without sessions no task could run; or each lease said anew that it has none."""
    running = new_service(plan=plan)
    resource = open_(running, SESSION_MODE=set_)
    with capture_logs() as events:
        for key in "ab":
            resource.release(resource.acquire(asked(key)))
        assert is_bell(run(resource))

    said = [one for one in events if one["event"] == "session.refused"]
    assert taken == said[-1]["taken"]
    assert len({one["mode"] for one in said}) == len(said)
    assert {taken} - {"job"} == {one.mode for one in running.sessions.values()}
    assert all("1352" in one["reason"] for one in said)
    assert [] == running.open_sessions


def test_a_session_that_is_refused_for_another_reason_is_not_replaced(running, open_):
    """A wrong setting went unnoticed: the tasks ran without a session."""
    running.faults.add(*CALLS["open session"], status=400, body='{"errors": [{"code": 1337, "message": "bad ttl"}]}')

    with pytest.raises(RequestRefused):
        open_().acquire(asked())


def test_a_task_outlives_a_session_that_ended_by_its_max_ttl(running, open_):
    """Every task after the end of the session failed, though the job had time left."""
    resource = open_()
    token = resource.acquire(asked(max_s=100))
    assert resource.task_wait(resource.task_start(bell(), key="1"), 30).status is TaskStatus.COMPLETED
    running.clock.advance(101)
    with capture_logs() as events:
        ids = [resource.task_start(bell(), key=key) for key in "ab"]

    assert [TaskStatus.COMPLETED] * 2 == [resource.task_wait(one, 30).status for one in ids]
    assert [None, None] == [running.jobs[one].session for one in ids]
    assert ["session.ended"] == [one["event"] for one in events if one["log_level"] == "warning"]
    assert [token] != [one.token for one in resource.sessions()]
    resource.release(token)


def test_a_session_that_the_service_has_forgotten_is_released(running, open_):
    """A lease could not end, because what it had to close was gone."""
    resource = open_()
    token = resource.acquire(asked())
    running.sessions.clear()

    resource.release(token)
    assert [] == list(resource.sessions())
    assert token != resource.acquire(asked()), "the same key opens a new one"


def test_a_given_session_is_used_and_left_open(running, open_):
    """Somebody's session was closed by the first task that ran in it."""
    given = open_().acquire(asked("somebody else"))
    resource = open_(SESSION_ID=given)

    assert given == resource.acquire(asked("mine"))
    assert is_bell(run(resource))
    assert {given} == {job.session.id for job in running.submitted}
    assert [given] == running.open_sessions


def test_a_given_session_that_is_closed_is_replaced(running, open_):
    """A configuration that named an old session worked never again."""
    resource = open_(SESSION_ID="00000000-0000-4000-8000-000000000000")

    assert is_bell(run(resource))
    assert {None} != {job.session for job in running.submitted}
    assert [] == running.open_sessions


def test_a_session_of_which_little_is_left_is_not_used_again(running, open_):
    """A task was sent into a session that ended before it began."""
    resource = open_()
    first = resource.acquire(asked(max_s=1000))
    assert first == resource.acquire(asked(max_s=1000))
    resource.task_wait(resource.task_start(bell(), key="1"), 30)
    running.clock.advance(995)

    assert first != resource.acquire(asked(max_s=1000))


def test_a_session_whose_answer_was_lost_is_found_by_the_next_process(running, open_):
    """A broker that died while it opened a session left it open, and opened another one."""
    resource = open_()
    running.faults.add(*CALLS["open session"], drop=True, when="after")
    running.faults.add("GET", "/api/v1/workloads", status=503, times=None)
    with pytest.raises(ResourceUnavailable):
        resource.acquire(asked("lost", tags=("qrmi", "c:1")))
    running.faults.clear()
    (first,) = running.open_sessions

    (found,) = fresh(opening(running), "sessions")
    assert (first, "lost", ("qrmi", "c:1")) == (found.token, found.lease_key, found.tags)
    assert first == open_().acquire(asked("lost"))


@pytest.mark.parametrize("status", [401, 403, 503])
@pytest.mark.parametrize("look", ["/api/v1/workloads", "/api/v1/sessions/{id}"])
def test_a_session_whose_answer_was_lost_is_no_refusal_whatever_the_look_for_it_says(running, open_, look, status):
    """A broker heard that the credential is wrong, took it for a refusal, and gave the lane to the next job."""
    running.faults.add(*CALLS["open session"], drop=True, when="after", times=None)
    running.faults.add("GET", look, status=status, times=None)
    resource = open_()
    with pytest.raises(OutcomeUnknown):
        resource.acquire(asked("lost"))
    running.faults.clear()

    assert [(running.open_sessions, "lost")] == [([one.token], one.lease_key) for one in resource.sessions()]


@pytest.mark.parametrize("is_other_boot", [False, True])
def test_a_session_whose_answer_was_lost_is_found_after_the_clock_was_set_back(
    running, open_, monkeypatch, is_other_boot
):
    """A session that seemed older than the wish for it was taken for somebody else's, and stayed open."""
    running.faults.add(*CALLS["open session"], drop=True, when="after")
    running.faults.add("GET", "/api/v1/workloads", status=503, times=None)
    with pytest.raises(ResourceUnavailable):
        open_().acquire(asked("lost"))
    running.faults.clear()
    clock = SimpleNamespace(time=lambda: time.time() - 7200, monotonic=time.monotonic)
    monkeypatch.setattr("qrmi_ibm_qrs._records.time", clock)
    if is_other_boot:
        monkeypatch.setattr("qrmi_ibm_qrs._records._boot", lambda: "another")

    assert [(running.open_sessions[0], "lost")] == [(one.token, one.lease_key) for one in open_().sessions()]


def test_leases_of_the_same_length_find_each_its_own_session(running, open_):
    """Two lost answers at a time left two sessions that could be either's: both were held until they were idle."""
    running.faults.add(*CALLS["open session"], drop=True, when="after", times=None)
    running.faults.add("GET", "/api/v1/workloads", status=503, times=None)
    resource = open_()
    for key in "ab":
        with pytest.raises(ResourceUnavailable):
            resource.acquire(asked(key, max_s=600))
    running.faults.clear()

    assert 2 == len(set(running.open_sessions))
    assert {"a", "b"} == {one.lease_key for one in open_().sessions()}
    assert [600, 601] == [one.max_ttl_s for one in running.sessions.values()]


def test_a_session_that_opens_after_its_broker_died_is_found(running, open_):
    """The request was under way when the broker died, and arrived after the next one had looked."""
    resource = open_()
    resource.inner._sessions.records.write(Record(lease_key="late", mode="dedicated", max_ttl_s=900))
    before = list(resource.sessions())
    token = resource.inner.service.open_session("dedicated", 900)

    assert [] == before
    assert [(token, "late")] == [(one.token, one.lease_key) for one in resource.sessions()]


def test_nobody_elses_session_is_taken_for_one_that_was_lost(running, open_):
    """With two that may be it, one of them closed under the program that used it."""
    resource = open_()
    others = [resource.acquire(asked(key)) for key in "ab"]
    running.faults.add(*CALLS["open session"], drop=True, times=2)
    with pytest.raises(OutcomeUnknown):
        resource.acquire(asked("c"))

    assert sorted(others) == sorted(running.open_sessions)
    assert {"a", "b"} == {one.lease_key for one in resource.sessions()}


def test_an_instance_without_a_list_of_workloads_keeps_its_own_records(running, open_):
    """Where the service does not list sessions, a restart forgot all of them."""
    token = open_().acquire(asked())
    running.faults.add("GET", "/api/v1/workloads", status=404, times=None)

    assert [(token, "lease")] == [(one.token, one.lease_key) for one in open_().sessions()]
