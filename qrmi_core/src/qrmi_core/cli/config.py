"""`qrmi config check|schema`: is this configuration right, and what may stand in one?"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from qrmi_core.cli import show

INTERMIXED = False


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = "Check a qrmi_config.json, or print the JSON Schema of one."
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="check|schema")
    check = verbs.add_parser("check", help="report every fault of a file, each with its path")
    check.add_argument("file", nargs="?", metavar="FILE", help="by default the file that qrun would use")
    verbs.add_parser("schema", help="print the JSON Schema, with the settings of every installed backend")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.verb == "schema":
        show(json.dumps(schema(), indent=1) + "\n")
        return 0
    return _check(args.file)


def _check(file: str | None) -> int:
    from qrmi_core import host, job, registry
    from qrmi_core.declarations import Fault
    from qrmi_core.errors import BackendError, BackendNotInstalled, ConfigError

    path = Path(file) if file else job.locate(None)
    if path is None:
        raise ConfigError.one("qrmi config check", "", "there is no configuration", "Name a file, or set QRMI_CONFIG")
    openings = job.configured(path)
    faults: list[Fault] = []
    for index, opening in enumerate(openings):
        try:
            host.load_settings(registry.backend(opening.type), opening)
        except BackendNotInstalled as exc:
            sys.stderr.write(f"qrmi config: {path}: resources[{index}].type: {exc.sentence()}, to check its settings\n")
        except BackendError as exc:
            faults.append((f"resources[{index}].type", exc.sentence(), ""))
        except ConfigError as exc:
            faults += exc.faults
    if faults:
        raise ConfigError(str(path), tuple(faults))
    names = ", ".join(opening.name for opening in openings) or "no resources"
    show(f"{path}: in order ({names})\n")
    return 0


def schema() -> dict[str, Any]:
    """The JSON Schema of `qrmi_config.json`, with the settings of every installed backend."""
    from qrmi_core import declarations, registry, variables
    from qrmi_core.errors import BackendError

    words = {"type": "string"}
    names = {"type": "array", "items": words}
    variants = []
    for type_ in dict.fromkeys(point.name for point in registry.installed()):
        try:
            shape = declarations.schema(registry.backend(type_).settings)
        except BackendError as exc:
            sys.stderr.write(f"qrmi config: {exc}\n")
            continue
        variants.append(
            {"if": {"properties": {"type": {"const": type_}}}, "then": {"properties": {"environment": shape}}}
        )
    resource: dict[str, Any] = {
        "type": "object",
        "required": ["name", "type"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string", "pattern": f"^{variables.NAME.pattern}$", "description": "what --qpu names"},
            "type": {"type": "string", "description": "the type of its backend, such as `local`"},
            "environment": {"type": "object", "description": "the backend's settings"},
            "access": {"enum": ["broker", "job"], "description": "where it is opened; by default as its backend says"},
            "lanes": {"type": "integer", "minimum": 1, "description": "how many may hold it at once"},
            "description": {"type": "string", "description": "for people"},
            "allow": {
                "type": "object",
                "additionalProperties": False,
                "description": "who may use it; empty: everybody",
                "properties": dict.fromkeys(("users", "groups", "accounts", "partitions"), names),
            },
            "public": {"type": "boolean", "description": "whether those who may not use it see it"},
        },
    }
    if variants:
        resource["allOf"] = variants
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "qrmi_config.json",
        "type": "object",
        "required": ["resources"],
        "additionalProperties": False,
        "properties": {
            "resources": {"type": "array", "items": resource},
            "unknown": {
                "enum": ["warn", "refuse"],
                "default": "warn",
                "description": "when a job names a resource that is not here",
            },
            "grant": {
                "enum": ["any", "licences"],
                "default": "any",
                "description": "`licences`: a job gets only what the scheduler granted it",
            },
        },
        "$defs": {
            "secret": {
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": False,
                "properties": {"file": words, "env": words},
            }
        },
    }
