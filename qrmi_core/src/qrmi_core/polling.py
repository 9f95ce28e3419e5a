"""Waiting by asking: often at first, then less often, never much too late."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

from qrmi_core.models import TaskState

FIRST_S = 0.05
GROWTH = 0.2
LONGEST_S = 5.0


class Clock(Protocol):
    """Where time comes from; `SystemClock` in production, one that a test moves in tests."""

    def monotonic(self) -> float:
        """Seconds on a clock that is never set."""

    def sleep(self, seconds: float) -> None:
        """Let *seconds* pass."""


class SystemClock:
    """The machine's own clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def pauses(clock: Clock) -> Iterator[float]:
    """How long to pause before each next question, in seconds, for ever.

    A fifth of the time waited so far, between 50 ms and 5 s: so an end is noticed within a fifth of the task's own
    time, and an hour of waiting costs some 750 questions.
    """
    started = clock.monotonic()
    while True:
        yield min(max(FIRST_S, GROWTH * (clock.monotonic() - started)), LONGEST_S)


def poll(ask: Callable[[], TaskState], timeout_s: float, clock: Clock) -> TaskState:
    """Call *ask* until it returns a terminal state or *timeout_s* has passed; return the last answer."""
    deadline = clock.monotonic() + timeout_s
    for pause in pauses(clock):
        state = ask()
        left = deadline - clock.monotonic()
        if state.status.is_terminal or left <= 0:
            return state
        clock.sleep(min(pause, left))
    raise AssertionError("unreachable")
