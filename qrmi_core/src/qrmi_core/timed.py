"""Connections on which nothing outlasts one moment: connecting, TLS, sending, and a reply that comes drop by drop.

A socket's timeout counts anew with every byte that arrives, so a service that sends one each second is never late. Here
the time that is left is set before each operation.
"""

from __future__ import annotations

import logging
import os
import socket
import ssl
import time
from contextvars import ContextVar
from typing import Any

import urllib3
from attrs import define
from urllib3.connection import HTTPConnection, HTTPSConnection

logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)  # below, it writes addresses with their signatures


@define(eq=False)
class Attempt:
    """One request on its way."""

    until: float
    """On `time.monotonic`: when it is given up."""
    silence_s: float
    """The longest that the service may send nothing."""
    is_sent: bool = False
    """Some of it may have reached the service."""

    def left_s(self) -> float:
        """For the next operation.

        Raises:
            TimeoutError: nothing is left.
        """
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        return min(left, self.silence_s)


ATTEMPT: ContextVar[Attempt] = ContextVar("ATTEMPT")
"""What this thread is sending."""


class _Timed:
    """Mixed into a kind of socket."""

    def recv(self, *args: Any) -> Any:
        self._hurry()
        return super().recv(*args)  # type: ignore[misc]

    def recv_into(self, *args: Any, **facts: Any) -> Any:
        self._hurry()
        return super().recv_into(*args, **facts)  # type: ignore[misc]

    def send(self, *args: Any) -> Any:
        self._hurry()
        return super().send(*args)  # type: ignore[misc]

    def sendall(self, *args: Any) -> Any:
        self._hurry()
        return super().sendall(*args)  # type: ignore[misc]

    def _hurry(self) -> None:
        if attempt := ATTEMPT.get(None):
            self.settimeout(attempt.left_s())  # type: ignore[attr-defined]


class _Socket(_Timed, socket.socket):
    """Without TLS."""


class _TLSSocket(_Timed, ssl.SSLSocket):
    """With TLS."""


class _Noting:
    """Mixed into a connection of urllib3: its socket is timed, and it notes when the first byte is about to leave."""

    timeout: Any
    sock: Any

    def _new_conn(self) -> socket.socket:
        attempt = ATTEMPT.get()
        self.timeout = min(self.timeout, attempt.left_s())
        plain = super()._new_conn()  # type: ignore[misc]
        timeout, timed = plain.gettimeout(), _Socket(fileno=plain.detach())
        timed.settimeout(timeout)
        return timed

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()  # type: ignore[attr-defined]
        ATTEMPT.get().is_sent = True
        super().send(data)  # type: ignore[misc]


class _Connection(_Noting, HTTPConnection):
    pass


class _TLSConnection(_Noting, HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


def connections(url: str, most: int) -> urllib3.PoolManager:
    """A pool of at most *most* kept connections to *url*, through the proxy that the environment names for it."""
    parts = urllib3.util.parse_url(url)
    facts: dict[str, Any] = {"maxsize": most, "retries": False}
    if parts.scheme == "https":
        facts["ssl_context"] = _tls()
    proxy = _proxy(parts.scheme or "", parts.host or "")
    pools = urllib3.ProxyManager(proxy, **facts) if proxy else urllib3.PoolManager(**facts)
    pools.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}
    return pools


def _proxy(scheme: str, host: str) -> str | None:
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from urllib.request import getproxies, proxy_bypass

    return None if proxy_bypass(host) else getproxies().get(scheme)


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.sslsocket_class = _TLSSocket
    return context
