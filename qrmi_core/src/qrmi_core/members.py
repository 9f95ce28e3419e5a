"""The members of a payload that is a JSON object: each parsed, and each as the bytes that it has in the payload.

What a vendor wants is often one member of what the user gave, and large: it is sent from where it lies.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator, Mapping
from json import decoder
from typing import Any, BinaryIO, NamedTuple

from attrs import evolve, field, frozen

from qrmi_core import kinds, primitive
from qrmi_core.door import Body
from qrmi_core.payload import DECODER, Payload, parse_json


@frozen
class Member:
    """One member of an object."""

    value: Any = field(repr=False)
    body: Body
    """Its bytes, to be sent."""


def members(payload: Payload) -> dict[str, Member]:
    """The members of the object that *payload* is.

    Raises:
        PayloadError: it is not JSON, as `Payload.json` reads it, or not an object.
    """
    content = payload.read()
    try:
        text = content.decode("utf-8-sig")
        places = list(_places(text))
    except (ValueError, RecursionError):
        places = []
    found: dict[str, Member] = {}
    after, at = 0, len(codecs.BOM_UTF8) if content.startswith(codecs.BOM_UTF8) else 0
    for place in places:
        at += len(text[after : place.start].encode())
        size = place.end - place.start if text.isascii() else len(text[place.start : place.end].encode())
        found[place.name] = Member(place.value, Body(_Opener(payload, at, size), size, "application/json"))
        after, at = place.end, at + size
    if not found or len(found) < len(places):
        kinds.recognise(parse_json(content, payload.source), payload.source)  # raises, and says what is wrong
    return found


def checked(payload: Payload, document: Mapping[str, Member]) -> Payload:
    """*payload*, a ``qiskit-primitive`` one that was read: its *document* need not be read again.

    Raises:
        PayloadError: with the JSON path of the first fault.
    """
    values = {name: member.value for name, member in document.items()}
    primitive.check(values, payload.source)
    return evolve(payload, call=(values["program_id"], document["parameters"].body))


def call_of(payload: Payload) -> tuple[str, Body]:
    """What a ``qiskit-primitive`` payload calls, and with what; its shape is checked.

    Returns:
        ``sampler``, ``estimator`` or another program's name; the JSON of its parameters as they stand in the payload.

    Raises:
        PayloadError: with the JSON path of the first fault.
    """
    if payload.call is None:
        found = members(payload)
        kinds.recognise({name: member.value for name, member in found.items()}, payload.source)
        payload = checked(payload, found)
    assert payload.call is not None  # noqa: S101 - tells mypy
    return payload.call


class _Place(NamedTuple):
    name: str
    value: Any
    start: int
    end: int


def _places(text: str) -> Iterator[_Place]:
    """The members of the object *text*, and where their values stand in it. Raises ValueError if it is none."""

    def after_blanks(at: int) -> int:
        return decoder.WHITESPACE.match(text, at).end()  # type: ignore[attr-defined, no-any-return]

    def expected(sign: str, at: int) -> int:
        if text[at : at + 1] not in tuple(sign):
            raise ValueError(sign)
        return after_blanks(at + 1)

    at = expected("{", after_blanks(0))
    while True:
        if text[at : at + 1] != '"':
            raise ValueError('"')
        name, at = decoder.scanstring(text, at + 1)  # type: ignore[attr-defined]
        start = expected(":", after_blanks(at))
        value, end = DECODER.raw_decode(text, start)
        yield _Place(name, value, start, end)
        at = after_blanks(end)
        is_last = text[at : at + 1] == "}"
        at = expected(",}", at)
        if is_last:
            break
    if at != len(text):
        raise ValueError("the end")


@frozen
class _Opener:
    payload: Payload
    start: int
    size: int

    def __call__(self) -> BinaryIO:
        return io.BufferedReader(_Part(self.payload.open(), self.start, self.size))


class _Part(io.RawIOBase):
    """So many bytes of a stream, from some place on."""

    def __init__(self, stream: BinaryIO, start: int, size: int) -> None:
        stream.seek(start)
        self._stream, self._left = stream, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: self._left]
        count: int = self._stream.readinto(view)  # type: ignore[attr-defined]
        self._left -= count
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()
