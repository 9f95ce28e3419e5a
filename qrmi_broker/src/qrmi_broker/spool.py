"""Payloads and results on disk: a hundred users with large ones must not fill the broker's memory."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from attrs import frozen

MOST_BYTES = 100_000_000
KEPT_S = 7 * 24 * 3600.0


class TooLarge(Exception):
    """The content exceeds what a payload may have."""


@frozen
class Spool:
    """One folder, mode 0700: ``<task id>.payload`` and ``<task id>.result``."""

    folder: Path

    def payload(self, task_id: str) -> Path:
        """Where the payload of a task lies until it has ended."""
        return self.folder / f"{task_id}.payload"

    def result(self, task_id: str) -> Path:
        """Where the result lies, for a week."""
        return self.folder / f"{task_id}.result"

    async def take(
        self, task_id: str, chunks: AsyncIterator[bytes], *, most_bytes: int = MOST_BYTES
    ) -> tuple[str, int]:
        """Store a payload as it comes; return its SHA-256 and its size. It need not outlive a loss of power:

        until it was submitted nobody has been told that it was accepted.

        Raises:
            TooLarge: it is longer than *most_bytes*; nothing is kept.
            OSError: it cannot be written; nothing is kept.
        """
        digest, size, path = hashlib.sha256(), 0, self.payload(task_id)
        try:
            with path.open("wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > most_bytes:
                        raise TooLarge
                    digest.update(chunk)
                    file.write(chunk)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return digest.hexdigest(), size

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

    def tidy(self, open_tasks: set[str]) -> None:
        """Remove what is older than a week, and payloads of tasks that are not open."""
        before = time.time() - KEPT_S
        for entry in os.scandir(self.folder):
            with suppress(OSError):
                is_orphan = entry.name.endswith(".payload") and entry.name.removesuffix(".payload") not in open_tasks
                if is_orphan or entry.stat().st_mtime < before or entry.name.endswith(".part"):
                    os.unlink(entry.path)
