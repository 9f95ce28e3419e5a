"""The emulated Runtime as the vendor of a history: `broker/vendor.py` says what that needs."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from attrs import field, frozen
from broker.record import Record
from broker.vendor import HOUR_S, script

from . import recorded
from .service import TYPE, bell

_DEVICES = {"a": "line_2", "b": "line_3", "c": "line_4", "d": "line_5", "e": "line_6"}
_EXCLUSIVE_S = 4 * HOUR_S
"""Time limits from here on are those of jobs that want a resource for themselves."""
_STEP_S = 8
_NO_FENCE = 10**9
_BASE = "/api/v1"
_ROUTES = (
    "POST /identity/token",
    f"POST {_BASE}/sessions",
    *(f"{call} {_BASE}/sessions/{{id}}" for call in ("GET", "PATCH")),
    f"DELETE {_BASE}/sessions/{{id}}/close",
    f"GET {_BASE}/workloads",
    *(f"{call} {_BASE}/jobs" for call in ("POST", "GET")),
    *(f"GET {_BASE}/jobs/{{id}}{below}" for below in ("", "/results", "/metrics")),
    f"POST {_BASE}/jobs/{{id}}/cancel",
)
_EFFECTS = (
    *("drop=true", "drop=true when=after", "status=500", "status=503 when=after", "status=429 retry_after_s=1"),
    *("status=408", "truncate=true", "latency_s=0.3", "expire_tokens=true"),
)
_OFTEN = ("POST /api/v1/sessions", "POST /api/v1/jobs")
"""Where a lost answer costs most."""


@frozen
class Emulated:
    """One account of the emulated Qiskit Runtime; each resource is a processor of it.

    The service knows neither leases nor keys. Which session is whose is told by its `max_ttl`, which is the time limit
    of a job, or a few seconds more: no two requests of a history have time limits so close to each other.
    """

    log_path: Path
    url: str
    environment: Mapping[str, str]
    lanes: Mapping[str, int] = field(factory=lambda: {"a": 1, "b": 1, "c": 2, "d": 3, "e": 3})
    sessionless: Sequence[str] = ()
    plans: Sequence[tuple[str, ...]] = (
        *(("a",), ("b",), ("c",), ("d",), ("e",), ("d",), ("e",), ("a", "c"), ("b", "e"), ("c!",)),
    )
    kind: str = "qiskit-primitive"
    ways: Sequence[str] = tuple(
        f"{route} {effect} times={times}"
        for route in (*_ROUTES, *_OFTEN * 3)
        for effect in _EFFECTS
        for times in (1, "null")
    )
    loss: str = f"POST {_BASE}/jobs drop=true when=after times=null"
    type: str = TYPE
    prepare: str = "hasty"
    modules: Sequence[Path] = (Path(__file__).with_name("installed"),)
    _usual: Iterator[int] = field(factory=lambda: itertools.count(HOUR_S, _STEP_S))
    _exclusive: Iterator[int] = field(factory=lambda: itertools.count(_EXCLUSIVE_S, _STEP_S))

    def resources(self) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "type": self.type,
                "lanes": self.lanes[name],
                "environment": {**self.environment, "QRMI_IBM_QRS_BACKEND": device},
            }
            for name, device in _DEVICES.items()
        ]

    def limit_s(self, plan: tuple[str, ...], choice: int) -> float | None:
        return next(self._exclusive if plan[0].endswith("!") else self._usual)

    def payload(self, resource: str, key: str) -> bytes:
        facts = script(resource, key)
        tags = [f"{recorded.NOTE}{facts['note']}", f"service_s={facts['runs_s']}"]
        if facts["ends"] == "FAILED":
            tags = [tags[0], "fail=as its script says"]
        return bell(*tags).read()

    def is_result(self, note: str, found: Any) -> bool:
        return bool({"note": note} == found)

    def fail(self, way: str) -> None:
        self._ask("POST", way)

    def heal(self) -> None:
        self._ask("DELETE")

    def _ask(self, method: str, body: str = "") -> None:
        request = Request(f"{self.url}/_emulator/faults", body.encode() or None, method=method)
        with urlopen(request, timeout=30) as answer:
            answer.read()

    def log(self, record: Record) -> list[dict[str, Any]]:
        """Sessions are told apart by processor and `max_ttl`; the last one before a grant was answered is that grant's.

        One before it was opened for the same request by a broker that died: its lease was undone, and asked for anew.
        """
        names = {device: name for name, device in _DEVICES.items()}
        lines = [json.loads(line) for line in self.log_path.read_text().splitlines()]
        opened = defaultdict(list)
        for line in lines:
            if line["event"] == "session.opened":
                opened[names[line["device"]], line["max_ttl_s"] // _STEP_S].append(line)
        keys: dict[str, str] = {}
        for told in record.entries:
            if told["event"] == "answer" and told["found"].get("state") == "granted" and "environment" in told["found"]:
                for name in names.values():
                    lease_key, limit_s = _lease(told["found"], name)
                    mine = [one for one in opened[name, limit_s // _STEP_S] if one["at"] < told["at"]]
                    if mine and lease_key not in keys.values():
                        keys[mine[-1]["session"]] = lease_key
        found = []
        sessions: dict[str, dict[str, Any]] = {}
        for number, line in enumerate(lines):
            session = line.get("session")
            known = {"at": line["at"], "event": line["event"]}
            if line["event"] == "session.opened":
                lease_key = keys.get(session, f"undone {session}-{_NO_FENCE + number}")
                is_exclusive = line["max_ttl_s"] >= _EXCLUSIVE_S
                sessions[session] = {"lease_key": lease_key, "resource": names[line["device"]]}
                found.append({**known, **sessions[session], "exclusive": is_exclusive})
            elif line["event"] == "session.closed":
                found.append({**known, **sessions[session]})
            elif line["event"] == "job.taken":
                owner = sessions[session]["lease_key"] if session else None
                facts = {"resource": names[line["device"]], "note": line["note"], "session": owner}
                found.append({**known, "event": "task.started", **facts})
        return found


def _lease(found: Mapping[str, Any], name: str) -> tuple[str, int]:
    """Key and time limit of the lease of *name*, as a grant was answered; of none if it is not part of it."""
    environment = found["environment"]
    fence = environment.get(f"{name}_QRMI_JOB_ACQUISITION_TOKEN", "").partition(".")[0]
    return f"{found['id']}-{fence}", int(environment.get(f"{name}_QRMI_JOB_TIMEOUT_SECONDS", 0))


@contextmanager
def emulated(folder: Path) -> Iterator[Emulated]:
    """The service, running; its log is in *folder*."""
    path = folder / "service.log"
    with subprocess.Popen(
        [sys.executable, recorded.__file__, str(path), *_DEVICES.values()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(folder / "service.err").open("wb"),
        text=True,
        start_new_session=True,
    ) as process:
        try:
            facts = json.loads(process.stdout.readline())
            yield Emulated(path, facts["url"], facts["environment"])
        finally:
            process.stdin.close()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
