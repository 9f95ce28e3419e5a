"""Leases that open nothing at a vendor: one commit gives them, and no crash can hide what became of them."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from http.client import HTTPException

import pytest

from qrmi_broker.crashpoint import VARIABLE
from qrmi_core.client import Broker

from .daemon import Daemon, fake
from .watch import held, sessions, until


def opened(daemon: Daemon) -> Daemon:
    """Its resource `now` has been asked for something: the broker knows that its backend has no sessions."""
    Broker(daemon.public).ask("GET", "/v1/resources/now/target")
    return daemon


@pytest.fixture
def new_site(new_daemon, folder):
    """Makes a broker with a lane at a vendor that has no sessions, `now`, and one at a vendor that has, `fez`."""

    def make(**environment: str) -> Daemon:
        service = folder / "service"
        return new_daemon(fake(service, lanes=1), fake(service, "now", "fake-instant", lanes=1)).start(**environment)

    return make


@pytest.mark.parametrize("wanted", ["now", {"name": "fez", "own": True}], ids=["no sessions", "the user's own"])
def test_it_is_there_after_a_crash_that_kept_the_answer(new_site, wanted):
    """It was written as an intent first, and a crash after that gave back what nobody had to open."""
    daemon = opened(new_site(**{VARIABLE: "lease.intended"}))
    with pytest.raises((OSError, HTTPException)):
        daemon.ask(wanted)
    assert -signal.SIGKILL == daemon.process.wait(30)
    daemon.start()

    [kept] = daemon.leases()
    assert ["1"] == held(daemon)
    assert daemon.ask(wanted)["id"] == kept["id"]
    assert daemon.ask(wanted, job=2, until="failed", wait_s=0.2)
    daemon.release(kept["id"])
    assert daemon.ask(wanted, job=3)
    assert [] == sessions(daemon)


def test_it_is_given_back_where_another_of_the_same_run_is_refused(new_site):
    """Half of what a job asked for is nothing, however early the half was there."""
    daemon = opened(new_site())
    trouble = daemon.folder / "service" / "fail-acquire"
    trouble.touch()

    assert daemon.ask("now", "fez", until="failed")
    trouble.unlink()
    until(lambda: not daemon.leases())
    assert daemon.ask("now", "fez", job=2)


def test_a_ledger_that_cannot_be_written_gives_none(new_site):
    """A lease that only the broker's memory knows would be given twice after a restart."""
    daemon = opened(new_site())
    with closing(sqlite3.connect(daemon.folder / "state" / "ledger.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused = daemon.ask("now", until="failed")

        assert [] == held(daemon)
    assert "cannot be written" in str(refused)
    assert daemon.ask("now", job=2)
