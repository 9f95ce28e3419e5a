"""The nouns of QRMI as frozen attrs classes, without input or output."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from math import inf

from attrs import field, frozen


class TaskStatus(StrEnum):
    """Where a task is in its life. The moves between them are in `ALLOWED_MOVES`."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_terminal(self) -> bool:
        """No move leads out of this status."""
        return not ALLOWED_MOVES[self]


_ENDS = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED})

ALLOWED_MOVES: Mapping[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.QUEUED: _ENDS | {TaskStatus.RUNNING},  # straight to COMPLETED: nobody looked while it ran
    TaskStatus.RUNNING: _ENDS,
    TaskStatus.COMPLETED: frozenset(),
    TaskStatus.FAILED: frozenset(),
    TaskStatus.CANCELLED: frozenset(),
}
"""From each status to those that may follow it. Staying where it is, is not a move."""


@frozen
class TaskState:
    """What a backend knows of a task at one moment."""

    status: TaskStatus
    reason: str | None = None
    """Why it failed or was cancelled; for a vendor state that we do not know, that state's name."""
    queue_position: int | None = None
    """0 is next to run."""
    progress: float | None = None
    """From 0 to 1."""


@frozen(kw_only=True)
class AcquireRequest:
    """What `QuantumResource.acquire` is asked for."""

    lease_key: str
    """The same key never opens a second session."""
    max_s: float | None = None
    """Upper bound of the session's life, seconds."""
    exclusive: bool = False
    """All lanes of the resource, not one."""
    tags: tuple[str, ...] = ()
    """Passed on to the vendor where it takes tags; `sessions` gives them back."""


@frozen(kw_only=True)
class Session:
    """One open session at the vendor, as `QuantumResource.sessions` lists it for recovery."""

    token: str
    lease_key: str | None = None
    tags: tuple[str, ...] = ()


@frozen(kw_only=True)
class Usage:
    """What a task has cost."""

    qpu_s: float
    """Seconds of processor time, as the vendor counts them."""


@frozen(kw_only=True)
class Device:
    """A processor that a credential reaches, as `QuantumResource.discover` lists it."""

    name: str
    """As the vendor calls it, and as the backend's setting for it takes it."""
    is_online: bool
    status: str
    """In the vendor's word."""
    qubits: int | None = None
    queue: int | None = None
    """How many tasks are before the next one."""
    note: str = ""

    @property
    def business(self) -> tuple[bool, float, int, str]:
        """Smaller for the less busy: those that are offline last; of two equals the one with more qubits first."""
        return (not self.is_online, inf if self.queue is None else self.queue, -(self.qubits or 0), self.name)


@frozen(kw_only=True)
class TaskPlan:
    """What would run, as far as it can be told before anything is submitted (`qrun --dry-run`)."""

    kind: str
    qubits: int | None = None
    shots: int | None = None
    """Of all pubs and parameter sets together."""
    method: str | None = None
    memory_bytes: int | None = None
    """What the simulation needs."""
    memory_allowed_bytes: int | None = None
    notes: tuple[str, ...] = ()


@frozen(kw_only=True)
class Run:
    """One execution of one Slurm job; a requeued job is a new run. Outside Slurm only `uid` is known."""

    uid: int = field(factory=os.getuid)
    cluster: str | None = None
    job_id: str | None = None
    restart_count: int = 0
    start_time: int | None = None
    """Seconds since the epoch."""

    @classmethod
    def of_this_process(cls, environ: Mapping[str, str] = os.environ) -> Run:
        """Read from the variables that Slurm sets. Good enough to report with; never a proof of identity."""

        def number(name: str) -> int | None:
            text = environ.get(name, "")
            return int(text) if text.isdecimal() else None

        return cls(
            cluster=environ.get("SLURM_CLUSTER_NAME") or None,
            job_id=environ.get("SLURM_JOB_ID") or None,
            restart_count=number("SLURM_RESTART_COUNT") or 0,
            start_time=number("SLURM_JOB_START_TIME"),
        )
