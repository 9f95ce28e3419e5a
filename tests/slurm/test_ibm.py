"""`sbatch --qpu` on IBM's services: every sample comes to its physics, and neither job nor node gets a key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from broker.daemon import short_folder
from system.ibm import RESOURCES, SAMPLES, Ibm, check_sample, contents, emulated

from slurm import readable
from slurm.cluster import Cluster

SCRIPT = """\
export PATH={commands}:$PATH PYTHONUNBUFFERED=1
printenv
for name in {samples}; do
    qrun --qpu {resource} {data}/$name {folder}/$name.%j.result
    echo "$name ended with $?"
done
{python} {program} {resource} {data}/sampler_bell.json {folder} $SLURM_JOB_ID
srun printenv
"""
LOOK = '''\
"""Run a payload as `qrun` does, and keep all that can be read of this process, its memory included."""
import pathlib, sys
from contextlib import suppress
from qrmi_core import cli

_, resource, payload, folder, job = sys.argv
folder, proc = pathlib.Path(folder), pathlib.Path("/proc/self")
status = cli.qrun(["--qpu", resource, payload, f"{folder}/look.{job}.result"])
for path in (*proc.glob("environ"), *proc.glob("cmdline"), *proc.glob("task/*/environ"), *proc.glob("task/*/cmdline")):
    with suppress(OSError):  # a thread that has ended
        (folder / f"look.{job}.{str(path).replace('/', '_')}").write_bytes(path.read_bytes())
with open(proc / "mem", "rb", 0) as memory, open(folder / f"look.{job}.memory", "wb") as kept:
    for line in (proc / "maps").read_text().splitlines():
        place, mode, *_ = line.split()
        if mode.startswith("rw") and "[v" not in line:
            start, end = (int(word, 16) for word in place.split("-"))
            memory.seek(start)
            with suppress(OSError):  # it was given back meanwhile
                kept.write(memory.read(end - start))
print("looked", status)
'''


@pytest.fixture(scope="module")
def ibm() -> Iterator[Ibm]:
    """Both services."""
    with emulated() as services:
        yield services


@pytest.fixture(scope="module")
def booted(plugin: Path, ibm: Ibm) -> Iterator[Cluster]:
    """A cluster with a resource at each; every daemon logs all it can."""
    with short_folder() as name, pytest.MonkeyPatch.context() as patch:
        patch.setenv("QRMI_LOG_LEVEL", "debug")
        cluster = Cluster(Path(name), plugin, *ibm.resources)
        readable.install(cluster.folder / "readable", "qrmi-core")
        try:
            yield cluster.start()
        finally:
            cluster.stop()


@pytest.fixture
def job_folder(cluster: Cluster, data: Path) -> Path:
    """Where the user's job has its payloads, and leaves what it saw."""
    folder = cluster.work / "ibm"
    folder.mkdir(exist_ok=True)
    for name in SAMPLES:
        (folder / name).write_bytes((data / name).read_bytes())
    (folder / "look.py").write_text(LOOK)
    folder.chmod(0o1777)
    return folder


@pytest.mark.parametrize("node", ["n1", "n2"], ids=["broker", "relay"])
@pytest.mark.parametrize("resource", RESOURCES)
def test_a_job_runs_every_sample_and_holds_no_credential(ibm, cluster, job_folder, resource, node):
    """A site could not offer IBM's processors to its users without giving its keys away."""
    place = cluster.folder / "readable"
    python = f"LD_LIBRARY_PATH={place}/lib PYTHONHOME={place} PYTHONPATH={place}/packages {place}/python"
    names = {"commands": place / "bin", "python": python, "program": job_folder / "look.py"}
    script = SCRIPT.format(samples=" ".join(SAMPLES), resource=resource, data=job_folder, folder=job_folder, **names)
    job = cluster.sbatch("-w", node, f"--qpu={resource}", script=script, user=cluster.user)
    cluster.wait(job, within_s=240)
    said = cluster.output(job)

    for name in SAMPLES:
        assert f"{name} ended with 0\n" in said, said
        check_sample(name, (job_folder / f"{name}.{job}.result").read_bytes())
    assert "looked 0\n" in said, said
    left = contents(*job_folder.glob(f"*.{job}.*"))
    assert {"_proc_self_environ", "_proc_self_cmdline", "memory"} <= {one.rpartition(".")[2] for one in left}
    memory = next(content for path, content in left.items() if path.endswith(".memory"))
    assert f"{resource}_QRMI_BROKER".encode() in memory, "the memory is there to be searched"
    written = contents(*(cluster.folder / one for one in ("log", "spool", "n2", "n1/state")), cluster.broker.log)
    assert [] == ibm.leaks({**left, **written, "output": said.encode()})
    assert ibm.leaks(contents(cluster.broker.config)), "the search finds what is there"
    assert not cluster.user.can_read(str(cluster.broker.config))
    assert {"inputs": [], "sessions": [], "jobs": []} == ibm.left_behind()
