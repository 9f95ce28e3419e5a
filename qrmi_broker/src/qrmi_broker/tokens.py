"""Acquisition tokens: 256 bits that only we can make. None is stored: each follows from our key and the lease."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from attrs import field, frozen

from qrmi_broker.lease import Lease

_KEY_BYTES = 32


@frozen
class Tokens:
    """The mint. The same lease has the same token, also after a restart."""

    _key: bytes = field(repr=False)

    @classmethod
    def kept_in(cls, path: Path) -> Tokens:
        """Read the key, or make one. Who deletes the file ends every token."""
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            key = secrets.token_bytes(_KEY_BYTES)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(key)
                file.flush()
                os.fsync(file.fileno())
        if len(key) != _KEY_BYTES:
            raise ValueError(f"{path} holds {len(key)} bytes, not {_KEY_BYTES}")
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
