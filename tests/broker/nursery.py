"""Brokers that start in a moment, under a clock of ours: `installed/nurse.py` has imported everything, and forks."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

from .clock import Clock
from .daemon import INSTALLED
from .vendor import Vendor


class Born:
    """A broker that the nursery started; like a `subprocess.Popen`."""

    def __init__(self, pid: int, nursery: subprocess.Popen) -> None:
        self.pid, self.returncode, self._nursery = pid, None, nursery

    def poll(self) -> int | None:
        """The exit status, if it has ended."""
        if self.returncode is None and select.select([self._nursery.stdout], [], [], 0)[0]:
            self.returncode = int(self._nursery.stdout.readline())
        return self.returncode

    def wait(self, timeout_s: float = 60.0) -> int:
        """The exit status, when it has ended."""
        if self.returncode is None and not select.select([self._nursery.stdout], [], [], timeout_s)[0]:
            raise subprocess.TimeoutExpired("qrmid", timeout_s)
        return self.poll()

    def send_signal(self, number: int) -> None:
        """To it, if it lives."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """As a crash would."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """Starts one broker at a time, under *clock*, which has all that it needs for *vendor*."""

    def __init__(self, clock: Clock, log: Path, vendor: Vendor, mutant: str) -> None:
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, str(INSTALLED / "nurse.py")],
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(map(str, (INSTALLED, *vendor.modules))),
                    "QRMI_TEST_TYPE": vendor.type,
                    "QRMI_TEST_PREPARE": vendor.prepare,
                    "QRMI_TEST_MUTANT": mutant,
                    **clock.environment,
                },
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                bufsize=0,
                start_new_session=True,
            )

    def start(self, words: list[str], environment: dict[str, str]) -> Born:
        """A new broker. The one before must have ended, and its end been noticed."""
        request = json.dumps({"words": words, "environment": environment})
        self.process.stdin.write(f"{request}\n".encode())
        return Born(int(self.process.stdout.readline()), self.process)

    def close(self) -> None:
        """End it; its last broker has ended."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
