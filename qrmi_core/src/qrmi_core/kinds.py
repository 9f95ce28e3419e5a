"""The payload kinds that several backends share, recognised by their shape. Any other kind passes with ``--kind``."""

from __future__ import annotations

import sys
from typing import Any

from qrmi_core.errors import PayloadError, shown

PRIMITIVE = "qiskit-primitive"
"""``{"program_id": ..., "parameters": {...}}``: a call of a Qiskit primitive."""
PULSER = "pulser"
"""``{"sequence": {...}, "job_runs": N}``: a Pulser sequence in its abstract representation."""


def recognise(document: Any, source: str) -> str:
    """The kind of the parsed JSON *document*.

    Raises:
        PayloadError: it has the shape of none.
    """
    if not isinstance(document, dict):
        raise PayloadError(
            source,
            "$",
            f"is {describe(document)}, not an object",
            'Give a payload: an object with "program_id" and "parameters", or with "sequence" and "job_runs"',
        )
    if "program_id" in document:
        return PRIMITIVE
    if "sequence" in document or is_sequence(document):
        return PULSER
    keys = ", ".join(shown(repr(key), most=40) for key in list(document)[:5]) or "no keys"
    raise PayloadError(
        source,
        "$",
        f"is of no kind that we know (it has {keys})",
        'Add "program_id" or "sequence", or name its kind with --kind',
    )


def is_sequence(document: Any) -> bool:
    """*document* is a Pulser sequence itself, without the number of runs around it."""
    return isinstance(document, dict) and document.keys() >= {"register", "channels", "operations"}


def describe(value: Any) -> str:
    """What a JSON value is, in words, for messages."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value)) or "a number"


def is_finite(value: Any) -> bool:
    """*value* is a number (true and false are none) that a float can hold."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max
