"""Who holds the lanes, and who waits for them: a run gets all it asked for at once, and runs are served in order."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from attrs import define, field

from qrmi_broker.lease import Grant, Lease
from qrmi_broker.vendor import Vendor
from qrmi_core.errors import AcquireTimeout


class Withdrawn(Exception):
    """Who waited for lanes does not want them any longer."""


@define(eq=False)
class Lanes:
    """The lanes of all resources. `Vendor.holders` says who has them."""

    vendors: Mapping[str, Vendor]
    _waiting: dict[Grant, asyncio.Future[None]] = field(factory=dict)

    def __len__(self) -> int:
        """How many runs wait."""
        return len(self._waiting)

    async def take(self, grant: Grant, wait_s: float) -> None:
        """Wait until every lease of *grant* has a lane.

        Raises:
            AcquireTimeout: others hold them after *wait_s*.
            Withdrawn: the request was.
        """
        ready = self._waiting[grant] = asyncio.get_running_loop().create_future()
        self._serve()
        try:
            if not ready.done():
                await asyncio.wait([ready], timeout=wait_s)
            if not ready.done():
                raise self._too_late(grant, wait_s)
            ready.result()
        finally:
            if self._waiting.pop(grant, None) is not None:
                self._serve()

    def _too_late(self, grant: Grant, wait_s: float) -> AcquireTimeout:
        full = [one for one in grant.leases if not self._fits(one)]
        name = full[0].resource if full else grant.leases[0].resource
        holders = ", ".join(f"job {one.grant.run.job_id}" for one in self.vendors[name].holders[:3]) or "others"
        return AcquireTimeout(name, f"{wait_s:g} s waited, held by {holders}")

    def withdraw(self, grant: Grant) -> None:
        """It does not wait any longer, if it did."""
        ready = self._waiting.get(grant)
        if ready is not None and not ready.done():
            ready.set_exception(Withdrawn())

    def hold(self, lease: Lease) -> None:
        """It has a lane."""
        self.vendors[lease.resource].holders.append(lease)

    def has(self, lease: Lease) -> bool:
        """Whether it has a lane."""
        return lease in self.vendors[lease.resource].holders

    def free(self, lease: Lease) -> None:
        """Its lane is the next one's."""
        self.vendors[lease.resource].holders.remove(lease)
        self._serve()

    def _fits(self, lease: Lease) -> bool:
        return self.vendors[lease.resource].has_lane_for(exclusive=lease.exclusive)

    def _serve(self) -> None:
        """Give free lanes to those who wait, in their order; nobody overtakes another who wants the same resource."""
        wanted_before: set[str] = set()
        for grant, ready in list(self._waiting.items()):
            names = {lease.resource for lease in grant.leases}
            if not names & wanted_before and all(map(self._fits, grant.leases)) and not ready.done():
                for lease in grant.leases:
                    self.hold(lease)
                del self._waiting[grant]
                ready.set_result(None)
            else:
                wanted_before |= names
