"""The Quantum Compute Service, also known as Qiskit Runtime: sessions, jobs, results over REST."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterable
from typing import Any

from aiohttp import web
from attrs import frozen

from qrmi_core import ConfigError, TaskStatus
from qrmi_testkit.emulators.accounts import Account
from qrmi_testkit.emulators.clock import iso
from qrmi_testkit.emulators.emulator import ACCOUNT, Emulator, trace
from qrmi_testkit.emulators.jobs import Job, Processor
from qrmi_testkit.emulators.misbehaviour import FAULT
from qrmi_testkit.emulators.options import Options
from qrmi_testkit.emulators.refusal import MORE_INFO, Refusal, as_json, invalid
from qrmi_testkit.emulators.runtime_job import MOST_COST_S, RuntimeJob, check, matches, number, shown, tags
from qrmi_testkit.emulators.sessions import MOST_TTL_S, Session

_PLANS = {"paid": ("dedicated", "batch"), "open": ("batch",), "none": ()}
_USUAL_COST_S = 600
_DEVICES_SINCE = "2025-01-01"
_WORDS = {
    TaskStatus.QUEUED: "pending",
    TaskStatus.RUNNING: "in_progress",
    TaskStatus.COMPLETED: "completed",
    TaskStatus.FAILED: "failed",
    TaskStatus.CANCELLED: "canceled",
}
_MOST_WORKLOADS = 50


@frozen(kw_only=True)
class RuntimeOptions(Options):
    """How an emulator of Qiskit Runtime is set up."""

    plan: str = "paid"
    """`paid` has all modes of sessions, `open` no `dedicated` ones, `none` no sessions at all."""
    usage_limit_s: int | None = None
    """What the instance may use; above it jobs are refused."""


class Runtime(Emulator):
    """Qiskit Runtime. A device works off its queue on so many lanes; its clients choose nothing but tags."""

    resource_type = "qiskit-runtime-service"
    base_path = "/api/v1"
    submission = "/api/v1/jobs"

    def __init__(self, options: RuntimeOptions) -> None:
        if options.plan not in _PLANS:
            raise ConfigError.one("--plan", "", f"there is no plan {options.plan!r}", f"There are {', '.join(_PLANS)}")
        super().__init__(options)
        self.runtime_options = options
        self.sessions: dict[str, Session] = {}
        """By their ids, closed ones too."""

    def variables(self, account: Account, prefix: str = "QRMI_IBM_QRS") -> dict[str, str]:
        found = {
            "ENDPOINT": f"{self.url}{self.base_path}",
            "IAM_ENDPOINT": self.url,
            "IAM_APIKEY": account.api_key,
            "SERVICE_CRN": account.crn,
        }
        return {f"{prefix}_{suffix}": value for suffix, value in found.items()}

    # -- the parts of an emulator

    def processor(self, device: str) -> Processor:
        lanes = asyncio.Semaphore(self.options.lanes)
        return Processor(self.clock, self.simulator, self._load, self._save, lanes, self.tell)

    def error_body(self, refused: Refusal) -> dict[str, Any]:
        error = {"code": refused.code, "message": refused.message, "solution": refused.solution}
        return {"errors": [{**error, "more_info": MORE_INFO}], "trace": trace()}

    def routes(self) -> Iterable[web.RouteDef]:
        base = self.base_path
        yield web.get(f"{base}/backends", self._backends)
        yield web.get(f"{base}/backends/{{name}}/status", self._backend_status)
        yield web.get(f"{base}/backends/{{name}}/configuration", self._configuration)
        yield web.get(f"{base}/backends/{{name}}/properties", self._properties)
        yield web.get(f"{base}/instances/usage", self._instance_usage)
        yield web.post(f"{base}/sessions", self._open_session)
        yield web.get(f"{base}/sessions/{{id}}", self._show_session)
        yield web.patch(f"{base}/sessions/{{id}}", self._change_session)
        yield web.delete(f"{base}/sessions/{{id}}/close", self._close_session)
        yield web.get(f"{base}/workloads", self._workloads)
        yield web.post(f"{base}/jobs", self._submit)
        yield web.get(f"{base}/jobs", self._list)
        yield web.get(f"{base}/jobs/{{id}}", self._show)
        yield web.delete(f"{base}/jobs/{{id}}", self._delete)
        yield web.post(f"{base}/jobs/{{id}}/cancel", self._cancel)
        yield web.get(f"{base}/jobs/{{id}}/results", self._results)
        yield web.get(f"{base}/jobs/{{id}}/logs", self._logs)
        yield web.get(f"{base}/jobs/{{id}}/metrics", self._metrics)
        yield web.put(f"{base}/jobs/{{id}}/tags", self._tag)

    # -- backends

    async def _backends(self, request: web.Request) -> web.Response:
        if request.headers.get("IBM-API-Version", _DEVICES_SINCE) < _DEVICES_SINCE:
            return web.json_response({"devices": list(self.devices)})
        return web.json_response({"devices": [self._facts(name) for name in self.devices]})

    def _facts(self, name: str) -> dict[str, Any]:
        device = self.device(name)
        status = {"name": device.status, **({"reason": device.message} if device.message else {})}
        return {
            "name": name,
            "status": status,
            "is_simulator": False,
            "qubits": device.qubits,
            "queue_length": self._queue_length(name),
            "processor_type": device.configuration.get("processor_type", {"family": "Heron", "revision": "1"}),
        }

    def _queue_length(self, name: str) -> int:
        waiting = [job for job in self.jobs.values() if job.device == name and not job.is_ended]
        return len(waiting) + sum(job.ahead for job in waiting)

    async def _backend_status(self, request: web.Request) -> web.Response:
        device = self.device(request.match_info["name"])
        is_online = device.status == "online"
        return web.json_response(
            {
                "state": is_online,
                "status": "active" if is_online else device.status,
                "message": device.message or ("available" if is_online else ""),
                "length_queue": self._queue_length(device.name),
                "backend_version": device.configuration["backend_version"],
            }
        )

    async def _configuration(self, request: web.Request) -> web.Response:
        return web.json_response(self.device(request.match_info["name"]).configuration)

    async def _properties(self, request: web.Request) -> web.Response:
        return web.json_response(self.device(request.match_info["name"]).properties)

    async def _instance_usage(self, request: web.Request) -> web.Response:
        used, limit = self._used_s(request[ACCOUNT]), self.runtime_options.usage_limit_s
        return web.json_response(
            {
                "instance_id": request[ACCOUNT].crn,
                "plan_id": self.runtime_options.plan,
                "usage_consumed_seconds": used,
                "usage_limit_seconds": limit,
                "usage_remaining_seconds": None if limit is None else max(0.0, limit - used),
                "usage_limit_reached": limit is not None and used >= limit,
            }
        )

    def _used_s(self, account: Account) -> float:
        return sum(job.busy_s(self.clock.now()) for job in self.submitted if job.account is account)

    # -- sessions

    async def _open_session(self, request: web.Request) -> web.Response:
        document = as_json(await request.text())
        mode, ttl = document.get("mode", "dedicated"), document.get("max_ttl") or MOST_TTL_S
        name = document.get("backend") or document.get("backend_name")
        if mode not in ("dedicated", "batch"):
            raise invalid(f"mode must be dedicated or batch, not {mode!r}.", "mode")
        if type(ttl) is not int or not 1 <= ttl <= MOST_TTL_S:
            raise invalid(f"max_ttl must be from 1 to {MOST_TTL_S} seconds.", "max_ttl")
        if mode not in _PLANS[self.runtime_options.plan]:
            raise Refusal(
                400,
                1352,
                f"You are not authorized to run a session when using the {self.runtime_options.plan} plan.",
                "Create an instance of a different plan type or use a different execution mode.",
            )
        device = self.device(name).name if name else None
        session = Session(self.clock, request[ACCOUNT], mode, device, ttl, self.tell)
        self.sessions[session.id] = session
        return web.json_response(session.as_json())

    async def _show_session(self, request: web.Request) -> web.Response:
        return web.json_response(self._session(request, request.match_info["id"]).as_json())

    async def _change_session(self, request: web.Request) -> web.Response:
        session = self._session(request, request.match_info["id"])
        accepting = as_json(await request.text()).get("accepting_jobs")
        if type(accepting) is not bool:
            raise invalid("accepting_jobs must be true or false.", "accepting_jobs")
        if not accepting:
            session.stop_accepting()
        elif session.is_closed:
            raise invalid(f"Session {session.id} is closed.", "accepting_jobs")
        else:
            session.is_accepting = True
        return web.Response(status=204)

    async def _close_session(self, request: web.Request) -> web.Response:
        session = self._session(request, request.match_info["id"])
        self._close(session, "cancelled by its owner")
        return web.Response(status=204)

    async def _workloads(self, request: web.Request) -> web.Response:
        """The account's sessions, batches and jobs, newest first, a page at a time."""
        query = request.query
        self._look_at_the_clock()
        rows = [one for one in self._rows(request[ACCOUNT]) if query.get("backend", one["backend"]) == one["backend"]]
        rows = [one for one in rows if query.get("mode", one["mode"]) == one["mode"]]
        rows = [one for one in rows if one["status"] in query.getall("status", [one["status"]])]
        rows.sort(key=lambda one: str(one["created"]), reverse=query.get("sort", "-createdAt").startswith("-"))
        limit, start = number(query.get("limit", "10"), "limit"), number(query.get("next", "0"), "next")
        if not 1 <= limit <= _MOST_WORKLOADS:
            raise invalid(f"limit must be from 1 to {_MOST_WORKLOADS}.", "limit", "parameter")
        found = {"workloads": rows[start : start + limit], "total_count": len(rows), "limit": limit}
        if start + limit < len(rows):
            query_of_next = f"?limit={limit}&next={start + limit}"
            found["next"] = {"href": f"{self.url}{request.path}{query_of_next}", "cursor": str(start + limit)}
        return web.json_response(found)

    def _rows(self, account: Account) -> Iterable[dict[str, Any]]:
        names = {"open": "pending", "active": "in_progress", "inactive": "in_progress", "closed": "completed"}
        facts = {"instance": account.crn, "user_id": "emulated"}
        for session in self.sessions.values():
            if session.account is account:
                yield {
                    "id": session.id,
                    "mode": "session" if session.mode == "dedicated" else "batch",
                    "backend": session.device or "",
                    "created": iso(session.created_s),
                    "status": names[session.state],
                    "accepting_jobs": session.is_accepting,
                    **({} if session.closed_s is None else {"ended": iso(session.closed_s)}),
                    **facts,
                }
        for job in self._all():
            if job.account is account:
                yield {
                    "id": job.id,
                    "mode": "job",
                    "backend": job.device,
                    "created": iso(job.created_s),
                    "status": _WORDS[job.status],
                    "accepting_jobs": None,
                    "tags": list(job.tags),
                    **facts,
                }

    def _close(self, session: Session, reason: str) -> None:
        """No new jobs, none from the queue; what runs goes on."""
        session.close(reason)
        for job_id in list(session.pending):
            if self.jobs[job_id].status is TaskStatus.QUEUED:
                self.cancel(self.jobs[job_id])

    def _session(self, request: web.Request, session_id: str) -> Session:
        session = self.sessions.get(session_id)
        if session is None or session.account is not request[ACCOUNT]:
            raise Refusal(404, 1337, f"Session {session_id} not found.", "Check the id of the session.")
        self._look_at_the_clock()
        return session

    def _look_at_the_clock(self) -> None:
        for session in self.sessions.values():
            if reason := session.overdue():
                self._close(session, reason)

    def _all(self) -> list[RuntimeJob]:
        return [job for job in self.jobs.values() if isinstance(job, RuntimeJob)]

    # -- jobs

    async def _submit(self, request: web.Request) -> web.Response:
        document = as_json(await request.text())
        check(document)
        device, account, session = self.device(document["backend"]), request[ACCOUNT], None
        if "session_id" in document and document["session_id"] is not None:
            session = self._session(request, document["session_id"])
            if not session.is_accepting:
                raise Refusal(400, 1217, f"Session {session.id} accepts no jobs.", "Open another session.")
            if session.device not in (None, device.name):
                raise invalid(f"Session {session.id} is for backend {session.device}.", "backend")
        limit = self.runtime_options.usage_limit_s
        if limit is not None and self._used_s(account) >= limit:
            raise Refusal(409, 1351, "The usage limit of the instance is reached.", "Raise it, or wait for the next.")
        job = RuntimeJob(
            str(uuid.uuid4()),
            account,
            device.name,
            document["program_id"],
            document,
            limit_s=min(document.get("cost") or _USUAL_COST_S, MOST_COST_S),
            created_s=self.clock.now(),
            session=session,
            tags=tuple(document.get("tags") or ()),
            is_private=document.get("private") is True,
        )
        if session is not None:
            session.joined(job.id)
        self.take(job, request.get(FAULT))
        ids = {"id": job.id, "backend": job.device, **({"session_id": session.id} if session else {})}
        return web.json_response(ids)

    async def _list(self, request: web.Request) -> web.Response:
        query = request.query
        self._look_at_the_clock()
        limit, offset = number(query.get("limit", "10"), "limit"), number(query.get("offset", "0"), "offset")
        found = [job for job in self._all() if job.account is request[ACCOUNT] and matches(job, request)]
        found.sort(key=lambda job: job.created_s, reverse=query.get("sort", "DESC").upper() != "ASC")
        is_brief = query.get("exclude_params") == "true"
        page = [shown(job, self.clock.now(), is_brief) for job in found[offset : offset + limit]]
        return web.json_response({"jobs": page, "count": len(found), "offset": offset, "limit": limit})

    async def _show(self, request: web.Request) -> web.Response:
        return web.json_response(
            shown(self._job(request), self.clock.now(), request.query.get("exclude_params") == "true")
        )

    def _job(self, request: web.Request) -> RuntimeJob:
        self._look_at_the_clock()
        job = self.job(request)
        assert isinstance(job, RuntimeJob)
        return job

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self._job(request)
        if job.is_ended:
            raise Refusal(409, 1306, f"Job {job.id} has ended and cannot be cancelled.", "Delete it.")
        self.cancel(job)
        return web.Response(status=204)

    async def _delete(self, request: web.Request) -> web.Response:
        job = self._job(request)
        if not job.is_ended:
            raise Refusal(409, 1337, f"Job {job.id} has not ended.", "Cancel it first.")
        del self.jobs[job.id]
        return web.Response(status=204)

    async def _results(self, request: web.Request) -> web.Response:
        """What it came to; where that is no result, the error. Nothing (204) before its end."""
        job = self._job(request)
        if not job.is_ended:
            return web.Response(status=204)
        if job.result is None:
            return _text(f"Traceback (most recent call last):\n{job.reason_code or ''} {job.reason or ''}\n".encode())
        if job.is_private and job.was_read:
            raise Refusal(404, 1291, f"The results of private job {job.id} were read before.")
        job.was_read = True
        return _text(job.result)

    async def _logs(self, request: web.Request) -> web.Response:
        return _text(self._job(request).log.encode())

    async def _metrics(self, request: web.Request) -> web.Response:
        job = self._job(request)
        used_s = job.busy_s(self.clock.now())
        times = {"created": job.created_s, "running": job.started_s, "finished": job.ended_s}
        return web.json_response(
            {
                "timestamps": {name: None if at_s is None else iso(at_s) for name, at_s in times.items()},
                "usage": {"quantum_seconds": used_s, "seconds": used_s},
                "bss": {"seconds": used_s},
                "qiskit_version": "emulated",
                "executions": 1,
                "num_qubits": [],
                "num_circuits": len(job.document["params"].get("pubs", [])),
            }
        )

    async def _tag(self, request: web.Request) -> web.Response:
        job, given = self._job(request), as_json(await request.text()).get("tags")
        job.tags = tags(given)
        return web.Response(status=204)

    # -- what the processor needs

    async def _load(self, job: Job) -> bytes:
        return json.dumps(job.document["params"]).encode()

    async def _save(self, job: Job) -> None:
        """The result is read from the job itself."""


def _text(content: bytes) -> web.Response:
    return web.Response(body=content, content_type="text/plain", charset="utf-8")
