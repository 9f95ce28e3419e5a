"""How an emulator is told to misbehave: one fault is one declaration, and a table of them is looked up per request.

A fault is written as JSON, an object with the fields of `Fault`, or shorter, as a line: ``POST /v1/jobs status=503
times=2``. Several are a list, or lines, or parts between semicolons.
"""

from __future__ import annotations

import difflib
import json
import shlex
import threading
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import attrs
import cattrs
from attrs import asdict, define, field, frozen
from cattrs.gen import make_dict_structure_fn

from qrmi_core import ConfigError, kinds, wire

FAILED_CODE = 5203
_TOKEN = ("POST", "/identity/token")
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
_REMEDY = "See the page on the emulators for what a fault may say"


@frozen(kw_only=True)
class Fault:
    """What goes wrong with some requests. Effects add up: a late 503 is one fault."""

    method: str = "*"
    """Of the requests; ``*`` is any."""
    route: str = "*"
    """As the emulator declares it, such as ``/v1/jobs/{id}``; ``*`` stands for anything, also within."""
    times: int | None = 1
    """How many requests it meets; null is all of them."""
    skip: int = 0
    """How many it lets pass first."""

    latency_s: float = 0.0
    """The answer begins so much later, and so does what was asked for."""
    status: int | None = None
    """It is answered with this error, 400 to 599."""
    retry_after_s: int | None = None
    """The header ``Retry-After`` of that error."""
    body: str | None = None
    """The body of that error, where it is not to be the service's own form."""
    drop: bool = False
    """The connection is dropped without an answer."""
    when: Literal["before", "after"] = "before"
    """`status` and `drop` strike before the request is carried out, and it is not, or after it was."""
    drip_s: float = 0.0
    """The body of the answer takes so long."""
    truncate: bool = False
    """Half of the answer's body is sent, then the connection ends."""
    expire_tokens: bool = False
    """From this request on, no token is accepted that was issued before it."""
    skew_s: float = 0.0
    """A token's times are so many seconds ahead of the true time; behind it, if negative."""

    ahead: int = 0
    """The submitted job waits for so many jobs of others, each of which takes as long as it does."""
    service_s: float | None = None
    """The submitted job takes so long at least."""
    fail: str | None = None
    """The submitted job is accepted, and fails for this reason."""
    fail_code: int = FAILED_CODE
    """The code of that reason."""

    def __attrs_post_init__(self) -> None:
        for name in ("skip", "latency_s", "drip_s", "ahead", "retry_after_s", "service_s"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} is negative")
        if self.times is not None and self.times < 1:
            raise ValueError("times is below 1; null means always")
        if self.status is not None and not 400 <= self.status <= 599:
            raise ValueError(f"status {self.status} is no error: give one from 400 to 599")
        if self.status is None and (self.retry_after_s is not None or self.body is not None):
            raise ValueError("retry_after_s and body belong to an error: give its status")
        if self.when == "after" and self.status is None and not self.drop:
            raise ValueError("when belongs to status and drop: give one of them")
        if not self.effects:
            raise ValueError(f"it does nothing: give one of {', '.join(sorted(_EFFECTS))}")

    @property
    def effects(self) -> set[str]:
        """The names of what it does."""
        return {name for name, default in _EFFECTS.items() if getattr(self, name) != default}

    @property
    def is_of_a_job(self) -> bool:
        """It has an effect on a submitted job."""
        return bool(self.effects & {"ahead", "service_s", "fail"})

    def meets(self, method: str, route: str) -> bool:
        """It is for such requests."""
        return self.method in ("*", method) and fnmatchcase(route, self.route)


_EFFECTS = {
    one.name: one.default
    for one in attrs.fields(Fault)
    if one.name not in ("method", "route", "times", "skip", "when", "retry_after_s", "body", "fail_code")
}


def _number(value: Any, _: type) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"is {kinds.describe(value)}, not a number")
    return float(value)


_converter = wire.converter.copy()
_converter.register_structure_hook(float, _number)
_structure: Any = make_dict_structure_fn(Fault, _converter, _cattrs_forbid_extra_keys=True)


def parse(text: str, source: str = "--faults") -> list[Fault]:
    """The faults that *text* declares, as JSON or as lines.

    Raises:
        ConfigError: with everything that is wrong with it.
    """
    text = text.strip()
    if text.startswith(("[", "{")):
        try:
            document = json.loads(text)
        except json.JSONDecodeError as exc:
            raise ConfigError.one(source, f"line {exc.lineno}", f"is not JSON: {exc.msg}", _REMEDY) from exc
        return structured(document, source)
    lines = [line.strip() for part in text.splitlines() for line in part.partition("#")[0].split(";")]
    return structured([_of_line(line, source) for line in lines if line], source)


def given(text: str) -> list[Fault]:
    """The faults of a command line: *text* declares them, or names a file that does.

    Raises:
        ConfigError: with everything that is wrong with it.
    """
    try:
        path = Path(text)
        return parse(path.read_text(), text) if path.is_file() else parse(text)
    except OSError as exc:
        raise ConfigError.one("--faults", text[:80], f"cannot be read: {exc.strerror}", "Check the file") from exc


def structured(document: Any, source: str) -> list[Fault]:
    """The faults that parsed JSON declares: one, or a list.

    Raises:
        ConfigError: with everything that is wrong with it.
    """
    entries = document if isinstance(document, list) else [document]
    found, wrong = [], []
    for number, entry in enumerate(entries):
        try:
            if not isinstance(entry, dict):
                raise TypeError(f"is {kinds.describe(entry)}, not an object")
            found.append(_structure(entry, Fault))
        except (cattrs.BaseValidationError, TypeError, ValueError) as exc:
            wrong += [(f"fault {number}", problem, _REMEDY) for problem in _problems(exc)]
    if wrong:
        raise ConfigError(source, tuple(wrong))
    return found


def _problems(exc: Exception) -> Iterable[str]:
    if isinstance(exc, cattrs.ForbiddenExtraKeysError):
        known = [one.name for one in attrs.fields(Fault)]
        for name in sorted(exc.extra_fields):
            close = difflib.get_close_matches(name, known, n=1)
            yield f"has {name!r}, which is not known" + (f": did you mean {close[0]}?" if close else "")
    elif isinstance(exc, cattrs.ClassValidationError):
        members, others = exc.group_exceptions()
        yield from (f"{note.name}: {inner}" for inner, note in members)
        for inner in others:
            yield from _problems(inner)
    else:
        yield str(exc)


def _of_line(line: str, source: str) -> dict[str, Any]:
    try:
        words = shlex.split(line)
    except ValueError as exc:
        raise ConfigError.one(source, line, f"is not a fault: {exc}", _REMEDY) from exc
    places, effects = [word for word in words if "=" not in word], [word for word in words if "=" in word]
    if len(places) != 2:
        problem = "must begin with a method and a route, such as POST /v1/jobs"
        raise ConfigError.one(source, line, problem, _REMEDY)
    entry: dict[str, Any] = {"method": places[0], "route": places[1]}
    for name, _, value in (word.partition("=") for word in effects):
        try:
            entry[name] = json.loads(value)
        except json.JSONDecodeError:
            entry[name] = value
    return entry


@define
class _Entry:
    fault: Fault
    passed: int = 0
    met: int = 0


@define
class Faults:
    """The faults of one emulator. Of those that are for a request, the one that was added first meets it."""

    routes: list[tuple[str, str]] = field(factory=list)
    """Methods and routes that there are; the storage's and IAM's too."""
    submissions: list[tuple[str, str]] = field(factory=list)
    """Those of them that submit jobs."""
    _entries: list[_Entry] = field(factory=list)
    _lock: threading.Lock = field(factory=threading.Lock)

    def add(self, method: str = "*", route: str = "*", /, **facts: Any) -> Fault:
        """Declare a fault; *facts* are the fields of `Fault`.

        Raises:
            ConfigError: with everything that is wrong with it.
        """
        (fault,) = structured({"method": method, "route": route, **facts}, "fault")
        self.extend([fault])
        return fault

    def extend(self, faults: Iterable[Fault]) -> None:
        """Add *faults*, if all of them can ever meet a request.

        Raises:
            ConfigError: one cannot.
        """
        faults = list(faults)
        for fault in faults:
            self._check(fault)
        with self._lock:
            self._entries += [_Entry(fault) for fault in faults]

    def clear(self) -> None:
        """Behave."""
        with self._lock:
            self._entries.clear()

    def take(self, method: str, route: str) -> Fault | None:
        """The fault that the next request to *route* meets, if it meets one."""
        with self._lock:
            for entry in self._entries:
                if entry.met == entry.fault.times or not entry.fault.meets(method, route):
                    continue
                if (method, route) not in self._places(entry.fault):
                    continue
                if entry.passed < entry.fault.skip:
                    entry.passed += 1
                    continue
                entry.met += 1
                return entry.fault
        return None

    @property
    def left(self) -> list[dict[str, Any]]:
        """The faults that will meet requests yet, as JSON, with how many each has `met`."""
        with self._lock:
            return [
                {**asdict(entry.fault), "met": entry.met} for entry in self._entries if entry.met != entry.fault.times
            ]

    def _check(self, fault: Fault) -> None:
        places = self._places(fault)
        if not any(fault.meets(method, route) for method, route in places):
            known = ", ".join(f"{method} {route}" for method, route in sorted(set(places)))
            problem = f"{fault.method} {fault.route} is no request that this can happen to"
            raise ConfigError.one("fault", "", problem, f"There are {known}")

    def _places(self, fault: Fault) -> list[tuple[str, str]]:
        """The requests that have what *fault* spoils: a job, a token, or nothing special."""
        if fault.is_of_a_job:
            return self.submissions
        return [_TOKEN] if fault.skew_s else self.routes


def every(routes: Iterable[Any]) -> list[tuple[str, str]]:
    """Method and path of each of aiohttp's *routes*."""
    return [
        (method, one.path.replace(":.*}", "}"))
        for one in routes
        for method in (_METHODS if one.method == "*" else (one.method,))
    ]
