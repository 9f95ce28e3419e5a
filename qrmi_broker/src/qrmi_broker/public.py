"""What jobs may ask: resources and tasks. Another user's task is not found, whoever asks and whatever token he has."""

from __future__ import annotations

import base64
import math
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import attrs
from aiohttp import web

from qrmi_broker import asker, jobenv, tasks
from qrmi_broker.answers import as_json
from qrmi_broker.asker import Asker
from qrmi_broker.broker import Broker
from qrmi_broker.lease import Lease, LeaseState
from qrmi_broker.permission import Permission
from qrmi_broker.spool import Spooled, TooLarge
from qrmi_broker.threads import Threads
from qrmi_broker.vendor import Vendor
from qrmi_core import protocol
from qrmi_core.config import ResourceConfig
from qrmi_core.errors import (
    AuthorizationRefused,
    NotOffered,
    PayloadError,
    ResourceUnavailable,
)
from qrmi_core.models import TaskStatus
from qrmi_core.payload import Payload
from qrmi_core.redaction import mask

BROKER: web.AppKey[Broker] = web.AppKey("broker", Broker)
_LONGEST_KEY = 256
_DIRECTORY = Threads("directory")
_AT_ONCE_BYTES = 1 << 16
"""A result up to this size is read and sent at once; streaming costs several walks to other threads."""


def routes() -> list[web.RouteDef]:
    """The public API."""
    one, of_task = "/v1/resources/{name}", "/v1/tasks/{id}"
    return [
        web.get("/v1/resources", list_resources),
        web.get(one, show_resource),
        web.get(f"{one}/target", target),
        web.get(f"{one}/metadata", metadata),
        web.post(f"{one}/tasks", start_task),
        web.get(f"{one}/tasks", find_task),
        web.post(f"{one}/plan", plan_task),
        web.get(of_task, show_task),
        web.delete(of_task, stop_task),
        web.get(f"{of_task}/result", task_result),
        web.get(f"{of_task}/logs", task_logs),
        web.get(f"{of_task}/usage", task_usage),
    ]


async def list_resources(request: web.Request) -> web.Response:
    """The resources that the user may see."""
    broker = request.app[BROKER]
    uid = _asker(request).uid
    seen = await _shown(broker.vendors.values(), uid)
    return as_json({"resources": [_facts(vendor) for vendor in seen]})


async def show_resource(request: web.Request) -> web.Response:
    """One resource, without secrets; with ``check=1`` also whether it accepts tasks now."""
    vendor = await _vendor(request)
    found = _facts(vendor)
    found |= {"payloads": sorted((await vendor.backend()).payloads), "settings": await jobenv.public_settings(vendor)}
    if request.query.get("check"):
        found["is_accessible"] = vendor.drained is None and await vendor.told("is_accessible")
    return as_json(found)


async def target(request: web.Request) -> web.Response:
    """What a compiler needs to know, as the vendor serialises it."""
    return web.Response(text=await (await _vendor(request)).target(), content_type="application/json")


async def metadata(request: web.Request) -> web.Response:
    """Facts for people."""
    return as_json(await (await _vendor(request)).told("metadata"))


async def start_task(request: web.Request) -> web.Response:
    """Submit the body, as a task of the lease whose token is given. The same key is the same task."""
    broker, lease = request.app[BROKER], _lease(request)
    key = _header(request, protocol.KEY_HEADER) or tasks.new_id()
    if len(key) > _LONGEST_KEY:
        raise PayloadError(protocol.KEY_HEADER, "", f"is longer than {_LONGEST_KEY} characters", "Use a uuid")
    if broker.tasks.queued_of(lease.grant.run.uid) >= asker.OPEN_TASKS:
        raise ResourceUnavailable(lease.resource, f"you have {asker.OPEN_TASKS} tasks that have not ended")
    task_id = tasks.new_id()
    spooled = await _spooled(request, broker, task_id)
    source = _header(request, protocol.SOURCE_HEADER) or "payload"
    started = await broker.tasks.start(
        lease, kind=_kind(request), key=key, task_id=task_id, spooled=spooled, source=source
    )
    return as_json({"id": started}, status=201)


async def plan_task(request: web.Request) -> web.Response:
    """What would run; nothing is submitted."""
    broker, lease = request.app[BROKER], _lease(request)
    task_id = tasks.new_id()
    spooled = await _spooled(request, broker, task_id)
    try:
        source = _header(request, protocol.SOURCE_HEADER) or "payload"
        content = broker.spool.content(task_id, spooled.small)
        payload = Payload(_kind(request), spooled.size_bytes, source, content)
        plan = await broker.vendors[lease.resource].ask("task_plan", payload)
    finally:
        broker.spool.forget_payload(task_id)
    return as_json(attrs.asdict(plan))


async def find_task(request: web.Request) -> web.Response:
    """The id of the user's task that has this key, or null."""
    vendor = await _vendor(request)
    found = request.app[BROKER].tasks.find_key(_asker(request).uid, vendor.name, request.query.get("key", ""))
    return as_json({"id": found})


async def show_task(request: web.Request) -> web.Response:
    """A task's state; with ``wait_s`` after its end, or after so long; with ``result=1`` and a small one, in base64."""
    try:
        wait_s = float(request.query.get("wait_s", "0"))
    except ValueError:
        wait_s = math.nan
    if not 0 <= wait_s <= protocol.MOST_WAIT_S:
        raise PayloadError("wait_s", "", "is no number of seconds", f"Give 0 to {protocol.MOST_WAIT_S:g}")
    task_id = request.match_info["id"]
    task = await request.app[BROKER].tasks.find(task_id, _asker(request).uid, wait_s=wait_s)
    found = {"id": task_id, **attrs.asdict(task.state)}
    if not request.query.get("result") or task.result is None or task.state.status is not TaskStatus.COMPLETED:
        return as_json(found)
    said = {name: mask(value) if isinstance(value, str) else value for name, value in found.items()}
    return web.json_response({**said, "result": base64.b64encode(task.result).decode()})  # the user's, letter by letter


async def stop_task(request: web.Request) -> web.Response:
    """Ask for a task's end. Idempotent."""
    await request.app[BROKER].tasks.stop(request.match_info["id"], _asker(request).uid)
    return web.Response(status=204)


async def task_result(request: web.Request) -> web.StreamResponse:
    """The result of a completed task."""
    found = await request.app[BROKER].tasks.result(request.match_info["id"], _asker(request).uid)
    headers = {"Content-Type": "application/octet-stream"}
    if isinstance(found, Path):
        if found.stat().st_size > _AT_ONCE_BYTES:
            return web.FileResponse(found, headers=headers)
        found = found.read_bytes()
    return web.Response(body=found, headers=headers)


async def task_logs(request: web.Request) -> web.Response:
    """What the vendor logged about the task."""
    return web.Response(text=await request.app[BROKER].tasks.logs(request.match_info["id"], _asker(request).uid))


async def task_usage(request: web.Request) -> web.Response:
    """What the task has cost."""
    task = await request.app[BROKER].tasks.find(request.match_info["id"], _asker(request).uid)
    if task.qpu_s is None:
        raise NotOffered("qrmid", "task_usage of this task")
    return as_json({"qpu_s": task.qpu_s})


# -- who asks for what


def _asker(request: web.Request) -> Asker:
    found: Asker = request["asker"]
    return found


def _token_lease(request: web.Request) -> Lease | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    fence = request.app[BROKER].tokens.fence_of(token) if scheme == "Bearer" else None
    lease = None if fence is None else request.app[BROKER].leases.by_fence(fence)
    if lease is None or lease.grant.run.uid != _asker(request).uid:
        return None
    return lease if request.app[BROKER].tokens.proves(token, lease) else None


def _lease(request: web.Request) -> Lease:
    """The lease whose token is given.

    Raises:
        AuthorizationRefused: there is none, it has ended, or it is another user's: all in the same words.
    """
    name, lease = request.match_info["name"], _token_lease(request)
    if lease is None or name not in (lease.resource, lease.alias) or lease.state is not LeaseState.ACTIVE:
        raise AuthorizationRefused(name, "this job has no lease on it, or its lease has ended")
    return lease


async def _shown(vendors: Iterable[Vendor], uid: int) -> list[Vendor]:
    """Those that this user may see. A directory of users that hangs holds up nobody who need not ask it."""
    shown, asked = list(vendors), [vendor.entry for vendor in vendors if not _is_for_all(vendor.entry)]
    if not asked:
        return shown
    hidden = await _DIRECTORY.run(lambda: {entry.name for entry in asked if not Permission.shows(entry, uid)})
    return [vendor for vendor in shown if vendor.name not in hidden]


def _is_for_all(entry: ResourceConfig) -> bool:
    return entry.public or entry.allow == type(entry.allow)()


async def _vendor(request: web.Request) -> Vendor:
    """The resource of the path, as the lease knows it or as the configuration does.

    Raises:
        HTTPNotFound: there is none that this user may see.
    """
    name, lease = request.match_info["name"], _token_lease(request)
    vendors = request.app[BROKER].vendors
    if lease is not None and name in (lease.resource, lease.alias):
        return vendors[lease.resource]
    vendor, uid = vendors.get(name), _asker(request).uid
    if vendor is None or not await _shown([vendor], uid):
        raise web.HTTPNotFound(text=f"the broker has no resource {name!r}, or no longer")
    return vendor


def _facts(vendor: Vendor) -> dict[str, Any]:
    entry = vendor.entry
    return {
        "name": vendor.name,
        "type": entry.type,
        "description": entry.description,
        "lanes": entry.lanes,
        "free": vendor.has_lane_for(exclusive=False),
        "drained": vendor.drained,
    }


def _header(request: web.Request, name: str) -> str:
    """The header *name*, or an empty text.

    Raises:
        PayloadError: it holds bytes that are no UTF-8.
    """
    text = unquote(request.headers.get(name, ""))
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PayloadError(name, "", "is not UTF-8", "Percent-encode it") from None
    return text


def _kind(request: web.Request) -> str:
    kind = _header(request, protocol.KIND_HEADER)
    if not kind:
        raise PayloadError(protocol.KIND_HEADER, "", "is missing", "Name the payload's kind in this header")
    return kind


async def _spooled(request: web.Request, broker: Broker, task_id: str) -> Spooled:
    """Store the body; users may have so many bytes under way, announced or not."""
    uid, name, counted, come = _asker(request).uid, request.match_info["name"], 0, 0

    def count(size: int) -> None:
        nonlocal counted
        if broker.in_flight[uid] + size > asker.BYTES_IN_FLIGHT:
            raise ResourceUnavailable(name, "you are sending too many payloads at once")
        broker.in_flight[uid] += size
        counted += size

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal come
        async for chunk in request.content.iter_any():
            come += len(chunk)
            count(max(0, come - counted))
            yield chunk

    try:
        count(request.content_length or 0)
        return await broker.spool.take(task_id, chunks())
    except TooLarge:
        raise PayloadError("payload", "", "is larger than 100 MB", "Submit it in several tasks") from None
    except OSError as exc:
        raise ResourceUnavailable(name, f"the broker cannot store the payload: {exc.strerror}") from exc
    finally:
        broker.in_flight[uid] -= counted
        if not broker.in_flight[uid]:
            del broker.in_flight[uid]
