"""Running the real commands, and looking at what they leave behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO

BIN = Path(sys.executable).parent
_MARK = "QRMI_TEST_MARK"


def until(happened: Callable[[], bool], what: str, deadline_s: float = 30.0) -> None:
    """Wait for *happened*, and fail loudly if it does not."""
    ends = time.monotonic() + deadline_s
    while not happened():
        assert time.monotonic() < ends, f"not within {deadline_s:g} s: {what}"
        time.sleep(0.01)


class Command:
    """A running command: its events can be awaited, and everything it started can be found."""

    def __init__(self, *words: str, cwd: Path, **environment: str) -> None:
        self.mark = f"{_MARK}={uuid.uuid4()}"
        name, value = self.mark.split("=")
        self.stderr: list[str] = []
        self.stdout: list[str] = []
        self._heard = threading.Condition()
        self.process = subprocess.Popen(
            [str(BIN / words[0]), *words[1:]],
            cwd=cwd,
            env={**os.environ, name: value, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._listeners = [
            threading.Thread(target=self._listen, args=(stream, lines), daemon=True)
            for stream, lines in ((self.process.stderr, self.stderr), (self.process.stdout, self.stdout))
        ]
        for thread in self._listeners:
            thread.start()

    def _listen(self, stream: IO[str], lines: list[str]) -> None:
        for line in stream:
            with self._heard:
                lines.append(line)
                self._heard.notify_all()
        with self._heard:
            self._heard.notify_all()

    @property
    def events(self) -> list[dict]:
        """The events it has logged."""
        return [json.loads(line) for line in self.stderr if line.startswith("{")]

    @property
    def words(self) -> str:
        """What it said on standard error besides events."""
        return "".join(line for line in self.stderr if not line.startswith("{"))

    def wait_for(self, event: str, deadline_s: float = 30.0) -> dict:
        """Until it has logged *event*."""
        ends = time.monotonic() + deadline_s
        with self._heard:
            while True:
                for one in self.events:
                    if one["event"] == event:
                        return one
                assert self.process.poll() is None, f"ended without {event}: {self.stderr}"
                assert self._heard.wait(ends - time.monotonic()), f"no {event}: {self.stderr}"

    def wait_for_group_memory(self, size_bytes: int) -> int:
        """Until one of its processes holds *size_bytes*: the simulation is under way. Returns that process's pid."""
        found: list[int] = []

        def grown() -> bool:
            found[:] = [pid for pid in self.living() if resident_bytes(pid) > size_bytes]
            return bool(found)

        until(grown, f"a process of {size_bytes} bytes")
        return found[0]

    def end(self, deadline_s: float = 30.0) -> tuple[int, str]:
        """Wait for its end; return its status and its standard output."""
        status = self.process.wait(deadline_s)
        for thread in self._listeners:
            thread.join(deadline_s)
        return status, "".join(self.stdout)

    def living(self) -> list[int]:
        """The processes that it started, itself included, and that still run, whoever is their parent now."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                    if state != "Z" and self.mark.encode() in (entry / "environ").read_bytes():
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found


def resident_bytes(pid: int) -> int:
    """What a process holds in memory; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        return 0


def dense(qubits: int, layers: int = 12) -> str:
    """An OpenQASM program that no simulator can shorten: layers of rotations and entangling gates."""
    lines = ["OPENQASM 3.0;", 'include "stdgates.inc";', f"qubit[{qubits}] q;", f"bit[{qubits}] meas;"]
    for layer in range(layers):
        lines += [f"ry({0.1 * layer + 0.37 * qubit + 0.1}) q[{qubit}];" for qubit in range(qubits)]
        lines += [f"cx q[{qubit}], q[{qubit + 1}];" for qubit in range(layer % 2, qubits - 1, 2)]
    return "\n".join([*lines, "meas = measure q;"]) + "\n"
