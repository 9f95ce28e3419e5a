"""The resources of this job, or of this user: what application code asks for. For example::

    from qrmi_core import job

    with job.resource() as qpu:
        task_id = qpu.task_start(payload, key="my-run-1")

Inside a job the variables `QRMI_JOB_QPU_RESOURCES` and `QRMI_JOB_QPU_TYPES` say what there is. Outside, resources come
from a `qrmi_config.json`, and where nobody configured anything, from the default that an installed backend declares.
"""

from __future__ import annotations

import difflib
import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from qrmi_core import registry, variables
from qrmi_core.declarations import Fault
from qrmi_core.errors import ConfigError
from qrmi_core.host import Hosted, Opening, open_resource

_NONE = 'None is configured. Install a backend that offers a default: pip install "qrmi-local", or use --config'
_NOT_SETTINGS = (variables.TOKEN_SUFFIX, variables.TIMEOUT_SUFFIX, variables.BROKER_SUFFIX)


def available(config_path: str | None = None, environ: Mapping[str, str] = os.environ) -> list[Opening]:
    """Every resource that this process may open, in order; none of them is opened.

    Args:
        config_path: use this file, as `--config` does, whatever the environment says.
        environ: the environment variables.

    Raises:
        ConfigError: the job's variables or the configuration file are wrong.
    """
    if config_path is None and (listed := _listed(environ)):
        return [_from_job(name, type_, environ) for name, type_ in listed]
    path = locate(config_path, environ)
    if path is not None:
        return [one.with_variables(_settings_of(one.name, environ)) for one in configured(path)]
    return [_opening(type_, type_, environ, "the default resource", "") for type_ in registry.default_types()]


def find(
    name: str | None = None, *, config_path: str | None = None, environ: Mapping[str, str] = os.environ
) -> Opening:
    """The resource called *name*, or the only one there is.

    Raises:
        ConfigError: there is no such resource, none at all, or several and *name* does not choose.
    """
    found = available(config_path, environ)
    names = [entry.name for entry in found]
    if name is None:
        if len(found) == 1:
            return found[0]
        if not found:
            raise ConfigError.one(
                "resources",
                "",
                "none is configured and no installed backend offers a default",
                'Install one: pip install "qrmi-local", or name a configuration with --config',
            )
        raise ConfigError.one(
            "resources", "", f"there are {len(found)}: {', '.join(names)}", "Choose one with --qpu NAME"
        )
    for entry in found:
        if entry.name == name:
            return entry
    if not found and name in registry.known_types():
        registry.backend(name)  # says which distribution to install
    close = difflib.get_close_matches(name, names, n=1)
    raise ConfigError.one(
        "resources",
        "",
        f"there is no resource {name!r}",
        f"Did you mean {close[0]}?" if close else f"There are: {', '.join(names)}" if names else _NONE,
    )


def resource(name: str | None = None, *, config_path: str | None = None) -> Hosted:
    """Open the resource called *name*, or the only one there is."""
    return open_resource(find(name, config_path=config_path))


def resources() -> list[Hosted]:
    """Open every resource of this job, in the order of the request."""
    return [open_resource(opening) for opening in available()]


def locate(explicit: str | None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The configuration to use outside a job: *explicit*, `QRMI_CONFIG`, or the user's own file if there is one."""
    for chosen in (explicit, environ.get(variables.CONFIG)):
        if chosen:
            return Path(chosen)
    base = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME") or "/nonexistent") / ".config")
    user = Path(base) / "qrmi" / "qrmi_config.json"
    return user if os.path.isfile(user) else None


def _listed(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    delimiter = environ.get(variables.DELIMITER) or ","
    for names_variable, types_variable in (
        (variables.JOB_RESOURCES, variables.JOB_TYPES),
        (variables.SLURM_RESOURCES, variables.SLURM_TYPES),
    ):
        names, types = (
            [part.strip() for part in environ.get(variable, "").split(delimiter) if part.strip()]
            for variable in (names_variable, types_variable)
        )
        faults: list[Fault] = []
        if len(names) != len(types):
            faults.append(
                (
                    "",
                    f"lists {len(names)} resources, but {types_variable} lists {len(types)} types",
                    "Give each resource its type, in the same order",
                )
            )
        faults += [
            ("", f"{name!r} is not a name", variables.NAME_RULE) for name in names if not variables.NAME.fullmatch(name)
        ]
        faults += [
            ("", f"lists {name!r} {count} times", "List it once") for name, count in Counter(names).items() if count > 1
        ]
        if faults:
            raise ConfigError(names_variable, tuple(faults))
        if names:
            return list(zip(names, types, strict=True))
    return []


def _from_job(name: str, type_: str, environ: Mapping[str, str]) -> Opening:
    return _opening(name, type_, environ, "the environment", f"{name}")


def configured(path: Path) -> list[Opening]:
    """What is needed to open each resource of the configuration *path*, without the user's own variables.

    Raises:
        ConfigError: the file has faults.
    """
    from qrmi_core import config  # with it comes cattrs, which nobody needs who has no file

    loaded = config.load(path)
    is_exposed = config.is_exposed(path)
    return [
        Opening(
            name=entry.name,
            type=entry.type,
            environment=entry.environment,
            source=str(path),
            path=f"resources[{index}].environment",
            exposed=frozenset(n for n, value in entry.environment.items() if is_exposed and isinstance(value, str)),
        )
        for index, entry in enumerate(loaded.resources)
    ]


def _opening(name: str, type_: str, environ: Mapping[str, str], source: str, path: str) -> Opening:
    return Opening(
        name=name,
        type=type_,
        environment=_settings_of(name, environ),
        source=source,
        path=path,
        acquisition_token=_own(name, variables.TOKEN_SUFFIX, environ),
        timeout_s=_timeout(name, environ),
        broker=_own(name, variables.BROKER_SUFFIX, environ),
    )


def _settings_of(name: str, environ: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for prefix in dict.fromkeys(
        (f"{variables.shell_name(name)}_", f"{name}_")
    ):  # the verbatim one is read last, and wins
        for variable, value in environ.items():
            rest = variable.removeprefix(prefix)
            if variable.startswith(prefix) and rest.startswith("QRMI_") and rest not in _NOT_SETTINGS:
                found[rest] = value
    return found


def _own(name: str, suffix: str, environ: Mapping[str, str]) -> str | None:
    return environ.get(f"{name}_{suffix}") or environ.get(f"{variables.shell_name(name)}_{suffix}") or None


def _timeout(name: str, environ: Mapping[str, str]) -> float | None:
    text = _own(name, variables.TIMEOUT_SUFFIX, environ)
    if text is None:
        return None
    if not re.fullmatch("0*[1-9][0-9]{0,8}", text):
        raise ConfigError.one(
            f"{name}_{variables.TIMEOUT_SUFFIX}",
            "",
            f"{text!r} is not a number of seconds",
            "Give a whole number above 0, or unset it",
        )
    return float(text)
