"""Days on which the clock jumps: no lease ends, and none outlives its limit."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from .clock import Clock
from .programs import row
from .watch import held, said, until

DAY_S = 24 * 3600


@pytest.fixture
def clock(folder: Path) -> Clock:
    """It is right."""
    made = Clock(folder / "clock")
    made.says("+0")
    return made


def test_a_clock_that_jumps_by_a_day_ends_no_lease(asking, slurm, clock):
    """A clock set wrongly, or put right, would take the QPU from jobs that run; so would a restart after it."""
    daemon = asking.start(**clock.environment)
    slurm.lists(row("1", ends=str(int(time.time()) + 3600), uid="0"))
    daemon.ask("fez", facts={"time_limit_s": 3600})

    def uptime_s() -> float:
        found: float = daemon.admin().ask_json("GET", "/v1/health")["uptime_s"]
        return found

    for job, offset_s in ((2, -DAY_S), (3, DAY_S), (4, -DAY_S)):
        clock.says(f"{offset_s:+d}")
        slurm.is_asked()
        assert (offset_s > 0) == (uptime_s() > 0)  # it believes the clock
        assert ["1"] == held(daemon)
        daemon.release(daemon.ask("fez", job=job)["id"])
    slurm.does("exit 1")
    clock.says(f"+{DAY_S}")
    until(lambda: said(daemon, "lease.overdue"))
    slurm.is_asked()
    assert ["1"] == held(daemon)
    assert 1 == len(said(daemon, "lease.overdue"))
    daemon.stop()
    slurm.lists(row("1", uid="0"))
    clock.says(f"-{DAY_S}")
    daemon.start(**clock.environment)
    slurm.is_asked()
    assert ["1"] == held(daemon)


def test_a_limit_is_counted_by_a_clock_that_nobody_sets(new_daemon, clock):
    """Where nobody lists the runs, a clock that is put right would end every lease; or none would end after it."""
    daemon = new_daemon().start(**clock.environment)
    daemon.ask("fez", facts={"time_limit_s": 3600})
    for released, offset_s in enumerate((DAY_S, -DAY_S), 1):
        daemon.ask("fez", job=1 + released, facts={"time_limit_s": 1})
        clock.says(f"{offset_s:+d}")
        until(lambda released=released: released == len(said(daemon, "lease.released")))
        assert ["1"] == held(daemon)
    clock.says(f"+{DAY_S}")
    daemon.kill()
    daemon.start(**clock.environment)
    daemon.ask("fez", job=4, facts={"time_limit_s": 1})
    until(lambda: 3 == len(said(daemon, "lease.released")))

    assert ["1"] == held(daemon)
    assert {"its time limit passed"} == {entry["reason"] for entry in said(daemon, "lease.released")}
