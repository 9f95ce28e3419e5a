"""Following a task until its end: one who asks the vendor for all who wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from attrs import define

from qrmi_broker import records
from qrmi_broker.crashpoint import passing
from qrmi_broker.ledger import Ledger
from qrmi_broker.replies import clean
from qrmi_broker.spool import SMALL_BYTES, Spool
from qrmi_broker.task import Task
from qrmi_broker.vendor import Vendor, Visit
from qrmi_core import log
from qrmi_core.errors import QrmiError, TaskError, TaskFailed
from qrmi_core.models import TaskState, TaskStatus
from qrmi_core.polling import SystemClock, pauses

_FETCH_S = 60.0
"""How long a completed task's result is asked for before it is left at the vendor."""
_AFTER_FAULT_S = (1.0, 10.0, 0.0)
"""How long to wait after a fault of ours before the task is watched again; after the last it has failed."""

_log = log.logger(part="tasks")


@define(eq=False)
class Watcher:
    """Sees tasks to their end, and takes their results."""

    ledger: Ledger
    vendors: Mapping[str, Vendor]
    spool: Spool

    async def watch(self, task: Task) -> None:
        """Ask the vendor, often at first, then less often, until the end; then `task.state` and the ledger say it.

        Never ends without: a fault of ours is logged, and after some of them the task has failed.
        """
        for pause_s in _AFTER_FAULT_S:
            try:
                state = await self._end_of(task)
                break
            except Exception as exc:  # noqa: BLE001 - who waits for the task would wait for ever
                _log.error("broker.fault", task_id=task.id, resource=task.resource, exc_info=exc)
                state = _failed(f"a fault of the broker, {type(exc).__name__}: see its log")
                await asyncio.sleep(pause_s)
        task.over.set()
        if task.submission is not None:
            await asyncio.wait([task.submission])  # its end is not written before its id
        await self.ledger.surely(lambda db: records.end_task(db, task, state.status, state.reason))
        passing("task.ended")
        task.state = state

    async def _end_of(self, task: Task) -> TaskState:
        """How it ended; its result and what it cost are kept then."""
        vendor = self.vendors[task.resource]
        state = await self._terminal(task, vendor)
        if state.status is TaskStatus.COMPLETED and task.result is None and not self.spool.result(task.id).exists():
            state = await self._fetch(task, vendor, state)
        passing("task.fetched")
        return state

    async def _terminal(self, task: Task, vendor: Vendor) -> TaskState:
        cadence = pauses(SystemClock())
        while True:
            try:
                state: TaskState = await vendor.look("task_status", partial(self._look, task))
            except TaskError as exc:
                state = _failed(exc.detail or "the vendor knows it no longer")
            except QrmiError as exc:
                state = TaskState(task.state.status, clean(f"unreachable: {exc.args[-1] if exc.args else exc}"))
            if state.status.is_terminal:
                return state
            task.state = state
            try:
                async with asyncio.timeout(next(cadence)):
                    await task.nudge.wait()
                task.nudge.clear()
                cadence = pauses(SystemClock())
            except TimeoutError:
                continue

    def _look(self, task: Task, visit: Visit) -> TaskState:
        """In a thread: its state and, at its end, its cost and the result. What is not to be had now is left."""
        state: TaskState = visit.call("task_status", task.vendor_id)
        if state.status is TaskStatus.COMPLETED:
            with suppress(QrmiError, OSError):
                self._keep(task, visit)
        if state.status.is_terminal:
            with suppress(QrmiError):
                task.qpu_s = visit.call("task_usage", task.vendor_id).qpu_s
        return state

    def _keep(self, task: Task, visit: Visit) -> None:
        result: bytes = visit.call("task_result", task.vendor_id)
        if len(result) <= SMALL_BYTES:
            task.result = result
        else:
            self.spool.keep(task.id, result)

    async def _fetch(self, task: Task, vendor: Vendor, state: TaskState) -> TaskState:
        """Take the result while the vendor has it. What cannot be stored stays there, and is asked for again."""
        cadence, started = pauses(SystemClock()), time.monotonic()
        while True:
            try:
                await vendor.look("task_result", partial(self._keep, task))
                return state
            except TaskFailed as exc:
                return _failed(exc.detail)
            except QrmiError as exc:
                _log.warning("result.unreachable", task_id=task.id, error=str(exc))
                if time.monotonic() - started > _FETCH_S:
                    return state
            except OSError as exc:
                _log.error("result.unstored", task_id=task.id, error=exc.strerror)
                return state
            await asyncio.sleep(next(cadence))


def _failed(reason: object) -> TaskState:
    return TaskState(TaskStatus.FAILED, clean(str(reason)))
