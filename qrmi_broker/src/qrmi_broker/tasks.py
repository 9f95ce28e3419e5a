"""Tasks: written before they are submitted, watched until they end, their results kept."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from attrs import define, field

from qrmi_broker import records
from qrmi_broker.crashpoint import passing
from qrmi_broker.lease import Lease, LeaseState
from qrmi_broker.ledger import Ledger, LedgerUnavailable
from qrmi_broker.spool import Spool
from qrmi_broker.task import Task, TaskRecord
from qrmi_broker.vendor import ANSWER_S, Vendor
from qrmi_core import log
from qrmi_core.errors import (
    AuthenticationFailed,
    AuthorizationRefused,
    BackendError,
    ConfigError,
    NotOffered,
    PayloadError,
    QrmiError,
    ResourceUnavailable,
    TaskCancelled,
    TaskError,
    TaskFailed,
    TaskNotFound,
    TaskNotReady,
)
from qrmi_core.models import TaskState, TaskStatus
from qrmi_core.payload import Payload
from qrmi_core.polling import SystemClock, pauses

_RESEND_S = (0.5, 2.0)
_STOP_S = 5.0
_FETCH_S = 60.0
"""How long a completed task's result is asked for before it is left at the vendor."""

_REFUSALS = (AuthenticationFailed, AuthorizationRefused, BackendError, ConfigError, NotOffered, PayloadError)
"""Answers to a submission that made no task. After any other, nobody knows until the vendor is asked."""
_DIED = "the broker died while it was submitted"

_log = log.logger(part="tasks")


@define(eq=False)
class Tasks:
    """Every task that has not ended. It lives in the event loop's thread."""

    ledger: Ledger
    vendors: Mapping[str, Vendor]
    spool: Spool
    on_end: Any = lambda task: None
    _open: dict[str, Task] = field(factory=dict)
    _keys: dict[tuple[int, str, str], Task] = field(factory=dict)

    @property
    def open_ids(self) -> set[str]:
        """Of the tasks that have not ended."""
        return set(self._open)

    def queued_of(self, uid: int) -> int:
        """How many tasks of a user have not ended."""
        return sum(task.uid == uid for task in self._open.values())

    # -- the verbs

    async def start(
        self, lease: Lease, *, kind: str, key: str, task_id: str, digest: str, size_bytes: int, source: str
    ) -> str:
        """Submit the spooled payload of *task_id* under *lease*; return the id of the task that has *key*.

        Raises:
            AuthorizationRefused: the lease has ended.
            PayloadError: it cannot run, or another payload has this key.
            ResourceUnavailable: the vendor could not be asked, or the ledger not be written.
        """
        owner = (lease.grant.run.uid, lease.resource, key)
        try:
            if (known := await self._known(owner, digest)) is not None:
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
            digest=digest,
            size_bytes=size_bytes,
            fence=lease.fence,
            source=source,
        )
        self._open[task.id] = self._keys[owner] = task
        task.submission = asyncio.create_task(self._submit(task, lease))
        lease.starting.add(task.submission)
        task.submission.add_done_callback(lease.starting.discard)
        await _within_reason(task)
        return task.id

    async def _known(self, owner: tuple[int, str, str], digest: str) -> str | None:
        """The id of the task that was accepted under this key before, if one was."""
        while True:
            earlier = self._keys.get(owner)
            if earlier is None:
                row = await self._read(owner[1], lambda db: records.task_by_key(db, *owner))
                if owner in self._keys:  # it came while we looked
                    continue
                return None if row is None else _same(row["id"], row["digest"], digest)
            _same(earlier.id, earlier.digest, digest)
            await _within_reason(earlier)
            if earlier.vendor_id is not None:
                return earlier.id
            # a restart found that it had not been submitted: there is no such task any longer

    async def state(self, task_id: str, uid: int, *, wait_s: float = 0.0) -> tuple[Any, TaskState]:
        """What is known of a task of *uid*'s, after its end or after *wait_s*.

        Raises:
            TaskNotFound: no such task, or another user's.
        """
        task = self._open.get(task_id)
        if task is not None and task.uid == uid:
            if wait_s > 0:
                try:
                    await asyncio.wait_for(task.ended.wait(), wait_s)
                except TimeoutError:
                    return task, task.state
            else:
                return task, task.state
        row = await self._read("qrmid", lambda db: records.task(db, task_id))
        if row is None or row["uid"] != uid:
            raise TaskNotFound("qrmid", task_id)
        return row, records.state_of(row)

    async def stop(self, task_id: str, uid: int) -> None:
        """Ask for the end of a task; nothing happens to one that has ended."""
        await self.state(task_id, uid)
        if task := self._open.get(task_id):
            await self._stop(task)

    async def result(self, task_id: str, uid: int) -> Any:
        """The file of a completed task's result, or its bytes where it could not be stored."""
        row, state = await self.state(task_id, uid)
        name = row.resource if isinstance(row, Task) else row["resource"]
        if not state.status.is_terminal:
            raise TaskNotReady(name, task_id, state.status.value)
        if state.status is TaskStatus.FAILED:
            raise TaskFailed(name, task_id, state.reason or "")
        if state.status is TaskStatus.CANCELLED:
            raise TaskCancelled(name, task_id, state.reason or "")
        path = self.spool.result(task_id)
        if path.exists():
            return path
        if isinstance(row, Task) or name not in self.vendors:
            raise TaskNotFound(name, task_id)
        return await self.vendors[name].call("task_result", row["vendor_id"])

    async def logs(self, task_id: str, uid: int) -> str:
        """What the vendor logged."""
        row, _ = await self.state(task_id, uid)
        if isinstance(row, Task):
            name, vendor_id = row.resource, row.vendor_id
        else:
            name, vendor_id = row["resource"], row["vendor_id"]
        found: str = await self.vendors[name].call("task_logs", vendor_id)
        return found

    async def find(self, uid: int, resource: str, key: str) -> str | None:
        """The id of the task of *uid*'s that has *key*."""
        if task := self._keys.get((uid, resource, key)):
            return task.id
        row = await self._read(resource, lambda db: records.task_by_key(db, uid, resource, key))
        return None if row is None else str(row["id"])

    async def settle(self, lease: Lease) -> None:
        """Stop every task of *lease*, and wait until each has ended; past the lease's limit, leave them."""
        deadline = time.monotonic() + _FETCH_S
        while mine := [task for task in self._open.values() if task.fence == lease.fence]:
            for task in mine:
                try:
                    await self._stop(task)
                except QrmiError as exc:
                    _log.warning("stop.failed", task_id=task.id, error=str(exc))
            await asyncio.wait([asyncio.ensure_future(task.ended.wait()) for task in mine], timeout=_STOP_S)
            is_over = time.time() > lease.grant.expires_at and time.monotonic() > deadline
            if is_over and any(not task.ended.is_set() for task in mine):
                _log.error("tasks.abandoned", fence=lease.fence, tasks=[task.id for task in mine])
                return

    # -- submitting

    async def _submit(self, task: Task, lease: Lease) -> None:
        """Intent, vendor, id. Whoever asked for it gets what is raised here."""
        passing("task.spooled")
        try:
            try:
                await self.ledger.do(lambda db: records.intend_task(db, task))
            except LedgerUnavailable as exc:
                raise ResourceUnavailable(task.resource, f"the broker's ledger cannot be written: {exc}") from exc
            passing("task.intended")
            try:
                task.vendor_id = await self._send(task)
            except QrmiError as exc:
                task.vendor_id = await self._refused(task, exc)
                if task.vendor_id is None:
                    raise
            passing("task.submitted")
            await self._note(lambda db: records.identify_task(db, task))
            passing("task.identified")
        except BaseException:
            self._forget(task)
            raise
        _log.info("task.started", task_id=task.id, resource=task.resource, uid=task.uid, kind=task.kind)
        task.watch = asyncio.create_task(self._watch(task))

    async def _send(self, task: Task) -> str:
        """Submit. Where the answer is lost, the vendor is asked for the key before anything is sent again."""
        vendor = self.vendors[task.resource]
        payload = self._payload(task)
        for pause_s in (*_RESEND_S, None):
            try:
                sent: str = await vendor.call("task_start", payload, key=task.id, answer_s=None)
                return sent
            except ResourceUnavailable:
                found = await self._lookup(task)
                if isinstance(found, str):
                    return found
                if pause_s is None or (found is False and not (await vendor.hosted()).can_resend):
                    raise
            await asyncio.sleep(pause_s)
        raise AssertionError("unreachable")

    async def _lookup(self, task: Task) -> str | bool | None:
        """The vendor's id of *task*; None if there is none; False if nobody can tell."""
        try:
            found: str | None = await self.vendors[task.resource].call("find_task", task.id)
        except QrmiError:
            return False
        return found

    async def _refused(self, task: Task, exc: QrmiError) -> str | None:
        """The vendor's id, if it was submitted nevertheless. If not, or if nobody knows, the ledger says so."""
        found = None if isinstance(exc, _REFUSALS) else await self._lookup(task)
        if isinstance(found, str):
            return found
        if found is False:
            _log.error("task.outcome_unknown", task_id=task.id, resource=task.resource, error=str(exc))
            await self._note(lambda db: records.end_task(db, task.id, TaskRecord.OUTCOME_UNKNOWN, str(exc), None))
        else:
            await self._note(lambda db: records.remove_task(db, task.id))
        return None

    def _forget(self, task: Task) -> None:
        self._open.pop(task.id, None)
        self._keys.pop((task.uid, task.resource, task.key), None)
        self.spool.forget_payload(task.id)
        task.ended.set()

    # -- following

    async def _watch(self, task: Task) -> None:
        """Ask the vendor for all who wait, often at first, then less often."""
        vendor = self.vendors[task.resource]
        cadence = pauses(SystemClock())
        while True:
            try:
                state = await vendor.call("task_status", task.vendor_id)
            except TaskError as exc:
                state = TaskState(TaskStatus.FAILED, exc.detail or "the vendor knows it no longer")
            except QrmiError as exc:
                state = TaskState(task.state.status, f"unreachable: {exc.args[-1]}")
            if state.status.is_terminal:
                break
            task.state = state
            try:
                await asyncio.wait_for(task.nudge.wait(), next(cadence))
                task.nudge.clear()
                cadence = pauses(SystemClock())
            except TimeoutError:
                continue
        await self._end(task, vendor, state)

    async def _end(self, task: Task, vendor: Vendor, state: TaskState) -> None:
        if state.status is TaskStatus.COMPLETED:
            state = await self._fetch(task, vendor, state)
        passing("task.fetched")
        qpu_s = None
        with suppress(QrmiError):
            qpu_s = (await vendor.call("task_usage", task.vendor_id)).qpu_s
        await self._note(lambda db: records.end_task(db, task.id, state.status, state.reason, qpu_s))
        passing("task.ended")
        task.state = state
        _log.info("task.ended", task_id=task.id, resource=task.resource, uid=task.uid, status=state.status, qpu_s=qpu_s)
        self._forget(task)
        self.on_end(task)

    async def _fetch(self, task: Task, vendor: Vendor, state: TaskState) -> TaskState:
        """Take the result while the vendor has it. What cannot be stored stays there, and is asked for again."""
        cadence, started = pauses(SystemClock()), time.monotonic()
        while True:
            try:
                content = await vendor.call("task_result", task.vendor_id)
                await asyncio.to_thread(self.spool.keep, task.id, content)
                return state
            except TaskFailed as exc:
                return TaskState(TaskStatus.FAILED, exc.detail)
            except QrmiError as exc:
                _log.warning("result.unreachable", task_id=task.id, error=str(exc))
                if time.monotonic() - started > _FETCH_S:
                    return state
            except OSError as exc:
                _log.error("result.unstored", task_id=task.id, error=exc.strerror)
                return state
            await asyncio.sleep(next(cadence))

    async def _stop(self, task: Task) -> None:
        if task.submission is not None and not task.submission.done():
            await asyncio.wait([task.submission], timeout=ANSWER_S)
        if not task.ended.is_set() and task.vendor_id is not None:
            await self.vendors[task.resource].call("task_stop", task.vendor_id)
            task.nudge.set()

    # -- the ledger

    async def _note(self, work: Any) -> None:
        """Write what has happened already: it must be written in the end, whatever hinders it now."""
        cadence = pauses(SystemClock())
        while True:
            try:
                await self.ledger.do(work)
                return
            except LedgerUnavailable as exc:
                _log.error("ledger.unavailable", error=str(exc))
                await asyncio.sleep(next(cadence))

    async def _read(self, name: str, work: Any) -> Any:
        try:
            return await self.ledger.do(work)
        except LedgerUnavailable as exc:
            raise ResourceUnavailable(name, f"the broker's ledger cannot be read: {exc}") from exc

    # -- after a restart

    async def restore(self) -> None:
        """Take up every task that the ledger holds open; what may have been submitted is looked for, not guessed."""
        for row in await self.ledger.do(records.open_tasks):
            if row["resource"] not in self.vendors:
                _log.error("task.orphaned", task_id=row["id"], resource=row["resource"])
                continue
            task = Task(
                id=row["id"],
                resource=row["resource"],
                uid=row["uid"],
                key=row["key"],
                kind=row["kind"],
                digest=row["digest"],
                size_bytes=row["size_bytes"],
                fence=row["fence"],
                vendor_id=row["vendor_id"],
            )
            self._open[task.id] = self._keys[task.uid, task.resource, task.key] = task
            if task.vendor_id is not None:
                task.watch = asyncio.create_task(self._watch(task))
            else:
                task.submission = asyncio.create_task(self._resume(task))

    async def _resume(self, task: Task) -> None:
        """Nobody was told that it was accepted: if it was not submitted, whoever wants it sends it again."""
        vendor = self.vendors[task.resource]
        cadence = pauses(SystemClock())
        while True:
            try:
                task.vendor_id = await self._found_or_sent(task, vendor)
                break
            except PayloadError:
                break
            except NotOffered:
                _log.error("task.outcome_unknown", task_id=task.id, resource=task.resource)
                await self._note(lambda db: records.end_task(db, task.id, TaskRecord.OUTCOME_UNKNOWN, _DIED, None))
                break
            except QrmiError as exc:
                _log.warning("task.unresolved", task_id=task.id, error=str(exc))
                await asyncio.sleep(next(cadence))
        if task.vendor_id is None:
            await self._note(lambda db: records.remove_intent(db, task))
            self._forget(task)
            return
        await self._note(lambda db: records.identify_task(db, task))
        task.watch = asyncio.create_task(self._watch(task))

    async def _found_or_sent(self, task: Task, vendor: Vendor) -> str | None:
        """The vendor's id of a task that may have been submitted; None if it was not.

        Raises:
            NotOffered: nobody can tell, and sending it again might make a second one.
        """
        try:
            found: str | None = await vendor.call("find_task", task.id)
        except NotOffered:
            if not (await vendor.hosted()).can_resend or not self.spool.payload(task.id).exists():
                raise
            found = await vendor.call("task_start", self._payload(task), key=task.id, answer_s=None)
        return found

    def _payload(self, task: Task) -> Payload:
        return Payload(task.kind, task.size_bytes, task.source, self.spool.payload(task.id))


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


def _same(task_id: str, digest: str, other: str) -> str:
    if digest != other:
        problem = "is not the payload that was submitted under this key before"
        raise PayloadError("payload", "", problem, "Take another key for it")
    return task_id


def new_id() -> str:
    """Of a task."""
    return uuid.uuid4().hex
