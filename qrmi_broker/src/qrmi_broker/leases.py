"""Giving leases and taking them back: what is written before the vendor is asked, and in which order all ends."""

from __future__ import annotations

import asyncio
import functools
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import define, field

from qrmi_broker import records, session
from qrmi_broker.crashpoint import passing
from qrmi_broker.debts import Debts
from qrmi_broker.lanes import Lanes, Withdrawn
from qrmi_broker.lease import Facts, Grant, Lease, LeaseState, Wanted
from qrmi_broker.ledger import Ledger, LedgerUnavailable
from qrmi_broker.permission import Permission
from qrmi_broker.threads import Threads
from qrmi_broker.vendor import Vendor
from qrmi_core import hooks, log
from qrmi_core.errors import AcquireTimeout, AuthorizationRefused, QrmiError, ResourceUnavailable
from qrmi_core.models import Run

REMEMBERED_S = 5.0
"""How long a refusal is the answer to all who ask for the same run."""
_LOOK_S = 1.0
_LATER_S = 0.05
"""How long a release waits for the next lease, to be written with it."""

_log = log.logger(part="leases")


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
    orphans: dict[str, str] = field(factory=dict)
    """By the grant's id, a resource of it that the configuration lacks: its session cannot be closed."""
    _askers: Threads = field(factory=lambda: Threads("askers"))
    _tellers: Threads = field(factory=lambda: Threads("tellers", most=1))
    """One: plugins are told in the order in which it happened."""
    lanes: Lanes = field(init=False)
    debts: Debts = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.lanes, self.debts = Lanes(self.vendors), Debts(self.ledger)

    def __iter__(self) -> Iterator[Grant]:
        return iter(list(self._grants.values()))

    def find(self, grant_id: str) -> Grant | None:
        """The grant, if it is not long over."""
        return self._grants.get(grant_id)

    def by_fence(self, fence: int) -> Lease | None:
        """The lease of this row, if it is not over."""
        return self._fences.get(fence)

    async def ask(self, run: Run, facts: Facts, wanted: tuple[Wanted, ...], *, wait_s: float) -> Grant:
        """The grant of *run*: the one it has, or a new one that is being acquired from now on.

        Args:
            run: who asks, as the scheduler says.
            facts: what else the scheduler says.
            wanted: the resources; all of them, or none.
            wait_s: how long to wait for lanes.
        """
        grant = self._runs.get(run)
        if grant is not None and not grant.is_to_be_asked_anew:
            return grant
        expires_at = time.time() + facts.limit_s
        grant = Grant(id=uuid.uuid4().hex, run=run, facts=facts, wanted=wanted, expires_at=expires_at)
        self._grants[grant.id] = self._runs[run] = grant
        grant.work = asyncio.create_task(self._acquire(grant, wait_s))
        return grant

    def release(self, grant: Grant, reason: str, *, is_forced: bool = False) -> asyncio.Future[None]:
        """Begin to end every lease of *grant*. What this returns is done when the lanes are free. Idempotent.

        A lease whose session may be open although nobody can tell holds its lane until its limit, unless *is_forced*.
        """
        grant.is_forced |= is_forced
        if grant.ending is None:
            grant.ending = asyncio.create_task(self._release(grant, reason))
            grant.ending.add_done_callback(functools.partial(_may_be_tried_again, grant))
        return grant.ending

    # -- acquiring

    async def _acquire(self, grant: Grant, wait_s: float) -> None:
        try:
            names = await self._checked(grant)
            await self._supersede(grant, wait_s)
            grant.leases = [
                Lease(grant=grant, resource=one.name, alias=one.alias or one.name, exclusive=one.exclusive, own=one.own)
                for one in grant.wanted
                if one.name in names
            ]
            await self.lanes.take(grant, wait_s)
            self.permission.check_drains(grant, self.vendors)  # again: it has waited
            for lease in grant.leases:
                session.open_unasked(lease, self.vendors[lease.resource])
            passing("lease.reserved")
            fences = await self.debts.settle(lambda db: records.intend(db, grant))
            for lease, fence in zip(grant.leases, fences, strict=True):
                lease.fence = fence
            self._fences.update({lease.fence: lease for lease in grant.leases})
            passing("lease.intended")
            for lease in grant.leases:
                await self._open(lease)
            for lease in grant.leases:
                self._tell("qrmi_lease_acquired", lease)
        except (Withdrawn, asyncio.CancelledError):
            grant.failure = AuthorizationRefused(grant.wanted[0].name, "the request was withdrawn")
        except LedgerUnavailable as exc:
            grant.failure = ResourceUnavailable(grant.wanted[0].name, f"the broker's ledger cannot be written: {exc}")
        except QrmiError as exc:
            grant.failure = exc
        except Exception as exc:  # noqa: BLE001 - whoever asked must get an answer, and the lanes be freed
            grant.failure = ResourceUnavailable(grant.wanted[0].name, f"a fault of the broker: {exc!r}")
            _log.error("broker.fault", exc_info=exc)
        if grant.failure is not None:
            _log.info("lease.refused", **grant.about, reason=str(grant.failure))
            grant.undoing = self._undo(grant)
            grant.lapse = asyncio.create_task(self._lapse(grant))
        else:
            _log.info("lease.acquired", **grant.about, fences=[lease.fence for lease in grant.leases])

    async def _checked(self, grant: Grant) -> set[str]:
        def check() -> set[str]:
            names = self.permission.check(grant, self.vendors)
            for name in sorted(names):
                self.hooks.authorize(grant.run, name)
            return names

        if self.permission.is_plain(grant, self.vendors) and not self.hooks.are_there("qrmi_authorize"):
            return check()
        names: set[str] = await self._askers.run(check)
        return names  # a directory of users is asked, hooks ask anybody

    async def _supersede(self, grant: Grant, wait_s: float) -> None:
        """One job has one run at a time: older ones are fenced off and released first; an older one is refused."""
        run, deadline = grant.run, time.monotonic() + wait_s
        for other in self:
            if other is grant or (other.run.cluster, other.run.job_id) != (run.cluster, run.job_id):
                continue
            if other.run != run and other.age >= grant.age and other.failure is None:
                raise AuthorizationRefused(grant.wanted[0].name, "a newer run of this job holds its lease")
            releasing = self.release(other, "superseded by a newer run of the job")
            done, _ = await asyncio.wait([releasing], timeout=max(0.0, deadline - time.monotonic()))
            if not done:
                raise AcquireTimeout(grant.wanted[0].name, f"{wait_s:g} s waited, held by an older run of this job")
        last = self.ledger.read(lambda db: records.last_run(db, run))
        if last is not None and last > grant.age:
            raise AuthorizationRefused(grant.wanted[0].name, "a newer run of this job had its lease")
        if last == grant.age:
            raise AuthorizationRefused(grant.wanted[0].name, "the lease of this run has ended")

    async def _open(self, lease: Lease) -> None:
        if lease.is_to_be_opened:
            await session.open_(lease, self.vendors[lease.resource])
            passing("lease.acquired")
            await self.ledger.do(lambda db: records.activate(db, lease))
        lease.move(LeaseState.ACTIVE)
        passing("lease.activated")

    def _tell(self, what: str, lease: Lease) -> None:
        """Tell the plugins; one that takes long keeps no lease waiting."""
        if self.hooks.are_there(what):
            facts = {"run": lease.grant.run, "resource": lease.resource}
            self._tellers.submit(lambda: self.hooks.notify(_log, what, **facts))

    # -- releasing

    def _undo(self, grant: Grant) -> asyncio.Future[Any]:
        """Free the lanes of a request that failed; what it opened is closed before."""
        held = filter(self.lanes.has, grant.leases)
        reason = "not granted: " + (type(grant.failure).__name__ if grant.failure else "withdrawn")
        return asyncio.gather(*(self._undone(lease, reason) for lease in held))

    async def _undone(self, lease: Lease, reason: str) -> None:
        """End a lease that was not granted; where the answer to its acquire was lost, its session is looked for."""
        if await session.may_be_open(lease):
            await self._resolve(lease)
        if lease.state is not LeaseState.OUTCOME_UNKNOWN:
            await self._end(lease, reason)

    async def _lapse(self, grant: Grant) -> None:
        """Forget a refusal when it has been remembered, and all that it opened is closed."""
        await asyncio.sleep(REMEMBERED_S)
        if grant.undoing is not None:
            await asyncio.wait([grant.undoing])
        if grant.ending is not None:  # somebody asked for its end meanwhile, and sees to it
            return
        if not any(map(self.lanes.has, grant.leases)):
            self._forget(grant)
        else:  # nobody knows of its session, or its end failed: the reconciler ends it
            grant.failure = None

    async def _release(self, grant: Grant, reason: str) -> None:
        self.lanes.withdraw(grant)
        if grant.work is not None and not grant.work.done():
            await asyncio.wait([grant.work])
        if grant.undoing is not None:
            await asyncio.wait([grant.undoing])
        held = list(filter(self.lanes.has, grant.leases))
        await asyncio.gather(*(self._end(lease, reason) for lease in held))
        if held:
            _log.info("lease.released", **grant.about, reason=reason)
        self._forget(grant)

    def _forget(self, grant: Grant) -> None:
        self._grants.pop(grant.id, None)
        if self._runs.get(grant.run) is grant:
            del self._runs[grant.run]
        for lease in grant.leases:
            if lease.state is LeaseState.RELEASED:
                self._fences.pop(lease.fence, None)

    async def _end(self, lease: Lease, reason: str) -> None:
        """RELEASING, tasks settled, session closed, RELEASED, lane free: in this order.

        That it is RELEASING is written while its tasks end, and before the vendor is asked: no crash finds a lease
        ACTIVE whose session is closed.
        """
        while lease.state is LeaseState.OUTCOME_UNKNOWN and not (lease.grant.is_forced or lease.grant.is_past_limit):
            await asyncio.sleep(_LOOK_S)
        if lease.state is not LeaseState.RELEASING:
            lease.move(LeaseState.RELEASING)
        self.debts.note(lambda db: records.releasing(db, lease, reason))
        passing("lease.releasing")
        if self.settle is not None:
            await self.settle(lease)
        await self.debts.pay()
        await session.close(lease, self.vendors[lease.resource])
        passing("lease.closed")
        lease.move(LeaseState.RELEASED)
        self.debts.note(lambda db: records.released(db, lease), _LATER_S)  # before any intent that comes after it
        self.lanes.free(lease)
        self._tell("qrmi_lease_released", lease)

    # -- after a restart

    async def restore(self) -> None:
        """Take up every lease that the ledger holds open."""
        for grant in await self.ledger.do(records.open_grants):
            known = [lease for lease in grant.leases if lease.resource in self.vendors]
            for lease in grant.leases:
                if lease not in known and lease.state is not LeaseState.RELEASED:
                    self.orphans[grant.id] = lease.resource
                    _log.error("lease.orphaned", resource=lease.resource, fence=lease.fence)
            grant.leases = known
            if not known:
                continue
            self._grants[grant.id] = self._runs[grant.run] = grant
            for lease in known:
                self._fences[lease.fence] = lease
                if lease.state is not LeaseState.RELEASED:
                    self.lanes.hold(lease)
        for grant in self:
            states = {lease.state for lease in grant.leases}
            if states & {LeaseState.INTENT, LeaseState.RELEASING, LeaseState.RELEASED}:
                grant.ending = asyncio.create_task(self._finish(grant))
                grant.ending.add_done_callback(functools.partial(_may_be_tried_again, grant))

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
        """Find out whether a session was opened; where nobody can tell, the lane is held until the lease's limit."""
        if not await session.find(lease, self.vendors[lease.resource]):
            lease.move(LeaseState.OUTCOME_UNKNOWN)
            await self.debts.owe(lambda db: records.doubt(db, lease))
            _log.error("lease.outcome_unknown", **lease.grant.about, fence=lease.fence)


def _may_be_tried_again(grant: Grant, ending: asyncio.Future[Any]) -> None:
    """A release that failed by a fault of ours is said, and is not the last one."""
    if not ending.cancelled() and (exc := ending.exception()) is not None:
        _log.error("broker.fault", **grant.about, exc_info=exc)
        grant.ending = None
