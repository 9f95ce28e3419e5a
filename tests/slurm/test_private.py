"""`PrivateData=jobs`, and a broker that is neither root nor SlurmUser: what it is not shown has not ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from broker.daemon import INSTALLED, short_folder

from slurm import lanes, readable
from slurm.cluster import Cluster, until
from slurm.jobs import ordinary

KEPT_S = 6.0
"""How long a lease must stay: three looks of the reconciler."""
REMEDY = "Run qrmid as root (SlurmUser), or take `jobs` out of PrivateData in slurm.conf"


def hand_over(cluster: Cluster, *paths: Path) -> None:
    """Let the broker be an ordinary user, to whom *paths* belong too; a vendor has opened its service to him."""
    user = cluster.user
    also = (INSTALLED, INSTALLED.with_name("hooked"))
    commands = readable.install(cluster.folder / "readable", "qrmi-core", "qrmi-broker", also=also)
    cluster.broker.run_as(user, commands / "qrmid")
    services = (path for service in (cluster.service, cluster.other) for path in (service, service / "api_key"))
    for path in (*services, cluster.folder / "broker.pem", cluster.folder / "broker.key", *paths):
        os.chown(path, user.uid, user.gid)


@pytest.fixture(scope="module", params=["", "SlurmUser={user}\n"], ids=["nobody", "SlurmUser"])
def booted(plugin: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster whose broker is an ordinary user to Slurm; or SlurmUser, who is no longer root then."""
    extra = request.param.format(user=ordinary().name)
    with short_folder() as name:
        folder = Path(name)
        cluster = Cluster(folder, plugin, extra=f"PrivateData=jobs\n{extra}")
        hand_over(cluster, *(folder / one for one in ("log", "pid", "spool/ctld") if extra))
        try:
            yield cluster.start()
        finally:
            cluster.stop()


@pytest.fixture
def job(cluster) -> str:
    """A job of root with a lease, on a node with a relay; the broker's user has a job too, and so a listing to see."""
    before = cluster.counts()[0]
    own = cluster.sbatch(script="sleep 600", user=cluster.user)
    made = cluster.sbatch("-w", "n2", "--qpu=fez", script="sleep 600")
    until(lambda: cluster.counts()[0] > before, "its session")
    cluster.wait(own, "RUNNING")
    return made


def seen_by_broker(cluster: Cluster) -> list[str]:
    """The jobs that the broker's user is shown."""
    return cluster.run("squeue", "-h", "-o", "%i", user=cluster.user).stdout.split()


def finding(cluster: Cluster) -> str:
    """What `qrmi slurm check` says of the broker's sight."""
    socket = str(cluster.folder / "n1" / "run" / "admin.sock")
    done = lanes.qrmi(cluster, "check", "--config", str(cluster.broker.config), "--socket", socket)
    return next(line for line in done.stdout.splitlines() if "sight" in line)


@pytest.mark.parametrize("booted", [""], indirect=True)
def test_a_broker_that_is_shown_no_jobs_ends_no_lease_and_says_so(cluster, job):
    """Every lease of another user's job is released while the job runs, and its lane given to the next one."""
    opened, closed = cluster.counts()
    assert job not in seen_by_broker(cluster) != []
    deadline = time.monotonic() + KEPT_S
    while time.monotonic() < deadline:
        assert (opened, closed) == cluster.counts()
        time.sleep(0.1)
    assert [job] == cluster.leases()

    (off,) = [one for one in cluster.broker.events if one["event"] == "reconciler.off"]
    said = f"PrivateData=jobs hides other users' jobs from us. {REMEDY}"
    assert said == off["reason"] == cluster.broker.admin().ask_json("GET", "/v1/health")["reconciler_off"]
    assert "WRONG" in finding(cluster)
    assert f"PrivateData hides other users' jobs from {cluster.user.name}" in finding(cluster)
    cluster.end_jobs()
    until(lambda: cluster.counts() == (opened, closed + 1), "released at the job's end", 10)


@pytest.mark.parametrize("booted", [""], indirect=True)
def test_a_broker_that_is_shown_no_jobs_learns_of_deaths(cluster, job):
    """Without the scheduler's word nobody would tell the broker that a slurmstepd died."""
    opened, closed = cluster.counts()
    for pid in cluster.steps(job, "batch"):
        os.kill(pid, signal.SIGKILL)
    until(lambda: cluster.counts() == (opened, closed + 1), "the session is closed", 5)


@pytest.mark.parametrize("booted", ["SlurmUser={user}\n"], indirect=True)
def test_a_broker_that_is_slurms_own_user_sees_what_has_ended(cluster, job):
    """What the guide tells an administrator to do does not help: a lost node keeps its lanes."""
    opened, closed = cluster.counts()
    assert job in seen_by_broker(cluster)
    assert finding(cluster).startswith("ok")
    time.sleep(KEPT_S)
    assert (opened, closed) == cluster.counts()
    cluster.slurmds["n2"].kill()
    cluster.daemons["n2"].kill()
    for pid in cluster.steps(job, "batch"):
        os.kill(pid, signal.SIGKILL)
    cluster.run("scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=gone")

    until(lambda: cluster.counts() == (opened, closed + 1), "the session is closed", 30)
    assert [] == [one for one in cluster.broker.events if one["event"] == "reconciler.off"]
    cluster.start_node("n2")
    cluster.run("scontrol", "update", "NodeName=n2", "State=IDLE")
