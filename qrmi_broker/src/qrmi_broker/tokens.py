"""Acquisition tokens: 256 bits that only we can make. None is stored: each follows from our key and the lease."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from attrs import field, frozen

from qrmi_broker.lease import Lease
from qrmi_core.errors import ConfigError

_KEY_BYTES = 32


@frozen
class Tokens:
    """The mint. The same lease has the same token, also after a restart."""

    _key: bytes = field(repr=False)

    @classmethod
    def kept_in(cls, path: Path) -> Tokens:
        """Read the key, or make one. Who deletes the file ends every token.

        Raises:
            ConfigError: there is none that can be used.
        """
        try:
            if not path.exists():
                _store(path, secrets.token_bytes(_KEY_BYTES))
            key = path.read_bytes()
        except OSError as exc:
            problem = f"cannot be read or written: {exc.strerror}"
            raise ConfigError.one(str(path), "", problem, "Mend its folder, or free space") from exc
        if len(key) != _KEY_BYTES:
            problem = f"is damaged: it holds {len(key)} bytes, not {_KEY_BYTES}"
            raise ConfigError.one(
                str(path), "", problem, "Remove it: a new one is made, and jobs that run lose their tokens"
            )
        return cls(key)

    def of(self, lease: Lease) -> str:
        """The token of *lease*: its fence, and what proves it."""
        run = lease.grant.run
        what = f"{lease.fence}:{lease.grant.id}:{lease.resource}:{run.uid}"
        return f"{lease.fence}.{hmac.new(self._key, what.encode(), hashlib.sha256).hexdigest()}"

    def proves(self, token: str, lease: Lease) -> bool:
        """Whether *token* is that of *lease*."""
        return hmac.compare_digest(token.encode(errors="replace"), self.of(lease).encode())

    @staticmethod
    def fence_of(token: str) -> int | None:
        """The fence that *token* claims."""
        text = token.partition(".")[0]
        return int(text) if text.isdecimal() and len(text) < 19 else None


def _store(path: Path, key: bytes) -> None:
    """As a whole or not at all: a crash must leave no half of a key."""
    part = path.with_name(f".{path.name}.part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
