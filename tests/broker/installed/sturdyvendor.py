"""The fake vendor once more, for histories: a kill at any instruction leaves it whole, and no clock of ours moves it.

The service is one SQLite file: every verb is one transaction, which changes the state and writes the line of the log
that says so. Its clock is the machine's monotonic one, which libfaketime is told to leave alone.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fakevendor import KIND, Fake, Settings

from qrmi_core import (
    AcquireRequest,
    Backend,
    Context,
    NotOffered,
    Payload,
    QuantumResource,
    Session,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    TaskNotReady,
    TaskState,
    TaskStatus,
    Usage,
)

SERVICE = "service.sqlite"
_SCHEMA = """
    PRAGMA journal_mode = WAL;
    CREATE TABLE IF NOT EXISTS log (row INTEGER PRIMARY KEY, at REAL, event TEXT, resource TEXT, facts TEXT);
    CREATE TABLE IF NOT EXISTS sessions (token TEXT PRIMARY KEY, resource TEXT, lease_key TEXT);
    CREATE TABLE IF NOT EXISTS tasks (
        id TEXT PRIMARY KEY, resource TEXT, key TEXT UNIQUE, script BLOB, started REAL, stopped REAL
    );
"""
_one_at_a_time = threading.Lock()
"""Threads that wait for SQLite's own lock sleep, up to 100 ms each time."""


class Sturdy(Fake):
    """Keeps every promise, and finds tasks and sessions again."""

    def __init__(self, ctx: Context) -> None:
        QuantumResource.__init__(self, ctx)
        self.service = Path(ctx.settings.endpoint)
        with _one_at_a_time, sqlite3.connect(self.service / SERVICE, timeout=30.0) as db:
            db.executescript(_SCHEMA)
        self._db = sqlite3.connect(self.service / SERVICE, timeout=30.0, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA synchronous = OFF")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _one_at_a_time:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _say(self, db: sqlite3.Connection, event: str, **facts: object) -> None:
        db.execute(
            "INSERT INTO log (at, event, resource, facts) VALUES (?, ?, ?, ?)",
            (time.monotonic(), event, self.ctx.name, json.dumps(facts)),
        )

    # -- sessions

    def acquire(self, request: AcquireRequest) -> str:
        self._enter("acquire")
        token = f"session-{request.lease_key}"
        with self._transaction() as db:
            made = db.execute(
                "INSERT OR IGNORE INTO sessions VALUES (?, ?, ?)", (token, self.ctx.name, request.lease_key)
            )
            if made.rowcount:
                self._say(db, "session.opened", lease_key=request.lease_key, exclusive=request.exclusive)
        self._leave("acquire")
        return token

    def release(self, token: str) -> None:
        self._enter("release")
        with self._transaction() as db:
            if db.execute("DELETE FROM sessions WHERE token = ?", (token,)).rowcount:
                self._say(db, "session.closed", lease_key=token.removeprefix("session-"))
        self._leave("release")

    def sessions(self) -> list[Session]:
        self._enter("sessions")
        with self._transaction() as db:
            found = db.execute("SELECT token, lease_key FROM sessions WHERE resource = ?", (self.ctx.name,)).fetchall()
        return [Session(token=token, lease_key=lease_key) for token, lease_key in found]

    # -- tasks

    def task_start(self, payload: Payload, *, key: str) -> str:
        self._enter("task_start")
        content = payload.read()
        note = json.loads(content).get("note")
        with self._transaction() as db:
            made = db.execute(
                "INSERT OR IGNORE INTO tasks VALUES (?, ?, ?, ?, ?, NULL)",
                (f"task-{key}", self.ctx.name, key, content, time.monotonic()),
            )
            if made.rowcount:
                self._say(db, "task.started", task=f"task-{key}", note=note)
        self._leave("task_start")
        return f"task-{key}"

    def _row(self, task_id: str) -> tuple[bytes, float, float | None]:
        with self._transaction() as db:
            found = db.execute("SELECT script, started, stopped FROM tasks WHERE id = ?", (task_id,)).fetchone()
        if found is None:
            raise TaskNotFound(self.ctx.name, task_id)
        return found

    def task_status(self, task_id: str) -> TaskState:
        self._enter("task_status")
        content, started, stopped = self._row(task_id)
        script = json.loads(content)
        ends_at = started + float(script["runs_s"])
        if stopped is not None and stopped < ends_at:
            return TaskState(TaskStatus.CANCELLED, "stopped")
        if time.monotonic() < ends_at:
            return TaskState(TaskStatus.RUNNING, progress=0.5)
        ends = TaskStatus(script.get("ends", "COMPLETED"))
        return TaskState(ends, None if ends is TaskStatus.COMPLETED else "as its script says")

    def task_stop(self, task_id: str) -> None:
        self._enter("task_stop")
        self._row(task_id)
        with self._transaction() as db:
            now = time.monotonic()
            if db.execute("UPDATE tasks SET stopped = ? WHERE id = ? AND stopped IS NULL", (now, task_id)).rowcount:
                self._say(db, "task.stopped", task=task_id)

    def task_result(self, task_id: str) -> bytes:
        state = self.task_status(task_id)
        if not state.status.is_terminal:
            raise TaskNotReady(self.ctx.name, task_id, state.status.value)
        if state.status is TaskStatus.FAILED:
            raise TaskFailed(self.ctx.name, task_id, state.reason or "")
        if state.status is TaskStatus.CANCELLED:
            raise TaskCancelled(self.ctx.name, task_id, state.reason or "")
        return self._row(task_id)[0]

    def task_logs(self, task_id: str) -> str:
        return f"the script of {task_id}"

    def task_usage(self, task_id: str) -> Usage:
        return Usage(qpu_s=float(json.loads(self._row(task_id)[0])["runs_s"]))

    def find_task(self, key: str) -> str | None:
        self._enter("find_task")
        with self._transaction() as db:
            found = db.execute("SELECT id FROM tasks WHERE key = ?", (key,)).fetchone()
        return None if found is None else str(found[0])


class SturdyBlind(Sturdy):
    """The same account, but it can tell nothing after a crash."""

    can_resend = False

    def find_task(self, key: str) -> str | None:
        raise NotOffered(self.ctx.name, "find_task")

    def sessions(self) -> list[Session]:
        raise NotOffered(self.ctx.name, "sessions")


class SturdyForgetful(Sturdy):
    """It has no keys: a task cannot be found, and what is sent twice runs twice."""

    can_resend = False

    def task_start(self, payload: Payload, *, key: str) -> str:
        return super().task_start(payload, key=uuid.uuid4().hex)

    def find_task(self, key: str) -> str | None:
        raise NotOffered(self.ctx.name, "find_task")


class SturdyInstant(Sturdy):
    """It has no sessions, like most vendors: its log says nothing of leases."""

    acquire, release, sessions = QuantumResource.acquire, QuantumResource.release, QuantumResource.sessions


BACKEND = Backend(contract=1, settings=Settings, payloads={KIND}, open=Sturdy)
BLIND = Backend(contract=1, settings=Settings, payloads={KIND}, open=SturdyBlind)
FORGETFUL = Backend(contract=1, settings=Settings, payloads={KIND}, open=SturdyForgetful)
INSTANT = Backend(contract=1, settings=Settings, payloads={KIND}, open=SturdyInstant)

if mutant := os.environ.get("QRMI_TEST_MUTANT"):
    import mutants

    mutants.apply(mutant)
