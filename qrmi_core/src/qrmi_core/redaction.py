"""Keeping secrets out of what we write: by the name of a thing, and by its value in any of its usual spellings.

This is the second net. The first is that a secret is never put into an event, a message or a repr.
"""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
from collections.abc import MutableMapping
from typing import Any

from qrmi_core.errors import shown

MASK = "[redacted]"

_NAME = re.compile(r"(API_?KEY|SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL|ACCESS_KEY|PRIVATE_KEY)", re.IGNORECASE)
_SHORTEST = 4
_STAY_IN_URLS = ("", "/", "/!$&'()*+,;=:@")
_PERCENT = re.compile("%[0-9A-F]{2}")
_HEX_ESCAPE = re.compile(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")
_known: tuple[str, ...] = ()
"""Every spelling of every secret, the longest first: a short one may be a part of it."""


def looks_secret(name: str) -> bool:
    """The thing called *name* is probably a secret, wherever it comes from."""
    return bool(_NAME.search(name)) and not name.upper().endswith(("_ENDPOINT", "_URL", "_FILE"))


def spellings(secret: str) -> frozenset[str]:
    """*secret* as it may be met: plain, hex, URL-encoded, escaped as JSON and Python do it, and inside of base64."""
    raw = secret.encode()
    found = {secret, raw.hex(), raw.hex().upper(), *_in_urls(secret), *_escaped(secret, raw)}
    for before in range(3):  # base64 takes three bytes at a time: 0, 1 or 2 others may share the first three
        ours = slice(-(-8 * before // 6), 8 * (before + len(raw)) // 6)  # characters made of bits of the secret alone
        padded = bytes(before) + raw
        found |= {base64.b64encode(padded).decode()[ours], base64.urlsafe_b64encode(padded).decode()[ours]}
    return frozenset(found)


def _in_urls(secret: str) -> set[str]:
    """With what stands for itself everywhere, in a path, or in an address that was made whole; and blanks as `+`."""
    quoted = {urllib.parse.quote(secret, safe=safe) for safe in _STAY_IN_URLS}
    quoted |= {one.replace("%20", "+") for one in quoted}  # a `%` of the secret's own is `%25` here
    return quoted | {_PERCENT.sub(lambda found: found[0].lower(), one) for one in quoted}


def _escaped(secret: str, raw: bytes) -> set[str]:
    """Between the quotes of JSON, of a Python text and of Python bytes, also where such a text is inside of another."""
    both = "\"'"  # in front, so that every quote of the secret is escaped, too
    found = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    found |= {one.replace("/", "\\/") for one in found}
    found |= {ascii(secret)[1:-1], repr(secret)[1:-1], repr(raw)[2:-1]}
    found |= {ascii(both + secret)[4:-1], repr(both + secret)[4:-1], repr(both.encode() + raw)[5:-1]}
    found |= {_HEX_ESCAPE.sub(lambda escape: escape[0][:2] + escape[0][2:].upper(), one) for one in found}
    inner = {one.replace("\\", "\\\\") for one in found}
    return found.union(inner, *({one.replace(quote, f"\\{quote}") for one in inner} for quote in both))


def remember(secret: str) -> None:
    """Mask *secret* in all its `spellings` in everything that `mask` sees from now on."""
    global _known  # noqa: PLW0603 - every event of the process is masked
    found = set(_known)
    for form in {secret, secret.strip(), shown(secret, most=len(secret)), *secret.splitlines()}:  # as backends get it,
        if len(form) >= _SHORTEST:  # as messages show it, and as a log may hold a part of it
            found |= spellings(form)
    _known = tuple(sorted(found, key=len, reverse=True))


def mask(text: str) -> str:
    """*text* without the secrets that we know of."""
    for secret in _known:
        text = text.replace(secret, MASK)
    return text


def processor(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask an event of structlog, by names and by values, at every depth."""
    return {name: MASK if looks_secret(name) and value else _clean(value) for name, value in event.items()}


def _clean(value: object) -> object:
    if isinstance(value, dict):
        return {name: MASK if looks_secret(str(name)) and inner else _clean(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(inner) for inner in value]
    if isinstance(value, int | float | bool) or value is None:
        return value
    return mask(str(value))
