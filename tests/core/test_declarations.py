"""Settings that are declared once."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from qrmi_core import ConfigError, setting, settings
from qrmi_core.declarations import declaration, load, schema

CANARY = "canary-7f3a9c"
NAMES = [f"part_number_{number}_of_the_address" for number in range(15)]


def _positive(value: float) -> str | None:
    return None if value > 0 else "must be above 0"


@settings(prefix="QRMI_ACME", older=("QRMI_OLD",))
class Acme:
    endpoint: str = setting(help="base URL of the service")
    api_key: str = setting(help="what the service asks for", secret=True)
    pin: int | None = setting(help="a secret number", secret=True, default=None)
    shots: int = setting(help="how many", default=1024, check=_positive)
    timeout_s: float = setting(help="seconds", default=1.5, check=_positive)
    verify: bool = setting(help="whether certificates are checked", default=True)
    method: Literal["fast", "exact"] = setting(help="how", default="fast", suffix="HOW")


GOOD = {"QRMI_ACME_ENDPOINT": "http://localhost", "QRMI_ACME_API_KEY": CANARY}


def faults_of(**environment: str) -> dict[str, tuple[str, str]]:
    """Path -> problem and remedy; no value of a secret is in any of it."""
    with pytest.raises(ConfigError) as info:
        load(Acme, GOOD | environment, source="file", path="env")
    assert "file" == info.value.source
    assert CANARY not in str(info.value) + repr(info.value)
    return {path.removeprefix("env."): (problem, remedy) for path, problem, remedy in info.value.faults}


def test_text_becomes_the_declared_types():
    """A backend gets numbers and booleans, not texts that it has to parse again."""
    found = load(
        Acme,
        GOOD
        | {"QRMI_ACME_SHOTS": " 7 ", "QRMI_ACME_TIMEOUT_S": "2", "QRMI_ACME_VERIFY": "No", "QRMI_ACME_HOW": "EXACT"},
        source="file",
    )

    assert (
        Acme(endpoint="http://localhost", api_key=CANARY, shots=7, timeout_s=2.0, verify=False, method="exact") == found
    )


def test_blank_counts_as_unset():
    """An empty variable in a job script is somebody who did not want to set it."""
    assert 1024 == load(Acme, GOOD | {"QRMI_ACME_SHOTS": " "}, source="file").shots
    assert "is missing" == faults_of(QRMI_ACME_ENDPOINT=" ")["QRMI_ACME_ENDPOINT"][0]


@pytest.mark.parametrize("prefix", ["QRMI_ACME", "QRMI_OLD"])
def test_all_that_is_missing_is_one_fault(prefix):
    """Who forgot four settings would read four sentences, about variables that he may never have heard of."""
    with pytest.raises(ConfigError) as info:
        load(Acme, {f"{prefix}_SHOTS": "7"}, source="file", path="env")
    problem = f"{prefix}_API_KEY and {prefix}_ENDPOINT are missing"

    assert (("env", problem, "Set them all; `qrmi config schema` describes each"),) == info.value.faults


def test_a_message_names_all_that_is_missing_however_many_they_are():
    """The middle of a long list would be cut out, and the user be told of it one run later."""
    Many = settings(prefix="QRMI_ACME")(
        type("Many", (), {"__annotations__": dict.fromkeys(NAMES, str)} | {n: setting(help="a part") for n in NAMES})
    )
    with pytest.raises(ConfigError) as info:
        load(Many, {}, source="file")

    assert [] == [name for name in NAMES if f"QRMI_ACME_{name.upper()}" not in str(info.value)]


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("QRMI_ACME_SHOTS", "many", "whole number"),
        ("QRMI_ACME_SHOTS", "0", "must be above 0"),
        ("QRMI_ACME_TIMEOUT_S", "nan", "number"),
        ("QRMI_ACME_VERIFY", "perhaps", "`true` or `false`"),
        ("QRMI_ACME_HOW", "slow", "`fast` or `exact`"),
    ],
)
def test_a_wrong_value_is_shown_with_what_it_should_be(variable, text, expected):
    """Whoever reads the message need not open the documentation."""
    problem, remedy = faults_of(**{variable: text})[variable]

    assert repr(text) in problem
    assert expected in problem
    assert remedy.startswith("It is: ")


def test_a_wrong_secret_is_not_shown():
    """The message about a malformed secret says everything but the secret."""
    problem, remedy = faults_of(QRMI_ACME_PIN=CANARY)["QRMI_ACME_PIN"]

    assert "whole number" in problem
    assert "It is: a secret number" == remedy


def test_a_misspelt_variable_is_refused_with_the_one_that_was_meant():
    """A misspelt setting that is ignored costs an afternoon."""
    assert ("is not a setting of this type", "Did you mean QRMI_ACME_SHOTS?") == faults_of(QRMI_ACME_SHOT="1")[
        "QRMI_ACME_SHOT"
    ]


def test_a_variable_of_nobody_we_know_is_left_alone():
    """Other prefixes are other people's."""
    assert load(Acme, GOOD | {"QRMI_OTHER_THING": "1"}, source="file")


def test_all_faults_are_reported_at_once():
    """Somebody who mends a file mends all of it at once."""
    with pytest.raises(ConfigError) as info:
        load(Acme, {"QRMI_ACME_SHOTS": "x", "QRMI_ACME_VERIFY": "x", "QRMI_ACME_X": "x"}, source="file")

    assert ["", "QRMI_ACME_SHOTS", "QRMI_ACME_VERIFY", "QRMI_ACME_X"] == [path for path, _, _ in info.value.faults]


def test_an_older_prefix_still_works():
    """Configurations of the existing ecosystem keep working."""
    assert (
        "http://old" == load(Acme, {"QRMI_OLD_ENDPOINT": "http://old", "QRMI_OLD_API_KEY": CANARY}, source="f").endpoint
    )


def test_both_prefixes_must_agree():
    """Two values for one setting are an error that names both variables, and no value; the same value twice is none."""
    problem, _ = faults_of(QRMI_OLD_API_KEY=CANARY + "x")["QRMI_ACME_API_KEY"]

    assert "QRMI_ACME_API_KEY and QRMI_OLD_API_KEY are both set, to different values" == problem
    assert CANARY == load(Acme, GOOD | {"QRMI_OLD_API_KEY": CANARY}, source="file").api_key


def test_a_secret_is_in_no_repr():
    """Settings may be printed by a debugger or an assertion."""
    assert CANARY not in repr(load(Acme, GOOD, source="file"))


@given(
    st.dictionaries(
        st.sampled_from([f"QRMI_{p}_{s}" for p in ("ACME", "OLD") for s in ("SHOTS", "PIN", "HOW")]), st.text()
    )
)
def test_settings_are_loaded_or_refused(environment):
    """Whatever stands in the environment, the answer is settings or a ConfigError with faults."""
    try:
        found = load(Acme, GOOD | environment, source="file")
    except ConfigError:
        return

    assert isinstance(found, Acme)


def test_the_schema_accepts_what_is_loaded_and_says_what_is_required():
    """An editor that knows the schema agrees with the parser."""
    made = schema(Acme)
    Draft202012Validator.check_schema(made)
    validator = Draft202012Validator({"$defs": {"secret": {"type": "object"}}, **made})

    assert validator.is_valid(GOOD | {"QRMI_ACME_SHOTS": 7, "QRMI_ACME_VERIFY": "no", "QRMI_ACME_HOW": "exact"})
    assert validator.is_valid(GOOD | {"QRMI_ACME_API_KEY": {"file": "/path"}})
    assert not validator.is_valid(GOOD | {"QRMI_ACME_HOW": "slow"})
    assert not validator.is_valid(GOOD | {"QRMI_ACME_ENDPOINT": {"file": "/path"}})
    assert {one.help for one in declaration(Acme)} == {shape["description"] for shape in made["properties"].values()}
    assert CANARY not in str(made)


def test_a_required_setting_is_required_in_the_schema():
    """Where there is one prefix only, the schema can say what must be there."""

    @settings(prefix="QRMI_NEW")
    class New:
        endpoint: str = setting(help="base URL of the service")
        shots: int = setting(help="how many", default=1)

    assert ["QRMI_NEW_ENDPOINT"] == schema(New)["required"]


def test_a_class_without_declaration_is_refused():
    """Forgetting `@settings` is said at once."""
    with pytest.raises(TypeError, match="is not made with @settings"):
        declaration(int)
