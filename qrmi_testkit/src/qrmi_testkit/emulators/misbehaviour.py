"""What a fault does to one request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from qrmi_testkit.emulators.faults import Fault
from qrmi_testkit.emulators.refusal import Refusal

FAULT: web.RequestKey[Fault] = web.RequestKey("fault", Fault)
_PIECES = 20
_CODES = {401: 1201, 408: 1337, 423: 1232, 429: 1232}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Errors = Callable[[Refusal], web.Response]
"""How a service writes an error."""


class Dropped(Exception):
    """The connection is gone; there is nobody to answer."""


async def misbehave(fault: Fault, request: web.Request, handler: Handler, errors: Errors) -> web.StreamResponse:
    """Let *handler* answer *request* as *fault* lets it.

    Raises:
        Dropped: the connection was dropped.
    """
    await asyncio.sleep(fault.latency_s)
    strikes = fault.drop or fault.status is not None
    if not strikes or fault.when == "after":
        response = await handler(request)
    if fault.drop:
        _drop(request)
    if fault.status is not None:
        response = _error(fault, fault.status, errors)
    if fault.drip_s or fault.truncate:
        assert isinstance(response, web.Response)
        await _send_badly(fault, request, response)
    return response


def _drop(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
    raise Dropped


def _error(fault: Fault, status: int, errors: Errors) -> web.Response:
    response = errors(Refusal(status, _CODES.get(status, 1337), f"The emulator was told to answer {status}."))
    if fault.body is not None:
        response = web.Response(status=status, text=fault.body)
    if fault.retry_after_s is not None:
        response.headers["Retry-After"] = str(fault.retry_after_s)
    return response


async def _send_badly(fault: Fault, request: web.Request, response: web.Response) -> None:
    """Send *response* slowly, or its first half only; then the connection ends."""
    content = response.body if isinstance(response.body, bytes) else b""
    sent = content[: len(content) // 2] if fault.truncate else content
    badly = web.StreamResponse(status=response.status, headers=response.headers)
    badly.content_length = len(content)
    await badly.prepare(request)
    size = max(1, -(-len(sent) // _PIECES))
    pieces = [sent[start : start + size] for start in range(0, len(sent), size)] or [b""]
    for piece in pieces:
        await asyncio.sleep(fault.drip_s / len(pieces))
        if piece:
            await badly.write(piece)
    if not fault.truncate:
        await badly.write_eof()
    if request.transport is not None:
        request.transport.close()
    raise Dropped
