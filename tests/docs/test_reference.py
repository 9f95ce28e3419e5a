"""Everything that the code declares has an entry in the built reference, with its anchor and its description."""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import attrs
import pytest

import qrmi_broker
import qrmi_core
from qrmi_core import cli, config, errors, hooks, registry, variables
from qrmi_core.declarations import declaration

from .site import squeezed

ERRORS = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, errors.QrmiError)]
MODULES = {
    "qrun": "qrmi_core.cli.run",
    "qrmi_task_runner": "qrmi_core.cli.run_named",
    **{f"qrmi {word}": module for word, (module, _) in cli.COMMANDS.items()},
    **{f"qrmi {point.name}": point.module for point in entry_points(group="qrmi.commands")},
    "qrmid": "qrmi_broker.serve",
}


def parsers() -> Iterator[argparse.ArgumentParser]:
    """The parser of each command and of each of its words."""
    for prog, module in MODULES.items():
        parser = cli.Parser(prog=prog)
        importlib.import_module(module).configure(parser)
        yield parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from action.choices.values()


@pytest.mark.parametrize("type_", sorted({point.name for point in registry.installed()}))
def test_every_setting_of_an_installed_backend_has_an_entry(site, type_):
    """Its variable, its help and its default."""
    declared = declaration(registry.backend(type_).settings)
    for one in declared:
        page = site.entry("std:confval", declared.variable(one))

        assert squeezed(one.help) in page.text
        assert squeezed(one.type_text) in page.text
    assert f"type-{type_}" in site.page("reference/settings.html").ids


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_has_an_entry_under_the_anchor_that_its_message_names(site, error):
    """Whoever searches for what stands in brackets finds the explanation."""
    count = len(inspect.signature(error.__init__).parameters) - 1 if error is not errors.QrmiError else 1
    made = errors.ConfigError.one("a", "b", "c", "d") if error is errors.ConfigError else error(*["x"] * count)
    named = re.search(r"\[([a-z-]+)\]$", str(made))

    assert named is not None
    assert named[1] in site.page("reference/errors.html").ids
    assert squeezed(inspect.getdoc(error)) in site.page("reference/errors.html").text
    if error is not errors.QrmiError:
        assert re.search(
            rf"{error.__name__}\W.*?exit status {error.exit_status}", site.page("reference/errors.html").text
        )


@pytest.mark.parametrize("parser", list(parsers()), ids=lambda parser: parser.prog)
def test_every_command_and_option_has_an_entry(site, parser):
    """Its name and its help, at an anchor of the command's own."""
    prog = parser.prog.replace(" ", "-")
    page = site.entry("std:label", f"command-{prog}")
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) or action.help == argparse.SUPPRESS:
            continue
        for name in action.option_strings or [action.metavar]:
            site.entry("std:cmdoption", f"{prog}.{name}")
        about = (action.help or "") % {"default": action.default, "prog": parser.prog}
        assert about
        assert squeezed(about).lower() in page.text.lower()


@pytest.mark.parametrize("variable", variables.VARIABLES, ids=lambda variable: variable.name)
def test_every_environment_variable_has_an_entry(site, variable):
    """Its name and its help."""
    assert squeezed(variable.help.replace("*", "")) in site.entry("std:envvar", variable.name).text


def test_no_environment_variable_is_read_that_has_no_entry(root):
    """A name that starts as ours do is one of the declared ones, or belongs to a backend's settings."""
    declared = {one.name for one in variables.VARIABLES}
    suffixes = {variables.TOKEN_SUFFIX, variables.TIMEOUT_SUFFIX, variables.BROKER_SUFFIX}
    for file in (root / "qrmi_core" / "src").rglob("*.py"):
        read = set(re.findall(r'"(QRMI_[A-Z_]+)"', file.read_text()))

        assert set() == read - declared - suffixes, file


@pytest.mark.parametrize("name", [name for name in vars(hooks.Specification) if name.startswith("qrmi_")])
def test_every_hook_has_an_entry(site, name):
    """Its arguments and its promise."""
    hook = getattr(hooks.Specification, name)
    page = site.entry("py:function", name)

    assert squeezed(inspect.getdoc(hook).replace("*", "")) in page.text
    for argument in list(inspect.signature(hook).parameters)[1:]:
        assert f"{argument}: " in page.text


@pytest.mark.parametrize(
    ("above", "cls"),
    [("", config._File), ("resources[].", config.ResourceConfig), ("resources[].allow.", config.Allow)],
    ids=["the file", "a resource", "allow"],
)
def test_every_key_of_the_configuration_has_an_entry(site, above, cls):
    """What is read from `qrmi_config.json` is what the page lists."""
    for field in attrs.fields(cls):
        site.entry("std:confval", f"{above}{field.name}")


@pytest.mark.parametrize("name", qrmi_core.__all__)
def test_every_public_name_has_an_entry(site, name):
    """A backend's author finds all there is."""
    kinds = ("py:class", "py:exception", "py:function", "py:data")

    assert any((kind, f"qrmi_core.{name}") in site.inventory for kind in kinds)


def test_every_event_that_a_person_should_act_on_is_on_the_page_of_the_broker(site):
    """Who is woken by one at night finds neither what it means nor what to do."""
    (folder,) = map(Path, qrmi_broker.__path__)
    events = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(ast.Attribute(ast.Name("_log") | ast.Call(), "error"), [ast.Constant(str(event)), *_]):
                    events.add(event)
    text = site.page("how-to/operate-the-broker.html").text

    assert len(events) > 15
    assert [] == sorted(event for event in events if not re.search(rf"\b{re.escape(event)}\b", text))
