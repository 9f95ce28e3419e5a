"""Many tasks at the same time: all of them complete, and the service is asked far less than a client each would."""

from __future__ import annotations

import threading
import time

from qrmi_core import Hosted, TaskStatus
from qrmi_testkit.calls import together

from .service import bell
from .test_faults import BASE, CALLS

TASKS = 200
LANES = 5
SERVICE_S = 1.0
DELAY = 0.25
"""Of a task's own time, within which its end is to be noticed."""


class Life(threading.Thread):
    """One task, from start to result, as a program or the broker's watcher follows it."""

    def __init__(self, resource: Hosted, key: str) -> None:
        super().__init__(daemon=True)
        self.resource, self.key = resource, key
        self.began = self.noticed = 0.0
        self.task_id, self.result = "", b""

    def run(self) -> None:
        self.began = time.time()
        self.task_id = self.resource.task_start(bell(), key=self.key)
        assert self.resource.task_wait(self.task_id, 300).status is TaskStatus.COMPLETED
        self.noticed = time.time()
        self.result = self.resource.task_result(self.task_id)


def test_two_hundred_tasks_on_five_lanes_ask_a_quarter_of_what_polling_would(new_service, open_):
    """Two hundred clients that poll once a second get a service to refuse them, and still notice each end late."""
    running = new_service(lanes=LANES, service_s=SERVICE_S)
    resource = open_(running)
    lives = [Life(resource, str(number)) for number in range(TASKS)]
    for life in lives:
        life.start()
    for life in lives:
        life.join(300)

    assert TASKS == len(running.submitted)
    assert TASKS == len({life.task_id for life in lives})
    assert all(life.result for life in lives)
    polled = sum(life.noticed - life.began for life in lives)  # once a second each
    assert running.requests.count() <= (polled + 3 * TASKS) / 4, "a token, a submission and a result apart"
    late = [life.noticed - running.jobs[life.task_id].ended_s for life in lives]
    own = [running.jobs[life.task_id].ended_s - life.began for life in lives]
    worst = max(delay - DELAY * time_s for delay, time_s in zip(late, own, strict=True))
    assert worst < 1.0, "a busy machine may be a moment behind"
    print(f"{running.requests.count()} requests, {polled:.0f} polls of a second; {running.requests.counts}")


def test_a_few_tasks_are_asked_for_one_by_one(running, open_):
    """For one task the whole list of the account was read again and again."""
    resource = open_()
    task_id = resource.task_start(bell("service_s=0.5"), key="1")
    listed = running.requests.count(*CALLS["look for the key"])
    resource.task_wait(task_id, 30)

    assert listed == running.requests.count(*CALLS["look for the key"])


def test_a_task_beyond_the_listed_ones_is_asked_for_alone(running, open_):
    """A task older than what one list shows was never seen to end."""
    resource = open_()
    old = resource.task_start(bell("service_s=2"), key="old")
    others = [resource.task_start(bell("service_s=2"), key=str(number)) for number in range(4)]
    running.faults.add("GET", f"{BASE}/jobs", status=403, times=None)

    ends = together(60, [lambda one=one: resource.task_wait(one, 50).status for one in (old, *others)])
    assert [TaskStatus.COMPLETED] * 5 == ends


def test_a_stop_among_many_is_seen_at_once(running, open_):
    """A state that was read before the stop was given for the one after it."""
    resource = open_()
    ids = [resource.task_start(bell("service_s=300"), key=str(number)) for number in range(6)]
    together(30, [lambda one=one: resource.task_status(one) for one in ids])
    resource.task_stop(ids[0])

    assert resource.task_status(ids[0]).status is TaskStatus.CANCELLED
    for one in ids[1:]:
        resource.task_stop(one)
