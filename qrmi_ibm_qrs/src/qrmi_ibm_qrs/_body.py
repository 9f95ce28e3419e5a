"""The request that submits a payload: its `parameters` as they stand in it, between a few members of ours.

A payload may hold many megabytes. It is neither parsed into objects nor written anew: what the user wrote is what the
service reads, options that we have never heard of included.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from qrmi_core import Payload, PayloadError, primitive
from qrmi_core.door import Body
from qrmi_core.payload import parse_json

_CHECKED_BYTES = 1_000_000
"""A payload up to this size is parsed and checked: a fault is named with its path before anything is sent."""
_CHUNK_BYTES = 1 << 16
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],]', re.DOTALL)
"""A whole string, or what structures JSON. An unfinished string is no token."""
_OPENING = (b"{", b"[")
_CLOSING = (b"}", b"]")
_FORM = 'Give an object with "program_id" and "parameters"'


class _Joined(io.RawIOBase):
    """Pieces of memory as one stream, without a copy of all of them."""

    def __init__(self, pieces: tuple[bytes | memoryview, ...]) -> None:
        self._left = [memoryview(piece) for piece in pieces if len(piece)]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            return 0
        piece = self._left[0]
        count = min(len(buffer), len(piece))
        buffer[:count] = piece[:count]
        self._left[0] = piece[count:]
        if count == len(piece):
            del self._left[0]
        return count


def body_of(payload: Payload, members: Mapping[str, Any]) -> Body:
    """The request that submits *payload* with further *members*.

    Raises:
        PayloadError: it is no call of a primitive. One up to a megabyte is checked for its whole shape.
    """
    content, source = payload.read(), payload.source
    start = len(codecs.BOM_UTF8) if content.startswith(codecs.BOM_UTF8) else 0
    if len(content) <= _CHECKED_BYTES:
        document = parse_json(content, source)
        if not isinstance(document, dict) or "program_id" not in document:
            raise PayloadError(source, "$", "is no call of a primitive", _FORM)
        primitive.check(document, source)
    found = dict(_members(content, start, source))
    program, parameters = (_slice(content, found, name, source) for name in ("program_id", "parameters"))
    try:
        program_id = json.loads(bytes(program))
    except ValueError:
        program_id = None
    if not isinstance(program_id, str) or not program_id:
        raise PayloadError(source, "$.program_id", "is not text", 'Give text: "sampler" or "estimator"')
    if bytes(parameters[:1]) != b"{":
        raise PayloadError(source, "$.parameters", "is not an object", 'Give an object with "pubs"')
    head = json.dumps({"program_id": program_id, **members})
    pieces = (f'{head[:-1]}, "params": '.encode(), parameters, b"}")

    def opened() -> BinaryIO:
        return io.BufferedReader(_Joined(pieces), _CHUNK_BYTES)

    return Body(opened, sum(map(len, pieces)), "application/json")


def _slice(content: bytes, found: Mapping[str, tuple[int, int]], name: str, source: str) -> memoryview:
    if name not in found:
        raise PayloadError(source, f"$.{name}", "is missing", _FORM)
    start, end = found[name]
    return memoryview(content)[start:end]


def _members(content: bytes, start: int, source: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """Each member of the object *content*: its name, and where its value starts and ends, blanks excluded.

    Raises:
        PayloadError: it is no object, or does not end; what is inside a value is left to the service.
    """
    depth, name, value_at, is_closed = 0, "", None, False
    for token in _TOKEN.finditer(content, start):
        text = token[0] if token.end() - token.start() == 1 else b""
        if is_closed or (depth == 0 and text != b"{"):
            break
        if text in _OPENING:
            depth += 1
        elif text in _CLOSING:
            depth -= 1
        elif depth == 1 and not text and value_at is None:
            name, value_at = _name(content, token, source)
        if value_at is not None and ((text == b"," and depth == 1) or (text == b"}" and depth == 0)):
            yield name, _trimmed(content, value_at, token.start())
            value_at = None
        is_closed = depth == 0
    if not is_closed:
        raise PayloadError(source, "$", "is not one JSON object", _FORM)


def _name(content: bytes, token: re.Match[bytes], source: str) -> tuple[str, int]:
    """A member's name, and where its value may start."""
    colon = re.compile(rb"\s*:\s*").match(content, token.end())
    if colon is None:
        raise PayloadError(source, "$", f"has no value after byte {token.end()}", _FORM)
    try:
        return str(json.loads(token[0])), colon.end()
    except ValueError as exc:
        raise PayloadError(source, "$", f"has a name at byte {token.start()} that is not text", _FORM) from exc


def _trimmed(content: bytes, start: int, end: int) -> tuple[int, int]:
    while end > start and content[end - 1 : end].isspace():
        end -= 1
    return start, end
