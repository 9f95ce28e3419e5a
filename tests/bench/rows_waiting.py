"""How late the end of a task is noticed where the vendor has to be asked."""

from __future__ import annotations

import time

from measure import Row

from qrmi_core.models import TaskState, TaskStatus
from qrmi_core.polling import SystemClock, poll


def rows(rounds: int) -> list[Row]:
    """Measure: tasks of several durations, each asked for by the adaptive wait."""
    worst, detail = 0.0, []
    for took_s in (0.02, 0.1, 0.5, 2.0, 6.0):
        late_s, asked = _noticed_late(took_s)
        worst = max(worst, late_s / max(0.25 * took_s, 0.05))
        detail.append(f"{took_s:g} s: {late_s * 1000:.0f} ms late, asked {asked} times")
    return [
        Row(
            "completion noticed after the vendor finished",
            "<= 25 % of the task's time or 50 ms",
            f"{worst:.0%} of the budget",
            worst <= 1,
            "; ".join(detail),
        )
    ]


def _noticed_late(took_s: float) -> tuple[float, int]:
    asked = 0
    ends = time.monotonic() + took_s

    def ask() -> TaskState:
        nonlocal asked
        asked += 1
        return TaskState(TaskStatus.COMPLETED if time.monotonic() >= ends else TaskStatus.RUNNING)

    poll(ask, 60, SystemClock())
    return time.monotonic() - ends, asked
