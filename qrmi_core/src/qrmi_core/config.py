"""`qrmi_config.json`: the resources of a site or of a user, read once and checked as a whole."""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from attrs import Factory, field, frozen

from qrmi_core import wire
from qrmi_core.declarations import Fault
from qrmi_core.errors import ConfigError, PayloadError
from qrmi_core.payload import parse_json
from qrmi_core.redaction import looks_secret
from qrmi_core.variables import shell_name


@frozen(kw_only=True)
class Allow:
    """Who may use a resource. An empty list means everybody."""

    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()


@frozen(kw_only=True)
class SecretReference:
    """A secret that stands elsewhere: in a file or in an environment variable."""

    file: str | None = None
    env: str | None = None

    def resolve(self) -> str:
        """Read the secret.

        Raises:
            ValueError: it cannot be read; the message says why, and never holds the secret.
        """
        if self.file is not None:
            try:
                return Path(self.file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as exc:
                raise ValueError(
                    f"its file {self.file} cannot be read: {getattr(exc, 'strerror', None) or exc}"
                ) from exc
        value = os.environ.get(self.env or "")
        if value is None:
            raise ValueError(f"the environment variable {self.env} is not set")
        return value


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


_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")


def _environment_value(value: object, _: type) -> str | SecretReference:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, dict) and len(value) == 1 and next(iter(value)) in ("file", "env"):
        return wire.converter.structure(value, SecretReference)
    raise TypeError('expected text, a number, or one of {"file": "/path"} and {"env": "NAME"}')


wire.converter.register_structure_hook(str | SecretReference, _environment_value)
for _cls in (Allow, SecretReference, ResourceConfig, _File):
    wire.forbid_extra_keys(_cls)


def load(path: Path) -> Config:
    """Read and check the file *path*. Backends are not loaded: their own settings are checked when they are used.

    Raises:
        ConfigError: with every fault there is, each with its path in the file.
    """
    try:
        document = parse_json(path.read_bytes(), str(path))
    except OSError as exc:
        raise ConfigError.one(str(path), "", f"cannot be read: {exc.strerror}", "Check the path and its mode") from exc
    except PayloadError as exc:
        raise ConfigError.one(str(path), exc.path, exc.problem, exc.remedy) from exc
    file, found = wire.structure(document, _File)
    faults: list[Fault] = [(where, problem, "See `qrmi config schema`") for where, problem in found]
    resources: list[ResourceConfig] = []
    for index, entry in enumerate(file.resources if file else ()):
        resource, found = wire.structure(entry, ResourceConfig)
        where = f"resources[{index}]"
        faults += [(f"{where}.{at}".rstrip("."), problem, "See `qrmi config schema`") for at, problem in found]
        if resource is not None:
            resources.append(resource)
            faults += _faults_of(resource, where)
    faults += _collisions(resources)
    faults += _exposed(path, resources)
    if faults or file is None:
        raise ConfigError(str(path), tuple(faults))
    return Config(path=path, resources=tuple(resources), unknown=file.unknown, grant=file.grant)


def locate(explicit: str | None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The configuration to use outside a job: *explicit*, `QRMI_CONFIG`, or the user's own file if there is one."""
    for chosen in (explicit, environ.get("QRMI_CONFIG")):
        if chosen:
            return Path(chosen)
    base = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME") or "/nonexistent") / ".config")
    user = Path(base) / "qrmi" / "qrmi_config.json"
    return user if user.is_file() else None


def _faults_of(resource: ResourceConfig, where: str) -> Iterator[Fault]:
    if not _NAME.fullmatch(resource.name):
        yield f"{where}.name", f"{resource.name!r} is not a name", "Use letters, digits, '_', '-' and '.' only"
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


def _exposed(path: Path, resources: list[ResourceConfig]) -> Iterator[Fault]:
    """A file that everybody can read must not hold a secret in clear text."""
    try:
        readable = path.stat().st_mode & stat.S_IROTH
    except OSError:
        return
    secrets = [
        f"resources[{index}].environment.{name}"
        for index, entry in enumerate(resources)
        for name, value in entry.environment.items()
        if isinstance(value, str) and value and looks_secret(name)
    ]
    if readable and secrets:
        yield secrets[0], "is a secret in a file that every user of this machine can read", f"chmod o-rwx {path}"
