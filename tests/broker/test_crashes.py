"""A broker that dies while it gives a lease, and again while it takes it back: no session is left behind."""

from __future__ import annotations

import signal
from contextlib import suppress
from http.client import HTTPException

import pytest

from qrmi_broker.crashpoint import VARIABLE

from .watch import sessions, until


@pytest.mark.parametrize("second", ["lease.releasing", "lease.closed"])
@pytest.mark.parametrize("first", ["lease.intended", "lease.acquired"])
def test_two_crashes_leave_no_session_behind(new_daemon, first, second):
    """A session that was found after the first crash would be forgotten in the second, and its lane given to two."""
    daemon = new_daemon().start(**{VARIABLE: first})
    with pytest.raises((OSError, HTTPException)):
        daemon.ask("fez")
    assert -signal.SIGKILL == daemon.process.wait(30)
    with suppress(AssertionError):  # it may die before it answers
        daemon.start(**{VARIABLE: second})
    assert -signal.SIGKILL == daemon.process.wait(30)
    daemon.start()
    until(lambda: not daemon.leases())

    assert ["session.opened", "session.closed"][: 2 * (first == "lease.acquired")] == sessions(daemon)
