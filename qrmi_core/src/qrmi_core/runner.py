"""Run one task from start to result: wait adaptively, keep the deadline, cancel when told to, lose nothing."""

from __future__ import annotations

import copy
import queue
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Protocol

from attrs import define, field

from qrmi_core import hooks
from qrmi_core.errors import (
    OutcomeUnknown,
    QrmiError,
    ResourceError,
    ResourceUnavailable,
    TaskCancelled,
    TaskFailed,
    TaskTimeLimit,
)
from qrmi_core.host import Hosted
from qrmi_core.models import AcquireRequest, Run, TaskState, TaskStatus
from qrmi_core.payload import Payload
from qrmi_core.polling import pauses

STOP_GRACE_S = 30.0
"""How long the vendor may take to confirm a cancel before we leave."""
PATIENCE_S = 120.0
"""How long a resource may be unreachable while a task runs before we give up waiting for it."""
_SUBMIT_S = 0.2
"""How long a submission may take after a cancel before we look for its task under its key."""
_RESEND_S = (0.5, 2.0)
"""Pauses before a submission that got no answer is sent again, where that is safe."""
_SLICE_S = 30.0
_TIME_LIMIT = "the time limit"
_DONE = "\0done"


class Listener(Protocol):
    """Who wants to know how a task is getting on: a live line, a log."""

    def event(self, name: str, **facts: Any) -> None:
        """Something happened."""


@define
class TaskRunner:
    """One task on one resource. `run` blocks; `cancel` may be called from a signal handler or another thread."""

    resource: Hosted
    listener: Listener
    hooks: hooks.Hooks = field(factory=hooks.installed)
    task_run: Run = field(factory=Run.of_this_process)
    task_id: str | None = None
    _wake: queue.SimpleQueue[str] = field(factory=queue.SimpleQueue)
    _content: bytes | None = None
    """The result, once there is one."""
    _announced: threading.Event = field(factory=threading.Event)
    """The listener knows that we submit: it learns so while the submission is under way, not before."""
    _submitted: threading.Event = field(factory=threading.Event)
    """`task_start` has returned or raised."""
    _stopping: threading.Event = field(factory=threading.Event)

    def cancel(self, why: str) -> None:
        """Cancel the task; `run` then raises TaskCancelled with *why*. The first reason counts."""
        self._wake.put(why)

    def run(self, payload: Payload, *, key: str | None = None, timeout_s: float | None = None) -> bytes:
        """Execute *payload* and return its result.

        Args:
            payload: what to run.
            key: makes this task recognisable: the same key is never submitted twice. By default a new uuid.
            timeout_s: cancel the task after so many seconds.

        Raises:
            PayloadError, ConfigError, AuthorizationRefused: nothing was submitted.
            TaskFailed, TaskCancelled, TaskTimeLimit: how the task ended.
            ResourceUnavailable: the resource could not be reached for long. The message names the task: it may go on.
        """
        ctx = self.resource.ctx
        self.hooks.authorize(self.task_run, ctx.name)
        key = key or str(uuid.uuid4())
        ends = [timeout_s] if timeout_s is not None else []
        if ctx.deadline is not None:
            ends.append(max(0.0, ctx.deadline - ctx.clock.monotonic()))
        limit_s = min(ends, default=None)
        task = _Background(lambda: self._leased(payload, key, timeout_s), self._wake)
        task.start()
        self.listener.event("task.submitting", resource=ctx.name, type=ctx.type, kind=payload.kind)
        self._announced.set()
        why = task.finished_or_told(limit_s)
        if why is None:
            return task.outcome()
        self.listener.event("task.cancelling", task_id=self.task_id, why=why)
        return self._cancelled(task, key, why, limit_s)

    def submit(self, payload: Payload, *, key: str | None = None) -> str:
        """Submit *payload* in a session that somebody else acquired, and return the task's id without waiting.

        Raises:
            PayloadError, ConfigError, AuthorizationRefused: nothing was submitted.
            ResourceUnavailable: the message says how to submit it again.
        """
        ctx = self.resource.ctx
        self.hooks.authorize(self.task_run, ctx.name)
        self.listener.event("task.submitting", resource=ctx.name, type=ctx.type, kind=payload.kind)
        task_id = self.task_id = self._start(payload, key or str(uuid.uuid4()))
        self.listener.event("task.started", task_id=task_id, kind=payload.kind, size_bytes=payload.size_bytes)
        self._notify("qrmi_task_started", resource=ctx.name, task_id=task_id)
        return task_id

    def _cancelled(self, task: _Background, key: str, why: str, limit_s: float | None) -> bytes:
        """Stop the task and settle how it ended: a stop may lose to completion, and then the result counts.

        The stop has a thread of its own: a backend that hangs must not keep us, too.
        """
        threading.Thread(target=self._stop, args=(key,), name="qrmi-stop", daemon=True).start()
        name, task_id = self.resource.ctx.name, self.task_id or "(not yet submitted)"
        unconfirmed = ""
        try:
            if task.ended(STOP_GRACE_S):
                return task.outcome()
            if self._content is not None:  # only the session's end is missing
                return self._content
            unconfirmed = f"; not confirmed within {STOP_GRACE_S:g} s, so it may go on (its key is {key})"
        except TaskCancelled as exc:
            task_id = exc.task_id
        if why == _TIME_LIMIT:
            raise TaskTimeLimit(name, task_id, f"{limit_s:g} s{unconfirmed}")
        raise TaskCancelled(name, task_id, f"{why}{unconfirmed}")

    def _stop(self, key: str) -> None:
        if not self._submitted.wait(_SUBMIT_S):
            with suppress(QrmiError):  # not every backend can find it; then we wait for its id
                if found := self.resource.find_task(key):
                    self.resource.task_stop(found)
            self._submitted.wait(STOP_GRACE_S)
        if self.task_id is not None:
            with suppress(QrmiError):  # the wait then says that nobody confirmed it
                self.resource.task_stop(self.task_id)
        self._stopping.set()

    # -- in the background

    def _leased(self, payload: Payload, key: str, timeout_s: float | None) -> bytes:
        """With a session of our own, unless somebody opened one for us."""
        name, token = self.resource.ctx.name, None
        try:
            if self.resource.ctx.acquisition_token is None:
                token = self.resource.acquire(AcquireRequest(lease_key=str(uuid.uuid4()), max_s=timeout_s))
                self._notify("qrmi_lease_acquired", resource=name)
            return self._execute(payload, key)
        finally:
            self._submitted.set()
            if token is not None:
                self._release(token)

    def _release(self, token: str) -> None:
        """Close the session. One that cannot be closed must not stand in for how the task ended."""
        ctx = self.resource.ctx
        try:
            self.resource.release(token)
        except QrmiError as exc:
            ctx.log.warning("release.failed", error=str(exc))
        else:
            self._notify("qrmi_lease_released", resource=ctx.name)

    def _execute(self, payload: Payload, key: str) -> bytes:
        """Start, wait, result."""
        name = self.resource.ctx.name
        try:
            task_id = self.task_id = self._start(payload, key)
        finally:
            self._submitted.set()
        self._announced.wait()
        self.listener.event("task.started", task_id=task_id, kind=payload.kind, size_bytes=payload.size_bytes)
        self._notify("qrmi_task_started", resource=name, task_id=task_id)
        state = self._wait(task_id)
        self.listener.event(f"task.{state.status.value.lower()}", task_id=task_id, reason=state.reason)
        self._notify("qrmi_task_finished", resource=name, task_id=task_id, state=state)
        if state.status is TaskStatus.FAILED:
            raise TaskFailed(name, task_id, state.reason or "the backend gave no reason")
        if state.status is TaskStatus.CANCELLED:
            raise TaskCancelled(name, task_id, state.reason or "")
        self._content = self._result(task_id)
        return self._content

    def _start(self, payload: Payload, key: str) -> str:
        """Submit. What became of a submission whose answer was lost is asked for by its key, never guessed."""
        doubt: OutcomeUnknown | None = None
        for pause_s in (*_RESEND_S, None):
            try:
                return self.resource.task_start(payload, key=key)
            except ResourceUnavailable as exc:
                doubt = exc if isinstance(exc, OutcomeUnknown) else doubt
                with suppress(QrmiError):
                    if found := self.resource.find_task(key):
                        return found
                if pause_s is None or not self.resource.can_resend or self._stopping.wait(pause_s):
                    detail = f"{exc.detail}; submit it again with --key {key}, so that it cannot run twice"
                    raise ResourceUnavailable(exc.resource, detail) from exc
            except QrmiError as exc:
                if doubt is None:
                    raise
                detail = f"{doubt.detail}; the next try: {exc.sentence()}; its key is {key}"
                raise OutcomeUnknown(doubt.resource, detail) from exc
        raise AssertionError("unreachable")

    def _result(self, task_id: str) -> bytes:
        """Fetch the result of a completed task; contact that is lost is waited for, as it is while the task runs."""
        clock = self.resource.ctx.clock
        cadence, started = pauses(clock), clock.monotonic()
        while True:
            try:
                return self.resource.task_result(task_id)
            except ResourceUnavailable as exc:
                if self._stopping.is_set() or clock.monotonic() - started > PATIENCE_S:
                    raise _naming(task_id, exc, "completed") from exc
                self.listener.event("task.unreachable", task_id=task_id, error=exc.detail)
                cadence = self._pause(cadence)
            except ResourceError as exc:
                raise _naming(task_id, exc, "completed") from exc

    def _wait(self, task_id: str) -> TaskState:
        """Until the task has ended. A resource that is told of it waits itself; others are asked at our cadence."""
        clock = self.resource.ctx.clock
        cadence, slice_s = pauses(clock), 0.0  # the first question returns at once: does the task run, or queue?
        seen: TaskState | None = None
        lost_since: float | None = None
        while True:
            try:
                state = (
                    self.resource.task_wait(task_id, slice_s)
                    if self.resource.is_told
                    else self.resource.task_status(task_id)
                )
                lost_since = None
            except ResourceUnavailable as exc:
                lost_since = clock.monotonic() if lost_since is None else lost_since
                if self._stopping.is_set() or clock.monotonic() - lost_since > PATIENCE_S:
                    raise _naming(task_id, exc) from exc
                self.listener.event("task.unreachable", task_id=task_id, error=exc.detail)
                cadence = self._pause(cadence)
                continue
            except ResourceError as exc:
                raise _naming(task_id, exc) from exc
            if state.status.is_terminal:
                return state
            if state != seen:
                seen = state
                self.listener.event(
                    f"task.{state.status.value.lower()}",
                    task_id=task_id,
                    reason=state.reason,
                    queue_position=state.queue_position,
                    progress=state.progress,
                )
            if self.resource.is_told:
                slice_s = _SLICE_S if state.status is TaskStatus.RUNNING else min(_SLICE_S, max(0.1, 2 * slice_s))
            else:
                cadence = self._pause(cadence)

    def _pause(self, cadence: Iterator[float]) -> Iterator[float]:
        """Until the next question. A stop brings it forward, once, and the cadence starts anew."""
        if self._stopping.is_set():
            self.resource.ctx.clock.sleep(next(cadence))
        elif self._stopping.wait(next(cadence)):
            return pauses(self.resource.ctx.clock)
        return cadence

    def _notify(self, name: str, **facts: Any) -> None:
        self.hooks.notify(self.resource.ctx.log, name, run=self.task_run, **facts)


def _naming(task_id: str, exc: ResourceError, what: str = "was submitted and may go on") -> ResourceError:
    """The same error; it says besides what there is of the task."""
    named = copy.copy(exc)
    named.detail = f"{exc.detail} (task {task_id} {what})"
    return named


class _Background(threading.Thread):
    """Runs one function; the main thread stays free to take signals."""

    def __init__(self, work: Callable[[], bytes], wake: queue.SimpleQueue[str]) -> None:
        super().__init__(name="qrmi-task", daemon=True)
        self._work = work
        self._wake = wake
        self._result: bytes | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as exc:  # noqa: BLE001 - raised again by outcome(), in the thread that asked
            self._error = exc
        self._wake.put(_DONE)

    def finished_or_told(self, limit_s: float | None) -> str | None:
        """Wait for the end (None), or for a reason to cancel."""
        try:
            why = self._wake.get(timeout=limit_s)
        except queue.Empty:
            return _TIME_LIMIT
        return None if why == _DONE else why

    def ended(self, grace_s: float) -> bool:
        """Whether the function returned within *grace_s*."""
        self.join(grace_s)
        return not self.is_alive()

    def outcome(self) -> bytes:
        """What the function returned, or what it raised."""
        if self._error is not None:
            raise self._error
        if self._result is None:
            raise QrmiError("the task ended without a result")
        return self._result
