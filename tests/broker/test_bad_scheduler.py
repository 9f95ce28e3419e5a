"""Days on which the scheduler lets the broker down: it keeps what it gave, says so, and ends what has ended."""

from __future__ import annotations

import time

import pytest

from .daemon import Daemon
from .launch import launch_as
from .programs import program, row
from .users import User
from .watch import held, said, sessions, until


@pytest.fixture
def daemon(asking: Daemon) -> Daemon:
    """It asks the stand-ins."""
    return asking.start()


def test_a_squeue_that_errs_ends_no_lease_and_is_said_once(daemon, slurm):
    """A controller that is down or has lost its memory would take the QPU from jobs that run."""
    daemon.ask("fez")
    wrongs = [
        ("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1", "Unable to contact"),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", "Invalid job id"),
        ("true", "empty"),
        ("echo nonsense", "nonsense"),
    ]
    for times, (squeue, words) in enumerate(wrongs, 1):
        slurm.does(squeue)
        slurm.is_asked()

        assert ["1"] == held(daemon)
        assert times == len(said(daemon, "scheduler.unavailable"))
        assert words in said(daemon, "scheduler.unavailable")[-1]["error"]
        assert words in daemon.admin().ask_json("GET", "/v1/health")["scheduler_failure"]
        slurm.lists(row("1", uid="0"))
        until(lambda times=times: times == len(said(daemon, "scheduler.recovered")))
    assert ["1"] == held(daemon)


def test_a_squeue_that_hangs_ends_no_lease_and_holds_up_nobody(daemon, slurm):
    """A controller that does not answer would stop the broker, or make it take leases away."""
    daemon.ask("fez")
    slurm.does("exec sleep 300")
    slurm.is_asked(1)
    started = time.monotonic()
    granted = daemon.ask("fez", job=2)
    daemon.release(granted["id"])

    assert 5 > time.monotonic() - started
    until(lambda: said(daemon, "scheduler.unavailable"))
    assert "has not answered within 10 s" in said(daemon, "scheduler.unavailable")[0]["error"]
    assert ["1"] == held(daemon)


def test_a_controller_that_was_down_at_the_start_is_asked_again(asking, slurm):
    """A broker that started before the controller would never look again, and end leases by its clock."""
    program(slurm.folder / "scontrol", "echo 'slurm_load_ctl_conf error: Unable to contact' >&2; exit 1")
    daemon = asking.start()
    daemon.ask("fez", facts={"time_limit_s": 0.1})
    until(lambda: said(daemon, "lease.overdue"))

    assert ["1"] == held(daemon)
    assert 0 == slurm.looks

    program(slurm.folder / "scontrol", "echo 'PrivateData = none'")
    slurm.is_asked()
    assert ["1"] == held(daemon)
    slurm.lists(row("1", "COMPLETED", uid="0"))
    until(lambda: not held(daemon))


def test_hidden_jobs_are_no_ended_jobs(asking, slurm, users: tuple[User, User]):
    """A broker that is shown its own jobs only would take the QPU from everybody else's."""
    program(slurm.folder / "scontrol", "printf 'PrivateData = jobs\\nSlurmUser = slurm(64030)\\n'")
    slurm.lists(row("7"))
    daemon = launch_as(users[0], asking)
    daemon.ask("fez")
    daemon.ask("fez", job=2, facts={"time_limit_s": 1})
    until(lambda: said(daemon, "lease.overdue"))

    assert ["1", "2"] == held(daemon)  # its limit may have been raised, and it suspended meanwhile
    assert 0 == slurm.looks
    assert [True] == ["PrivateData=jobs" in entry["reason"] for entry in said(daemon, "reconciler.off")]
    assert ["2"] == [entry["job_id"] for entry in said(daemon, "lease.overdue")]


def test_a_run_that_left_the_list_loses_its_lease(daemon, slurm):
    """A run that the scheduler no longer knows would hold its lane until its limit."""
    daemon.ask("fez")
    slurm.lists(row("7", uid="0"))
    until(lambda: not daemon.leases())

    assert ["the scheduler no longer knows its run"] == [entry["reason"] for entry in said(daemon, "lease.released")]
    assert ["session.opened", "session.closed"] == sessions(daemon)


def test_one_list_without_the_run_is_not_enough(daemon, slurm):
    """A single listing that lacks a run would end its lease."""
    daemon.ask("fez")
    once = slurm.folder / "once"
    slurm.does(f"if rm {once} 2>/dev/null; then echo '{row('7')}'; else echo '{row('1', uid='0')}'; fi")
    for _ in range(3):
        once.touch()
        until(lambda: not once.exists())
        slurm.is_asked(2)

    assert ["1"] == held(daemon)


def test_a_run_whose_end_is_listed_loses_its_lease_at_once(daemon, slurm):
    """A run that has completed, or was requeued, would keep its lease for longer than one listing."""
    slurm.lists(row("1", uid="0"), row("2", uid="0"), row("3", uid="0"))
    for job in (1, 2, 3):
        daemon.ask("fez", job=job)
    slurm.is_asked(2)
    slurm.lists(row("1", "COMPLETED", uid="0"), row("2", "PENDING", restarts=1, uid="0"), row("3", uid="0"))
    start = slurm.looks
    until(lambda: 2 == len(said(daemon, "lease.released")))

    assert ["3"] == held(daemon)
    assert start + 15 > slurm.looks  # a busy machine sees the end late
    assert 2 * ["the scheduler shows the end of its run"] == [
        entry["reason"] for entry in said(daemon, "lease.released")
    ]


def test_a_limit_alone_ends_no_run_that_is_listed(daemon, slurm):
    """A job whose limit was raised, or that was suspended, would lose its lease at its first limit."""
    slurm.lists(row("1", ends="NONE", uid="0"), row("2", "SUSPENDED", ends="1700000000", uid="0"))
    for job in (1, 2):
        daemon.ask("fez", job=job, facts={"time_limit_s": 0.1})
    slurm.is_asked()

    assert ["1", "2"] == held(daemon)


def test_a_limit_ends_a_run_that_is_not_listed(daemon, slurm):
    """At a site where nothing else runs, a lease whose release was lost would be held for ever."""
    slurm.lists()
    daemon.ask("fez", facts={"time_limit_s": 1.5})
    slurm.is_asked(2)

    assert ["1"] == held(daemon)
    until(lambda: not daemon.leases())
    assert [True] == ["its time limit passed" in entry["reason"] for entry in said(daemon, "lease.released")]


def test_a_raised_limit_outlives_a_restart(asking, slurm):
    """The lease of a job with ten hours more would end at the first limit, when the controller then lists nothing."""
    daemon = asking.start()
    daemon.ask("fez", facts={"time_limit_s": 1})
    slurm.lists(row("1", ends=str(int(time.time()) + 36_000), uid="0"))
    until(lambda: daemon.leases()[0]["expires_at"] > time.time() + 35_000)
    daemon.stop()
    slurm.does("true")
    daemon.start()
    time.sleep(1.2)  # the first limit
    slurm.is_asked()

    assert ["1"] == held(daemon)
    assert daemon.leases()[0]["expires_at"] > time.time() + 35_000


def test_a_run_that_lives_past_its_end_does_not_end_with_an_empty_list(daemon, slurm):
    """A job that is suspended keeps the end that it had, and an empty list would take its lease."""
    slurm.lists(row("1", "SUSPENDED", ends=str(int(time.time()) - 5), uid="0"))
    daemon.ask("fez", facts={"time_limit_s": 1})
    slurm.is_asked()
    slurm.does("true")
    time.sleep(1.2)
    slurm.is_asked()

    assert ["1"] == held(daemon)
