"""The service's REST API: one method for each call, and its refusals made ours."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, TypeVar

from qrmi_core import (
    AuthenticationFailed,
    ConfigError,
    Context,
    Device,
    RequestRefused,
    ResourceError,
    ResourceUnavailable,
    TaskNotFound,
    UnexpectedReply,
)
from qrmi_core.bearer import Bearer, Token
from qrmi_core.door import Body, Door, Reply
from qrmi_ibm_qrs import _wire
from qrmi_ibm_qrs.settings import LEAST_BUSY, Settings

_T = TypeVar("_T")
VERSION = "2025-05-01"
"""Of the API. From 2025-01-01 on the list of processors holds their facts, not their names alone."""
PAGE = 200
"""Jobs in one list, the most that the service gives."""
_PAGES = 5
_WORKLOADS = 50
_SLOWEST_BYTES_PER_S = 250_000
"""An upload or download that is slower is given up."""
_RESULT_S = 120.0
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
"""Of a job, a session or a processor: nothing else is pasted into an address."""
_GRANT = "urn:ibm:params:oauth:grant-type:apikey"
_NOT_THERE = (404, 410)


class Service:
    """One instance of the service, as one API key sees it. Any thread may call."""

    def __init__(self, ctx: Context) -> None:
        settings: Settings = ctx.settings
        self.name = ctx.name
        self.given_session = ctx.acquisition_token or settings.session_id
        """The session that somebody else opened for us, if so: it is not ours to close."""
        self._settings = settings
        self._log = ctx.log
        self._chosen: str | None = None
        self._choosing = threading.Lock()
        self._iam = Door(ctx.name, settings.iam_endpoint, clock=ctx.clock, log=ctx.log)
        self._door = Door(
            ctx.name,
            settings.endpoint,
            authorise=Bearer(self._token, ctx.clock),
            headers={"Service-CRN": settings.service_crn, "IBM-API-Version": VERSION},
            clock=ctx.clock,
            log=ctx.log,
            connections=16,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.name!r}>"

    def close(self) -> None:
        """Close the connections."""
        self._door.close()
        self._iam.close()

    def _token(self) -> Token:
        form = Body.form({"grant_type": _GRANT, "apikey": self._settings.iam_apikey})
        try:
            reply = self._iam.ask("POST", "/identity/token", body=form, is_repeatable=True)
        except RequestRefused as exc:
            raise AuthenticationFailed(self.name, f"IBM Cloud IAM: {exc.detail}") from exc
        document = reply.json()
        text = document.get("access_token") if isinstance(document, dict) else None
        if not isinstance(text, str) or not (text.isascii() and text.isprintable() and text):
            raise UnexpectedReply(self.name, "IBM Cloud IAM answered without an access_token")
        return Token(text, _wire.number(document.get("expires_in")) or 0.0)

    def _ask(self, method: str, path: str, **facts: Any) -> Reply:
        try:
            return self._door.ask(method, path, **facts)
        except RequestRefused as exc:
            if exc.status == 403:
                words = ". ".join(part for part in (exc.detail, exc.solution.rstrip(".")) if part)
                raise AuthenticationFailed(self.name, words) from exc
            raise

    def _read(self, path: str, of: Callable[[Any], _T], query: Mapping[str, str] | None = None) -> _T:
        """A reply as a model."""
        reply = self._ask("GET", path, query=query)
        return self._model(reply, of)

    def _model(self, reply: Reply, of: Callable[[Any], _T]) -> _T:
        try:
            return of(reply.json())
        except _wire.Surprise as exc:
            raise UnexpectedReply(self.name, f"{reply.request}: {exc}") from exc

    # -- jobs

    def job_path(self, job_id: str) -> str:
        """Raises: TaskNotFound: no job is called so."""
        if not _ID.fullmatch(job_id):
            raise TaskNotFound(self.name, job_id)
        return f"/jobs/{job_id}"

    def _of_job(self, job_id: str, method: str, below: str = "", **facts: Any) -> Reply:
        try:
            return self._ask(method, self.job_path(job_id) + below, **facts)
        except RequestRefused as exc:
            if exc.status in _NOT_THERE:
                raise TaskNotFound(self.name, job_id) from exc
            raise

    def submit(self, body: Body) -> str:
        """Create a job and return its id.

        Raises:
            RequestRefused: no job was made.
            OutcomeUnknown, UnexpectedReply: one may have been.
        """
        deadline_s = self._door.deadline_s + body.size_bytes / _SLOWEST_BYTES_PER_S
        reply = self._ask("POST", "/jobs", body=body, deadline_s=deadline_s)
        return self._model(reply, partial(_wire.id_of, what="the new job"))

    def job(self, job_id: str) -> _wire.Job:
        """Without its input, which would come with every poll."""
        return self._model(self._of_job(job_id, "GET", query={"exclude_params": "true"}), _wire.job_of)

    def jobs(self, **query: str) -> Iterator[list[_wire.Job]]:
        """The processor's jobs, page by page, newest first unless *query* says otherwise; a bounded number of pages."""
        for page in range(_PAGES):
            asked = {"limit": str(PAGE), "sort": "DESC", **query}
            asked |= {"offset": str(page * PAGE), "exclude_params": "true"}
            found = self._read("/jobs", _wire.jobs_of, asked)
            yield found
            if len(found) < int(asked["limit"]):
                return

    def cancel(self, job_id: str) -> bool:
        """Ask for the end of a job; False: it cannot be cancelled any longer."""
        try:
            self._of_job(job_id, "POST", "/cancel", is_repeatable=True)
        except RequestRefused as exc:
            if exc.status != 409:
                raise
            return False
        return True

    def result(self, job_id: str) -> bytes:
        """What a job has left behind; of whatever type the service says it is."""
        return self._of_job(job_id, "GET", "/results", deadline_s=_RESULT_S).content

    def logs(self, job_id: str) -> str:
        """What a job has logged."""
        return self._of_job(job_id, "GET", "/logs", deadline_s=_RESULT_S).content.decode(errors="replace")

    def usage_s(self, job_id: str) -> float | None:
        """Seconds of the processor that a job has used."""
        reply = self._of_job(job_id, "GET", "/metrics")
        return self._model(reply, _wire.metrics_of)

    # -- sessions

    def open_session(self, mode: str, max_ttl_s: int) -> str:
        """Open a session of *mode*, `dedicated` or `batch`, and return its id.

        Raises:
            RequestRefused: none was opened.
            OutcomeUnknown, UnexpectedReply: one may have been.
        """
        body = Body.json({"mode": mode, "backend": self.device, "max_ttl": max_ttl_s})
        return self._model(
            self._ask("POST", "/sessions", body=body),
            partial(_wire.id_of, what="the new session"),
        )

    def session(self, session_id: str) -> _wire.SessionState | None:
        """What the service says of a session; None: it knows none of this id."""
        if not _ID.fullmatch(session_id):
            return None
        try:
            return self._read(f"/sessions/{session_id}", _wire.session_of)
        except RequestRefused as exc:
            if exc.status in _NOT_THERE:
                return None
            raise

    def close_session(self, session_id: str) -> None:
        """Close a session; what is queued in it will not run, what runs goes on. It may be closed already, or gone."""
        if not _ID.fullmatch(session_id):
            return
        try:
            may_wait = bool(next(self.jobs(session_id=session_id, pending="true", limit="1")))
        except ResourceError:  # whatever forbids to list, the session must not stay open
            may_wait = True
        try:
            if may_wait or not self._closed_gently(session_id):
                self._ask("DELETE", f"/sessions/{session_id}/close")
        except RequestRefused as exc:
            if exc.status not in _NOT_THERE and self._takes_jobs(session_id):
                raise

    def _closed_gently(self, session_id: str) -> bool:
        close = Body.json({"accepting_jobs": False})
        try:
            self._ask("PATCH", f"/sessions/{session_id}", body=close, is_repeatable=True)
        except ResourceError:  # there is another way
            return False
        return True

    def _takes_jobs(self, session_id: str) -> bool:
        session = self.session(session_id)
        return session is not None and session.is_open

    def workloads(self, mode: str) -> Iterator[_wire.Workload]:
        """The account's open sessions (*mode* `session`) or batches (`batch`) on any processor, newest first."""
        query = {"mode": mode, "sort": "-createdAt", "limit": str(_WORKLOADS)}
        for _ in range(_PAGES):
            reply = self._ask("GET", "/workloads", query=query)
            found, cursor = self._model(reply, partial(_wire.workloads_of, now=_date(reply.headers)))
            yield from (one for one in found if one.is_open)
            if cursor is None or not found:
                return
            query["next"] = cursor

    # -- the processor

    @property
    def device(self) -> str:
        """The processor, as the service calls it. The least busy one is chosen when it is first asked for.

        Raises:
            ResourceUnavailable: none is online.
        """
        named = self._settings.backend or self.name
        if named != LEAST_BUSY:
            return named
        with self._choosing:
            if self._chosen is None:
                self._chosen = self._device_of_session() or self._least_busy()
            return self._chosen

    def _device_of_session(self) -> str | None:
        session = self.session(self.given_session) if self.given_session else None
        return session.backend or None if session else None

    def _least_busy(self) -> str:
        online = [one for one in self.devices() if one.is_online]
        if not online:
            raise ResourceUnavailable(self.name, "no quantum processor of the instance is online")
        best = min(online, key=lambda one: one.business)
        self._log.info("device.chosen", device=best.name, queue=best.queue, qubits=best.qubits)
        return best.name

    def status(self) -> Mapping[str, Any]:
        """What the service says about the processor's state and queue."""
        return self._of_device("/status")

    def configuration(self) -> Mapping[str, Any]:
        """Its configuration."""
        return self._of_device("/configuration")

    def properties(self) -> Mapping[str, Any] | None:
        """Its last calibration; None: it has none."""
        try:
            return self._of_device("/properties")
        except ConfigError:
            return None

    def devices(self) -> list[Device]:
        """Every processor of the instance."""
        return self._read("/backends", _wire.devices_of)

    def _of_device(self, below: str) -> Mapping[str, Any]:
        try:
            if not _ID.fullmatch(self.device):
                raise self.unknown_device()
            return self._read(f"/backends/{self.device}{below}", partial(_wire.object_of, what="the answer"))
        except RequestRefused as exc:
            if exc.status in _NOT_THERE:
                raise self.unknown_device() from exc
            raise

    def unknown_device(self) -> ConfigError:
        """The service knows no processor of this name."""
        return ConfigError.one(
            self.name,
            "backend",
            f"the service knows no quantum processor {self.device!r} in this instance",
            "Name one of the instance's own: call the resource so, or set QRMI_IBM_QCS_BACKEND",
        )


def _date(headers: Mapping[str, str]) -> datetime:
    """When an answer was sent, by the service's clock; ours may be wrong."""
    try:
        return parsedate_to_datetime(headers["Date"])
    except (KeyError, ValueError, TypeError):
        return datetime.now(UTC)
