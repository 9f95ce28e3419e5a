"""What a task executes: a kind and bytes, held in memory or in a file."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from attrs import field, frozen

from qrmi_core.errors import PayloadError


@frozen
class Payload:
    """A kind and bytes. Make one with `from_json`, `from_bytes` or `from_file`."""

    kind: str
    """`qiskit-primitive`, `pulser`, or any name that the backend declares."""
    size_bytes: int
    source: str = "payload"
    """Where it came from, for messages: a file's name, `-` for standard input."""
    _content: bytes | Path = field(repr=False, default=b"")

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
        """The content as parsed JSON, strictly: UTF-8, no NaN, bounded nesting.

        Raises:
            PayloadError: it is not JSON; the message says where.
        """
        return parse_json(self.read(), self.source)


def parse_json(content: bytes, source: str) -> Any:
    """Parse JSON from outside; every fault becomes a `PayloadError` that names *source* and the place."""

    def refuse(token: str) -> NoReturn:
        raise PayloadError(source, "$", f"holds {token}, which is not JSON", "Use finite numbers only")

    try:
        return json.loads(content.decode("utf-8-sig"), parse_constant=refuse)
    except UnicodeDecodeError as exc:
        raise PayloadError(
            source,
            "$",
            f"byte {exc.start} is not UTF-8 text",
            "Save the file as UTF-8; a circuit file needs its ending, .qasm or .qpy",
        ) from exc
    except json.JSONDecodeError as exc:
        problem = "is empty" if not content.strip() else f"line {exc.lineno} column {exc.colno} is not JSON: {exc.msg}"
        raise PayloadError(source, "$", problem, "Mend that place; `python -m json.tool FILE` checks a file") from exc
    except RecursionError as exc:
        raise PayloadError(source, "$", "is nested too deeply", "Use fewer levels of lists and objects") from exc
    except ValueError as exc:  # an integer of more digits than Python converts
        raise PayloadError(source, "$", f"holds a number that cannot be read: {exc}", "Use a shorter number") from exc
