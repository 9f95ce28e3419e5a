"""Tasks: written before they are submitted, watched until they end, their results kept."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field

from qrmi_broker import records
from qrmi_broker.lease import Lease, LeaseState
from qrmi_broker.ledger import Ledger, LedgerUnavailable, Work
from qrmi_broker.spool import SMALL_BYTES, Spool, Spooled
from qrmi_broker.submission import Submitter
from qrmi_broker.task import Task
from qrmi_broker.vendor import ANSWER_S, Vendor
from qrmi_broker.watcher import Watcher
from qrmi_core import log
from qrmi_core.errors import (
    AuthorizationRefused,
    PayloadError,
    QrmiError,
    ResourceUnavailable,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    TaskNotReady,
)
from qrmi_core.models import TaskStatus

_T = TypeVar("_T")
_STOP_S = 5.0
_SETTLE_S = 60.0
"""How long the tasks of a lease whose time is over may take to end."""

_log = log.logger(part="tasks")


@define(eq=False)
class Tasks:
    """Every task that has not ended. It lives in the event loop's thread."""

    ledger: Ledger
    vendors: Mapping[str, Vendor]
    spool: Spool
    on_end: Any = lambda task: None
    _submitter: Submitter = field(init=False)
    _watcher: Watcher = field(init=False)
    _open: dict[str, Task] = field(factory=dict)
    _keys: dict[tuple[int, str, str], Task] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self._submitter = Submitter(self.ledger, self.vendors, self.spool)
        self._watcher = Watcher(self.ledger, self.vendors, self.spool)

    @property
    def open_ids(self) -> set[str]:
        """Of the tasks that have not ended."""
        return set(self._open)

    def queued_of(self, uid: int) -> int:
        """How many tasks of a user have not ended."""
        return sum(task.uid == uid for task in self._open.values())

    # -- the verbs

    async def start(self, lease: Lease, *, kind: str, key: str, task_id: str, spooled: Spooled, source: str) -> str:
        """Submit the payload of *task_id* under *lease*; return the id of the task that has *key*.

        Raises:
            AuthorizationRefused: the lease has ended.
            PayloadError: it cannot run, or another payload has this key.
            ResourceUnavailable: the vendor could not be asked, or the ledger not be written.
        """
        owner = (lease.grant.run.uid, lease.resource, key)
        try:
            if (known := await self._known(owner, kind, spooled.digest)) is not None:
                self.spool.forget_payload(task_id)
                return known
            if lease.state is not LeaseState.ACTIVE:
                raise AuthorizationRefused(lease.resource, "the lease of this job has ended")
        except BaseException:
            self.spool.forget_payload(task_id)
            raise
        task = Task(
            id=task_id,
            resource=lease.resource,
            uid=lease.grant.run.uid,
            key=key,
            kind=kind,
            digest=spooled.digest,
            size_bytes=spooled.size_bytes,
            payload=spooled.small,
            fence=lease.fence,
            source=source,
            session=lease.session,
        )
        self._open[task.id] = self._keys[owner] = task
        task.sending = asyncio.create_task(self._submitter.submit(task, lease))
        task.submission = asyncio.create_task(self._begin(task, task.sending))
        await _within_reason(task)
        return task.id

    async def _known(self, owner: tuple[int, str, str], kind: str, digest: str) -> str | None:
        """The id of the task that was accepted under this key before, if one was."""
        while (earlier := self._keys.get(owner)) is not None:
            _same(earlier, kind, digest)
            await _within_reason(earlier)
            if earlier.vendor_id is not None:
                return earlier.id
            # a restart found that it had not been submitted: there is no such task any longer
        ended = self._read(owner[1], lambda db: records.task_by_key(db, *owner))
        return None if ended is None else _same(ended, kind, digest)

    async def find(self, task_id: str, uid: int, *, wait_s: float = 0.0) -> Task:
        """The task of *uid*'s, as it is after its end or after *wait_s*.

        Raises:
            TaskNotFound: no such task, or another user's.
        """
        task = self._open.get(task_id)
        if task is not None and task.uid == uid:
            if wait_s > 0:
                await _all([task.ended], wait_s)
            return task
        ended = self._read("qrmid", lambda db: records.task(db, task_id))
        if ended is None or ended.uid != uid:
            raise TaskNotFound("qrmid", task_id)
        return ended

    def find_key(self, uid: int, resource: str, key: str) -> str | None:
        """The id of the task of *uid*'s that has *key*."""
        owner = (uid, resource, key)
        found = self._keys.get(owner) or self._read(resource, lambda db: records.task_by_key(db, *owner))
        return None if found is None else found.id

    async def stop(self, task_id: str, uid: int) -> None:
        """Ask for the end of a task; nothing happens to one that has ended."""
        task = await self.find(task_id, uid)
        await self._stop(task, TaskCancelled(task.resource, task_id, "it was stopped before it was submitted"))

    async def result(self, task_id: str, uid: int) -> Path | bytes:
        """The file of a completed task's result, or its bytes where it is small or could not be stored."""
        task = await self.find(task_id, uid)
        if not task.state.status.is_terminal:
            raise TaskNotReady(task.resource, task_id, task.state.status.value)
        if task.state.status is TaskStatus.FAILED:
            raise TaskFailed(task.resource, task_id, task.state.reason or "")
        if task.state.status is TaskStatus.CANCELLED:
            raise TaskCancelled(task.resource, task_id, task.state.reason or "")
        if task.result is not None:
            return task.result
        path = self.spool.result(task_id)
        if path.exists():
            return path
        content: bytes = await self._vendor(task).ask("task_result", task.vendor_id)
        return content

    async def logs(self, task_id: str, uid: int) -> str:
        """What the vendor logged.

        Raises:
            TaskNotReady: the vendor has not said yet what it calls the task.
            TaskFailed: it never will: whether the task was submitted is not known.
        """
        task = await self.find(task_id, uid)
        if task.vendor_id is None and task.state.status.is_terminal:
            raise TaskFailed(task.resource, task_id, task.state.reason or "")
        if task.vendor_id is None:
            raise TaskNotReady(task.resource, task_id, "it is still being submitted")
        found: str = await self._vendor(task).ask("task_logs", task.vendor_id)
        return found

    async def settle(self, lease: Lease) -> None:
        """Stop every task of *lease*, and wait until each is over; past the lease's limit, leave them."""
        deadline = time.monotonic() + _SETTLE_S
        while mine := [one for one in self._open.values() if one.fence == lease.fence and not one.over.is_set()]:
            await asyncio.gather(*(self._settled(task) for task in mine))
            await _all([task.over for task in mine], _STOP_S)
            is_over = lease.grant.is_past_limit and time.monotonic() > deadline
            if is_over and any(not task.over.is_set() for task in mine):
                _log.error("tasks.abandoned", fence=lease.fence, tasks=[task.id for task in mine])
                return

    async def _settled(self, task: Task) -> None:
        try:
            await self._stop(task, AuthorizationRefused(task.resource, "the lease of this job has ended"))
        except QrmiError as exc:
            _log.warning("stop.failed", task_id=task.id, error=str(exc))

    # -- their lives

    async def _begin(self, task: Task, sending: asyncio.Task[None]) -> None:
        """Whoever asked for it gets what is raised here. What the broker's own end cuts short is not forgotten."""
        try:
            await sending
        except Exception:
            self._forget(task)
            raise
        task.watch = asyncio.create_task(self._follow(task))  # a short one ends while its id is written
        await self._submitter.identify(task)

    async def _resume(self, task: Task) -> None:
        if task.vendor_id is None:
            await self._submitter.resume(task)
        if task.vendor_id is None:
            self._forget(task)
        else:
            task.watch = asyncio.create_task(self._follow(task))

    async def _follow(self, task: Task) -> None:
        if task.is_unwanted:  # since before the vendor had named it
            with suppress(QrmiError):
                await self._stop(task, TaskCancelled(task.resource, task.id, "it was stopped"))
        await self._watcher.watch(task)
        self._forget(task)
        await asyncio.sleep(0)  # who waits for it is told before the log
        facts = {"task_id": task.id, "resource": task.resource, "uid": task.uid, "qpu_s": task.qpu_s}
        _log.info("task.ended", **facts, status=task.state.status)
        self.on_end(task)

    def _forget(self, task: Task) -> None:
        self._open.pop(task.id, None)
        self._keys.pop((task.uid, task.resource, task.key), None)
        if task.size_bytes > SMALL_BYTES:
            self.spool.forget_payload(task.id)
        task.over.set()
        task.ended.set()

    async def _stop(self, task: Task, why: QrmiError) -> None:
        """Ask the vendor; what is not submitted yet never will be, and whoever waits for that reads *why*."""
        if task.turn is not None:
            if not task.turn.done():
                task.turn.set_exception(why)
            return
        task.is_unwanted = True
        asking = task.sending or task.submission
        if asking is not None and not asking.done():
            await asyncio.wait([asking], timeout=ANSWER_S)
        if not task.state.status.is_terminal and not task.ended.is_set() and task.vendor_id is not None:
            if task.stopping is None or task.stopping.done():
                task.stopping = asyncio.create_task(self._vendor(task).call("task_stop", task.vendor_id))
            await asyncio.wait([task.stopping])
            task.stopping.result()
            task.nudge.set()

    def _vendor(self, task: Task) -> Vendor:
        if task.resource not in self.vendors:
            raise TaskNotFound(task.resource, task.id)
        return self.vendors[task.resource]

    def _read(self, name: str, work: Work[_T]) -> _T:
        try:
            return self.ledger.read(work)
        except LedgerUnavailable as exc:
            raise ResourceUnavailable(name, f"the broker's ledger cannot be read: {exc}") from exc

    # -- after a restart

    async def restore(self) -> None:
        """Take up every task that the ledger holds open; what may have been submitted is looked for, not guessed."""
        for task in await self.ledger.do(records.open_tasks):
            if task.resource not in self.vendors:
                _log.error("task.orphaned", task_id=task.id, resource=task.resource)
                continue
            self._open[task.id] = self._keys[task.uid, task.resource, task.key] = task
            task.submission = asyncio.create_task(self._resume(task))


async def _all(events: Iterable[asyncio.Event], most_s: float) -> None:
    """Wait until each is set, or for *most_s*; nothing of the waiting is left then."""
    with suppress(TimeoutError):
        async with asyncio.timeout(most_s):
            for event in events:
                await event.wait()


async def _within_reason(task: Task) -> None:
    """Wait for the submission of *task*. It goes on, whatever the vendor takes: giving it up might make a second one.

    Raises:
        QrmiError: why it was refused, or that it takes long; then its key leads to it.
    """
    if task.submission is None:
        return
    done, _ = await asyncio.wait([task.submission], timeout=ANSWER_S)
    if not done:
        raise ResourceUnavailable(task.resource, f"task_start has not answered within {ANSWER_S:g} s")
    task.submission.result()


def _same(task: Task, kind: str, digest: str) -> str:
    if (task.kind, task.digest) != (kind, digest):
        problem = "is not the payload that was submitted under this key before"
        raise PayloadError("payload", "", problem, "Take another key for it")
    return task.id


def new_id() -> str:
    """Of a task."""
    return uuid.uuid4().hex
