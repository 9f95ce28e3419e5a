"""What a task executes: a kind and bytes, held in memory or in a file."""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from attrs import field, frozen

from qrmi_core.errors import PayloadError, shown

if TYPE_CHECKING:
    from qrmi_core.door import Body

MOST_BYTES = 1 << 28
_MOST_DIGITS = 300


@frozen
class Payload:
    """A kind and bytes. Make one with `from_json`, `from_bytes` or `from_file`."""

    kind: str
    """`qiskit-primitive`, `pulser`, or any name that the backend declares."""
    size_bytes: int
    source: str = "payload"
    """Where it came from, for messages: a file's name, `-` for standard input."""
    _content: bytes | Path = field(repr=False, default=b"")
    call: tuple[str, Body] | None = field(repr=False, eq=False, default=None)
    """What it calls, and with what, if it was read and checked before: see `qrmi_core.members`."""

    @classmethod
    def from_bytes(cls, kind: str, content: bytes, *, source: str = "payload") -> Payload:
        """Hold *content* in memory."""
        return cls(kind, len(content), source, content)

    @classmethod
    def from_json(cls, kind: str, document: object, *, source: str = "payload") -> Payload:
        """Encode *document* as compact JSON.

        Raises:
            PayloadError: *document* holds something that JSON has no form for, such as NaN.
        """
        try:
            text = json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
            return cls.from_bytes(kind, text.encode(), source=source)
        except (TypeError, ValueError, RecursionError) as exc:
            raise PayloadError(
                source, "$", f"cannot be written as JSON: {exc}", "Use finite numbers, text, lists and objects only"
            ) from exc

    @classmethod
    def from_file(cls, kind: str, path: Path) -> Payload:
        """Leave the content in the file *path*, to be read when it is sent. The file must not change meanwhile."""
        return cls(kind, path.stat().st_size, str(path), path)

    def open(self) -> BinaryIO:
        """A new stream of the content, from its start. The caller closes it."""
        return self._content.open("rb") if isinstance(self._content, Path) else io.BytesIO(self._content)

    def read(self) -> bytes:
        """The whole content."""
        return self._content.read_bytes() if isinstance(self._content, Path) else self._content

    def json(self) -> Any:
        """The content as `parse_json` reads it."""
        return parse_json(self.read(), self.source)


def read_all(stream: BinaryIO, source: str) -> bytes:
    """The content of *stream*, up to `MOST_BYTES`: a device named by mistake must not fill the memory.

    Raises:
        PayloadError: there is more.
    """
    content = stream.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise PayloadError(source, "", f"is larger than {MOST_BYTES:,} bytes", "Give a smaller file")
    return content


def parse_json(content: bytes, source: str) -> Any:
    """Parse JSON from outside, strictly: UTF-8, finite numbers, no member twice, bounded nesting.

    Raises:
        PayloadError: it is not; the message names *source* and says where.
    """
    try:
        return DECODER.decode(content.decode("utf-8-sig"))
    except _Refusal as exc:
        problem, remedy = exc.args
    except UnicodeDecodeError as exc:
        problem, remedy = f"byte {exc.start} is not UTF-8 text", "Save the file as UTF-8"
    except json.JSONDecodeError as exc:
        problem = f"line {exc.lineno} column {exc.colno} is not JSON: {exc.msg}" if content.strip() else "is empty"
        remedy = "Give one JSON object; `python -m json.tool FILE` finds the place of a mistake"
    except RecursionError:
        problem, remedy = "is nested too deeply", "Use fewer levels of lists and objects"
    raise PayloadError(source, "$", problem, remedy)


class _Refusal(ValueError):
    """JSON that is none of ours: the problem, and the remedy."""


def _real(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _not_finite(text)


def _whole(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise _Refusal(f"holds a whole number of {len(text)} digits", f"Use at most {_MOST_DIGITS}")
    return int(text)


def _not_finite(token: str) -> NoReturn:
    raise _Refusal(f"holds {shown(token, most=40)}, which is not a finite number", "Use finite numbers only")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise _Refusal(f"holds an object with two members {shown(repr(twice), most=80)}", "Remove one of them")
    return found


DECODER = json.JSONDecoder(parse_float=_real, parse_int=_whole, parse_constant=_not_finite, object_pairs_hook=_members)
