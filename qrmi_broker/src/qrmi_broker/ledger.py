"""The ledger: SQLite, durable before we act, one thread that writes. What many ask for at once is one commit."""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field

_T = TypeVar("_T")
Work = Callable[[sqlite3.Connection], _T]

VERSION = 1
_MIGRATIONS = {
    1: """
    CREATE TABLE grants (
        row INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        cluster TEXT NOT NULL, job_id TEXT NOT NULL, restart_count INTEGER NOT NULL, start_time INTEGER NOT NULL,
        uid INTEGER NOT NULL,
        user TEXT, account TEXT, partition TEXT, qos TEXT, node TEXT,
        asked_at REAL NOT NULL, expires_at REAL NOT NULL,
        wanted TEXT NOT NULL
    );
    CREATE INDEX grants_of ON grants (cluster, job_id);
    CREATE TABLE leases (
        fence INTEGER PRIMARY KEY AUTOINCREMENT,
        "grant" TEXT NOT NULL REFERENCES grants (id),
        resource TEXT NOT NULL, alias TEXT NOT NULL, exclusive INTEGER NOT NULL, own INTEGER NOT NULL,
        state TEXT NOT NULL, session TEXT,
        acquired_at REAL, released_at REAL, end_reason TEXT
    );
    CREATE INDEX leases_open ON leases (state) WHERE state != 'RELEASED';
    CREATE INDEX leases_of ON leases ("grant");
    CREATE TABLE tasks (
        id TEXT PRIMARY KEY,
        fence INTEGER NOT NULL REFERENCES leases (fence),
        uid INTEGER NOT NULL, resource TEXT NOT NULL, key TEXT NOT NULL,
        kind TEXT NOT NULL, digest TEXT NOT NULL, size_bytes INTEGER NOT NULL,
        state TEXT NOT NULL, vendor_id TEXT, reason TEXT,
        submitted_at REAL NOT NULL, ended_at REAL, qpu_s REAL,
        UNIQUE (uid, resource, key)
    );
    CREATE INDEX tasks_open ON tasks (state) WHERE state IN ('INTENT', 'ACTIVE');
    CREATE INDEX tasks_of ON tasks (fence);
    CREATE TABLE drains (resource TEXT PRIMARY KEY, reason TEXT NOT NULL, at REAL NOT NULL);
    """,
}


class LedgerUnavailable(Exception):
    """The ledger cannot be read or written. No new lease is given; releases go on."""


@define(eq=False)
class Ledger:
    """One ledger file. `do` may be called from the event loop that was running when it was opened."""

    path: Path
    on_commit: Callable[[float], None] = lambda seconds: None
    _asked: queue.SimpleQueue[Any] = field(factory=queue.SimpleQueue)
    _thread: threading.Thread | None = None

    def open(self) -> None:
        """Open or make the file, bring it to our version, and check it.

        Raises:
            LedgerUnavailable: it is damaged, cannot be written, or was written by a newer version.
        """
        try:
            connection = self._connect()
            try:
                found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                if found != "ok":
                    raise LedgerUnavailable(f"{self.path} is damaged: {found}")
                self._migrate(connection)
            finally:
                connection.close()
        except sqlite3.Error as exc:
            raise LedgerUnavailable(f"{self.path}: {exc}") from exc
        self._thread = threading.Thread(target=self._serve, name="qrmid-ledger", daemon=True)
        self._thread.start()

    async def do(self, work: Work[_T]) -> _T:
        """Run *work* in a transaction; when this returns, what it wrote is on disk.

        Raises:
            LedgerUnavailable: nothing was written.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_T] = loop.create_future()
        self._asked.put((work, answer, loop))
        return await asyncio.shield(answer)

    def close(self) -> None:
        """Write what was asked for, and end the thread."""
        if self._thread is not None:
            self._asked.put(None)
            self._thread.join()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=5.0)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise LedgerUnavailable(f"{self.path} was written by a newer qrmi-broker (version {version} of the ledger)")
        for step in range(version + 1, VERSION + 1):
            connection.executescript(f"BEGIN IMMEDIATE;{_MIGRATIONS[step]}PRAGMA user_version = {step};COMMIT;")

    # -- in the thread

    def _serve(self) -> None:
        import time

        connection = self._connect()
        is_last = False
        while not is_last:
            batch = [self._asked.get()]
            while not self._asked.empty():
                batch.append(self._asked.get())
            is_last = None in batch
            started = time.monotonic()
            for answer, loop, result, error in self._commit(connection, [one for one in batch if one is not None]):
                loop.call_soon_threadsafe(_settle, answer, result, error)
            self.on_commit(time.monotonic() - started)
        connection.close()

    def _commit(self, connection: sqlite3.Connection, batch: list[Any]) -> list[Any]:
        """One transaction for all; each in a savepoint, so that one that fails harms no other."""
        done: list[Any] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for work, answer, loop in batch:
                connection.execute("SAVEPOINT one")
                try:
                    done.append((answer, loop, work(connection), None))
                except Exception as exc:  # noqa: BLE001 - raised again where it was asked for
                    connection.execute("ROLLBACK TO one")
                    done.append((answer, loop, None, _told(exc, self.path)))
                connection.execute("RELEASE one")
            connection.execute("COMMIT")
        except sqlite3.Error as exc:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            return [(answer, loop, None, LedgerUnavailable(f"{self.path}: {exc}")) for _, answer, loop in batch]
        return done


def _told(exc: Exception, path: Path) -> Exception:
    if isinstance(exc, sqlite3.DatabaseError) and not isinstance(exc, sqlite3.IntegrityError):
        return LedgerUnavailable(f"{path}: {exc}")
    return exc


def _settle(answer: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if answer.cancelled():
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)
