"""Runs that wait for lanes, for older runs of their job, and for vendors that do not say what became of a request."""

from __future__ import annotations

import sqlite3
import threading
import time

from .daemon import fake
from .watch import until


def test_all_who_fit_are_served_when_a_lane_becomes_free(new_daemon, folder):
    """A lane stays free beside somebody who waits for it."""
    daemon = new_daemon(fake(folder / "service", lanes=3)).start()
    first = daemon.ask({"name": "fez", "exclusive": True}, job=1)
    waiting = [daemon.ask("fez", job=job, until=None, wait_s=60.0) for job in (2, 3, 4)]
    daemon.release(first["id"])

    assert {"pending"} == {one["state"] for one in waiting}
    for job in (2, 3, 4):
        daemon.ask("fez", job=job)


def test_a_requeued_run_waits_for_the_older_one_no_longer_than_it_was_told(new_daemon, folder):
    """A job waits on its node for ever because a vendor does not close the session of the run before."""
    daemon = new_daemon(fake(folder / "service", lanes=2)).start()
    daemon.ask("fez", job=1)
    trouble = daemon.folder / "service" / "fail-release"
    trouble.touch()
    started = time.monotonic()
    refused = daemon.ask("fez", job=1, run={"restart_count": 1}, wait_s=1.0, until="failed")

    assert "held by an older run of this job" in refused["error"]
    assert 5 > time.monotonic() - started
    trouble.unlink()
    until(lambda: not [one for one in daemon.leases() if one["state"] == "released"], 30)


def test_a_lease_withdrawn_while_its_answer_was_lost_can_be_seen_and_forced(new_daemon, folder):
    """A lane is lost until the next restart, and no administrator sees to whom."""
    daemon = new_daemon(fake(folder / "service", type_="fake-blind", lanes=1)).start()
    service = daemon.folder / "service"
    for trouble in ("hang-acquire", "lose-acquire"):
        (service / trouble).touch()
    asked = daemon.ask("fez", job=1, until=None)
    threading.Timer(0.5, (service / "hang-acquire").unlink).start()
    daemon.release(asked["id"], wait_s=3.0)
    (service / "lose-acquire").unlink()

    [held] = daemon.leases()
    assert "OUTCOME_UNKNOWN" == held["leases"][0]["state"]
    daemon.admin().ask("DELETE", f"/v1/leases/{held['id']}?force=1&wait_s=10")
    daemon.ask("fez", job=2)


def test_a_ledger_that_owes_a_release_gives_no_lease(new_daemon, folder):
    """After a crash two runs hold one lane, and the token of the one that had ended is good again."""
    daemon = new_daemon(fake(folder / "service", lanes=1)).start()
    first = daemon.ask("fez", job=1)
    other = sqlite3.connect(daemon.folder / "state" / "ledger.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    daemon.release(first["id"])
    other.execute("ROLLBACK")
    second = daemon.ask("fez", job=2)
    daemon.kill()
    daemon.start()

    assert [second["id"]] == [one["id"] for one in daemon.leases()]
