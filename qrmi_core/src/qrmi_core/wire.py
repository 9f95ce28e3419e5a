"""Parsed JSON and models: the only cattrs converter of the core, and it is strict.

Plain cattrs turns the text ``"no"`` into ``True`` where a bool is expected, and takes text for a list of letters; this
one refuses both and says where.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

import attrs
import cattrs
from cattrs.cols import list_structure_factory, mapping_structure_factory
from cattrs.gen import make_dict_structure_fn

from qrmi_core.kinds import describe

_T = TypeVar("_T")
_Hook = Callable[[Any, Any], Any]
_WORDS = {bool: "true or false", int: "a whole number", str: "text", dict: "an object", list: "a list"}


def _exactly(expected: type, then: _Hook = lambda value, _: value) -> _Hook:
    """A hook that goes on to *then* if the value is of the JSON type *expected*."""

    def hook(value: object, to: Any) -> Any:
        if type(value) is not expected:
            raise TypeError(f"is {describe(value)}, not {_WORDS[expected]}")
        return then(value, to)

    return hook


def _origin(cls: Any) -> Any:
    return get_origin(cls)


def _lists(cls: Any, own: cattrs.BaseConverter) -> _Hook:
    return _exactly(list, list_structure_factory(cls, own))


def _tuples(cls: Any, own: cattrs.BaseConverter) -> _Hook:
    element: Any = get_args(cls)[0]
    as_list: Any = list_structure_factory(list[element], own)
    return _exactly(list, lambda value, _: tuple(as_list(value, list)))


def _mappings(cls: Any, own: cattrs.BaseConverter) -> _Hook:
    return _exactly(dict, mapping_structure_factory(cls, own))


def _choice(value: object, cls: Any) -> object:
    choices = get_args(cls)
    if value not in choices:
        given = repr(value) if isinstance(value, str) else describe(value)
        raise ValueError(f"is {given}, not {' or '.join(choices)}")
    return value


converter = cattrs.Converter(detailed_validation=True)
for _scalar in (bool, int, str):
    converter.register_structure_hook(_scalar, _exactly(_scalar))
converter.register_structure_hook_func(lambda cls: _origin(cls) is Literal, _choice)
converter.register_structure_hook_factory(lambda cls: _origin(cls) is list, _lists)
converter.register_structure_hook_factory(lambda cls: _origin(cls) is tuple, _tuples)
converter.register_structure_hook_factory(lambda cls: _origin(cls) is Mapping, _mappings)


def forbid_extra_keys(cls: type) -> None:
    """Make a *cls* of an object only, and an unknown key of it a fault."""
    make: Any = make_dict_structure_fn(cls, converter, _cattrs_forbid_extra_keys=True)
    converter.register_structure_hook(cls, _exactly(dict, make))


def structure(value: object, cls: type[_T]) -> tuple[_T | None, list[tuple[str, str]]]:
    """Make a *cls* of parsed JSON.

    Returns:
        The object and no faults, or None and every fault as ``(path below the value, problem)``.
    """
    try:
        return converter.structure(value, cls), []
    except (cattrs.BaseValidationError, TypeError, ValueError) as exc:
        return None, [(path.lstrip("."), problem) for path, problem in _faults(exc, "")]


def _faults(exc: Exception, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(exc, cattrs.ClassValidationError):
        members, others = exc.group_exceptions()
        for inner, member in members:
            yield from _faults(inner, f"{path}.{member.name}")
        for inner in others:
            yield from _faults(inner, path)
    elif isinstance(exc, cattrs.IterableValidationError):
        for inner, place in exc.group_exceptions()[0]:
            yield from _faults(inner, path + (f"[{place.index}]" if type(place.index) is int else f".{place.index}"))
    elif isinstance(exc, cattrs.ForbiddenExtraKeysError):
        known = [field.name for field in attrs.fields(exc.cl)]
        for key in sorted(exc.extra_fields):
            close = difflib.get_close_matches(key, known, n=1)
            yield f"{path}.{key}", "is not known here" + (f", did you mean {close[0]}?" if close else "")
    else:
        yield path, "is missing" if isinstance(exc, KeyError) else str(exc)
