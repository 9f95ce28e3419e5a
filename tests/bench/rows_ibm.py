"""IBM's two services: one sampler task from the user's command to the result, beside the peer's command.

Both commands get the same environment, that of a Slurm job, the same payload, and the same emulated service.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

from measure import BIN, Row, peer_bin

HERE = Path(__file__).parent
NAME = "line_20"
BELL = HERE.parent / "data" / "sampler_bell.json"
LARGE_BYTES = 20_000_000
SERVICES = {"da": ("Direct Access", "/v1/jobs"), "qrs": ("Qiskit Runtime", "/api/v1/jobs")}


@dataclass(frozen=True)
class Case:
    """How long a job takes at the service, and what is sent to it."""

    what: str
    service_s: float
    payload: Path
    is_long: bool = True
    """Half as many rounds do."""


@dataclass(frozen=True)
class Run:
    """What one run of a command took."""

    wall_s: float
    cpu_s: float
    requests: int
    peak_mb: float


QUANTITIES = {
    "wall time": ("wall_s", 1000, "ms"),
    "CPU time": ("cpu_s", 1000, "ms"),
    "requests": ("requests", 1, ""),
    "peak memory": ("peak_mb", 1, "MB"),
}


def rows(rounds: int) -> list[Row]:
    """Measure."""
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        theirs = peer_bin(folder)
        cases = list(_cases(Path(folder)))
        for which in SERVICES:
            with _service(which) as service:
                for case in cases:
                    found += _rows(service, case, theirs, max(3, rounds // (4 if case.is_long else 2)))
    return found


def _cases(folder: Path) -> Iterator[Case]:
    for service_s in (0.05, 0.5, 5.0):
        yield Case(f"a job of {service_s:g} s", service_s, BELL, service_s > 1)
    circuits, numbers = folder / "circuits.json", folder / "numbers.json"
    document = json.loads(BELL.read_text())
    text = document["parameters"]["pubs"][0][0]
    gates = "h q[0];\ncx q[0], q[1];\n" * 4000
    large = text.replace("h q[0];\ncx q[0], q[1];\n", gates)
    document["parameters"]["pubs"] = [[large, None, 4096]] * (LARGE_BYTES // len(json.dumps(large)) + 1)
    circuits.write_text(json.dumps(document))
    yield Case("a payload of 20 MB, circuits", 0.5, circuits)
    dice = random.Random(1)
    angles = [[round(dice.uniform(-4, 4), 15) for _ in range(100)] for _ in range(LARGE_BYTES // 1900)]
    document["parameters"]["pubs"] = [[text, angles, 16]]
    numbers.write_text(json.dumps(document))
    yield Case("a payload of 20 MB, numbers", 0.5, numbers)


def _rows(service: _Service, case: Case, theirs: Path, rounds: int) -> Iterator[Row]:
    service.tell("DELETE", "faults")
    service.tell(
        "POST", "faults", {"method": "POST", "route": service.jobs, "service_s": case.service_s, "times": None}
    )
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        commands = (
            [str(BIN / "qrun"), str(case.payload), str(result)],
            [str(theirs / "task_runner"), NAME, str(case.payload), str(result)],
        )
        for words in commands:  # to warm up
            service.run(words, result)
        taken = [[service.run(words, result) for words in commands] for _ in range(rounds)]
    ours, peers = ([pair[number] for pair in taken] for number in (0, 1))
    for what, (name, factor, unit) in QUANTITIES.items():
        mine, their = ([getattr(one, name) * factor for one in runs] for runs in (ours, peers))
        ratio = statistics.median(mine) / statistics.median(their)
        figures = " beside ".join(f"{statistics.median(one):.0f} {unit}".strip() for one in (mine, their))
        least = f"; at best {min(mine):.0f} beside {min(their):.0f}" if unit else ""
        row = Row(
            f"{service.name}, {case.what}: {what}", "<= 1x the peer", f"{ratio:.2f}x", ratio <= 1, figures + least
        )
        yield row


class _Service:
    """An emulated service, and the commands that use it."""

    def __init__(self, which: str, facts: dict[str, str], env: dict[str, str]) -> None:
        self.name, self.jobs = SERVICES[which]
        self._url = facts["url"]
        self._env = env

    def run(self, words: list[str], result: Path) -> Run:
        """Run the command *words*, which must leave a *result*."""
        self.tell("DELETE", "requests")
        done = subprocess.run(
            [sys.executable, "-I", str(HERE / "once.py"), *words],
            env=self._env,
            cwd=result.parent,
            capture_output=True,
            text=True,
            check=True,
        )
        report = json.loads(done.stdout.splitlines()[-1])
        if report["status"] != 0 or "results" not in json.loads(result.read_text()):
            raise RuntimeError(f"{words}: status {report['status']}: {done.stderr[-2000:]}")
        result.unlink()
        noted = json.loads(self.tell("GET", "requests"))["requests"]
        requests = [one for one in noted if "aiohttp" not in one["headers"].get("User-Agent", "")]  # not the service's
        return Run(report["wall_s"], report["cpu_s"], len(requests), report["peak_bytes"] / 1e6)

    def tell(self, method: str, what: str, document: object = None) -> bytes:
        """Use the emulator's own route."""
        content = None if document is None else json.dumps(document).encode()
        with urlopen(Request(f"{self._url}/_emulator/{what}", data=content, method=method)) as reply:
            return bytes(reply.read())


@contextmanager
def _service(which: str) -> Iterator[_Service]:
    with (
        tempfile.TemporaryDirectory() as state,
        subprocess.Popen(
            [sys.executable, str(HERE / "service.py"), which], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        env = {"PATH": os.environ["PATH"], "HOME": state, "QRMI_STATE_DIR": f"{state}/qrmi", **facts.pop("env")}
        yield _Service(which, facts, env)
        process.stdin.close()
