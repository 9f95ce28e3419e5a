"""How the clients of a history ask: until they are answered, and every answer is written down."""

from __future__ import annotations

import http.client
import json
import threading
import time
from pathlib import Path
from typing import Any

from qrmi_core.client import Broker

from .record import Record

ANSWER_S = 60.0
"""Nothing takes longer, whatever happens to the broker meanwhile."""


class Socket:
    """Requests to one socket, each repeated until it is answered."""

    def __init__(self, path: Path, record: Record, up: threading.Event) -> None:
        self.path, self.record, self.up = path, record, up
        self._kept: http.client.HTTPConnection | None = None

    def ask(
        self, verb: str, method: str, path: str, body: bytes | None = None, headers: Any = None, **facts: Any
    ) -> Any:
        """The status and the document; both are on record, and every attempt that was not answered."""
        begun = time.monotonic()
        while time.monotonic() < begun + ANSWER_S:
            connection, self._kept = self._kept or self._connection(), None
            started = time.monotonic()
            try:
                connection.request(method, path, body, headers or {})
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                self.record.add("lost", verb=verb, begun=started, **facts)
                self.up.wait(1.0)
                time.sleep(0.01)
                continue
            self._kept = connection
            return self.told(verb, begun, answer.status, content, facts)
        self.record.add("unanswered", verb=verb, begun=begun, **facts)
        return 0, {}

    def ask_twice(self, verb: str, method: str, path: str, body: bytes, headers: Any = None, **facts: Any) -> Any:
        """The same on two connections at once, then once more for the answer."""
        begun = time.monotonic()
        pair = [self._connection(), self._connection()]
        for connection in pair:
            try:
                connection.request(method, path, body, headers or {})
            except (OSError, http.client.HTTPException):
                self.record.add("lost", verb=verb, begun=begun, **facts)
        for connection in pair:
            try:
                answer = connection.getresponse()
                self.told(verb, begun, answer.status, answer.read(), facts)
            except (OSError, http.client.HTTPException):
                self.record.add("lost", verb=verb, begun=begun, **facts)
            connection.close()
        return self.ask(verb, method, path, body, headers, **facts)

    def told(self, verb: str, begun: float, status: int, content: bytes, facts: dict[str, Any]) -> Any:
        try:
            found = json.loads(content) if content else {}
        except ValueError:
            found = {"text": content.decode(errors="replace")}
        self.record.add("answer", verb=verb, begun=begun, status=status, found=found, **facts)
        return status, found

    def _connection(self) -> http.client.HTTPConnection:
        return Broker(str(self.path)).connection()
