"""A service on loopback that answers as a test says, request by request, and writes down what it was asked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from attrs import frozen

Answer = Callable[["Handler"], None]


@frozen
class Request:
    """What was asked; *client* is the connection's other end."""

    method: str
    path: str
    headers: Any
    body: bytes
    client: tuple[str, int]


class Handler(BaseHTTPRequestHandler):
    """Reads a request and hands itself to the next answer of the script; the last one answers all that follow."""

    protocol_version = "HTTP/1.1"
    timeout = 30
    server: Any

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:  # a client that gave up
            self.close_connection = True

    def _any(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        with self.server.lock:
            self.server.requests.append(Request(self.command, self.path, self.headers, body, self.client_address))
            answer = self.server.script.pop(0) if len(self.server.script) > 1 else self.server.script[0]
        answer(self)

    do_GET = do_POST = do_PUT = do_DELETE = _any

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class Service(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.requests: list[Request] = []
        self.script: list[Answer] = [saying(200, b"{}")]
        self.ended = threading.Event()
        """Set with the end of the test: what hangs, hangs no longer."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        """A client that gave up is no error."""


def saying(status: int, body: bytes = b"", **headers: str) -> Answer:
    """Answers so."""
    return lambda handler: handler.answer(status, body, **headers)


def hanging_up(handler: Handler) -> None:
    """Closes the connection without a word."""
    handler.close_connection = True


def silent(handler: Handler) -> None:
    """Says nothing, and does not close."""
    handler.server.ended.wait(30)
    handler.close_connection = True


def cut_off(handler: Handler) -> None:
    """Promises more than it sends."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    handler.close_connection = True


def cut_off_in_chunks(handler: Handler) -> None:
    """The same, of a body whose length it does not tell."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    handler.close_connection = True


def dripping(start: bytes) -> Answer:
    """After *start*, a byte every now and then."""

    def drip(handler: Handler) -> None:
        handler.wfile.write(start)
        while not handler.server.ended.wait(0.05):
            handler.wfile.write(b"x")

    return drip
