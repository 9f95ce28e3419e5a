"""The broker's door for relays: only what a MUNGE credential of theirs vouches for comes in, and only as that user."""

from __future__ import annotations

import asyncio
import os
import pwd
import time
from collections import Counter
from pathlib import Path
from typing import Any

from aiohttp import web
from attrs import define, field

from qrmi_broker import admin, asker, munge, public
from qrmi_broker.answers import LOGGER, Handler, answering, elsewhere, sentence
from qrmi_broker.asker import Asker
from qrmi_broker.broker import Broker
from qrmi_broker.munge import CredentialRefused, Munge, MungeUnavailable
from qrmi_broker.turns import Turns
from qrmi_broker.voucher import HEADER, Voucher, digest, length_of
from qrmi_core import log
from qrmi_core.errors import BrokerUnavailable, ConfigError, ResourceUnavailable

_PROVE_S = 5.0
"""How long a connection may stay without one request that is vouched for."""
_SAY_EVERY_S = 1.0

_log = log.logger(part="remote")


class _Refused(Exception):
    """The request is not vouched for; says why, in one sentence."""


def application(broker: Broker, socket_path: Path, gate: Gate) -> web.Application:
    """All routes, for who is vouched for; those of administrators for who came in by a relay's admin socket."""
    app = web.Application(middlewares=[answering, gate.middleware()])
    app[public.BROKER] = broker
    app[admin.SOCKET] = str(socket_path)
    app.add_routes(public.routes())
    app.add_routes(admin.routes())
    return app


def trusted(name: str | None) -> frozenset[int]:
    """The uids that relays may run as: root, the broker's own, and that of the user *name*.

    Raises:
        ConfigError: there is no such user.
    """
    found = {0, os.geteuid()}
    if name is not None:
        try:
            found.add(pwd.getpwnam(name).pw_uid)
        except KeyError:
            remedy = "Name the user that the relays run as"
            raise ConfigError.one("--relay-user", "", f"there is no user {name!r}", remedy) from None
    return frozenset(found)


class Caller(web.RequestHandler):
    """A connection from another node. Who does not show in time that he is a relay is cut off."""

    @classmethod
    def of(cls, server: Any) -> Caller:
        """Made by the loop for each connection."""
        return cls(server, loop=asyncio.get_running_loop(), lingering_time=asker.LINGER_S, logger=LOGGER)

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._patience = asyncio.get_running_loop().call_later(_PROVE_S, transport.abort)

    def prove(self) -> None:
        """One of its requests was vouched for."""
        self._patience.cancel()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._patience.cancel()
        super().connection_lost(exc)


@define(eq=False)
class Gate:
    """Decides which requests come in. Neither a credential nor a token is ever in its words."""

    munge: Munge
    relays: frozenset[int]
    """The uids that relays run as."""
    _busy: Counter[int] = field(factory=Counter)
    _turns: Turns = field(factory=Turns)
    _refused: int = 0
    _said_at: float = -_SAY_EVERY_S

    def middleware(self) -> Any:
        """Of an application, right behind `answering`."""
        known_to_jobs = {route.handler for route in public.routes()}
        known_to_admins = {route.handler for route in admin.routes()}

        @web.middleware
        async def vouched(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                voucher = await self._voucher(request)
            except _Refused as exc:
                self._say(request, str(exc))
                refusal = sentence(401, f"this request is not vouched for by a relay: {exc}")
                refusal.force_close()
                return refusal
            caller: Any = request.protocol
            caller.prove()
            request["asker"] = Asker(voucher.uid, is_admin=voucher.is_admin)
            request["socket_path"] = voucher.socket_path
            handles = request.match_info.handler
            if not voucher.is_admin and handles not in known_to_jobs:
                if handles in known_to_admins:
                    return await elsewhere(request)
                raise web.HTTPNotFound
            return await self._counted(voucher.uid, request, handler)

        return vouched

    async def _voucher(self, request: web.Request) -> Voucher:
        """What vouches for *request*.

        Raises:
            _Refused: nothing does.
            BrokerUnavailable: `munged` cannot be asked.
        """
        given = request.headers.getall(HEADER, [])
        if len(given) != 1:
            raise _Refused("it has no credential" if not given else "it has several credentials")
        try:
            decoded = await munge.soon(self.munge.decode, given[0])
        except CredentialRefused as exc:
            raise _Refused(str(exc)) from exc
        except MungeUnavailable as exc:
            _log.error("munge.unavailable", status=exc.status, text=exc.text)
            raise BrokerUnavailable("qrmid", "the broker cannot ask munged on its host who vouches for this") from exc
        if decoded.uid not in self.relays:
            raise _Refused(f"its credential was made by user {decoded.uid}, who is no relay")
        try:
            voucher = Voucher.of(decoded.payload)
        except ValueError as exc:
            raise _Refused(str(exc)) from exc
        if voucher.request != digest(request.method, request.raw_path, length_of(request)):
            raise _Refused("its credential was made for another request")
        return voucher

    async def _counted(self, uid: int, request: web.Request, handler: Handler) -> web.StreamResponse:
        if uid != 0 and self._busy[uid] >= asker.REMOTE_REQUESTS:
            raise ResourceUnavailable("qrmid", f"you have {asker.REMOTE_REQUESTS} requests under way")
        self._busy[uid] += 1
        try:
            await self._turns.begin(uid)
            return await handler(request)
        finally:
            self._busy[uid] -= 1
            if not self._busy[uid]:
                del self._busy[uid]

    def _say(self, request: web.Request, why: str) -> None:
        """Log a refusal; of many in a second the first, with the number of those before it that were not said."""
        now = time.monotonic()
        if now - self._said_at < _SAY_EVERY_S:
            self._refused += 1
            return
        _log.warning("request.refused", peer=request.remote, reason=why, unsaid=self._refused)
        self._said_at, self._refused = now, 0
