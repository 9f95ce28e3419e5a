"""A resource behind the broker: the verbs of QRMI as requests to a socket. No vendor's library, no credential."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any
from urllib.parse import quote, urlencode

from attrs import define, evolve, field, frozen

from qrmi_core import log, protocol, variables
from qrmi_core.backend import CONTRACT, Backend, Context, QuantumResource
from qrmi_core.declarations import settings
from qrmi_core.errors import BrokerUnavailable, TaskNotFound, UnexpectedReply
from qrmi_core.host import Hosted, Opening, load_settings, open_resource, state_dir
from qrmi_core.models import AcquireRequest, TaskPlan, TaskState, TaskStatus, Usage
from qrmi_core.payload import Payload
from qrmi_core.polling import Clock, SystemClock
from qrmi_core.unixhttp import AT_ONCE_BYTES, Connection

_TASK_ID = re.compile("[0-9A-Za-z_-]{1,64}")


@settings(prefix=variables.BROKER_SUFFIX)
class _NoSettings:
    """What a resource behind the broker needs to know, the broker knows."""


@define(eq=False)
class Broker:
    """The broker or relay behind one socket. Any thread may call; connections are kept for the next call."""

    socket_path: str
    resource: str = "qrmid"
    """For messages."""
    token: str | None = field(default=None, repr=False)
    _idle: list[Connection] = field(factory=list, repr=False)
    _pid: int = field(factory=os.getpid, repr=False)
    """Whose the kept connections are: a process that was forked would read the answers of another."""

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: IO[bytes] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Send one request and return what came back.

        Raises:
            BrokerUnavailable: nobody answers. Whether it was heard is not known; with the same key, ask again.
            QrmiError: what the broker says is wrong.
        """
        sent = dict(headers or {})
        if self.token is not None:
            sent["Authorization"] = f"Bearer {self.token}"
        for connection in [*self._taken(), Connection(self.socket_path)]:
            is_kept = connection.sock is not None
            try:
                if body is not None and not isinstance(body, bytes):
                    body.seek(0)
                connection.request(method, path, body=body, headers=sent)
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException) as exc:
                connection.close()
                if is_kept:  # the broker had closed it, or was restarted
                    continue
                cause = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
                raise BrokerUnavailable(self.resource, f"nobody answers on {self.socket_path} ({cause})") from exc
            self._idle.append(connection)
            if answer.status >= 400:
                raise protocol.error_of(_json_or_text(content), self.resource, answer.status)
            return content
        raise AssertionError("unreachable")

    def ask_json(self, method: str, path: str, **facts: Any) -> Any:
        """The same, where the answer is JSON."""
        return _json(self.ask(method, path, **facts), self.resource)

    def connection(self) -> http.client.HTTPConnection:
        """A new connection, for who wants the bare answer."""
        return Connection(self.socket_path)

    def close(self) -> None:
        """Close the kept connections."""
        while taken := self._taken():
            taken[0].close()

    def _taken(self) -> list[Connection]:
        if self._pid != os.getpid():
            self._idle, self._pid = [], os.getpid()
        with suppress(IndexError):
            return [self._idle.pop()]
        return []


@frozen(eq=False)
class _Facts:
    type: str
    payloads: tuple[str, ...]
    settings: Mapping[str, str]


class BrokerResource(QuantumResource):
    """One resource, with a lease, behind the broker."""

    concurrent = True

    def __init__(self, ctx: Context, broker: Broker) -> None:
        super().__init__(ctx)
        self._broker = broker
        self._path = f"/v1/resources/{quote(ctx.name, safe='')}"
        self._come: tuple[str | None, bytes] = (None, b"")
        """The last small result that came with the end of its task, and whose it is."""

    def task_start(self, payload: Payload, *, key: str) -> str:
        found = self._send(payload, f"{self._path}/tasks", {protocol.KEY_HEADER: quote(key)})
        return str(found["id"])

    def task_plan(self, payload: Payload) -> TaskPlan:
        plan = self._send(payload, f"{self._path}/plan", {})
        return TaskPlan(**{**plan, "notes": tuple(plan["notes"])})

    def _send(self, payload: Payload, path: str, headers: Mapping[str, str]) -> Any:
        with payload.open() as stream:
            content = self._broker.ask(
                "POST",
                path,
                body=stream.read() if payload.size_bytes <= AT_ONCE_BYTES else stream,
                headers={
                    "Content-Type": "application/octet-stream",
                    "Content-Length": str(payload.size_bytes),
                    protocol.KIND_HEADER: quote(payload.kind),
                    protocol.SOURCE_HEADER: quote(payload.source),
                    **headers,
                },
            )
        return _json(content, self.ctx.name)

    def _of(self, task_id: str) -> str:
        if not _TASK_ID.fullmatch(task_id):
            raise TaskNotFound(self.ctx.name, task_id)
        return f"/v1/tasks/{task_id}"

    def acquire(self, request: AcquireRequest) -> str:
        """The session is the job's lease, which somebody else gave it, and will end."""
        return self.ctx.acquisition_token or super().acquire(request)

    def task_status(self, task_id: str) -> TaskState:
        return _state(self._task(task_id, 0.0), self.ctx.name)

    def task_wait(self, task_id: str, timeout_s: float) -> TaskState:
        clock = self.ctx.clock
        deadline = clock.monotonic() + timeout_s
        while True:
            left = max(0.0, deadline - clock.monotonic())
            found = self._task(task_id, min(left, protocol.MOST_WAIT_S))
            state = _state(found, self.ctx.name)
            if "result" in found and found.get("id") == task_id:
                self._come = (task_id, _decoded(found["result"], self.ctx.name))
            if state.status.is_terminal or left <= protocol.MOST_WAIT_S:
                return state

    def _task(self, task_id: str, wait_s: float) -> Any:
        query = f"?{urlencode({'wait_s': f'{wait_s:g}', 'result': 1})}" if wait_s else ""
        return self._broker.ask_json("GET", f"{self._of(task_id)}{query}")

    def task_stop(self, task_id: str) -> None:
        self._broker.ask("DELETE", self._of(task_id))

    def task_result(self, task_id: str) -> bytes:
        whose, result = self._come
        return result if whose == task_id else self._broker.ask("GET", f"{self._of(task_id)}/result")

    def task_logs(self, task_id: str) -> str:
        return self._broker.ask("GET", f"{self._of(task_id)}/logs").decode(errors="replace")

    def task_usage(self, task_id: str) -> Usage:
        return Usage(qpu_s=float(self._broker.ask_json("GET", f"{self._of(task_id)}/usage")["qpu_s"]))

    def find_task(self, key: str) -> str | None:
        found = self._broker.ask_json("GET", f"{self._path}/tasks?{urlencode({'key': key})}")["id"]
        return None if found is None else str(found)

    def is_accessible(self) -> bool:
        return bool(self._broker.ask_json("GET", f"{self._path}?check=1")["is_accessible"])

    def target(self) -> str:
        return self._broker.ask("GET", f"{self._path}/target").decode()

    def metadata(self) -> dict[str, str]:
        found = self._broker.ask_json("GET", f"{self._path}/metadata")
        return {str(name): str(value) for name, value in found.items()}

    def close(self) -> None:
        self._broker.close()


def socket_here(environ: Mapping[str, str] = os.environ) -> str | None:
    """The socket of the broker that this process can reach, if there is one: the job's, or this node's."""
    found = [value for name, value in environ.items() if name.endswith(f"_{variables.BROKER_SUFFIX}") and value]
    chosen = environ.get(variables.BROKER_SOCKET) or next(iter(found), protocol.SOCKET)
    return chosen if os.path.exists(chosen) or variables.BROKER_SOCKET in environ else None


def tasks_at(socket_path: str) -> BrokerResource:
    """The user's tasks at the broker, whichever resource they ran on. No lease is needed to look at them."""
    ctx = Context(
        name="qrmid",
        type="broker",
        settings=_NoSettings(),
        log=log.logger(),
        clock=SystemClock(),
        state_dir=state_dir("qrmid"),
    )
    return BrokerResource(ctx, Broker(socket_path))


def open_brokered(opening: Opening, clock: Clock | None = None) -> Hosted:
    """Open a resource whose job has a lease with the broker.

    A variable of the user's own, one that differs from what the broker says, means that the job opens the resource
    itself, with the user's settings only: then neither the broker nor any credential of the site is used.

    Raises:
        BrokerUnavailable: nobody answers on its socket.
        ConfigError: the user's own settings are not enough.
    """
    clock = clock or SystemClock()
    broker = Broker(opening.broker or protocol.SOCKET, opening.name, opening.acquisition_token)
    found = broker.ask_json("GET", f"/v1/resources/{quote(opening.name, safe='')}")
    try:
        facts = _Facts(str(found["type"]), tuple(found["payloads"]), dict(found["settings"]))
    except (KeyError, TypeError, ValueError) as exc:
        raise UnexpectedReply(opening.name, f"the broker described it as {str(found)[:200]}") from exc
    backend = Backend(
        contract=CONTRACT,
        settings=_NoSettings,
        payloads=facts.payloads,
        open=lambda ctx: BrokerResource(ctx, broker),
    )
    no_settings = load_settings(backend, opening)
    own = {name: value for name, value in opening.environment.items() if facts.settings.get(name) != value}
    if own:
        broker.close()
        log.logger(resource=opening.name).info("resource.own", variables=sorted(own))
        source = f"{', '.join(sorted(own))}, set by you in place of the site's settings"
        opening = evolve(opening, environment=own, source=source, broker=None, acquisition_token=None)
        return open_resource(opening, clock=clock)
    ctx = Context(
        name=opening.name,
        type=facts.type,
        settings=no_settings,
        log=log.logger(resource=opening.name),
        clock=clock,
        state_dir=state_dir(opening.name),
        acquisition_token=opening.acquisition_token,
        deadline=None if opening.timeout_s is None else clock.monotonic() + opening.timeout_s,
    )
    return Hosted(backend, ctx)


def _json(content: bytes, resource: str) -> Any:
    try:
        return json.loads(content)
    except ValueError as exc:
        raise UnexpectedReply(resource, f"the broker answered {content[:200]!r}") from exc


def _json_or_text(content: bytes) -> Any:
    """What went wrong, also where no handler of the broker said it."""
    try:
        return json.loads(content)
    except ValueError:
        return content.decode(errors="replace")


def _decoded(result: Any, resource: str) -> bytes:
    try:
        return base64.b64decode(result, validate=True)
    except (TypeError, ValueError) as exc:
        raise UnexpectedReply(resource, f"the broker gave as a result {str(result)[:200]}") from exc


def _state(found: Any, resource: str) -> TaskState:
    try:
        return TaskState(TaskStatus(found["status"]), found["reason"], found["queue_position"], found["progress"])
    except (KeyError, TypeError, ValueError) as exc:
        raise UnexpectedReply(resource, f"the broker described a task as {str(found)[:200]}") from exc
