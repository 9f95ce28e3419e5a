"""Watching the process for which a lease is asked: of a batch step that dies by force Slurm says so a minute later.

It lives behind the administrators' socket of broker and relay alike, because only there the kernel knows the process,
and ends the lease by that same socket. Who is watched is written down beside the sockets, for the next start.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from aiohttp import web
from attrs import define, field

from qrmi_broker.answers import Handler
from qrmi_broker.asker import peer_of
from qrmi_broker.watchlist import Watchlist
from qrmi_core import log
from qrmi_core.errors import PayloadError

LEASE_HEADER = "Qrmi-Lease"
"""In an answer about leases: which one it is about. A relay reads no more of it."""
REASON = "its batch step died"
_PAUSES_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""A broker that is being restarted is asked again."""
_PARENT = re.compile(r"(\d{1,9}):(\d{1,9})", re.ASCII)
"""A child asks for its parent: their numbers, of which the kernel tells us the first, too."""
_WATCHED = "watched"
"""Of a request: the number of the process whose end is that of the lease, and a pidfd, or None if it has ended."""

_log = log.logger(part="deathwatch")

_T = TypeVar("_T")
Then = Callable[[], Coroutine[Any, Any, None]]


def attach(app: web.Application, admin_path: Path) -> None:
    """Let ``POST /v1/leases?watch=1`` of *app*, which is behind the socket *admin_path*, watch who asks.

    With ``watch=PID:PARENT`` it is the parent of who asks.
    """
    watch, known = Deathwatch(), Watchlist(admin_path.with_name("watched"))

    async def tell(lease: str) -> None:
        if await _release(admin_path, lease):
            known.remove(lease)

    async def begin(request: web.Request, answer: web.StreamResponse) -> None:
        """Before a word of *answer* is sent: who reads it may be gone, and so may we."""
        lease = answer.headers.get(LEASE_HEADER)
        if lease is not None and _WATCHED in request:
            pid, handle = request.pop(_WATCHED)
            known.add(lease, pid)
            if handle is None:
                watch.begin(partial(tell, lease))
            else:
                watch.add(handle, partial(tell, lease))

    async def answer_watched(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            answer = await handler(request)  # a relay sends it in there
            await begin(request, answer)
        finally:
            _, handle = request.pop(_WATCHED, (0, None))
            if handle is not None:
                os.close(handle)
        return answer

    @web.middleware
    async def watching(request: web.Request, handler: Handler) -> web.StreamResponse:
        is_asked_for = request.method == "POST" and request.path == "/v1/leases" and "watch" in request.query
        watched = _opened(request) if is_asked_for else None
        if watched is None:
            return await handler(request)
        request[_WATCHED] = watched
        return await watch.to_its_end(answer_watched(request, handler))

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


def _opened(request: web.Request) -> tuple[int, int | None] | None:
    """Who is to be watched, and a pidfd, None if he has ended; None where nobody is, or nobody can be."""
    pid = _wanted(request)
    try:
        return (pid, os.pidfd_open(pid)) if pid else None
    except ProcessLookupError:
        return pid, None
    except OSError as exc:
        _log.warning("death.unwatched", pid=pid, error=str(exc))
        return None


def _wanted(request: web.Request) -> int:
    """The number of the process to be watched; 0: none."""
    asker, _ = peer_of(request.get_extra_info("socket"))
    text = request.query["watch"]
    if text == "1":
        return asker
    both = _PARENT.fullmatch(text)
    if both is None:
        raise PayloadError("watch", "", "is neither 1 nor PID:PARENT", "Give the asker's number and its parent's")
    if int(both[1]) == asker:
        return int(both[2])
    error = "who asks is in another pid namespace: the lease ends with its job, and not with its batch step's death"
    _log.warning("death.unwatched", pid=asker, watch=text, error=error)
    return 0


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
    _going_on: set[asyncio.Task[Any]] = field(factory=set)

    def add(self, handle: int, then: Then) -> None:
        """Call *then* when the process of the pidfd *handle* has ended; *handle* is ours from now on."""
        self._handles.add(handle)
        asyncio.get_running_loop().add_reader(handle, self._ended, handle, then)

    def begin(self, then: Then) -> None:
        """Call *then* at once: its process ended before."""
        self._kept(then())

    async def to_its_end(self, answering: Coroutine[Any, Any, _T]) -> _T:
        """Await *answering*, which goes on when whoever waits for it is gone: its lease must be known, to be ended."""
        task = self._kept(answering)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody else is to be told of it
        return await asyncio.shield(task)

    def _kept(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.create_task(work)
        self._going_on.add(task)
        task.add_done_callback(self._going_on.discard)
        return task

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
        for task in self._going_on:
            task.cancel()
