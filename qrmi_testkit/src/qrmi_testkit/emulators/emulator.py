"""An HTTP server on loopback, in a thread of its own: what the emulated services have in common."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from types import TracebackType
from typing import Any, ClassVar, Self

from aiohttp import web
from aiohttp.typedefs import Middleware

from qrmi_core import log
from qrmi_testkit.emulators import devices, refusal
from qrmi_testkit.emulators.accounts import Account, Accounts
from qrmi_testkit.emulators.clock import Clock
from qrmi_testkit.emulators.control import PREFIX, Control
from qrmi_testkit.emulators.faults import Fault, Faults, every
from qrmi_testkit.emulators.iam import Iam
from qrmi_testkit.emulators.jobs import Job, Processor
from qrmi_testkit.emulators.journal import Journal, Request
from qrmi_testkit.emulators.misbehaviour import FAULT, Dropped, Errors, Handler, misbehave
from qrmi_testkit.emulators.options import Options
from qrmi_testkit.emulators.refusal import Refusal
from qrmi_testkit.emulators.simulator import Simulator

_log = log.logger(part="emulator")
_HOST = "127.0.0.1"
MOST_BYTES = 1 << 28
"""Of the body of a request."""
_PATIENCE_S = 30.0
ACCOUNT: web.RequestKey[Account] = web.RequestKey("account", Account)


class Emulator:
    """One emulated service: a context manager that serves while it is open. Any thread may use it."""

    base_path: ClassVar[str] = ""
    """Before the paths of the service's routes."""
    submission: ClassVar[str]
    """The route that submits a job, by POST."""
    resource_type: ClassVar[str]
    """The type of a resource that uses it."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.clock = Clock()
        self.requests = Journal()
        self.accounts = Accounts(self.clock, options.token_ttl_s, [options.account])
        self.devices = devices.offered(options.devices)
        self.faults = Faults(every(self.all_routes()), [("POST", self.submission)])
        self.faults.extend(options.faults)
        self.jobs: dict[str, Job] = {}
        """By their ids; one that was deleted is in it no longer."""
        self.submitted: list[Job] = []
        """Every job that was ever accepted, in order."""
        self.port = options.port
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name=f"emulator {self.resource_type}", daemon=True)
        self._processors: dict[str, Processor] = {}

    # -- for tests and programs

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{_HOST}:{self.port}"

    def add_account(self) -> Account:
        """Let one more account in; it sees none of the others' jobs."""
        account = Account.new(len(self.accounts.known))
        self.accounts.known.append(account)
        return account

    def environment(self, name: str | None = None, *, account: Account | None = None) -> dict[str, str]:
        """The variables that a resource needs to use the device *name*, without the resource's name in front."""
        if name is not None and name not in self.devices:
            raise KeyError(f"there is no device {name}; there are {', '.join(self.devices)}")
        return self.variables(account or self.options.account)

    def variables(self, account: Account) -> dict[str, str]:
        """The variables that a resource of *account* needs."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """A ``qrmi_config.json`` with a resource for each device."""
        names = self.devices
        return {
            "resources": [
                {"name": name, "type": self.resource_type, "environment": self.environment(name)} for name in names
            ]
        }

    def start(self) -> Self:
        """Serve, and return when it does."""
        self._thread.start()
        self._started.wait(_PATIENCE_S)
        if self._failure is not None:
            raise self._failure
        return self

    def stop(self) -> None:
        """Serve no longer. What was not ended is cancelled, and what was computed is forgotten."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(_PATIENCE_S)

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """Stop in the end what was started."""
        try:
            yield
        finally:
            self.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    # -- for a service

    def routes(self) -> Iterable[web.RouteDef]:
        """The service's routes."""
        raise NotImplementedError

    def all_routes(self) -> Iterable[web.RouteDef]:
        """Those that may misbehave: the service's, those of IAM, and of what else it needs."""
        yield from Iam(self.accounts).routes()
        yield from self.routes()

    def error_body(self, refused: Refusal) -> dict[str, Any]:
        """How the service writes an error."""
        raise NotImplementedError

    def processor(self, device: str) -> Processor:
        """The processor of *device*."""
        raise NotImplementedError

    async def open(self) -> None:
        """Start what else it needs, in the emulator's thread."""

    async def close(self) -> None:
        """End it."""

    def is_open_to_all(self, request: web.Request) -> bool:
        """It is answered without a token."""
        is_ours = request.path.startswith(PREFIX)
        return is_ours or request.path in ("/identity/token", "/version", "/versions") or not _route(request)

    def device(self, name: str) -> devices.Device:
        """The device *name*.

        Raises:
            Refusal: there is none.
        """
        if name not in self.devices:
            raise refusal.no_backend(name)
        return self.devices[name]

    def job(self, request: web.Request) -> Job:
        """The job that *request* names.

        Raises:
            Refusal: there is none, or it is somebody else's.
        """
        job_id = request.match_info["id"]
        job = self.jobs.get(job_id)
        if job is None or job.account is not request[ACCOUNT]:
            raise refusal.no_job(job_id)
        return job

    def take(self, job: Job, fault: Fault | None) -> None:
        """Begin to work on *job*, which may have met a *fault*."""
        job.service_s = self.options.service_s
        if fault is not None:
            job.ahead, job.failure, job.failure_code = fault.ahead, fault.fail, fault.fail_code
            job.service_s = job.service_s if fault.service_s is None else fault.service_s
        self.jobs[job.id] = job
        self.submitted.append(job)
        if job.device not in self._processors:
            self._processors[job.device] = self.processor(job.device)
        self._processors[job.device].submit(job)

    def cancel(self, job: Job) -> None:
        """End *job*, which has not ended."""
        self._processors[job.device].cancel(job)

    def tell(self, event: str, **facts: object) -> None:
        """Say what happened, if anybody wants to hear it."""
        if self.options.is_talkative:
            _log.info(event, **facts)

    # -- the server

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._until_stopped())
        except BaseException as exc:  # noqa: BLE001 - whoever started us raises it
            self._failure = exc
        finally:
            self._started.set()
            self._loop.close()

    async def _until_stopped(self) -> None:
        self.simulator = Simulator(self.options.simulator, threads=self.options.lanes * len(self.devices) + 2)
        try:
            await self.open()
            app = web.Application(
                middlewares=[self.noting(self._error), self._answered, self._authorised], client_max_size=MOST_BYTES
            )
            app.on_response_prepare.append(self.dated)
            app.add_routes([*Control(self).routes(), *Iam(self.accounts).routes(), *self.routes()])
            runner, self.port = await serve(app, self.port)
            self._started.set()
            self.tell("emulator.started", type=self.resource_type, url=self.url, devices=sorted(self.devices))
            works = [asyncio.create_task(self.simulator.warm())] if self.options.is_warm else []
            await self._stopping.wait()
            self.simulator.is_closing = True
            works += [work for processor in self._processors.values() for work in processor.works]
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)
            await runner.cleanup()
        finally:
            await self.close()
            self.simulator.close()

    def noting(self, errors: Errors) -> Middleware:
        """A middleware that writes each request down and lets it meet its fault."""

        @web.middleware
        async def noted(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path.startswith(PREFIX):
                return await handler(request)
            method, route = request.method, _route(request)
            headers, size_bytes = Journal.harmless(request.headers), request.content_length
            note = Request(method, route, request.path_qs, self.clock.now(), headers, size_bytes)
            self.requests.requests.append(note)
            fault = self.faults.take(method, route)
            if fault is None:
                response = await handler(request)
            else:
                note.fault = True
                self.tell("request.faulted", method=method, route=route, effects=sorted(fault.effects))
                request[FAULT] = fault
                if fault.expire_tokens:
                    self.accounts.expire()
                try:
                    response = await misbehave(fault, request, handler, errors)
                except Dropped:
                    return web.Response(status=500)  # to nobody
            note.status = response.status
            return response

        return noted

    async def dated(self, request: web.Request, response: web.StreamResponse) -> None:
        """Every answer carries the emulator's time: whoever signs for it must not use another."""
        response.headers["Date"] = formatdate(self.clock.now(), usegmt=True)

    def _error(self, refused: Refusal) -> web.Response:
        return web.json_response(self.error_body(refused), status=refused.status)

    @web.middleware
    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refusal as exc:
            return self._error(exc)
        except web.HTTPException as exc:  # no such route, a method that it lacks, a body that is too large
            return self._error(Refusal(exc.status, 1337, f"{request.method} {request.path}: {exc.reason}"))
        except Exception as exc:  # noqa: BLE001 - a fault of ours is an answer too, and said
            _log.error("request.broken", path=request.path, exc_info=exc)
            return self._error(Refusal(500, 1337, f"the emulator failed: {exc!r}"))

    @web.middleware
    async def _authorised(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self.is_open_to_all(request):
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            account = self.accounts.of_token(token) if scheme.lower() == "bearer" else None
            if account is None:
                raise refusal.invalid_credentials()
            if "Service-CRN" not in request.headers:
                raise refusal.invalid("The header Service-CRN is missing.", "Service-CRN", "header")
            if request.headers["Service-CRN"] != account.crn:
                raise refusal.not_authorised()
            request[ACCOUNT] = account
        return await handler(request)


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return "" if resource is None else resource.canonical


async def serve(app: web.Application, port: int) -> tuple[web.AppRunner, int]:
    """Serve *app* on loopback, and return where."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, _HOST, port)
    await site.start()
    return runner, int(runner.addresses[0][1])


def trace() -> str:
    """What an error is found by in the service's own logs."""
    return uuid.uuid4().hex
