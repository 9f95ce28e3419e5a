"""Bytes and models: the only cattrs converter of the core, and it is strict.

Plain cattrs turns the text ``"no"`` into ``True`` where a bool is expected; this one refuses it and says where.
"""

from __future__ import annotations

from typing import Any, TypeVar

import cattrs
from cattrs.gen import make_dict_structure_fn

_T = TypeVar("_T")


def _exactly(expected: type) -> Any:
    def hook(value: object, _: type) -> object:
        if type(value) is not expected:
            raise TypeError(f"expected {expected.__name__}, got {type(value).__name__}")
        return value

    return hook


def _number(value: object, _: type) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a number, got {type(value).__name__}")
    return float(value)


converter = cattrs.Converter(detailed_validation=True)
for _scalar in (bool, int, str):
    converter.register_structure_hook(_scalar, _exactly(_scalar))
converter.register_structure_hook(float, _number)


def forbid_extra_keys(cls: type) -> None:
    """Make an unknown key of *cls* a fault."""
    converter.register_structure_hook(cls, make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=True))


def structure(value: object, cls: type[_T]) -> tuple[_T | None, list[tuple[str, str]]]:
    """Make a *cls* of parsed JSON.

    Returns:
        The object and no faults, or None and every fault as ``(path below the value, problem)``.
    """
    try:
        return converter.structure(value, cls), []
    except (cattrs.BaseValidationError, TypeError, ValueError) as exc:
        return None, [_split(text) for text in cattrs.transform_error(exc, path="", format_exception=_say)]


def _say(exc: BaseException, expected: type | None) -> str:
    if isinstance(exc, KeyError):
        return f"required key {exc.args[0]!r} is missing"
    if isinstance(exc, cattrs.ForbiddenExtraKeysError):
        return f"unknown key {', '.join(sorted(map(repr, exc.extra_fields)))}"
    return str(exc) or f"expected {getattr(expected, '__name__', expected)}"


def _split(text: str) -> tuple[str, str]:
    problem, _, path = text.rpartition(" @ ")
    return path.lstrip("."), problem
