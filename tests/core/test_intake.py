"""From what the user has to a payload."""

from __future__ import annotations

import io
import json
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qrmi_core import ConfigError, Payload, PayloadError
from qrmi_core.intake import Options, content, read
from qrmi_core.kinds import PRIMITIVE, PULSER

CIRCUIT = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit q;\nbit c;\nh q;\nc = measure q;\n'
ENDINGS = (".json", ".qasm", ".qpy", ".txt", "")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """One for all examples of a property."""
    return tmp_path_factory.mktemp("intake")


@pytest.fixture
def write(tmp_path):
    """Write a file and return its path as text."""

    def write_(name: str, what: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(what.encode() if isinstance(what, str) else what)
        return str(path)

    return write_


@pytest.mark.parametrize(
    "sample", ["sampler_bell.json", "estimator_broadcast.json", "sampler_bell_runtime_encoded.json"]
)
def test_a_payload_file_is_passed_on_byte_by_byte(data, sample):
    """What arrives at the vendor would be another text than the user's."""
    path = data / sample
    payload = read(str(path), Options())

    assert (PRIMITIVE, str(path)) == (payload.kind, payload.source)
    assert path.read_bytes() == payload.read()


def test_a_byte_order_mark_does_not_reach_the_vendor(write):
    """Few services expect one."""
    path = write("p.json", b"\xef\xbb\xbf" + json.dumps({"program_id": "other", "parameters": {}}).encode())

    assert read(path, Options()).read().startswith(b"{")


@pytest.mark.parametrize("name", ["c.qasm", "c.txt", "c"])
@pytest.mark.parametrize("start", ["", "\ufeff", "// a comment\n\n"])
def test_a_circuit_is_recognised_by_its_ending_or_its_start(write, name, start):
    """Who pipes a circuit, or names it otherwise, would have to wrap it."""
    payload = read(write(name, start + CIRCUIT), Options(shots=5))

    assert PRIMITIVE == payload.kind
    assert [(start + CIRCUIT).removeprefix("\ufeff"), None, 5] == payload.json()["parameters"]["pubs"][0]


def test_standard_input_is_a_file(monkeypatch):
    """A pipe would need a file in between."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(CIRCUIT.encode())))

    assert "sampler" == read("-", Options()).json()["program_id"]


def test_a_closed_standard_input_is_a_fault_of_the_payload(monkeypatch):
    """A job without standard input would end in a traceback."""
    monkeypatch.setattr(sys, "stdin", None)

    with pytest.raises(PayloadError, match="standard input: is closed"):
        read("-", Options())


def test_a_kind_of_somebody_else_passes_unread(write):
    """A backend with a payload of its own would be unusable, even if that looks like a circuit."""
    for name in ("c.qasm", "p.json"):
        payload = read(write(name, CIRCUIT), Options(kind="acme-program"))
        assert ("acme-program", CIRCUIT.encode()) == (payload.kind, payload.read())


def test_a_sequence_is_brought_into_its_one_form(data, write):
    """A bare sequence would need an editor."""
    sample = json.loads((data / "pulser_2q_sequence.json").read_text())
    payload = read(write("s.json", json.dumps(sample["sequence"])), Options(shots=9, variables=["a=1"]))

    assert PULSER == payload.kind
    assert {"sequence": sample["sequence"], "job_runs": 9, "variables": {"a": 1.0}} == payload.json()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("p.json", Options(shots=5)),
        ("p.json", Options(mode="sampler")),
        ("p.json", Options(observables=["Z"])),
        ("p.json", Options(params=["1"])),
        ("p.json", Options(variables=["a=1"])),
        ("s.json", Options(mode="estimator")),
        ("s.json", Options(params=["1"])),
        ("c.qasm", Options(variables=["a=1"])),
        ("c.qasm", Options(mode="sampler", observables=["Z"])),
        ("c.qasm", Options(observables=["Z"], shots=5)),
        ("c.qasm", Options(kind=PULSER)),
        ("c.qasm", Options(shots=0)),
        ("c.qasm", Options(shots=-1)),
        ("x.bin", Options(kind="acme", shots=5)),
    ],
)
def test_an_option_that_means_nothing_here_is_refused(write, name, options):
    """It would be ignored, and the result would be taken for what was asked."""
    write("p.json", json.dumps({"program_id": "sampler", "parameters": {"pubs": [[CIRCUIT]]}}))
    write("s.json", json.dumps({"register": [], "channels": {}, "operations": []}))
    write("c.qasm", CIRCUIT)
    path = write("x.bin", "x").replace("x.bin", name)

    with pytest.raises(ConfigError):
        read(path, options)


def test_a_kind_that_the_shape_denies_is_refused(write):
    """The backend would be given the wrong parser's work."""
    path = write("p.json", json.dumps({"program_id": "sampler", "parameters": {"pubs": [[CIRCUIT]]}}))

    with pytest.raises(PayloadError, match="--kind says pulser"):
        read(path, Options(kind=PULSER))


@pytest.mark.parametrize(
    ("path", "says"),
    [("/nowhere/p.json", "No such file"), ("/", "folder"), ("a\0b", "not a file's name"), ("/dev/zero", "larger than")],
)
def test_what_cannot_be_read_is_a_fault_of_the_payload(path, says):
    """A wrong path would end in a traceback, or fill the memory."""
    with pytest.raises(PayloadError, match=says):
        content(path)


@given(
    st.binary() | st.text().map(lambda text: text.encode(errors="surrogatepass")),
    st.sampled_from(ENDINGS),
    st.sampled_from([None, PRIMITIVE, PULSER, "acme"]),
    st.sampled_from([None, "sampler", "estimator"]),
    st.lists(st.sampled_from(["Z", "", "x"]), max_size=1),
)
@example(b"QISKIT", "", None, None, [])
@example(b"OPENQASM \xff", "", None, None, [])
@example(b'{"sequence": "\\ud800", "job_runs": 1}', ".json", None, None, [])
def test_any_file_is_a_payload_or_refused(outcome, folder, raw, ending, kind, mode, observables):
    """Somebody's file would end in a traceback."""
    path = folder / f"file{ending}"
    path.write_bytes(raw)
    found = outcome(read, str(path), Options(kind=kind, mode=mode, observables=observables))

    assert isinstance(found, (Payload, PayloadError, ConfigError))
