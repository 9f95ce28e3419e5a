"""The ledger: durable, checked at its opening, and readable by every version that comes after the one that wrote it."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from qrmi_broker import records
from qrmi_broker.ledger import VERSION, Ledger, LedgerUnavailable

DATA = Path(__file__).parents[1] / "data"
OLD = sorted(DATA.glob("ledger-*.sqlite"))
"""What each version wrote: a lease that was released, a grant of two that holds, two tasks that ended and one that has
not, and a drain."""


@pytest.fixture(params=OLD, ids=lambda path: path.stem)
def old(request, folder) -> Path:
    """The state folder of an older broker, as if it had been written just now: its runs are not yet over."""
    state = folder / "state"
    state.mkdir(mode=0o700)
    shutil.copy(request.param, state / "ledger.sqlite")
    with sqlite3.connect(state / "ledger.sqlite") as db:
        db.execute("UPDATE grants SET expires_at = ?", (time.time() + 600,))
        db.execute("UPDATE tasks SET ended_at = ? WHERE ended_at IS NOT NULL", (time.time(),))
    return state


def test_every_version_has_left_a_ledger():
    """The next version would be tested with nothing."""
    assert [f"ledger-{number}" for number in range(1, VERSION + 1)] == [path.stem for path in OLD]


def test_a_broker_takes_up_the_ledger_of_an_older_one(old, new_daemon, folder, request):
    """An upgrade would lose the leases and tasks of the jobs that run."""
    from .daemon import fake

    ghz = fake(folder / "other", "ghz", "fake-blind")
    daemon = new_daemon(fake(folder / "service"), ghz).start()
    with sqlite3.connect(old / "ledger.sqlite") as db:
        assert (VERSION,) == db.execute("PRAGMA user_version").fetchone()
        (task,) = db.execute("SELECT id FROM tasks WHERE key = 'done'").fetchone()

    assert [("2", ["fez", "ghz"])] == [(one["job_id"], one["resources"]) for one in daemon.leases()]
    assert "calibration" == daemon.admin().ask_json("GET", "/v1/resources/fez")["drained"]
    assert "COMPLETED" == daemon.admin().ask_json("GET", f"/v1/tasks/{task}")["status"]
    assert 2 == len({row["job_id"] for row in daemon.admin().ask_json("GET", "/v1/usage")["usage"]})
    if "ledger-1" not in request.node.name:  # there it was a file, and is not among the data
        assert b'{"runs_s": 0.5}' == daemon.admin().ask("GET", f"/v1/tasks/{task}/result")
    granted = daemon.ask("fez", {"name": "ghz", "alias": "b"}, job=2)
    assert "b_QRMI_JOB_ACQUISITION_TOKEN" in granted["environment"]


def test_a_ledger_of_a_newer_version_is_refused(tmp_path):
    """An old broker would write what the new one does not expect."""
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(LedgerUnavailable, match="newer"):
        Ledger(tmp_path / "ledger.sqlite").open()


def test_what_fails_harms_nothing_that_is_written_with_it(tmp_path):
    """One request's fault would undo another's lease."""

    async def write() -> list[object]:
        ledger = Ledger(tmp_path / "ledger.sqlite")
        ledger.open()

        def insert(name: str):
            return lambda db: db.execute("INSERT INTO drains VALUES (?, 'r', 0)", (name,)).rowcount

        done = await asyncio.gather(*(ledger.do(insert(name)) for name in ("a", "b", "a", "c")), return_exceptions=True)
        rows = await ledger.do(lambda db: [row["resource"] for row in db.execute("SELECT * FROM drains")])
        ledger.close()
        return [*done, rows]

    first, second, twice, last, rows = asyncio.run(write())

    assert (1, 1, 1) == (first, second, last)
    assert isinstance(twice, sqlite3.IntegrityError)
    assert ["a", "b", "c"] == rows


def test_small_results_are_forgotten_after_their_time(tmp_path):
    """The ledger would grow by all results of all times."""
    shutil.copy(DATA / "ledger-2.sqlite", tmp_path / "ledger.sqlite")

    async def results(before: float) -> list[bytes]:
        ledger = Ledger(tmp_path / "ledger.sqlite")
        ledger.open()
        await ledger.do(lambda db: records.forget_results(db, before))
        found = ledger.read(lambda db: db.execute("SELECT result FROM tasks WHERE result IS NOT NULL").fetchall())
        ledger.close()
        return [row["result"] for row in found]

    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        (ended_at,) = db.execute("SELECT ended_at FROM tasks WHERE key = 'done'").fetchone()

    assert [b'{"runs_s": 0.5}'] == asyncio.run(results(ended_at))
    assert [] == asyncio.run(results(ended_at + 1))


def test_what_is_owed_of_a_lease_may_be_written_twice(tmp_path):
    """After an outage what was written late would undo what came after it: a lease that had ended was held again."""
    shutil.copy(DATA / "ledger-2.sqlite", tmp_path / "ledger.sqlite")
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.open()
    ledger.close()
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        db.row_factory = sqlite3.Row
        lease = records.open_grants(db)[0].leases[0]
        steps = [
            lambda: records.doubt(db, lease),
            lambda: records.releasing(db, lease, "its job ended"),
            lambda: records.released(db, lease),
        ]

        def row() -> dict[str, object]:
            return dict(db.execute("SELECT * FROM leases WHERE fence = ?", (lease.fence,)).fetchone())

        for step in steps:
            step()
        written = row()
        for step in steps:
            step()

        assert "RELEASED" == written["state"]
        assert written == row()
