"""Who asks: told by the kernel for a local socket, vouched for by a relay for a remote one. Never by the request."""

from __future__ import annotations

import socket
import struct
from collections import Counter
from typing import Any

from aiohttp import web
from attrs import frozen

from qrmi_broker.answers import LOGGER

CONNECTIONS = 128
"""Of one user at once."""
BYTES_IN_FLIGHT = 1 << 30
"""Of payloads that one user is sending."""
OPEN_TASKS = 10_000
"""Of one user."""
REMOTE_REQUESTS = 1024
"""Of one user at once, through all relays."""
LINGER_S = 10.0
"""How long a body that was refused unread is read and thrown away: who still sends it would not see the answer."""

_CREDENTIALS = struct.Struct("3i")


@frozen
class Asker:
    """The user on the other side."""

    uid: int
    is_admin: bool = False


def peer_of(connection: Any) -> tuple[int, int]:
    """The pid and the uid of the process that connected, as the kernel noted them then.

    A pid of 0 is that of a process in a namespace that we cannot see.
    """
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    return int(pid), int(uid)


class Doorman(web.RequestHandler):
    """One connection to a local socket: users have so many, and no more."""

    held: Counter[int]

    @classmethod
    def of(cls, held: Counter[int], server: Any, loop: Any, **how: Any) -> Doorman:
        """Made by the loop for each connection; *held* counts them by user."""
        made = cls(server, loop=loop, lingering_time=LINGER_S, logger=LOGGER, **how)
        made.held = held
        return made

    def connection_made(self, transport: Any) -> None:
        _, self.uid = peer_of(transport.get_extra_info("socket"))
        self.held[self.uid] += 1
        super().connection_made(transport)
        if self.uid != 0 and self.held[self.uid] > CONNECTIONS:
            transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.held[self.uid] -= 1
        if not self.held[self.uid]:
            del self.held[self.uid]
        super().connection_lost(exc)
