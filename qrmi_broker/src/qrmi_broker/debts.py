"""What releases owe to the ledger: they go on without one, and are written when there is one again.

That a lease ends is then written where there is space for it in any case.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import suppress
from typing import Any, TypeVar

from attrs import define, field

from qrmi_broker import records
from qrmi_broker.ledger import Ledger, LedgerUnavailable, Work
from qrmi_broker.receipts import Receipts
from qrmi_core import log

_T = TypeVar("_T")

_log = log.logger(part="debts")


@define(eq=False)
class Debts:
    """What could not be written of releases yet."""

    ledger: Ledger
    receipts: Receipts
    _owed: list[Work[Any]] = field(factory=list)
    _payer: asyncio.Task[None] | None = None

    async def settle(self, work: Work[_T]) -> _T:
        """Write what is owed and *work*, or neither: who reads an intent finds no lease before it that was released.

        Raises:
            LedgerUnavailable: neither is written.
        """
        owed = list(self._owed)

        def both(db: sqlite3.Connection) -> _T:
            for one in owed:
                one(db)
            return work(db)

        done = await self.ledger.do(both)
        self._owed = [one for one in self._owed if one not in owed]
        return done

    async def owe(self, work: Work[Any]) -> None:
        """Write it now, or when there is a ledger again."""
        self.note(work)
        await self.pay()

    def note(self, work: Work[Any], within_s: float = 0.0) -> None:
        """The same without waiting: for what may be lost, because a restart does it again.

        Args:
            work: a part of a transaction; it may be written twice, and the second time after what came later.
            within_s: how long it may wait for another to be written with.
        """
        self._owed.append(work)
        if within_s:
            asyncio.get_running_loop().call_later(within_s, self._begin)
        else:
            self._begin()

    async def receipt(self, fence: int) -> None:
        """Write that the lease of *fence* ends, unless the ledger says so: a crash does not undo it."""
        if self._owed:
            try:
                await asyncio.to_thread(self.receipts.add, fence)
            except OSError as exc:
                _log.error("receipt.unwritten", fence=fence, error=str(exc))

    async def restore(self) -> None:
        """After a restart: tell the ledger what it was not told."""
        try:
            ending = await asyncio.to_thread(self.receipts.open)
            if ending:
                await self.ledger.do(lambda db: records.ending(db, ending))
                await asyncio.to_thread(self.receipts.clear)
        except OSError as exc:
            _log.error("receipts.unusable", error=str(exc))

    async def pay(self) -> None:
        """Write what is owed, in its order."""
        if self._owed:
            await asyncio.wait([self._begin()])

    def _begin(self) -> asyncio.Task[None]:
        """The task that writes, for as long as there is something."""
        if self._payer is None or self._payer.done():
            self._payer = asyncio.create_task(self._pay())
        return self._payer

    async def _pay(self) -> None:
        while self._owed:
            work = self._owed[0]
            try:
                await self.ledger.do(work)
            except LedgerUnavailable:
                return
            except Exception as exc:  # noqa: BLE001 - what can never be written must not keep others from it
                _log.error("broker.fault", exc_info=exc)
            if self._owed and self._owed[0] is work:
                self._owed.pop(0)
        with suppress(OSError):  # then it is said once more after a restart, which harms nobody
            self.receipts.clear()
