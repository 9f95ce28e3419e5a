"""Payloads of kind ``pulser``: a sequence and a number of runs, brought into one form and checked for it.

The form is ``{"sequence": {...}, "job_runs": N, "variables": {...}}``. A sequence that was encoded as text, once or
twice as some tools do, is decoded here, so that no backend has to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qrmi_core.errors import ConfigError, PayloadError
from qrmi_core.kinds import describe, is_finite, is_sequence
from qrmi_core.payload import parse_json

_MOST_WRAPPINGS = 2
_AS_OBJECT = "Give the sequence as an object, as Sequence.to_abstract_repr() writes it"


def normalise(document: Any, source: str, *, shots: int | None = None, variables: Sequence[str] = ()) -> dict[str, Any]:
    """Bring a payload, or a bare sequence, into the one form.

    Args:
        document: parsed JSON.
        source: for messages.
        shots: replaces ``job_runs``; needed where the document has none.
        variables: ``NAME=VALUE`` or ``NAME=V1,V2,...``, for a parametrised sequence.

    Raises:
        PayloadError, ConfigError: with the path of the first fault.
    """
    made = {"sequence": document} if is_sequence(document) else dict(document)
    made["sequence"] = _unwrapped(made["sequence"], source)
    made["job_runs"] = _runs(made.get("job_runs") if shots is None else shots, source)
    given = made.get("variables", {})
    if not isinstance(given, dict):
        raise PayloadError(
            source, "$.variables", f"is {describe(given)}", "Give an object of names and numbers, or leave it out"
        )
    values = {**given, **_parse(variables)}
    for name, value in values.items():
        numbers = value if isinstance(value, list) else [value]
        if not numbers or not all(map(is_finite, numbers)):
            raise PayloadError(
                source, f"$.variables.{name}", f"is {describe(value)}", "Give a finite number, or a list of them"
            )
    if values:
        made["variables"] = values
    return made


def _unwrapped(sequence: Any, source: str) -> dict[str, Any]:
    for _ in range(_MOST_WRAPPINGS):
        if not isinstance(sequence, str):
            break
        try:
            sequence = parse_json(sequence.encode(errors="surrogatepass"), source)
        except PayloadError as exc:
            raise PayloadError(source, "$.sequence", f"is text, but {exc.problem}", _AS_OBJECT) from exc
    if not isinstance(sequence, dict):
        raise PayloadError(source, "$.sequence", f"is {describe(sequence)}", _AS_OBJECT)
    return sequence


def _runs(runs: Any, source: str) -> int:
    path = "$.job_runs"
    if runs is None:
        raise PayloadError(source, path, "is missing", "Add it, or give --shots N")
    if type(runs) is not int:
        problem = f"is {runs if isinstance(runs, float) else describe(runs)}"
        raise PayloadError(source, path, problem, "Give a whole number of runs")
    if runs < 1:
        raise PayloadError(source, path, f"is {runs}", "Give at least 1 run")
    return runs


def _parse(variables: Sequence[str]) -> dict[str, float | list[float]]:
    found: dict[str, float | list[float]] = {}
    for text in variables:
        name, _, values = text.partition("=")
        try:
            numbers = [_number(value) for value in values.split(",")]
        except ValueError:
            numbers = []
        if not name or not all(map(is_finite, numbers)) or not numbers:
            raise ConfigError.one(
                "--var",
                "",
                f"{text!r} is not NAME=NUMBER",
                "Write --var amplitude=2.5, or --var times=100,200 for a list",
            )
        if name in found:
            raise ConfigError.one("--var", "", f"{name!r} is given twice", "Give each variable once")
        found[name] = numbers if "," in values else numbers[0]
    return found


def _number(text: str) -> float:
    """Whole numbers stay whole: durations and targets are counted, not measured."""
    try:
        return int(text)
    except ValueError:
        return float(text)
