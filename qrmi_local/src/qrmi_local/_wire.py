"""JSON of payloads and results <-> numpy arrays, in IBM's encodings. Nothing here believes what it reads.

An encoded object is ``{"__type__": T, "__value__": V}``. An ``ndarray`` is base64(zlib(.npy file)), a
``QuantumCircuit`` is base64(zlib(QPY)). Bits are packed big-endian: the lowest bit of a row's last byte is classical
bit 0.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from functools import reduce
from operator import truediv
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from qrmi_core import PayloadError

Observable = dict[str, float]
"""Pauli strings, rightmost letter for qubit 0, with real coefficients. Letters: ``IXYZ``, projectors ``01+-rl``."""

_INFLATED_MAX_BYTES = 64 * 1024**2
_LETTERS = frozenset("IXYZ01+-rl")
_TEXT_MAX = 300


@frozen
class Place:
    """A place in a payload, as messages show it: ``Place("bell.json") / "parameters" / "pubs" / 0``."""

    source: str
    path: str = "$"

    def __truediv__(self, step: str | int) -> Place:
        return Place(self.source, self.path + (f"[{step}]" if isinstance(step, int) else f".{step}"))

    def error(self, problem: str, remedy: str) -> PayloadError:
        """What to raise where *problem* is at this place."""
        return PayloadError(self.source, self.path, problem, remedy)


def brief(reason: object) -> str:
    """A message of a library on one line of bounded length, fit to stand inside a sentence of ours."""
    text = " ".join(str(reason).split("╺")[0].split())  # what follows are backtraces of readers written in Rust
    text = "".join(filter(str.isprintable, text[: _TEXT_MAX + 1])).rstrip(". ") or type(reason).__name__
    return text if len(text) <= _TEXT_MAX else text[: _TEXT_MAX - 3] + "..."


@contextmanager
def refusing(place: Place, problem: str, remedy: str) -> Iterator[None]:
    """Whatever a reader of a library raises becomes a `PayloadError`; panics of compiled ones are no `Exception`."""
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except (PayloadError, MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as exc:
        raise place.error(f"{problem}: {_reasons(exc)}", remedy) from exc


def _reasons(exc: BaseException) -> str:
    """What an exception says, and its cause where that says more."""
    said = [brief(getattr(one, "message", None) or one) for one in (exc, exc.__cause__) if one is not None]
    return said[0] if len(said) == 1 or said[1] in said[0] or said[1] == "None" else brief(": ".join(said))


def shown(value: object) -> str:
    """A value of a payload as messages quote it."""
    return brief(repr(value)[:80])


def member(value: object, place: Place, kind: type[Any], expected: str) -> Any:
    """*value*, which must be exactly of type *kind*: a bool is no int."""
    if type(value) is not kind:
        raise place.error(f"{shown(value)} is not {expected}", f"Put {expected} there")
    return value


def typed(value: object) -> str | None:
    """The name of the encoded type of *value*, or None for plain JSON."""
    return str(value["__type__"]) if isinstance(value, dict) and "__type__" in value else None


def inflate(value: object, place: Place) -> bytes:
    """The bytes of base64(zlib(bytes)), at most 64 MiB."""
    text = value.get("__value__") if isinstance(value, dict) else None
    try:
        if not isinstance(text, str):
            raise TypeError("its __value__ is not text")
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(base64.b64decode(text, validate=True), _INFLATED_MAX_BYTES)
        if unpacker.unconsumed_tail:
            raise ValueError(f"it unpacks to more than {_INFLATED_MAX_BYTES >> 20} MiB")
        if not unpacker.eof:
            raise ValueError("its end is missing")
    except (TypeError, ValueError, binascii.Error, zlib.error) as exc:
        raise place.error(f"cannot be unpacked: {brief(exc)}", "Encode it as base64 of zlib data") from exc
    return content


def array(value: object, place: Place) -> NDArray[np.float64]:
    """The finite real numbers of an ``ndarray`` object or of nested lists, as float64.

    Raises:
        PayloadError: they are ragged, no numbers, or not finite.
    """
    kind = typed(value)
    if kind == "ndarray" and isinstance(value, dict) and isinstance(value.get("__value__"), (list, int, float)):
        value, kind = value["__value__"], None
    if kind not in (None, "ndarray"):
        raise place.error(f"is an encoded {kind}, not an array", "Give an ndarray object or nested lists of numbers")
    found = _npy(inflate(value, place), place) if kind else _nested(value, place)
    if found.size and found.dtype.kind not in "iuf":
        raise place.error(f"holds {found.dtype.name} values, not real numbers", "Give real numbers only")
    numbers = found.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise place.error("holds a number that is not finite", "Use finite numbers only")
    return numbers


def _nested(value: object, place: Place) -> NDArray[Any]:
    try:
        return np.array([] if value is None else value)
    except (ValueError, TypeError, OverflowError, RecursionError) as exc:
        raise place.error(
            "is not a regular array of numbers", "Give nested lists of equal lengths with numbers inside"
        ) from exc


def _npy(content: bytes, place: Place) -> NDArray[Any]:
    """A .npy file, its shape checked against the bytes that are there before anything is allocated."""
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version} of the .npy format")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read(stream)
        present = len(content) - stream.tell()
        if dtype.kind not in "biuf" or any(length < 0 for length in shape) or len(shape) > 32:
            raise ValueError(f"dtype {dtype}, shape {shape}")
        if math.prod(shape) * dtype.itemsize != present:
            raise ValueError(f"shape {shape} of {dtype} does not take {present} bytes")
        flat = np.frombuffer(content, dtype, offset=stream.tell())
        return flat.reshape(shape, order="F" if is_fortran else "C")
    except Exception as exc:
        raise place.error(
            f"is not a plain .npy array: {brief(exc)}", "Save it with numpy.save, allow_pickle=False"
        ) from exc


def observables(value: object, place: Place) -> tuple[tuple[int, ...], list[Observable]]:
    """The shape of an array of observables, and its entries in C order.

    An observable is ``{pauli: coefficient}`` or a bare Pauli string; an array is nested lists of them.
    """
    if typed(value) == "ObservablesArray" and isinstance(value, dict):
        value = value.get("__value__")
    shape: list[int] = []
    level: list[object] = [value]
    while any(isinstance(one, list) for one in level):
        lengths = {len(one) if isinstance(one, list) else -1 for one in level}
        if len(lengths) > 1 or len(shape) == 32:
            raise place.error("is not a regular array of observables", "Give nested lists of equal lengths")
        shape.append(lengths.pop())
        level = [inner for one in level if isinstance(one, list) for inner in one]
    if not level:
        raise place.error("holds no observable", 'Give at least one, such as {"ZZ": 1.0}')
    return tuple(shape), [_observable(one, place, index) for one, index in zip(level, np.ndindex(*shape), strict=True)]


def _observable(value: object, place: Place, index: tuple[int, ...]) -> Observable:
    def wrong(problem: str, remedy: str) -> PayloadError:
        return reduce(truediv, index, place).error(problem, remedy)

    if isinstance(value, str):
        value = {value: 1.0}
    if not isinstance(value, dict) or not value or typed(value):
        raise wrong(f"{shown(value)} is not an observable", 'Give {"ZZ": 1.0}: Pauli strings and coefficients')
    found: Observable = {}
    for pauli, coefficient in value.items():
        if not pauli or not _LETTERS.issuperset(pauli):
            raise wrong(f"{shown(pauli)} is not a Pauli string", "Use the letters I X Y Z, or 0 1 + - r l")
        real = _real(coefficient)
        if real is None:
            raise wrong(f"the coefficient of {shown(pauli)} is not a finite real number", "Use real coefficients")
        found[pauli] = real
    if len({len(pauli) for pauli in found}) > 1:
        raise wrong("has Pauli strings of different lengths", "Give each one letter per qubit")
    return found


def _real(value: object) -> float | None:
    """A finite coefficient, also one encoded as a complex number without imaginary part."""
    if typed(value) == "complex" and isinstance(value, dict):
        parts = value.get("__value__")
        value = parts[0] if isinstance(parts, list) and len(parts) == 2 and parts[1] == 0 else None
    if (type(value) is float and math.isfinite(value)) or (type(value) is int and abs(value) < 2**53):
        return float(value)
    return None


def packed(memory: Sequence[str], clbits: int, register: Sequence[int]) -> NDArray[np.uint8]:
    """Pack the bits of one register out of Aer's samples.

    Args:
        memory: one hexadecimal number per shot; bit k is classical bit k.
        clbits: how many classical bits the circuit has.
        register: indices of the classical bits of the register, its bit 0 first.

    Returns:
        Shape ``(shots, ceil(len(register) / 8))``, big-endian.
    """
    width = -(-clbits // 8)
    digits = "".join([word[2:].zfill(2 * width) for word in memory])
    rows = np.frombuffer(bytes.fromhex(digits), np.uint8).reshape(len(memory), width)
    if list(register) == list(range(clbits)):
        return rows
    bits = np.unpackbits(rows, axis=-1)[:, [8 * width - 1 - index for index in reversed(register)]]
    return np.packbits(np.pad(bits, ((0, 0), (-len(register) % 8, 0))), axis=-1)


def hexadecimal(rows: NDArray[np.uint8]) -> Any:
    """Each row of packed bits, the last axis, as a hexadecimal number without padding: nested lists of text."""
    *shape, width = rows.shape
    if width <= 8:
        wide = np.zeros((math.prod(shape), 8), np.uint8)
        wide[:, 8 - width :] = rows.reshape(-1, width)
        words = list(map(hex, wide.view(">u8").ravel().tolist()))
    else:
        text = rows.tobytes()
        words = [hex(int.from_bytes(text[i : i + width], "big")) for i in range(0, len(text), width)]
    nested: list[Any] = words
    for length in reversed(shape[1:]):
        nested = [nested[i : i + length] for i in range(0, len(nested), length)]
    return nested


def ndarray(value: NDArray[Any]) -> dict[str, str]:
    """The encoded ``ndarray`` object of *value*."""
    stream = io.BytesIO()
    np.save(stream, value, allow_pickle=False)
    return {"__type__": "ndarray", "__value__": base64.b64encode(zlib.compress(stream.getvalue(), 1)).decode()}


@frozen
class Samples:
    """What one register holds after each shot."""

    rows: NDArray[np.uint8]
    """Shape ``(*pub_shape, shots, ceil(num_bits / 8))``."""
    num_bits: int


@frozen
class PubResult:
    """The result of one pub: fields of samples, or of numbers of the pub's shape."""

    type: str
    shape: tuple[int, ...]
    fields: Mapping[str, Samples | NDArray[np.float64]]
    metadata: Mapping[str, Any]


def result(pubs: Sequence[PubResult], *, support_qiskit: bool) -> bytes:
    """The result of a primitive: a ``PrimitiveResult`` object for qiskit, else plain JSON."""
    metadata = {"version": 2}
    document: dict[str, Any]
    if support_qiskit:
        members = {"pub_results": [_for_qiskit(pub) for pub in pubs], "metadata": metadata}
        document = {"__type__": "PrimitiveResult", "__value__": members}
    else:
        document = {"results": [_plain(pub) for pub in pubs], "metadata": metadata}
    return json.dumps(document, separators=(",", ":")).encode()


def _for_qiskit(pub: PubResult) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pub.fields.items():
        if isinstance(value, Samples):
            bits = {"array": ndarray(value.rows), "num_bits": value.num_bits}
            fields[name] = {"__type__": "BitArray", "__value__": bits}
        else:
            fields[name] = ndarray(value) if pub.shape else float(value)
    data = {"field_names": list(fields), "shape": list(pub.shape), "fields": fields}
    members = {"data": {"__type__": "DataBin", "__value__": data}, "metadata": dict(pub.metadata)}
    return {"__type__": pub.type, "__value__": members}


def _plain(pub: PubResult) -> dict[str, Any]:
    data = {
        name: {"samples": hexadecimal(value.rows), "num_bits": value.num_bits}
        if isinstance(value, Samples)
        else value.tolist()
        for name, value in pub.fields.items()
    }
    return {"data": data, "metadata": dict(pub.metadata)}
