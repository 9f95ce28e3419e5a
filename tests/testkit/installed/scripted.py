"""A backend for the tests of the conformance suite: a task does what its payload says, and a folder is its service.

A task is a file that holds its payload; its age says how far it is. A stop is a second file. So every process that
opens the folder sees the same tasks, and none has to run for a task to go on.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from pathlib import Path

from qrmi_core import (
    AcquireRequest,
    Backend,
    Context,
    Payload,
    PayloadError,
    QuantumResource,
    Session,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    TaskNotReady,
    TaskState,
    TaskStatus,
    setting,
    settings,
)

KIND = "script"


@settings(prefix="QRMI_SCRIPTED")
class Settings:
    """The settings of every backend here."""

    api_key: str = setting(help="what the service asks for", secret=True)
    greeting: str = setting(help="what the metadata say", default="hello")


class Scripted(QuantumResource):
    """Keeps every promise. A script: ``{"runs_s": 0.1, "ends": "COMPLETED"}``; its result is the payload itself."""

    concurrent = True

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.tasks = ctx.state_dir / "tasks"
        self.open_sessions = ctx.state_dir / "sessions"
        for folder in (self.tasks, self.open_sessions):
            folder.mkdir(exist_ok=True)

    def task_start(self, payload: Payload, *, key: str) -> str:
        script = payload.json()
        if not isinstance(script, dict) or "runs_s" not in script:
            raise PayloadError(payload.source, "$.runs_s", "is missing", "Say how many seconds the task runs")
        task_id = self.id_of(key)
        with tempfile.NamedTemporaryFile(dir=self.tasks.parent) as whole:
            whole.write(payload.read())
            whole.flush()
            try:
                os.link(whole.name, self.tasks / task_id)  # appears with its content, and once
            except FileExistsError:
                self.ctx.log.info("task.known", task_id=task_id)
        return task_id

    def id_of(self, key: str) -> str:
        return hashlib.sha256(key.encode()).hexdigest()

    def task_status(self, task_id: str) -> TaskState:
        path = self.path(task_id)
        script = Payload.from_file(KIND, path).json()
        started = path.stat().st_mtime
        ends = started + script["runs_s"]
        stopped = self.stop_of(path)
        if stopped.exists() and stopped.stat().st_mtime < ends:
            return TaskState(TaskStatus.CANCELLED, reason="stopped by its owner")
        if time.time() < started + script["runs_s"] / 4:
            return TaskState(TaskStatus.QUEUED, queue_position=0)
        if time.time() < ends:
            return TaskState(TaskStatus.RUNNING)
        return TaskState(TaskStatus(script.get("ends", "COMPLETED")), reason=script.get("reason"))

    def path(self, task_id: str) -> Path:
        if not re.fullmatch("[0-9a-f]{64}", task_id) or not (self.tasks / task_id).exists():
            raise TaskNotFound(self.ctx.name, task_id)
        return self.tasks / task_id

    def stop_of(self, path: Path) -> Path:
        return path.with_suffix(".stopped")

    def task_stop(self, task_id: str) -> None:
        if not self.task_status(task_id).status.is_terminal:
            self.stop_of(self.path(task_id)).touch()

    def task_result(self, task_id: str) -> bytes:
        state = self.task_status(task_id)
        match state.status:
            case TaskStatus.COMPLETED:
                return self.path(task_id).read_bytes()
            case TaskStatus.FAILED:
                raise TaskFailed(self.ctx.name, task_id, state.reason or "")
            case TaskStatus.CANCELLED:
                raise TaskCancelled(self.ctx.name, task_id, state.reason or "")
        raise TaskNotReady(self.ctx.name, task_id, state.status.value)

    def acquire(self, request: AcquireRequest) -> str:
        token = self.id_of(request.lease_key)
        (self.open_sessions / token).touch()
        return token

    def release(self, token: str) -> None:
        if token in os.listdir(self.open_sessions):
            (self.open_sessions / token).unlink(missing_ok=True)

    def sessions(self) -> list[Session]:
        return [Session(token=token) for token in os.listdir(self.open_sessions)]

    def find_task(self, key: str) -> str | None:
        task_id = self.id_of(key)
        return task_id if (self.tasks / task_id).exists() else None

    def metadata(self) -> dict[str, str]:
        return {"greeting": self.ctx.settings.greeting}


BACKEND = Backend(contract=1, settings=Settings, payloads={KIND}, open=Scripted)
