"""What releases owe to the ledger: they go on without one, and are written when there is one again."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from qrmi_broker.ledger import Ledger, LedgerUnavailable, Work
from qrmi_core import log

_log = log.logger(part="debts")


@define(eq=False)
class Debts:
    """What could not be written of releases yet."""

    ledger: Ledger
    _owed: list[Work[Any]] = field(factory=list)

    async def settled(self) -> None:
        """Nothing is owed: whoever reads the ledger after a crash finds no lease that was released.

        Raises:
            LedgerUnavailable: something still is.
        """
        await self.pay()
        if self._owed:
            raise LedgerUnavailable("releases could not be written yet")

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
            except Exception as exc:  # noqa: BLE001 - what can never be written must not keep others from it
                _log.error("broker.fault", exc_info=exc)
            if self._owed and self._owed[0] is work:
                self._owed.pop(0)
