"""What goes wrong becomes an answer: every door's last word, in the form that the client reads errors in."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import http_exceptions, web

from qrmi_core import log, protocol
from qrmi_core.errors import AuthorizationRefused, QrmiError, shown
from qrmi_core.redaction import mask

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = log.logger(part="doors")


class _NoBytes(logging.Filter):
    """Drops complaints about what is no HTTP: they show the bytes, and a token or a credential may be among them."""

    def filter(self, record: logging.LogRecord) -> bool:
        cause = record.exc_info[1] if record.exc_info else None
        return not isinstance(cause, http_exceptions.HttpProcessingError)


LOGGER = logging.getLogger("qrmi_broker.http")
"""What aiohttp complains to, at every door."""
LOGGER.addFilter(_NoBytes())


@web.middleware
async def answering(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What is raised on purpose is an answer; anything else is a fault of ours, and says no more than that."""
    try:
        return await handler(request)
    except QrmiError as exc:
        if wants_lines(request):
            return as_line(exc.sentence(), protocol.status_of(exc))
        return as_json(protocol.document_of(exc), protocol.status_of(exc))
    except web.HTTPException as exc:
        if wants_lines(request):
            return as_line(exc.text or exc.reason, exc.status)
        return sentence(exc.status, exc.text or exc.reason)
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception as exc:  # noqa: BLE001 - the last door
        _log.error("request.failed", method=request.method, path=request.path, exc_info=exc)
        fault = QrmiError("qrmid: a fault of the broker; see its log")
        return as_line(fault.sentence(), 500) if wants_lines(request) else as_json(protocol.document_of(fault), 500)


async def elsewhere(request: web.Request) -> web.Response:
    """On a socket for jobs, where administrators' questions are answered. It does not depend on what there is."""
    where = "this is answered on the administrators' socket, admin.sock, to root and the broker's own user"
    refusal = AuthorizationRefused("qrmid", where)
    return as_line(refusal.sentence(), 404) if wants_lines(request) else as_json(protocol.document_of(refusal), 404)


def wants_lines(request: web.Request) -> bool:
    """Whether it is Slurm's plugin that asks: it reads lines, and no JSON."""
    return request.path.startswith("/v1/leases") and "text/plain" in request.headers.get("Accept", "")


def as_line(text: str, status: int) -> web.Response:
    """What went wrong, as the plugin reads it."""
    return web.Response(text=f"error {mask(shown(mask(text), most=194))}\n", status=status)


def sentence(status: int, text: str) -> web.Response:
    """An answer that HTTP has a status for, and we no error of its own."""
    error = protocol.refusal(status, text)
    return as_json({**protocol.document_of(error), "message": error.detail}, status)


def as_json(document: dict[str, Any], status: int = 200, **how: Any) -> web.Response:
    """*document*, without what looks like a secret."""
    return web.Response(text=mask(json.dumps(document)), status=status, content_type="application/json", **how)
