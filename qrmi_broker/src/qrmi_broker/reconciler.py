"""Comparing leases with what the scheduler says: the last of the ways by which a lease ends. It needs proof."""

from __future__ import annotations

import asyncio
import time

from attrs import define, field

from qrmi_broker import records
from qrmi_broker.lease import Grant
from qrmi_broker.leases import Leases
from qrmi_broker.scheduler import Fate, Listing, Scheduler, SchedulerUnavailable
from qrmi_core import log

_UNKNOWN = "the scheduler no longer knows its run"
_LISTINGS = 2
"""So many successive full listings that lack a run are evidence."""

_log = log.logger(part="reconciler")


@define(eq=False)
class Reconciler:
    """Looks every *every_s* seconds."""

    leases: Leases
    scheduler: Scheduler
    every_s: float
    obstacle: str | None = None
    """Why the scheduler's listings are not used, if so."""
    failure: str | None = None
    """What was wrong with the last listing, if anything."""
    listed_at: float | None = None
    _is_examined: bool = False
    """Whether the scheduler has said if there is an obstacle."""
    _overdue: set[str] = field(factory=set)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await self._examine()
        except SchedulerUnavailable as exc:
            self._say(str(exc))
        while True:
            await asyncio.sleep(self.every_s)
            try:
                await self.look()
            except Exception as exc:  # noqa: BLE001 - the next look may go well
                _log.error("reconciler.failed", exc_info=exc)

    async def look(self) -> None:
        """Ask the scheduler once, and release what has ended."""
        await self.leases.debts.pay()
        grants = [grant for grant in self.leases if grant.ending is None and grant.leases and not grant.is_over]
        if not grants:
            return
        listing = await self._listing()
        for grant in grants:
            if reason := self._evidence(grant, listing):
                self._overdue.discard(grant.id)
                self.leases.release(grant, reason)

    async def _listing(self) -> Listing | None:
        try:
            if not self._is_examined:
                await self._examine()
            if self.obstacle is not None:
                return None
            listing = await self.scheduler.listing()
        except SchedulerUnavailable as exc:
            self._say(str(exc))
            return None
        self._say(None if listing.jobs else "its list is empty, although runs hold leases: they are kept")
        self.listed_at = time.time()
        return listing

    async def _examine(self) -> None:
        """Ask whether listings show every user's jobs; until that is known none is used."""
        self.obstacle = await self.scheduler.obstacle()
        self._is_examined = True
        if self.obstacle is not None:
            _log.error("reconciler.off", reason=self.obstacle)

    def _say(self, failure: str | None) -> None:
        """Once for each time that the scheduler fails us."""
        if failure is not None and self.failure is None:
            _log.error("scheduler.unavailable", error=failure)
        elif failure is None and self.failure is not None:
            _log.info("scheduler.recovered")
        self.failure = failure

    def _evidence(self, grant: Grant, listing: Listing | None) -> str | None:
        """Why *grant* must end now, if so."""
        is_overdue = time.time() > grant.expires_at
        if listing is None:
            if self.scheduler.ends_at_limit and grant.is_past_limit:
                return "its time limit passed"
            self._say_overdue(grant, is_overdue)
            return None
        fate = listing.fate(grant.run)
        if fate is Fate.OVER:
            return "the scheduler shows the end of its run"
        if fate is Fate.LIVES:
            grant.missed = 0
            if grant.lives(listing.jobs[grant.run.job_id or ""].ends_at):
                self.leases.debts.note(lambda db: records.extend(db, grant))
            return None
        is_late = is_overdue and grant.is_past_limit  # the clock on the wall alone is no evidence
        grant.missed += fate is Fate.MISSING or is_late
        absence = "its time limit passed, and the scheduler does not list its run" if is_late else _UNKNOWN
        return absence if grant.missed >= _LISTINGS else None

    def _say_overdue(self, grant: Grant, is_overdue: bool) -> None:
        if is_overdue and grant.id not in self._overdue:
            self._overdue.add(grant.id)
            _log.error("lease.overdue", lease=grant.id, job_id=grant.run.job_id)
