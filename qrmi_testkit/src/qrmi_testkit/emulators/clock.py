"""The time of an emulated service. A test moves it on instead of waiting for tokens, URLs and sessions to expire."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from attrs import define


@define
class Clock:
    """Wall-clock time, and what was added to it."""

    ahead_s: float = 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self.ahead_s

    def advance(self, seconds: float) -> None:
        """Let *seconds* have passed."""
        self.ahead_s += seconds


def iso(at_s: float) -> str:
    """ISO 8601 in UTC, as the services write times: ``2026-01-02T03:04:05.678901Z``."""
    return datetime.fromtimestamp(at_s, UTC).isoformat().replace("+00:00", "Z")
