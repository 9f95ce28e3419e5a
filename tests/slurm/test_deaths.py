"""Who dies, and what becomes of the lease: kept while the job lives, released once and soon when it does not.

The controller hides jobs from other users (`PrivateData=jobs`): the broker runs as root here and must still see them.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest
from attrs import frozen

from slurm.cluster import Cluster, until

EXTRA = "PrivateData=jobs\nSlurmdTimeout=30\n"
KEPT_S = 6.0
"""How long a lease must stay: three looks of the reconciler."""


@frozen
class Running:
    """A job that holds its lease."""

    cluster: Cluster
    id: str
    node: str

    def kill(self, step: str) -> None:
        """Kill the slurmstepds of a step."""
        pids = until(lambda: self.cluster.steps(self.id, step), f"slurmstepd of step {step}", 5)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def control(self, *words: str) -> None:
        """Ask scontrol."""
        done = self.cluster.run("scontrol", *words)
        assert done.returncode == 0, done.stderr

    @property
    def expires_at(self) -> float:
        """When the broker thinks that its time is over."""
        return next(one["expires_at"] for one in self.cluster.broker.leases() if one["job_id"] == self.id)


@pytest.fixture
def job(request, cluster) -> Running:
    """A job with a program of the user's and a step; it has the lease of `fez`. By default on n2, where a relay is."""
    node = getattr(request, "param", "n2")
    step = "bash -c 'sleep 0.5; touch step; exec sleep 600'"  # Slurm hangs if it suspends a step at its start
    script = f"sleep 611 & echo $! > program; srun --overlap {step}; touch step-ended; wait"
    for name in ("program", "step"):
        (cluster.work / name).unlink(missing_ok=True)
    made = cluster.sbatch("-w", node, "-t", "5", "--requeue", "--qpu=fez", script=script)
    until((cluster.work / "step").exists, "the program and the step run")
    return Running(cluster, made, node)


def kill_slurmd(job: Running) -> None:
    """The node's daemon dies and comes back; its slurmstepds go on."""
    job.cluster.slurmds["n2"].kill()
    time.sleep(1.0)
    job.cluster.start_node("n2")


def kill_controller(job: Running) -> None:
    """The controller dies and comes back. What it had not saved yet is lost, and would be a job's end."""
    started, saved = (job.cluster.folder / name for name in ("work/program", "spool/ctld/job_state"))
    until(lambda: saved.exists() and saved.stat().st_mtime > started.stat().st_mtime, "it has saved the job", 15)
    job.cluster.controller.kill()
    time.sleep(2.5)
    job.cluster.start_controller()


def stop_controller_for_long(job: Running) -> None:
    """The controller does not answer for two looks of the reconciler."""
    job.cluster.controller.process.send_signal(signal.SIGSTOP)
    time.sleep(5.0)
    job.cluster.controller.process.send_signal(signal.SIGCONT)


def kill_daemon(name: str) -> Callable[[Running], None]:
    """Kill the broker or a relay, and start it again."""

    def kill(job: Running) -> None:
        job.cluster.daemons[name].kill()
        job.cluster.start_daemon(name)

    return kill


def suspend(job: Running) -> None:
    """Suspend the job for a while."""
    job.control("suspend", job.id)
    job.cluster.wait(job.id, "SUSPENDED")
    time.sleep(4.5)
    job.control("resume", job.id)


def raise_limit(job: Running) -> None:
    """The administrator gives the job an hour."""
    job.control("update", f"JobId={job.id}", "TimeLimit=60")
    until(lambda: job.expires_at > time.time() + 1800, "the broker knows of the new limit", 10)


KEPT = {
    "step slurmstepd": lambda job: job.kill("0"),
    "slurmd": kill_slurmd,
    "slurmctld": kill_controller,
    "slurmctld hangs": stop_controller_for_long,
    "broker": kill_daemon("n1"),
    "relay": kill_daemon("n2"),
    "suspended and resumed": suspend,
    "a raised time limit": raise_limit,
}


@pytest.mark.parametrize("event", KEPT)
def test_a_lease_that_is_needed_is_kept(event, job):
    """Something dies beside a job that goes on, and the job loses its resource, or its token."""
    cluster = job.cluster
    opened, closed = cluster.counts()
    KEPT[event](job)
    deadline = time.monotonic() + KEPT_S
    while time.monotonic() < deadline:
        assert (opened, closed) == cluster.counts()
        time.sleep(0.1)
    assert [job.id] == cluster.leases()
    assert "RUNNING" == cluster.state(job.id)

    cluster.end_jobs()
    until(lambda: cluster.counts() == (opened, closed + 1), "released at the job's end", 10)


def kill_program(job: Running) -> None:
    """The user's script dies."""
    os.kill(int((job.cluster.work / "program").read_text()), signal.SIGKILL)
    job.cluster.run("scancel", f"{job.id}.0")


def pass_limit(job: Running) -> None:
    """Its time is over: Slurm looks every half minute."""
    job.control("update", f"JobId={job.id}", f"EndTime={time.strftime('%Y-%m-%dT%H:%M:%S')}")
    job.cluster.wait(job.id, "TIMEOUT")


def lose_node(job: Running) -> None:
    """The whole node is gone, and the administrator says so; the job is queued again."""
    job.cluster.slurmds["n2"].kill()
    job.kill("0")
    job.kill("batch")
    job.control("update", "NodeName=n2", "State=DOWN", "Reason=gone")


def kill_broker_before_the_end(job: Running) -> None:
    """The job ends while the broker is away."""
    job.cluster.broker.kill()
    job.cluster.run("scancel", job.id)
    time.sleep(1.0)
    job.cluster.start_daemon("n1")


def kill_broker_and_step(job: Running) -> None:
    """Nobody is there to be told that the batch step died, and then the job is cancelled."""
    job.cluster.broker.kill()
    job.kill("batch")
    job.cluster.run("scancel", job.id)
    job.cluster.start_daemon("n1")


RELEASED = {
    "user's program": (kill_program, 5.0),
    "batch slurmstepd": (lambda job: job.kill("batch"), 5.0),
    "scancel": (lambda job: job.cluster.run("scancel", job.id), 5.0),
    "time limit": (pass_limit, 30.0),
    "node lost": (lose_node, 30.0),
    "broker away at the end": (kill_broker_before_the_end, 30.0),
    "broker away, slurmstepd killed": (kill_broker_and_step, 30.0),
}
"""What happens, and within how many seconds the session is closed."""


@pytest.mark.parametrize("event", RELEASED)
def test_a_lease_that_is_no_longer_needed_is_released_once(event, job):
    """A lane is lost until somebody notices; or its session is closed twice."""
    cluster = job.cluster
    opened, closed = cluster.counts()
    happens, within_s = RELEASED[event]
    happens(job)
    until(lambda: cluster.counts()[1] > closed, "the session is closed", within_s)
    cluster.run("scancel", job.id)
    if event == "node lost":
        cluster.start_node("n2")
        job.control("update", "NodeName=n2", "State=IDLE")
    cluster.end_jobs(60.0)
    assert closed + 1 == cluster.counts()[1]
    assert opened == cluster.counts()[0]


@pytest.mark.parametrize("is_away", [False, True], ids=["before", "meanwhile"])
@pytest.mark.parametrize("job", ["n1", "n2"], indirect=True, ids=["broker", "relay"])
def test_a_restart_does_not_hide_the_death_of_a_batch_step(job, is_away):
    """Who watched was restarted: the lane is lost until Slurm itself notices, a minute later."""
    cluster, daemon = job.cluster, job.cluster.daemons[job.node]
    opened, closed = cluster.counts()
    daemon.kill()
    if is_away:
        job.kill("batch")
    cluster.start_daemon(job.node)
    if not is_away:
        job.kill("batch")
    until(lambda: cluster.counts() == (opened, closed + 1), "the session is closed", 5.0)


def test_a_requeued_job_is_a_new_run(job):
    """The second run inherits the first one's session, or the end of the first one ends the second one's lease."""
    cluster = job.cluster
    opened, closed = cluster.counts()
    job.control("requeue", job.id)
    until(lambda: cluster.counts() == (opened, closed + 1), "the first run's session is closed", 10)
    cluster.wait(job.id, "RUNNING", within_s=30)
    until(lambda: cluster.counts() == (opened + 1, closed + 1), "the second run has its own")
    time.sleep(KEPT_S)
    assert (opened + 1, closed + 1) == cluster.counts()
