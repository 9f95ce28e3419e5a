"""Submitting a task: intent, vendor, id. A lost answer is looked for, not guessed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from attrs import define, field

from qrmi_broker import records
from qrmi_broker.crashpoint import passing
from qrmi_broker.lease import Lease, LeaseState
from qrmi_broker.ledger import Ledger, LedgerUnavailable
from qrmi_broker.spool import Spool
from qrmi_broker.task import Task, TaskRecord
from qrmi_broker.turnstile import Turnstile
from qrmi_broker.vendor import NotSent, Vendor
from qrmi_core import log
from qrmi_core.errors import (
    AuthenticationFailed,
    AuthorizationRefused,
    BackendError,
    ConfigError,
    NotOffered,
    OutcomeUnknown,
    PayloadError,
    QrmiError,
    ResourceUnavailable,
)
from qrmi_core.payload import Payload
from qrmi_core.polling import SystemClock, pauses

_RESEND_S = (0.5, 2.0)
_LOOK_S = 60.0
"""How long a vendor is asked whether it has a task, before nobody knows."""
_REFUSALS = (AuthenticationFailed, AuthorizationRefused, BackendError, ConfigError, NotOffered, PayloadError, NotSent)
"""Answers to a submission that made no task. After any other, nobody knows until the vendor is asked."""
_DIED = "the broker died while it was submitted"

_log = log.logger(part="tasks")


@define(eq=False)
class Submitter:
    """Brings tasks to their vendors: each once."""

    ledger: Ledger
    vendors: Mapping[str, Vendor]
    spool: Spool
    _turnstile: Turnstile = field(factory=Turnstile)

    async def submit(self, task: Task, lease: Lease) -> None:
        """Write the intent and submit; the vendor's id is there then, and to be written by `identify`.

        Raises:
            AuthorizationRefused: *lease* ended before it was this task's turn.
            QrmiError: why it was not submitted, or that nobody knows; the ledger says which.
        """
        async with self._turnstile.passed(task):
            if lease.state is not LeaseState.ACTIVE:
                raise AuthorizationRefused(task.resource, "the lease of this job has ended")
            await self._submit(task, lease)

    async def _submit(self, task: Task, lease: Lease) -> None:
        passing("task.spooled")
        try:
            await self.ledger.do(lambda db: records.intend_task(db, task))
        except LedgerUnavailable as exc:
            raise ResourceUnavailable(task.resource, f"the broker's ledger cannot be written: {exc}") from exc
        passing("task.intended")
        task.vendor_id = await self._send(task, lease)
        passing("task.submitted")

    async def identify(self, task: Task) -> None:
        """Write the vendor's id: whoever asked may be told then."""
        task.payload = None
        await self.ledger.surely(lambda db: records.identify_task(db, task))
        passing("task.identified")
        _log.info("task.started", task_id=task.id, resource=task.resource, uid=task.uid, kind=task.kind)

    async def resume(self, task: Task) -> None:
        """After a restart: find *task* at the vendor; without a vendor's id afterwards, it was not submitted.

        Nobody was told that it was accepted: whoever wants it sends it again.
        """
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
                await self.ledger.surely(lambda db: records.end_task(db, task, TaskRecord.OUTCOME_UNKNOWN, _DIED))
                break
            except (QrmiError, LedgerUnavailable) as exc:
                _log.warning("task.unresolved", task_id=task.id, error=str(exc))
                await asyncio.sleep(next(cadence))
        if task.vendor_id is None:
            await self.ledger.surely(lambda db: records.remove_intent(db, task))
        else:
            await self.ledger.surely(lambda db: records.identify_task(db, task))

    async def _send(self, task: Task, lease: Lease) -> str:
        """Submit. Where the answer is lost, the vendor is asked for the key before anything is sent again."""
        vendor, payload, left = self.vendors[task.resource], self._payload(task), list(_RESEND_S)
        doubt: QrmiError | None = None
        while True:
            try:
                sent: str = await vendor.call(
                    "task_start", payload, key=task.vendor_key, session=task.session, answer_s=None
                )
                return sent
            except QrmiError as exc:
                if doubt is not None and isinstance(exc, _REFUSALS):
                    # of this try nothing came; of the one before, nobody knows
                    unknown = OutcomeUnknown(task.resource, f"{doubt}; the next try: {exc}")
                    await self._write_off(task, unknown, is_known=False)
                    raise unknown from exc
                found = None if isinstance(exc, _REFUSALS) else await self._lookup(task)
                if isinstance(found, str):
                    return found
                doubt, why = exc if found is False else doubt, str(exc)
                can_resend = found is None or (await vendor.hosted()).can_resend
                is_wanted = lease.state is LeaseState.ACTIVE and not task.is_unwanted
                if not (isinstance(exc, ResourceUnavailable) and can_resend and left and is_wanted):
                    await self._write_off(task, exc, is_known=found is None)
                    raise
            await asyncio.sleep(left.pop(0))
            if lease.state is not LeaseState.ACTIVE:
                ended = OutcomeUnknown if doubt is not None else AuthorizationRefused
                error = ended(task.resource, f"the lease of this job has ended; before that: {why}")
                await self._write_off(task, error, is_known=doubt is None)
                raise error

    async def _lookup(self, task: Task) -> str | bool | None:
        """The vendor's id of *task*; None if there is none; False if nobody can tell."""
        cadence, deadline = pauses(SystemClock()), time.monotonic() + _LOOK_S
        while True:
            try:
                found: str | None = await self.vendors[task.resource].call("find_task", task.vendor_key)
                return found
            except NotOffered:
                return False
            except QrmiError as exc:
                _log.warning("task.unresolved", task_id=task.id, error=str(exc))
                if time.monotonic() > deadline:
                    return False
            await asyncio.sleep(next(cadence))

    async def _write_off(self, task: Task, exc: QrmiError, *, is_known: bool) -> None:
        """It was not submitted, or nobody knows: the ledger says which. No lease waits for that."""
        task.over.set()
        if is_known:
            await self.ledger.surely(lambda db: records.remove_task(db, task.id))
        else:
            _log.error("task.outcome_unknown", task_id=task.id, resource=task.resource, error=str(exc))
            await self.ledger.surely(lambda db: records.end_task(db, task, TaskRecord.OUTCOME_UNKNOWN, str(exc)))

    async def _found_or_sent(self, task: Task, vendor: Vendor) -> str | None:
        """The vendor's id of a task that may have been submitted; None if it was not.

        Raises:
            NotOffered: nobody can tell, and sending it again might make a second one.
        """
        try:
            found: str | None = await vendor.call("find_task", task.vendor_key)
        except NotOffered:
            is_kept = task.payload is not None or self.spool.payload(task.id).exists()
            is_leased = self.ledger.read(lambda db: records.is_active(db, task.fence))
            if not (is_kept and is_leased and (await vendor.hosted()).can_resend):
                raise
            found = await vendor.call(
                "task_start", self._payload(task), key=task.vendor_key, session=task.session, answer_s=None
            )
        return found

    def _payload(self, task: Task) -> Payload:
        return Payload(task.kind, task.size_bytes, task.source, self.spool.content(task.id, task.payload))
