"""The reference, written from the declarations themselves: what the code reads is what the page says.

Each directive, such as ``{declared} settings``, becomes one of the functions below, which returns MyST text. The
anchors are those of Sphinx's own directives, so everything is in the index and in `objects.inv`.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from qrmi_core import cli, declarations, errors, hooks, registry, variables
from qrmi_core.cli.config import schema


def settings() -> Iterator[str]:
    """Every setting of every installed backend; one that answers to several types once."""
    types: dict[str, list[str]] = {}
    for point in registry.installed():
        types.setdefault(point.value, []).append(point.name)
    for names in sorted(types.values()):
        backend = registry.backend(names[0])
        declared = declarations.declaration(backend.settings)
        point = registry.installed(names[0])[0]
        yield "\n".join(f"(type-{name})=" for name in names)
        yield f"## Type {' or '.join(f'`{name}`' for name in names)}"
        yield (
            f"From the distribution `{point.dist.name}`. "
            f"It executes payloads of kind {_words(sorted(backend.payloads))}. "
            f"By default its resources are opened with access `{backend.default_access}`. "
            f"Every variable starts with `{declared.prefix}_`"
            + (f"; also accepted: {_words(declared.older_prefixes)}" if declared.older_prefixes else "")
            + "."
        )
        for one in declared:
            secret = ", secret" if one.secret else ""
            yield _entry("confval", declared.variable(one), one.help, f"{one.type_text}; {_default(one)}{secret}")


def settings_table(type_: str) -> Iterator[str]:
    """The settings of one type, a row each, for the page of its backend."""
    declared = declarations.declaration(registry.backend(type_).settings)
    rows = [f"| {{confval}}`{declared.variable(one)}` | {one.help} | {_default(one)} |" for one in declared]
    yield "\n".join(["| setting | what it is | |", "|---|---|---|", *rows])


def _default(one: declarations.Setting) -> str:
    if one.is_required:
        return "required"
    if one.default is None:
        return "unset by default"
    return f"`{str(one.default).lower() if isinstance(one.default, bool) else one.default}` by default"


def configuration() -> Iterator[str]:
    """Every key of `qrmi_config.json`, from its JSON Schema."""
    whole = schema()
    yield from _keys({name: one for name, one in whole["properties"].items() if name != "resources"}, "", whole)
    entry = whole["properties"]["resources"]
    about = "The resources, each with the keys below."
    yield _entry("confval", "resources", about, "list of objects; required")
    yield from _keys(entry["items"]["properties"], "resources[].", entry["items"])


def _keys(properties: dict[str, Any], above: str, parent: dict[str, Any]) -> Iterator[str]:
    for name, one in properties.items():
        facts = [
            _json_type(one),
            *(["required"] if name in parent.get("required", ()) else []),
            *([f"`{one['default']}` by default"] if "default" in one else []),
        ]
        yield _entry("confval", above + name, _sentence(one.get("description", f"names of {name}")), "; ".join(facts))
        yield from _keys(one.get("properties", {}), f"{above}{name}.", one)


def _json_type(one: dict[str, Any]) -> str:
    if "enum" in one:
        return " or ".join(f"`{choice}`" for choice in one["enum"])
    names = {"string": "text", "array": "list of texts", "boolean": "`true` or `false`", "integer": "whole number"}
    return names.get(one["type"], one["type"])


def commands() -> Iterator[str]:
    """Every command with its options, as its parser declares them."""
    entries = [("qrun", "qrmi_core.cli.run"), ("qrmi_task_runner", "qrmi_core.cli.run_named")]
    entries += [(f"qrmi {word}", module) for word, (module, _) in cli.COMMANDS.items()]
    entries += [(f"qrmi {point.name}", point.module) for point in sorted(entry_points(group="qrmi.commands"))]
    entries.append(("qrmid", "qrmi_broker.serve"))
    for prog, module in entries:
        parser = cli.Parser(prog=prog, formatter_class=_AsWideAsThePage)
        importlib.import_module(module).configure(parser)
        yield from _command(parser, "##")


class _AsWideAsThePage(argparse.HelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=90)


def _command(parser: argparse.ArgumentParser, level: str) -> Iterator[str]:
    yield f"(command-{parser.prog.replace(' ', '-')})="
    yield f"{level} `{parser.prog}`"
    yield _plain(parser.description or "")
    yield _text_block(parser.format_usage().removeprefix("usage: ").strip())
    yield f"```{{program}} {parser.prog}\n```"
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help for choice in action._choices_actions}
            for word, sub in action.choices.items():
                sub.description = sub.description or _sentence(helps[word])
                yield from _command(sub, level + "#")
        elif action.help is not argparse.SUPPRESS:
            about = (action.help or "") % {"default": action.default, "prog": parser.prog}
            yield _entry("option", _spelling(action), _plain(_sentence(about)))
    if parser.epilog:
        yield _text_block(parser.epilog.strip())


def _spelling(action: argparse.Action) -> str:
    if not action.option_strings:
        return str(action.metavar or action.dest)
    takes = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
    return ", ".join(option + takes for option in action.option_strings)


def environment() -> Iterator[str]:
    """Every environment variable that is read or set."""
    for one in variables.VARIABLES:
        yield _entry("envvar", one.name, one.help)


def tree() -> Iterator[str]:
    """The errors and what each ends a command with; `errors.__doc__` draws the same tree by hand."""
    yield _text_block("\n".join(_branch(errors.QrmiError, 0)))


def _branch(error: type[errors.QrmiError], depth: int) -> Iterator[str]:
    yield f"{'  ' * depth + error.__name__:<28}exit status {error.exit_status}"
    for below in error.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from _branch(below, depth + 1)


def every_error() -> Iterator[str]:
    """Every error, under the anchor that its message ends with."""
    for error in vars(errors).values():
        if inspect.isclass(error) and issubclass(error, errors.QrmiError):
            yield f"({error.anchor()})="
            yield f"## {error.__name__}"
            yield f"```{{py:exception}} qrmi_core.{error.__name__}\n:no-typesetting:\n```"
            yield inspect.getdoc(error) or ""
            if error is errors.QrmiError:
                continue
            base = error.__bases__[0]
            fields = [name.rstrip("_") for name in inspect.signature(error).parameters]
            yield (
                f"A kind of [{base.__name__}](#{base.anchor()}); exit status {error.exit_status}; "
                f"fields {_words(fields)}. It reads:"
            )
            yield _text_block(_example(error, fields))


def _example(error: type[errors.QrmiError], fields: list[str]) -> str:
    if error is errors.ConfigError:
        return str(errors.ConfigError.one("<source>", "<path>", "<problem>", "<remedy>"))
    return str(error(*(f"<{name}>" for name in fields)))


def every_hook() -> Iterator[str]:
    """Every hook, as its specification declares it."""
    for name, hook in inspect.getmembers(hooks.Specification, inspect.isfunction):
        signature = inspect.signature(hook)
        words = ", ".join(str(one) for one in signature.parameters.values() if one.name != "self")
        yield _entry("py:function", f"{name}({words}) -> {signature.return_annotation}", inspect.getdoc(hook) or "")


def http() -> Iterator[str]:
    """Every operation of the protocol, from the same document that the broker is tested against."""
    from qrmi_broker import openapi

    document = openapi.document()
    for tag, title in (("jobs", "What jobs may ask"), ("administrators", "What Slurm and administrators may ask")):
        yield f"## {title}"
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if tag in operation["tags"]:
                    yield from _operation(f"{method.upper()} {path}", operation)
    yield "## Bodies"
    for name, shape in document["components"]["schemas"].items():
        yield f"### {name}\n\n```json\n{json.dumps(shape, indent=1)}\n```"


def _operation(name: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"(operation-{operation['operationId'].replace('_', '-')})="
    yield f"### `{name}`"
    yield operation["summary"]
    rows = [f"`{one['name']}` ({one['in']})" for one in operation["parameters"]]
    answers = [status for status in operation["responses"] if status != "default"]
    if "security" in operation:
        rows.append("`Authorization: Bearer <acquisition token>`")
    yield (f"Takes {', '.join(rows)}. " if rows else "") + f"Answers {', '.join(answers)}, or an error."


def fragments() -> Iterator[str]:
    """The changes since the last release, one file each."""
    for path in sorted((Path(__file__).parents[1] / "changelog.d").glob("*.md")):
        yield "- " + path.read_text(encoding="utf-8").strip().replace("\n", "\n  ")


def _entry(directive: str, name: str, *paragraphs: str) -> str:
    body = "\n\n".join(paragraphs)
    return f"::::{{{directive}}} {name}\n{body}\n::::"


def _text_block(text: str) -> str:
    return f"```text\n{text}\n```"


def _words(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _plain(text: str) -> str:
    """What argparse prints as it is, must not be read as Markdown."""
    return re.sub(r"([\\`*_<>\[\]|~])", r"\\\1", text)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


PARTS: dict[str, Callable[..., Iterator[str]]] = {
    "settings": settings,
    "settings-of": settings_table,
    "configuration": configuration,
    "commands": commands,
    "environment": environment,
    "error-tree": tree,
    "errors": every_error,
    "hooks": every_hook,
    "protocol": http,
    "fragments": fragments,
}


class Declared(SphinxDirective):
    """``{declared} errors`` and its siblings: the text of `PARTS`, read as if it stood on the page."""

    required_arguments = 1
    optional_arguments = 1

    def run(self) -> list[Any]:
        """Parse what the part says."""
        text = "\n\n".join(PARTS[self.arguments[0]](*self.arguments[1:]))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


class Untouched:
    """Napoleon reads ``Text: more`` of an attribute as a type and a description. Ours are sentences: put them back."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def keep(self, _app: Sphinx, what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
        """Before napoleon."""
        self._lines = list(lines)

    def restore(self, _app: Sphinx, what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
        """After it."""
        if what in ("attribute", "data", "property"):
            lines[:] = self._lines


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("declared", Declared)
    untouched = Untouched()
    app.connect("autodoc-process-docstring", untouched.keep, priority=400)
    app.connect("autodoc-process-docstring", untouched.restore, priority=600)
    return {"version": "1", "parallel_read_safe": True}
