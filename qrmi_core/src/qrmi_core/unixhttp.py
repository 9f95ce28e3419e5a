"""HTTP over a Unix socket: one connection to the broker or relay of this node."""

from __future__ import annotations

import http.client
import socket
from typing import Any

AT_ONCE_BYTES = 1 << 16
"""A body up to here goes in one packet with its head, so that the broker wakes up once for it."""
_CONNECT_S = 5.0
_ANSWER_S = 600.0
"""Longer than the broker takes to give up on a vendor."""


class Connection(http.client.HTTPConnection):
    """A connection to the socket at *path*, made with the first request."""

    def __init__(self, path: str) -> None:
        super().__init__("qrmid", timeout=_ANSWER_S)
        self._path = path
        self._head = b""
        self._is_head_held = False
        """The next that is sent is the head of a request, and waits for the body."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_CONNECT_S)
        try:
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            raise
        self.sock.settimeout(_ANSWER_S)

    def request(self, method: str, url: str, body: Any = None, *args: Any, **how: Any) -> None:
        self._head, self._is_head_held = b"", isinstance(body, bytes) and 0 < len(body) <= AT_ONCE_BYTES
        super().request(method, url, body, *args, **how)

    def send(self, data: Any) -> None:
        if self._is_head_held:
            self._head, self._is_head_held = data, False
        else:
            super().send(self._head + data if self._head else data)
            self._head = b""
