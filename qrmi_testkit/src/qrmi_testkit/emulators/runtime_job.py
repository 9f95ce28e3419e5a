"""A job of the emulated Qiskit Runtime: what may be asked for, and how it is shown."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from attrs import define

from qrmi_core import TaskStatus
from qrmi_testkit.emulators.clock import iso
from qrmi_testkit.emulators.jobs import RAN_TOO_LONG, Job
from qrmi_testkit.emulators.refusal import invalid
from qrmi_testkit.emulators.sessions import Session

MOST_COST_S = 10_800
_LEVELS = ("debug", "info", "warning", "error", "critical")
_NAMES = {
    TaskStatus.QUEUED: "Queued",
    TaskStatus.RUNNING: "Running",
    TaskStatus.COMPLETED: "Completed",
    TaskStatus.FAILED: "Failed",
    TaskStatus.CANCELLED: "Cancelled",
}


@define(eq=False)
class RuntimeJob(Job):
    """A job, and what only this service knows of it."""

    session: Session | None = None
    tags: tuple[str, ...] = ()
    is_private: bool = False
    was_read: bool = False

    def move(self, status: TaskStatus, at_s: float, reason: str | None = None, code: int | None = None) -> None:
        super().move(TaskStatus.CANCELLED if code == RAN_TOO_LONG else status, at_s, reason, code)
        if self.session is not None and status is TaskStatus.RUNNING:
            self.session.began()
        elif self.session is not None:
            self.session.left(self.id)


def shown(job: RuntimeJob, now_s: float, is_brief: bool) -> dict[str, Any]:
    """How the service shows *job*; without its parameters if *is_brief*."""
    name = _NAMES[job.status]
    state: dict[str, Any] = {"status": name}
    if job.reason is not None:
        solution = "Mend the cause and submit the job again."
        state |= {"reason": job.reason, "reason_code": job.reason_code, "reason_solution": solution}
    used_s = job.busy_s(now_s)
    return {
        "id": job.id,
        "backend": job.device,
        "status": f"{name} - Ran too long" if job.reason_code == RAN_TOO_LONG else name,
        "state": {key: value for key, value in state.items() if value is not None},
        "program": {"id": job.program},
        "created": iso(job.created_s),
        "cost": int(job.limit_s),
        "user_id": "emulated",
        "tags": list(job.tags),
        "private": job.is_private,
        "usage": {"seconds": used_s, "quantum_seconds": used_s},
        "estimated_running_time_seconds": job.service_s,
        **({"session_id": job.session.id} if job.session else {}),
        **({} if is_brief or job.is_private else {"params": job.document["params"]}),
    }


def number(text: str, name: str) -> int:
    """A whole number of a query."""
    if not text.isdecimal():
        raise invalid(f"{name} must be a whole number, not {text!r}.", name, "parameter")
    return int(text)


def tags(value: Any) -> tuple[str, ...]:
    """The tags of a request."""
    if not isinstance(value, list) or not all(isinstance(one, str) and len(one) <= 86 for one in value):
        raise invalid("tags must be a list of texts of 86 characters at most.", "tags")
    return tuple(value)


def matches(job: RuntimeJob, request: web.Request) -> bool:
    """*job* is one that the query of *request* asks for."""
    query = request.query
    facts = {"program": job.program, "backend": job.device, "session_id": job.session.id if job.session else None}
    return (
        all(query.get(name, fact) == fact for name, fact in facts.items())
        and ("pending" not in query or (query["pending"] == "true") is not job.is_ended)
        and set(query.getall("tags", [])) <= set(job.tags)
        and iso(job.created_s) >= query.get("created_after", "")
        and iso(job.created_s) <= query.get("created_before", "9")
    )


def check(document: dict[str, Any]) -> None:
    """Refuse a submission that the service would not take."""
    for name in ("backend", "program_id"):
        if not isinstance(document.get(name), str) or not document[name]:
            raise invalid(f"{name} must be text.", name)
    if not isinstance(document.get("params"), dict):
        raise invalid("params must be an object.", "params")
    cost = document.get("cost")
    if cost is not None and (type(cost) is not int or not 0 <= cost <= MOST_COST_S):
        raise invalid(f"cost must be a whole number of seconds, 0 to {MOST_COST_S}.", "cost")
    if str(document.get("log_level", "info")).lower() not in _LEVELS:
        raise invalid(f"log_level must be one of {', '.join(_LEVELS)}.", "log_level")
    if document.get("tags") is not None:
        tags(document["tags"])
