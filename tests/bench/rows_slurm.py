"""What a job pays for the plugin: three clusters side by side, one without it, one with an empty plugin, one with ours.

The sessions of `now` cost nothing. Jobs take turns on the clusters. A batch job is measured on its node, from the
launch to the end of its step, as slurmd's log has them, and nobody asks the controller meanwhile; srun from start to
end.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from measure import Row, processor_time, taken_by_others

MANY = 500
_QPU_S, _PLAIN_S = 0.010, 0.002
"""The second: what an empty plugin costs varies so much between runs."""
_EPILOG_S = 0.15
"""What ends after a job must not slow down the next."""
_EMPTY = """\
#include <slurm/spank.h>
SPANK_PLUGIN(empty, 1)
int slurm_spank_init(spank_t sp, int ac, char **av) { (void)sp; (void)ac; (void)av; return 0; }
"""


def rows(rounds: int) -> list[Row]:
    """Measure; nothing where no Slurm can be booted."""
    from broker.daemon import fake
    from slurm.cluster import Cluster, built, check_host, running

    try:
        check_host()
    except AssertionError as exc:
        print(f"left out: the rows of a real Slurm: {exc}", file=sys.stderr)
        return []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="qrmi-bench-")))
        plugin = built(folder / "ours")
        clusters: dict[str, Cluster] = {}
        for name in ("none", "empty", "ours"):
            clusters[name] = stack.enter_context(running(plugin, nodes=1))
            if name != "ours":
                line = f"optional {_empty(folder)}\n" if name == "empty" else "# nothing\n"
                clusters[name].plugstack.write_text(line)
                clusters[name].slurmds["n1"].stop()  # which hooks a job's end has is decided when slurmd starts
                clusters[name].start_node("n1")
                clusters[name].wait_until_idle()
        ours = clusters["ours"]
        ours.resources.append(fake(ours.service, "now", "fake-instant"))
        ours.configure()
        return [
            *_compared("srun", _srun, clusters, rounds),
            *_compared("sbatch", _sbatch, clusters, rounds),
            _many(ours, rounds),
        ]


def _empty(folder: Path) -> Path:
    source, plugin = folder / "empty.c", folder / "empty.so"
    source.write_text(_EMPTY)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", plugin, source], check=True)
    return plugin


def _compared(what: str, measure, clusters, rounds: int) -> list[Row]:
    kinds = {
        "none": ("none", ()),
        "plain": ("ours", ()),
        "empty": ("empty", ()),
        "qpu": ("ours", ("--qpu=now",)),
    }
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    before = processor_time()
    for index in range(2 * rounds + 2):
        for kind, (name, options) in kinds.items():
            took_s = measure(clusters[name], options)
            time.sleep(_EPILOG_S)
            if index >= 2:
                taken[kind].append(took_s)
    none, plain, empty, qpu = (statistics.median(values) for values in taken.values())
    detail = f"{{:.1f}} ms beside {{:.1f}} ms; medians of {2 * rounds}, in turns; {taken_by_others(before)}"
    return [
        Row(
            f"{what}: a job with --qpu over the same job without any plugin",
            f"<= {_QPU_S * 1000:.0f} ms",
            f"{(qpu - none) * 1000:.1f} ms",
            qpu - none <= _QPU_S,
            detail.format(qpu * 1000, none * 1000),
        ),
        Row(
            f"{what}: a job without --qpu over one with an empty plugin",
            f"<= {_PLAIN_S * 1000:.0f} ms",
            f"{(plain - empty) * 1000:.1f} ms",
            plain - empty <= _PLAIN_S,
            detail.format(plain * 1000, empty * 1000),
        ),
    ]


def _srun(cluster, options: tuple[str, ...]) -> float:
    started = time.perf_counter()
    done = cluster.run("srun", *options, "true")
    took_s = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(done.stderr)
    return took_s


def _sbatch(cluster, options: tuple[str, ...]) -> float:
    for _ in range(5):
        job = cluster.sbatch(*options, script="true")
        lines = (rf"\[(\S+)\] Launching batch job {job} ", rf"\[(\S+)\] \[{job}\.batch\] done with")
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            time.sleep(0.05)
            first, last = (re.search(line, cluster.node_log()) for line in lines)
            if first and last:
                return (datetime.fromisoformat(last[1]) - datetime.fromisoformat(first[1])).total_seconds()
        # slurmd and slurmstepd write to one file, and at times into each other's lines: once more
    raise RuntimeError(f"slurmd's log lacks job {job}")


def _many(cluster, rounds: int) -> Row:
    """Jobs one after the other and beside each other through one node; each opens and closes one session."""
    many = MANY if rounds > 5 else 50
    opened, closed = cluster.counts()
    started = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: cluster.run("srun", "--qpu=fez", "-n1", "true").returncode, range(many)))
    took_s = time.perf_counter() - started
    lost = many - done.count(0)
    deadline = time.monotonic() + 30
    while cluster.counts() != (opened + many, closed + many) and time.monotonic() < deadline:
        time.sleep(0.1)
    now_opened, now_closed = cluster.counts()
    lost += abs(now_opened - opened - many) + abs(now_closed - closed - many)
    return Row(
        f"{many} jobs with --qpu through one node",
        "nothing lost",
        f"{lost} lost",
        lost == 0 and not cluster.drain_reasons(),
        f"{many / took_s:.0f} jobs per second, 4 at once; each opened and closed one session",
    )
