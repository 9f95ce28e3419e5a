"""What the scheduler says about runs, through its own commands: small programs on the disk stand in for them."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from qrmi_broker.scheduler import Fate, Job, Listing, NoScheduler, SchedulerUnavailable, Slurm
from qrmi_core import Run

from .programs import LISTING, program, row

RUN = Run(uid=1000, cluster="c", job_id="1203", restart_count=0, start_time=1795000000)
ENDS = (
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
)
LIVES = (
    "PENDING",
    "RUNNING",
    "SUSPENDED",
    "COMPLETING",
    "CONFIGURING",
    "STAGE_OUT",
    "STOPPED",
    "RESIZING",
    "SIGNALING",
)
CONFIG = """Configuration data as of 2026-11-21T11:45:26
AccountingStorageBackupHost = (null)
AccountingStorageType   = {accounting}
PrivateData             = {private}
SlurmUser               = {user}(64030)
SlurmctldParameters     = enable_configless
"""


@pytest.fixture
def slurm(tmp_path: Path):
    """Slurm whose commands do what the texts say."""

    def make(squeue: str = "", scontrol: str = "", list_s: float = 20.0, sacctmgr: str = "exit 1") -> Slurm:
        program(tmp_path / "sacctmgr", sacctmgr)
        paths = (program(tmp_path / "squeue", squeue), program(tmp_path / "scontrol", scontrol))
        return Slurm(*map(str, paths), list_s)

    return make


def config(private: str, user: str, accounting: str = "(null)") -> str:
    """A scontrol that prints this configuration."""
    return f"cat <<'END'\n{CONFIG.format(private=private, user=user, accounting=accounting)}END"


def listed(slurm: Slurm) -> Listing:
    """Its listing."""
    return asyncio.run(slurm.listing())


def refusal(slurm: Slurm) -> str:
    """Why it has none."""
    with pytest.raises(SchedulerUnavailable) as raised:
        listed(slurm)
    return str(raised.value)


def test_a_listing_of_real_shape_is_understood(slurm):
    """Jobs, their states, restarts, ends or owners would be misread."""
    found = listed(slurm(f"cat <<'END'\n{LISTING}END"))

    assert {
        "1201": Job("RUNNING", 0, 1795003600.0, 1000),
        "1202": Job("PENDING", 2, None, 1001),
        "1203": Job("RUNNING", 0, None, 1000),
        "1204": Job("OUT_OF_MEMORY", 0, 1794990000.0, 64030),
    } == found.jobs


def test_a_time_in_iso_form_is_understood(slurm):
    """A squeue that does not know SLURM_TIME_FORMAT would leave every job without an end."""
    local = time.mktime((2026, 11, 21, 12, 0, 0, 0, 0, -1))

    assert local == listed(slurm(f"echo '{row('1', ends='2026-11-21T12:00:00')}'")).jobs["1"].ends_at


def test_every_job_of_everybody_is_asked_for(slurm, monkeypatch):
    """The broker's own environment, or squeue's defaults, would hide jobs, and their leases be released."""
    for name in ("SQUEUE_USERS", "SQUEUE_STATES", "SQUEUE_PARTITION", "SQUEUE_FORMAT"):
        monkeypatch.setenv(name, "x")
    asks = """
        case "$*" in *--all*--noheader*--array*--states=all*) ;; *) exit 1 ;; esac
        env | grep -q ^SQUEUE_ && exit 2
        [ "$LC_ALL $SLURM_TIME_FORMAT" = "C %s" ] || exit 3
    """

    assert {} == listed(slurm(asks)).jobs


@pytest.mark.parametrize(
    ("squeue", "said"),
    [
        ("echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1", "contact"),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", "Invalid job id specified"),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2", "Invalid job id specified"),
        (f"echo '{row('1')}'; echo 'slurm_load_jobs error: Socket timed out' >&2", "Socket timed out"),
        (f"echo '{row('1')}'; exit 1", "ended with 1"),
        (f"echo '{row('1')}'; kill -9 $$", "ended with -9"),
        ("echo 'JOBID  STATE  RESTARTS  END_TIME  UID'", "JOBID"),
        (f"echo '{row('1')}'; echo '1202   RUNN'", "1202"),
        ("head -c 200 /dev/urandom | base64", "no job"),
        ("echo", "no job"),
        ("printf '\\377\\376\\n'", "no job"),
    ],
    ids=["down", "invalid", "invalid-0", "complaint", "failed", "killed", "header", "cut", "noise", "blank", "bytes"],
)
def test_what_is_no_listing_is_no_evidence(slurm, squeue, said):
    """A squeue that fails, complains or prints nonsense would be taken at its word."""
    assert said in refusal(slurm(squeue))


def test_a_missing_squeue_is_no_evidence(tmp_path):
    """An uninstalled Slurm would look like one without jobs."""
    assert "No such file" in refusal(Slurm(str(tmp_path / "squeue"), str(tmp_path / "scontrol")))


def test_a_hanging_squeue_is_ended_and_is_no_evidence(slurm, tmp_path):
    """The broker would wait for ever, or leave a process behind at every look."""
    started = time.monotonic()
    hangs = slurm(f"echo $$ > {tmp_path}/pid; sleep 300 & echo $! >> {tmp_path}/pid; wait", list_s=1.0)

    assert "has not answered within 1 s" in refusal(hangs)
    assert 10 > time.monotonic() - started
    for pid in (tmp_path / "pid").read_text().split():
        assert is_gone(int(pid))


def test_a_hanging_squeue_ends_with_who_asked(slurm, tmp_path):
    """A stop of the broker would leave the command behind that it was waiting for."""
    hangs = slurm(f"echo $$ > {tmp_path}/pid; exec sleep 300")

    async def given_up() -> None:
        asking = asyncio.create_task(hangs.listing())
        deadline = time.monotonic() + 20
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.wait([asking])

    asyncio.run(given_up())

    assert is_gone(int((tmp_path / "pid").read_text()))


def test_a_stop_in_the_moment_of_an_answer_is_obeyed(slurm, monkeypatch):
    """One stop in some thousands would be lost with the answer, and the broker go on for ever."""
    communicate = asyncio.subprocess.Process.communicate

    async def is_obeyed() -> bool:
        async def looking() -> None:
            await slurm("true").listing()
            await asyncio.sleep(0)  # where it looks again

        looks = asyncio.create_task(looking())

        async def answers(process: asyncio.subprocess.Process) -> tuple[bytes, bytes]:
            answer = await communicate(process)
            looks.cancel()
            return answer

        monkeypatch.setattr(asyncio.subprocess.Process, "communicate", answers)
        await asyncio.wait([looks])
        return looks.cancelled()

    assert asyncio.run(is_obeyed())


def test_an_empty_list_says_nothing(slurm):
    """A controller that lost its memory would end every lease."""
    assert Fate.UNKNOWN is listed(slurm("true")).fate(RUN)


def test_a_list_without_the_run_says_that_it_is_missing(slurm):
    """A run that nobody knows any longer would keep its lease until its limit."""
    assert Fate.MISSING is listed(slurm(f"echo '{row('7')}'")).fate(RUN)


def test_a_number_that_another_user_has_is_another_run(slurm):
    """A controller that counts anew would keep an old lease alive through another user's job."""
    assert Fate.MISSING is listed(slurm(f"echo '{row('1203', uid='1001')}'")).fate(RUN)


@pytest.mark.parametrize("state", ENDS)
def test_an_end_is_an_end(slurm, state):
    """A lease would outlive a run whose end the scheduler shows."""
    assert Fate.OVER is listed(slurm(f"echo '{row('1203', state)}'")).fate(RUN)


@pytest.mark.parametrize("state", LIVES)
def test_a_state_that_is_no_end_keeps_the_lease(slurm, state):
    """A job that is suspended, completing or in a state that we never heard of would lose its lease."""
    assert Fate.LIVES is listed(slurm(f"echo '{row('1203', state)}'")).fate(RUN)


def test_a_requeued_job_is_another_run(slurm):
    """The lease of the first run would be kept for a second one that must ask anew."""
    assert Fate.OVER is listed(slurm(f"echo '{row('1203', 'PENDING', restarts=1, ends='N/A')}'")).fate(RUN)
    assert Fate.LIVES is listed(slurm(f"echo '{row('1203', restarts=0)}'")).fate(RUN)


@pytest.mark.parametrize("private", ["none", "usage,users", "(null)"])
def test_open_data_is_no_obstacle(slurm, private):
    """The reconciler would be off at a site that hides nothing."""
    found = slurm(scontrol=config(private, "slurm"))

    assert asyncio.run(found.obstacle()) is None


@pytest.mark.parametrize("private", ["jobs", "accounts,jobs,usage", "all"])
def test_private_jobs_are_an_obstacle(slurm, monkeypatch, private):
    """Jobs that we are not shown would be taken for ended ones. The remedy names who is shown them."""
    monkeypatch.setattr("qrmi_broker.scheduler._own_name", lambda: "qrmi")
    found = slurm(scontrol=config(private, "slurm"))
    said = asyncio.run(found.obstacle())

    assert said is not None
    assert f"PrivateData={private}" in said
    assert "slurm (SlurmUser)" in said


@pytest.mark.parametrize("own", ["slurm", "root"])
def test_who_is_shown_private_jobs_has_no_obstacle(slurm, monkeypatch, own):
    """The reconciler would be off although it sees everything."""
    monkeypatch.setattr("qrmi_broker.scheduler._own_name", lambda: own)
    found = slurm(scontrol=config("jobs", "slurm"))

    assert asyncio.run(found.obstacle()) is None


@pytest.mark.parametrize(("level", "sees"), [("Operator", True), ("Administrator", True), ("None", False), ("", False)])
def test_an_operator_of_slurm_has_no_obstacle(slurm, monkeypatch, level, sees):
    """A broker that Slurm's administrators gave the right to see every job would be off; or a plain user's be blind."""
    monkeypatch.setattr("qrmi_broker.scheduler._own_name", lambda: "qrmi")
    asks = f"[ \"$*\" = '-nP show user qrmi format=AdminLevel' ] && echo {level}"
    found = slurm(scontrol=config("jobs", "slurm", "accounting_storage/slurmdbd"), sacctmgr=asks)
    said = asyncio.run(found.obstacle())

    assert sees == (said is None)
    assert sees or "sacctmgr modify user qrmi set AdminLevel=Operator" in said


def test_a_slurmdbd_that_is_down_is_no_answer_about_obstacles(slurm, monkeypatch):
    """A broker that starts before slurmdbd would be blind for as long as it runs."""
    monkeypatch.setattr("qrmi_broker.scheduler._own_name", lambda: "qrmi")
    found = slurm(scontrol=config("jobs", "slurm", "accounting_storage/slurmdbd"), sacctmgr="exit 1")

    with pytest.raises(SchedulerUnavailable, match="sacctmgr ended with 1"):
        asyncio.run(found.obstacle())


@pytest.mark.parametrize("scontrol", ["exit 1", "echo 'slurm_load_ctl_conf error: down' >&2", "echo hello", "true"])
def test_a_controller_that_is_down_is_no_answer_about_obstacles(slurm, scontrol):
    """A broker that starts before the controller would be blind, or too trusting, for as long as it runs."""
    with pytest.raises(SchedulerUnavailable):
        asyncio.run(slurm(scontrol=scontrol).obstacle())


def test_without_a_scheduler_there_is_no_evidence():
    """A site without one would lose leases for want of a listing."""
    with pytest.raises(SchedulerUnavailable):
        asyncio.run(NoScheduler().listing())
    assert "there is no scheduler" == asyncio.run(NoScheduler().obstacle())


def is_gone(pid: int, within_s: float = 10.0) -> bool:
    """Whether the process ends soon."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            if "Z" == Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]:
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False
