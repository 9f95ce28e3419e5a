"""The epilog of a requeued job's old run comes when the new run holds its lease: it must not end that one."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from attrs import frozen

from slurm.cluster import Cluster, until

KEPT_S = 6.0
"""How long a lease must stay: three looks of the reconciler."""
_DELAY = """\
#include <stdio.h>
#include <unistd.h>
const char plugin_name[] = "delay", plugin_type[] = "spank";
#include <slurm/slurm.h>
const unsigned int plugin_version = SLURM_VERSION_NUMBER, spank_plugin_version = 1;
/* Before every later plugin's epilog: say who waits, and wait while the first file is there. */
int slurm_spank_job_epilog(void *sp, int argc, char **argv)
{
	FILE *out = access(argv[0], F_OK) == 0 && argc == 2 ? fopen(argv[1], "w") : NULL;

	(void) sp;
	if (out) {
		fprintf(out, "%d\\n", (int) getpid());
		fclose(out);
	}
	while (access(argv[0], F_OK) == 0)
		usleep(20000);
	return 0;
}
"""


@frozen
class Delay:
    """What keeps epilogs waiting, as a site's own plugin may."""

    held: Path
    waits: Path

    def let_go(self) -> None:
        """Let the epilog that waits do its work, and see it end."""
        status = Path(f"/proc/{self.waits.read_text().strip()}/stat")
        self.held.unlink()
        until(lambda: not status.exists() or ") Z " in status.read_text(), "the epilog has ended", 20)


@pytest.fixture
def delay(cluster) -> Delay:
    """Another plugin, whose epilog comes before ours."""
    source, built = cluster.folder / "delay.c", cluster.folder / "delay.so"
    source.write_text(_DELAY)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", built, source], check=True, timeout=60)
    one = Delay(cluster.folder / "hold-epilog", cluster.folder / "epilog-waits")
    one.held.touch()
    cluster.plugstack.write_text(f"optional {built} {one.held} {one.waits}\n{cluster.plugstack.read_text()}")
    yield one
    one.held.unlink(missing_ok=True)
    one.waits.unlink(missing_ok=True)


@pytest.fixture
def nodes(cluster) -> Cluster:
    """The cluster, whose nodes take work again afterwards."""
    yield cluster
    cluster.end_jobs(60.0)
    for name in cluster.names:
        cluster.run("scontrol", "update", f"NodeName={name}", "State=RESUME")


@pytest.mark.parametrize("node", ["n1", "n2"], ids=["another node", "the same node"])
def test_a_late_epilog_does_not_end_the_new_runs_lease(nodes, delay, node):
    """The old run's epilog, held up on a node that was given up meanwhile, takes the new run's session away."""
    cluster = nodes
    opened, closed = cluster.counts()
    job = cluster.sbatch("--exclude=n1", "--requeue", "--qpu=fez", script="sleep 600")
    until(lambda: cluster.counts()[0] == opened + 1, "the first run has its session")
    cluster.wait(job, "RUNNING")
    control(cluster, "requeue", job)
    until(delay.waits.exists, "the old run's epilog waits", 20)
    control(cluster, "update", "NodeName=n2", "State=DOWN", "Reason=hangs")
    if node == "n2":  # its slurmd starts no run beside an epilog that it knows of
        cluster.slurmds["n2"].kill()
        time.sleep(1.1)  # a start in the second in which the run before was killed is refused: "already killed"
        cluster.start_node("n2")
        cluster.run("scontrol", "update", "NodeName=n2", "State=RESUME")  # where it has not returned by itself
    else:
        control(cluster, "update", f"JobId={job}", "ExcNodeList=n2")
    until(lambda: cluster.counts()[0] == opened + 2, "the second run has its own session", 60)
    assert node == cluster.facts(job)["BatchHost"]

    assert delay.waits.exists()
    delay.let_go()
    time.sleep(KEPT_S)
    assert (opened + 2, closed + 1) == cluster.counts()
    assert [job] == cluster.leases()
    assert "RUNNING" == cluster.state(job)
    cluster.run("scancel", job)
    until(lambda: cluster.counts() == (opened + 2, closed + 2), "released at the job's end", 10)


def control(cluster: Cluster, *words: str) -> None:
    """Ask scontrol."""
    done = cluster.run("scontrol", *words)
    assert done.returncode == 0, done.stderr
