"""Arrays of results without numpy: the little of the ``.npy`` format that QRMI results use, from untrusted bytes."""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
import zlib

from attrs import frozen

MOST_BYTES = 1 << 27
MOST_NUMBERS = 1 << 20
"""A Python number takes tens of bytes, and nobody looks at so many."""
_MOST_HEADER_BYTES = 1 << 10
"""numpy writes 118 for the arrays that people have."""
_HEADER = re.compile(
    r"\{\s*'descr':\s*'([<>|])(\w\d)',\s*'fortran_order':\s*(True|False),\s*'shape':\s*\(([\d,\s]*)\),?\s*\}\s*",
    re.ASCII,
)
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
        """The elements.

        Raises:
            ValueError: there are more than `MOST_NUMBERS`.
        """
        count = math.prod(self.shape)
        if count > MOST_NUMBERS:
            raise ValueError(f"is an array of {count} numbers, more than {MOST_NUMBERS}")
        return struct.unpack(f"<{count}{self.code}", self.raw)


def decode(text: str) -> Array:
    """Decode base64 of zlib of a ``.npy`` file.

    Raises:
        ValueError: it is none, larger than `MOST_BYTES`, or of a type or layout that results do not have.
    """
    content = _inflate(text)
    if content[:6] != b"\x93NUMPY" or len(content) < 12:
        raise ValueError("is not in the .npy format")
    start = 10 if content[6] == 1 else 12
    end = start + int.from_bytes(content[8:start], "little")
    header = _HEADER.fullmatch(content[start:end].decode("latin-1"))
    if header is None or end - start > _MOST_HEADER_BYTES:
        raise ValueError("has a header that is not that of a plain array")
    order, type_, is_fortran, lengths = header.groups()
    shape = tuple(int(length) for length in lengths.replace(",", " ").split())
    if type_ not in _CODES or (order == ">" and type_[1] != "1"):
        raise ValueError(f"is an array of type {order}{type_}, which results do not have")
    if is_fortran == "True" and len(shape) > 1:
        raise ValueError("is an array in Fortran order, which results do not have")
    code = _CODES[type_]
    if 0 in shape or math.prod(shape) * struct.calcsize(f"<{code}") != len(content) - end:
        raise ValueError("is an array whose shape and content disagree, or that is empty")
    return Array(shape, code, content[end:])


def _inflate(text: str) -> bytes:
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(base64.b64decode(text, validate=True), MOST_BYTES)
    except (binascii.Error, zlib.error, ValueError) as exc:
        raise ValueError(f"is not an encoded array: {exc}") from exc
    if inflater.unconsumed_tail:
        raise ValueError(f"is an array of more than {MOST_BYTES} bytes")
    return content
