"""The doors to IAM and to the Quantum System API: one method per request, its errors ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import quote

from qrmi_core import AuthenticationFailed, AuthorizationRefused, Context, RequestRefused, UnexpectedReply
from qrmi_core.bearer import Bearer, Token
from qrmi_core.door import Body, Door, Reply
from qrmi_ibm_da._wire import Job, job_of, lanes_of
from qrmi_ibm_da.settings import Settings

_T = TypeVar("_T")
_GRANT = "urn:ibm:params:oauth:grant-type:apikey"
_API_VERSION = "2025-08-01"
NO_LANE = frozenset({423, 429})
"""All lanes are taken, or somebody has reserved the device."""
_IS_THERE = 409
_LONGEST_S = 1e9
"""No token is good for longer."""


class Service:
    """The service behind one credential. What is not there is None."""

    def __init__(self, ctx: Context, settings: Settings) -> None:
        self._name = ctx.name
        self._key = settings.iam_apikey
        self._iam = Door(ctx.name, settings.iam_endpoint, deadline_s=15.0, connections=1, clock=ctx.clock, log=ctx.log)
        self._door = Door(
            ctx.name,
            settings.endpoint,
            authorise=Bearer(self._token, ctx.clock),
            headers={"Service-CRN": settings.service_crn, "IBM-API-Version": _API_VERSION},
            clock=ctx.clock,
            log=ctx.log,
        )

    # -- jobs

    def job(self, task_id: str) -> Job | None:
        """The job *task_id*."""
        path = f"/v1/jobs/{quote(task_id, safe='')}"
        found = self._unless_missing(lambda: self._json("GET", path))
        try:
            return None if found is None else job_of(found)
        except ValueError as exc:
            raise UnexpectedReply(self._name, f"GET {path}: a job {exc}") from exc

    def jobs(self) -> list[Job]:
        """All jobs of this instance that were not deleted."""
        listed = self._object("/v1/jobs").get("jobs")
        if not isinstance(listed, list):
            raise UnexpectedReply(self._name, "GET /v1/jobs listed no jobs")
        found = []
        for one in listed:
            with suppress(ValueError):  # one job of somebody else's that we cannot read must not hide ours
                found.append(job_of(one))
        return found

    def submit(self, request: Mapping[str, Any]) -> None:
        """Make a job of the id that *request* names, unless there is one; the id makes it repeatable.

        Raises:
            RequestRefused: with a status of `NO_LANE`: not now; else: never.
        """
        try:
            self._ask("POST", "/v1/jobs", body=Body.json(request), is_repeatable=True, own=NO_LANE)
        except RequestRefused as exc:
            if exc.status != _IS_THERE:
                raise

    def cancel(self, task_id: str) -> None:
        """Ask that the job end; one that has ended, or is not there, stays as it is."""
        try:
            self._ask("POST", f"/v1/jobs/{quote(task_id, safe='')}/cancel", is_repeatable=True)
        except RequestRefused as exc:
            if exc.status not in (404, _IS_THERE):
                raise

    def delete(self, task_id: str) -> None:
        """Let the service forget the job, which has ended, so that its lane comes free."""
        self._unless_missing(lambda: self._ask("DELETE", f"/v1/jobs/{quote(task_id, safe='')}"))

    # -- devices

    def devices(self) -> list[Mapping[str, Any]]:
        """What the credential reaches, as the service describes it."""
        listed = self._object("/v1/backends").get("backends")
        if not isinstance(listed, list) or not all(isinstance(one, Mapping) for one in listed):
            raise UnexpectedReply(self._name, "GET /v1/backends listed no backends")
        return listed

    def device(self, name: str) -> Mapping[str, Any]:
        """One of them."""
        return self._object(f"/v1/backends/{quote(name, safe='')}")

    def lanes(self, name: str) -> int | None:
        """How many jobs at a time a device executes for us, where the service says so."""
        return lanes_of(self._unless_missing(lambda: self._json("GET", f"/v1/backends/{quote(name, safe='')}/lanes")))

    def configuration(self, name: str) -> Mapping[str, Any]:
        """Of a device, as Qiskit reads it."""
        return self._object(f"/v1/backends/{quote(name, safe='')}/configuration")

    def properties(self, name: str) -> Any:
        """Of a device, as Qiskit reads them; None where it has none."""
        return self._unless_missing(lambda: self._json("GET", f"/v1/backends/{quote(name, safe='')}/properties"))

    def close(self) -> None:
        """Close the connections."""
        self._door.close()
        self._iam.close()

    # -- the doors

    def _token(self) -> Token:
        form = {"grant_type": _GRANT, "apikey": self._key}
        try:
            reply = self._iam.ask("POST", "/identity/token", body=Body.form(form), is_repeatable=True)
        except (AuthenticationFailed, RequestRefused) as exc:
            raise AuthenticationFailed(self._name, f"IAM: {exc.detail}") from exc
        document = reply.json()
        text = document.get("access_token") if isinstance(document, Mapping) else None
        life_s = document.get("expires_in") if isinstance(document, Mapping) else None
        if not isinstance(text, str) or not (text and text.isascii() and text.isprintable()):
            raise UnexpectedReply(self._name, "IAM gave no token")
        if type(life_s) is not int or abs(life_s) > _LONGEST_S:
            raise UnexpectedReply(self._name, "IAM gave no token with the seconds of its life")
        return Token(text, life_s)

    def _ask(self, method: str, path: str, **facts: Any) -> Reply:
        try:
            return self._door.ask(method, path, **facts)
        except RequestRefused as exc:
            if exc.status == 403:
                refused = AuthorizationRefused(self._name, exc.detail)
                refused.is_in_doubt = exc.is_in_doubt
                raise refused from exc
            raise

    def _json(self, method: str, path: str) -> Any:
        return self._ask(method, path).json()

    def _object(self, path: str) -> Mapping[str, Any]:
        document = self._json("GET", path)
        if not isinstance(document, Mapping):
            raise UnexpectedReply(self._name, f"GET {path} answered no object")
        return document

    def _unless_missing(self, call: Callable[[], _T]) -> _T | None:
        try:
            return call()
        except RequestRefused as exc:
            if exc.status != 404:
                raise
            return None
