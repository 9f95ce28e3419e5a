"""From a type text to a backend, by real entry points."""

from __future__ import annotations

import pytest

from qrmi_core import Backend, BackendBroken, BackendConflict, BackendNotInstalled, registry

GROUP = "qrmi.backends"
ACME = """
from qrmi_core import Backend, QuantumResource, settings

@settings(prefix="QRMI_ACME")
class Settings:
    pass

class Acme(QuantumResource):
    task_start = task_status = task_stop = task_result = None

BACKEND = Backend(contract=1, settings=Settings, payloads={"script"}, open=Acme)
NEXT = Backend(contract=2, settings=Settings, payloads={"script"}, open=Acme)
UNDECLARED = Backend(contract=1, settings=dict, payloads={"script"}, open=Acme)
"""


def test_a_type_leads_to_its_backend(install):
    """An installed plugin works by its name, and aliases are further names of the same object."""
    install("qrmi-acme", group=GROUP, points={"acme": "qrmi_acme:BACKEND", "acme-2": "qrmi_acme:BACKEND"}, source=ACME)

    assert isinstance(registry.backend("acme"), Backend)
    assert registry.backend("acme") is registry.backend("acme-2")


def test_a_known_type_says_what_to_install(monkeypatch):
    """Whoever lacks the plugin of a known type reads the line to type."""
    monkeypatch.setattr(registry, "known_types", lambda: {"acme": "qrmi-acme"})
    with pytest.raises(BackendNotInstalled) as info:
        registry.backend("acme")

    assert 'Install it: pip install "qrmi-acme"' == info.value.detail


def test_an_unknown_type_is_answered_with_those_there_are(install):
    """A misspelt type is a sentence with a remedy, not an ImportError."""
    install("qrmi-acme", group=GROUP, points={"acme": "qrmi_acme:BACKEND"}, source=ACME)
    with pytest.raises(BackendNotInstalled) as info:
        registry.backend("acmee")

    assert "acmee" == info.value.type
    assert "acme" in info.value.detail


def test_two_distributions_with_one_type_are_both_named(install):
    """Which of them would run must not depend on the order of the path."""
    for name in ("qrmi-acme-one", "qrmi-acme-two"):
        install(name, group=GROUP, points={"acme": f"{name.replace('-', '_')}:BACKEND"}, source=ACME)
    with pytest.raises(BackendConflict) as info:
        registry.backend("acme")

    assert "qrmi-acme-one 1 and qrmi-acme-two 1" == info.value.detail


@pytest.mark.parametrize("source", ["import no_such_sdk", "1 / 0", "BACKEN = 1", "def"])
def test_a_backend_that_cannot_be_loaded_is_named(install, source):
    """A missing SDK, or any other accident of an import, is said in a sentence that names the distribution."""
    install("qrmi-acme", group=GROUP, points={"acme": "qrmi_acme:BACKEND"}, source=source)
    with pytest.raises(BackendBroken) as info:
        registry.backend("acme")

    assert "acme" == info.value.type
    assert "qrmi-acme 1" in info.value.detail
    assert info.value.__cause__ is not None


def test_a_broken_backend_breaks_only_itself(install):
    """An installed but unused backend is never imported."""
    install("qrmi-broken", group=GROUP, points={"broken": "qrmi_broken:BACKEND"}, source="1 / 0")
    install("qrmi-acme", group=GROUP, points={"acme": "qrmi_acme:BACKEND"}, source=ACME)

    assert isinstance(registry.backend("acme"), Backend)
    assert {"acme", "broken"} <= {point.name for point in registry.installed()}


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("Acme", "not a qrmi_core.Backend"),
        ("NEXT", "contract 2"),
        ("UNDECLARED", "@settings"),
    ],
)
def test_a_backend_that_breaks_the_contract_is_refused(install, what, expected):
    """A plugin of another contract is refused when it is loaded, not when it does something unexpected."""
    install("qrmi-acme", group=GROUP, points={"acme": f"qrmi_acme:{what}"}, source=ACME)
    with pytest.raises(BackendBroken) as info:
        registry.backend("acme")

    assert expected in info.value.detail


def test_a_default_is_declared_by_whoever_offers_it(install):
    """The core knows no default resource of its own."""
    install("qrmi-acme", group=registry.DEFAULT_GROUP, points={"acme": "qrmi_acme:BACKEND"}, source=ACME)

    assert "acme" in registry.default_types()


def test_a_plugin_that_exits_on_import_is_broken_and_no_more(install):
    """A command would end with status 0, without a word and without having run anything."""
    install("qrmi-quitter", group=GROUP, points={"quitter": "qrmi_quitter:BACKEND"}, source="import sys; sys.exit(0)")
    with pytest.raises(BackendBroken, match="SystemExit"):
        registry.backend("quitter")
