"""Processes that we start and must end: each by its pid, with a deadline, and by force as the last resort."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


class Child:
    """A daemon that stays in the foreground as our child, and may be killed and started again."""

    def __init__(self, words: list[str], log: Path, environment: Mapping[str, str]) -> None:
        self.words, self.log, self.environment = words, log, dict(environment)
        self.process: subprocess.Popen | None = None

    def start(self) -> Child:
        """Start it; whether it is ready is for the caller to see."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.words,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    @property
    def is_running(self) -> bool:
        """Whether it has been started, and has not ended."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """As a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self, within_s: float = 5.0) -> None:
        """As an administrator would; by force when it does not end in time."""
        if not self.is_running:
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(within_s)
        self.kill()


def adopt_orphans() -> None:
    """From now on who loses his parent below us becomes our child: slurmstepds do, and must not outlive the tests."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_orphans(marker: str) -> list[str]:
    """Kill and reap every process below us that has *marker* in its environment or open files; their names."""
    ended = []
    for pid in _below(os.getpid()):
        if _has(pid, marker):
            with suppress(OSError):
                ended.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                os.kill(pid, signal.SIGKILL)
    for pid in _children(os.getpid()):
        with suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z" and not _is_known(pid):
                os.waitpid(pid, os.WNOHANG)
    return ended


def _is_known(pid: int) -> bool:
    """Whether subprocess will reap it."""
    return any(one.pid == pid for one in getattr(subprocess, "_active", []))


def _below(pid: int) -> Iterator[int]:
    for child in _children(pid):
        yield child
        yield from _below(child)


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, task.read_text().split())
    return found


def _has(pid: int, marker: str) -> bool:
    with suppress(OSError):
        if marker.encode() in Path(f"/proc/{pid}/environ").read_bytes():
            return True
        return any(marker in os.readlink(one) for one in Path(f"/proc/{pid}/fd").iterdir())
    return False


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on, all different."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()
