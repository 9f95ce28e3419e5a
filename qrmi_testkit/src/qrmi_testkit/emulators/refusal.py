"""What an emulated service answers when it does not do what it was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

MORE_INFO = "https://quantum.cloud.ibm.com/docs/errors"


@frozen
class Refusal(Exception):
    """One error of the service. Each service writes it in its own form."""

    status: int
    code: int
    message: str
    solution: str = "Check the request and try again."
    title: str = "validation failed"
    target: Mapping[str, str] | None = None
    """What is wrong: ``{"name": ..., "type": "field" or "parameter" or "header"}``."""


def invalid_credentials() -> Refusal:
    """No token, or one that is not good or no longer."""
    return Refusal(401, 1201, "Invalid credentials.", "Verify your credentials and try again.", "Invalid credentials.")


def not_authorised() -> Refusal:
    """A token of somebody else's instance."""
    return Refusal(401, 1200, "You are not authorized to perform this action.", title="authentication failed")


def no_backend(name: str) -> Refusal:
    """There is no such device."""
    return Refusal(404, 1216, f"Backend {name} not found.", "Check the name of the backend.")


def no_job(job_id: str) -> Refusal:
    """There is no such job, or it is somebody else's."""
    return Refusal(404, 1291, f"Job {job_id} not found.", "Check the id of the job.")


def invalid(message: str, name: str = "", kind: str = "field") -> Refusal:
    """The request is not as the service wants it."""
    target = {"name": name, "type": kind} if name else None
    return Refusal(400, 1337, message, target=target)


def as_json(text: Any) -> Any:
    """*text* of a request as JSON.

    Raises:
        Refusal: it is none, or no object.
    """
    import json

    try:
        document = json.loads(text)
    except ValueError as exc:
        raise invalid(f"The body is not JSON: {exc}") from exc
    if not isinstance(document, dict):
        raise invalid("The body is not a JSON object.")
    return document
