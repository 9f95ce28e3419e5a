"""The service's JSON and our models: pure functions. What it may say one day that we do not know, is passed on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import frozen

from qrmi_core import Device, TaskState, TaskStatus
from qrmi_core.errors import shown

RAN_TOO_LONG = 1305
"""The code of a job that took longer than its cost."""
_STATUSES = {
    "queued": TaskStatus.QUEUED,
    "running": TaskStatus.RUNNING,
    "completed": TaskStatus.COMPLETED,
    "cancelled": TaskStatus.CANCELLED,
    "cancelled - ran too long": TaskStatus.FAILED,
    "failed": TaskStatus.FAILED,
}
"""Nobody asked for the end of what ran too long, so it has failed, and its reason says how to mend it."""
_RAN_TOO_LONG = "it ran longer than its limit: raise the time limit, or ask for fewer shots or circuits"
ONLINE = ("active", "online")
"""What a processor's state is called while it accepts jobs."""
_ENDED_SESSIONS = ("closed", "completed", "canceled", "cancelled", "failed")
_ENOUGH_OF_MAX_TTL = 100
"""A session is worth keeping while more than one part in so many of its life is left."""
_MOST = 1e15
"""No number that the service means is larger."""
_NO_REASON = "the service gave no reason"


class Surprise(ValueError):
    """A reply lacks what its documentation promises. The text says where."""


@frozen
class Job:
    """A job as the service lists it."""

    id: str
    state: TaskState
    usage_s: float | None
    tags: tuple[str, ...]
    has_reason: bool


@frozen
class SessionState:
    """A session as the service describes it."""

    id: str
    is_open: bool
    """It takes jobs."""
    backend: str
    """The processor that it is for; empty if any."""
    state: str
    max_ttl_s: float | None
    left_s: float | None
    is_used: bool
    """A job has run in it."""

    @property
    def is_worth_keeping(self) -> bool:
        """It takes jobs, and will for a while."""
        if self.max_ttl_s is None or self.left_s is None:
            return self.is_open
        return self.is_open and self.left_s > self.max_ttl_s // _ENOUGH_OF_MAX_TTL


@frozen
class Workload:
    """A session or batch in the account's list."""

    id: str
    backend: str
    is_open: bool
    age_s: float | None
    """By the service's own clock."""


def job_of(document: Any) -> Job:
    """Raises: Surprise."""
    fields = object_of(document, "the job")
    state = _mapping(fields.get("state"))
    status, reason = _status(fields, state)
    return Job(
        id=text(fields.get("id"), "the job's id"),
        state=TaskState(status, reason or (_NO_REASON if status is TaskStatus.FAILED else None)),
        usage_s=usage_of(fields.get("usage")),
        tags=tuple(tag for tag in _items(fields.get("tags")) if isinstance(tag, str)),
        has_reason=bool(reason),
    )


def _status(fields: Mapping[str, Any], state: Mapping[str, Any]) -> tuple[TaskStatus, str | None]:
    """The service says it twice, in `status` and in `state`; the first that we know counts."""
    said = [one for one in (fields.get("status"), state.get("status")) if isinstance(one, str) and one]
    if not said:
        raise Surprise("the job has no status")
    code = str(state.get("reason_code") or "")
    reason = sentence(state.get("reason"), code, state.get("reason_solution"))
    for one in said:
        status = _STATUSES.get(one.lower())
        if status is TaskStatus.CANCELLED and code == str(RAN_TOO_LONG):
            status = TaskStatus.FAILED
        if status is TaskStatus.FAILED and one.lower() != "failed":
            reason = f"{_RAN_TOO_LONG} [{reason}]" if reason else _RAN_TOO_LONG
        if status is not None:
            return status, reason if status in (TaskStatus.FAILED, TaskStatus.CANCELLED) else None
    return TaskStatus.RUNNING, f"the service calls its state {shown(said[0], most=80)!r}"


def sentence(message: Any, code: Any, solution: Any) -> str | None:
    """What the service says of a fault, with its code and what it proposes; None if it says nothing."""
    words = shown(str(message or "").strip().rstrip("."))
    if code not in (None, "") and str(code) not in words:
        words = f"{words} (code {shown(code, most=40)})" if words else f"code {shown(code, most=40)}"
    if solution and str(solution).strip() not in words:
        words = f"{words}. {shown(str(solution).strip().rstrip('.'))}" if words else shown(str(solution))
    return words or None


def last_error(result: str) -> str | None:
    """The last line of the last Python traceback in *result*, which a failed job leaves there."""
    _, found, traceback = result.rpartition("Traceback")
    lines = [line.strip() for line in traceback.replace("\\n", "\n").splitlines() if line.strip(' \t"}]')]
    return shown(lines[-1].rstrip('"}] ')) if found and lines else None


def usage_of(document: Any) -> float | None:
    """Seconds of the processor's time."""
    fields = _mapping(document)
    for name in ("quantum_seconds", "seconds"):
        value = number(fields.get(name))
        if value is not None and value >= 0:
            return value
    return None


def metrics_of(document: Any) -> float | None:
    """The same, of a job's metrics. Raises: Surprise."""
    return usage_of(object_of(document, "the metrics").get("usage"))


def jobs_of(document: Any) -> list[Job]:
    """The jobs of one page of a list. Raises: Surprise."""
    return [job_of(one) for one in _items(object_of(document, "the list of jobs").get("jobs"))]


def session_of(document: Any) -> SessionState:
    """Raises: Surprise."""
    fields = object_of(document, "the session")
    state = str(fields.get("state") or "")
    return SessionState(
        id=text(fields.get("id"), "the session's id"),
        is_open=_is_open(fields, state) and not fields.get("closed_at"),
        backend=str(fields.get("backend_name") or ""),
        state=state,
        max_ttl_s=number(fields.get("max_ttl")),
        left_s=number(fields.get("active_ttl")),
        is_used=bool(fields.get("last_job_started")),
    )


def workloads_of(document: Any, now: datetime) -> tuple[list[Workload], str | None]:
    """One page of the account's sessions at the time *now*, and where the next one starts. Raises: Surprise."""
    fields = object_of(document, "the list of workloads")
    found = [
        Workload(
            id=text(one.get("id"), "a workload's id"),
            backend=str(one.get("backend") or ""),
            is_open=_is_open(one, str(one.get("status") or "")) and not one.get("ended"),
            age_s=_age_s(one.get("created"), now),
        )
        for one in map(_mapping, _items(fields.get("workloads")))
    ]
    return found, _cursor(fields.get("next"))


def _is_open(fields: Mapping[str, Any], state: str) -> bool:
    return fields.get("accepting_jobs") is not False and not state.lower().startswith(_ENDED_SESSIONS)


def _cursor(value: Any) -> str | None:
    """The service calls it `cursor`, or puts it into the address `href`."""
    fields = _mapping(value)
    if isinstance(fields.get("cursor"), str):
        return str(fields["cursor"])
    found = re.search(r"[?&]next=([^&]+)", str(fields.get("href") or ""))
    return found[1] if found else None


def devices_of(document: Any) -> list[Device]:
    """Raises: Surprise."""
    return [_device(one) for one in _items(object_of(document, "the list of processors").get("devices"))]


def _device(document: Any) -> Device:
    if isinstance(document, str):  # what older versions of the API list
        return Device(name=document, is_online=True, status="unknown")
    fields = object_of(document, "a processor")
    status, kind = _mapping(fields.get("status")), _mapping(fields.get("processor_type"))
    queue, qubits = number(fields.get("queue_length")), number(fields.get("qubits"))
    name = str(status.get("name") or "unknown")
    notes = [status.get("reason"), kind.get("family") and f"{kind['family']} r{kind.get('revision')}"]
    notes += ["simulator"] if fields.get("is_simulator") else []
    return Device(
        name=text(fields.get("name"), "a processor's name"),
        is_online=name.lower() in ONLINE,
        status=name,
        qubits=None if qubits is None else int(qubits),
        queue=None if queue is None else int(queue),
        note=", ".join(str(note) for note in notes if note),
    )


def text(value: Any, what: str) -> str:
    """*value*, which must be text that is not empty. Raises: Surprise."""
    if not isinstance(value, str) or not value:
        raise Surprise(f"{what} is {shown(repr(value), most=80)}, not text")
    return value


def id_of(document: Any, what: str) -> str:
    """The id in *document*, the answer to a request that made it. Raises: Surprise."""
    return text(object_of(document, what).get("id"), f"{what}'s id")


def object_of(value: Any, what: str) -> Mapping[str, Any]:
    """*value*, which must be an object of JSON. Raises: Surprise."""
    if not isinstance(value, dict):
        raise Surprise(f"{what} is {shown(repr(value), most=80)}, not an object")
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def number(value: Any) -> float | None:
    """*value*, if it is a number that can be meant: Python reads `NaN`, `Infinity` and whole numbers of any size."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < _MOST else None


def _age_s(created: Any, now: datetime) -> float | None:
    try:
        return (now - datetime.fromisoformat(str(created))).total_seconds()
    except (ValueError, TypeError):  # none, or one without a time zone
        return None
