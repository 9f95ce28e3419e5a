"""Results for people."""

from __future__ import annotations

import base64
import io
import json
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrmi_core import PayloadError
from qrmi_core.results import Counts, Values, views

BELL = {"00": 2045, "11": 2051}
BROADCAST = {
    "[0, 0]": 1.0,
    "[0, 1]": 0.540302,
    "[0, 2]": 0.764842,
    "[1, 0]": 0.5,
    "[1, 1]": 0.3713,
    "[1, 2]": -0.551612,
}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["0x0", "0x3", "eJw="]),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["data", "evs", "stds", "samples", "num_bits", "array", "fields", "counter", "__type__"]),
            inner,
        )
    ),
    max_leaves=10,
)


def ndarray(array: np.ndarray) -> dict:
    stream = io.BytesIO()
    np.save(stream, array)
    return {"__type__": "ndarray", "__value__": base64.b64encode(zlib.compress(stream.getvalue())).decode()}


def of_register(samples: dict) -> dict:
    return {"results": [{"data": {"meas": samples}}]}


@pytest.mark.parametrize("form", ["plain", "qiskit"])
def test_the_counts_of_a_result_are_those_that_were_measured(data, form):
    """The two forms of one result would look like two results."""
    document = json.loads((data / f"result_sampler_bell_{form}.json").read_text())

    assert [Counts("pub 0, meas", BELL)] == views(document, "r.json")


@pytest.mark.parametrize("form", ["plain", "qiskit"])
def test_the_values_of_a_result_are_those_that_were_estimated(data, form):
    """Values would be shown at other places of the array, or without their errors."""
    (view,) = views(json.loads((data / f"result_estimator_broadcast_{form}.json").read_text()), "r.json")

    assert isinstance(view, Values)
    assert BROADCAST == {label: round(value, 6) for label, value, _ in view.values}
    assert {0.02} == {round(error, 6) for _, _, error in view.values}


def test_the_counts_of_pulser_are_shown_as_they_are():
    """The order of atoms would be turned round."""
    assert [Counts("counts", {"01": 3, "10": 5})] == views({"counter": {"01": 3, "10": 5}}, "r.json")


def test_a_number_without_a_shape_is_one_value():
    """The commonest estimate of all could not be shown."""
    assert [Values("pub 0", (("value", -1.85, 0.01),))] == views(
        {"results": [{"data": {"evs": -1.85, "stds": 0.01}}]}, "r.json"
    )


@given(st.integers(1, 20), st.lists(st.integers(0, 2**20 - 1), min_size=1, max_size=20), st.integers(1, 3))
def test_bits_are_the_same_in_both_forms(width, numbers, sets):
    """A bit string would depend on how a result was asked for."""
    numbers = [number % 2**width for number in numbers]
    row = -(-width // 8)
    packed = np.array([list(number.to_bytes(row, "big")) for number in numbers], np.uint8)
    many = np.broadcast_to(packed, (sets, *packed.shape)) if sets > 1 else packed
    plain = [hex(number) for number in numbers]
    encoded = {"__type__": "BitArray", "__value__": {"array": ndarray(np.ascontiguousarray(many)), "num_bits": width}}
    written = {"samples": [plain] * sets if sets > 1 else plain, "num_bits": width}

    found = views(of_register(encoded), "r.json")
    assert found == views(of_register(written), "r.json")
    assert sets == len(found)
    assert len(numbers) == sum(found[0].counts.values())
    assert {format(number, f"0{width}b") for number in numbers} == set(found[0].counts)


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"results": []},
        {"counter": {}},
        {"counter": {"00": 0}},
        {"counter": {"00": -5}},
        {"counter": {"00": 1.5}},
        {"results": 5},
        {"results": [None]},
        {"results": [{"data": {"evs": []}}]},
        {"results": [{"data": {"evs": ["x"]}}]},
        {"results": [{"data": {"evs": float("nan")}}]},
        of_register({"samples": [], "num_bits": 2}),
        of_register({"samples": ["0x0"], "num_bits": 0}),
        of_register({"samples": ["0x0"], "num_bits": 10**12}),
        of_register({"samples": ["0x0"], "num_bits": True}),
        of_register({"samples": ["0x7"], "num_bits": 2}),
        of_register({"samples": ["-0x1"], "num_bits": 2}),
        of_register({"samples": ["0x" + "f" * 100_000], "num_bits": 2}),
        of_register({"samples": [3], "num_bits": 2}),
        of_register({"array": ndarray(np.zeros((4, 2), np.uint8)), "num_bits": 2}),
        of_register({"array": ndarray(np.zeros((4, 1))), "num_bits": 2}),
        of_register({"array": ndarray(np.zeros((1 << 17, 1, 1), np.uint8)), "num_bits": 2}),
        of_register({"array": [[0]], "num_bits": 2}),
    ],
)
def test_what_is_no_result_is_refused(document):
    """Something would be drawn all the same, or take all memory."""
    with pytest.raises(PayloadError) as info:
        views(document, "r.json")

    assert len(str(info.value)) < 1000


@given(
    st.dictionaries(st.sampled_from(["results", "counter", "pub_results", "__type__", "__value__"]), ANYTHING)
    | ANYTHING
)
def test_any_document_is_a_result_or_refused(outcome, document):
    """`qrmi result show` would end in a traceback."""
    found = outcome(views, document, "r.json")

    assert isinstance(found, PayloadError) or all(isinstance(view, (Counts, Values)) for view in found)
