"""Behind a real broker: leases have sessions of their own, jobs see no credential, and a crash leaves nothing open."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from broker.daemon import Daemon, short_folder

from qrmi_core import Hosted, TaskStatus, open_resource
from qrmi_testkit.calls import begin, together

from .service import DEVICE, TYPE, Service, bell
from .test_faults import CALLS, is_bell


@pytest.fixture
def daemon(running: Service) -> Iterator[Daemon]:
    """A started `qrmid` with the emulated processor."""
    with short_folder() as folder:
        daemon = Daemon(Path(folder), [{"name": DEVICE, "type": TYPE, "environment": running.environment(DEVICE)}])
        try:
            yield daemon.start()
        finally:
            daemon.stop()


@pytest.fixture
def job(daemon: Daemon) -> Iterator[Callable[[int], tuple[Hosted, dict[str, Any]]]]:
    """The resource as a job with a lease opens it, and what it was granted."""
    made: list[Hosted] = []

    def job(number: int) -> tuple[Hosted, dict[str, Any]]:
        granted = daemon.ask(DEVICE, job=number)
        made.append(open_resource(daemon.opening(granted, DEVICE)))
        return made[-1], granted

    yield job
    for one in made:
        one.close()


def until(happened: Callable[[], bool], what: str) -> None:
    """Wait for it, and fail loudly if it does not happen."""
    ends = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < ends, what
        time.sleep(0.02)


def test_each_lease_has_a_session_and_its_tasks_run_there(running, daemon, job):
    """The end of one job cancelled the tasks of another one, or tasks ran beside the session that was paid for."""
    (first, granted), (second, _) = job(1), job(2)
    slow = first.task_start(bell("service_s=300"), key="1")
    quick = second.task_start(bell("service_s=1"), key="2")
    sessions = [one.session.id for one in running.submitted]
    assert sorted(sessions) == sorted(running.open_sessions)

    assert first.task_status(slow).status in (TaskStatus.QUEUED, TaskStatus.RUNNING)
    daemon.release(granted["id"])
    assert [sessions[1]] == running.open_sessions
    assert second.task_wait(quick, 30).status is TaskStatus.COMPLETED
    assert is_bell(json.loads(second.task_result(quick)))
    assert ["CANCELLED", "COMPLETED"] == [one.status.value for one in running.submitted]


def test_a_job_sees_no_credential(running, daemon, job):
    """The API key of the site was in a job's environment, in an answer or in the log."""
    resource, granted = job(1)
    resource.task_wait(resource.task_start(bell(), key="1"), 30)
    running.faults.add(*CALLS["submit"], status=403, times=None)
    with pytest.raises(Exception) as info:
        resource.task_start(bell(), key="2")

    seen = json.dumps(granted) + daemon.words + str(info.value) + resource.target() + str(resource.metadata())
    assert running.options.account.api_key not in seen
    assert "Bearer" not in seen


def test_a_session_whose_answer_died_with_the_broker_is_closed_after_its_restart(running, daemon):
    """The processor was held for hours by a lease that nobody has."""
    running.faults.add(*CALLS["open session"], drop=True, when="after", times=None)
    running.faults.add("GET", "/api/v1/workloads", latency_s=2.0, times=None)
    daemon.ask(DEVICE, job=1, until=None)
    until(lambda: bool(running.open_sessions), "a session is opened")
    daemon.kill()
    running.faults.clear()
    daemon.start()

    until(lambda: not running.open_sessions, f"the session is closed: {daemon.words[-2000:]}")
    assert 1 == len(running.sessions)


def test_a_submission_whose_answer_died_with_the_broker_is_found(running, daemon, job):
    """The task ran twice after a crash of the broker, or its result was lost."""
    resource, _ = job(1)
    running.faults.add(*CALLS["submit"], drop=True, when="after", times=None)
    running.faults.add(*CALLS["look for the key"], skip=1, latency_s=2.0, times=None)
    starting = begin(resource.task_start, bell("service_s=1"), key="k")
    until(lambda: bool(running.submitted), "a job is submitted")
    daemon.kill()
    assert starting.exception(60) is not None
    running.faults.clear()
    daemon.start()
    task_id = resource.task_start(bell("service_s=1"), key="k")

    assert resource.task_wait(task_id, 30).status is TaskStatus.COMPLETED
    assert 1 == len(running.submitted)


def test_many_tasks_of_one_broker_ask_the_service_rarely(running, daemon, job):
    """Each of the broker's watchers polled the service for itself."""
    resource, _ = job(1)
    started = time.monotonic()
    ids = together(60, [lambda n=n: resource.task_start(bell("service_s=4"), key=str(n)) for n in range(32)])
    ends = together(120, [lambda one=one: resource.task_wait(one, 100).status for one in ids])
    waited_s = time.monotonic() - started

    assert [TaskStatus.COMPLETED] * 32 == ends
    polls = running.requests.count("GET", "/api/v1/jobs/{id}") + running.requests.count("GET", "/api/v1/jobs") - 32
    assert polls <= 32 * waited_s / 4, (polls, waited_s, running.requests.counts)
