"""The verbs of QRMI on Direct Access. The service has no queue and no memory of ended jobs; both are kept here."""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from random import uniform
from weakref import WeakValueDictionary

from attrs import evolve

from qrmi_core import (
    Context,
    Device,
    OutcomeUnknown,
    Payload,
    PayloadError,
    QrmiError,
    QuantumResource,
    RequestRefused,
    ResourceUnavailable,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    TaskNotReady,
    TaskState,
    TaskStatus,
    UnexpectedReply,
    Usage,
)
from qrmi_core.members import call_of
from qrmi_ibm_da._api import NO_LANE, Service
from qrmi_ibm_da._objects import Objects
from qrmi_ibm_da._wire import Job, Record, device_of, jobs_on
from qrmi_ibm_da.settings import LEAST_BUSY, Settings

_IDS = uuid.UUID("6d1f6f0e-5d3f-5c0b-9d0c-5f0a3b1e7a52")
"""The namespace of our jobs' ids: a key always leads to the same id."""
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,255}")
_MOST_ENDED = 4096
_LANE_S = (0.5, 5.0)
"""How long nobody asks for a lane after there was none: at first, and at most."""
_SWEEP_S = 30.0


class DirectAccess(QuantumResource):
    """One device of IBM Direct Access.

    A task's id is that of its job, which follows from the key: the service refuses a second job of that id. Where all
    lanes are taken the task is QUEUED with us; whoever asks for its status submits it when there is one.
    """

    concurrent = True

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self._settings: Settings = ctx.settings
        self._service = Service(ctx, self._settings)
        self._objects = Objects(ctx, self._settings)
        self._ended: OrderedDict[str, Job] = OrderedDict()
        self._turns: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
        self._guard = threading.Lock()
        self._chosen: str | None = None
        self._waiting: dict[str, str] = {}
        """Tasks for which there was no lane, and what the service said."""
        self._lane_at, self._lane_pause_s = 0.0, _LANE_S[0]
        """When to ask for a lane again; the pause that led to it."""
        self._swept_at = -_SWEEP_S

    # -- tasks

    def task_start(self, payload: Payload, *, key: str) -> str:
        program, parameters = call_of(payload)
        task_id = self._id_of(key)
        with self._turn(task_id):
            if self._service.job(task_id) is not None or self._objects.record(task_id) is not None:
                return task_id
            record = Record(program=program, device=self._device(), timeout_s=self._timeout_s())
            self._objects.add(task_id, record, parameters)
            try:
                self._submit(task_id, record)
            except RequestRefused as exc:
                self._objects.drop(task_id)
                if exc.status == 400:
                    remedy = exc.solution or "Mend the payload"
                    raise PayloadError(payload.source, "$", f"was refused: {exc.detail}", remedy) from exc
                raise
            except ResourceUnavailable as exc:
                self._resolve(task_id, exc)
            except QrmiError:
                self._objects.drop(task_id)
                raise
        self._objects.tidy()
        return task_id

    def task_status(self, task_id: str) -> TaskState:
        return self._look(task_id).state

    def task_stop(self, task_id: str) -> None:
        self._check(task_id)
        with self._turn(task_id):
            if task_id in self._ended:
                return
            job = self._service.job(task_id)
            if job is None:
                self._withdraw(task_id)
                return
            if not job.state.status.is_terminal:
                self._service.cancel(task_id)
                job = self._service.job(task_id)
            if job is not None and job.state.status.is_terminal:
                self._settle(task_id, job)

    def task_result(self, task_id: str) -> bytes:
        state, name = self.task_status(task_id), self.ctx.name
        if not state.status.is_terminal:
            raise TaskNotReady(name, task_id, state.status.value)
        if state.status is TaskStatus.CANCELLED:
            raise TaskCancelled(name, task_id, state.reason or "")
        if state.status is TaskStatus.FAILED:
            raise TaskFailed(name, task_id, state.reason or "")
        content = self._objects.result(task_id)
        if content is None:
            raise UnexpectedReply(name, f"job {task_id} completed, but its result is not in the storage, or no longer")
        return content

    def task_logs(self, task_id: str) -> str:
        self._check(task_id)
        content = self._objects.logs(task_id)
        if content is None:
            self._look(task_id)  # raises where there is no such task
            return ""
        return content.decode(errors="replace")

    def task_usage(self, task_id: str) -> Usage:
        return Usage(qpu_s=self._look(task_id).qpu_s)

    def find_task(self, key: str) -> str | None:
        task_id = self._id_of(key)
        is_there = self._service.job(task_id) is not None or self._objects.record(task_id) is not None
        return task_id if is_there else None

    # -- the device

    def is_accessible(self) -> bool:
        return self._service.device(self._device()).get("status") == "online"

    def target(self) -> str:
        name = self._device()
        found = {"configuration": self._service.configuration(name), "properties": self._service.properties(name)}
        return json.dumps(found, separators=(",", ":"))

    def metadata(self) -> dict[str, str]:
        name = self._device()
        document, lanes = self._service.device(name), self._service.lanes(name)
        facts = {one: str(document[one]) for one in ("name", "status", "version", "message") if document.get(one)}
        facts["reserved"] = "yes" if document.get("locked") is True else "no"
        if lanes is not None:
            taken = jobs_on(self._service.jobs(), name)
            facts |= {"lanes": str(lanes), "lanes_free": str(max(0, lanes - taken))}
        return facts

    def discover(self) -> Sequence[Device]:
        jobs, found = self._service.jobs(), []
        for document in self._service.devices():
            name = str(document.get("name"))
            qubits = None
            with suppress(RequestRefused, ResourceUnavailable):
                qubits = self._service.configuration(name).get("n_qubits")
            lanes = self._service.lanes(name)
            found.append(device_of(document, qubits=qubits, lanes=lanes, jobs=jobs))
        return found

    def close(self) -> None:
        self._service.close()
        self._objects.close()

    # -- looking, and what follows from it

    def _look(self, task_id: str) -> Job:
        """The task as it is now. One that has ended makes room for others; one that waits is submitted."""
        self._check(task_id)
        with self._turn(task_id):
            if ended := self._ended.get(task_id):
                return ended
            if task_id in self._waiting and self.ctx.clock.monotonic() < self._lane_at:
                return self._queued(task_id)
            job = self._service.job(task_id)
            if job is not None:
                self._waiting.pop(task_id, None)
                if job.state.status.is_terminal:
                    self._settle(task_id, job)
                return job
            record = self._objects.record(task_id)
            if record is None:
                raise TaskNotFound(self.ctx.name, task_id)
            if record.end is not None:
                return self._note(task_id, record.end)
            return self._taken_up(task_id, record)

    def _taken_up(self, task_id: str, record: Record) -> Job:
        """We remember a task that the service does not know: it waits for a lane, or somebody deleted its job."""
        if task_id not in self._waiting:
            end = None
            if self._objects.has("results", task_id):
                end = Job(TaskState(TaskStatus.COMPLETED))
            elif self._objects.has("logs", task_id):
                end = Job(TaskState(TaskStatus.FAILED, "somebody deleted its job; see its log"))
            if end is not None:
                return self._remember_end(task_id, record, end)
        try:
            return self._submit(task_id, record)
        except RequestRefused as exc:
            return self._remember_end(task_id, record, Job(TaskState(TaskStatus.FAILED, exc.detail)))

    def _submit(self, task_id: str, record: Record) -> Job:
        """Ask for a lane. The job is accepted once at most, however often we ask."""
        clock = self.ctx.clock
        if clock.monotonic() < self._lane_at:
            self._waiting.setdefault(task_id, next(iter(self._waiting.values()), "all are taken"))
            return self._queued(task_id)
        try:
            self._service.submit(self._objects.submission(task_id, record))
        except RequestRefused as exc:
            if exc.status not in NO_LANE:
                raise
            self._waiting[task_id] = exc.detail
            self._lane_at = clock.monotonic() + max(exc.retry_after_s, self._lane_pause_s * uniform(0.5, 1.0))  # noqa: S311
            self._lane_pause_s = min(2 * self._lane_pause_s, _LANE_S[1])
            self._sweep()
            return self._queued(task_id)
        self._waiting.pop(task_id, None)
        self._lane_at, self._lane_pause_s = 0.0, _LANE_S[0]
        return Job(TaskState(TaskStatus.RUNNING), device=record.device)

    def _queued(self, task_id: str) -> Job:
        return Job(TaskState(TaskStatus.QUEUED, f"waits for a lane: {self._waiting[task_id]}"))

    def _resolve(self, task_id: str, exc: ResourceUnavailable) -> None:
        """A submission got no answer: if the service has the job all is well, else nothing of it stays."""
        try:
            if self._service.job(task_id) is not None:
                return
        except QrmiError:
            raise OutcomeUnknown(self.ctx.name, exc.detail) from exc
        self._objects.drop(task_id)
        raise exc

    def _settle(self, task_id: str, job: Job) -> None:
        """Remember how the job ended, and let the service forget it; what fails here is done the next time."""
        if not self._is_ours(task_id, job):
            return
        try:
            record = Record(program="", device=job.device, timeout_s=0, end=job)
            self._objects.remember(task_id, record)
            self._service.delete(task_id)
            self._objects.forbid(task_id)
        except QrmiError as exc:
            self.ctx.log.warning("job.not_settled", task_id=task_id, error=str(exc))
            return
        self._lane_at, self._lane_pause_s = 0.0, _LANE_S[0]
        self._note(task_id, job)

    def _withdraw(self, task_id: str) -> None:
        """Stop a task that the service does not know."""
        record = self._objects.record(task_id)
        if record is None:
            raise TaskNotFound(self.ctx.name, task_id)
        if record.end is None:
            end = Job(TaskState(TaskStatus.CANCELLED, "stopped before there was a lane"))
            self._remember_end(task_id, record, end)

    def _remember_end(self, task_id: str, record: Record, end: Job) -> Job:
        self._objects.remember(task_id, evolve(record, end=end))
        self._objects.forbid(task_id)
        return self._note(task_id, end)

    def _note(self, task_id: str, end: Job) -> Job:
        self._waiting.pop(task_id, None)
        self._ended[task_id] = end
        while len(self._ended) > _MOST_ENDED:
            with suppress(KeyError):
                self._ended.popitem(last=False)
        return end

    def _sweep(self) -> None:
        """Settle our jobs that ended while nobody looked: they keep lanes."""
        now = self.ctx.clock.monotonic()
        if now - self._swept_at < _SWEEP_S:
            return
        self._swept_at = now
        try:
            for job in self._service.jobs():
                if job.state.status.is_terminal:
                    self._settle(job.id, job)
        except QrmiError as exc:
            self.ctx.log.warning("jobs.not_swept", error=str(exc))

    # -- small things

    def _id_of(self, key: str) -> str:
        return str(uuid.uuid5(_IDS, f"{self.ctx.name}\n{key}"))

    def _is_ours(self, task_id: str, job: Job) -> bool:
        """Others choose random ids, or have another bucket. Their jobs can be looked at, and are theirs to delete."""
        with suppress(ValueError):
            is_derived = uuid.UUID(task_id).version == 5
            return is_derived and (job.input_url is None or self._objects.is_input(job.input_url, task_id))
        return False

    def _check(self, task_id: str) -> None:
        if not _ID.fullmatch(task_id):
            raise TaskNotFound(self.ctx.name, task_id)

    def _turn(self, task_id: str) -> threading.Lock:
        """One thread at a time for one task."""
        with self._guard:
            return self._turns.setdefault(task_id, threading.Lock())

    def _device(self) -> str:
        """What the service calls the device."""
        if self._settings.backend != LEAST_BUSY:
            return self._settings.backend or self.ctx.name
        if self._chosen is None:
            online = [device for device in self.discover() if device.is_online]
            if not online:
                raise ResourceUnavailable(self.ctx.name, "none of the credential's processors is online")
            self._chosen = min(online, key=lambda device: device.business).name
            self.ctx.log.info("device.chosen", device=self._chosen)
        return self._chosen

    def _timeout_s(self) -> int:
        """Of the execution: as configured, and no longer than the surrounding job."""
        clock, deadline, most = self.ctx.clock, self.ctx.deadline, self._settings.timeout_seconds
        return most if deadline is None else max(1, min(most, int(deadline - clock.monotonic())))
