"""Payloads and results on disk: a hundred users with large ones must not fill the broker's memory.

Small ones are rows of the ledger: a file of its own costs each of them more than all else that is written of its task.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from pathlib import Path

from attrs import frozen

MOST_BYTES = 100_000_000
SMALL_BYTES = 1 << 14
"""What is longer is a file."""
KEPT_S = 7 * 24 * 3600.0
_IDLE_S = 3600.0
"""A payload that still comes, and a result that is being written, belong to no task that is known to us yet."""


class TooLarge(Exception):
    """The content exceeds what a payload may have."""


@frozen
class Spooled:
    """A payload that has come."""

    digest: str
    """SHA-256, hexadecimal."""
    size_bytes: int
    small: bytes | None
    """The payload itself, unless it is a file."""


@frozen
class Spool:
    """One folder, mode 0700: ``<task id>.payload`` and ``<task id>.result`` of what is not small."""

    folder: Path

    def payload(self, task_id: str) -> Path:
        """Where the payload of a task lies until it has ended."""
        return self.folder / f"{task_id}.payload"

    def content(self, task_id: str, small: bytes | None) -> bytes | Path:
        """A payload, as a `Payload` takes it."""
        return self.payload(task_id) if small is None else small

    def result(self, task_id: str) -> Path:
        """Where the result lies, for a week."""
        return self.folder / f"{task_id}.result"

    async def take(self, task_id: str, chunks: AsyncIterator[bytes], *, most_bytes: int = MOST_BYTES) -> Spooled:
        """Store a payload as it comes, in a file as soon as it is not small. It need not outlive a loss of power:

        until it was submitted nobody has been told that it was accepted.

        Raises:
            TooLarge: it is longer than *most_bytes*; nothing is kept.
            OSError: it cannot be written; nothing is kept.
        """
        digest, size, path = hashlib.sha256(), 0, self.payload(task_id)
        small = bytearray()
        try:
            with ExitStack() as opened:
                file = None
                async for chunk in chunks:
                    size += len(chunk)
                    if size > most_bytes:
                        raise TooLarge
                    digest.update(chunk)
                    if file is None and size <= SMALL_BYTES:
                        small += chunk
                        continue
                    if file is None:
                        file = opened.enter_context(path.open("wb"))
                        file.write(small)
                    file.write(chunk)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return Spooled(digest.hexdigest(), size, bytes(small) if file is None else None)

    def keep(self, task_id: str, result: bytes) -> None:
        """Store a result, as a whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        part = self.folder / f".{task_id}.{threading.get_ident()}.part"  # a call that was given up may go on beside us
        try:
            with part.open("wb") as file:
                file.write(result)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.result(task_id))
        except OSError:
            part.unlink(missing_ok=True)
            raise

    def forget_payload(self, task_id: str) -> None:
        """It will not be sent again."""
        self.payload(task_id).unlink(missing_ok=True)

    def tidy(self, open_tasks: set[str], *, is_used: bool = True) -> None:
        """Remove what is older than a week, and what no open task needs; where it *is_used*, once idle for an hour."""
        now = time.time()
        for entry in os.scandir(self.folder):
            with suppress(OSError):
                is_orphan = entry.name.endswith(".payload") and entry.name.removesuffix(".payload") not in open_tasks
                idle_s = now - entry.stat().st_mtime
                if is_orphan or entry.name.endswith(".part"):
                    is_over = idle_s > _IDLE_S or not is_used
                else:
                    is_over = idle_s > KEPT_S
                if is_over:
                    os.unlink(entry.path)
