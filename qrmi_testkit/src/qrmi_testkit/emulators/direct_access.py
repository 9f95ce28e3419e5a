"""The Quantum System API, also known as Direct Access, with its S3-compatible storage."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import ClientError, ClientSession, web
from attrs import frozen

from qrmi_core import TaskStatus
from qrmi_testkit.emulators.accounts import Account
from qrmi_testkit.emulators.clock import iso
from qrmi_testkit.emulators.emulator import ACCOUNT, MOST_BYTES, Emulator, serve, trace
from qrmi_testkit.emulators.jobs import Failed, Job, Processor
from qrmi_testkit.emulators.misbehaviour import FAULT
from qrmi_testkit.emulators.options import Options
from qrmi_testkit.emulators.refusal import MORE_INFO, Refusal, as_json, invalid
from qrmi_testkit.emulators.storage import Storage, expired_s

_LEVELS = ("debug", "info", "warning", "error", "critical")
_STORES = {"input": True, "results": True, "logs": False}
"""Name -> it must be there."""


@frozen(kw_only=True)
class DirectAccessOptions(Options):
    """How an emulator of Direct Access is set up."""

    storage_port: int = 0
    """Where its storage listens on 127.0.0.1; 0 takes a free port."""


class DirectAccess(Emulator):
    """Direct Access: clients choose the ids of jobs, and inputs, results and logs go through storage.

    A job is Running from the first; every job that was not deleted, ended or not, takes one lane of its backend.
    """

    submission = "/v1/jobs"
    resource_type = "direct-access"

    def __init__(self, options: DirectAccessOptions) -> None:
        self.storage = Storage()
        super().__init__(options)
        self._storage_port = options.storage_port
        self._session: ClientSession | None = None

    @property
    def storage_url(self) -> str:
        """Where its storage listens."""
        return f"http://127.0.0.1:{self._storage_port}"

    def variables(self, account: Account, prefix: str = "QRMI_IBM_DA") -> dict[str, str]:
        found = {
            "ENDPOINT": self.url,
            "IAM_ENDPOINT": self.url,
            "IAM_APIKEY": account.api_key,
            "SERVICE_CRN": account.crn,
            "S3_ENDPOINT": self.storage_url,
            "S3_BUCKET": self.storage.bucket,
            "S3_REGION": self.storage.region,
            "AWS_ACCESS_KEY_ID": self.storage.access_key,
            "AWS_SECRET_ACCESS_KEY": self.storage.secret_key,
        }
        return {f"{prefix}_{suffix}": value for suffix, value in found.items()}

    def objects(self) -> list[str]:
        """The keys of what lies in the storage now."""
        return self.storage.objects()

    # -- the parts of an emulator

    async def open(self) -> None:
        await self.storage.open(self.clock)
        self._session = ClientSession()
        app = web.Application(middlewares=[self.noting(self.storage.error)], client_max_size=MOST_BYTES)
        app.on_response_prepare.append(self.dated)
        app.add_routes(self.storage.routes())
        self._storage_runner, self._storage_port = await serve(app, self._storage_port)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            await self._storage_runner.cleanup()
        await self.storage.close()

    def all_routes(self) -> Iterable[web.RouteDef]:
        yield from super().all_routes()
        yield from self.storage.routes()

    def processor(self, device: str) -> Processor:
        lanes = asyncio.Semaphore(self.options.lanes)
        return Processor(self.clock, self.simulator, self._load, self._save, lanes, self.tell)

    def error_body(self, refused: Refusal) -> dict[str, Any]:
        error: dict[str, Any] = {"code": str(refused.code), "message": refused.message, "more_info": MORE_INFO}
        error["solution"] = refused.solution
        if refused.target:
            error["target"] = dict(refused.target)
        return {"status_code": refused.status, "title": refused.title, "trace": trace(), "errors": [error]}

    def routes(self) -> Iterable[web.RouteDef]:
        yield web.get("/version", self._version)
        yield web.get("/versions", self._versions)
        yield web.get("/v1/backends", self._backends)
        yield web.get("/v1/backends/{name}", self._backend)
        yield web.get("/v1/backends/{name}/configuration", self._configuration)
        yield web.get("/v1/backends/{name}/properties", self._properties)
        yield web.get("/v1/backends/{name}/defaults", self._defaults)
        yield web.get("/v1/backends/{name}/lanes", self._lanes)
        yield web.post("/v1/jobs", self._submit)
        yield web.get("/v1/jobs", self._list)
        yield web.get("/v1/jobs/{id}", self._show)
        yield web.post("/v1/jobs/{id}/cancel", self._cancel)
        yield web.delete("/v1/jobs/{id}", self._delete)

    # -- backends

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "0.7.0"})

    async def _versions(self, request: web.Request) -> web.Response:
        return web.json_response({"versions": ["2025-08-01"]})

    async def _backends(self, request: web.Request) -> web.Response:
        return web.json_response({"backends": [self._facts(name) for name in self.devices]})

    async def _backend(self, request: web.Request) -> web.Response:
        return web.json_response(self._facts(request.match_info["name"]))

    def _facts(self, name: str) -> dict[str, Any]:
        device = self.device(name)
        version = device.configuration["backend_version"]
        facts = {"name": name, "status": device.status, "version": version, "locked": device.is_locked}
        return {**facts, "message": device.message}

    async def _configuration(self, request: web.Request) -> web.Response:
        return web.json_response(self.device(request.match_info["name"]).configuration)

    async def _properties(self, request: web.Request) -> web.Response:
        return web.json_response(self.device(request.match_info["name"]).properties)

    async def _defaults(self, request: web.Request) -> web.Response:
        self.device(request.match_info["name"])
        raise Refusal(501, 1337, "Pulse defaults are not offered.", title="server error")

    async def _lanes(self, request: web.Request) -> web.Response:
        self.device(request.match_info["name"])
        lanes = {"hpc_workload_manager": {"lanes": self.options.lanes}, "ibm_quantum_compute": {"lanes": 0}}
        return web.json_response(lanes)

    # -- jobs

    async def _submit(self, request: web.Request) -> web.Response:
        document = as_json(await request.text())
        _check(document)
        device = self.device(document["backend"])
        if document["id"] in self.jobs:
            raise Refusal(409, 1231, f"Job {document['id']} exists already.", "Choose another id.")
        if device.is_locked:
            raise Refusal(423, 1232, f"Backend {device.name} is reserved.", "Wait for the end of the reservation.")
        if device.status != "online":
            raise Refusal(503, 1337, f"Backend {device.name} is {device.status}.", title="service inactive")
        if sum(job.device == device.name for job in self.jobs.values()) >= self.options.lanes:
            text = f"All {self.options.lanes} execution lanes of {device.name} are in use."
            raise Refusal(429, 1232, text, "Delete a job that has ended.", text)
        job = Job(
            document["id"],
            request[ACCOUNT],
            device.name,
            document["program_id"],
            document,
            limit_s=float(document["timeout_secs"]),
            created_s=self.clock.now(),
        )
        self.take(job, request.get(FAULT))
        return web.Response(status=204)

    async def _list(self, request: web.Request) -> web.Response:
        mine = [self._shown(job) for job in self.jobs.values() if job.account is request[ACCOUNT]]
        return web.json_response({"jobs": mine})

    async def _show(self, request: web.Request) -> web.Response:
        return web.json_response(self._shown(self.job(request)))

    def _shown(self, job: Job) -> dict[str, Any]:
        names = {TaskStatus.COMPLETED: "Completed", TaskStatus.FAILED: "Failed", TaskStatus.CANCELLED: "Cancelled"}
        shown: dict[str, Any] = {
            "id": job.id,
            "backend": job.device,
            "program_id": job.program,
            "status": names.get(job.status, "Running"),
            "created_time": iso(job.created_s),
            "storage": job.document["storage"],
            "log_level": job.document.get("log_level", "warning"),
            "timeout_secs": job.document["timeout_secs"],
            "usage": {"quantum_nanoseconds": int(job.busy_s(self.clock.now()) * 1e9)},
        }
        if job.ended_s is not None:
            shown["end_time"] = iso(job.ended_s)
        if job.status is TaskStatus.FAILED:
            solution = "Mend the cause and submit the job again."
            shown |= {"reason_code": job.reason_code, "reason_message": job.reason, "reason_solution": solution}
        return shown

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self.job(request)
        if job.is_ended:
            raise Refusal(409, 1306, f"Job {job.id} has ended and cannot be cancelled.", "Delete it.")
        self.cancel(job)
        return web.Response(status=204)

    async def _delete(self, request: web.Request) -> web.Response:
        job = self.job(request)
        if not job.is_ended:
            raise Refusal(409, 1337, f"Job {job.id} has not ended.", "Cancel it first.")
        del self.jobs[job.id]
        return web.Response(status=204)

    # -- storage, as the service uses it

    async def _load(self, job: Job) -> bytes:
        return await self._transfer(job, "input", "GET")

    async def _save(self, job: Job) -> None:
        if job.result is not None:
            await self._transfer(job, "results", "PUT", job.result)
        if "logs" in job.document["storage"]:
            await self._transfer(job, "logs", "PUT", job.log.encode())

    async def _transfer(self, job: Job, what: str, method: str, content: bytes | None = None) -> bytes:
        """Use the presigned URL of *what*. Any status but 200 is a failure, as it is for the service."""
        assert self._session is not None
        url = job.document["storage"][what]["presigned_url"]
        if (late_s := expired_s(url, self.clock.now())) is not None:
            raise Failed(f"The presigned URL of {what} expired {late_s:.0f} s ago")
        headers = {} if content is None else {"Content-Type": "application/octet-stream"}
        try:
            async with self._session.request(method, url, data=content, headers=headers) as reply:
                body = await reply.read()
        except (ClientError, TimeoutError, ValueError) as exc:
            raise Failed(f"The presigned URL of {what} cannot be used: {exc}") from exc
        if reply.status != 200:
            raise Failed(f"The presigned URL of {what} cannot be used: status {reply.status}")
        return body


def _check(document: Mapping[str, Any]) -> None:
    for name in ("id", "backend", "program_id"):
        if not isinstance(document.get(name), str) or not 1 <= len(document[name]) <= 256:
            raise invalid(f"{name} must be text of 1 to 256 characters.", name)
    timeout = document.get("timeout_secs")
    if type(timeout) is not int or timeout < 1:
        raise invalid("timeout_secs must be a whole number, 1 or more.", "timeout_secs")
    if document.get("log_level", "warning") not in _LEVELS:
        raise invalid(f"log_level must be one of {', '.join(_LEVELS)}.", "log_level")
    stores = document.get("storage")
    if not isinstance(stores, dict):
        raise invalid("storage must be an object.", "storage")
    for name, is_required in _STORES.items():
        if name not in stores and not is_required:
            continue
        store = stores.get(name)
        if not isinstance(store, dict) or store.get("type") != "s3_compatible":
            raise invalid(f"storage.{name} must be an object of type s3_compatible.", f"storage.{name}")
        if not isinstance(store.get("presigned_url"), str):
            raise invalid(f"storage.{name}.presigned_url must be text.", f"storage.{name}.presigned_url")
