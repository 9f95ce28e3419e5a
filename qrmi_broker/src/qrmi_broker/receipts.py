"""Leases that end although the ledger cannot say so: a file whose space on the disk was taken in good time."""

from __future__ import annotations

import os
from pathlib import Path

from attrs import define, field

_SLOT_BYTES = 16
_SLOTS = 4096


@define(eq=False)
class Receipts:
    """Fences, in the order in which their leases end. Without it a crash on a full disk would give them back."""

    path: Path
    _used: int = field(default=0, init=False)

    def open(self) -> set[int]:
        """Make the file if there is none, and return what is in it.

        Raises:
            OSError: it can be neither read nor made.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            content = b""
        if len(content) < _SLOTS * _SLOT_BYTES:
            self._write(0, content.ljust(_SLOTS * _SLOT_BYTES))
        words = content.split()
        self._used = len(words)
        return {int(word) for word in words if word.isdigit()}

    def add(self, fence: int) -> None:
        """Write that the lease ends; it is on the disk then.

        Raises:
            OSError: it cannot be written.
        """
        if self._used >= _SLOTS:
            raise OSError(f"{self.path} is full")
        self._write(self._used * _SLOT_BYTES, b"%*d\n" % (_SLOT_BYTES - 1, fence))
        self._used += 1

    def clear(self) -> None:
        """The ledger says all of it by now; the space is kept."""
        if self._used:
            self._write(0, b"".ljust(self._used * _SLOT_BYTES))
            self._used = 0

    def _write(self, at: int, content: bytes) -> None:
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(handle, content, at)
            os.fsync(handle)
        finally:
            os.close(handle)
