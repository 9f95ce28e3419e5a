"""The kinds of payload, recognised by their shape."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrmi_core import PayloadError
from qrmi_core.kinds import PRIMITIVE, PULSER, describe, is_finite, is_sequence, recognise

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize(
    ("sample", "kind"),
    [
        ("sampler_bell.json", PRIMITIVE),
        ("sampler_bell_runtime_encoded.json", PRIMITIVE),
        ("estimator_h2.json", PRIMITIVE),
        ("pulser_2q_sequence.json", PULSER),
    ],
)
def test_a_sample_is_of_its_kind(data, sample, kind):
    """A payload that names its kind by its shape would need an option all the same."""
    assert kind == recognise(json.loads((data / sample).read_text()), sample)


def test_a_bare_sequence_is_one(data):
    """Who has only what Pulser writes would have to wrap it."""
    sequence = json.loads((data / "pulser_2q_sequence.json").read_text())["sequence"]

    assert is_sequence(sequence)
    assert PULSER == recognise(sequence, "s.json")


@given(ANYTHING)
def test_any_document_is_of_a_kind_or_refused(outcome, document):
    """A shape that nobody foresaw would end in a traceback."""
    found = outcome(recognise, document, "p.json")

    assert found in (PRIMITIVE, PULSER) or isinstance(found, PayloadError)


def test_a_refusal_shows_what_was_found_and_not_all_of_it():
    """The terminal would be full of somebody's file."""
    with pytest.raises(PayloadError, match="'circuit'") as info:
        recognise({"circuit": 1, "\x1b[2J": 2, "k" * 10_000_000: 3}, "p.json")

    assert len(str(info.value)) < 1000


@pytest.mark.parametrize("value", [0, -1, 1.5, 10**308, -(10**300)])
def test_a_number_is_finite(value):
    """What a float can hold would be refused."""
    assert is_finite(value)


@pytest.mark.parametrize("value", [True, None, "1", [1], math.nan, math.inf, 10**400, -(10**400)])
def test_what_no_float_can_hold_is_no_finite_number(value):
    """It would overflow later, far from its cause."""
    assert not is_finite(value)


@given(ANYTHING)
def test_everything_in_json_has_a_name_for_messages(value):
    """A message would say what Python calls it."""
    assert describe(value) in ("an object", "a list", "text", "true or false", "null", "a number")
