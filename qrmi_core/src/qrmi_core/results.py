"""Results for people: counts of bit strings and expectation values, out of every result form that we know.

The forms are Qiskit's ``PrimitiveResult`` and its plain JSON (``support_qiskit`` true and false), and Pulser's counter.
No numpy is needed: a terminal and this distribution suffice to look at a result.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import frozen

from qrmi_core import npy
from qrmi_core.errors import PayloadError
from qrmi_core.kinds import is_finite

_MOST_BITS = 1 << 16
_MOST_SETS = 1 << 16
"""Parameter sets of one pub."""


@frozen
class Counts:
    """How often each bit string was seen. The rightmost bit is bit 0; for Pulser, the leftmost is the first atom."""

    title: str
    counts: Mapping[str, int]


@frozen
class Values:
    """Expectation values with their standard errors."""

    title: str
    values: tuple[tuple[str, float, float], ...]
    """Label, value, standard error."""


def views(document: Any, source: str) -> list[Counts | Values]:
    """What there is to see in the parsed result *document*, in order.

    Raises:
        PayloadError: it is no result of a form that we know.
    """
    try:
        found = list(_views(document))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as exc:
        raise PayloadError(
            source, "$", f"is a result that cannot be read: {exc!r}", "Give a file that qrun wrote"
        ) from exc
    if not all(sum(view.counts.values()) if isinstance(view, Counts) else view.values for view in found):
        raise PayloadError(source, "$", "is an empty result: nothing was measured", "Give a file that qrun wrote")
    if not found:
        raise PayloadError(source, "$", "is no result of a form that we know", "Give a file that qrun wrote")
    return found


def _views(document: Any) -> Iterator[Counts | Values]:
    if not isinstance(document, dict):
        return
    if isinstance(document.get("counter"), dict):
        yield Counts("counts", {bits: _count(count) for bits, count in document["counter"].items()})
        return
    value = _unwrap(document)
    pubs = value.get("results") or value.get("pub_results") or []
    for index, pub in enumerate(pubs):
        data = _unwrap(_unwrap(pub)["data"])
        fields = data.get("fields", data)
        if "evs" in fields:
            yield _values(f"pub {index}", fields)
        else:
            for register, samples in fields.items():
                yield from _counts(f"pub {index}, {register}", _unwrap(samples))


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("a count is not a whole number of 0 or above")
    return value


def _unwrap(value: Any) -> Any:
    return value["__value__"] if isinstance(value, dict) and "__type__" in value else value


def _values(title: str, fields: Mapping[str, Any]) -> Values:
    evs, stds = _flat(fields["evs"]), dict(_flat(fields.get("stds", 0.0)))
    return Values(
        title, tuple((str(list(index)) if index else "value", value, stds.get(index, 0.0)) for index, value in evs)
    )


def _flat(value: Any) -> list[tuple[tuple[int, ...], float]]:
    """Every number with its index, from a number, nested lists or an encoded ndarray."""
    value = _unwrap(value)
    if isinstance(value, str):
        array = npy.decode(value)
        indices = itertools.product(*(range(length) for length in array.shape))
        return list(zip(indices, map(float, array.numbers), strict=True))
    if isinstance(value, list):
        return [((index, *rest), number) for index, inner in enumerate(value) for rest, number in _flat(inner)]
    if not is_finite(value):
        raise ValueError("an expectation value is not a finite number")
    return [((), float(value))]


def _counts(title: str, samples: Any) -> Iterator[Counts]:
    width = samples["num_bits"]
    if type(width) is not int or not 0 < width <= _MOST_BITS:
        raise ValueError("num_bits is not a number of bits")
    if "samples" in samples:
        for label, texts in _leaves(samples["samples"]):
            yield Counts(f"{title}{label}", _tally((_bits(text, width), n) for text, n in Counter(texts).items()))
        return
    array = npy.decode(_unwrap(samples["array"]))
    *outer, shots, row = array.shape
    if array.code != "B" or row != -(-width // 8):
        raise ValueError("an array of samples is not one of packed bits")
    if math.prod(outer) > _MOST_SETS:
        raise ValueError(f"a pub has more than {_MOST_SETS} parameter sets")
    for number, place in enumerate(itertools.product(*(range(length) for length in outer))):
        start = number * shots * row
        packed = Counter(array.raw[at : at + row] for at in range(start, start + shots * row, row))
        counted = ((format(int.from_bytes(bits, "big"), f"0{width}b")[-width:], n) for bits, n in packed.items())
        yield Counts(f"{title}{list(place) or ''}", _tally(counted))


def _tally(counted: Iterable[tuple[str, int]]) -> Counter[str]:
    """The sum for each text: several spellings may stand for the same bits."""
    found: Counter[str] = Counter()
    for bits, count in counted:
        found[bits] += count
    return found


def _bits(text: str, width: int) -> str:
    number = int(text, 16) if len(text) <= width // 4 + 3 else -1
    if number < 0 or number.bit_length() > width:
        raise ValueError(f"a sample is not a hexadecimal number of {width} bits")
    return format(number, f"0{width}b")


def _leaves(samples: list[Any], index: tuple[int, ...] = ()) -> Iterator[tuple[str, list[str]]]:
    """The innermost lists of samples."""
    if samples and isinstance(samples[0], list):
        for place, inner in enumerate(samples):
            yield from _leaves(inner, (*index, place))
    else:
        yield str(list(index) or ""), samples
