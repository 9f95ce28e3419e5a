"""A lease that cannot be had: one line for the user, his code does not start, the node stays, nothing is kept."""

from __future__ import annotations

import signal
import time

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
    "acquire crashes": Failure("qrmi: fez: the backend"),
    "acquire hangs": Failure("qrmi: fez: not granted within 2 s: submit again later", timeout_s=2),
    "the key is wrong": Failure(AUTH),
    "drained": Failure("qrmi: fez: unavailable: drained: calibration until 14:00. Try again later"),
    "busy": Failure("qrmi: fez: still held by others: 2 s waited, held by job 4711. Try again later", timeout_s=2),
    "broker down": Failure("qrmi: fez: node n1: broker on "),
    "one of two fails": Failure("qrmi: other: unavailable: acquire is not served at the moment.", "fez,other"),
}


def arrange(cluster: Cluster, failure: str) -> None:
    """Let it fail so."""
    cluster.use_plugin(f"timeout={FAILURES[failure].timeout_s}")
    if failure == "one of two fails":
        cluster.hang("acquire", cluster.other, "fail")
    elif failure.startswith("acquire"):
        cluster.hang("acquire", how=failure.split()[1].rstrip("s").replace("crashe", "crash"))
    elif failure == "the key is wrong":
        (cluster.service / "api_key").write_text("canary-another")
    elif failure == "drained":
        cluster.broker.admin().ask("POST", "/v1/resources/fez/drain", b'{"reason": "calibration until 14:00"}')
    elif failure == "busy":
        cluster.broker.ask({"name": "fez", "exclusive": True}, job=4711, run={"start_time": int(time.time())})
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


def check(output: str, failure: Failure) -> None:
    """One line of ours, as it should be, and no sign of the user's program."""
    assert 1 == len(ours(output)), output
    (line,) = ours(output)
    assert line.startswith(failure.says)
    assert len(line) <= 200
    assert "RAN" not in output
    assert "canary" not in output


WAYS = {
    "sbatch": "sbatch",
    "srun on one node": "srun -n4 --qpu={qpu} echo RAN",
    "srun on two nodes": "srun -n8 -N2 --qpu={qpu} echo RAN",
    "salloc": "salloc --qpu={qpu} srun -n2 echo RAN",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("broken", FAILURES, indirect=True)
def test_a_job_without_its_lease_ends_with_one_line(broken, way):
    """A user reads nothing, or eight times the same; his program runs without its resource; a node is drained."""
    cluster, failure = broken
    opened, closed = cluster.counts()
    if way == "sbatch":
        job, state, output = cluster.batch(f"--qpu={failure.qpu}", script="echo RAN; srun echo RAN")
        assert ("FAILED", "3:0") == (state, cluster.facts(job)["ExitCode"])
        assert [output.rstrip("\n")] == ours(output)
    else:
        done = cluster.run(*WAYS[way].format(qpu=failure.qpu).split())
        assert 3 == done.returncode
        output = done.stdout + done.stderr
    check(output, failure)
    assert "" == cluster.drain_reasons()
    for path in cluster.service.glob("hang-*"):
        path.unlink()
    now_opened, now_closed = 0, 0

    def is_even() -> bool:
        nonlocal now_opened, now_closed
        now_opened, now_closed = (now - then for now, then in zip(cluster.counts(), (opened, closed), strict=True))
        return now_opened == now_closed

    until(is_even, "every session that was opened is closed")
    assert now_opened == (1 if "," in failure.qpu or "hang" in failure.says or "not granted" in failure.says else 0)


@pytest.fixture
def busy(cluster):
    """Another job has all lanes, and the plugin waits for long."""
    cluster.use_plugin("timeout=60")
    held = cluster.broker.ask({"name": "fez", "exclusive": True}, job=4711, run={"start_time": int(time.time())})
    yield cluster, held["id"]
    cluster.broker.release(held["id"])


def test_a_job_that_is_cancelled_while_it_waits_ends_at_once(busy):
    """scancel has no effect until the lane is free, and then the cancelled job starts."""
    cluster, _ = busy
    before = cluster.counts()
    job = cluster.sbatch("--qpu=fez", script="echo RAN")
    until(lambda: len(cluster.broker.leases()) == 2, "the request")
    started = time.monotonic()
    cluster.run("scancel", job)
    until(lambda: not cluster.run("squeue", "-h").stdout.strip(), "the end of the job", 10)

    assert time.monotonic() - started < 5
    assert "CANCELLED" == cluster.state(job)
    lines = cluster.output(job).splitlines()
    assert ["qrmi: fez: the job was cancelled while it waited: nothing was started"] == ours("\n".join(lines))
    assert "RAN" not in lines
    until(lambda: len(cluster.broker.leases()) == 1, "only the other's lease is left")
    assert before == cluster.counts()


def test_a_job_that_waits_starts_when_the_lane_is_free(busy):
    """A busy resource fails the job, although it would have been free within the time allowed."""
    cluster, held = busy
    job = cluster.sbatch("--qpu=fez", script="show batch; echo RAN")
    until(lambda: len(cluster.broker.leases()) == 2, "the request")
    cluster.broker.release(held)
    assert "COMPLETED" == cluster.wait(job)
    assert "RAN\n" == cluster.output(job)


def test_a_broker_that_is_restarted_is_waited_for(cluster):
    """Every job that starts while the broker is restarted fails."""
    cluster.broker.stop()
    job = cluster.sbatch("--qpu=fez", script="echo RAN")
    cluster.wait(job, "RUNNING")
    cluster.start_daemon("n1")
    assert "COMPLETED" == cluster.wait(job)


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
