"""Payloads of kind `qiskit-primitive`: their shape."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrmi_core import PayloadError
from qrmi_core.primitive import check

CIRCUIT = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit q;\nbit c;\nh q;\nc = measure q;\n'
SAMPLES = (
    "sampler_bell.json",
    "sampler_bell_runtime_encoded.json",
    "sampler_ghz20_isa.json",
    "estimator_h2.json",
    "estimator_h2_runtime_encoded.json",
    "estimator_broadcast.json",
)
PUB = "$.parameters.pubs[0]"
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(CIRCUIT),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.sampled_from(["__type__", "__value__", "ZZ"]), inner)
        | st.fixed_dictionaries(
            {"__type__": st.sampled_from(["ndarray", "QuantumCircuit", "ObservablesArray"]), "__value__": inner}
        )
    ),
    max_leaves=8,
)
PARAMETERS = st.fixed_dictionaries(
    {"pubs": st.lists(st.lists(ANYTHING, min_size=1, max_size=4)) | ANYTHING},
    optional=dict.fromkeys(("version", "options", "shots", "precision", "support_qiskit"), ANYTHING),
)


def sampler(*pub: object, **parameters: object) -> dict:
    return {"program_id": "sampler", "parameters": {"pubs": [list(pub)], **parameters}}


def estimator(*pub: object, **parameters: object) -> dict:
    return {"program_id": "estimator", "parameters": {"pubs": [list(pub)], **parameters}}


def refused(document: object) -> PayloadError:
    with pytest.raises(PayloadError) as info:
        check(document, "p.json")
    return info.value


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_sample_has_no_fault(data, sample):
    """A payload that the services take would be refused."""
    check(json.loads((data / sample).read_text()), sample)


@pytest.mark.parametrize(
    "document",
    [
        sampler(CIRCUIT),
        sampler(CIRCUIT, None, None),
        sampler(CIRCUIT, [], 1),
        sampler(CIRCUIT, [[0.5, 1], [2, -3e5]], 100, version=2, options=None),
        estimator(CIRCUIT, "ZZ"),
        estimator(CIRCUIT, ["ZZ", {"XX": 1, "ZI": -0.5}], None, 0),
        estimator(CIRCUIT, {"__type__": "ObservablesArray", "__value__": [["Z"]]}),
        estimator(CIRCUIT, "Z", {"__type__": "ndarray", "__value__": "eJw="}),
        {"program_id": "noise-learner", "parameters": {"circuits": 5}},
    ],
)  # fmt: skip
def test_every_form_that_services_take_has_no_fault(document):
    """Clients write the same thing in several ways."""
    check(document, "p.json")


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("$.program_id", {"program_id": ""}),
        ("$.program_id", {"program_id": ["sampler"]}),
        ("$.parameters", {"program_id": "sampler", "parameters": None}),
        ("$.parameters.pubs", {"program_id": "sampler", "parameters": {"pubs": "x"}}),
        ("$.parameters.pubs[1]", {"program_id": "sampler", "parameters": {"pubs": [[CIRCUIT], []]}}),
        (f"{PUB}[0]", sampler(5)),
        (f"{PUB}[0]", sampler({"__type__": "QuantumCircuit", "__value__": 5})),
        (f"{PUB}[1][1][0]", sampler(CIRCUIT, [[1, 2], [True, 2]])),
        (f"{PUB}[1][1]", sampler(CIRCUIT, [[1, 2], [1]])),
        (f"{PUB}[1][1]", sampler(CIRCUIT, [[1, 2], [[1], [2]]])),
        (f"{PUB}[1][0]", sampler(CIRCUIT, [math.nan])),
        (f"{PUB}[1][0]", sampler(CIRCUIT, [10**400])),
        (f"{PUB}[1][1]", sampler(CIRCUIT, [0.5, True])),
        (f"{PUB}[1][2]", sampler(CIRCUIT, [0.5, 1, math.nan])),
        (f"{PUB}[1][1]", sampler(CIRCUIT, [[1, 2], [3]])),
        (f"{PUB}[1]", sampler(CIRCUIT, {"__type__": "set", "__value__": []})),
        (f"{PUB}[2]", sampler(CIRCUIT, None, 1e3)),
        ("$.parameters.shots", sampler(CIRCUIT, shots=False)),
        ("$.parameters.version", sampler(CIRCUIT, version=[[[]]])),
        ("$.parameters.version", sampler(CIRCUIT, version=2.0)),
        ("$.parameters.version", sampler(CIRCUIT, version=None)),
        ("$.parameters.options.default_precision", estimator(CIRCUIT, "Z", options={"default_precision": -1})),
        (f"{PUB}", estimator(CIRCUIT)),
        (f"{PUB}[1][0][1]", estimator(CIRCUIT, [["Z", []]])),
        (f"{PUB}[1].ZZ", estimator(CIRCUIT, {"ZZ": math.inf})),
        (f"{PUB}[1].__value__", estimator(CIRCUIT, {"__type__": "ObservablesArray", "__value__": 5})),
        (f"{PUB}[3]", estimator(CIRCUIT, "Z", None, "0.1")),
    ],
)  # fmt: skip
def test_a_fault_is_named_by_its_path(path, document):
    """Somebody would search a file of thousands of lines."""
    assert path == refused(document).path


@given(ANYTHING, st.sampled_from(["sampler", "estimator", "other"]), PARAMETERS | ANYTHING)
def test_any_document_is_in_order_or_refused(outcome, program, other, parameters):
    """A shape that nobody foresaw would end in a traceback."""
    for program_id in (program, other):
        found = outcome(check, {"program_id": program_id, "parameters": parameters}, "p.json")
        assert found is None or isinstance(found, PayloadError)


@pytest.mark.parametrize("pub", [[CIRCUIT, None], [CIRCUIT]])
def test_more_levels_than_an_array_can_have_are_refused(pub):
    """The check itself would run out of stack."""
    deep: list = []
    for _ in range(10_000):
        deep = [deep]

    assert "32" in refused(estimator(pub[0], deep, *pub[1:])).problem
    assert "32" in refused(sampler(pub[0], deep)).problem
