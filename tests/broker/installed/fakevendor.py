"""A vendor for the tests of the broker: a folder is its service, and an append-only log says all that was done to it.

The service outlives every process of ours. A payload is a script, ``{"runs_s": 0.1, "ends": "COMPLETED"}``, and the
result is the payload itself. A file ``hang-VERB`` in the folder makes the verb wait until it is gone, ``fail-VERB``
makes it fail, ``crash-VERB`` makes it raise what the contract does not allow, ``lose-VERB`` makes it fail after it was
done. ``late-VERB`` makes it fail at once, and be done some seconds later, as the file says, by a process of its own.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from qrmi_core import (
    AcquireRequest,
    AuthenticationFailed,
    Backend,
    Context,
    NotOffered,
    Payload,
    PayloadError,
    QuantumResource,
    ResourceUnavailable,
    Session,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    TaskNotReady,
    TaskState,
    TaskStatus,
    Usage,
    setting,
    settings,
)

KIND = "script"
_LATE = """
import sys, time
delay, path, content, log, line = sys.argv[1:]
time.sleep(float(delay))
try:
    open(path, "x").write(content)
    open(log, "a").write(line)
except FileExistsError:
    pass
"""
HANG_S = 120.0


@settings(prefix="QRMI_FAKE")
class Settings:
    """The settings of the fake vendor."""

    endpoint: str = setting(help="the folder that is its service")
    api_key: str = setting(help="what it asks for", secret=True)
    start_s: float = setting(help="how long a submission takes", default=0.0)


def _spelt(key: str) -> list[str]:
    """*key* as the messages of libraries show what was sent: in an address, in a body, or by itself."""
    quoted = [quote(key), quote(key, safe="")]
    small = [re.sub("%..", lambda escape: escape[0].lower(), one) for one in quoted]
    return [key, *quoted, *small, json.dumps(key), json.dumps(key).replace("/", "\\/"), repr(key.encode())]


class Fake(QuantumResource):
    """Keeps every promise, and finds tasks and sessions again."""

    concurrent = True

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.service = Path(ctx.settings.endpoint)
        for name in ("tasks", "sessions"):
            (self.service / name).mkdir(parents=True, exist_ok=True)

    def _enter(self, verb: str) -> None:
        key = self.service / "api_key"
        if key.exists() and key.read_text() != self.ctx.settings.api_key:
            raise AuthenticationFailed(self.ctx.name, "that is not the key of this account")
        deadline = time.monotonic() + HANG_S
        while (self.service / f"hang-{verb}").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        if (self.service / f"fail-{verb}").exists():
            raise ResourceUnavailable(self.ctx.name, f"{verb} is not served at the moment")
        if (self.service / f"crash-{verb}").exists():
            raise RuntimeError(f"{verb}: {' '.join(_spelt(self.ctx.settings.api_key))}")

    def _leave(self, verb: str) -> None:
        if (self.service / f"lose-{verb}").exists():
            raise ResourceUnavailable(self.ctx.name, f"the answer to {verb} was lost")

    def _late(self, verb: str, path: Path, content: str, event: str, **facts: object) -> None:
        """The service has the request, and works on whatever becomes of who asked."""
        delay = self.service / f"late-{verb}"
        if delay.exists():
            line = json.dumps({"at": time.time(), "event": event, "resource": self.ctx.name, **facts}) + "\n"
            words = [delay.read_text(), str(path), content, str(self.service / "log"), line]
            subprocess.Popen([sys.executable, "-c", _LATE, *words], start_new_session=True)
            raise ResourceUnavailable(self.ctx.name, f"{verb} timed out")

    def _log(self, event: str, **facts: object) -> None:
        line = json.dumps({"at": time.time(), "event": event, "resource": self.ctx.name, **facts}) + "\n"
        handle = os.open(self.service / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)

    # -- sessions

    def acquire(self, request: AcquireRequest) -> str:
        self._enter("acquire")
        token = "session-" + hashlib.sha256(request.lease_key.encode()).hexdigest()[:16]
        path = self.service / "sessions" / token
        content = json.dumps({"lease_key": request.lease_key, "tags": request.tags})
        self._late("acquire", path, content, "session.opened", token=token, lease_key=request.lease_key)
        with suppress(FileExistsError), path.open("x") as file:
            file.write(content)
            self._log("session.opened", token=token, lease_key=request.lease_key, exclusive=request.exclusive)
        self._leave("acquire")
        return token

    def release(self, token: str) -> None:
        self._enter("release")
        path = self.service / "sessions" / Path(token).name
        with suppress(FileNotFoundError):
            path.rename(path.with_name(f".closed-{path.name}"))
            self._log("session.closed", token=token)
        self._leave("release")

    def sessions(self) -> list[Session]:
        self._enter("sessions")
        found = []
        for path in (self.service / "sessions").glob("session-*"):
            with suppress(FileNotFoundError, ValueError):
                facts = json.loads(path.read_text())
                found.append(Session(token=path.name, lease_key=facts["lease_key"], tags=tuple(facts["tags"])))
        return found

    # -- tasks

    def task_start(self, payload: Payload, *, key: str) -> str:
        self._enter("task_start")
        script = payload.json()
        if not isinstance(script, dict) or "runs_s" not in script:
            raise PayloadError(payload.source, "$.runs_s", "is missing", "Say how many seconds the task runs")
        time.sleep(self.ctx.settings.start_s)
        task_id = "task-" + hashlib.sha256(key.encode()).hexdigest()[:16]
        path = self.service / "tasks" / task_id
        self._late("task_start", path, payload.read().decode(), "task.started", task=task_id, key=key)
        with suppress(FileExistsError), path.open("xb") as file:
            file.write(payload.read())
            self._log("task.started", task=task_id, key=key)
        self._leave("task_start")
        return task_id

    def _task(self, task_id: str) -> Path:
        path = self.service / "tasks" / task_id
        if not re.fullmatch("task-[0-9a-f]{16}", task_id) or not path.exists():
            raise TaskNotFound(self.ctx.name, task_id)
        return path

    def task_status(self, task_id: str) -> TaskState:
        self._enter("task_status")
        path = self._task(task_id)
        script = json.loads(path.read_bytes())
        started, runs_s = path.stat().st_mtime, float(script["runs_s"])
        with suppress(FileNotFoundError):
            stopped = path.with_name(f"stop-{path.name}").stat().st_mtime
            if stopped < started + runs_s:
                return TaskState(TaskStatus.CANCELLED, "stopped")
        if time.time() < started + runs_s:
            return TaskState(TaskStatus.RUNNING, progress=0.5)
        ends = TaskStatus(script.get("ends", "COMPLETED"))
        return TaskState(ends, None if ends is TaskStatus.COMPLETED else "as its script says")

    def task_stop(self, task_id: str) -> None:
        self._enter("task_stop")
        path = self._task(task_id)
        path.with_name(f"stop-{path.name}").touch(exist_ok=True)
        self._log("task.stopped", task=task_id)

    def task_result(self, task_id: str) -> bytes:
        self._enter("task_result")
        state = self.task_status(task_id)
        if not state.status.is_terminal:
            raise TaskNotReady(self.ctx.name, task_id, state.status.value)
        if state.status is TaskStatus.FAILED:
            raise TaskFailed(self.ctx.name, task_id, state.reason or "")
        if state.status is TaskStatus.CANCELLED:
            raise TaskCancelled(self.ctx.name, task_id, state.reason or "")
        return self._task(task_id).read_bytes()

    def task_logs(self, task_id: str) -> str:
        return f"the script of {self._task(task_id).name}"

    def task_usage(self, task_id: str) -> Usage:
        return Usage(qpu_s=float(json.loads(self._task(task_id).read_bytes())["runs_s"]))

    def find_task(self, key: str) -> str | None:
        self._enter("find_task")
        task_id = "task-" + hashlib.sha256(key.encode()).hexdigest()[:16]
        return task_id if (self.service / "tasks" / task_id).exists() else None

    def is_accessible(self) -> bool:
        self._enter("is_accessible")
        return True

    def target(self) -> str:
        self._enter("target")
        return '{"num_qubits": 5}'


class Blind(Fake):
    """The same account, but it can tell nothing after a crash, and would run twice what is sent twice."""

    can_resend = False

    def find_task(self, key: str) -> str | None:
        raise NotOffered(self.ctx.name, "find_task")

    def sessions(self) -> list[Session]:
        raise NotOffered(self.ctx.name, "sessions")


class Keyed(Fake):
    """It cannot be asked for a key, but what is sent twice with one runs once."""

    def find_task(self, key: str) -> str | None:
        raise NotOffered(self.ctx.name, "find_task")


class Seated(Keyed):
    """Each task runs in a session, as the log says: the one that is named or, if none is, the one opened last."""

    session: str | None = None

    def acquire(self, request: AcquireRequest) -> str:
        self.session = super().acquire(request)
        return self.session

    def in_session(self, token: str) -> QuantumResource:
        seated = copy.copy(self)
        seated.session = token
        return seated

    def task_start(self, payload: Payload, *, key: str) -> str:
        task_id = super().task_start(payload, key=key)
        self._log("task.seated", task=task_id, token=self.session)
        return task_id


class Instant(Fake):
    """It has no sessions, like most vendors: what is measured with it is ours."""

    acquire, release = QuantumResource.acquire, QuantumResource.release


BACKEND = Backend(contract=1, settings=Settings, payloads={KIND}, open=Fake)
KEYED = Backend(contract=1, settings=Settings, payloads={KIND}, open=Keyed)
SEATED = Backend(contract=1, settings=Settings, payloads={KIND}, open=Seated)
INSTANT = Backend(contract=1, settings=Settings, payloads={KIND}, open=Instant)
BLIND = Backend(contract=1, settings=Settings, payloads={KIND}, open=Blind)
