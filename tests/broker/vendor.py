"""What a history needs of a vendor, and the fake one that most histories have."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from attrs import field, frozen

from .daemon import fake
from .record import Record

SHORT_S = 0.2
"""The time limit of the shortest leases."""
HOUR_S = 3600


class Vendor(Protocol):
    """A vendor that outlives the broker, can be made to fail, and keeps a log for the judge."""

    lanes: Mapping[str, int]
    """Of each resource."""
    sessionless: Sequence[str]
    """Resources whose vendor has no sessions: its log says nothing of their leases."""
    plans: Sequence[tuple[str, ...]]
    """What jobs ask for; ``!`` is exclusive."""
    kind: str
    """Of the payloads."""
    ways: Sequence[str]
    """How it can fail."""
    loss: str
    """The one of them that loses the answer to a submission."""
    type: str
    """The broker has imported this type of backend before it starts,"""
    prepare: str
    """and then this module, if one is named,"""
    modules: Sequence[Path]
    """from these folders."""

    def resources(self) -> list[dict[str, Any]]:
        """Of the broker's configuration."""

    def limit_s(self, plan: tuple[str, ...], choice: int) -> float | None:
        """The time limit of a job that asks for *plan*."""

    def payload(self, resource: str, key: str) -> bytes:
        """The payload that belongs to *key*, and to no other."""

    def is_result(self, note: str, found: Any) -> bool:
        """Whether *found* is the result of the payload of ``RESOURCE/KEY``."""

    def fail(self, way: str) -> None:
        """Fail in this *way* until `heal`."""

    def heal(self) -> None:
        """Work again."""

    def log(self, record: Record) -> list[dict[str, Any]]:
        """What was done there, as `checker.faults` reads it, beside what the clients have written down."""


_RUNS_S = (0.0, 0.0, 0.02, 0.1, 0.5, 60.0)
_FORGETFUL = "g"
"""Whose vendor cannot find a task by its key, and runs twice what is sent twice."""
_INSTANT = ("h", "i")
"""Whose vendor has no sessions: one with two lanes, and one with one."""


def script(resource: str, key: str) -> dict[str, Any]:
    """How long a task runs, how it ends, and its note: of *key*, and of no other."""
    drawn = hashlib.sha256(f"{resource}/{key}".encode()).digest()
    ends = "FAILED" if drawn[1] < 32 else "COMPLETED"
    return {"runs_s": _RUNS_S[drawn[0] % len(_RUNS_S)], "ends": ends, "note": f"{resource}/{key}"}


@frozen
class Sturdy:
    """The fake vendor that a kill at any instruction leaves whole. Its service is a folder."""

    service: Path
    lanes: Mapping[str, int] = field(
        factory=lambda: {"a": 1, "b": 1, "c": 2, "d": 2, "e": 3, "f": 3, _FORGETFUL: 3, "h": 2, "i": 1}
    )
    sessionless: Sequence[str] = _INSTANT
    plans: Sequence[tuple[str, ...]] = (
        *(("a",), ("b",), ("c",), ("d",), ("e",), ("f",), ("c",), ("d",), ("e",), ("f",)),
        *(("a", "c"), ("b", "e", "f"), ("c!",), ("f!",), (_FORGETFUL,), (_FORGETFUL,)),
        *(("h",), ("h",), ("h!",), ("i",), ("i",), ("i",), ("c", "i")),
    )
    kind: str = "script"
    ways: Sequence[str] = tuple(
        f"{how}-{verb}"
        for how in ("fail", "lose")
        for verb in ("acquire", "release", "task_start", "task_status", "task_result", "sessions", "find_task")
    )
    loss: str = "lose-task_start"
    type: str = "fake-sturdy"
    prepare: str = ""
    modules: Sequence[Path] = ()

    def resources(self) -> list[dict[str, Any]]:
        types = {_FORGETFUL: "fake-sturdy-forgetful"} | dict.fromkeys(_INSTANT, "fake-sturdy-instant")
        return [fake(self.service, name, types.get(name, self.type), lanes=lanes) for name, lanes in self.lanes.items()]

    def limit_s(self, plan: tuple[str, ...], choice: int) -> float | None:
        return (None, SHORT_S, SHORT_S, 30.0, HOUR_S)[choice % 5]

    def payload(self, resource: str, key: str) -> bytes:
        return json.dumps(script(resource, key)).encode()

    def is_result(self, note: str, found: Any) -> bool:
        return found.get("note") == note

    def fail(self, way: str) -> None:
        (self.service / way).touch()

    def heal(self) -> None:
        for way in self.ways:
            (self.service / way).unlink(missing_ok=True)

    def log(self, record: Record) -> list[dict[str, Any]]:
        with sqlite3.connect(self.service / "service.sqlite") as db:
            rows = db.execute("SELECT at, event, resource, facts FROM log ORDER BY row").fetchall()
        return [
            {"at": at, "event": event, "resource": resource, **json.loads(facts)} for at, event, resource, facts in rows
        ]
