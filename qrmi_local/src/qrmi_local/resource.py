"""The verbs of QRMI on the embedded simulators. No simulator is imported here: they live in processes of their own."""

from __future__ import annotations

import os
import signal
import threading
import uuid
from contextlib import suppress

from qrmi_core import (
    Context,
    Payload,
    QuantumResource,
    ResourceUnavailable,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    TaskNotReady,
    TaskPlan,
    TaskState,
    TaskStatus,
    Usage,
)
from qrmi_core.polling import poll
from qrmi_local.processes.engine import Engine
from qrmi_local.processes.folder import Owner, TaskFolder, outdated, task_id_of
from qrmi_local.settings import Settings


class Local(QuantumResource):
    """Simulators of gate circuits (Aer) and of Pulser sequences (QuTiP), one task at a time, others queue.

    A task ends with the program that started it. While that runs, any process of the user can follow and stop the task;
    its result is kept for a week.
    """

    concurrent = True

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.settings: Settings = ctx.settings
        self._engine = Engine(ctx.name, self.settings)
        self._starting = threading.Lock()
        for folder in outdated(ctx.state_dir):
            folder.remove()

    def task_start(self, payload: Payload, *, key: str) -> str:
        task_id = task_id_of(key)
        folder = TaskFolder.of(self.ctx.state_dir, task_id)
        with self._starting:
            if not self._claim(folder, payload):
                return task_id
            try:
                folder.write_state(TaskState(TaskStatus.QUEUED), Owner.here(os.getpid()))  # until the simulator has it
                self._own_engine().submit(task_id, folder, do="start", kind=payload.kind, source=payload.source)
            except BaseException:
                folder.remove()
                raise
        return task_id

    def task_status(self, task_id: str) -> TaskState:
        if entry := self._own_engine().find(task_id):
            return self._engine.state(entry)
        return self._folder(task_id).read_state()[0]

    def task_wait(self, task_id: str, timeout_s: float) -> TaskState:
        if entry := self._own_engine().find(task_id):
            return self._engine.wait(entry, timeout_s)
        return poll(lambda: self.task_status(task_id), timeout_s, self.ctx.clock)

    def task_stop(self, task_id: str) -> None:
        if self._own_engine().find(task_id):
            self._engine.stop(task_id)
            return
        folder = self._folder(task_id)
        state, owner = folder.read_state()
        if state.status.is_terminal:
            return
        if owner is not None and owner.is_elsewhere:
            raise ResourceUnavailable(self.ctx.name, f"task {task_id} runs on host {owner.host}; stop it there")
        folder.ask_to_stop()
        if owner is not None and owner.pid == os.getpid():  # another thread has not given it to the simulator yet
            with self._starting:
                self._engine.stop(task_id)
        elif owner is not None:
            with suppress(ProcessLookupError):
                os.kill(owner.pid, signal.SIGUSR1)

    def task_result(self, task_id: str) -> bytes:
        state = self.task_status(task_id)
        name = self.ctx.name
        if not state.status.is_terminal:
            raise TaskNotReady(name, task_id, state.status.value)
        if state.status is TaskStatus.CANCELLED:
            raise TaskCancelled(name, task_id, state.reason or "")
        if state.status is TaskStatus.FAILED:
            raise TaskFailed(name, task_id, state.reason or "")
        return (self._folder(task_id).path / "result").read_bytes()

    def task_logs(self, task_id: str) -> str:
        return self._folder(task_id).log

    def task_plan(self, payload: Payload) -> TaskPlan:
        task_id = str(uuid.uuid4())
        folder = TaskFolder.of(self.ctx.state_dir, task_id)
        try:
            self._claim(folder, payload)
            entry = self._own_engine().submit(task_id, folder, do="plan", kind=payload.kind, source=payload.source)
        finally:
            folder.remove()
        if entry.plan is None:
            reason = entry.state.reason if entry.state else None
            raise ResourceUnavailable(self.ctx.name, reason or "the simulator said nothing")
        return entry.plan

    def task_usage(self, task_id: str) -> Usage:
        self._folder(task_id)
        return Usage(qpu_s=0.0)  # no quantum processor was used

    def find_task(self, key: str) -> str | None:
        task_id = task_id_of(key)
        return task_id if TaskFolder.of(self.ctx.state_dir, task_id).exists else None

    def target(self) -> str:
        from qrmi_local.limits import target

        return target(self.settings)

    def metadata(self) -> dict[str, str]:
        return {"simulators": "gate circuits: Aer; Pulser sequences: QuTiP", "method": self.settings.method}

    def close(self) -> None:
        self._engine.close()

    def _own_engine(self) -> Engine:
        """The engine of this process: after a fork the child must not speak through its parent's socket."""
        if self._engine.pid != os.getpid():
            self._engine = Engine(self.ctx.name, self.settings)
            self._starting = threading.Lock()
        return self._engine

    def _claim(self, folder: TaskFolder, payload: Payload) -> bool:
        try:
            return folder.claim(payload)
        except OSError as exc:
            folder.remove()
            raise ResourceUnavailable(
                self.ctx.name, f"the payload cannot be stored in {folder.path}: {exc.strerror}"
            ) from exc

    def _folder(self, task_id: str) -> TaskFolder:
        folder = TaskFolder.of(self.ctx.state_dir, task_id)
        if not folder.exists:
            raise TaskNotFound(self.ctx.name, task_id)
        return folder
