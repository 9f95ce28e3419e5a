"""From a type text to the installed `Backend`: the one module that knows entry points."""

from __future__ import annotations

import functools
import json
import logging
from importlib.metadata import EntryPoint, entry_points

from qrmi_core.backend import CONTRACT, Backend
from qrmi_core.declarations import declaration
from qrmi_core.errors import BackendBroken, BackendConflict, BackendNotInstalled

GROUP = "qrmi.backends"
DEFAULT_GROUP = "qrmi.default"


def backend(type_: str) -> Backend:
    """Load the backend that provides *type_*, and check that it keeps the contract.

    Raises:
        BackendNotInstalled: nothing provides it; the message names the distribution to install, where we know one.
        BackendConflict: several distributions provide it; the message names them.
        BackendBroken: it cannot be loaded or speaks another contract.
    """
    from stevedore.driver import DriverManager
    from stevedore.exception import NoMatches

    points = installed(type_)
    if len(points) > 1:  # ours to find: stevedore wants to show classes there, and a Backend is an object
        raise BackendConflict(type_, " and ".join(map(distribution, points)))
    logging.getLogger("stevedore").setLevel(logging.CRITICAL)  # what it logs, we raise
    try:
        found = DriverManager(GROUP, type_).driver
    except NoMatches as exc:
        raise BackendNotInstalled(type_, _remedy(type_)) from exc
    except (Exception, SystemExit) as exc:
        raise _broken(points[0], exc) from exc
    return _checked(found, points[0])


def installed(type_: str | None = None) -> list[EntryPoint]:
    """The entry points of all installed backends, or of those of one type, none of them loaded."""
    points = entry_points(group=GROUP) if type_ is None else entry_points(group=GROUP, name=type_)
    return sorted(points, key=lambda point: (point.name, distribution(point)))


def default_types() -> list[str]:
    """The types that ask to be the default where nobody configured anything."""
    return sorted({point.name for point in entry_points(group=DEFAULT_GROUP)})


def distribution(point: EntryPoint) -> str:
    """The distribution of *point* with its version, for messages."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


@functools.cache
def known_types() -> dict[str, str]:
    """Type -> the distribution to install, for the types that we know of."""
    from importlib import resources

    known: dict[str, str] = json.loads(resources.files("qrmi_core").joinpath("known_types.json").read_text())
    return known


def _broken(point: EntryPoint, exc: BaseException) -> BackendBroken:
    cause = f"{type(exc).__name__}: {exc}".splitlines()[0]
    return BackendBroken(point.name, f"{distribution(point)} cannot be loaded ({cause})")


def _checked(found: object, point: EntryPoint) -> Backend:
    problem = None
    if not isinstance(found, Backend):
        problem = f"names {found!r}, which is not a qrmi_core.Backend"
    elif found.contract != CONTRACT:
        problem = f"was written for contract {found.contract}, this core speaks contract {CONTRACT}"
    else:
        try:
            declaration(found.settings)
        except TypeError as exc:
            problem = str(exc)
    if problem:
        raise BackendBroken(point.name, f"{distribution(point)} {problem}")
    assert isinstance(found, Backend)  # noqa: S101 - tells mypy what `problem` established
    return found


def _remedy(type_: str) -> str:
    name = known_types().get(type_)
    if name:
        return f'Install it: pip install "{name}"'
    types = ", ".join(sorted({point.name for point in installed()})) or "none"
    return f"Check the spelling, or install the distribution that provides it. Installed types: {types}"
