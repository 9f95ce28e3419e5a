"""Arrays without numpy, against numpy."""

from __future__ import annotations

import base64
import io
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from qrmi_core import npy

TYPES = [np.dtype(f"<{code}") if code[1] != "1" else np.dtype(code) for code in npy._CODES]


def encoded(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content)).decode()


def saved(array: np.ndarray) -> str:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return encoded(stream.getvalue())


def written(header: str, content: bytes = b"", *, version: int = 1) -> str:
    """A file whose header nobody has checked."""
    size = len(header).to_bytes(2 if version == 1 else 4, "little")
    return encoded(b"\x93NUMPY" + bytes([version, 0]) + size + header.encode() + content)


def plain(descr: str = "<f8", shape: str = "(1,)", fortran: str = "False") -> str:
    return f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


@given(st.sampled_from(TYPES).flatmap(lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, max_dims=4))))
def test_what_numpy_saves_is_read(array):
    """A result would be shown as another one."""
    found = npy.decode(saved(array))

    assert array.shape == found.shape
    assert array.tobytes() == found.raw
    np.testing.assert_array_equal(array.ravel(), np.array(found.numbers, dtype=array.dtype))


@pytest.mark.parametrize(
    "array",
    [
        np.array([{"a": 1}], dtype=object),
        np.array(["text"]),
        np.array([1 + 2j]),
        np.array([1.5], dtype=">f8"),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array([np.datetime64("2026-01-01")]),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.zeros((0, 3)),
    ],
)
def test_what_results_do_not_have_is_refused(array):
    """A pickle would run, a byte order be ignored, an empty result drawn."""
    with pytest.raises(ValueError, match=r"^(is|has) "):
        npy.decode(saved(array))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@@@",
        "ü",
        "QUJD",
        encoded(b""),
        encoded(b"\x93NUMPY\x01\x00\xff\xff"),
        encoded(b"\x93NUMPY\x01\x00" + b" " * 300),
        written(plain(), b"1234567"),
        written(plain(), b"123456789"),
        written(plain(shape="(1000000000000,)")),
        written(plain(shape="(-1,)")),
        written(plain(shape="(1000000000000, 0)")),
        written(plain(shape=f"({'9' * 800},)")),
        written("__import__('os').system('true')"),
        written(plain() + " " * 60_000, b"12345678", version=2),
        written(plain(descr="|V8"), b"12345678"),
    ],
)
def test_a_file_that_lies_is_refused(text):
    """A few bytes would make us take gigabytes, or run what they hold."""
    with pytest.raises(ValueError, match=r"^(is|has) "):
        npy.decode(text)


def test_a_bomb_is_refused_before_it_unfolds():
    """A kilobyte would fill the memory."""
    packer = zlib.compressobj(1)
    parts = [packer.compress(bytes(1 << 20)) for _ in range((npy.MOST_BYTES >> 20) + 1)]

    with pytest.raises(ValueError, match="more than"):
        npy.decode(base64.b64encode(b"".join([*parts, packer.flush()])).decode())


def test_more_numbers_than_anybody_looks_at_are_refused():
    """Each takes tens of bytes as a Python object."""
    found = npy.decode(saved(np.zeros(npy.MOST_NUMBERS + 1, np.uint8)))

    with pytest.raises(ValueError, match="more than"):
        _ = found.numbers


@given(st.text() | st.binary().map(encoded) | st.text(max_size=200).map(written))
def test_any_text_is_an_array_or_refused(text):
    """A result file would end in a traceback."""
    try:
        found = npy.decode(text)
    except ValueError:
        return
    assert len(found.numbers) > 0
