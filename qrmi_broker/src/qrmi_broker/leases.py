"""Giving leases and taking them back: who waits, who holds, what is written before the vendor is asked."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import attrs
from attrs import define, field

from qrmi_broker import records
from qrmi_broker.crashpoint import passing
from qrmi_broker.lease import Facts, Grant, Lease, LeaseState, Wanted
from qrmi_broker.ledger import Ledger, LedgerUnavailable, Work
from qrmi_broker.permission import Permission
from qrmi_broker.vendor import Vendor
from qrmi_core import hooks, log
from qrmi_core.backend import QuantumResource
from qrmi_core.errors import (
    AcquireTimeout,
    AuthenticationFailed,
    AuthorizationRefused,
    BackendError,
    ConfigError,
    NotOffered,
    QrmiError,
    ResourceUnavailable,
)
from qrmi_core.models import AcquireRequest, Run

LONGEST_S = 7 * 24 * 3600.0
"""How long a lease without a time limit is kept without news of its run."""
REMEMBERED_S = 5.0
"""How long a refusal is the answer to all who ask for the same run."""
OPEN_S = 120.0
"""How long a vendor may take to open a session before those who wait for it are told."""
_RETRY_S = (0.2, 1.0, 5.0, 15.0, 60.0)
_LOOK_S = 1.0
_GIVE_UP_S = 600.0
"""A vendor is asked to close a session for so long at least."""
_REFUSALS = (AcquireTimeout, AuthenticationFailed, AuthorizationRefused, BackendError, ConfigError, NotOffered)
"""Answers to an acquire that opened nothing. After any other, nobody knows."""

_log = log.logger(part="leases")


class _Withdrawn(Exception):
    """Who waited for a lane does not want it any longer."""


@define(eq=False)
class _Waiting:
    grant: Grant
    ready: asyncio.Future[None]


@define(eq=False)
class Leases:
    """Every lease that is not released. It lives in the event loop's thread."""

    ledger: Ledger
    vendors: Mapping[str, Vendor]
    permission: Permission
    settle: Any = None
    """Called with a lease whose tasks must end."""
    hooks: hooks.Hooks = field(factory=hooks.installed)
    _grants: dict[str, Grant] = field(factory=dict)
    """By id: those that are not over, and refusals that are remembered."""
    _runs: dict[Run, Grant] = field(factory=dict)
    _fences: dict[int, Lease] = field(factory=dict)
    _waiting: list[_Waiting] = field(factory=list)
    _owed: list[Work[Any]] = field(factory=list)
    """What could not be written of releases, which go on without a ledger."""

    def __iter__(self) -> Iterator[Grant]:
        return iter(list(self._grants.values()))

    def find(self, grant_id: str) -> Grant | None:
        """The grant, if it is not long over."""
        return self._grants.get(grant_id)

    def by_fence(self, fence: int) -> Lease | None:
        """The lease of this row, if it is not over."""
        return self._fences.get(fence)

    @property
    def waiting(self) -> int:
        """How many runs wait for a lane."""
        return len(self._waiting)

    async def ask(self, run: Run, facts: Facts, wanted: tuple[Wanted, ...], *, wait_s: float) -> Grant:
        """The grant of *run*: the one it has, or a new one that is being acquired from now on.

        Args:
            run: who asks, as the scheduler says.
            facts: what else the scheduler says.
            wanted: the resources; all of them, or none.
            wait_s: how long to wait for lanes.
        """
        grant = self._runs.get(run)
        if grant is not None and not (grant.is_undone and grant.ending is not None):
            return grant
        limit_s = facts.time_limit_s or LONGEST_S
        grant = Grant(id=uuid.uuid4().hex, run=run, facts=facts, wanted=wanted, expires_at=time.time() + limit_s)
        self._grants[grant.id] = self._runs[run] = grant
        grant.work = asyncio.create_task(self._acquire(grant, wait_s))
        return grant

    async def release(self, grant: Grant, reason: str, *, is_forced: bool = False) -> None:
        """End every lease of *grant*; returns when the lanes are free. Idempotent.

        A lease whose session may be open although nobody can tell holds its lane until its limit, unless *is_forced*.
        """
        grant.is_forced |= is_forced
        if grant.ending is None:
            grant.ending = asyncio.create_task(self._release(grant, reason))
        await asyncio.shield(grant.ending)

    # -- acquiring

    async def _acquire(self, grant: Grant, wait_s: float) -> None:
        try:
            names = await self._checked(grant)
            await self._supersede(grant)
            grant.leases = [
                Lease(grant=grant, resource=one.name, alias=one.alias or one.name, exclusive=one.exclusive, own=one.own)
                for one in grant.wanted
                if one.name in names
            ]
            await self._lanes(grant, wait_s)
            self.permission.check_drains(grant, self.vendors)  # again: it has waited
            passing("lease.reserved")
            await self.ledger.do(lambda db: records.intend(db, grant))
            self._fences.update({lease.fence: lease for lease in grant.leases})
            passing("lease.intended")
            for lease in grant.leases:
                await self._open(lease)
            for lease in grant.leases:
                self.hooks.notify(_log, "qrmi_lease_acquired", run=grant.run, resource=lease.resource)
        except (_Withdrawn, asyncio.CancelledError):
            grant.failure = AuthorizationRefused(grant.wanted[0].name, "the request was withdrawn")
        except (QrmiError, LedgerUnavailable) as exc:
            grant.failure = _told(exc, grant)
        except Exception as exc:  # noqa: BLE001 - whoever asked must get an answer, and the lanes be freed
            grant.failure = ResourceUnavailable(grant.wanted[0].name, f"a fault of the broker: {exc!r}")
            _log.error("broker.fault", exc_info=exc)
        if grant.failure is not None:
            _log.info("lease.refused", **_facts(grant), reason=str(grant.failure))
            await self._undo(grant)
            grant.lapse = asyncio.create_task(self._lapse(grant))
        else:
            _log.info("lease.acquired", **_facts(grant), fences=[lease.fence for lease in grant.leases])

    async def _checked(self, grant: Grant) -> set[str]:
        names = await asyncio.to_thread(self.permission.check, grant, self.vendors)  # it may ask a directory of users
        for name in sorted(names):
            await asyncio.to_thread(self.hooks.authorize, grant.run, name)
        return names

    async def _supersede(self, grant: Grant) -> None:
        """One job has one run at a time: older ones are fenced off and released first; an older one is refused."""
        run = grant.run
        for other in self:
            if other is grant or (other.run.cluster, other.run.job_id) != (run.cluster, run.job_id):
                continue
            if _age(other.run) > _age(run):
                raise AuthorizationRefused(grant.wanted[0].name, "a newer run of this job holds its lease")
            await self.release(other, "superseded by a newer run of the job")
        last = await self.ledger.do(lambda db: records.last_run(db, run))
        if last is not None and last > _age(run):
            raise AuthorizationRefused(grant.wanted[0].name, "a newer run of this job had its lease")
        if last == _age(run):
            raise AuthorizationRefused(grant.wanted[0].name, "the lease of this run has ended")

    async def _lanes(self, grant: Grant, wait_s: float) -> None:
        waiting = _Waiting(grant, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._serve()
        try:
            await asyncio.wait_for(waiting.ready, wait_s)
        except TimeoutError:
            full = [one for one in grant.leases if not self._fits(one)]
            name = full[0].resource if full else grant.leases[0].resource
            holders = ", ".join(f"job {one.grant.run.job_id}" for one in self.vendors[name].holders[:3]) or "others"
            raise AcquireTimeout(name, f"{wait_s:g} s waited, held by {holders}") from None
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
                self._serve()

    def _fits(self, lease: Lease) -> bool:
        return self.vendors[lease.resource].has_lane_for(exclusive=lease.exclusive)

    def _serve(self) -> None:
        """Give free lanes to those who wait, in their order; nobody overtakes another who wants the same resource."""
        taken: set[str] = set()
        for waiting in list(self._waiting):
            leases = waiting.grant.leases
            names = {lease.resource for lease in leases}
            if not names & taken and all(map(self._fits, leases)) and not waiting.ready.done():
                for lease in leases:
                    self.vendors[lease.resource].holders.append(lease)
                self._waiting.remove(waiting)
                waiting.ready.set_result(None)
            taken |= names

    async def _open(self, lease: Lease) -> None:
        grant, vendor = lease.grant, self.vendors[lease.resource]
        if not lease.own:
            request = AcquireRequest(
                lease_key=lease.key,
                max_s=grant.facts.time_limit_s,
                exclusive=lease.exclusive,
                tags=("qrmi", f"{grant.run.cluster}:{grant.run.job_id}"),
            )
            lease.opening = asyncio.create_task(vendor.call("acquire", request, answer_s=None))
            done, _ = await asyncio.wait([lease.opening], timeout=OPEN_S)
            if not done:
                raise ResourceUnavailable(lease.resource, f"acquire has not answered within {OPEN_S:g} s")
            lease.session = lease.opening.result()
            passing("lease.acquired")
        await self.ledger.do(lambda db: records.activate(db, lease))
        lease.move(LeaseState.ACTIVE)
        passing("lease.activated")

    # -- releasing

    async def _undo(self, grant: Grant) -> None:
        """Free the lanes of a request that failed; what it opened is closed before."""
        held = [lease for lease in grant.leases if lease in self.vendors[lease.resource].holders]
        reason = "not granted: " + (type(grant.failure).__name__ if grant.failure else "withdrawn")
        grant.ending = asyncio.gather(*(self._undone(lease, reason) for lease in held))

    async def _undone(self, lease: Lease, reason: str) -> None:
        """End a lease that was not granted; where the answer to its acquire was lost, its session is looked for."""
        if lease.opening is not None:
            await asyncio.wait([lease.opening])
            exc = lease.opening.exception()
            if exc is not None and not isinstance(exc, _REFUSALS):
                await self._resolve(lease)
        if lease.state is not LeaseState.OUTCOME_UNKNOWN:
            await self._end(lease, reason)

    async def _lapse(self, grant: Grant) -> None:
        """Forget a refusal when it has been remembered, and all that it opened is closed."""
        await asyncio.sleep(REMEMBERED_S)
        if grant.ending is not None:
            await asyncio.wait([grant.ending])
        if all(lease.state is not LeaseState.OUTCOME_UNKNOWN for lease in grant.leases):
            self._forget(grant)
        else:  # its lane is held; the reconciler ends it
            grant.failure = grant.ending = None

    async def _release(self, grant: Grant, reason: str) -> None:
        for waiting in self._waiting:
            if waiting.grant is grant and not waiting.ready.done():
                waiting.ready.set_exception(_Withdrawn())
        if grant.work is not None:
            await asyncio.wait([grant.work])
        if grant.failure is None:
            await asyncio.gather(*(self._end(lease, reason) for lease in grant.leases))
            _log.info("lease.released", **_facts(grant), reason=reason)
        elif grant.ending is not None and grant.ending is not asyncio.current_task():
            await grant.ending
        self._forget(grant)

    def _forget(self, grant: Grant) -> None:
        self._grants.pop(grant.id, None)
        if self._runs.get(grant.run) is grant:
            del self._runs[grant.run]
        for lease in grant.leases:
            if lease.state is LeaseState.RELEASED:
                self._fences.pop(lease.fence, None)

    async def _end(self, lease: Lease, reason: str) -> None:
        """RELEASING, tasks settled, session closed, RELEASED, lane free: in this order."""
        vendor = self.vendors[lease.resource]
        while lease.state is LeaseState.OUTCOME_UNKNOWN and not lease.grant.is_forced:
            if time.time() > lease.grant.expires_at:
                break
            await asyncio.sleep(_LOOK_S)
        if lease.state is not LeaseState.RELEASING:
            lease.move(LeaseState.RELEASING)
        await self._write(lambda db: records.releasing(db, lease, reason))
        passing("lease.releasing")
        if lease.starting:
            await asyncio.wait(set(lease.starting))
        if self.settle is not None:
            await self.settle(lease)
        if lease.opening is not None:
            with suppress(QrmiError):
                lease.session = await lease.opening
        if lease.session is not None:
            await self._close(lease, vendor)
        passing("lease.closed")
        lease.move(LeaseState.RELEASED)
        await self._write(lambda db: records.released(db, lease))
        vendor.holders.remove(lease)
        self._serve()
        self.hooks.notify(_log, "qrmi_lease_released", run=lease.grant.run, resource=lease.resource)

    async def _close(self, lease: Lease, vendor: Vendor) -> None:
        """Close the session; a vendor that cannot is asked again until the session ends by itself."""
        limit_s = max(lease.grant.facts.time_limit_s or LONGEST_S, _GIVE_UP_S)
        deadline = time.monotonic() + limit_s  # it was opened before, and no clock that jumps has a say in this
        pauses = iter(_RETRY_S)
        pause_s = 0.0
        while True:
            try:
                await vendor.call("release", lease.session)
                return
            except QrmiError as exc:
                _log.warning("release.failed", resource=lease.resource, fence=lease.fence, error=str(exc))
                if time.monotonic() > deadline:
                    _log.error("lease.abandoned", resource=lease.resource, fence=lease.fence, session=lease.session)
                    return
            pause_s = next(pauses, pause_s)
            await asyncio.sleep(pause_s)

    async def _write(self, work: Work[Any]) -> None:
        """What a release writes; without a ledger it is owed, and the release goes on."""
        self._owed.append(work)
        await self.pay()

    async def pay(self) -> None:
        """Write what is owed to the ledger, in its order."""
        while self._owed:
            work = self._owed[0]
            try:
                await self.ledger.do(work)
            except LedgerUnavailable as exc:
                _log.error("ledger.unavailable", error=str(exc), owed=len(self._owed))
                return
            if self._owed and self._owed[0] is work:
                self._owed.pop(0)

    # -- after a restart

    async def restore(self) -> None:
        """Take up every lease that the ledger holds open."""
        for grant in await self.ledger.do(records.open_grants):
            known = [lease for lease in grant.leases if lease.resource in self.vendors]
            for lease in grant.leases:
                if lease not in known:
                    _log.error("lease.orphaned", resource=lease.resource, fence=lease.fence)
            grant.leases = known
            if not known:
                continue
            self._grants[grant.id] = self._runs[grant.run] = grant
            for lease in known:
                self._fences[lease.fence] = lease
                if lease.state is not LeaseState.RELEASED:
                    self.vendors[lease.resource].holders.append(lease)
        for grant in self:
            states = {lease.state for lease in grant.leases}
            if states & {LeaseState.INTENT, LeaseState.RELEASING, LeaseState.RELEASED}:
                grant.ending = asyncio.create_task(self._finish(grant))

    async def _finish(self, grant: Grant) -> None:
        """What was under way when we died: an unfinished grant is undone, and asked for anew by who wants it."""
        for lease in grant.leases:
            if lease.state is LeaseState.INTENT:
                await self._resolve(lease)
        open_ = [one for one in grant.leases if one.state not in (LeaseState.RELEASED, LeaseState.OUTCOME_UNKNOWN)]
        await asyncio.gather(*(self._end(lease, records.UNDONE) for lease in open_))
        if all(lease.state is LeaseState.RELEASED for lease in grant.leases):
            self._forget(grant)
        else:
            grant.ending = None

    async def _resolve(self, lease: Lease) -> None:
        """Find out whether a session was opened."""
        vendor = self.vendors[lease.resource]
        pauses, pause_s = iter(_RETRY_S), 0.0
        while not lease.own and type((await vendor.hosted()).inner).acquire is not QuantumResource.acquire:
            try:
                sessions = await vendor.call("sessions")
            except NotOffered:
                lease.move(LeaseState.OUTCOME_UNKNOWN)
                await self._write(lambda db: records.set_state(db, lease))
                _log.error("lease.outcome_unknown", **_facts(lease.grant), fence=lease.fence)
                return
            except QrmiError as exc:
                _log.warning("lease.unresolved", fence=lease.fence, error=str(exc))
                pause_s = next(pauses, pause_s)
                await asyncio.sleep(pause_s)
                continue
            lease.session = next((one.token for one in sessions if one.lease_key == lease.key), None)
            return


def _age(run: Run) -> tuple[int, int]:
    return run.start_time or 0, run.restart_count


def _facts(grant: Grant) -> dict[str, Any]:
    return {
        "lease": grant.id,
        "resources": [one.name for one in grant.wanted],
        **attrs.asdict(grant.run),
    }


def _told(exc: Exception, grant: Grant) -> Exception:
    if isinstance(exc, LedgerUnavailable):
        return ResourceUnavailable(grant.wanted[0].name, f"the broker's ledger cannot be written: {exc}")
    return exc
