"""Opening a resource: from a name, a type and variables to a `QuantumResource` that keeps the contract's promises."""

from __future__ import annotations

import os
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from attrs import evolve, frozen

from qrmi_core import declarations, log, redaction, registry, variables
from qrmi_core.backend import Backend, Context, QuantumResource
from qrmi_core.errors import BackendBroken, BackendFault, ConfigError, PayloadError, QrmiError
from qrmi_core.models import AcquireRequest, Device, Session, TaskPlan, TaskState, Usage
from qrmi_core.payload import Payload
from qrmi_core.polling import Clock, SystemClock, poll
from qrmi_core.secret import EXPOSED, SecretReference

_T = TypeVar("_T")

CLOSE_S = 5.0
"""How long closing a resource may take before we leave without it."""
_OTHER_FOLDER = "Name a folder of yours on a disk with space"


@frozen(kw_only=True)
class Opening:
    """What is needed to open one resource."""

    name: str
    type: str
    environment: Mapping[str, str | SecretReference]
    """Variables without the resource's name in front."""
    source: str
    """The file or place they come from, for messages."""
    path: str = ""
    acquisition_token: str | None = None
    timeout_s: float | None = None
    """When the surrounding job ends, from now."""
    broker: str | None = None
    """The socket of the broker that holds the job's lease, where the resource is reached through it."""
    exposed: frozenset[str] = frozenset()
    """Variables that stand in clear text in a file that every user of this machine can read."""

    def with_variables(self, extra: Mapping[str, str]) -> Opening:
        """The same, with *extra* variables in place of those of the same name."""
        if not extra:
            return self
        return evolve(self, environment={**self.environment, **extra}, exposed=self.exposed - extra.keys())


def open_resource(opening: Opening, *, clock: Clock | None = None) -> Hosted:
    """Open one resource in this process.

    Raises:
        BackendError: its type cannot be used.
        ConfigError: its settings are wrong.
    """
    if opening.broker is not None:
        from qrmi_core.client import open_brokered

        return open_brokered(opening, clock)
    backend = registry.backend(opening.type)
    clock = clock or SystemClock()
    logger = log.logger(resource=opening.name)
    values = load_settings(backend, opening)
    declared = declarations.declaration(backend.settings)
    foreign = sorted(name for name in opening.environment if not declared.owns(name))
    if foreign:
        logger.warning("settings.unused", variables=foreign)
    ctx = Context(
        name=opening.name,
        type=opening.type,
        settings=values,
        log=logger,
        clock=clock,
        state_dir=state_dir(opening.name),
        acquisition_token=opening.acquisition_token,
        deadline=None if opening.timeout_s is None else clock.monotonic() + opening.timeout_s,
    )
    return Hosted(backend, ctx)


def load_settings(backend: Backend, opening: Opening) -> Any:
    """The settings of *opening*, parsed; its secrets are masked in everything we write from now on."""
    declared = declarations.declaration(backend.settings)
    environment: dict[str, str] = {}
    for name, value in opening.environment.items():
        if isinstance(value, SecretReference):
            try:
                environment[name] = value.resolve()
            except ValueError as exc:
                where = ".".join(part for part in (opening.path, name) if part)
                raise ConfigError.one(opening.source, where, str(exc), "Set it, or mend the reference") from exc
        else:
            environment[name] = value
    for name in declared.secrets(environment):
        redaction.remember(environment[name])
        if name in opening.exposed:
            where = ".".join(part for part in (opening.path, name) if part)
            raise ConfigError.one(opening.source, where, EXPOSED, f"chmod o-rwx {opening.source}")
    return declarations.load(backend.settings, environment, source=opening.source, path=opening.path)


def state_root(environ: Mapping[str, str] = os.environ) -> Path:
    """Where what outlives a process is kept; made if need be, mode 0700, ours."""
    named = environ.get(variables.STATE_DIR)
    home = environ.get("XDG_STATE_HOME") or (environ.get("HOME") and f"{environ['HOME']}/.local/state")
    candidates = [Path(named)] if named else [Path(home) / "qrmi"] if home else []
    if not named:  # who names a folder wants no other
        with suppress(FileNotFoundError):  # nothing is writable
            candidates.append(Path(tempfile.gettempdir()) / f"qrmi-{os.getuid()}")
    problem: OSError | None = None
    for candidate in candidates:
        try:
            candidate.mkdir(mode=0o700, parents=True, exist_ok=True)
            if candidate.stat().st_uid == os.getuid() and os.access(candidate, os.W_OK | os.X_OK):
                return candidate
        except OSError as exc:
            problem = exc
    raise ConfigError.one(
        f"${variables.STATE_DIR}",
        str(candidates[0]) if candidates else "",
        f"cannot be used: {problem or 'not ours'}",
        _OTHER_FOLDER,
    ) from problem


def state_dir(resource: str) -> Path:
    """The folder of *resource* below `state_root`."""
    folder = state_root() / "resources" / resource
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError.one(
            f"${variables.STATE_DIR}", str(folder), f"cannot be made: {exc.strerror}", _OTHER_FOLDER
        ) from exc
    return folder


class Hosted(QuantumResource):
    """A backend's resource behind what the host adds: one call at a time unless it is concurrent, checked payloads."""

    concurrent = True

    def __init__(self, backend: Backend, ctx: Context) -> None:
        super().__init__(ctx)
        self.backend = backend
        self.inner = self._guarded(backend.open, ctx)
        if not isinstance(self.inner, QuantumResource):
            raise BackendBroken(ctx.type, f"its open returned {type(self.inner).__name__}, not a QuantumResource")
        self.inner.ctx = ctx
        self.can_resend = self.inner.can_resend  # type: ignore[misc]
        self.is_told = type(self.inner).task_wait is not QuantumResource.task_wait
        """It learns of a task's end by itself, rather than by being asked."""
        if self.is_told and not self.inner.concurrent:
            raise BackendBroken(
                ctx.type, f"{type(self.inner).__name__} overrides task_wait, so it must be declared concurrent"
            )
        self._turn: Any = _Anybody() if self.inner.concurrent else threading.RLock()

    def __repr__(self) -> str:
        return f"<{self.ctx.type} resource {self.ctx.name!r}>"

    def __enter__(self) -> Hosted:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _call(self, verb: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
        with self._turn:
            return self._guarded(verb, *args, **kwargs)

    def _guarded(self, verb: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
        """What a backend raises against the contract becomes an error that names it, and its text is masked."""
        try:
            return verb(*args, **kwargs)
        except QrmiError:
            raise
        except (Exception, SystemExit) as exc:
            # as text: what renders an exception for a program of the user's may show the values of variables, too
            place = redaction.mask("".join(traceback.format_exception(exc)))
            self.ctx.log.debug("backend.fault", verb=getattr(verb, "__name__", "open"), exception=place)
            what = redaction.mask(f"{type(exc).__name__} in {getattr(verb, '__name__', 'open')}: {exc}")
            raise BackendFault(self.ctx.name, what) from exc

    def _as(self, expected: type[_T], verb: str, value: object) -> _T:
        """What a backend returns against the contract is a fault of the backend, and said where it enters."""
        if not isinstance(value, expected) or value == "":
            raise BackendFault(self.ctx.name, f"{verb} returned {type(value).__name__}, not {expected.__name__}")
        return value

    def _check_kind(self, payload: Payload) -> None:
        if payload.kind not in self.backend.payloads:
            kinds = ", ".join(sorted(self.backend.payloads))
            raise PayloadError(
                payload.source,
                "",
                f"is of kind {payload.kind!r}, which {self.ctx.name} (type {self.ctx.type}) does not execute",
                f"It executes: {kinds}",
            )

    def task_start(self, payload: Payload, *, key: str, session: str | None = None) -> str:
        """Submit *payload*; in the session *session* where several are open, else in the one acquired last."""
        self._check_kind(payload)
        inner = self.inner
        if session is not None:
            inner = self._as(QuantumResource, "in_session", self._call(inner.in_session, session))  # type: ignore[type-abstract]
        return self._as(str, "task_start", self._call(inner.task_start, payload, key=key))

    def task_status(self, task_id: str) -> TaskState:
        return self._as(TaskState, "task_status", self._call(self.inner.task_status, task_id))

    def task_stop(self, task_id: str) -> None:
        self._call(self.inner.task_stop, task_id)

    def task_result(self, task_id: str) -> bytes:
        return self._as(bytes, "task_result", self._call(self.inner.task_result, task_id))

    def task_wait(self, task_id: str, timeout_s: float) -> TaskState:
        if self.is_told:
            state = self._guarded(self.inner.task_wait, task_id, timeout_s)  # concurrent: a stop is not kept waiting
            return self._as(TaskState, "task_wait", state)
        return poll(lambda: self.task_status(task_id), timeout_s, self.ctx.clock)

    def task_logs(self, task_id: str) -> str:
        return self._call(self.inner.task_logs, task_id)

    def task_plan(self, payload: Payload) -> TaskPlan:
        self._check_kind(payload)
        return self._call(self.inner.task_plan, payload)

    def task_usage(self, task_id: str) -> Usage:
        return self._call(self.inner.task_usage, task_id)

    def find_task(self, key: str) -> str | None:
        return self._call(self.inner.find_task, key)

    def discover(self) -> Sequence[Device]:
        return self._call(self.inner.discover)

    def sessions(self) -> Sequence[Session]:
        return self._call(self.inner.sessions)

    def resource_id(self) -> str:
        return self._call(self.inner.resource_id)

    def resource_type(self) -> str:
        return self._call(self.inner.resource_type)

    def is_accessible(self) -> bool:
        return self._call(self.inner.is_accessible)

    def acquire(self, request: AcquireRequest) -> str:
        return self._call(self.inner.acquire, request)

    def release(self, token: str) -> None:
        self._call(self.inner.release, token)

    def target(self) -> str:
        return self._call(self.inner.target)

    def metadata(self) -> dict[str, str]:
        return self._call(self.inner.metadata)

    def close(self) -> None:
        """Let go, within `CLOSE_S`: a backend that hangs or fails while it closes must not cost a result."""

        def let_go() -> None:
            try:
                self._call(self.inner.close)
            except QrmiError as exc:
                self.ctx.log.warning("close.failed", error=str(exc))

        closing = threading.Thread(target=let_go, name="qrmi-close", daemon=True)
        closing.start()
        closing.join(CLOSE_S)


class _Anybody:
    """A lock that keeps nobody out."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None
