"""Waiting by asking."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrmi_core import TaskState, TaskStatus
from qrmi_core.polling import pauses, poll

RUNNING, COMPLETED = TaskState(TaskStatus.RUNNING), TaskState(TaskStatus.COMPLETED)


class HandClock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.slept = 0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += 1


@given(st.floats(min_value=0, max_value=200_000))
def test_an_end_is_noticed_within_a_quarter_of_the_task_or_50_ms(runs_s):
    """A user waits for us at most 25 % of the task's own time, or 50 ms, whichever is more."""
    clock = HandClock()
    end = clock.now + runs_s
    state = poll(lambda: COMPLETED if clock.now >= end else RUNNING, 1e9, clock)

    assert COMPLETED == state
    assert clock.now - end <= max(0.25 * runs_s, 0.05) + 1e-6


@given(st.floats(min_value=0, max_value=10_000))
def test_a_wait_ends_at_its_timeout(timeout_s):
    """`timeout_s` is kept to the second, not to the next question after it."""
    clock = HandClock()

    assert RUNNING == poll(lambda: RUNNING, timeout_s, clock)
    assert clock.now - 1000 == pytest.approx(timeout_s, abs=1e-6)


def test_an_ended_task_is_asked_once(clock):
    """Nobody pauses for a task that has ended."""
    asked = []
    poll(lambda: asked.append(1) or COMPLETED, 60, clock)

    assert ([1], 1000) == (asked, clock.now)


def test_a_day_of_waiting_is_no_burden():
    """Waiting for a day asks at most every five seconds at its end, so that a service does not throttle us."""
    clock = HandClock()
    poll(lambda: RUNNING, 86_400, clock)

    assert clock.slept < 86_400 / 5 + 100


def test_the_first_pauses_are_short():
    """A task of a tenth of a second is not waited for by the second."""
    assert [0.05] * 5 == list(islice(pauses(HandClock()), 5))
