"""`qrmi_config.json`: the resources of a site or of a user, read once and checked as a whole."""

from __future__ import annotations

import difflib
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from attrs import Factory, field, frozen

from qrmi_core import wire
from qrmi_core.declarations import Fault
from qrmi_core.errors import ConfigError, PayloadError
from qrmi_core.payload import parse_json, read_all
from qrmi_core.redaction import looks_secret
from qrmi_core.secret import EXPOSED, SecretReference
from qrmi_core.variables import NAME, NAME_RULE, shell_name


@frozen(kw_only=True)
class Allow:
    """Who may use a resource. An empty list means everybody."""

    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()


@frozen(kw_only=True)
class ResourceConfig:
    """One entry of ``resources``."""

    name: str
    type: str
    environment: Mapping[str, str | SecretReference] = field(factory=dict, repr=False)
    access: Literal["broker", "job"] | None = None
    """Where the resource is opened; by default as its backend says."""
    lanes: int | None = None
    description: str = ""
    allow: Allow = Factory(Allow)
    public: bool = False


@frozen(kw_only=True)
class Config:
    """A whole `qrmi_config.json`."""

    path: Path
    resources: tuple[ResourceConfig, ...]
    unknown: Literal["warn", "refuse"] = "warn"
    """What happens when a job names a resource that is not here."""
    grant: Literal["any", "licences"] = "any"

    def resource(self, name: str) -> ResourceConfig:
        """The entry called *name*.

        Raises:
            ConfigError: there is none; the message lists those that are.
        """
        for entry in self.resources:
            if entry.name == name:
                return entry
        names = [entry.name for entry in self.resources]
        close = difflib.get_close_matches(name, names, n=1)
        raise ConfigError.one(
            str(self.path),
            "resources",
            f"there is no resource {name!r}",
            f"Did you mean {close[0]}?" if close else f"There are: {', '.join(names) or 'none'}",
        )


@frozen(kw_only=True)
class _File:
    resources: list[Any]
    unknown: Literal["warn", "refuse"] = "warn"
    grant: Literal["any", "licences"] = "any"


_REMEDY = "See `qrmi config schema`"


def _environment_value(value: object, _: type) -> str | SecretReference:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, dict) and len(value) == 1 and next(iter(value)) in ("file", "env"):
        return wire.converter.structure(value, SecretReference)
    raise TypeError('is not text, a number, {"file": "/path"} or {"env": "NAME"}')


wire.converter.register_structure_hook(str | SecretReference, _environment_value)
for _cls in (Allow, SecretReference, ResourceConfig, _File):
    wire.forbid_extra_keys(_cls)


def load(path: Path) -> Config:
    """Read and check the file *path*. Backends are not loaded: their own settings are checked when they are used.

    Raises:
        ConfigError: with every fault there is, each with its path in the file.
    """
    try:
        with path.open("rb") as stream:
            document = parse_json(read_all(stream, str(path)), str(path))
    except OSError as exc:
        raise ConfigError.one(str(path), "", f"cannot be read: {exc.strerror}", "Check the path and its mode") from exc
    except PayloadError as exc:
        raise ConfigError.one(str(path), exc.path, exc.problem, exc.remedy) from exc
    file, found = wire.structure(document, _File)
    faults: list[Fault] = [(where, problem, _REMEDY) for where, problem in found]
    resources: list[ResourceConfig] = []
    entries = document.get("resources") if isinstance(document, dict) else None
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        resource, found = wire.structure(entry, ResourceConfig)
        where = f"resources[{index}]"
        faults += [(f"{where}.{at}".rstrip("."), problem, _REMEDY) for at, problem in found]
        if resource is not None:
            resources.append(resource)
            faults += _faults_of(resource, where)
    faults += _collisions(resources)
    faults += _exposed(path, resources)
    if faults or file is None:
        raise ConfigError(str(path), tuple(faults))
    return Config(path=path, resources=tuple(resources), unknown=file.unknown, grant=file.grant)


def _faults_of(resource: ResourceConfig, where: str) -> Iterator[Fault]:
    if not NAME.fullmatch(resource.name):
        yield f"{where}.name", f"{resource.name!r} is not a name", NAME_RULE
    if not resource.type.strip():
        yield f"{where}.type", "is empty", "Name the type of the backend, such as local"
    if resource.lanes is not None and resource.lanes < 1:
        yield f"{where}.lanes", f"is {resource.lanes}", "Give the number of tasks that may run at once, 1 or more"


def _collisions(resources: list[ResourceConfig]) -> Iterator[Fault]:
    for name, count in Counter(entry.name for entry in resources).items():
        if count > 1:
            yield "resources", f"{count} resources are named {name!r}", "Give each its own name"
    shells: dict[str, str] = {}
    for entry in resources:
        other = shells.setdefault(shell_name(entry.name), entry.name)
        if other != entry.name:
            yield (
                "resources",
                f"{other!r} and {entry.name!r} have the same name for shells, {shell_name(entry.name)}",
                "Rename one of them",
            )


def is_exposed(path: Path) -> bool:
    """Every user of this machine can read the file *path*."""
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def _exposed(path: Path, resources: list[ResourceConfig]) -> Iterator[Fault]:
    """A file that everybody can read must not hold what looks like a secret in clear text; of what is declared as one,
    the backend knows, and it is not loaded here."""
    secrets = [
        f"resources[{index}].environment.{name}"
        for index, entry in enumerate(resources)
        for name, value in entry.environment.items()
        if isinstance(value, str) and value and looks_secret(name)
    ]
    if secrets and is_exposed(path):
        yield secrets[0], EXPOSED, f"chmod o-rwx {path}"
