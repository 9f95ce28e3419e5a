"""The service's JSON to our models and back: pure functions. What we do not know is tolerated, and shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import frozen

from qrmi_core import Device, TaskState, TaskStatus

_STATUS = {
    "queued": TaskStatus.QUEUED,  # not seen yet, but its sister service has it
    "running": TaskStatus.RUNNING,
    "completed": TaskStatus.COMPLETED,
    "failed": TaskStatus.FAILED,
    "cancelled": TaskStatus.CANCELLED,
}
_SIGNED = re.compile(r"\?[^\s\"']*X-Amz-[^\s\"']*")
_VERSION = 1
_MOST = 1e24
"""No number that the service means is larger."""


@frozen
class Job:
    """A job as the service describes it, or as we remember it."""

    state: TaskState
    qpu_s: float = 0.0
    device: str = ""
    id: str = ""
    input_url: str | None = None
    """Where the service gets its input, as far as it says so."""


@frozen(kw_only=True)
class Record:
    """What we remember of a job in the storage: how to submit it, and how it ended."""

    program: str
    device: str
    timeout_s: int
    end: Job | None = None
    """None until we have seen its end."""

    def encoded(self) -> bytes:
        """As it is stored."""
        document: dict[str, Any] = {
            "version": _VERSION,
            "program_id": self.program,
            "backend": self.device,
            "timeout_secs": self.timeout_s,
        }
        if self.end is not None:
            document["status"] = self.end.state.status.value
            document["reason"] = self.end.state.reason
            document["qpu_s"] = self.end.qpu_s
        return json.dumps(document).encode()

    @classmethod
    def decoded(cls, content: bytes) -> Record:
        """As it was stored.

        Raises:
            ValueError: somebody else wrote this.
        """
        try:
            document = json.loads(content)
            end = None
            if "status" in document:
                state = TaskState(TaskStatus(document["status"]), document["reason"])
                end = Job(state, float(document["qpu_s"]), document["backend"])
            return cls(
                program=str(document["program_id"]),
                device=str(document["backend"]),
                timeout_s=int(document["timeout_secs"]),
                end=end,
            )
        except (KeyError, TypeError) as exc:
            raise ValueError(str(exc)) from exc


def job_of(document: Any) -> Job:
    """The job that *document* describes.

    Raises:
        ValueError: it describes none.
    """
    status = document.get("status") if isinstance(document, Mapping) else None
    if not isinstance(status, str):
        raise ValueError("has no status")
    known = _STATUS.get(status.lower())
    state = TaskState(TaskStatus.RUNNING, status) if known is None else TaskState(known, _reason(document, known))
    usage = document.get("usage")
    spent = usage.get("quantum_nanoseconds") if isinstance(usage, Mapping) else None
    if not isinstance(spent, int | float) or isinstance(spent, bool) or not 0 < spent < _MOST:
        spent = 0
    storage = document.get("storage")
    source = storage.get("input") if isinstance(storage, Mapping) else None
    url = source.get("presigned_url") if isinstance(source, Mapping) else None
    return Job(
        state=state,
        qpu_s=spent / 1e9,
        device=str(document.get("backend") or ""),
        id=str(document.get("id") or ""),
        input_url=url if isinstance(url, str) else None,
    )


def _reason(document: Mapping[str, Any], status: TaskStatus) -> str | None:
    message, code, solution = (
        str(document[name]).strip().rstrip(".") if document.get(name) not in (None, "") else ""
        for name in ("reason_message", "reason_code", "reason_solution")
    )
    words = message + (f" (code {code})" if code else "")
    if solution:
        words = f"{words}. {solution}" if words else solution
    if not words:
        return "the service gave no reason" if status is TaskStatus.FAILED else None
    return _SIGNED.sub("?[redacted]", words)


def submission(task_id: str, record: Record, *, log_level: str, urls: Mapping[str, str]) -> dict[str, Any]:
    """The request that makes a job; *urls* are those of its ``input``, ``results`` and ``logs``."""
    return {
        "id": task_id,
        "backend": record.device,
        "program_id": record.program,
        "log_level": log_level,
        "timeout_secs": record.timeout_s,
        "storage": {name: {"type": "s3_compatible", "presigned_url": url} for name, url in urls.items()},
    }


def lanes_of(document: Any) -> int | None:
    """How many jobs at a time the service executes for a site like ours, if it says so."""
    mine = document.get("hpc_workload_manager") if isinstance(document, Mapping) else None
    lanes = mine.get("lanes") if isinstance(mine, Mapping) else None
    return lanes if isinstance(lanes, int) else None


def jobs_on(jobs: Iterable[Job], device: str) -> int:
    """How many lanes of *device* are taken: every job that was not deleted takes one, ended or not."""
    return sum(job.device == device for job in jobs)


def device_of(document: Mapping[str, Any], *, qubits: int | None, lanes: int | None, jobs: Iterable[Job]) -> Device:
    """The device that *document* and what else was asked for describe."""
    name, status = str(document.get("name")), str(document.get("status") or "unknown")
    taken = jobs_on(jobs, name)
    notes = [] if lanes is None else [f"{max(0, lanes - taken)} of {lanes} lanes free"]
    notes += ["reserved"] * (document.get("locked") is True)
    notes += [str(document["message"])] if document.get("message") else []
    return Device(
        name=name,
        is_online=status == "online",
        status=status,
        qubits=qubits,
        queue=taken if lanes is None else max(0, taken + 1 - lanes),
        note=", ".join(notes),
    )
