"""A task as the broker follows it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from enum import StrEnum
from typing import Any

from attrs import define, field

from qrmi_core.models import TaskState, TaskStatus


class TaskRecord(StrEnum):
    """What the ledger says of a task, besides how it ended (a `TaskStatus`)."""

    INTENT = "INTENT"
    """Written before the vendor is asked."""
    ACTIVE = "ACTIVE"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    """A crash or a lost answer hid whether it was submitted, and the backend cannot tell. It is not sent again."""


@define(eq=False)
class Task:
    """One task; who has ended is no longer followed."""

    id: str
    resource: str
    uid: int
    key: str
    kind: str
    digest: str
    size_bytes: int
    fence: int
    source: str = "payload"
    """What the user called it, for messages."""
    session: str | None = None
    """The vendor's session of its lease, in which it runs."""
    vendor_id: str | None = None
    state: TaskState = field(factory=lambda: TaskState(TaskStatus.QUEUED))
    qpu_s: float | None = None
    """What it has cost, where the vendor says it."""
    payload: bytes | None = field(default=None, repr=False)
    """A small one, until it is submitted: it is written with the intent. A large one is in the spool."""
    result: bytes | None = field(default=None, repr=False)
    """A small one: it is written with the end. A large one is in the spool."""
    turn: asyncio.Future[None] | None = None
    """It waits for others of its user to be submitted; with an exception it is not submitted at all."""
    is_unwanted: bool = False
    """Somebody asked for its end before the vendor had named it."""
    sending: asyncio.Task[Any] | None = None
    """The vendor is asked to take it."""
    submission: asyncio.Task[Any] | None = None
    """The same, and that its id is written; after a restart, that it is found."""
    stopping: asyncio.Task[Any] | None = None
    """The vendor is asked to stop it, for all who want that meanwhile."""
    watch: asyncio.Task[Any] | None = None
    over: asyncio.Event = field(factory=asyncio.Event)
    """It is terminal; the ledger may have to be told of it yet."""
    ended: asyncio.Event = field(factory=asyncio.Event)
    """It is terminal, and the ledger says so."""
    nudge: asyncio.Event = field(factory=asyncio.Event)
    """Ask the vendor now: somebody asked for its end."""

    @property
    def vendor_key(self) -> str:
        """Under which the vendor knows it: the same for every attempt of this user to submit this payload by this key.

        An attempt that was given up may arrive late; then the next one finds it instead of making a second task.
        """
        return hashlib.sha256(json.dumps([self.uid, self.resource, self.key, self.digest]).encode()).hexdigest()[:32]
