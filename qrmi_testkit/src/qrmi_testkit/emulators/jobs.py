"""Jobs of an emulated service, and the processor that works them off: first come, first served, on so many lanes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import define, field

from qrmi_core import ALLOWED_MOVES, Payload, TaskStatus, kinds, log
from qrmi_testkit.emulators.accounts import Account
from qrmi_testkit.emulators.clock import Clock, iso
from qrmi_testkit.emulators.simulator import SimulationFailed, Simulator

_log = log.logger(part="emulator")
_AHEAD_S = 0.05
"""What a job of somebody else takes at least."""

EXECUTION_FAILED, RAN_TOO_LONG, NO_PROGRAM = 5203, 1305, 1300


@define(eq=False)
class Job:
    """One job. Only the emulator's own thread changes it."""

    id: str
    account: Account
    device: str
    program: str
    document: Mapping[str, Any]
    """The request that made it."""
    limit_s: float
    """What it may take to execute."""
    created_s: float
    service_s: float = 0.0
    """What it takes to execute at least."""
    ahead: int = 0
    """Jobs of others that come before it."""
    failure: str | None = None
    """It is to fail, for this reason."""
    failure_code: int = EXECUTION_FAILED
    status: TaskStatus = TaskStatus.QUEUED
    reason: str | None = None
    reason_code: int | None = None
    started_s: float | None = None
    ended_s: float | None = None
    result: bytes | None = None
    lines: list[str] = field(factory=list)
    """The log."""
    work: asyncio.Task[None] | None = None

    @property
    def is_ended(self) -> bool:
        """It is in a terminal status."""
        return self.status.is_terminal

    def busy_s(self, now_s: float) -> float:
        """For how long it has executed."""
        return 0.0 if self.started_s is None else (self.ended_s or now_s) - self.started_s

    @property
    def log(self) -> str:
        """What the service logged, one event in a line."""
        return "".join(f"{line}\n" for line in self.lines)

    def note(self, at_s: float, text: str, level: str = "INFO") -> None:
        """Add a line to the log."""
        self.lines.append(f"{iso(at_s)} {level} {text}")

    def move(self, status: TaskStatus, at_s: float, reason: str | None = None, code: int | None = None) -> None:
        """Go to *status*; the table of moves must allow it."""
        if status not in ALLOWED_MOVES[self.status]:
            raise AssertionError(f"job {self.id} cannot go from {self.status} to {status}")
        self.status, self.reason, self.reason_code = status, reason, code
        if status is TaskStatus.RUNNING:
            self.started_s = at_s
        else:
            self.ended_s = at_s


class Failed(Exception):
    """The job cannot go on: the reason, and its code."""

    def __init__(self, reason: str, code: int = EXECUTION_FAILED) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


Load = Callable[[Job], Awaitable[bytes]]
Save = Callable[[Job], Awaitable[None]]
Tell = Callable[..., None]
"""Called with the name of an event and its facts."""


@define
class Processor:
    """One emulated quantum processor."""

    clock: Clock
    simulator: Simulator
    load: Load
    """Returns the parameters of a job, as JSON; raises Failed."""
    save: Save
    """Puts result and log of a job where its owner finds them; raises Failed."""
    lanes: asyncio.Semaphore
    tell: Tell
    works: set[asyncio.Task[None]] = field(factory=set)
    """What is under way, also for jobs that were deleted meanwhile."""

    def submit(self, job: Job) -> None:
        """Begin to work on *job* as soon as there is a lane."""
        self.tell("job.accepted", job=job.id, device=job.device, program=job.program)
        job.work = asyncio.create_task(self._work(job), name=f"job {job.id}")
        self.works.add(job.work)
        job.work.add_done_callback(self.works.discard)

    def cancel(self, job: Job) -> None:
        """End *job*, which has not ended."""
        job.note(self.clock.now(), "cancelled")
        self._move(job, TaskStatus.CANCELLED, "Cancelled by its owner")
        if job.work is not None:
            job.work.cancel()

    async def _work(self, job: Job) -> None:
        try:
            while job.ahead:
                await asyncio.sleep(max(job.service_s, _AHEAD_S))
                job.ahead -= 1
            async with self.lanes:
                self._move(job, TaskStatus.RUNNING)
                job.note(self.clock.now(), f"running {job.program} on {job.device}")
                try:
                    await self._execute(job)
                except Failed as exc:
                    await self._fail(job, exc.reason, exc.code)
                    return
                self._move(job, TaskStatus.COMPLETED)
        except asyncio.CancelledError:
            if job.is_ended:  # by its owner: the log is still owed
                await self._save_log(job)
            raise
        except Exception as exc:  # noqa: BLE001 - a fault of ours ends one job, and is said
            _log.error("job.broken", job=job.id, exc_info=exc)
            await self._fail(job, f"the emulator failed: {exc!r}", EXECUTION_FAILED)

    async def _execute(self, job: Job) -> None:
        document = await self.load(job)
        if job.program not in ("sampler", "estimator"):
            raise Failed(f"There is no program {job.program!r}", NO_PROGRAM)
        program = json.dumps(job.program).encode()
        content = b'{"program_id":%s,"parameters":%s}' % (program, document)
        payload = Payload.from_bytes(kinds.PRIMITIVE, content, source=f"job {job.id}")
        try:
            async with asyncio.timeout(job.limit_s):
                if job.failure is not None:
                    await asyncio.sleep(job.service_s)
                    raise Failed(job.failure, job.failure_code)
                result, lines = await self.simulator.run(job.id, payload)
                await asyncio.sleep(max(0.0, job.service_s - job.busy_s(self.clock.now())))
        except TimeoutError as exc:
            raise Failed(f"The job ran longer than its limit of {job.limit_s:g} s", RAN_TOO_LONG) from exc
        except SimulationFailed as exc:
            raise Failed(str(exc)) from exc
        job.result = result
        job.lines += lines.splitlines()
        job.note(self.clock.now(), "completed")
        await self.save(job)

    async def _fail(self, job: Job, reason: str, code: int) -> None:
        job.result = None
        job.note(self.clock.now(), f"{code} {reason}", "ERROR")
        await self._save_log(job)
        self._move(job, TaskStatus.FAILED, reason, code)

    def _move(self, job: Job, status: TaskStatus, reason: str | None = None, code: int | None = None) -> None:
        job.move(status, self.clock.now(), reason, code)
        self.tell(f"job.{status.lower()}", job=job.id, **({"reason": reason} if reason else {}))

    async def _save_log(self, job: Job) -> None:
        try:
            await self.save(job)
        except Failed as exc:
            _log.warning("job.log_not_saved", job=job.id, reason=exc.reason)
