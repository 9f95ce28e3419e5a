"""The relay: the broker's two sockets on another node. It adds one thing to a request, who made it."""

from __future__ import annotations

import json
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from attrs import define
from multidict import CIMultiDict
from yarl import URL

from qrmi_broker import doors, munge
from qrmi_broker.asker import Asker
from qrmi_broker.munge import Munge, MungeError
from qrmi_broker.tls import Address
from qrmi_broker.voucher import HEADER, Voucher, digest, length_of
from qrmi_core import log
from qrmi_core.errors import BrokerUnavailable, shown

_CONNECT_S = 4.0
"""Name, connection and TLS together."""
_ANSWER_S = 3700.0
"""Between two pieces of an answer: longer than the longest wait that a request can ask for."""
_IDLE_S = 60.0
_LOST_S = 20
"""After so long without a sign of life from its host a connection to the broker is given up."""
_MOST_REFUSAL_BYTES = 4096

_OF_ONE_HOP = {
    *("connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer"),
    *("transfer-encoding", "upgrade", "expect", "host", "content-length", HEADER.lower()),
}

_log = log.logger(part="relay")


@define(eq=False)
class Relay:
    """Passes requests on to the broker. Nothing is kept: it may be killed and started again at any time."""

    broker: Address
    munge: Munge
    tls: ssl.SSLContext
    public_path: Path
    """The socket that jobs of this node are told."""
    _session: aiohttp.ClientSession | None = None
    _trouble: str | None = None
    """What was last said to be wrong, while it is."""

    async def start(self) -> None:
        """Get ready to connect; the broker need not be there yet."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_S, ssl=self.tls, socket_factory=_socket)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, connect=_CONNECT_S, sock_connect=_CONNECT_S, sock_read=_ANSWER_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )
        _log.info("relay.started", broker=str(self.broker))

    async def open(self, sockets: doors.Doors) -> None:
        """Listen. Who goes away before he has his answer ends his request to the broker, too."""
        apps = [doors.local(is_admin=is_admin) for is_admin in (False, True)]
        for app in apps:
            for method in ("GET", "HEAD", "POST", "DELETE"):
                app.router.add_route(method, "/{target:.*}", self._pass_on)
        await sockets.open(*apps, auto_decompress=False, handler_cancellation=True)

    async def stop(self) -> None:
        """Close the connections to the broker."""
        if self._session is not None:
            await self._session.close()
        _log.info("relay.stopped")

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on, and its answer back, both as they come.

        Raises:
            BrokerUnavailable: the broker cannot be reached, does not trust us, or we cannot vouch for anybody.
        """
        assert self._session is not None  # noqa: S101 - started before it listens
        asker: Asker = request["asker"]
        length = length_of(request)
        headers = _passed(request.headers)
        if length:
            headers["Content-Length"] = str(length)

        async def vouched(onward: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            # Runs for each attempt: aiohttp repeats an idempotent request whose kept connection turns out to be dead.
            voucher = Voucher(
                uid=asker.uid,
                is_admin=asker.is_admin,
                request=digest(onward.method, onward.url.raw_path_qs, length),
                socket_path=str(self.public_path),
            )
            onward.headers[HEADER] = await munge.soon(self.munge.encode, voucher.to_bytes())
            return await handler(onward)

        try:
            answer = await self._session.request(
                request.method,
                self._url(request),
                headers=headers,
                data=request.content if request.body_exists else None,
                allow_redirects=False,
                middlewares=(vouched,),
            )
        except MungeError as exc:
            raise self._unavailable("munged on this node cannot be asked to vouch for you", exc.text) from exc
        except (aiohttp.ClientError, TimeoutError) as exc:
            if request.content.exception() is not None:  # it is our client whose words broke off
                raise web.HTTPBadRequest(text="the content of the request cannot be read") from exc
            raise self._unavailable(f"the broker at {self.broker} cannot be reached", _words(exc)) from exc
        async with answer:
            if answer.status == 401:
                raise self._unavailable("the broker does not accept this node's relay", await _message(answer))
            if self._trouble is not None:
                _log.info("broker.reached", broker=str(self.broker))
                self._trouble = None
            return await _passed_back(request, answer)

    def _url(self, request: web.Request) -> URL:
        """Where the request goes: its path and query letter by letter, whatever host it names."""
        asked = request.rel_url
        return URL.build(
            scheme="https",
            host=self.broker.host,
            port=self.broker.port,
            path=asked.raw_path,
            query_string=asked.raw_query_string,
            encoded=True,
        )

    def _unavailable(self, what: str, cause: str) -> BrokerUnavailable:
        """The error; what is new about it is logged."""
        if self._trouble != what:
            _log.error("broker.unreachable", broker=str(self.broker), trouble=what, cause=cause)
            self._trouble = what
        return BrokerUnavailable("qrmid", f"{what} ({shown(cause, most=300)})")


async def _passed_back(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    passed = web.StreamResponse(status=answer.status, reason=answer.reason, headers=_passed(answer.headers))
    with suppress(KeyError, ValueError):
        passed.content_length = int(answer.headers["Content-Length"])
    await passed.prepare(request)
    try:
        async for chunk in answer.content.iter_any():
            await passed.write(chunk)
    except (aiohttp.ClientError, TimeoutError):
        _log.error("answer.broken", method=request.method, path=request.path)
        if request.transport is not None:  # an answer that just ended would look complete
            request.transport.abort()
        return passed
    await passed.write_eof()
    return passed


def _passed(headers: Any) -> CIMultiDict[str]:
    """The headers that are of the message, not of the connection it came by; never a voucher."""
    dropped = _OF_ONE_HOP | {word.strip().lower() for word in headers.get("Connection", "").split(",")}
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in dropped)


async def _message(answer: aiohttp.ClientResponse) -> str:
    """The sentence of a refusal."""
    try:
        return str(json.loads(await answer.content.read(_MOST_REFUSAL_BYTES))["message"])
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError):
        return f"status {answer.status}"


def _words(exc: Exception) -> str:
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return f"its certificate: {getattr(exc.certificate_error, 'verify_message', exc.certificate_error)}"
    inner = getattr(exc, "os_error", exc)
    return getattr(inner, "strerror", None) or str(inner) or type(inner).__name__


def _socket(address: Any) -> socket.socket:
    """A connection that notices when the broker's host is gone."""
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, _LOST_S // 2),
        (socket.TCP_KEEPINTVL, _LOST_S // 4),
        (socket.TCP_KEEPCNT, 2),
        (socket.TCP_USER_TIMEOUT, _LOST_S * 1000),
    ):
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made
