"""What a relay says about one request, inside a MUNGE credential: for whom it is, and which request it is."""

from __future__ import annotations

import hashlib
import json
import os
import secrets

from aiohttp import web
from attrs import field, frozen

from qrmi_core import wire
from qrmi_core.errors import PayloadError
from qrmi_core.payload import parse_json

HEADER = "Qrmi-Relay-Credential"
VERSION = 1
_LONGEST_PATH = 107


@frozen(kw_only=True)
class Voucher:
    """Good for one request. Whoever decodes it knows from MUNGE who made it, and must ask whether that is a relay."""

    uid: int
    """The user who connected to the relay, as the kernel told it."""
    is_admin: bool
    """Whether he came in by the administrators' socket."""
    request: str
    """See `digest`."""
    socket_path: str
    """The relay's public socket, for the jobs of its node."""
    nonce: str = field(factory=lambda: secrets.token_hex(16))
    version: int = VERSION

    def to_bytes(self) -> bytes:
        """The payload of a credential."""
        return json.dumps({"qrmi_relay": wire.converter.unstructure(self)}).encode()

    @classmethod
    def of(cls, payload: bytes) -> Voucher:
        """Read the payload of a credential.

        Raises:
            ValueError: it is no voucher; the message does not show it.
        """
        try:
            document = parse_json(payload, "voucher")
        except PayloadError:
            raise ValueError("it is no voucher") from None
        inner = document.get("qrmi_relay") if isinstance(document, dict) else None
        made, _ = wire.structure(inner, cls)
        if made is None or made.version != VERSION or not 0 <= made.uid < 2**32 - 1:
            raise ValueError("it is no voucher of this version")
        path = made.socket_path
        if not path.startswith("/") or not path.isprintable() or len(os.fsencode(path)) > _LONGEST_PATH:
            raise ValueError("it names no socket")
        return made


wire.forbid_extra_keys(Voucher)


def digest(method: str, target: str, length: int | None) -> str:
    """Stands for a request: its method, its path with query as it is sent, its content's length (None: chunked)."""
    return hashlib.sha256(json.dumps([method, target, length]).encode()).hexdigest()


def length_of(request: web.Request) -> int | None:
    """The length of a request's content, as both sides count it: 0 for none, None where it is not said before."""
    return request.content_length if request.body_exists else 0
