"""The two local sockets: who connects is told by the kernel, and what goes wrong becomes an answer."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from attrs import define, field

from qrmi_broker import admin, public
from qrmi_broker.asker import Asker, Doorman
from qrmi_broker.broker import Broker
from qrmi_core import log, protocol
from qrmi_core.errors import QrmiError
from qrmi_core.redaction import mask

PUBLIC_MODE, ADMIN_MODE = 0o666, 0o600
_LONGEST_PATH = 107
_STOP_S = 5.0

_log = log.logger(part="doors")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(broker: Broker, socket_path: Path, *, is_admin: bool) -> web.Application:
    """The application behind one socket."""
    app = web.Application(middlewares=[_answering, _identified(is_admin)])
    app[public.BROKER] = broker
    app[admin.SOCKET] = str(socket_path)
    app.add_routes(public.routes())
    if is_admin:
        app.add_routes(admin.routes())
    return app


def _identified(is_admin: bool) -> Any:
    @web.middleware
    async def identified(request: web.Request, handler: _Handler) -> web.StreamResponse:
        door: Any = request.protocol
        request["asker"] = Asker(door.uid, is_admin=is_admin)
        if is_admin and door.uid not in (0, os.geteuid()):
            raise web.HTTPForbidden(text="this socket is for root and the broker's own user")
        return await handler(request)

    return identified


@web.middleware
async def _answering(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """What is raised on purpose is an answer; anything else is a fault of ours, and says no more than that."""
    try:
        return await handler(request)
    except QrmiError as exc:
        document = protocol.document_of(exc)
        return _json(document, protocol.status_of(exc))
    except web.HTTPException as exc:
        return _json({"error": "HTTPError", "facts": [], "message": exc.text or exc.reason}, exc.status)
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception as exc:  # noqa: BLE001 - the last door
        _log.error("request.failed", method=request.method, path=request.path, exc_info=exc)
        return _json({"error": "QrmiError", "facts": ["qrmid: a fault of the broker; see its log"]}, 500)


def _json(document: dict[str, Any], status: int) -> web.Response:
    return web.Response(text=mask(json.dumps(document)), status=status, content_type="application/json")


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

    async def open(self, public_app: web.Application, admin_app: web.Application) -> None:
        """Listen. A socket that a dead broker left is replaced."""
        for path, app, mode in (
            (self.public_path, public_app, PUBLIC_MODE),
            (self.admin_path, admin_app, ADMIN_MODE),
        ):
            if len(os.fsencode(path)) > _LONGEST_PATH:
                raise OSError(f"{path} is longer than {_LONGEST_PATH} bytes: choose a shorter --run-dir")
            runner = web.AppRunner(app, access_log=None, handle_signals=False)
            await runner.setup()
            self._runners.append(runner)
            listener = _listener(path, mode)
            server = runner.server
            loop = asyncio.get_running_loop()
            factory = functools.partial(Doorman.of, self.held, server, loop)
            self._servers.append(await loop.create_unix_server(factory, sock=listener))

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
    listener.listen(1024)
    fresh.replace(path)
    return listener
