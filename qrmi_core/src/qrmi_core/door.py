"""The door to one vendor's REST service: authorised, with a deadline, repeated where that is safe, its errors ours.

It needs urllib3, which the extra ``qrmi-core[http]`` installs; it is imported with the first request.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlencode, urlsplit

from attrs import define, field, frozen

from qrmi_core.errors import UnexpectedReply, shown
from qrmi_core.log import Logger, logger
from qrmi_core.polling import Clock, SystemClock

if TYPE_CHECKING:
    import urllib3

MOST_BYTES = 1 << 28
"""Of an answer, unless a call says otherwise."""
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})

Headers = Mapping[str, str]


@frozen
class Body:
    """What a request carries; opened anew for each try, so that it may be large and lie in a file."""

    open: Callable[[], BinaryIO]
    size_bytes: int
    content_type: str = "application/octet-stream"

    @classmethod
    def of(cls, content: bytes, content_type: str = "application/octet-stream") -> Body:
        """*content*, which is in memory."""
        return cls(lambda: io.BytesIO(content), len(content), content_type)

    @classmethod
    def joined(cls, *parts: Body, content_type: str = "application/json") -> Body:
        """*parts*, one after the other, each read when it is sent."""
        return cls(lambda: io.BufferedReader(_Joined(parts)), sum(part.size_bytes for part in parts), content_type)

    @classmethod
    def json(cls, document: object) -> Body:
        """*document* as JSON."""
        return cls.of(json.dumps(document, separators=(",", ":")).encode(), "application/json")

    @classmethod
    def form(cls, fields: Mapping[str, str]) -> Body:
        """*fields* as a browser sends a form."""
        return cls.of(urlencode(fields).encode(), "application/x-www-form-urlencoded")


class _Joined(io.RawIOBase):
    def __init__(self, parts: Iterable[Body]) -> None:
        self._coming = iter(parts)
        self._stream: BinaryIO = io.BytesIO()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not (count := self._stream.readinto(buffer)):  # type: ignore[attr-defined]
            following = next(self._coming, None)
            if following is None:
                return 0
            self._stream.close()
            self._stream = following.open()
        return int(count)

    def close(self) -> None:
        self._stream.close()
        super().close()


@frozen
class Reply:
    """A service's answer of a status from 200 to 299, whole."""

    resource: str
    request: str
    """Method and path, for messages."""
    status: int
    headers: Headers
    content: bytes = field(repr=False)

    def json(self) -> Any:
        """The content as JSON.

        Raises:
            UnexpectedReply: it is not JSON.
        """
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError) as exc:
            words = shown(self.content[:200].decode(errors="replace"))
            raise UnexpectedReply(self.resource, f"{self.request} answered what is not JSON: {words!r}") from exc


@define(eq=False)
class Door:
    """Sends requests to one service. Any thread may call; connections are kept for the next call.

    Example::

        door = Door("ibm_fez", "https://api.example", authorise=Bearer(fetch_token))
        jobs = door.ask("GET", "/v1/jobs", query={"limit": "10"}).json()
    """

    resource: str
    """Its name, for messages."""
    base_url: str
    authorise: Callable[[Headers | None], Headers] | None = field(default=None, repr=False)
    """Returns the headers that authorise a request, such as a `Bearer`; called again with those that got status 401."""
    headers: Headers = field(factory=dict, repr=False)
    """Sent with every request."""
    deadline_s: float = 25.0
    """Of a call as a whole, all its tries and the pauses between them included."""
    connect_s: float = 5.0
    silence_s: float = 20.0
    """The longest that the service may send nothing."""
    tries: int = 4
    clock: Clock = field(factory=SystemClock, repr=False)
    """For the pauses between tries and the deadline of a call; what a connection takes is real time."""
    log: Logger = field(factory=logger, repr=False)
    connections: int = 64
    """How many are kept open."""
    ahead_s: float = field(default=0.0, init=False)
    """How much the service's clock is ahead of ours, by its last answer, to a second or two."""
    _pools: tuple[int, urllib3.PoolManager] | None = field(default=None, init=False, repr=False)
    """Of which process: a child must not speak on its parent's connections."""

    def __attrs_post_init__(self) -> None:
        self.base_url = self.base_url.rstrip("/")

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Body | None = None,
        headers: Headers | None = None,
        is_repeatable: bool | None = None,
        own: Collection[int] = (),
        deadline_s: float | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> Reply:
        """Send one request and return the whole answer.

        Args:
            method: in capitals.
            path: below the base URL, from its slash on, quoted.
            query: of the URL; it is in no message, because it may hold a signature.
            body: what is sent.
            headers: beside those of every request.
            is_repeatable: sending it twice does no more than sending it once. By default so for GET, HEAD, PUT and
                DELETE. What is not repeatable is sent again only where the service cannot have begun it: nobody
                listened, or it answered 401, 423 or 429.
            own: statuses that the caller deals with, such as 429: they are raised as RequestRefused at once.
            deadline_s: of this call.
            most_bytes: a longer answer is refused.

        Raises:
            RequestRefused: the service answered with another status from 400 on; what 404 means, the caller says.
            AuthenticationFailed: status 401, also with new headers.
            OutcomeUnknown: it is not repeatable and may have reached the service, which did not say what became of it.
            ResourceUnavailable: it cannot be reached or does not work, for all our tries. Nothing was done,
                unless it is repeatable: then it may have been, and asking again does no harm.
            UnexpectedReply: a redirection, or an answer longer than *most_bytes*.

        Any of them says with ``is_in_doubt`` that an earlier try may have been done.
        """
        from qrmi_core.exchange import Exchange

        exchange = Exchange(
            door=self,
            method=method,
            path=path,
            target=f"{self.base_url}{path}{'?' + urlencode(query) if query else ''}",
            body=body,
            headers={**self.headers, **(headers or {})},
            is_repeatable=method in _IDEMPOTENT if is_repeatable is None else is_repeatable,
            own=own,
            until=self.clock.monotonic() + (self.deadline_s if deadline_s is None else deadline_s),
            most_bytes=most_bytes,
        )
        return exchange.run()

    def close(self) -> None:
        """Close the kept connections; a later call opens new ones."""
        pools, self._pools = self._pools, None
        if pools is not None and pools[0] == os.getpid():
            pools[1].clear()

    def kept(self) -> urllib3.PoolManager:
        """The connections of this process."""
        pools = self._pools
        if pools is None or pools[0] != os.getpid():
            pools = self._pools = (os.getpid(), self.made())
        return pools[1]

    def made(self) -> urllib3.PoolManager:
        """New connections."""
        from qrmi_core import timed

        return timed.connections(self.base_url, self.connections)


def no_address(value: str) -> str | None:
    """Why *value* cannot be the address of a service, for a setting's check; None if it can."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "is no address; it starts with https:// or http://"
    if any(one.isspace() or not one.isprintable() for one in value):
        return "is no address; it has no spaces"
    try:
        _ = parts.port
    except ValueError:
        return "is no address; its port is a number up to 65535"
    return "must have no query" if parts.query or parts.fragment else None
