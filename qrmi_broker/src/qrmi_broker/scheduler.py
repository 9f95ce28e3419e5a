"""What the scheduler says about runs. An error, a hang or an empty list is never evidence that a run has ended."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import ClassVar, Protocol

from attrs import field, frozen

from qrmi_core.models import Run

LIST_S = 10.0
"""How long a listing may take."""
_REAP_S = 1.0
_OVER = frozenset(
    {
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED"),
        *("NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
    }
)
"""States out of which a run does not come back. squeue(1), JOB STATE CODES."""
_COLUMNS = "JobID:20,State:20,RestartCnt:12,EndTime:24,UserID:12"


class SchedulerUnavailable(Exception):
    """It did not answer, or not with a listing."""


@frozen
class Job:
    """One job of a listing."""

    state: str
    restart_count: int
    ends_at: float | None
    """Seconds since the epoch; None without a limit."""
    uid: int | None


class Fate(Enum):
    """What a listing says about one run."""

    LIVES = "lives"
    OVER = "over"
    """The listing shows its end."""
    MISSING = "missing"
    """The listing lacks it, and shows others."""
    UNKNOWN = "unknown"
    """The listing is empty: a scheduler that lost its memory, or a quiet site."""


@frozen
class Listing:
    """All jobs that the scheduler knows, by id."""

    jobs: Mapping[str, Job] = field(factory=dict)

    def fate(self, run: Run) -> Fate:
        """What became of *run*. A job of another user under its number is another run: a controller counts anew."""
        job = self.jobs.get(run.job_id or "")
        if job is None or job.uid not in (None, run.uid):
            return Fate.MISSING if self.jobs else Fate.UNKNOWN
        if job.restart_count > run.restart_count or job.state in _OVER:
            return Fate.OVER
        return Fate.LIVES


class Scheduler(Protocol):
    """Who knows which runs there are."""

    ends_at_limit: ClassVar[bool]
    """Whether a run cannot outlive the limit that it had when it asked; Slurm raises limits, and suspends."""

    async def listing(self) -> Listing:
        """Every job, of every user.

        Raises:
            SchedulerUnavailable: no evidence of anything.
        """

    async def obstacle(self) -> str | None:
        """Why its listings cannot be trusted to show every user's jobs, if so.

        Raises:
            SchedulerUnavailable: it cannot be told now.
        """


@frozen
class NoScheduler:
    """Runs that nobody lists: they end when they are released, or at their limit."""

    ends_at_limit: ClassVar[bool] = True

    async def listing(self) -> Listing:
        raise SchedulerUnavailable("there is no scheduler")

    async def obstacle(self) -> str | None:
        return "there is no scheduler"


@frozen
class Slurm:
    """Slurm, asked through its own commands."""

    ends_at_limit: ClassVar[bool] = False

    squeue: str = "squeue"
    scontrol: str = "scontrol"
    list_s: float = LIST_S

    async def listing(self) -> Listing:
        text = await self._ask(self.squeue, "--all", "--noheader", "--array", "--states=all", f"--Format={_COLUMNS}")
        jobs = {}
        for line in text.splitlines():
            words = line.split()
            if len(words) != _COLUMNS.count(",") + 1 or not words[2].isdecimal():
                raise SchedulerUnavailable(f"{self.squeue} printed a line that is no job: {line[:80]!r}")
            job_id, state, restarts, ends, uid = words
            jobs[job_id] = Job(state, int(restarts), _time(ends), int(uid) if uid.isdecimal() else None)
        return Listing(jobs)

    async def obstacle(self) -> str | None:
        shown = await self._ask(self.scontrol, "show", "config")
        pairs = (line.partition("=") for line in shown.splitlines() if "=" in line)
        facts = {name.strip(): value.strip() for name, _, value in pairs}
        if "PrivateData" not in facts:
            raise SchedulerUnavailable(f"{self.scontrol} printed no configuration: {shown[:80]!r}")
        hidden = facts["PrivateData"].split(",")
        if "jobs" not in hidden and "all" not in hidden:
            return None
        own, slurm_user = _own_name(), facts.get("SlurmUser", "root").partition("(")[0]
        if own in (slurm_user, "root"):
            return None
        remedy = f"Run qrmid as {slurm_user} (SlurmUser), or take `jobs` out of PrivateData in slurm.conf"
        if facts.get("AccountingStorageType") == "accounting_storage/slurmdbd":  # without it nobody has a level
            level = await self._ask(self._sacctmgr, "-nP", "show", "user", own, "format=AdminLevel")
            if level.strip() in ("Operator", "Administrator"):
                return None
            remedy += f", or: sacctmgr modify user {own} set AdminLevel=Operator"
        return f"PrivateData={facts['PrivateData']} hides other users' jobs from us. {remedy}"

    @property
    def _sacctmgr(self) -> str:
        """It is installed beside scontrol."""
        return str(Path(self.scontrol).with_name("sacctmgr"))

    async def _ask(self, *words: str) -> str:
        # SQUEUE_USERS, SQUEUE_STATES and their like would narrow a listing without a word
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                env={**environment, "LC_ALL": "C", "SLURM_TIME_FORMAT": "%s"},
            )
        except OSError as exc:
            raise SchedulerUnavailable(f"{words[0]}: {exc.strerror}") from exc
        try:
            async with asyncio.timeout(self.list_s):  # wait_for of Python 3.11 can lose a cancellation
                out, err = await process.communicate()
        except TimeoutError:
            raise SchedulerUnavailable(f"{words[0]} has not answered within {self.list_s:g} s") from None
        finally:
            if process.returncode is None:  # it hangs, or we were told to stop
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                with suppress(TimeoutError):  # its pipes are closed when their ends have been read
                    async with asyncio.timeout(_REAP_S):
                        await process.communicate()
        if process.returncode:
            said = " ".join(err.decode(errors="replace").split())[:200]
            raise SchedulerUnavailable(f"{words[0]} ended with {process.returncode}: {said}")
        if err.strip():
            raise SchedulerUnavailable(f"{words[0]} complained: {err.decode(errors='replace').strip()[:200]}")
        return out.decode(errors="replace")


def _time(text: str) -> float | None:
    """squeue's time: seconds since the epoch where SLURM_TIME_FORMAT is obeyed, else the local time in ISO form."""
    if text.isdecimal():
        return float(text)
    with suppress(ValueError):
        return datetime.fromisoformat(text).timestamp()
    return None


def _own_name() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
