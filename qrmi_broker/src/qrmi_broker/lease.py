"""A lease: the right of one run to use one resource; a grant: all the leases of one run. Their states, no I/O."""

from __future__ import annotations

import asyncio
import time
from enum import StrEnum
from typing import Any

import attrs
from attrs import Factory, define, field, frozen

from qrmi_core.errors import QrmiError
from qrmi_core.models import Run

LONGEST_S = 7 * 24 * 3600.0
"""How long a lease without a time limit is kept without news of its run."""
_LEAST_S = 3600.0
"""So long at least is believed in a run that was seen to live past its end."""


class LeaseState(StrEnum):
    """Where a lease is in its life. The moves between them are in `MOVES`."""

    INTENT = "INTENT"
    """Written before the vendor is asked: after a crash it tells what may have been opened. Where no vendor has to be
    asked, there is none, and the lease is written ACTIVE."""
    ACTIVE = "ACTIVE"
    RELEASING = "RELEASING"
    RELEASED = "RELEASED"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    """A crash hid whether a session was opened, and the backend cannot tell: the lane is held until its limit."""


MOVES: dict[LeaseState, frozenset[LeaseState]] = {
    LeaseState.INTENT: frozenset({LeaseState.ACTIVE, LeaseState.RELEASING, LeaseState.OUTCOME_UNKNOWN}),
    LeaseState.ACTIVE: frozenset({LeaseState.RELEASING}),
    LeaseState.OUTCOME_UNKNOWN: frozenset({LeaseState.RELEASING}),
    LeaseState.RELEASING: frozenset({LeaseState.RELEASED}),
    LeaseState.RELEASED: frozenset(),
}
"""From each state to those that may follow it."""


@frozen(kw_only=True)
class Wanted:
    """One item of ``--qpu``."""

    name: str
    alias: str | None = None
    """How the application knows it; by default its name."""
    exclusive: bool = False
    own: bool = False
    """The user opens it with settings of his own: only the lane is ours to give."""

    def __str__(self) -> str:
        """As ``--qpu`` spells it."""
        return f"{self.alias}=" * (self.alias is not None) + self.name + ":exclusive" * self.exclusive

    def covers(self, other: Wanted) -> bool:
        """Whether who has this has *other*: the same resource under the same name, and no more of its lanes."""
        names = [(one.alias or one.name, one.name) for one in (self, other)]
        return names[0] == names[1] and (self.exclusive or not other.exclusive)


@frozen(kw_only=True)
class Facts:
    """What the scheduler says about a run, for accounting and for its end."""

    user: str | None = None
    account: str | None = None
    partition: str | None = None
    qos: str | None = None
    node: str | None = None
    time_limit_s: float | None = None
    """None: there is none."""
    licences: tuple[str, ...] | None = None
    """What the scheduler granted, as ``name:count``; None where nobody asked it."""

    @property
    def limit_s(self) -> float:
        """How long the run may take."""
        return self.time_limit_s or LONGEST_S


@define(eq=False)
class Lease:
    """One lease."""

    grant: Grant
    resource: str
    alias: str
    exclusive: bool = False
    own: bool = False
    fence: int = 0
    """The row in the ledger: it only grows. 0 until it is written."""
    state: LeaseState = LeaseState.INTENT
    session: str | None = None
    """What the backend's acquire returned."""
    opening: asyncio.Task[str] | None = None
    """The vendor is asked for a session."""

    @property
    def is_to_be_opened(self) -> bool:
        """The vendor has to be asked for a session; where a backend has none, the session is no more than a token."""
        return not self.own and self.session is None

    @property
    def key(self) -> str:
        """Under which the vendor finds its session again."""
        return f"{self.grant.id}-{self.fence}"

    def move(self, to: LeaseState) -> None:
        """Change the state; a move that the table lacks is a fault of ours."""
        if to not in MOVES[self.state]:
            raise AssertionError(f"lease {self.fence}: {self.state} -> {to}")
        self.state = to


@define(eq=False)
class Grant:
    """What one run was given."""

    id: str
    run: Run
    facts: Facts
    wanted: tuple[Wanted, ...]
    expires_at: float
    """Seconds since the epoch; what is overdue is looked up at the scheduler before it is released."""
    limit_s: float = field(default=Factory(lambda grant: grant.facts.limit_s, takes_self=True))
    """How long it may take from when it was asked for or, after a restart, taken up."""
    limit_at: float = field(init=False)
    """When that has passed, by a clock that nobody sets."""
    leases: list[Lease] = field(factory=list)
    failure: QrmiError | None = None
    work: asyncio.Task[None] | None = None
    """The asyncio task that acquires."""
    ending: asyncio.Future[Any] | None = None
    """The asyncio task that releases."""
    undoing: asyncio.Future[Any] | None = None
    """What closes again what a refused request had opened."""
    lapse: asyncio.Task[None] | None = None
    """The asyncio task that forgets a refusal."""
    is_forced: bool = False
    """An administrator says that no session of it is open."""
    is_undone: bool = False
    """A crash interrupted its acquiring: it is given back, and whoever wants it asks again."""
    missed: int = 0
    """Successive full listings of the scheduler that lack the run."""

    def __attrs_post_init__(self) -> None:
        self.limit_at = time.monotonic() + self.limit_s

    def lives(self, ends_at: float | None) -> bool:
        """The scheduler lists it, to end then if it says when. Whether that is news.

        Who lives past his end, as a job that is suspended does, is given his time once more.
        """
        now, more_s = time.time(), max(self.limit_s, _LEAST_S)
        if ends_at is None or ends_at <= now:
            ends_at = self.expires_at if self.expires_at > now + more_s / 2 else now + more_s
        is_news = abs(ends_at - self.expires_at) >= 1
        if is_news:
            self.expires_at = ends_at
        self.limit_at = max(self.limit_at, time.monotonic() + self.expires_at - now)  # a clock that jumps takes nothing
        return is_news

    @property
    def age(self) -> tuple[int, int]:
        """Later runs of one job have greater ones."""
        return self.run.start_time or 0, self.run.restart_count

    @property
    def is_to_be_asked_anew(self) -> bool:
        """It is being undone after a crash: whoever waits for it still wants it, and must not take it for withdrawn."""
        return self.is_undone and self.ending is not None

    @property
    def is_past_limit(self) -> bool:
        """Whether its time has passed for certain, whatever the clock on the wall was set to meanwhile."""
        return time.monotonic() > self.limit_at

    @property
    def about(self) -> dict[str, Any]:
        """For the log."""
        return {"lease": self.id, "resources": [one.name for one in self.wanted], **attrs.asdict(self.run)}

    @property
    def is_active(self) -> bool:
        """Every lease is there to be used."""
        return bool(self.leases) and all(lease.state is LeaseState.ACTIVE for lease in self.leases)

    @property
    def is_over(self) -> bool:
        """Nothing of it is left to release."""
        return self.failure is not None or (
            bool(self.leases) and all(lease.state is LeaseState.RELEASED for lease in self.leases)
        )

    @property
    def state(self) -> str:
        """For answers: ``pending``, ``granted``, ``failed`` or ``released``."""
        if self.failure is not None:
            return "failed"
        if self.ending is not None or self.is_over:
            return "released"
        return "granted" if self.is_active else "pending"
