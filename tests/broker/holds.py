"""Leases of resources whose vendor has no sessions, as their clients know them: its log says nothing of these."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

Entry = Mapping[str, Any]
_NEVER = float("inf")
_TOKEN = "_QRMI_JOB_ACQUISITION_TOKEN"


@frozen
class Hold:
    """One lease: while it is there for certain, and while it may be."""

    resource: str
    key: str
    exclusive: bool
    told_at: float
    """Its client knows that it is there,"""
    over_at: float
    """until it may have ended,"""
    gone_at: float
    """and until its client knows that it has."""

    def is_sure(self, at: float) -> bool:
        """Whether nobody else may have its lane."""
        return self.told_at <= at < self.over_at

    def leaves_room_for(self, other: Hold) -> bool:
        """Whether both may be there at once, if there are lanes enough."""
        return not (self.exclusive or other.exclusive)


@frozen
class Holds:
    """All of a history."""

    every: Sequence[Hold]
    lanes: Mapping[str, int]

    def beside(self, hold: Hold, at: float) -> list[Hold]:
        """Those that are there for certain beside *hold*."""
        return [one for one in self.every if one != hold and one.resource == hold.resource and one.is_sure(at)]

    def has_room(self, hold: Hold, at: float) -> bool:
        """Whether *hold* can have a lane beside those that are there for certain."""
        beside = self.beside(hold, at)
        return len(beside) < self.lanes[hold.resource] and all(one.leaves_room_for(hold) for one in beside)

    def may_be(self, key: str, at: float) -> bool:
        """Whether this lease may be there: its end was told to nobody, and others have not taken its lane."""
        mine = (one for one in self.every if one.key == key and one.told_at <= at < one.gone_at)
        return any(one.is_sure(at) or self.has_room(one, at) for one in mine)


def holds(
    granted: Mapping[str, Entry], over_at: Mapping[str, float], record: Sequence[Entry], resources: Collection[str]
) -> Iterator[Hold]:
    """Every lease on *resources* that somebody was told of.

    Args:
        granted: the first answer that said so, by grant.
        over_at: from when on the leases of a grant may have ended.
        record: the clients'.
        resources: those whose vendor has no sessions.
    """
    gone: dict[str, float] = {}
    for entry in record:
        if entry["event"] == "answer" and entry["verb"] == "release" and entry["found"].get("state") == "released":
            gone.setdefault(entry["grant"], entry["at"])
    for grant, told in granted.items():
        newer = (one["at"] for one in granted.values() if one["job"] == told["job"] and one["age"] > told["age"])
        gone_at = min([gone.get(grant, _NEVER), *newer])
        for resource in resources:
            fence = told["found"]["environment"].get(resource + _TOKEN, "").partition(".")[0]
            if fence:
                is_exclusive = f"{resource}!" in told["plan"]
                yield Hold(resource, f"{grant}-{fence}", is_exclusive, told["at"], over_at[grant], gone_at)
