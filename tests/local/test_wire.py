"""The encodings of payloads and results, against qiskit's own decoder, and against bytes that mean harm."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import math
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qrmi_core import PayloadError
from qrmi_local import _wire
from qrmi_local._wire import Place, PubResult, Samples

HERE = Place("bell.json")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["__type__", "__value__", "ZZ", "0+"]) | st.text(), inner, max_size=4)
    ),
    max_leaves=20,
)


def object_of(kind: str, content: bytes) -> dict[str, str]:
    """An encoded object."""
    return {"__type__": kind, "__value__": base64.b64encode(zlib.compress(content)).decode()}


def npy(array: np.ndarray) -> bytes:
    """The bytes that numpy.save writes."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def read_by_the_book(encoded: dict) -> np.ndarray:
    """The decoding that IBM's documentation shows."""
    content = zlib.decompress(base64.b64decode(encoded["__value__"]))
    return np.load(io.BytesIO(content), allow_pickle=False)


def test_a_place_says_where_in_the_payload_it_is():
    """The path of an error leads to another member than the one at fault."""
    place = HERE / "parameters" / "pubs" / 0 / 2

    assert "$.parameters.pubs[0][2]" == place.path
    assert place.path == place.error("is wrong", "Mend it").path


@pytest.mark.parametrize("text", ["two\nlines", "x" * 5000, "", "\x1b[31mred\x00", "a\u2028b"])
def test_a_librarys_message_fits_on_one_line(text):
    """A message of a library breaks ours into lines, floods it, or colours the terminal."""
    short = _wire.brief(text)

    assert 0 < len(short) <= 300
    assert short.isprintable()


@given(
    hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.int64, np.uint8]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False, "min_value": 0, "max_value": 100},
    )
)
def test_arrays_survive_their_encoding(array):
    """An array changes on its way through an ndarray object."""
    np.testing.assert_array_equal(array, read_by_the_book(_wire.ndarray(array)))
    np.testing.assert_array_equal(array.astype(float), _wire.array(_wire.ndarray(array), HERE))


def test_an_array_in_fortran_order_is_read_in_its_own_order():
    """Rows and columns of an array that was saved in Fortran order change places."""
    array = np.asfortranarray([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])

    np.testing.assert_array_equal(array, _wire.array(object_of("ndarray", npy(array)), HERE))


def test_runtime_decoder_reads_what_we_write():
    """Programs that decode results as qiskit-ibm-runtime does get other samples or values than were measured."""
    decoder = pytest.importorskip("qiskit_ibm_runtime").RuntimeDecoder
    samples = Samples(np.array([[[0, 1]], [[3, 0]]], np.uint8), 10)  # 2 parameter sets, 1 shot, 10 bits
    pubs = [
        PubResult("SamplerPubResult", (2,), {"meas": samples}, {"shots": 1}),
        PubResult("PubResult", (2,), {"evs": np.array([0.5, -1.0]), "stds": np.zeros(2)}, {}),
        PubResult("PubResult", (), {"evs": np.array(0.25), "stds": np.array(0.1)}, {}),
    ]
    sampled, many, one = json.loads(_wire.result(pubs, support_qiskit=True), cls=decoder)

    assert {"0000000001": 1} == sampled.data.meas.get_counts(0)
    assert {"1100000000": 1} == sampled.data.meas.get_counts(1)
    assert [0.5, -1.0] == many.data.evs.tolist()
    assert (0.25, 0.1) == (one.data.evs, one.data.stds)


@given(st.data())
def test_bits_of_a_register_are_those_of_its_classical_bits(data):
    """A register shows bits of another one, or its own in another order."""
    clbits = data.draw(st.integers(1, 40))
    register = data.draw(st.lists(st.integers(0, clbits - 1), min_size=1, max_size=12, unique=True))
    shots = data.draw(st.lists(st.integers(0, 2**clbits - 1), min_size=1, max_size=5))
    rows = _wire.packed([hex(shot) for shot in shots], clbits, register)
    expected = [sum((shot >> clbit & 1) << bit for bit, clbit in enumerate(register)) for shot in shots]

    assert expected == [int.from_bytes(row.tobytes(), "big") for row in rows]
    assert [hex(value) for value in expected] == _wire.hexadecimal(rows)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 12))))
def test_hexadecimal_samples_keep_the_shape_of_the_pub(rows):
    """Samples of one parameter set are listed under another, or a long register loses bits."""
    nested = _wire.hexadecimal(rows)

    assert rows.shape[:-1] == np.array(nested).shape
    assert [[hex(int.from_bytes(row.tobytes(), "big")) for row in rows_of] for rows_of in rows] == nested


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ({"ZZ": 1.0}, ()),
        ("ZZ", ()),
        (["ZZ", "XX"], (2,)),
        ([[{"ZZ": 1.0}], ["XX"]], (2, 1)),
        ({"__type__": "ObservablesArray", "__value__": [{"ZZ": 1}]}, (1,)),
        ({"ZZ": {"__type__": "complex", "__value__": [2.0, 0.0]}}, ()),
    ],
)
def test_observables_come_in_many_forms(value, shape):
    """A documented way to write observables is refused, or read in another shape."""
    assert shape == _wire.observables(value, HERE)[0]


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        [["ZZ"], "XX"],
        {"ZQ": 1.0},
        {"ZZ": 1.0, "Z": 1.0},
        {"ZZ": "1"},
        {"ZZ": True},
        {"ZZ": {"__type__": "complex", "__value__": [1.0, 2.0]}},
        {"__type__": "SparsePauliOp", "__value__": "x"},
    ],
)
def test_what_is_no_observable_is_refused(value):
    """An observable that makes no sense is computed with."""
    with pytest.raises(PayloadError):
        _wire.observables(value, HERE)


@pytest.mark.parametrize(
    "value",
    [
        ["0.5"],
        [True],
        [[1], [2, 3]],
        [1e400],
        [2**70],
        {"a": 1},
        object_of("ndarray", npy(np.array([{}], object))),
        object_of("ndarray", npy(np.array([1j]))),
        object_of("ndarray", npy(np.array([math.nan]))),
        object_of("ndarray", npy(np.zeros(9))[:-8]),
        object_of(
            "ndarray", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999,)}"
        ),
        object_of("Instruction", b""),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(value):
    """Text, pickles, complex or missing numbers are taken for parameter values."""
    with pytest.raises(PayloadError):
        _wire.array(value, HERE)


@given(json_values)
def test_no_json_value_upsets_the_readers(value):
    """Some JSON value makes a reader raise something else than a PayloadError."""
    for read in (_wire.array, _wire.observables, _wire.inflate):
        try:
            read(value, HERE)
        except PayloadError as exc:
            assert "\n" not in str(exc)  # noqa: PT017


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x93NUMPY\x01\x00", npy(np.zeros(3))[:60]]))
def test_no_bytes_upset_the_reader_of_arrays(tail, head):
    """Some bytes in place of an array make the reader raise something else than a PayloadError."""
    with contextlib.suppress(PayloadError):
        _wire.array(object_of("ndarray", head + tail), HERE)


def test_a_small_payload_does_not_unpack_to_all_memory():
    """A few kilobytes that unpack to gigabytes take the node's memory before they are refused."""
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(400)) + packer.flush()
    tracemalloc.start()
    try:
        with pytest.raises(PayloadError, match="64 MiB"):
            _wire.inflate({"__type__": "ndarray", "__value__": base64.b64encode(bomb).decode()}, HERE)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak_bytes < 600 << 20
