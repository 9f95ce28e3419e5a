"""The lives of tasks: submitted when there is a lane, looked at together, remembered when they end.

The service has no queue and no memory of jobs that were deleted; both are here. What a process must not forget lies in
the storage. What this process knows besides only spares requests.
"""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from random import uniform
from weakref import WeakValueDictionary

from attrs import evolve

from qrmi_core import (
    Context,
    OutcomeUnknown,
    PayloadError,
    QrmiError,
    RequestRefused,
    ResourceError,
    ResourceUnavailable,
    TaskNotFound,
    TaskState,
    TaskStatus,
)
from qrmi_core.door import Body
from qrmi_ibm_da._api import NO_LANE, Service
from qrmi_ibm_da._objects import Objects
from qrmi_ibm_da._wire import Job, Record

_MOST_ENDED = 4096
_LANE_S = (0.5, 5.0)
"""How long nobody asks for a lane after there was none: at first, and at most."""
_FRESH_S = (0.05, 1.0)
"""How old an answer about all jobs may be: at first, and at most."""
_FRESH = 0.2
"""In between: this part of the time since anything happened."""


class Tasks:
    """Those of one resource. Any thread may call; for one task, one at a time."""

    def __init__(self, ctx: Context, service: Service, objects: Objects) -> None:
        self._ctx, self._clock, self._log = ctx, ctx.clock, ctx.log
        self._service, self._objects = service, objects
        self._ended: OrderedDict[str, Job] = OrderedDict()
        self._waiting: OrderedDict[str, Record] = OrderedDict()
        """Those for which there was no lane, in the order in which they came."""
        self._running: dict[str, Job] = {}
        """Those that the service has accepted, as they were when we last looked."""
        self._why = "all are taken"
        self._lane_at, self._lane_pause_s = 0.0, _LANE_S[0]
        """When to ask for a lane again; the pause after that."""
        self._listed_at = self._changed_at = -1e9
        self._listing = threading.Lock()
        self._turns: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
        self._guard = threading.Lock()

    def start(self, task_id: str, record: Record, parameters: Body, source: str) -> None:
        """Submit the task, unless it was submitted before; where there is no lane, it waits.

        Args:
            task_id: of the task, and of its job.
            record: how to submit it.
            parameters: its input.
            source: of these, for messages.

        Raises:
            PayloadError: the service does not take it. Nothing of it stays.
            RequestRefused, AuthenticationFailed: nothing of it stays.
            ResourceUnavailable: the service does not have it.
            OutcomeUnknown: nobody knows; its id leads to it, if it was accepted.
        """
        with self._turn(task_id):
            if self.is_known(task_id) or not self._objects.add(task_id, record, parameters):
                return
            try:
                self._submit(task_id, record)
            except QrmiError as exc:
                if isinstance(exc, ResourceError) and self._is_accepted(task_id, exc):
                    return
                self._objects.drop(task_id)
                if isinstance(exc, RequestRefused) and exc.status == 400:
                    remedy = exc.solution or "Mend the payload"
                    raise PayloadError(source, "$", f"was refused: {exc.detail}", remedy) from exc
                raise

    def is_known(self, task_id: str) -> bool:
        """Whether there is such a task, or was. The job is looked for first: it goes when the memory is written."""
        return self._service.job(task_id) is not None or self._objects.record(task_id) is not None

    def look(self, task_id: str) -> Job:
        """The task as it is now. One that has ended makes room for others; those that wait are submitted then.

        Raises:
            TaskNotFound: no such task.
        """
        with self._turn(task_id):
            if task_id not in self._ended and (task_id in self._waiting or len(self._running) > 1):
                self._look_at_all(task_id)
                if task_id in self._waiting:
                    return self._queued()
                if task_id in self._running:
                    return self._running[task_id]
            return self._ended.get(task_id) or self._look_at(task_id)

    def stop(self, task_id: str) -> None:
        """Ask that the task end; one that has ended stays as it is.

        Raises:
            TaskNotFound: no such task.
        """
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

    # -- looking

    def _look_at(self, task_id: str) -> Job:
        job = self._service.job(task_id)
        if job is not None:
            self._see(task_id, job)
            return self._ended.get(task_id, job)
        record = self._objects.record(task_id)
        if record is None:
            raise TaskNotFound(self._ctx.name, task_id)
        if record.end is not None:
            return self._note(task_id, record.end)
        return self._taken_up(task_id, record)

    def _look_at_all(self, own_id: str) -> None:
        """Ask once for all tasks of this process, seldom when nothing happens; then give the free lanes away.

        While another thread does it, nobody waits for that: what is known is good enough.
        """
        with _taken(self._listing) as is_mine:
            if not is_mine:
                return
            now = self._clock.monotonic()
            least, most = _FRESH_S
            if now - self._listed_at < min(max(least, _FRESH * (now - self._changed_at)), most):
                return
            jobs = {job.id: job for job in self._service.jobs()}
            self._listed_at = self._clock.monotonic()
            for task_id, job in jobs.items():
                if job.state.status.is_terminal or task_id in self._running:
                    self._see(task_id, job)
            for task_id in self._running.keys() - jobs.keys():
                self._running.pop(task_id, None)  # whoever asks for it will look closer
            for task_id, record in list(self._waiting.items()):
                if self._clock.monotonic() < self._lane_at:
                    break
                if task_id == own_id:
                    self._try(task_id, record)
                    continue
                with _taken(self._turn(task_id)) as is_free:
                    if is_free and task_id in self._waiting:
                        self._try(task_id, record)

    def _see(self, task_id: str, job: Job) -> None:
        """The service has the job."""
        self._waiting.pop(task_id, None)
        if job.state.status.is_terminal:
            self._running.pop(task_id, None)
            self._settle(task_id, job)
        else:
            self._running[task_id] = job

    def _taken_up(self, task_id: str, record: Record) -> Job:
        """We remember a task that the service does not know: it waits for a lane, or somebody deleted its job."""
        end = None
        if self._objects.has("results", task_id):
            end = Job(TaskState(TaskStatus.COMPLETED))
        elif self._objects.has("logs", task_id):
            end = Job(TaskState(TaskStatus.FAILED, "somebody deleted its job; see its log"))
        return self._try(task_id, record) if end is None else self._remember(task_id, record, end)

    # -- submitting

    def _try(self, task_id: str, record: Record) -> Job:
        """Submit a task that waits. One that the service will never take has failed."""
        try:
            return self._submit(task_id, record)
        except RequestRefused as exc:
            if self._is_accepted(task_id, exc):
                return self._look_at(task_id)
            return self._remember(task_id, record, Job(TaskState(TaskStatus.FAILED, exc.detail)))

    def _submit(self, task_id: str, record: Record) -> Job:
        """Ask for a lane. The job is accepted once at most, however often we ask."""
        if self._clock.monotonic() < self._lane_at:
            self._waiting[task_id] = record
            return self._queued()
        try:
            self._service.submit(self._objects.submission(task_id, record))
        except RequestRefused as exc:
            if exc.status not in NO_LANE:
                raise
            self._waiting.setdefault(task_id, record)
            self._why = exc.detail
            pause_s = max(exc.retry_after_s, self._lane_pause_s * uniform(0.5, 1.0))  # noqa: S311
            self._lane_at = self._clock.monotonic() + pause_s
            self._lane_pause_s = min(2 * self._lane_pause_s, _LANE_S[1])
            return self._queued()
        self._waiting.pop(task_id, None)
        job = self._running[task_id] = Job(TaskState(TaskStatus.RUNNING), device=record.device, id=task_id)
        self._changed()
        return job

    def _queued(self) -> Job:
        return Job(TaskState(TaskStatus.QUEUED, f"waits for a lane: {self._why}"))

    def _is_accepted(self, task_id: str, exc: ResourceError) -> bool:
        """Whether the service has the job although its submission, or a repetition of that, ended so.

        Raises:
            OutcomeUnknown: it may have, and cannot be asked.
        """
        if not (exc.is_in_doubt or isinstance(exc, ResourceUnavailable)):
            return False
        try:
            return self._service.job(task_id) is not None
        except QrmiError:
            raise OutcomeUnknown(self._ctx.name, exc.detail) from exc

    # -- ending

    def _settle(self, task_id: str, job: Job) -> None:
        """Remember how the job ended, and let the service forget it; what fails here is done the next time."""
        if not self._is_ours(task_id, job):
            return
        try:
            known = self._objects.record(task_id) if job.state.status is TaskStatus.FAILED else None
            if known is not None and known.end is not None:
                job = known.end  # a repeated submission came after the task's end, and found no input
            else:
                self._objects.remember(task_id, Record(program="", device=job.device, timeout_s=0, end=job))
            self._service.delete(task_id)
            self._objects.forbid(task_id)
        except QrmiError as exc:
            self._log.warning("job.not_settled", task_id=task_id, error=str(exc))
            return
        self._note(task_id, job)
        self._changed()

    def _withdraw(self, task_id: str) -> None:
        """Stop a task that the service does not know."""
        record = self._objects.record(task_id)
        if record is None:
            raise TaskNotFound(self._ctx.name, task_id)
        if record.end is None:
            end = Job(TaskState(TaskStatus.CANCELLED, "stopped before there was a lane"))
            self._remember(task_id, record, end)

    def _remember(self, task_id: str, record: Record, end: Job) -> Job:
        self._objects.remember(task_id, evolve(record, end=end))
        self._objects.forbid(task_id)
        return self._note(task_id, end)

    def _note(self, task_id: str, end: Job) -> Job:
        self._waiting.pop(task_id, None)
        self._running.pop(task_id, None)
        self._ended[task_id] = end
        while len(self._ended) > _MOST_ENDED:
            with suppress(KeyError):
                self._ended.popitem(last=False)
        return end

    def _changed(self) -> None:
        """A lane came free, or was given to us."""
        self._changed_at = self._clock.monotonic()
        self._lane_at, self._lane_pause_s = 0.0, _LANE_S[0]

    def _is_ours(self, task_id: str, job: Job) -> bool:
        """Others choose random ids, or have another bucket. Their jobs can be looked at, and are theirs to delete."""
        with suppress(ValueError):
            is_derived = uuid.UUID(task_id).version == 5
            return is_derived and (job.input_url is None or self._objects.is_input(job.input_url, task_id))
        return False

    def _turn(self, task_id: str) -> threading.Lock:
        """One thread at a time for one task."""
        with self._guard:
            return self._turns.setdefault(task_id, threading.Lock())


@contextmanager
def _taken(lock: threading.Lock) -> Iterator[bool]:
    """Whether we have the *lock*; nobody waits for it."""
    is_mine = lock.acquire(blocking=False)
    try:
        yield is_mine
    finally:
        if is_mine:
            lock.release()
