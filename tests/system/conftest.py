"""What the tests of whole commands share."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .commands import Command, dense, until


@pytest.fixture(autouse=True)
def hangup():
    """Whoever runs these tests may have used nohup, and what is ignored is inherited."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def start(tmp_path):
    """Start a real command in tmp_path; whatever it leaves running is ended after the test, by pid."""
    started: list[Command] = []

    def start_(*words: str, **environment: str) -> Command:
        started.append(Command(*words, cwd=tmp_path, **environment))
        return started[-1]

    yield start_
    for command in started:
        command.process.kill()
        command.process.wait()


@pytest.fixture
def memory_group() -> Iterator[Callable[[Command, int], None]]:
    """Put a command under a memory limit of the kernel's, once its task runs.

    Where control groups cannot be made, the test does what the kernel would: it kills the process that holds the most.
    """
    made: list[Path] = []

    def limit(command: Command, size_bytes: int) -> None:
        command.wait_for("task.started")
        group = _new_group(size_bytes)
        if group is None:
            os.kill(command.wait_for_group_memory(size_bytes), signal.SIGKILL)
            return
        made.append(group)
        for pid in command.living():
            (group / "cgroup.procs").write_text(str(pid))

    yield limit
    for group in made:
        until(lambda group=group: not (group / "cgroup.procs").read_text(), "an empty control group")
        group.rmdir()


def _new_group(size_bytes: int) -> Path | None:
    """A control group below our own, of either version, with that limit; None where we may not make one."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, limit = Path("/sys/fs/cgroup"), "memory.max"
        elif "memory" in controllers.split(","):
            top, limit = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        else:
            continue
        group = top / path.lstrip("/") / f"qrmi-test-{uuid.uuid4()}"
        with contextlib.suppress(OSError):
            group.mkdir()
            if (group / limit).exists():
                (group / limit).write_text(str(size_bytes))
                return group
            group.rmdir()
    return None


@pytest.fixture
def big(tmp_path) -> Path:
    """A circuit of 26 qubits, which takes a simulator many seconds and a gigabyte."""
    path = tmp_path / "big.qasm"
    path.write_text(dense(26))
    return path


@pytest.fixture
def bell(tmp_path, root) -> Path:
    """A circuit that takes no time."""
    return Path(shutil.copy(root / "examples" / "bell.qasm", tmp_path / "bell.qasm"))
