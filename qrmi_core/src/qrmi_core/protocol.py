"""QRMI over HTTP: what both sides must spell alike. Errors travel as their names and their facts."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from qrmi_core import errors
from qrmi_core.errors import QrmiError, RequestRefused, UnexpectedReply, shown

SOCKET = "/run/qrmi/qrmi.sock"
ADMIN_SOCKET = "/run/qrmi/admin.sock"

KEY_HEADER = "Idempotency-Key"
KIND_HEADER = "Qrmi-Payload-Kind"
SOURCE_HEADER = "Qrmi-Payload-Source"
MOST_WAIT_S = 30.0
"""Of one long poll."""

STATUS: dict[type[QrmiError], int] = {
    errors.PayloadError: 422,
    errors.ConfigError: 422,
    errors.NotOffered: 501,
    errors.AuthenticationFailed: 502,
    errors.AuthorizationRefused: 403,
    errors.UnexpectedReply: 502,
    errors.BackendFault: 502,
    errors.AcquireTimeout: 503,
    errors.ResourceUnavailable: 503,
    errors.TaskNotFound: 404,
    errors.TaskNotReady: 409,
    errors.TaskFailed: 410,
    errors.TaskCancelled: 410,
    errors.BackendError: 500,
    errors.QrmiError: 500,
}

_ASK = "Ask the administrators of this site"
_REMEDIES = {
    404: "See what there is: `qrmi resources`; if it should be there, ask the administrators of this site",
    413: "Send less at once",
}
_VERSIONS = "This program and the broker may be of different versions: tell the administrators of this site"


def status_of(error: QrmiError) -> int:
    """The HTTP status that stands for *error*: that of its class, or of the nearest one above."""
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def document_of(error: QrmiError) -> dict[str, Any]:
    """*error* as JSON, by the name of the nearest class that the other side knows."""
    name = next(cls.__name__ for cls in type(error).__mro__ if getattr(errors, cls.__name__, None) is cls)
    return {"error": name, "facts": list(error.args), "message": str(error)}


def refusal(status: int, text: str, resource: str = "qrmid") -> RequestRefused:
    """What HTTP has a *status* for, and we no error of its own; *text* is what the broker says, if it says anything."""
    phrase = next((one.phrase for one in HTTPStatus if one == status), "")
    is_bare = text in ("", phrase) or text.startswith(f"{status}: ")  # no handler of ours said it: they all have words
    words = f"the broker answered {status} {phrase}".rstrip() if is_bare else text
    return RequestRefused(resource, words, status, "", _VERSIONS if is_bare else _REMEDIES.get(status, _ASK))


def error_of(document: object, resource: str, status: int = 0) -> QrmiError:
    """The error that `document_of` wrote, about *resource* as the job calls it; else what the HTTP *status* says.

    Args:
        document: what came, parsed; its text, where it is no JSON.
        resource: for messages.
        status: of the answer.
    """
    name, facts = (document.get("error"), document.get("facts")) if isinstance(document, dict) else (None, None)
    cls = getattr(errors, name, None) if isinstance(name, str) else None
    if not (isinstance(cls, type) and issubclass(cls, QrmiError)) or not isinstance(facts, list):
        said = document.get("message") if isinstance(document, dict) else document
        if 400 <= status < 500:
            return refusal(status, shown("" if said is None else said).strip(), resource)
        return UnexpectedReply(resource, f"the broker answered {str(said)[:200]}")
    if issubclass(cls, errors.ResourceError | errors.TaskError):
        facts = [resource, *facts[1:]]
    try:
        made = cls(*map(_frozen, facts))
        str(made)
    except (TypeError, ValueError):
        return UnexpectedReply(resource, f"the broker answered {str(document)[:200]}")
    return made


def _frozen(value: object) -> object:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
