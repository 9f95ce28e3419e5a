"""What Slurm and administrators may ask: leases, drains, metrics, usage."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping

from aiohttp import web

from qrmi_broker import jobenv, leaserequest, records
from qrmi_broker.answers import as_json, wants_lines
from qrmi_broker.broker import Broker
from qrmi_broker.deathwatch import LEASE_HEADER
from qrmi_broker.lease import Grant, Wanted
from qrmi_broker.public import BROKER
from qrmi_core import protocol
from qrmi_core.errors import PayloadError, ResourceUnavailable, shown
from qrmi_core.payload import parse_json
from qrmi_core.redaction import mask

ANSWER_S = 2.0
"""How long an answer about a lease may take; what takes longer is pending."""
_MOST_LINES_BYTES = 1 << 16
_MOST_ERROR = 194
"""Characters: the plugin puts ``qrmi: `` in front, and a line of its is no longer than 200."""


def routes() -> list[web.RouteDef]:
    """The administrators' API."""
    return [
        web.post("/v1/leases", ask),
        web.get("/v1/leases", list_leases),
        web.get("/v1/leases/{id}", show),
        web.delete("/v1/leases/{id}", release),
        web.post("/v1/resources/{name}/drain", drain),
        web.post("/v1/resources/{name}/resume", resume),
        web.get("/v1/usage", usage),
        web.get("/v1/health", health),
        web.get("/metrics", metrics),
    ]


async def ask(request: web.Request) -> web.Response:
    """All the resources that a run wants, or none. Answers within 2 s: granted, failed, or pending.

    With ``watch=1`` the leases end when the process that asks has ended, with ``watch=PID:PARENT`` (its own number and
    its parent's) when its parent has: that is for the batch step of a job.
    """
    made = leaserequest.read(await request.read())
    grant = await request.app[BROKER].leases.ask(made.run, made.facts, made.resources, wait_s=made.wait_s)
    if grant.failure is None and made.resources != grant.wanted:
        _check_covers(grant, made.resources, request.app[BROKER])
    return await _answer(request, grant, made.resources)


async def show(request: web.Request) -> web.Response:
    """What became of a request; waits for up to 2 s for what is pending."""
    return await _answer(request, _grant(request))


async def release(request: web.Request) -> web.Response:
    """End the leases of a run; with ``wait_s`` answers when the lanes are free, or after so long. Idempotent.

    With ``force=1`` also those of unknown outcome: the administrator has seen at the vendor that no session is open.
    """
    leases = request.app[BROKER].leases
    grant = leases.find(request.match_info["id"])
    if grant is not None:
        reason, is_forced = request.query.get("reason", "released")[:200], request.query.get("force") == "1"
        wait_s = _number(request, "wait_s", 0.0, most=3600)
        ending = leases.release(grant, reason, is_forced=is_forced)
        done, _ = await asyncio.wait([ending], timeout=wait_s)
        if not done or ending.exception() is not None or any(map(leases.lanes.has, grant.leases)):
            return as_json({"state": "releasing"}, status=202)
    if (name := leases.orphans.get(request.match_info["id"])) is not None:
        problem = "is not in qrmi_config.json any longer, and its session may be open: put it back and restart qrmid"
        raise ResourceUnavailable(name, problem)
    return as_json({"state": "released"})


async def list_leases(request: web.Request) -> web.Response:
    """Every lease that is held or waited for."""
    found = [
        {
            "id": grant.id,
            "state": grant.state,
            "cluster": grant.run.cluster,
            "job_id": grant.run.job_id,
            "uid": grant.run.uid,
            "resources": [one.name for one in grant.wanted],
            "leases": [{"resource": one.resource, "fence": one.fence, "state": one.state} for one in grant.leases],
            "expires_at": grant.expires_at,
        }
        for grant in request.app[BROKER].leases
    ]
    return as_json({"leases": found})


async def drain(request: web.Request) -> web.Response:
    """Give no more leases on a resource, and say why."""
    document = parse_json(await request.read() or b"{}", "drain request")
    reason = document.get("reason") if isinstance(document, dict) else None
    if not isinstance(reason, str) or not reason.strip():
        raise PayloadError("drain request", "$.reason", "is missing", "Say why, for those who wait")
    await request.app[BROKER].drain(_known(request), shown(reason.strip()))
    return web.Response(status=204)


async def resume(request: web.Request) -> web.Response:
    """Give leases on a resource again."""
    await request.app[BROKER].drain(_known(request), None)
    return web.Response(status=204)


async def usage(request: web.Request) -> web.Response:
    """What was used, by job and resource, since a moment (seconds since the epoch)."""
    since = _number(request, "since", 0.0, most=1e12)
    await request.app[BROKER].leases.debts.pay()
    rows = await request.app[BROKER].ledger.do(lambda db: records.usage(db, since))
    return as_json({"usage": [dict(row) for row in rows]})


async def health(request: web.Request) -> web.Response:
    """How the broker is: for `qrmi doctor` and for people."""
    broker = request.app[BROKER]
    return as_json(
        {
            "uptime_s": time.time() - broker.started_at,
            "reconciler_off": broker.reconciler.obstacle,
            "scheduler_failure": broker.reconciler.failure,
            "drained": {one.name: one.drained for one in broker.vendors.values() if one.drained},
            "outcome_unknown": await broker.ledger.do(records.unknowns),
            "orphaned": [f"lease {one} on {name}" for one, name in broker.leases.orphans.items()],
            "leases": sum(len(vendor.holders) for vendor in broker.vendors.values()),
            "open_tasks": len(broker.tasks.open_ids),
        }
    )


async def metrics(request: web.Request) -> web.Response:
    """The series for Prometheus."""
    page = request.app[BROKER].metrics.page(request.app[BROKER])
    return web.Response(body=page, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


# -- answers


async def _answer(request: web.Request, grant: Grant, wanted: tuple[Wanted, ...] = ()) -> web.Response:
    if grant.work is not None and not grant.work.done():
        await asyncio.wait([grant.work], timeout=ANSWER_S)
    found = await _found(request, grant, wanted)
    status = {"pending": 202, "failed": 409, "released": 410}.get(str(found["state"]), 200)
    headers = {LEASE_HEADER: grant.id}
    if wants_lines(request):
        return web.Response(text="".join(f"{line}\n" for line in _lines(found)), status=status, headers=headers)
    if "environment" in found:  # the job's own, which may hold its secrets
        return web.json_response(found, status=status, headers=headers)
    return as_json(found, status=status, headers=headers)


async def _found(request: web.Request, grant: Grant, wanted: tuple[Wanted, ...]) -> dict[str, object]:
    broker = request.app[BROKER]
    found: dict[str, object] = {"id": grant.id, "state": grant.state}
    names, asked = {lease.resource for lease in grant.leases}, [one.name for one in (*grant.wanted, *wanted)]
    if grant.state == "granted":
        socket_path = request.get("socket_path", request.app[SOCKET])
        found["environment"] = await jobenv.environment(grant, broker.vendors, broker.tokens, socket_path)
        found["warnings"] = [
            f"{name}: no such resource; the job goes on without it"
            for name in dict.fromkeys(asked)
            if name not in names
        ]
    if grant.failure is not None:
        found["error"] = mask(shown(mask(grant.failure.sentence()), most=_MOST_ERROR))
        found["detail"] = protocol.document_of(grant.failure)
    return found


def _check_covers(grant: Grant, wanted: tuple[Wanted, ...], broker: Broker) -> None:
    """A run has one grant, whatever its later steps ask for: they get what it has, and no more.

    Raises:
        HTTPConflict: a step names what the grant has not; the grant is as it was.
    """
    for one in wanted:
        is_left_out = one.name not in broker.vendors and broker.config.unknown == "warn"
        if not is_left_out and not any(held.covers(one) for held in grant.wanted):
            lease = ",".join(str(held) for held in grant.wanted if held.name in broker.vendors)
            remedy = "name all resources in the --qpu of sbatch or salloc"
            raise web.HTTPConflict(text=f"{one}: this job's lease is on {lease}: {remedy}")


def _lines(found: Mapping[str, object]) -> list[str]:
    """The same for the plugin: ``lease ID``, ``NAME=VALUE``, ``warn TEXT``, ``error TEXT``; at most 64 KiB."""
    lines = [f"lease {found['id']}", f"state {found['state']}"]
    environment = found.get("environment")
    if isinstance(environment, dict):
        lines += [f"{name}={value}" for name, value in environment.items() if "\n" not in value]
    warnings = found.get("warnings")
    lines += [f"warn {text}" for text in warnings] if isinstance(warnings, list) else []
    if "error" in found:
        lines.append(f"error {found['error']}")
    if sum(len(line.encode()) + 1 for line in lines) > _MOST_LINES_BYTES:
        return [*lines[:1], "state failed", "error the resources' settings are larger than 64 KiB"]
    return lines


def _grant(request: web.Request) -> Grant:
    grant = request.app[BROKER].leases.find(request.match_info["id"])
    if grant is None or grant.is_to_be_asked_anew:
        raise web.HTTPNotFound(text="there is no such lease, or it is over")
    return grant


def _known(request: web.Request) -> str:
    name = request.match_info["name"]
    if name not in request.app[BROKER].vendors:
        raise web.HTTPNotFound(text=f"the broker has no resource {name!r}, or no longer")
    return name


def _number(request: web.Request, name: str, default: float, *, most: float) -> float:
    try:
        found = float(request.query.get(name, default))
    except ValueError:
        found = math.nan
    if not 0 <= found <= most:
        raise PayloadError(name, "", "is not such a number", f"Give 0 to {most:g}")
    return found


SOCKET: web.AppKey[str] = web.AppKey("socket", str)
"""The public socket of this node, for jobs. A relay says which it is on its own node: ``request["socket_path"]``."""
