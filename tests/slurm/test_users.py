"""Jobs of an ordinary user: with `--qpu` in every way, and his own `qrun` runs a task at the broker as himself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slurm import readable
from slurm.cluster import until

PAYLOAD = {"runs_s": 0.01, "mark": "ada"}
QRUN = "qrun --kind script task.json result.json"
WAYS = {
    "sbatch": ("sbatch -o out --qpu=fez", QRUN),
    "srun inside sbatch": ("sbatch -o out -n2 --qpu=fez", f"srun -n1 {QRUN}"),
    "srun": (f"srun --qpu=fez {QRUN}", ""),
    "srun behind a relay": (f"srun -w n2 --qpu=fez {QRUN}", ""),
    "salloc": (f"salloc --qpu=fez srun {QRUN}", ""),
}
"""What he types, and what the script is."""


@pytest.fixture(scope="module")
def commands(booted) -> Path:
    """Where a `qrun` is that he can run."""
    return readable.install(booted.folder / "readable", "qrmi-core")


@pytest.fixture
def home(cluster) -> Path:
    """A folder of his own, with a payload."""
    folder = cluster.work / "home"
    folder.mkdir()
    (folder / "task.json").write_text(json.dumps(PAYLOAD))
    cluster.run("chown", "-R", f"{cluster.user.uid}:{cluster.user.gid}", str(folder))
    yield folder
    cluster.run("rm", "-r", str(folder))


@pytest.mark.parametrize("way", WAYS)
def test_a_users_job_runs_his_own_task(way, cluster, commands, home):
    """Only root's jobs get a lease, or can use it; or what a user's job does is done as root."""
    before, tasks = cluster.counts(), len(cluster.vendor("task.started"))
    words, script = WAYS[way]
    environment = {"PATH": f"{commands}:{cluster.environment['PATH']}", "HOME": str(home)}
    stdin = f"#!/bin/bash\n{script}\n" if script else ""
    done = cluster.run("bash", "-c", f"cd home && {words}", user=cluster.user, stdin=stdin, **environment)
    assert 0 == done.returncode, done.stderr
    until(lambda: not cluster.run("squeue", "-h").stdout and not cluster.leases(), "the end of the job")

    result, out = home / "result.json", home / "out"
    assert PAYLOAD == json.loads(result.read_bytes()), out.read_text() if out.exists() else done.stderr
    assert cluster.user.uid == result.stat().st_uid
    assert (1, 1) == tuple(now - then for now, then in zip(cluster.counts(), before, strict=True))
    assert tasks + 1 == len(cluster.vendor("task.started"))
    rows = cluster.broker.admin().ask_json("GET", "/v1/usage")["usage"]
    (last,) = [one for one in rows if int(one["job_id"]) == max(int(row["job_id"]) for row in rows)]
    assert (cluster.user.uid, cluster.user.name, 1) == (last["uid"], last["user"], last["tasks"])
