"""The verbs of QRMI on the Qiskit Runtime Service. What travels is in `_api`, what it means in `_wire`."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress

from attrs import evolve

from qrmi_core import (
    AcquireRequest,
    AuthenticationFailed,
    Context,
    Device,
    OutcomeUnknown,
    Payload,
    PayloadError,
    QuantumResource,
    RequestRefused,
    ResourceUnavailable,
    Session,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    TaskNotReady,
    TaskState,
    TaskStatus,
    UnexpectedReply,
    Usage,
)
from qrmi_core.door import Body
from qrmi_core.members import call_of
from qrmi_ibm_qrs import _wire
from qrmi_ibm_qrs._api import Service
from qrmi_ibm_qrs._board import Board
from qrmi_ibm_qrs._records import Records
from qrmi_ibm_qrs._sessions import Sessions
from qrmi_ibm_qrs._turns import Turns
from qrmi_ibm_qrs.settings import MOST_COST_S, Settings

_LOOKS_S = (0.0, 1.0)
"""When a job is looked for whose submission was not answered: the service's list may be a moment behind."""
_MOST_KEYS = 4096


class Runtime(QuantumResource):
    """A quantum processor of IBM behind one API key. A task is a job; its key is one of the job's tags."""

    concurrent = True

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.settings: Settings = ctx.settings
        self.service = Service(ctx)
        self._board = Board(self.service, ctx.clock)
        self._sessions = Sessions(ctx, self.service, Records(ctx.name, ctx.state_dir / "sessions"))
        self._session = self.service.given_session
        """Where tasks run, if in a session."""
        self._turns = Turns()
        self._keys: OrderedDict[str, str] = OrderedDict()
        """Tag -> job, of the last tasks that this process has started or found."""
        self._doubtful: set[str] = set()
        """Tags of submissions without an answer: a job may still come of them, after another try made one."""

    # -- sessions

    def acquire(self, request: AcquireRequest) -> str:
        self._session = self._sessions.open(request)
        return self._session

    def release(self, token: str) -> None:
        self._sessions.close(token)
        if token == self._session:
            self._session = self.service.given_session

    def in_session(self, token: str) -> Runtime:
        view = copy.copy(self)
        view._session = token
        return view

    def sessions(self) -> Sequence[Session]:
        return self._sessions.listed()

    # -- tasks

    def task_start(self, payload: Payload, *, key: str) -> str:
        tag = self._tag(key)
        with self._turns.of(tag):
            if found := self._found(tag):
                return found
            session_id = self._sessions.usable(self._session)
            return self._remember(tag, self._submitted(payload, tag, session_id))

    def task_status(self, task_id: str) -> TaskState:
        return self._reasoned(self._board.job(task_id)).state

    def task_stop(self, task_id: str) -> None:
        is_taken = self.service.cancel(task_id)
        self._board.forget(task_id)
        if not is_taken and not self._board.ask(task_id).state.status.is_terminal:
            raise ResourceUnavailable(self.ctx.name, f"task {task_id} cannot be cancelled at this moment")

    def task_result(self, task_id: str) -> bytes:
        name, state = self.ctx.name, self._reasoned(self._board.ask(task_id)).state
        if not state.status.is_terminal:
            raise TaskNotReady(name, task_id, state.status.value)
        if state.status is TaskStatus.CANCELLED:
            raise TaskCancelled(name, task_id, state.reason or "")
        if state.status is TaskStatus.FAILED:
            raise TaskFailed(name, task_id, state.reason or "")
        self._cancel_latecomers(task_id)
        return self.service.result(task_id)

    def task_logs(self, task_id: str) -> str:
        try:
            return self.service.logs(task_id)
        except TaskNotFound:
            self.service.job(task_id)  # is it the task, or its log?
            return ""

    def task_usage(self, task_id: str) -> Usage:
        usage_s = self._board.ask(task_id).usage_s
        return Usage(qpu_s=(usage_s if usage_s is not None else self.service.usage_s(task_id)) or 0.0)

    def find_task(self, key: str) -> str | None:
        tag = self._tag(key)
        found = self._found(tag)
        return self._remember(tag, found) if found else None

    # -- the resource

    def is_accessible(self) -> bool:
        return str(self.service.status().get("status") or "").lower() in _wire.ONLINE

    def target(self) -> str:
        documents = {"configuration": self.service.configuration(), "properties": self.service.properties()}
        return json.dumps(documents, separators=(",", ":"))

    def metadata(self) -> dict[str, str]:
        status = self.service.status()
        facts = {
            "processor": self.service.device,
            "status": status.get("status"),
            "message": status.get("message"),
            "jobs in its queue": status.get("length_queue"),
            "sessions": self.settings.session_mode,
        }
        return {name: str(fact) for name, fact in facts.items() if fact not in (None, "")}

    def discover(self) -> Sequence[Device]:
        return self.service.devices()

    def close(self) -> None:
        self.service.close()

    # -- submitting

    def _tag(self, key: str) -> str:
        """The tag of this resource's task with *key*: short, and of letters that no service minds."""
        return "qrmi-" + hashlib.sha256(json.dumps([self.ctx.name, key]).encode()).hexdigest()[:32]

    def _remember(self, tag: str, job_id: str) -> str:
        self._keys[tag] = job_id
        while len(self._keys) > _MOST_KEYS:
            self._keys.popitem(last=False)
        return job_id

    def _found(self, tag: str) -> str | None:
        """The job with *tag*."""
        if known := self._keys.get(tag):
            return known
        return self._oldest(tag)

    def _oldest(self, tag: str) -> str | None:
        """The job with *tag*, as the service lists it. Were there several, the others are not to run."""
        jobs = [job for page in self.service.jobs(tags=tag, sort="ASC") for job in page if tag in job.tags]
        for job in jobs[1:]:
            if not job.state.status.is_terminal:
                self.ctx.log.warning("task.duplicate", task_id=jobs[0].id, cancelled=job.id)
                self.service.cancel(job.id)
        return jobs[0].id if jobs else None

    def _cancel_latecomers(self, task_id: str) -> None:
        """A submission that was given up may have arrived after the next one."""
        for tag in [one for one in tuple(self._doubtful) if self._keys.get(one) == task_id]:
            self._doubtful.discard(tag)
            with suppress(ResourceUnavailable, UnexpectedReply, RequestRefused):
                self._oldest(tag)

    def _submitted(self, payload: Payload, tag: str, session_id: str | None) -> str:
        """Submit, once. A session that has ended meanwhile does not hold the task up: it runs without one.

        Raises:
            PayloadError, RequestRefused: nothing was submitted.
            OutcomeUnknown: the service has no such job yet. The same key is safe.
        """
        body = self._body(payload, tag, session_id)
        try:
            return self.service.submit(body)
        except RequestRefused as exc:
            if session_id and self._sessions.has_ended(session_id):
                return self._submitted(payload, tag, None)
            raise self._refusal(exc, payload) from exc
        except (OutcomeUnknown, UnexpectedReply) as exc:
            if found := self._looked_for(tag):
                self.ctx.log.info("task.found", task_id=found, cause=exc.detail)
                return found
            self._doubtful.add(tag)
            raise OutcomeUnknown(self.ctx.name, exc.detail) from exc

    def _looked_for(self, tag: str) -> str | None:
        for pause_s in _LOOKS_S:
            self.ctx.clock.sleep(pause_s)
            try:
                if found := self._found(tag):
                    return found
            except (AuthenticationFailed, ResourceUnavailable, UnexpectedReply, RequestRefused):
                continue
        return None

    def _body(self, payload: Payload, tag: str, session_id: str | None) -> Body:
        program_id, parameters = call_of(payload)
        cost = self._cost()
        request = {
            "program_id": program_id,
            "backend": self.service.device,
            "tags": [tag],
            **({"session_id": session_id} if session_id else {}),
            **({} if cost is None else {"cost": cost}),
        }
        return Body.joined(Body.of(f'{json.dumps(request)[:-1]}, "params": '.encode()), parameters, Body.of(b"}"))

    def _cost(self) -> int | None:
        """What the processor may spend on a task, in seconds."""
        if self.settings.timeout_seconds is not None or self.ctx.deadline is None:
            return self.settings.timeout_seconds
        return max(1, min(MOST_COST_S, math.ceil(self.ctx.deadline - self.ctx.clock.monotonic())))

    def _refusal(self, exc: RequestRefused, payload: Payload) -> Exception:
        match exc.status:
            case 404:
                return self.service.unknown_device()
            case 400 | 413 | 422:
                remedy = exc.solution or "Mend the payload; the page of this backend lists the service's codes"
                return PayloadError(payload.source, "", f"{self.ctx.name} refused it: {exc.detail}", remedy)
        return exc

    def _reasoned(self, job: _wire.Job) -> _wire.Job:
        """A failed job of which the service does not say why may have left its traceback in place of a result."""
        if job.state.status is not TaskStatus.FAILED or job.has_reason:
            return job
        try:
            reason = _wire.last_error(self.service.result(job.id).decode(errors="replace"))
        except (ResourceUnavailable, RequestRefused, TaskNotFound):
            reason = None
        state = evolve(job.state, reason=reason) if reason else job.state
        job = evolve(job, state=state, has_reason=True)
        self._board.amend(job)
        return job
