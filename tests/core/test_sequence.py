"""Payloads of kind `pulser` in their one form."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qrmi_core import ConfigError, PayloadError
from qrmi_core.kinds import is_finite
from qrmi_core.sequence import normalise

SEQUENCE = {"register": [], "channels": {}, "operations": []}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def refused(document: object, path: str, **options: object) -> str:
    with pytest.raises(PayloadError) as info:
        normalise(document, "p.json", **options)
    assert path == info.value.path
    return info.value.problem


def encoded(times: int) -> object:
    value: object = SEQUENCE
    for _ in range(times):
        value = json.dumps(value)
    return value


@pytest.mark.parametrize("times", [0, 1, 2])
def test_a_sequence_that_was_encoded_as_text_is_decoded(times):
    """Tools encode it once or twice; every backend would have to undo that."""
    expected = {"sequence": SEQUENCE, "job_runs": 5}

    assert expected == normalise({"sequence": encoded(times), "job_runs": 5}, "p.json")


def test_a_sequence_that_was_encoded_three_times_is_a_mistake():
    """Somebody's loop that encodes again and again would go unnoticed."""
    assert "is text" in refused({"sequence": encoded(3), "job_runs": 5}, "$.sequence")


def test_a_bare_sequence_needs_only_a_number_of_shots():
    """Who has what Pulser writes would have to edit it."""
    assert {"sequence": SEQUENCE, "job_runs": 7} == normalise(SEQUENCE, "p.json", shots=7)
    assert "is missing" in refused(SEQUENCE, "$.job_runs")


def test_an_option_replaces_what_the_payload_says():
    """`--shots` and `--var` would be ignored, silently."""
    document = {"sequence": SEQUENCE, "job_runs": 5, "variables": {"a": 1, "b": 2}}
    made = normalise(document, "p.json", shots=9, variables=["b=3.5", "c=1,2"])

    assert 9 == made["job_runs"]
    assert {"a": 1, "b": 3.5, "c": [1.0, 2.0]} == made["variables"]
    assert {"a": 1, "b": 2} == document["variables"], "the caller's own object"


@pytest.mark.parametrize("runs", [0, -3, True, 1.0, "10", [1], {}])
def test_a_number_of_runs_is_a_whole_one_above_zero(runs):
    """The vendor would bill something else than what was meant."""
    refused({"sequence": SEQUENCE, "job_runs": runs}, "$.job_runs")


@pytest.mark.parametrize("value", ["1", True, None, math.nan, math.inf, 10**400, [], [1, "2"], [[1]], {}])
def test_a_variable_is_a_number_or_a_list_of_them(value):
    """A pulse would be built of it, far away."""
    refused({"sequence": SEQUENCE, "job_runs": 1, "variables": {"amp": value}}, "$.variables.amp")


@pytest.mark.parametrize("value", ["x", [], 3])
def test_variables_are_an_object(value):
    """Their names would be lost."""
    refused({"sequence": SEQUENCE, "job_runs": 1, "variables": value}, "$.variables")


@pytest.mark.parametrize("text", ["", "=", "=1", "a", "a=", "a=x", "a=1,", "a=nan", "a=inf", "a=1e999"])
def test_an_option_for_a_variable_is_a_name_and_numbers(text):
    """The sequence would be built with something else."""
    with pytest.raises(ConfigError, match="NAME=NUMBER"):
        normalise(SEQUENCE, "p.json", shots=1, variables=[text])


def test_a_variable_given_twice_is_refused():
    """One of the two would win, silently."""
    with pytest.raises(ConfigError, match="twice"):
        normalise(SEQUENCE, "p.json", shots=1, variables=["a=1", "a=2"])


@given(ANYTHING, ANYTHING, ANYTHING, st.lists(st.text(), max_size=3))
@example("\ud800", 1, {}, [])
@example('"' * 20_000, 1, {}, [])
def test_whatever_the_parts_are_there_is_one_form_or_our_error(outcome, sequence, runs, variables, options):
    """A document that nobody foresaw would end in a traceback."""
    found = outcome(
        normalise, {"sequence": sequence, "job_runs": runs, "variables": variables}, "p.json", variables=options
    )
    if not isinstance(found, (PayloadError, ConfigError)):
        assert type(found["sequence"]) is dict
        assert found["job_runs"] >= 1
        for value in found.get("variables", {}).values():
            assert all(map(is_finite, value if isinstance(value, list) else [value]))


def test_whole_numbers_of_variables_stay_whole():
    """A duration of 1000 would be refused as 1000.0."""
    made = normalise(SEQUENCE_OF_VARIABLES, "x", shots=1, variables=["d=1000", "amp=2.5"])

    assert {"d": 1000, "amp": 2.5} == made["variables"]
    assert int is type(made["variables"]["d"])


SEQUENCE_OF_VARIABLES = {"register": [], "channels": {}, "operations": []}
