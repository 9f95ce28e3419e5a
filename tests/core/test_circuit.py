"""Bare circuits, and the options for them, made into payloads."""

from __future__ import annotations

import base64
import time
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qrmi_core import ConfigError, PayloadError
from qrmi_core.circuit import bind, observable, payload_of
from qrmi_core.kinds import is_finite
from qrmi_core.primitive import check

CIRCUIT = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit q;\nbit c;\nh q;\nc = measure q;\n'


def of_text(text: str | bytes, *, is_qpy: bool = False, mode: str = "sampler", **options: object) -> dict:
    raw = text if isinstance(text, bytes) else text.encode()
    facts = {"shots": None, "observables": (), "params": (), **options}
    return payload_of(raw, "c.qasm", is_qpy=is_qpy, mode=mode, **facts)


def test_a_circuit_becomes_a_payload_without_faults():
    """What we make ourselves would be refused by ourselves."""
    made = of_text(CIRCUIT, shots=7)
    estimate = of_text(CIRCUIT, mode="estimator", observables=["Z", "0.5*X - Z"])

    check(made, "c.qasm")
    check(estimate, "c.qasm")
    assert [[CIRCUIT, None, 7]] == made["parameters"]["pubs"]
    assert [{"Z": 1.0}, {"X": 0.5, "Z": -1.0}] == estimate["parameters"]["pubs"][0][1]


def test_values_are_bound_in_the_order_of_declaration():
    """Angles would be swapped, and nothing would show it."""
    text = "OPENQASM 3.0; input float[64] b;\n// input float x;\n/* input float y; */ input angle a; qubit q;"

    assert [2.0, 1.0] == of_text(text, params=["a=1", "b=2"])["parameters"]["pubs"][0][1]
    assert [1.0, 2.0] == of_text(text, params=["1", "2"])["parameters"]["pubs"][0][1]


@pytest.mark.parametrize(
    ("params", "names", "says"),
    [
        (["x"], ["a"], "'x'"),
        (["a=nan"], ["a"], "'nan'"),
        (["inf"], [], "'inf'"),
        (["c=1"], ["a"], "'c'"),
        (["c=1"], [], "without names"),
        (["1", "2"], ["a"], "1 inputs, not 2"),
        (["a=1", "a=2"], ["a", "b"], "two values"),
        ([], ["a", "b"], "a, b"),
        (["a=1"], ["a", "b"], "--param b=VALUE"),
    ],
)
def test_values_that_do_not_fit_the_inputs_are_refused(params, names, says):
    """A value would be left out, or a circuit run with another one."""
    with pytest.raises(ConfigError, match=says):
        bind(params, names)


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_any_values_are_bound_or_refused(outcome, params, names):
    """An option would end in a traceback."""
    found = outcome(bind, params, names)

    assert isinstance(found, ConfigError) or found is None or all(map(is_finite, found))


def printed(terms: dict[str, float]) -> str:
    """A sum as people write it."""
    return " ".join(f"{'-' if value < 0 else '+'} {abs(value)!r}*{pauli}" for pauli, value in terms.items())


@given(
    st.integers(1, 6).flatmap(
        lambda qubits: st.dictionaries(
            st.text("IXYZ", min_size=qubits, max_size=qubits),
            st.floats(allow_nan=False, allow_infinity=False),
            min_size=1,
        )
    )
)
def test_an_observable_that_is_printed_is_read_back(terms):
    """Something else than what was written would be estimated."""
    assert terms == observable(printed(terms))


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("ZZ", {"ZZ": 1.0}),
        ("-ZZ", {"ZZ": -1.0}),
        ("0.5*XX-0.25 * ZI", {"XX": 0.5, "ZI": -0.25}),
        (" 2 XX + .5YY ", {"XX": 2.0, "YY": 0.5}),
        ("1.e-3*Z + 1e2Z", {"Z": 100.001}),
    ],
)
def test_an_observable_is_written_as_people_write_sums(text, terms):
    """Everybody would have to learn one spelling."""
    assert terms == observable(text)


@given(st.text() | st.text("IXYZ+-*. e019", max_size=30))
@example("1.2.3*Z")
@example("1e999*Z")
@example("")
def test_any_observable_is_a_sum_or_refused(outcome, text):
    """An option would end in a traceback."""
    found = outcome(observable, text)
    if not isinstance(found, ConfigError):
        assert found
        assert 1 == len({len(pauli) for pauli in found})
        assert all(map(is_finite, found.values()))


@pytest.mark.parametrize("text", ["1" * 131_000, "1" + " " * 131_000 + "a", " " * 131_000 + "a", "1e5" * 40_000])
def test_the_longest_option_is_refused_at_once(text):
    """A command would hang over its own command line."""
    started = time.process_time()
    with pytest.raises(ConfigError):
        observable(text)

    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "text", ["/*" * 500_000, "input x[" * 250_000, "input float " * 250_000, "\n" * 2_000_000, "(" * 2_000_000]
)
def test_the_inputs_of_any_text_are_found_in_time(text):
    """A command would hang over a strange file."""
    started = time.process_time()
    of_text("OPENQASM 3;" + text)

    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"OPENQASM 3;", "not a QPY file"),
        (b"QISKIT\x0d", "without its end"),
        (b"QISKIT\x0d\x02\x00\x00" + (2).to_bytes(8, "big") + b"rest", "2 circuits"),
    ],
)
def test_a_file_that_is_no_qpy_of_one_circuit_is_refused(content, says):
    """The vendor would find out."""
    with pytest.raises(PayloadError, match=says):
        of_text(content, is_qpy=True)


def test_a_qpy_file_goes_into_the_payload_as_it_is():
    """Another circuit than the user's would run."""
    content = b"QISKIT\x0d\x02\x00\x00" + (1).to_bytes(8, "big") + b"rest"
    circuit = of_text(content, is_qpy=True, params=["1", "2"])["parameters"]["pubs"][0]

    assert content == zlib.decompress(base64.b64decode(circuit[0]["__value__"]))
    assert [1.0, 2.0] == circuit[1]


@pytest.mark.parametrize(("content", "says"), [(b"", "empty"), (b" \n", "empty"), (b"\xff", "UTF-8")])
def test_a_circuit_that_is_no_text_is_refused(content, says):
    """The vendor would find out."""
    with pytest.raises(PayloadError, match=says):
        of_text(content)


def test_an_estimate_needs_an_observable():
    """It would estimate nothing."""
    with pytest.raises(ConfigError, match="--observable"):
        of_text(CIRCUIT, mode="estimator")
