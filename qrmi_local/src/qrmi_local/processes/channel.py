"""What program, zygote and workers share: messages over a socket, and ending together."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
from typing import Any

Message = dict[str, Any]
_PR_SET_PDEATHSIG = 1
_LARGEST_MESSAGE = 1 << 16


def end_with_parent(parent_pid: int) -> None:
    """Have the kernel kill us when the thread that made us ends, and check that this has not happened yet."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(0)


def send(channel: socket.socket, **message: Any) -> None:
    """Send one message. A reader that is gone is no error: its end is noticed when we read."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        channel.send(json.dumps(message).encode())


def receive(channel: socket.socket) -> Message | None:
    """The next message, or None at the end."""
    try:
        content = channel.recv(_LARGEST_MESSAGE)
    except ConnectionResetError:
        return None
    return json.loads(content) if content else None
