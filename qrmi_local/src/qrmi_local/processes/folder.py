"""A task on disk: what makes it answer to any process that knows its id, also after the program that started it ended.

<state_dir>/tasks/<task id>/payload    what was submitted
                            /state.json its status, and the process that runs it
                            /result     written whole, or not at all
                            /log        what the simulator printed
                            /stop       somebody asked for its end
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from qrmi_core import Payload, PayloadError, TaskState, TaskStatus

_KEYS = uuid.UUID("5f1f7f0a-6f0c-4a5e-9d0c-0b1b6a6a3c11")
_KEPT_S = 7 * 24 * 3600.0
ORPHANED = "the program that started it ended before the task did"


def task_id_of(key: str) -> str:
    """The id of the task started with *key*: the same key, the same id, in every process."""
    return str(uuid.uuid5(_KEYS, key))


def write_atomically(path: Path, content: bytes) -> None:
    """Put *content* at *path* as a whole: a reader sees the old file or the new one."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)  # on a full disk, what is half written keeps others from writing
        raise


def start_time(pid: int) -> str | None:
    """When process *pid* started, in clock ticks since boot: with it a pid names one process for ever."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


@frozen
class Owner:
    """The simulator process that runs a task."""

    host: str
    pid: int
    started: str

    @classmethod
    def here(cls, pid: int) -> Owner:
        """The process *pid* of this host."""
        return cls(socket.gethostname(), pid, start_time(pid) or "")

    @property
    def is_elsewhere(self) -> bool:
        """It is on another host, where we cannot see it."""
        return self.host != socket.gethostname()

    @property
    def is_alive(self) -> bool:
        """It still runs; on another host we must assume so."""
        return self.is_elsewhere or start_time(self.pid) == self.started


@frozen
class TaskFolder:
    """One task's folder."""

    path: Path

    @classmethod
    def of(cls, state_dir: Path, task_id: str) -> TaskFolder:
        """The folder of *task_id*, whether it exists or not."""
        return cls(state_dir / "tasks" / Path(task_id).name)

    @property
    def exists(self) -> bool:
        """There is such a task."""
        return (self.path / "payload").exists()

    def claim(self, payload: Payload) -> bool:
        """Make the folder and store *payload*; False if the task exists already.

        Raises:
            PayloadError: the task exists with another payload: its result would be taken for that of this one.
        """
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        with payload.open() as source:
            content = source.read()
        try:
            self.path.mkdir(mode=0o700)
        except FileExistsError:
            with suppress(FileNotFoundError):  # somebody is about to store it
                if (self.path / "payload").read_bytes() != content:
                    problem = "is not the payload that was submitted under this key before"
                    raise PayloadError(payload.source, "", problem, "Take another key for it") from None
            return False
        write_atomically(self.path / "payload", content)
        return True

    def remove(self) -> None:
        """Forget the task."""
        shutil.rmtree(self.path, ignore_errors=True)

    def write_state(self, state: TaskState, owner: Owner) -> None:
        """Say where the task is."""
        facts = {
            "status": state.status.value,
            "reason": state.reason,
            "host": owner.host,
            "pid": owner.pid,
            "started": owner.started,
        }
        write_atomically(self.path / "state.json", json.dumps(facts).encode())

    def read_state(self) -> tuple[TaskState, Owner | None]:
        """Where the task is, and who runs it. A task whose owner is gone is CANCELLED: nobody works on it."""
        try:
            facts = json.loads((self.path / "state.json").read_bytes())
        except FileNotFoundError:
            return TaskState(TaskStatus.QUEUED), None
        state = TaskState(TaskStatus(facts["status"]), facts["reason"])
        owner = Owner(facts["host"], facts["pid"], facts["started"])
        if not state.status.is_terminal and not owner.is_alive:
            return TaskState(TaskStatus.CANCELLED, ORPHANED), owner
        return state, owner

    def ask_to_stop(self) -> None:
        """Leave the mark that the owner looks for."""
        (self.path / "stop").touch()

    @property
    def is_to_stop(self) -> bool:
        """Somebody asked for the task's end."""
        return (self.path / "stop").exists()

    @property
    def log(self) -> str:
        """What the simulator printed."""
        try:
            return (self.path / "log").read_text(errors="replace")
        except FileNotFoundError:
            return ""


def outdated(state_dir: Path, now: float | None = None) -> Iterator[TaskFolder]:
    """The tasks that nobody has touched for a week."""
    before = (time.time() if now is None else now) - _KEPT_S
    try:
        entries = list(os.scandir(state_dir / "tasks"))
    except OSError:  # housekeeping reports nothing: whoever stores a task will
        return
    for entry in entries:
        with suppress(OSError):  # another process tidies up, too
            if entry.stat(follow_symlinks=False).st_mtime < before:
                yield TaskFolder(Path(entry.path))
