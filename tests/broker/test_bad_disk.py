"""Days on which the disk or the ledger on it fails: no lease is given, every one is taken back, and it is said."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qrmi_broker.leases import REMEMBERED_S
from qrmi_broker.spool import SMALL_BYTES
from qrmi_core import Payload, TaskStatus
from qrmi_core.client import open_brokered

from .daemon import Daemon, fake, vendor_log
from .watch import held, said, sessions, until

SUBMIT = ("POST", "/v1/resources/fez/tasks")


@pytest.fixture
def disk(folder: Path) -> Iterator[Path]:
    """The state folder of the broker to come, on a small disk of its own."""
    place = folder / "state"
    place.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "qrmid-test", place], check=True, timeout=30)
    yield place
    subprocess.run(["umount", place], check=True, timeout=30)


@pytest.fixture
def failing_disk(folder: Path) -> Iterator[Path]:
    """The same, on a disk that can be made to fail as a real one does: the kernel then forbids every write."""
    place, image = folder / "state", folder / "image"
    place.mkdir(mode=0o700)
    with image.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True, timeout=60)
    subprocess.run(["mount", "-o", "loop,errors=remount-ro", image, place], check=True, timeout=30)
    place.chmod(0o700)
    yield place
    subprocess.run(["umount", place], check=True, timeout=30)


def states(daemon: Daemon) -> list[str]:
    """The states of all leases, as the ledger on the disk has them."""
    path = daemon.folder / "state" / "ledger.sqlite"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5) as db:
        found = [state for (state,) in db.execute("SELECT state FROM leases ORDER BY fence")]
    db.close()
    return found


def fill(disk: Path) -> Path:
    """Leave no byte on *disk*."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue
    return filler


def damage(ledger: Path, first_page: int) -> None:
    """Overwrite the ledger with garbage, from this page on."""
    size = ledger.stat().st_size
    with ledger.open("r+b") as file:
        file.seek((first_page - 1) * 4096)
        file.write(os.urandom(size - file.tell()))


def refused_start(daemon: Daemon) -> str:
    """What a start says that ends at once, with the exit status for what must be mended first."""
    with pytest.raises(AssertionError, match="ended with 2"):
        daemon.start()
    lines = daemon.words.strip().splitlines()
    assert "Traceback" not in daemon.words
    return lines[-1]


def is_refused(answer: dict[str, Any]) -> str:
    """The sentence of a request that was refused."""
    assert "failed" == answer["state"], answer
    assert "\n" not in answer["error"]
    return answer["error"]


def test_a_full_disk_gives_no_lease_and_takes_every_one_back(disk, new_daemon, folder):
    """A full disk would lose a lease, give one that no ledger knows, or keep one from ending."""
    daemon = new_daemon().start()
    first, second = daemon.ask("fez", job=1), daemon.ask("fez", job=2)
    filler = fill(disk)

    assert "ledger" in is_refused(daemon.ask("fez", job=3, until=None))
    assert "released" == daemon.release(first["id"])["state"]
    assert ["session.opened", "session.opened", "session.closed"] == sessions(daemon)
    assert ["2"] == held(daemon)
    assert ["ACTIVE", "ACTIVE"] == states(daemon)
    for job in (4, 5):
        is_refused(daemon.ask("fez", job=job, until=None))
    assert ["error"] == [entry["level"] for entry in said(daemon, "ledger.unavailable")]  # once, however many ask

    filler.unlink()
    until(lambda: ["RELEASED", "ACTIVE"] == states(daemon))
    assert 1 == len(said(daemon, "ledger.recovered"))
    daemon.ask("fez", job=6)
    assert ["2", "6"] == held(daemon)
    assert "released" == daemon.release(second["id"])["state"]


@pytest.mark.parametrize("name", ["fez", "now"])
def test_a_lease_that_was_not_written_does_not_end_the_next(disk, new_daemon, folder, name):
    """Both had one fence: what was undone of the first ended the second, and its lane was given twice."""
    service = folder / "service"
    daemon = new_daemon(fake(service), fake(service, "now", "fake-instant")).start()
    daemon.admin().ask("GET", "/v1/resources/now/target")
    filler = fill(disk)
    is_refused(daemon.ask(name, job=1, until=None))
    filler.unlink()
    granted = daemon.ask(name, job=2)
    time.sleep(REMEMBERED_S + 1)

    assert (["2"], ["ACTIVE"]) == (held(daemon), states(daemon))
    with open_brokered(daemon.opening(granted, name)) as resource:
        task = resource.task_start(Payload.from_json("script", {"runs_s": 0}), key="k")
        assert TaskStatus.COMPLETED is resource.task_wait(task, 30).status
    daemon.kill()
    daemon.start()
    assert ["2"] == held(daemon)


def test_a_lease_with_a_task_ends_on_a_full_disk(disk, new_daemon):
    """The session would stay open until somebody made room: its task had ended, and nobody could write it down."""
    daemon = new_daemon().start()
    granted = daemon.ask("fez")
    with open_brokered(daemon.opening(granted, "fez")) as resource:
        task = resource.task_start(Payload.from_json("script", {"runs_s": 300}), key="k")
        filler = fill(disk)

        assert "released" == daemon.release(granted["id"], wait_s=20.0)["state"]
        assert ["session.opened", "session.closed"] == sessions(daemon)
        filler.unlink()
        until(lambda: ["RELEASED"] == states(daemon))
        assert TaskStatus.CANCELLED is resource.task_wait(task, 30).status


def test_a_lease_that_the_ledger_refuses_is_said(disk, new_daemon):
    """On a full disk jobs would be turned away, and nobody told who could mend it."""
    daemon = new_daemon().start()
    filler = fill(disk)
    for job in (1, 2):
        assert "ledger" in is_refused(daemon.ask("fez", job=job, until=None))

    assert ["error"] == [entry["level"] for entry in said(daemon, "ledger.unavailable")]
    filler.unlink()
    daemon.ask("fez", job=3)
    assert 1 == len(said(daemon, "ledger.recovered"))


def test_a_payload_that_does_not_fit_on_the_disk_is_refused(disk, new_daemon):
    """A program would be told of a fault of the broker, or its task run although nothing was written about it."""
    daemon = new_daemon().start()
    granted = daemon.ask("fez")
    token = granted["environment"]["fez_QRMI_JOB_ACQUISITION_TOKEN"]
    filler = fill(disk)
    connection = daemon.admin().connection()
    headers = {"Authorization": f"Bearer {token}", "Qrmi-Payload-Kind": "script"}
    connection.request(*SUBMIT, body=b'{"runs_s": 0}' + SMALL_BYTES * b" ", headers=headers)
    answer = connection.getresponse()
    words = answer.read().decode()
    connection.close()

    assert 503 == answer.status, words
    assert "No space left on device" in words
    assert [] == [entry for entry in vendor_log(daemon.folder / "service") if entry["event"] == "task.started"]
    filler.unlink()


def test_a_result_that_does_not_fit_on_the_disk_is_read_at_the_vendor(disk, new_daemon):
    """A result that was paid for would be lost, or nobody be told that it is kept in one place only."""
    daemon = new_daemon().start()
    sent = Payload.from_json("script", {"runs_s": 2, "pad": "x" * 300_000})
    with open_brokered(daemon.opening(daemon.ask("fez"), "fez")) as resource:
        task = resource.task_start(sent, key="large")
        filler = fill(disk)
        os.truncate(filler, filler.stat().st_size - 100_000)  # what the ledger needs fits

        assert TaskStatus.COMPLETED is resource.task_wait(task, 30).status
        assert sent.read() == resource.task_result(task)
        filler.unlink()
        assert sent.read() == resource.task_result(task)
    assert ["No space left on device"] == [entry["error"] for entry in said(daemon, "result.unstored")]


def test_a_read_only_disk_is_refused_at_the_start(disk, new_daemon):
    """The broker would start on a disk on which it can write nothing, or end without a next step."""
    daemon = new_daemon().start()
    daemon.ask("fez")
    daemon.stop()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True, timeout=30)
    words = refused_start(daemon)

    assert str(disk) in words
    assert "read-only" in words

    subprocess.run(["mount", "-o", "remount,rw", disk], check=True, timeout=30)
    daemon.start()
    assert ["1"] == held(daemon)


def test_a_disk_that_fails_gives_no_lease_and_takes_every_one_back(failing_disk, new_daemon):
    """A disk that became read-only would keep the QPU from everybody, or give it to a run that no ledger knows."""
    daemon = new_daemon().start()
    granted = daemon.ask("fez", job=1)
    subprocess.run(["mount", "-o", "remount,abort", failing_disk], check=True, timeout=30)

    assert "ledger" in is_refused(daemon.ask("fez", job=2, until=None))
    assert "released" == daemon.release(granted["id"])["state"]
    assert ["session.opened", "session.closed"] == sessions(daemon)
    assert [] == held(daemon)
    assert said(daemon, "ledger.unavailable")
    assert 0 == daemon.stop()


def test_a_damaged_ledger_is_refused_at_the_start(new_daemon, folder):
    """The broker would start with a ledger that has forgotten leases, or end without naming file and remedy."""
    daemon = new_daemon().start()
    daemon.release(daemon.ask("fez")["id"])
    daemon.stop()
    ledger = folder / "state" / "ledger.sqlite"
    good = ledger.read_bytes()
    for first_page in (2, 1):
        ledger.write_bytes(good)
        damage(ledger, first_page)
        words = refused_start(daemon)

        assert str(ledger) in words
        assert "backup" in words
    ledger.write_bytes(good)
    daemon.start()
    assert ["RELEASED"] == states(daemon)


def test_a_ledger_damaged_while_it_is_used_gives_no_lease_and_takes_every_one_back(new_daemon, folder):
    """A lease would be given that no ledger knows, or one never end at the vendor because it cannot be written."""
    daemon = new_daemon().start()
    granted = daemon.ask("fez", job=1)
    daemon.stop()
    ledger = folder / "state" / "ledger.sqlite"
    with sqlite3.connect(ledger) as db:  # more than the broker reads when it starts: it must come upon the damage
        db.executemany(
            "INSERT INTO grants (id, cluster, job_id, restart_count, start_time, uid, asked_at, expires_at, wanted)"
            " VALUES (?, 'c', ?, 0, 1, 0, 0, 0, '{}')",
            [(f"{number:x}", str(number)) for number in range(1000, 3000)],
        )
    db.close()
    daemon.start()
    damage(ledger, 2)

    assert f"{ledger}: database disk image is malformed" in is_refused(daemon.ask("fez", job=2, until=None))
    assert "released" == daemon.release(granted["id"])["state"]
    assert ["session.opened", "session.closed"] == sessions(daemon)
    assert [] == held(daemon)
    assert [True] == [str(ledger) in entry["reason"] for entry in said(daemon, "lease.refused")]
    daemon.stop()
    assert str(ledger) in refused_start(daemon)
