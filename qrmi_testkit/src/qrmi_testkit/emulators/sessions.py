"""Sessions of the emulated Qiskit Runtime: open, active, inactive, closed."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from attrs import define, field

from qrmi_testkit.emulators.accounts import Account
from qrmi_testkit.emulators.clock import Clock, iso

MOST_TTL_S = 28_800
IDLE_S = 1_800
"""A session without a job closes by itself after this time."""


@define(eq=False)
class Session:
    """One session. It closes when it is told to, when its time is over, or when nobody uses it."""

    clock: Clock
    account: Account
    mode: str
    """`dedicated` or `batch`."""
    device: str | None
    max_ttl_s: int
    tell: Callable[..., None]
    """Called with the name of an event and its facts."""
    id: str = field(factory=lambda: str(uuid.uuid4()))
    state: str = "open"
    """`open` until its first job runs, then `active`, or `inactive` while it has none; at last `closed`."""
    is_accepting: bool = True
    reason: str | None = None
    created_s: float = 0.0
    activated_s: float | None = None
    closed_s: float | None = None
    last_started_s: float | None = None
    last_ended_s: float | None = None
    pending: set[str] = field(factory=set)
    """The ids of its jobs that have not ended."""

    def __attrs_post_init__(self) -> None:
        self.created_s = self.clock.now()
        facts = {"mode": self.mode, "device": self.device, "max_ttl_s": self.max_ttl_s}
        self.tell("session.opened", session=self.id, **facts)

    @property
    def is_closed(self) -> bool:
        """Nothing of it will run any more."""
        return self.state == "closed"

    def joined(self, job_id: str) -> None:
        """A job of it was accepted."""
        self.pending.add(job_id)

    def began(self) -> None:
        """A job of it runs."""
        now = self.last_started_s = self.clock.now()
        self.activated_s = self.activated_s or now
        if not self.is_closed:
            self.state = "active"

    def left(self, job_id: str) -> None:
        """A job of it has ended."""
        self.pending.discard(job_id)
        self.last_ended_s = self.clock.now()
        if not self.is_closed and not self.pending:
            self.state = "inactive"
            if not self.is_accepting:
                self.close("closed by its owner")

    def stop_accepting(self) -> None:
        """Close it gracefully: once its jobs have ended. Again is no error."""
        self.is_accepting = False
        if not self.pending:
            self.close("closed by its owner")

    def close(self, reason: str) -> None:
        """Close it. Again is no error."""
        self.is_accepting = False
        if not self.is_closed:
            self.state, self.reason, self.closed_s = "closed", reason, self.clock.now()
            self.tell("session.closed", session=self.id, reason=reason)

    def overdue(self) -> str | None:
        """Why its time is over, if it is."""
        now = self.clock.now()
        if self.is_closed:
            return None
        if self.activated_s is not None and now >= self.activated_s + self.max_ttl_s:
            return f"its max_ttl of {self.max_ttl_s} s is over"
        idle_since = max(self.last_ended_s or 0.0, self.created_s)
        if not self.pending and now >= idle_since + IDLE_S:
            return f"it had no job for {IDLE_S} s"
        return None

    @property
    def left_s(self) -> int:
        """What is left of its time, in whole seconds."""
        if self.is_closed:
            return 0
        since = self.clock.now() if self.activated_s is None else self.activated_s
        return max(0, int(since + self.max_ttl_s - self.clock.now()))

    def as_json(self) -> dict[str, Any]:
        """How the service shows it."""
        times = {
            "started_at": self.activated_s,
            "activated_at": self.activated_s,
            "closed_at": self.closed_s,
            "last_job_started": self.last_started_s,
            "last_job_completed": self.last_ended_s,
        }
        return {
            "id": self.id,
            "mode": self.mode,
            "backend_name": self.device,
            "state": self.state,
            "accepting_jobs": self.is_accepting,
            "max_ttl": self.max_ttl_s,
            "active_ttl": self.left_s,
            "interactive_ttl": 60,
            "elapsed_time": 0.0 if self.activated_s is None else (self.closed_s or self.clock.now()) - self.activated_s,
            "timestamps": [{"status": "open", "timestamp": iso(self.created_s)}],
            **({"state_reason": self.reason} if self.reason else {}),
            **{name: iso(at_s) for name, at_s in times.items() if at_s is not None},
        }
