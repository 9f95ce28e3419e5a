"""What a backend gives back, checked and cleaned where it enters: it can neither stop the broker nor show a key."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from qrmi_core.errors import BackendFault, QrmiError
from qrmi_core.models import Session, TaskPlan, TaskState, TaskStatus, Usage
from qrmi_core.redaction import mask

_SURROGATE = re.compile("[\ud800-\udfff]")


def clean(value: Any) -> Any:
    """*value* with every text in it, at any depth, masked and fit for UTF-8."""
    if isinstance(value, str):
        return mask(_SURROGATE.sub("\ufffd", value))
    if isinstance(value, dict):
        return {clean(name): clean(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [clean(inner) for inner in value]
    if isinstance(value, tuple):
        return tuple(clean(inner) for inner in value)
    return value


def asked(resource: str, verb: str, call: Callable[[], Any]) -> Any:
    """What *call*, of *verb*, returns.

    Raises:
        QrmiError: the backend's own, cleaned.
        BackendFault: it raised what the contract does not allow, were it a `KeyboardInterrupt`, or returned it.
    """
    try:
        return _checked(verb, call())
    except QrmiError as exc:
        exc.args = clean(exc.args)
        vars(exc).update(clean(vars(exc)))
        raise
    except BaseException as exc:  # the thread is ours: nobody but the backend can mean to end it
        raise BackendFault(resource, clean(f"{exc!r} in {verb}")) from exc


def _checked(verb: str, answer: Any) -> Any:
    check = _CHECKS.get(verb)
    return answer if check is None else check(answer)


def _token(answer: Any) -> str:
    """What we write down and give back letter by letter."""
    if not isinstance(answer, str) or not answer:
        raise TypeError(f"returned {type(answer).__name__}, not a name")
    if _SURROGATE.search(answer):
        raise ValueError("returned a name that is no UTF-8")
    return answer


def _one(kind: type) -> Callable[[Any], Any]:
    def check(answer: Any) -> Any:
        if not isinstance(answer, kind):
            raise TypeError(f"returned {type(answer).__name__}, not {kind.__name__}")
        return clean(answer)

    return check


def _metadata(answer: Any) -> Any:
    return clean(json.loads(json.dumps(_one(dict)(answer), default=str)))


def _usage(answer: Any) -> Usage:
    return Usage(qpu_s=_number(_one(Usage)(answer).qpu_s))


def _number(value: Any) -> float:
    found = float(value)
    if not math.isfinite(found):
        raise ValueError(f"{found} is no amount")
    return found


def _sessions(answer: Any) -> list[Session]:
    return [_one(Session)(one) for one in _one(Sequence)(answer)]


def _state(answer: Any) -> TaskState:
    found: TaskState = _one(TaskState)(answer)
    return TaskState(
        TaskStatus(found.status),
        None if found.reason is None else clean(str(found.reason)),
        None if found.queue_position is None else int(found.queue_position),
        None if found.progress is None else _number(found.progress),
    )


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "acquire": _token,
    "find_task": lambda answer: None if answer is None else _token(answer),
    "is_accessible": bool,
    "metadata": _metadata,
    "sessions": _sessions,
    "target": _one(str),
    "task_logs": _one(str),
    "task_plan": _one(TaskPlan),
    "task_start": _token,
    "task_status": _state,
    "task_usage": _usage,
}
