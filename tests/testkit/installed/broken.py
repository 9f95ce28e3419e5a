"""The backend of `scripted` again and again, each time with one promise broken."""

from __future__ import annotations

import base64
import uuid
from pathlib import Path
from typing import ClassVar

from qrmi_core import AcquireRequest, Backend, Payload, PayloadError, TaskNotFound, TaskNotReady, TaskState, TaskStatus
from scripted import KIND, Scripted, Settings


class _Broken(Scripted):
    """Each subclass is a backend: entry points name its `BACKEND`."""

    def __init_subclass__(cls) -> None:
        cls.BACKEND = Backend(contract=1, settings=Settings, payloads={KIND}, open=cls)


class ForgetsKeys(_Broken):
    """Every `task_start` makes a task, also with a key that it has seen: a resend is paid for twice."""

    def task_start(self, payload: Payload, *, key: str) -> str:
        return super().task_start(payload, key=str(uuid.uuid4()))


class ReturnsEarly(_Broken):
    """`task_result` returns what there is so far, where it should say that there is no result yet."""

    def task_result(self, task_id: str) -> bytes:
        try:
            return super().task_result(task_id)
        except TaskNotReady:
            return b"{}"


class TellsSecrets(_Broken):
    """The credential stands in the repr, and, spelt as HTTP sends it, in a log event and beside an error."""

    def __repr__(self) -> str:
        return f"Scripted({self.ctx.settings.api_key!r})"

    def _authorization(self) -> str:
        return "Basic " + base64.b64encode(f"apikey:{self.ctx.settings.api_key}".encode()).decode()

    def task_start(self, payload: Payload, *, key: str) -> str:
        self.ctx.log.info("task.submitted", headers=self._authorization())
        return super().task_start(payload, key=key)

    def task_result(self, task_id: str) -> bytes:
        try:
            return super().task_result(task_id)
        except Exception as exc:
            exc.add_note(f"Authorization: {self._authorization()}")
            raise


class StopsTheEnded(_Broken):
    """A stop takes effect even after the end: COMPLETED becomes CANCELLED, and the result is gone."""

    def task_stop(self, task_id: str) -> None:
        self.stop_of(self.path(task_id)).touch()

    def task_status(self, task_id: str) -> TaskState:
        if self.stop_of(self.path(task_id)).exists():
            return TaskState(TaskStatus.CANCELLED, reason="stopped by its owner")
        return super().task_status(task_id)


class KeepsTasksToItself(_Broken):
    """A task is known to the process that started it, and to no other."""

    _ours: ClassVar[set[str]] = set()

    def task_start(self, payload: Payload, *, key: str) -> str:
        task_id = super().task_start(payload, key=key)
        self._ours.add(task_id)
        return task_id

    def path(self, task_id: str) -> Path:
        if task_id not in self._ours:
            raise TaskNotFound(self.ctx.name, task_id)
        return super().path(task_id)


class RaisesWhatItLikes(_Broken):
    """An unknown id ends in the KeyError of some dictionary, which says nothing to anybody."""

    def path(self, task_id: str) -> Path:
        try:
            return super().path(task_id)
        except TaskNotFound:
            raise KeyError(task_id) from None


class Mumbles(_Broken):
    """A refusal is of a class of its own that cannot cross to another process, and says nothing."""

    class Refused(PayloadError):
        def __init__(self, source: str) -> None:
            super().__init__(source, "$", "", "")

    def task_start(self, payload: Payload, *, key: str) -> str:
        try:
            return super().task_start(payload, key=key)
        except PayloadError as exc:
            raise self.Refused(exc.source) from exc


class IgnoresLeaseKeys(_Broken):
    """A second `acquire` with the same lease key opens a second session, which nobody closes."""

    def acquire(self, request: AcquireRequest) -> str:
        return super().acquire(AcquireRequest(lease_key=str(uuid.uuid4())))


class FailsSilently(_Broken):
    """A task that failed does not say why."""

    def task_status(self, task_id: str) -> TaskState:
        return TaskState(super().task_status(task_id).status)


class IgnoresTimeouts(_Broken):
    """`task_wait` waits for the end, however long the caller is willing to."""

    def task_wait(self, task_id: str, timeout_s: float) -> TaskState:
        return super().task_wait(task_id, timeout_s=1e9)


class MixesUpResults(_Broken):
    """Every result is that of the task that was started last."""

    def task_start(self, payload: Payload, *, key: str) -> str:
        self._last = super().task_start(payload, key=key)
        return self._last

    def task_result(self, task_id: str) -> bytes:
        result = super().task_result(task_id)
        return super().task_result(self._last) if hasattr(self, "_last") else result


class Mangles(_Broken):
    """What is sent is cut at 64 KiB and stripped of what is not ASCII."""

    def task_start(self, payload: Payload, *, key: str) -> str:
        kept = payload.read()[:65536].decode(errors="ignore").encode("ascii", errors="ignore")
        return super().task_start(Payload.from_bytes(payload.kind, kept, source=payload.source), key=key)


class GoesBack(_Broken):
    """A task that runs is in the queue again the next time that somebody looks."""

    _looks = 0

    def task_status(self, task_id: str) -> TaskState:
        state = super().task_status(task_id)
        self._looks += state.status is TaskStatus.RUNNING
        return TaskState(TaskStatus.QUEUED) if state.status is TaskStatus.RUNNING and self._looks % 2 == 0 else state
