"""Every error of ours."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

import qrmi_core
from qrmi_core import errors

_SAMPLES = {
    errors.ConfigError: (
        "/etc/qrmi_config.json",
        (("resources[0].type", "is empty", "Name it"), ("", "worse", "Mend")),
    ),
    errors.BackendError: ("acme", "what is wrong with it"),
    errors.PayloadError: ("bell.json", "$.pubs[0]", "is not a pub", "Give a list"),
    errors.ResourceError: ("ibm_fez", "what the service said"),
    errors.TaskError: ("ibm_fez", "task-17", "what the service said"),
    errors.ResultNotSaved: ("out.json", "disk full", "/var/tmp/kept.json"),
    errors.QrmiError: ("something", "went wrong"),
}
"""The arguments of a class and of those below it."""

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, errors.QrmiError)]


def sample(cls: type[errors.QrmiError]) -> errors.QrmiError:
    return cls(*next(_SAMPLES[base] for base in cls.__mro__ if base in _SAMPLES))


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_survives_pickling_with_its_fields(cls):
    """An error that crosses to another process keeps its class, its fields and its words."""
    exc = sample(cls)
    copy = pickle.loads(pickle.dumps(exc))

    assert (cls, vars(exc), str(exc)) == (type(copy), vars(copy), str(copy))


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_shows_its_facts_and_where_to_read_on(cls):
    """The message is made of the fields, and ends with the anchor of the error's entry in the reference."""
    exc = sample(cls)
    unshown = {errors.NotOffered: ()}.get(cls, ())

    assert exc.sentence().strip()
    assert str(exc).endswith(f" [{cls.anchor()}]")
    for name, fact in vars(exc).items():
        assert name in unshown or not isinstance(fact, str) or fact in str(exc), name


def test_an_error_of_somebody_elses_leads_to_the_entry_of_ours_above_it():
    """The reference has no entry for the class that a backend, or the broker, made for itself."""

    class MuchTooHot(errors.ResourceUnavailable):
        pass

    class OnFire(MuchTooHot):
        pass

    assert str(OnFire("fez", "100 K")).endswith(" [error-resource-unavailable]")


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_is_public_and_documented(cls):
    """A program can catch what it can get; the anchor leads to an entry of the error's own."""
    assert getattr(qrmi_core, cls.__name__) is cls
    assert cls.__name__ in qrmi_core.__all__
    assert inspect.getdoc(cls)
    assert re.fullmatch(r"error(-[a-z]+)+", cls.anchor())


def test_every_fault_of_a_configuration_is_shown_with_its_remedy():
    """Somebody who mends a file mends all of it at once."""
    text = str(sample(errors.ConfigError))

    assert ["resources[0].type: is empty. Name it", "worse. Mend"] == [
        line.removeprefix("/etc/qrmi_config.json: ").removesuffix(" [error-config-error]") for line in text.splitlines()
    ]


@pytest.mark.parametrize(
    ("cls", "status"),
    [
        (errors.TaskFailed, 1),
        (errors.TaskCancelled, 1),
        (errors.ResultNotSaved, 1),
        (errors.PayloadError, 2),
        (errors.ConfigError, 2),
        (errors.BackendNotInstalled, 2),
        (errors.NotOffered, 2),
        (errors.ResourceUnavailable, 3),
        (errors.AcquireTimeout, 3),
        (errors.UnexpectedReply, 3),
        (errors.AuthenticationFailed, 4),
        (errors.AuthorizationRefused, 4),
        (errors.TaskTimeLimit, 124),
    ],
)
def test_an_error_has_the_documented_exit_status(cls, status):
    """Scripts branch on the exit status; it is an interface."""
    assert status == cls.exit_status
