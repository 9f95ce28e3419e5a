"""What releases owe to the ledger: they go on without one, and are written when there is one again. And who is told."""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import Any

from attrs import define, field

from qrmi_broker.ledger import Ledger, LedgerUnavailable, Work
from qrmi_core import log

_log = log.logger(part="ledger")


@define(eq=False)
class Debts:
    """What could not be written of releases yet, and whether that was said."""

    ledger: Ledger
    _owed: list[Work[Any]] = field(factory=list)
    _is_failing: bool = False

    async def owe(self, work: Work[Any]) -> None:
        """Write it now, or when there is a ledger again."""
        self._owed.append(work)
        await self.pay()

    async def pay(self) -> None:
        """Write what is owed, in its order."""
        while self._owed:
            work = self._owed[0]
            try:
                has_changed = await self.ledger.do(partial(_changes, work))
            except LedgerUnavailable as exc:
                self.failed(exc)
                return
            if self._owed and self._owed[0] is work:
                self._owed.pop(0)
            if has_changed:
                self.written()

    def failed(self, exc: LedgerUnavailable) -> None:
        """Tell an administrator, once for each time that the ledger fails us."""
        if not self._is_failing:
            _log.error("ledger.unavailable", error=str(exc))
        self._is_failing = True

    def written(self) -> None:
        """It works again, if it did not."""
        if self._is_failing:
            _log.info("ledger.recovered", owed=len(self._owed))
        self._is_failing = False


def _changes(work: Work[Any], db: sqlite3.Connection) -> bool:
    """Do *work*; whether that changed anything. What was never written can be updated on a full disk, too."""
    before = db.total_changes
    work(db)
    return db.total_changes > before
