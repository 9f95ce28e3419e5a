"""What releases owe to the ledger: they go on without one, and are written when there is one again."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from qrmi_broker.ledger import Ledger, LedgerUnavailable, Work


@define(eq=False)
class Debts:
    """What could not be written of releases yet."""

    ledger: Ledger
    _owed: list[Work[Any]] = field(factory=list)

    async def owe(self, work: Work[Any]) -> None:
        """Write it now, or when there is a ledger again."""
        self._owed.append(work)
        await self.pay()

    async def pay(self) -> None:
        """Write what is owed, in its order."""
        while self._owed:
            work = self._owed[0]
            try:
                await self.ledger.do(work)
            except LedgerUnavailable:
                return
            if self._owed and self._owed[0] is work:
                self._owed.pop(0)
