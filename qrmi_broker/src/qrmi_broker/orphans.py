"""Sessions that outlived their leases: a vendor may open one after we died asking, and nobody would close it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping

from attrs import define

from qrmi_broker import records
from qrmi_broker.ledger import Ledger, LedgerUnavailable
from qrmi_broker.vendor import Vendor
from qrmi_core import log
from qrmi_core.errors import NotOffered, QrmiError
from qrmi_core.models import Session

_PAUSES_S = (1.0, 3.0, 10.0, 30.0, 60.0)

_log = log.logger(part="orphans")


@define(eq=False)
class Orphans:
    """Looks for them at every vendor that can list its sessions, soon after a start and then each minute."""

    ledger: Ledger
    vendors: Mapping[str, Vendor]

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.gather(*(self._watch(vendor) for vendor in self.vendors.values()))

    async def _watch(self, vendor: Vendor) -> None:
        for pause_s in itertools.chain(_PAUSES_S, itertools.repeat(_PAUSES_S[-1])):
            await asyncio.sleep(pause_s)
            try:
                if self.ledger.read(lambda db: records.was_leased(db, vendor.name)):
                    await self._look(vendor)
            except NotOffered:
                return
            except (QrmiError, LedgerUnavailable) as exc:
                _log.warning("sessions.unknown", resource=vendor.name, error=str(exc))

    async def _look(self, vendor: Vendor) -> None:
        for one in await vendor.call("sessions"):
            if self._is_orphan(one):
                _log.error("session.orphaned", resource=vendor.name, session=one.token, lease_key=one.lease_key)
                await vendor.call("release", one.token)

    def _is_orphan(self, session: Session) -> bool:
        """The ledger knows its lease, and that it is over. Sessions of others are not ours to close."""
        grant_id, _, fence = (session.lease_key or "").rpartition("-")
        return fence.isdecimal() and self.ledger.read(lambda db: records.is_released(db, grant_id, int(fence)))
