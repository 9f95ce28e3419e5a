"""Arrays of results without numpy: the little of the ``.npy`` format that QRMI results use, from untrusted bytes."""

from __future__ import annotations

import ast
import base64
import binascii
import math
import re
import struct
import zlib

from attrs import frozen

MOST_BYTES = 1 << 28
_HEADER = re.compile(r"\{[\s\w'\":,<>|()]{1,400}\}\s*")
_CODES = {
    "u1": "B",
    "i1": "b",
    "b1": "?",
    "u2": "H",
    "i2": "h",
    "u4": "I",
    "i4": "i",
    "u8": "Q",
    "i8": "q",
    "f4": "f",
    "f8": "d",
}


@frozen
class Array:
    """Numbers in C order, and their shape."""

    shape: tuple[int, ...]
    code: str
    """Of the numbers, as `struct` spells it."""
    raw: bytes

    @property
    def numbers(self) -> tuple[float, ...]:
        """The elements."""
        return struct.unpack(f"<{math.prod(self.shape)}{self.code}", self.raw)


def decode(text: str) -> Array:
    """Decode base64 of zlib of a ``.npy`` file.

    Raises:
        ValueError: it is none, or larger than `MOST_BYTES`.
    """
    try:
        inflater = zlib.decompressobj()
        content = inflater.decompress(base64.b64decode(text, validate=True), MOST_BYTES)
    except (binascii.Error, zlib.error, ValueError) as exc:
        raise ValueError(f"is not an encoded array: {exc}") from exc
    if inflater.unconsumed_tail:
        raise ValueError(f"is an array of more than {MOST_BYTES} bytes")
    if content[:6] != b"\x93NUMPY" or len(content) < 12:
        raise ValueError("is not in the .npy format")
    wide = content[6] > 1
    size = int.from_bytes(content[8 : 12 if wide else 10], "little")
    start = (12 if wide else 10) + size
    header = content[start - size : start].decode("latin-1")
    if not _HEADER.fullmatch(header):
        raise ValueError("has a header that is not that of a plain array")
    try:
        facts = ast.literal_eval(header.strip())
        order, code = facts["descr"][0], _CODES[facts["descr"][1:]]
        shape = tuple(int(length) for length in facts["shape"])
    except (SyntaxError, ValueError, KeyError, TypeError, IndexError) as exc:
        raise ValueError("is an array of a type that results do not have") from exc
    size_bytes = math.prod(shape) * struct.calcsize(f"<{code}")
    if (
        order not in "<|"
        or facts.get("fortran_order")
        or min(shape, default=0) < 0
        or size_bytes != len(content) - start
    ):
        raise ValueError("is an array whose shape and content disagree")
    return Array(shape, code, content[start:])
