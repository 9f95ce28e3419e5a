"""What a test sees of a broker: what it said, what it holds, what it did at the vendor."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .daemon import Daemon, vendor_log


def until(claim: Callable[[], Any], within_s: float = 20.0) -> None:
    """Wait until *claim* is true."""
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.02)


def said(daemon: Daemon, event: str) -> list[dict[str, Any]]:
    """The events of this name in its log."""
    return [entry for entry in daemon.events if entry["event"] == event]


def held(daemon: Daemon) -> list[str]:
    """The jobs whose leases are there to be used."""
    return sorted(one["job_id"] for one in daemon.leases() if one["state"] == "granted")


def sessions(daemon: Daemon) -> list[str]:
    """What was opened and closed at the vendor."""
    events = [entry["event"] for entry in vendor_log(daemon.folder / "service")]
    return [event for event in events if event.startswith("session.")]
