"""S3-compatible storage: moto's server, behind a door that checks what moto does not.

The door refuses an unknown access key and a presigned URL that has expired, counts requests, and misbehaves on demand.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from aiohttp import ClientSession, web
from attrs import define, field
from yarl import URL

from qrmi_testkit.emulators.clock import Clock
from qrmi_testkit.emulators.refusal import Refusal

_DATE = "%Y%m%dT%H%M%SZ"
_WEEK_S = 7 * 24 * 3600
_CODES = {401: "AccessDenied", 403: "AccessDenied", 408: "RequestTimeout", 429: "SlowDown", 500: "InternalError"}
_PER_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "date", "server", "expect"}


def expired_s(url: str, now_s: float) -> float | None:
    """For how many seconds the presigned *url* has been out of date; None if it is good.

    It may be signed in version 4 (``X-Amz-Date`` and ``X-Amz-Expires``) or 2 (``Expires``).
    """
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    try:
        if "X-Amz-Expires" in query:
            signed = datetime.strptime(query["X-Amz-Date"], _DATE).replace(tzinfo=UTC).timestamp()
            ends_s = signed + min(int(query["X-Amz-Expires"]), _WEEK_S)
        elif "Expires" in query:
            ends_s = float(query["Expires"])
        else:
            return None
    except (KeyError, ValueError):
        return 0.0
    return now_s - ends_s if now_s >= ends_s else None


@define
class Storage:
    """The storage of one emulator: one bucket, one access key."""

    bucket: str = field(factory=lambda: f"qrmi-{uuid.uuid4().hex[:12]}")
    region: str = "us-east-1"
    access_key: str = field(factory=lambda: f"EMULATED{uuid.uuid4().hex[:12].upper()}")
    secret_key: str = field(factory=lambda: f"canary-s3-{uuid.uuid4().hex}", repr=False)
    clock: Clock = field(factory=Clock)
    _session: ClientSession | None = None
    _behind: str = ""
    _server: Any = None

    async def open(self, clock: Clock) -> None:
        """Start moto, and make the bucket. From now on *clock* tells when a URL has expired."""
        self.clock = clock
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):  # moto computes with them; nobody is asked
            os.environ.setdefault(name, "unused")
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self._behind = f"http://{host}:{port}"
        self._session = ClientSession(auto_decompress=False)
        async with self._session.put(f"{self._behind}/{self.bucket}") as reply:
            reply.raise_for_status()

    async def close(self) -> None:
        """End moto."""
        if self._session is not None:
            await self._session.close()
        if self._server is not None:
            self._server.stop()

    def routes(self) -> Iterable[web.RouteDef]:
        """Its routes; the region of the bucket is the only thing that has a query but no object."""
        yield web.route("*", "/{bucket}", self.passed_on)
        yield web.route("*", "/{bucket}/{key:.*}", self.passed_on)

    async def passed_on(self, request: web.Request) -> web.StreamResponse:
        """Let moto answer."""
        assert self._session is not None
        if (late_s := expired_s(str(request.url), self.clock.now())) is not None:
            return _refused(403, "AccessDenied", f"Request has expired, {late_s:.0f} s ago")
        if not self._is_known(request):
            return _refused(403, "InvalidAccessKeyId", "The access key does not exist in our records")
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _PER_HOP}
        content = await request.read()
        url = URL(self._behind + request.raw_path, encoded=True)
        async with self._session.request(
            request.method, url, data=content, headers=headers, skip_auto_headers=("Content-Type",)
        ) as reply:
            kept = {name: value for name, value in reply.headers.items() if name.lower() not in _PER_HOP}
            body = await reply.read()
            if request.method == "HEAD" and "Content-Length" in reply.headers:
                kept["Content-Length"] = reply.headers["Content-Length"]
            return web.Response(status=reply.status, body=body, headers=kept)

    def _is_known(self, request: web.Request) -> bool:
        given = request.headers.get("Authorization", "")
        for name in ("X-Amz-Credential", "AWSAccessKeyId"):
            given += request.query.get(name, "")
        return self.access_key in given

    @staticmethod
    def error(refused: Refusal) -> web.Response:
        """How it writes an error."""
        return _refused(refused.status, _CODES.get(refused.status, "ServiceUnavailable"), refused.message)

    def objects(self) -> list[str]:
        """The keys of what lies in the bucket now. It blocks, so it is not for the emulator's own thread."""
        with urlopen(f"{self._behind}/{self.bucket}?list-type=2", timeout=30) as reply:  # noqa: S310 - our own server
            listed = ElementTree.fromstring(reply.read())  # noqa: S314 - our own server's
        return [one.text or "" for one in listed.iter() if one.tag.rpartition("}")[2] == "Key"]


def _refused(status: int, code: str, message: str) -> web.Response:
    text = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return web.Response(status=status, text=text, content_type="application/xml")
