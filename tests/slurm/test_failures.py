"""A lease that cannot be had: one line for the user, his code does not start, the node stays, nothing is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from attrs import frozen
from broker.daemon import KEY

from slurm.cluster import Cluster, until
from slurm.jobs import ours


@frozen
class Failure:
    """How a lease cannot be had."""

    says: str
    """The beginning of the line."""
    qpu: str = "fez"
    timeout_s: int = 20


AUTH = "qrmi: fez: authentication failed: that is not the key of this account. Check the credential"
FAILURES = {
    "acquire fails": Failure("qrmi: fez: unavailable: acquire is not served at the moment. Try again later"),
    "acquire crashes": Failure("qrmi: fez: its backend failed: RuntimeError in acquire: acquire: [redacted]"),
    "acquire hangs": Failure("qrmi: fez: not granted within 2 s: submit again later", timeout_s=2),
    "the key is wrong": Failure(AUTH),
    "vetoed": Failure("qrmi: fez: not authorised: project closed. Ask the administrators of this site"),
    "drained": Failure("qrmi: fez: unavailable: drained: calibration until 14:00. Try again later"),
    "busy": Failure("qrmi: fez: still held by others: 2 s waited, held by job ", timeout_s=2),
    "broker down": Failure("qrmi: fez: node n1: broker on "),
    "one of two fails": Failure("qrmi: other: unavailable: acquire is not served at the moment.", "fez,other"),
}


def hold(cluster: Cluster) -> str:
    """A job that has all lanes of `fez`."""
    job = cluster.sbatch("--qpu=fez:exclusive", script="touch held; sleep 600")
    until((cluster.work / "held").exists, "the holder runs")
    (cluster.work / "held").unlink()
    return job


def arrange(cluster: Cluster, failure: str) -> None:
    """Let it fail so."""
    cluster.use_plugin(f"timeout={FAILURES[failure].timeout_s}")
    if failure == "one of two fails":
        cluster.hang("acquire", cluster.other, "fail")
    elif failure.startswith("acquire"):
        cluster.hang("acquire", how=failure.split()[1].rstrip("s").replace("crashe", "crash"))
    elif failure == "the key is wrong":
        (cluster.service / "api_key").write_text("canary-another")
    elif failure == "vetoed":
        cluster.closed.write_text("project closed")
    elif failure == "drained":
        cluster.broker.admin().ask("POST", "/v1/resources/fez/drain", body=b'{"reason": "calibration until 14:00"}')
    elif failure == "busy":
        hold(cluster)
    else:
        cluster.broker.stop()


@pytest.fixture
def broken(request, cluster):
    """The cluster, in which a lease cannot be had; mended afterwards."""
    arrange(cluster, request.param)
    yield cluster, FAILURES[request.param]
    (cluster.service / "api_key").write_text(KEY)
    cluster.mend()
    cluster.broker.admin().ask("POST", "/v1/resources/fez/resume")


WAYS = {
    "sbatch": "sbatch",
    "srun on one node": "srun -n4 --qpu={qpu} echo RAN",
    "srun on two nodes": "srun -n8 -N2 --qpu={qpu} echo RAN",
    "salloc": "salloc -n2 --qpu={qpu} srun -n2 echo RAN",
}


def check(output: str, failure: Failure) -> None:
    """One line of ours, as it should be, and no sign of the user's program."""
    assert 1 == len(ours(output)), output
    (line,) = ours(output)
    assert line.startswith(failure.says)
    assert len(line) <= 200
    assert "RAN" not in output
    assert "canary" not in output


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("broken", FAILURES, indirect=True)
def test_a_job_without_its_lease_ends_with_one_line(broken, way):
    """A user reads nothing, or eight times the same; his program runs without its resource; a node is drained."""
    cluster, failure = broken
    before = cluster.counts()
    if way == "sbatch":
        job = cluster.sbatch(f"--qpu={failure.qpu}", script="echo RAN; srun echo RAN")
        cluster.wait(job, "COMPLETING", "FAILED")
        cluster.answer()
        cluster.wait(job)
        output = cluster.output(job)
        assert ("FAILED", "3:0") == (cluster.state(job), cluster.facts(job)["ExitCode"])
        assert [output.rstrip("\n")] == ours(output)
    else:
        done = cluster.run(*WAYS[way].format(qpu=failure.qpu).split())
        assert 3 == done.returncode
        output = done.stdout + done.stderr
    check(output, failure)
    assert "" == cluster.drain_reasons()
    cluster.answer()
    until(lambda: len(set(sessions(cluster, before))) == 1, "every session that was opened is closed")
    if "," in failure.qpu:
        assert (1, 1) == sessions(cluster, before)


def sessions(cluster: Cluster, before: tuple[int, int]) -> tuple[int, int]:
    """Opened and closed since *before*."""
    return tuple(now - then for now, then in zip(cluster.counts(), before, strict=True))


@pytest.fixture
def busy(cluster):
    """Another job has all lanes, and the plugin waits for long."""
    cluster.use_plugin("timeout=60")
    return cluster, hold(cluster)


def cancelled(cluster: Cluster, way: str, qpu: str, *others: str) -> str:
    """Start a job so, cancel it as soon as the broker knows of it beside *others*; what it printed."""
    if way == "sbatch":
        process, job = None, cluster.sbatch(f"--qpu={qpu}", script="echo RAN")
    else:
        process = cluster.begin(*WAYS[way].format(qpu=qpu).split())
    job = until(lambda: next((job for job in cluster.leases() if job not in others), None), "the request")
    started = time.monotonic()
    cluster.run("scancel", job)
    if process is None:
        cluster.wait(job, "CANCELLED", "COMPLETING", within_s=10)
        until(lambda: ours(cluster.output(job)), "its line", 10)
    output = process.communicate(timeout=30)[0] if process else cluster.output(job)
    assert time.monotonic() - started < 5
    return output


@pytest.mark.parametrize("way", WAYS)
def test_a_job_that_is_cancelled_while_it_waits_ends_at_once(busy, way):
    """scancel has no effect until the lane is free, and then the cancelled job starts; or it keeps what it had."""
    cluster, holder = busy
    before = cluster.counts()
    output = cancelled(cluster, way, "other:exclusive,fez", holder)

    check(output, Failure("qrmi: other,fez: the job was cancelled while it waited: nothing was started"))
    until(lambda: [holder] == cluster.leases(), "only the other's lease is left", 5)
    assert before == cluster.counts()
    assert "" == cluster.drain_reasons()
    assert 0 == cluster.run("srun", "--qpu=other:exclusive", "true").returncode


@pytest.mark.parametrize("way", WAYS)
def test_a_job_that_is_cancelled_while_the_vendor_hangs_ends_at_once(cluster, way):
    """The session that the vendor opens afterwards is nobody's, and is kept; or the user waits for the vendor."""
    before = cluster.counts()
    cluster.hang("acquire")
    output = cancelled(cluster, way, "fez")

    check(output, Failure("qrmi: fez: the job was cancelled while it waited: nothing was started"))
    assert before == cluster.counts()
    cluster.answer()
    until(lambda: (1, 1) == sessions(cluster, before), "the session is opened, and closed", 10)
    until(lambda: not cluster.leases(), "no lease is left", 5)
    assert "" == cluster.drain_reasons()


@pytest.mark.parametrize("way", WAYS)
def test_a_job_that_is_cancelled_in_the_moment_of_its_lease_does_not_start(cluster, way):
    """The lease comes before anybody has looked at the job again, and a cancelled job runs, on a paid QPU."""
    before = cluster.counts()
    cluster.hang("acquire")
    begun = cluster.sbatch("--qpu=fez", script="echo RAN") if way == "sbatch" else None
    process = None if begun else cluster.begin(*WAYS[way].format(qpu="fez").split())
    (job,) = until(cluster.leases, "the request")
    time.sleep(0.2)  # a lease that comes at once is not looked at again
    cluster.run("scancel", job)
    cluster.answer()
    output = process.communicate(timeout=30)[0] if process else (cluster.wait(job), cluster.output(job))[1]

    check(output, Failure("qrmi: fez: the job was cancelled while it waited: nothing was started"))
    until(lambda: (1, 1) == sessions(cluster, before), "the session is opened, and closed", 10)
    until(lambda: not cluster.leases(), "no lease is left", 5)
    assert "" == cluster.drain_reasons()


def test_a_job_that_waits_starts_when_the_lane_is_free(busy):
    """A busy resource fails the job, although it would have been free within the time allowed."""
    cluster, holder = busy
    job = cluster.sbatch("--qpu=fez", script="show batch; echo RAN")
    until(lambda: job in cluster.leases(), "the request")
    cluster.run("scancel", holder)
    assert "COMPLETED" == cluster.wait(job)
    assert "RAN\n" == cluster.output(job)


def test_a_broker_that_is_restarted_is_waited_for(cluster):
    """Every job that starts while the broker is restarted fails."""
    cluster.broker.stop()
    job = cluster.sbatch("--qpu=fez", script="echo RAN")
    cluster.wait(job, "RUNNING")
    cluster.start_daemon("n1")
    assert "COMPLETED" == cluster.wait(job)


RESTARTS = {"the broker": ("n1", "n1"), "the broker behind a relay": ("n1", "n2"), "the relay": ("n2", "n2")}
"""Which node's daemon is restarted, and where the job waits."""


@pytest.mark.parametrize("which", RESTARTS)
def test_a_job_that_waits_outlives_a_restart(busy, which):
    """Whoever updates the broker or a relay ends every job that waits."""
    cluster, holder = busy
    daemon, node = RESTARTS[which]
    job = cluster.sbatch("-w", node, "--qpu=fez", script="echo RAN")
    until(lambda: job in cluster.leases(), "the request")
    cluster.daemons[daemon].stop()
    cluster.start_daemon(daemon)
    cluster.run("scancel", holder)
    assert "COMPLETED" == cluster.wait(job)
    assert "RAN\n" == cluster.output(job)


@pytest.mark.parametrize("which", RESTARTS)
def test_a_job_whose_lease_is_being_acquired_outlives_a_crash(cluster, which):
    """The connection breaks off in the middle of the first request: "not our protocol"."""
    daemon, node = RESTARTS[which]
    cluster.use_plugin("timeout=60")
    cluster.hang("acquire")
    job = cluster.sbatch("-w", node, "--qpu=fez", script="echo RAN")
    until(lambda: job in cluster.leases(), "the request")
    cluster.daemons[daemon].kill()
    cluster.answer()
    cluster.start_daemon(daemon)
    assert "COMPLETED" == cluster.wait(job)
    assert "RAN\n" == cluster.output(job)


@pytest.mark.parametrize("node", ["n1", "n2"])
def test_a_job_that_is_cancelled_while_the_broker_is_away_ends_at_once(busy, node):
    """scancel has no effect until the broker is back."""
    cluster, _ = busy
    job = cluster.sbatch("-w", node, "--qpu=fez", script="echo RAN")
    until(lambda: job in cluster.leases(), "the request")
    cluster.broker.stop()
    cluster.run("scancel", job)
    until(lambda: ours(cluster.output(job)), "its line", 10)
    check(cluster.output(job), Failure("qrmi: fez: the job was cancelled while it waited: nothing was started"))


HETEROGENEOUS = {
    "nope": "qrmi: --qpu: there is no resource 'nope'.",
    "nope,fez": "qrmi: warning: nope: no such resource; the job goes on without it",
}


@pytest.mark.parametrize("qpu", HETEROGENEOUS)
def test_of_a_heterogeneous_job_only_the_first_task_speaks(cluster, qpu):
    """A user reads the same line once for each component."""
    done = cluster.run("srun", f"--qpu={qpu}", "-n1", "true", ":", "-n1", "true")
    (line,) = ours(done.stderr)
    assert line.startswith(HETEROGENEOUS[qpu])


def test_a_node_whose_relay_is_down_says_so_itself(cluster):
    """Of a step on two nodes the second one's tasks end without a word."""
    cluster.daemons["n2"].stop()
    done = cluster.run("srun", "-n4", "-N2", "--qpu=fez", "true")
    assert 3 == done.returncode
    (line,) = ours(done.stderr)
    assert line.startswith("qrmi: fez: node n2: broker on ")


def test_a_broker_that_hangs_is_not_waited_for_longer_than_allowed(cluster):
    """A job holds its node for as long as somebody accepts connections and does not answer."""
    cluster.use_plugin("timeout=2")
    cluster.broker.process.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    done = cluster.run("srun", "--qpu=fez", "-w", "n1", "echo", "RAN")
    assert time.monotonic() - started < 10
    assert "" == done.stdout
    (line,) = ours(done.stderr)
    assert line.startswith("qrmi: fez: n")


def asker(cluster: Cluster, job: str, node: str) -> tuple[int, int]:
    """The batch step's slurmstepd while *job* waits, and the child that asks for it."""
    until(lambda: job in cluster.leases(), f"the request from {node}")
    parent_of = {pid: int(Path(f"/proc/{pid}/stat").read_text().split()[3]) for pid in cluster.steps(job, "batch")}
    return next((parent, pid) for pid, parent in parent_of.items() if parent in parent_of)


@pytest.mark.parametrize("node", ["n1", "n2"])
def test_a_job_whose_asker_is_killed_ends_with_one_line(busy, node):
    """Whatever kills the child that asks, as want of memory does, lets a job wait for ever, or start with no lease."""
    cluster, holder = busy
    job = cluster.sbatch("-w", node, "--qpu=fez", script="echo RAN")
    os.kill(asker(cluster, job, node)[1], signal.SIGKILL)

    assert "FAILED" == cluster.wait(job)
    says = f"qrmi: --qpu: node {node}: the process that asked the broker was killed: submit again"
    check(cluster.output(job), Failure(says))
    until(lambda: [holder] == cluster.leases(), "only the other's lease is left", 5)
    assert "" == cluster.drain_reasons()


@pytest.mark.parametrize("node", ["n1", "n2"])
def test_a_slurmstepd_that_is_killed_while_it_waits_takes_its_asker_along(busy, node):
    """The child asks on, and gets a lease for a job that is dead."""
    cluster, holder = busy
    job = cluster.sbatch("-w", node, "--no-requeue", "--qpu=fez", script="echo RAN")
    parent, child = asker(cluster, job, node)
    os.kill(parent, signal.SIGKILL)

    until(lambda: not alive(child), "the child is gone", 5)
    until(lambda: [holder] == cluster.leases(), "only the other's lease is left", 5)


def alive(pid: int) -> bool:
    """Whether the process runs; one that nobody has collected yet does not."""
    path = Path(f"/proc/{pid}/stat")
    return path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z"


_GIVES_UP = """\
#include <slurm/spank.h>
SPANK_PLUGIN(gives_up, 1)
int slurm_spank_user_init(spank_t sp, int ac, char **av) { (void)sp; (void)ac; (void)av; return -1; }
"""


def test_a_step_that_slurm_gives_up_gives_its_lease_back(cluster):
    """Another plugin fails the step while we ask: the lease of a job that never started is nobody's."""
    source, plugin = cluster.folder / "gives_up.c", cluster.folder / "gives_up.so"
    source.write_text(_GIVES_UP)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", plugin, source], check=True, timeout=60)
    before, plugstack = cluster.counts(), cluster.plugstack.read_text()
    cluster.plugstack.write_text(f"required {plugin}\n{plugstack}")
    job = cluster.sbatch("-w", "n1", "--qpu=fez", script="echo RAN")
    cluster.wait(job)
    cluster.plugstack.write_text(plugstack)
    until(lambda: (1, 1) == sessions(cluster, before), "one session, which is closed", 10)
    until(lambda: not cluster.leases(), "no lease is left", 5)
    assert "RAN" not in cluster.output(job)
    cluster.run("scontrol", "update", "nodename=n1", "state=resume")  # it is Slurm that drains it
    until(lambda: not cluster.drain_reasons(), "the node is back")
