"""The contract between this core and a backend: `Backend`, `QuantumResource`, `Context`. Nothing else is needed."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from attrs import field, frozen

from qrmi_core.errors import NotOffered
from qrmi_core.models import AcquireRequest, Device, Session, TaskPlan, TaskState, Usage
from qrmi_core.payload import Payload
from qrmi_core.polling import Clock, poll

CONTRACT = 1
"""The version of this contract. A backend states the one it was written for."""


@frozen(kw_only=True)
class Context:
    """What the host gives a resource when it opens it."""

    name: str
    type: str
    settings: Any
    """An instance of the backend's own settings class."""
    log: Any
    """A `qrmi_core.log.Logger`, bound to the resource's name. Never bind a secret."""
    clock: Clock
    """Where time comes from: `monotonic()`, `sleep(s)`."""
    state_dir: Path
    """A folder of this resource's own, mode 0700, that outlives the process. It may be shared by nodes."""
    acquisition_token: str | None = None
    """What `acquire` returned to whoever leased this resource for us, if somebody did."""
    deadline: float | None = None
    """On `clock`: when the surrounding job ends."""


class QuantumResource(ABC):
    """One named resource, and the verbs of QRMI on it. All are synchronous.

    Four verbs are compulsory; the others have defaults. Every verb works from a fresh process that knows no more than a
    token or a task's id. Errors are those of `qrmi_core.errors`.
    """

    concurrent: ClassVar[bool] = False
    """Several threads may call verbs at once. Unless this is true, the host calls one at a time."""
    can_resend: ClassVar[bool] = True
    """`task_start` with a known key makes no second task. Where that cannot be promised, nothing is ever resent."""

    ctx: Context
    """Set by the host after the resource was opened."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx

    @abstractmethod
    def task_start(self, payload: Payload, *, key: str) -> str:
        """Submit *payload* and return the new task's id; the same *key* returns the same task, never a second one.

        Raises:
            PayloadError: the payload cannot run here. Nothing was submitted.
            ResourceUnavailable: a second call with the same key is safe if `can_resend`.
        """

    @abstractmethod
    def task_status(self, task_id: str) -> TaskState:
        """The task's present state. A vendor's state that is not known becomes RUNNING, with a reason.

        Raises:
            TaskNotFound: no such task.
        """

    @abstractmethod
    def task_stop(self, task_id: str) -> None:
        """Ask that the task end. It does nothing to an ended task, and may lose against completion.

        Raises:
            TaskNotFound: no such task.
        """

    @abstractmethod
    def task_result(self, task_id: str) -> bytes:
        """The result of a COMPLETED task. It never blocks.

        Raises:
            TaskNotReady: the task has not ended.
            TaskFailed, TaskCancelled: it ended without a result.
            TaskNotFound: no such task.
        """

    def resource_id(self) -> str:
        """The name of this resource in the configuration."""
        return self.ctx.name

    def resource_type(self) -> str:
        """The type text of this resource in the configuration."""
        return self.ctx.type

    def is_accessible(self) -> bool:
        """Whether the resource accepts tasks now."""
        return True

    def acquire(self, request: AcquireRequest) -> str:
        """Open a session and return its token. Blocks until the resource is ours or AcquireTimeout is raised."""
        return str(uuid.uuid4())

    def release(self, token: str) -> None:  # noqa: B027 - a default, not a gap
        """Close the session. Idempotent: an unknown or closed token is no error."""

    def in_session(self, token: str) -> QuantumResource:
        """This resource, for tasks that are to run in the session *token*, one of several that are open.

        Where the vendor's tasks belong to sessions, return a view that shares everything else with this resource; a
        task started on this resource itself runs in the session that was acquired last.
        """
        return self

    def task_wait(self, task_id: str, timeout_s: float) -> TaskState:
        """Block until the task has ended or *timeout_s* passed; return its state then.

        This default asks `task_status`, often at first, then less often. A backend that can be told of the end
        overrides it, and must then be `concurrent`.
        """
        return poll(lambda: self.task_status(task_id), timeout_s, self.ctx.clock)

    def task_logs(self, task_id: str) -> str:
        """What the vendor logged about the task."""
        raise NotOffered(self.ctx.name, "task_logs")

    def task_plan(self, payload: Payload) -> TaskPlan:
        """What would run, checked as `task_start` checks it; nothing is submitted."""
        raise NotOffered(self.ctx.name, "task_plan")

    def target(self) -> str:
        """What a compiler needs to know, as the vendor serialises it (JSON text)."""
        raise NotOffered(self.ctx.name, "target")

    def metadata(self) -> dict[str, str]:
        """Facts about the resource for people to read."""
        return {}

    def discover(self) -> Sequence[Device]:
        """The processors that this resource's credential reaches, its own among them, for those who configure."""
        raise NotOffered(self.ctx.name, "discover")

    def sessions(self) -> Sequence[Session]:
        """The open sessions of this account, for recovery after a crash."""
        raise NotOffered(self.ctx.name, "sessions")

    def find_task(self, key: str) -> str | None:
        """The id of the task that was started with *key*, or None if there is none, for recovery after a crash."""
        raise NotOffered(self.ctx.name, "find_task")

    def task_usage(self, task_id: str) -> Usage:
        """What the task has cost."""
        raise NotOffered(self.ctx.name, "task_usage")

    def close(self) -> None:  # noqa: B027 - a default, not a gap
        """Let go of processes and connections. Tasks at a remote service go on."""


def _kinds(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


@frozen(kw_only=True)
class Backend:
    """One plugin: what a distribution's entry point in group ``qrmi.backends`` names.

    Example:
        ``BACKEND = Backend(contract=1, settings=Settings, payloads={"qiskit-primitive"}, open=Acme)``
    """

    contract: int
    """The version of the contract it was written for: 1."""
    settings: type
    """A class made with `qrmi_core.settings`."""
    payloads: frozenset[str] = field(converter=_kinds)
    """The payload kinds that it executes."""
    open: Callable[[Context], QuantumResource]
    """Usually the class of the resource. It must not wait for the network."""
    default_access: Literal["broker", "job"] = "broker"
    """Where a resource is opened unless its configuration says so: `job` suits what has no credential to hide."""
