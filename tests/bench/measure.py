"""Timing of whole commands and of calls, in turns, and the table that they end in."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent
PEER = "qrmi==0.26.4"


@dataclass(frozen=True)
class Row:
    """One budget and what was measured."""

    what: str
    budget: str
    measured: str
    is_met: bool
    detail: str = ""


def command(*words: str, cwd: str | Path | None = None) -> Callable[[], float]:
    """A measurement: run a command to its end, and return its wall time in seconds."""

    def run() -> float:
        started = time.perf_counter()
        done = subprocess.run(words, cwd=cwd, capture_output=True, check=False)
        elapsed = time.perf_counter() - started
        if done.returncode:
            raise RuntimeError(f"{words}: status {done.returncode}: {done.stderr.decode()[-500:]}")
        return elapsed

    return run


def in_turns(rounds: int, *measurements: Callable[[], float]) -> list[float]:
    """Run each measurement once to warm up, then all of them *rounds* times in turns; return their medians, seconds."""
    for measurement in measurements:
        measurement()
    taken = [[measurement() for measurement in measurements] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*taken, strict=True)]


def computed_s(pid: int) -> float:
    """How long a process has had a processor, in seconds; in steps of 10 ms."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def processor_time() -> tuple[int, int]:
    """Of this machine since its start, in ticks: what its host gave to other guests, and all."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return ticks[7], sum(ticks)


def taken_by_others(before: tuple[int, int]) -> str:
    """What this machine did not get of its processors since *before*: where that is much, a p99 is that of its host."""
    theirs, all_ = (now - then for now, then in zip(processor_time(), before, strict=True))
    return f"{100 * theirs / max(1, all_):.1f} % of the processors went to other guests of the host"


def peer_bin(folder: str | Path) -> Path:
    """Install the peer in an environment of its own below *folder*, and return where its commands are."""
    place = Path(folder) / "peer"
    for words in (
        ["venv", "-q", "--python", sys.executable, str(place)],
        ["pip", "install", "-q", "--python", str(place / "bin" / "python"), PEER],
    ):
        subprocess.run([sys.executable, "-m", "uv", *words], check=True)
    return place / "bin"


def ratio_row(what: str, most: float, ours_s: float, theirs_s: float, beside: str) -> Row:
    """A row whose budget is a ratio."""
    ratio = ours_s / theirs_s
    return Row(
        what,
        f"<= {most:g}x {beside}",
        f"{ratio:.2f}x",
        ratio <= most,
        f"{ours_s * 1000:.1f} ms beside {theirs_s * 1000:.1f} ms",
    )


def table(rows: Sequence[Row]) -> str:
    """The rows as a table in Markdown."""
    lines = ["| what | budget | measured | met | detail |", "|---|---|---|---|---|"]
    lines += [
        f"| {r.what} | {r.budget} | {r.measured} | {'yes' if r.is_met else '**no**'} | {r.detail} |" for r in rows
    ]
    return "\n".join(lines) + "\n"


def children_of_group(marker: str) -> list[int]:
    """The live processes whose environment holds *marker*: those that a benchmark started, whoever is their parent."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z" and marker.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
