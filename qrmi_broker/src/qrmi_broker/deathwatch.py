"""Watching the process that asked for a lease: when a batch step dies by force, Slurm says so after a minute or later.

It lives behind the administrators' socket of broker and relay alike, because only there the kernel knows the process,
and ends the lease by that same socket. Who is watched is written down beside the sockets, for the next start.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from attrs import define, field

from qrmi_broker.answers import Handler
from qrmi_broker.watchlist import Watchlist
from qrmi_core import log

LEASE_HEADER = "Qrmi-Lease"
"""In an answer about leases: which one it is about. A relay reads no more of it."""
REASON = "its batch step died"
_PAUSES_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""A broker that is being restarted is asked again."""
_CREDENTIALS = struct.Struct("3i")
_ASKING = "asking"
"""Of a request: the process that made it, and a pidfd of it."""

_log = log.logger(part="deathwatch")

Then = Callable[[], Coroutine[Any, Any, None]]


def attach(app: web.Application, admin_path: Path) -> None:
    """Let ``POST /v1/leases?watch=1`` of *app*, which is behind the socket *admin_path*, watch who asks."""
    watch, known = Deathwatch(), Watchlist(admin_path.with_name("watched"))

    async def tell(lease: str) -> None:
        if await _release(admin_path, lease):
            known.remove(lease)

    async def begin(request: web.Request, answer: web.StreamResponse) -> None:
        """Before a word of *answer* is sent: who reads it may be gone, and so may we."""
        lease = answer.headers.get(LEASE_HEADER)
        if lease is not None and _ASKING in request:
            pid, handle = request.pop(_ASKING)
            known.add(lease, pid)
            watch.add(handle, partial(tell, lease))

    @web.middleware
    async def watching(request: web.Request, handler: Handler) -> web.StreamResponse:
        is_wanted = request.method == "POST" and request.path == "/v1/leases" and request.query.get("watch") == "1"
        asking = _opened(request) if is_wanted else None
        if asking is None:
            return await handler(request)
        request[_ASKING] = asking
        try:
            answer = await handler(request)  # a relay sends it in there
            await begin(request, answer)
        finally:
            if _ASKING in request:
                os.close(request.pop(_ASKING)[1])
        return answer

    async def watch_on(_: web.Application) -> None:
        for lease, pid, handle in known.read():
            _log.info("death.watched_on", lease=lease, pid=pid, is_over=handle is None)
            if handle is None:
                watch.begin(partial(tell, lease))
            else:
                watch.add(handle, partial(tell, lease))

    async def close(_: web.Application) -> None:
        watch.close()

    app.middlewares.append(watching)
    app.on_response_prepare.append(begin)
    app.on_startup.append(watch_on)
    app.on_shutdown.append(close)


def _opened(request: web.Request) -> tuple[int, int] | None:
    """The process that connected, and a pidfd of it; None where it cannot be watched."""
    connection = request.get_extra_info("socket")
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid = int(_CREDENTIALS.unpack(raw)[0])  # 0: it lives in a pid namespace that we cannot see
    try:
        return (pid, os.pidfd_open(pid)) if pid else None
    except OSError as exc:
        _log.warning("death.unwatched", pid=pid, error=str(exc))
        return None


async def _release(admin_path: Path, lease: str) -> bool:
    """End the lease *lease*; nothing happens if it has ended. Whether the broker knows now."""
    for pause_s in _PAUSES_S:
        await asyncio.sleep(pause_s)
        with suppress(aiohttp.ClientError, OSError):
            connector = aiohttp.UnixConnector(str(admin_path))
            async with (
                aiohttp.ClientSession(connector=connector) as session,
                session.delete(f"http://qrmid/v1/leases/{lease}", params={"reason": REASON}) as answer,
            ):
                if answer.ok:
                    return True
    _log.warning("death.untold", lease=lease)
    return False


@define(eq=False)
class Deathwatch:
    """The processes whose end is waited for, each by a pidfd: a number that is used again deceives nobody."""

    _handles: set[int] = field(factory=set)
    _ending: set[asyncio.Future[None]] = field(factory=set)

    def add(self, handle: int, then: Then) -> None:
        """Call *then* when the process of the pidfd *handle* has ended; *handle* is ours from now on."""
        self._handles.add(handle)
        asyncio.get_running_loop().add_reader(handle, self._ended, handle, then)

    def begin(self, then: Then) -> None:
        """Call *then* at once: its process ended before."""
        ending = asyncio.ensure_future(then())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    def _ended(self, handle: int, then: Then) -> None:
        self._drop(handle)
        self.begin(then)

    def _drop(self, handle: int) -> None:
        self._handles.discard(handle)
        asyncio.get_running_loop().remove_reader(handle)
        os.close(handle)

    def close(self) -> None:
        """Watch nobody any longer."""
        for handle in list(self._handles):
            self._drop(handle)
        for ending in self._ending:
            ending.cancel()
