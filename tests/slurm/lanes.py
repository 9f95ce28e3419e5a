"""A cluster whose scheduler knows the lanes, set up by `qrmi slurm licenses` as an administrator would."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from broker.daemon import BIN, fake, short_folder

from slurm.cluster import Cluster

NAMES = {"fez": 4, "one": 1, "0.da-local_X": 2}
"""Resource -> lanes; every character that a name may hold is there."""


@contextmanager
def running(plugin: Path) -> Iterator[Cluster]:
    """A started cluster with the resources of `NAMES`, and `free`, which has no lanes."""
    with short_folder() as name:
        folder = Path(name)
        service = folder / "service"
        resources = [fake(service, one, lanes=count) for one, count in NAMES.items()]
        cluster = Cluster(folder, plugin, *resources, fake(service, "free"), extra=f"Include {folder}/etc/qrmi.conf")
        cluster.broker.write_config(cluster.resources, grant="licences")
        try:
            generate(cluster)
            yield cluster.start()
        finally:
            cluster.stop()


def generate(cluster: Cluster, config: Path | None = None) -> None:
    """Write the scripts and the lines of slurm.conf, by default from the broker's own configuration."""
    words = ("licenses", "--config", str(config or cluster.broker.config), "--output-dir", str(cluster.folder / "etc"))
    done = qrmi(cluster, *words)
    assert 0 == done.returncode, done.stderr
    lines = [line for line in done.stdout.splitlines() if not line.startswith("SchedulerParameters=")]
    (cluster.folder / "etc" / "qrmi.conf").write_text("\n".join(lines) + "\n")  # slurm.conf has it, and more


def qrmi(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    """`qrmi slurm ...`, as root on the broker's node."""
    socket = str(cluster.folder / "n1" / "run" / "admin.sock")
    return cluster.run(str(BIN / "qrmi"), "slurm", *words, QRMI_ADMIN_SOCKET=socket)
