"""The ledger: SQLite, durable before we act, one thread that writes. What many ask for at once is one commit.

Reads by key happen where they are asked for: a look into the page cache costs less than a walk to another thread.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from attrs import define, field

from qrmi_broker.threads import settle
from qrmi_core import log
from qrmi_core.polling import SystemClock, pauses

_T = TypeVar("_T")
Work = Callable[[sqlite3.Connection], _T]

VERSION = 2
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
    2: """
    ALTER TABLE tasks ADD COLUMN payload BLOB;
    ALTER TABLE tasks ADD COLUMN result BLOB;
    CREATE INDEX tasks_kept ON tasks (ended_at) WHERE result IS NOT NULL;
    """,
}


_log = log.logger(part="ledger")


class LedgerUnavailable(Exception):
    """The ledger cannot be read or written. No new lease is given; releases go on."""


@define(eq=False)
class Ledger:
    """One ledger file. The thread that opens it is that of the event loop, and the only one that asks."""

    path: Path
    on_commit: Callable[[float], None] = lambda seconds: None
    _asked: queue.SimpleQueue[Any] = field(factory=queue.SimpleQueue)
    _thread: threading.Thread | None = None
    _reader: sqlite3.Connection | None = None
    _is_failing: bool = False
    """The last commit failed, and that has been said."""

    def open(self) -> None:
        """Open or make the file, bring it to our version, and check it.

        Raises:
            LedgerUnavailable: it is damaged, cannot be written, or was written by a newer version.
        """
        try:
            connection = self._connect()
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise LedgerUnavailable(f"{self.path} is damaged: {found}")
            self._migrate(connection)
            connection.execute("PRAGMA query_only = ON")
        except sqlite3.Error as exc:
            raise LedgerUnavailable(f"{self.path}: {exc}") from exc
        self._reader = connection
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
        return await answer

    async def surely(self, work: Work[_T]) -> _T:
        """The same for what has happened already: it must be written in the end, whatever hinders it now."""
        cadence = pauses(SystemClock())
        while True:
            try:
                return await self.do(work)
            except LedgerUnavailable:
                await asyncio.sleep(next(cadence))

    def read(self, work: Work[_T]) -> _T:
        """Run *work*, which only reads and little; it sees all that `do` has written.

        Raises:
            LedgerUnavailable: it cannot be read.
        """
        if self._reader is None:
            raise LedgerUnavailable(f"{self.path} is not open")
        try:
            return work(self._reader)
        except sqlite3.DatabaseError as exc:
            raise LedgerUnavailable(f"{self.path}: {exc}") from exc

    def close(self) -> None:
        """Write what was asked for, and end the thread."""
        if self._thread is not None:
            self._asked.put(None)
            self._thread.join()
        if self._reader is not None:
            self._reader.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=5.0, check_same_thread=False)
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
        connection = self._connect()
        is_last = False
        while not is_last:
            batch = [self._asked.get()]
            while not self._asked.empty():
                batch.append(self._asked.get())
            is_last = None in batch
            started = time.monotonic()
            before = connection.total_changes
            done = self._commit(connection, [one for one in batch if one is not None])
            failure = next((error for *_, error in done if isinstance(error, LedgerUnavailable)), None)
            if failure is not None or connection.total_changes > before:  # nothing can be written on a full disk, too
                self._say(failure)
            for answer, loop, result, error in done:
                loop.call_soon_threadsafe(settle, answer, result, error)
            self.on_commit(time.monotonic() - started)
        connection.close()

    def _commit(self, connection: sqlite3.Connection, batch: list[Any]) -> list[Any]:
        """One transaction for all; each in a savepoint, so that one that fails harms no other."""
        done: list[Any] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for work, answer, loop in batch:
                if len(batch) > 1:
                    connection.execute("SAVEPOINT one")
                try:
                    done.append((answer, loop, work(connection), None))
                except Exception as exc:  # noqa: BLE001 - raised again where it was asked for
                    connection.execute("ROLLBACK TO one" if len(batch) > 1 else "ROLLBACK")
                    done.append((answer, loop, None, _told(exc, self.path)))
                if len(batch) > 1:
                    connection.execute("RELEASE one")
            if connection.in_transaction:
                connection.execute("COMMIT")
        except sqlite3.Error as exc:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            return [(answer, loop, None, LedgerUnavailable(f"{self.path}: {exc}")) for _, answer, loop in batch]
        return done

    def _say(self, failure: LedgerUnavailable | None) -> None:
        """Once for each time that the ledger fails us."""
        if failure is not None and not self._is_failing:
            _log.error("ledger.unavailable", error=str(failure))
        elif failure is None and self._is_failing:
            _log.info("ledger.recovered")
        self._is_failing = failure is not None


def _told(exc: Exception, path: Path) -> Exception:
    is_fault_of_ours = isinstance(exc, sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.DataError)
    if isinstance(exc, sqlite3.DatabaseError) and not is_fault_of_ours:
        return LedgerUnavailable(f"{path}: {exc}")
    return exc
