"""What a service says about a request that it does not do, in any of the usual forms."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen

from qrmi_core.errors import shown

_CODES = ("code", "errorCode", "Code")
_MESSAGES = ("message", "errorMessage", "Message", "msg", "detail", "title", "error")
_DETAILS = ("errorDetails",)
_SOLUTIONS = ("solution", "reason_solution")
_XML = re.compile(r"<(Code|Message)>([^<]+)</\1>")
_MOST_BYTES = 65_536
_MOST_FAULTS = 3


@frozen
class Complaint:
    """The words of the first fault that a service names; those of the next ones are in the message too."""

    message: str
    code: str = ""
    solution: str = ""

    def __str__(self) -> str:
        return f"{self.message} (code {self.code})" if self.code else self.message


def read(content: bytes, reason: str) -> Complaint:
    """The complaint in the body *content*.

    Known are an object with ``code`` and ``message`` (or ``errorCode`` and ``errorMessage``), one or a list of such
    objects under ``error`` or ``errors``, text under ``detail``, bare text, and XML with ``Code`` and ``Message``. Of
    anything else the words are shown.

    Args:
        content: of the answer, as far as it came.
        reason: what stands for an empty one, such as the status's name.
    """
    text = content[:_MOST_BYTES].decode(errors="replace").strip()
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = dict(_XML.findall(text)) if text.startswith("<") else text
    found = list(_faults(document))[:_MOST_FAULTS]
    if not found:
        return Complaint(shown(text or reason))
    message = "; ".join(dict.fromkeys(one.message for one in found))
    return Complaint(message, found[0].code, next((one.solution for one in found if one.solution), ""))


def _faults(document: Any) -> Iterator[Complaint]:
    if isinstance(document, str):
        if document:
            yield Complaint(shown(document))
        return
    if not isinstance(document, Mapping):
        return
    for inner in (document.get("errors"), document.get("error")):
        named = [one for one in (inner if isinstance(inner, list) else [inner]) if isinstance(one, Mapping)]
        for one in named:
            yield from _faults(one)
        if named:
            return
    if message := _text(document, _MESSAGES):
        detail = _text(document, _DETAILS)
        words = f"{message}: {detail}" if detail and detail != message else message
        yield Complaint(words, _text(document, _CODES), _text(document, _SOLUTIONS))


def _text(document: Mapping[Any, Any], names: tuple[str, ...]) -> str:
    for name in names:
        value = document.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return shown(value)
    return ""
