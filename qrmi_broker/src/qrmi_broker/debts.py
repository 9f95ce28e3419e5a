"""What releases owe to the ledger: they go on without one, and are written when there is one again."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any, TypeVar

from attrs import define, field

from qrmi_broker.ledger import Ledger, LedgerUnavailable, Work
from qrmi_core import log

_T = TypeVar("_T")

_log = log.logger(part="debts")


@define(eq=False)
class Debts:
    """What could not be written of releases yet."""

    ledger: Ledger
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
            owed = list(self._owed)
            ends = await asyncio.gather(*map(self.ledger.do, owed), return_exceptions=True)  # in one commit
            done = set()
            for work, end in zip(owed, ends, strict=True):
                if not isinstance(end, LedgerUnavailable):
                    done.add(id(work))
                    if isinstance(end, Exception):  # what can never be written must not keep others from it
                        _log.error("broker.fault", exc_info=end)
            self._owed = [work for work in self._owed if id(work) not in done]
            if len(done) < len(owed):
                return
