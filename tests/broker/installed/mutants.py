"""Faults that the history test must find: each takes one promise out of the broker that imports this."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import attrs


def no_fence() -> None:
    """A lease that has ended is as good as one that has not."""
    from qrmi_broker import public
    from qrmi_broker.lease import LeaseState
    from qrmi_broker.leases import Leases

    forget = Leases._forget
    find = public._token_lease

    def keeping(self: Leases, grant: object) -> None:
        before = dict(self._fences)
        forget(self, grant)
        self._fences.update(before)

    Leases._forget = keeping
    public._token_lease = lambda request: (
        None if (lease := find(request)) is None else attrs.evolve(lease, state=LeaseState.ACTIVE)
    )


def lane_too_many() -> None:
    """One lease more than there are lanes."""
    from qrmi_broker.vendor import Vendor

    def has_lane_for(self: Vendor, *, exclusive: bool) -> bool:
        if exclusive:
            return not self.holders
        return not any(lease.exclusive for lease in self.holders) and len(self.holders) <= self.entry.lanes

    Vendor.has_lane_for = has_lane_for


def no_intent() -> None:
    """The vendor is asked first, and the ledger told afterwards."""
    from qrmi_broker import records

    intend, activate = records.intend, records.activate
    intend_task, identify_task = records.intend_task, records.identify_task
    fences: dict[str, itertools.count] = {}

    def no_intend(db: object, grant: object) -> list[int]:
        if "next" not in fences:
            last = db.execute("SELECT max(fence) FROM leases").fetchone()[0]
            fences["next"] = itertools.count((last or 0) + 1000)
        return [next(fences["next"]) for _ in grant.leases]

    def late_activate(db: object, lease: object) -> None:
        if db.execute("SELECT 1 FROM grants WHERE id = ?", (lease.grant.id,)).fetchone() is None:
            mine = [one.fence for one in lease.grant.leases]
            for written, fence in zip(intend(db, lease.grant), mine, strict=True):
                db.execute("UPDATE leases SET fence = ? WHERE fence = ?", (fence, written))
        activate(db, lease)

    def late_identify(db: object, task: object) -> None:
        if db.execute("SELECT 1 FROM tasks WHERE id = ?", (task.id,)).fetchone() is None:
            intend_task(db, task)
        identify_task(db, task)

    records.intend, records.activate = no_intend, late_activate
    records.intend_task, records.identify_task = lambda db, task: None, late_identify


def no_question() -> None:
    """A lease whose time has passed ends, whatever the scheduler says of its run."""
    import time

    from qrmi_broker.reconciler import Reconciler

    evidence, known_since = Reconciler._evidence, {}

    def hasty(self: Reconciler, grant: object, listing: object) -> str | None:
        used_s = time.monotonic() - known_since.setdefault(grant.id, time.monotonic())
        return evidence(self, grant, listing) or ("late" if used_s > grant.facts.limit_s else None)

    Reconciler._evidence = hasty


def all_resent() -> None:
    """What may have been submitted is sent again, also where the vendor would run it twice."""
    from sturdyvendor import SturdyForgetful

    SturdyForgetful.can_resend = True


MUTANTS: dict[str, Callable[[], None]] = {
    "fence check removed": no_fence,
    "lane count off by one": lane_too_many,
    "intent skipped": no_intent,
    "scheduler not asked at expiry": no_question,
    "sent again where nobody can tell": all_resent,
}


def apply(name: str) -> None:
    """Make the fault *name* in this process."""
    MUTANTS[name]()
