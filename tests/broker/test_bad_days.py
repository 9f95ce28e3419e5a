"""Days on which the scheduler, the clock or the disk lets the broker down: it keeps what it gave, and says so."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from .daemon import Daemon, vendor_log
from .launch import launch_as
from .nursery import libfaketime
from .programs import program, row
from .users import User

DAY_S = 24 * 3600
SUBMIT = ("POST", "/v1/resources/fez/tasks")


@frozen
class Slurm:
    """Stand-ins for its commands, and how often they were asked."""

    folder: Path

    def does(self, text: str) -> None:
        """From now on squeue does this."""
        program(self.folder / "squeue", f"echo >> {self.folder}/looks\n{text}")

    def lists(self, *rows: str) -> None:
        """From now on squeue prints these jobs."""
        self.does("cat <<'END'\n" + "".join(f"{one}\n" for one in rows) + "END")

    @property
    def looks(self) -> int:
        """How often squeue was asked."""
        path = self.folder / "looks"
        return len(path.read_bytes()) if path.exists() else 0

    def is_asked(self, times: int = 4) -> None:
        """Wait until squeue was asked so often: by then what it says now has been acted on."""
        start = self.looks
        until(lambda: self.looks >= start + times)


@pytest.fixture
def slurm(folder: Path) -> Slurm:
    """It lists one job, 1, of root."""
    (folder / "bin").mkdir()
    made = Slurm(folder / "bin")
    made.lists(row("1", uid="0"))
    program(folder / "bin" / "scontrol", "echo 'PrivateData = none'")
    return made


@pytest.fixture
def daemon(new_daemon: Callable[..., Daemon], slurm: Slurm) -> Daemon:
    """A started broker that asks the stand-ins ten times a second."""
    return asking(new_daemon, slurm).start()


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


def asking(new_daemon: Callable[..., Daemon], slurm: Slurm) -> Daemon:
    """A broker that asks the stand-ins ten times a second."""
    commands = {name: str(slurm.folder / name) for name in ("squeue", "scontrol")}
    return new_daemon(scheduler="slurm", **commands, **{"reconcile-s": "0.1"})


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


def test_a_squeue_that_errs_ends_no_lease_and_is_said_once(daemon, slurm):
    """A controller that is down or has lost its memory would take the QPU from jobs that run."""
    daemon.ask("fez")
    wrongs = [
        ("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1", "Unable to contact"),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", "Invalid job id"),
        ("true", "empty"),
        ("echo nonsense", "nonsense"),
    ]
    for times, (squeue, words) in enumerate(wrongs, 1):
        slurm.does(squeue)
        slurm.is_asked()

        assert ["1"] == held(daemon)
        assert times == len(said(daemon, "scheduler.unavailable"))
        assert words in said(daemon, "scheduler.unavailable")[-1]["error"]
        assert words in daemon.admin().ask_json("GET", "/v1/health")["scheduler_failure"]
        slurm.lists(row("1", uid="0"))
        until(lambda times=times: times == len(said(daemon, "scheduler.recovered")))
    assert ["1"] == held(daemon)


def test_a_squeue_that_hangs_ends_no_lease_and_holds_up_nobody(daemon, slurm):
    """A controller that does not answer would stop the broker, or make it take leases away."""
    daemon.ask("fez")
    slurm.does("exec sleep 300")
    slurm.is_asked(1)
    started = time.monotonic()
    granted = daemon.ask("fez", job=2)
    daemon.release(granted["id"])

    assert 5 > time.monotonic() - started
    until(lambda: said(daemon, "scheduler.unavailable"))
    assert "has not answered within 10 s" in said(daemon, "scheduler.unavailable")[0]["error"]
    assert ["1"] == held(daemon)


def test_a_controller_that_was_down_at_the_start_is_asked_again(new_daemon, slurm):
    """A broker that started before the controller would never look again, and end leases by its clock."""
    program(slurm.folder / "scontrol", "echo 'slurm_load_ctl_conf error: Unable to contact' >&2; exit 1")
    daemon = asking(new_daemon, slurm).start()
    daemon.ask("fez", facts={"time_limit_s": 0.1})
    until(lambda: said(daemon, "lease.overdue"))

    assert ["1"] == held(daemon)
    assert 0 == slurm.looks

    program(slurm.folder / "scontrol", "echo 'PrivateData = none'")
    slurm.is_asked()
    assert ["1"] == held(daemon)
    slurm.lists(row("1", "COMPLETED", uid="0"))
    until(lambda: not held(daemon))


def test_hidden_jobs_are_no_ended_jobs(new_daemon, slurm, users: tuple[User, User]):
    """A broker that is shown its own jobs only would take the QPU from everybody else's."""
    program(slurm.folder / "scontrol", "printf 'PrivateData = jobs\\nSlurmUser = slurm(64030)\\n'")
    slurm.lists(row("7"))
    daemon = launch_as(users[0], asking(new_daemon, slurm))
    daemon.ask("fez")
    limited = daemon.ask("fez", job=2, facts={"time_limit_s": 1})
    until(lambda: limited["id"] not in [one["id"] for one in daemon.leases()])

    assert ["1"] == held(daemon)
    assert 0 == slurm.looks
    assert [True] == ["PrivateData=jobs" in entry["reason"] for entry in said(daemon, "reconciler.off")]
    assert ["its time limit passed"] == [entry["reason"] for entry in said(daemon, "lease.released")]


def test_a_run_that_left_the_list_loses_its_lease(daemon, slurm):
    """A run that the scheduler no longer knows would hold its lane until its limit."""
    daemon.ask("fez")
    slurm.lists(row("7", uid="0"))
    until(lambda: not daemon.leases())

    assert ["the scheduler no longer knows its run"] == [entry["reason"] for entry in said(daemon, "lease.released")]
    assert ["session.opened", "session.closed"] == sessions(daemon)


def test_one_list_without_the_run_is_not_enough(daemon, slurm):
    """A single listing that lacks a run would end its lease."""
    daemon.ask("fez")
    once = slurm.folder / "once"
    slurm.does(f"if rm {once} 2>/dev/null; then echo '{row('7')}'; else echo '{row('1', uid='0')}'; fi")
    for _ in range(3):
        once.touch()
        until(lambda: not once.exists())
        slurm.is_asked(2)

    assert ["1"] == held(daemon)


def test_a_run_whose_end_is_listed_loses_its_lease_at_once(daemon, slurm):
    """A run that has completed, or was requeued, would keep its lease for longer than one listing."""
    slurm.lists(row("1", uid="0"), row("2", uid="0"), row("3", uid="0"))
    for job in (1, 2, 3):
        daemon.ask("fez", job=job)
    slurm.is_asked(2)
    slurm.lists(row("1", "COMPLETED", uid="0"), row("2", "PENDING", restarts=1, uid="0"), row("3", uid="0"))
    start = slurm.looks
    until(lambda: 2 == len(said(daemon, "lease.released")))

    assert ["3"] == held(daemon)
    assert start + 15 > slurm.looks  # a busy machine sees the end late
    assert 2 * ["the scheduler shows the end of its run"] == [
        entry["reason"] for entry in said(daemon, "lease.released")
    ]


def test_a_limit_alone_ends_no_run_that_is_listed(daemon, slurm):
    """A job whose limit was raised, or that was suspended, would lose its lease at its first limit."""
    slurm.lists(row("1", ends="NONE", uid="0"), row("2", "SUSPENDED", ends="1700000000", uid="0"))
    for job in (1, 2):
        daemon.ask("fez", job=job, facts={"time_limit_s": 0.1})
    slurm.is_asked()

    assert ["1", "2"] == held(daemon)


def test_a_limit_ends_a_run_that_is_not_listed(daemon, slurm):
    """At a site where nothing else runs, a lease whose release was lost would be held for ever."""
    slurm.lists()
    daemon.ask("fez", facts={"time_limit_s": 1.5})
    slurm.is_asked(2)

    assert ["1"] == held(daemon)
    until(lambda: not daemon.leases())
    assert [True] == ["its time limit passed" in entry["reason"] for entry in said(daemon, "lease.released")]


@frozen
class Clock:
    """What time the broker believes it is."""

    path: Path

    def says(self, offset: str) -> None:
        """From now on, this much more or less than it is."""
        fresh = self.path.with_name(".clock")
        fresh.write_text(f"{offset}\n")
        fresh.replace(self.path)

    @property
    def environment(self) -> dict[str, str]:
        """Makes a process believe it."""
        lies = {"LD_PRELOAD": str(libfaketime()), "FAKETIME_TIMESTAMP_FILE": str(self.path), "FAKETIME_NO_CACHE": "1"}
        return lies | {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_FORCE_MONOTONIC_FIX": "0", "NO_FAKE_STAT": "1"}


@pytest.fixture
def clock(folder: Path) -> Clock:
    """It is right."""
    made = Clock(folder / "clock")
    made.says("+0")
    return made


def test_a_clock_that_jumps_by_a_day_ends_no_lease(new_daemon, slurm, clock):
    """A clock set wrongly, or put right, would take the QPU from jobs that run; so would a restart after it."""
    daemon = asking(new_daemon, slurm).start(**clock.environment)
    slurm.lists(row("1", ends=str(int(time.time()) + 3600), uid="0"))
    daemon.ask("fez", facts={"time_limit_s": 3600})

    def uptime_s() -> float:
        found: float = daemon.admin().ask_json("GET", "/v1/health")["uptime_s"]
        return found

    for job, offset_s in ((2, -DAY_S), (3, DAY_S), (4, -DAY_S)):
        clock.says(f"{offset_s:+d}")
        slurm.is_asked()
        assert (offset_s > 0) == (uptime_s() > 0)  # it believes the clock
        assert ["1"] == held(daemon)
        daemon.release(daemon.ask("fez", job=job)["id"])
    slurm.does("exit 1")
    clock.says(f"+{DAY_S}")
    until(lambda: said(daemon, "lease.overdue"))
    slurm.is_asked()
    assert ["1"] == held(daemon)
    assert 1 == len(said(daemon, "lease.overdue"))
    daemon.stop()
    slurm.lists(row("1", uid="0"))
    clock.says(f"-{DAY_S}")
    daemon.start(**clock.environment)
    slurm.is_asked()
    assert ["1"] == held(daemon)


def test_a_limit_is_counted_by_a_clock_that_nobody_sets(new_daemon, clock):
    """Where nobody lists the runs, a clock that is put right would end every lease; or none would end after it."""
    daemon = new_daemon().start(**clock.environment)
    daemon.ask("fez", facts={"time_limit_s": 3600})
    for job, offset_s in ((2, DAY_S), (3, -DAY_S)):
        daemon.ask("fez", job=job, facts={"time_limit_s": 1})
        clock.says(f"{offset_s:+d}")
        until(lambda: ["1"] == held(daemon))
    clock.says(f"+{DAY_S}")
    daemon.kill()
    daemon.start(**clock.environment)
    daemon.ask("fez", job=4, facts={"time_limit_s": 0.1})
    until(lambda: 3 == len(said(daemon, "lease.released")))

    assert ["1"] == held(daemon)
    assert {"its time limit passed"} == {entry["reason"] for entry in said(daemon, "lease.released")}


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
    connection.request(*SUBMIT, body=b'{"runs_s": 0}' + 5000 * b" ", headers=headers)
    answer = connection.getresponse()
    words = answer.read().decode()
    connection.close()

    assert 503 == answer.status, words
    assert "No space left on device" in words
    assert [] == [entry for entry in vendor_log(daemon.folder / "service") if entry["event"] == "task.started"]
    filler.unlink()


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
