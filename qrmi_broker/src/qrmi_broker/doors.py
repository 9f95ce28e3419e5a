"""Where a daemon is asked: two local sockets, on which the kernel says who connects, and perhaps a TCP port."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from attrs import define, field

from qrmi_broker import admin, deathwatch, public
from qrmi_broker.answers import Handler, answering, elsewhere
from qrmi_broker.asker import Asker, Doorman
from qrmi_broker.broker import Broker
from qrmi_broker.tls import Address
from qrmi_broker.turns import Turns
from qrmi_core.errors import ConfigError

PUBLIC_MODE, ADMIN_MODE = 0o666, 0o600
_LONGEST_PATH = 107
_BACKLOG = 1024
"""Connections that wait to be accepted; asyncio would make it 100, and refuse a job beside 100 others."""
_STOP_S = 5.0
"""What is being answered then, is cut off: a long poll, or a payload that comes slowly."""
_HANDSHAKE_S = 10.0


def application(broker: Broker, socket_path: Path, *, is_admin: bool) -> web.Application:
    """The application behind one socket."""
    app = local(is_admin=is_admin)
    app[public.BROKER] = broker
    app[admin.SOCKET] = str(socket_path)
    app.add_routes(public.routes())
    app.add_routes(
        admin.routes() if is_admin else [web.route(one.method, one.path, elsewhere) for one in admin.routes()]
    )
    return app


def local(*, is_admin: bool) -> web.Application:
    """An empty application that knows who asks: ``request["asker"]``; users have their turns."""
    return web.Application(middlewares=[answering, _identified(is_admin)])


def _identified(is_admin: bool) -> Any:
    turns = Turns()

    @web.middleware
    async def identified(request: web.Request, handler: Handler) -> web.StreamResponse:
        door: Any = request.protocol
        request["asker"] = Asker(door.uid, is_admin=is_admin)
        if is_admin and door.uid not in (0, os.geteuid()):
            raise web.HTTPForbidden(text="this socket is for root and the broker's own user")
        if not is_admin:
            await turns.begin(door.uid)
        return await handler(request)

    return identified


@define(eq=False)
class Doors:
    """The open sockets of one daemon."""

    folder: Path
    """Where they lie: ``qrmi.sock`` and ``admin.sock``."""
    held: Counter[int] = field(factory=Counter)
    _servers: list[asyncio.Server] = field(factory=list)
    _runners: list[web.AppRunner] = field(factory=list)

    @property
    def public_path(self) -> Path:
        """For jobs."""
        return self.folder / "qrmi.sock"

    @property
    def admin_path(self) -> Path:
        """For Slurm and administrators."""
        return self.folder / "admin.sock"

    async def open(self, public_app: web.Application, admin_app: web.Application, **how: Any) -> None:
        """Listen on the sockets. One that a dead broker left is replaced.

        Args:
            public_app: behind the socket for jobs.
            admin_app: behind that for administrators.
            how: of each connection, as `aiohttp.web.RequestHandler` knows it; and ``handler_cancellation``.
        """
        ends_early = how.pop("handler_cancellation", False)
        deathwatch.attach(admin_app, self.admin_path)
        for path, app, mode in (
            (self.public_path, public_app, PUBLIC_MODE),
            (self.admin_path, admin_app, ADMIN_MODE),
        ):
            if len(os.fsencode(path)) > _LONGEST_PATH:
                raise OSError(f"{path} is longer than {_LONGEST_PATH} bytes: choose a shorter --run-dir")
            server = await self._server(app, handler_cancellation=ends_early)
            loop = asyncio.get_running_loop()
            factory = functools.partial(Doorman.of, self.held, server, loop, **how)
            self._servers.append(await loop.create_unix_server(factory, sock=_listener(path, mode), backlog=_BACKLOG))

    async def listen(
        self, app: web.Application, address: Address, context: ssl.SSLContext, made_by: Callable[[Any], Any]
    ) -> None:
        """Listen for other nodes; *made_by* makes the handler of a connection for the server it is given.

        Raises:
            ConfigError: the port is taken, or the address is none of ours.
        """
        factory = functools.partial(made_by, await self._server(app))
        try:
            listening = await asyncio.get_running_loop().create_server(
                factory, address.host, address.port, ssl=context, ssl_handshake_timeout=_HANDSHAKE_S, backlog=_BACKLOG
            )
        except OSError as exc:
            remedy = "Give an address of this host, and a port that nobody uses"
            raise ConfigError.one("--listen", "", f"{address}: {exc.strerror or exc}", remedy) from exc
        self._servers.append(listening)

    async def _server(self, app: web.Application, **how: Any) -> web.Server | None:
        runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=_STOP_S, **how)
        await runner.setup()
        self._runners.append(runner)
        return runner.server

    async def close(self) -> None:
        """Answer what was asked, for a while, and go."""
        for server in self._servers:
            server.close()
        for runner in self._runners:
            await runner.shutdown()
            await runner.cleanup()
        for path in (self.public_path, self.admin_path):
            path.unlink(missing_ok=True)


def _listener(path: Path, mode: int) -> socket.socket:
    """A socket that never has a wider mode than *mode*, put in the place of what was there in one step."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    before = os.umask(0o777 & ~mode)
    try:
        listener.bind(str(fresh))
    finally:
        os.umask(before)
    listener.listen(_BACKLOG)
    fresh.replace(path)
    return listener
