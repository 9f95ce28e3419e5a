"""The S3-compatible storage: what we put, get and remove, and what the service may do there for a while."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from html import unescape
from typing import TypeVar
from urllib.parse import quote, urlencode

from qrmi_core import AuthenticationFailed, Context, RequestRefused
from qrmi_core.door import Body, Door
from qrmi_ibm_da._signature import Signer
from qrmi_ibm_da.settings import Settings

_T = TypeVar("_T")
_OURS_S = 3600
"""For how long what we sign for ourselves is good."""
_SLOWEST = 250_000
"""Bytes per second: what a transfer may take is counted with it."""
_SKEW_S = 30.0
"""Clocks that differ by less are as good as equal."""
_IS_THERE, _UNKNOWN = frozenset({409, 412}), 501
"""Something is stored there, or somebody is storing it; the storage knows no such condition."""
_ENTRY = re.compile(rb"<Contents>.*?</Contents>", re.DOTALL)
_KEY = re.compile(rb"<Key>(.*?)</Key>", re.DOTALL)
_MORE = b"<IsTruncated>true</IsTruncated>"
_CHANGED = re.compile(rb"<LastModified>(.*?)</LastModified>")


class Storage:
    """One bucket. Times in signatures are the storage's own: a clock of ours that is wrong does no harm."""

    def __init__(self, ctx: Context, settings: Settings) -> None:
        self._name = ctx.name
        self._bucket = quote(settings.s3_bucket, safe="")
        self._for_service = (settings.s3_endpoint_for_qsapi or settings.s3_endpoint).rstrip("/")
        self._signer = Signer(settings.s3_region, settings.aws_access_key_id, settings.aws_secret_access_key)
        self._door = Door(ctx.name, settings.s3_endpoint, headers={"Accept": "*/*"}, clock=ctx.clock, log=ctx.log)

    def put(self, key: str, body: Body) -> None:
        """Store *body* under *key*; what was there is replaced."""
        self._ask("PUT", key, body=body, deadline_s=self._door.deadline_s + body.size_bytes / _SLOWEST)

    def put_new(self, key: str, body: Body) -> bool:
        """Store *body* under *key* unless something is there; whether it was stored, or may have been.

        A storage that knows no such condition replaces what is there.
        """
        try:
            self._ask("PUT", key, body=body, headers={"If-None-Match": "*"})
        except RequestRefused as exc:
            if exc.status in _IS_THERE:
                return exc.is_in_doubt  # an earlier try of ours may have stored it
            if exc.status != _UNKNOWN:
                raise
            self._ask("PUT", key, body=body)
        return True

    def get(self, key: str) -> bytes | None:
        """What is stored under *key*, or None."""
        return self._unless_missing(
            lambda: self._ask("GET", key, deadline_s=self._door.deadline_s + (1 << 28) / _SLOWEST)
        )

    def has(self, key: str) -> bool:
        """Whether anything is stored under *key*."""
        return self._unless_missing(lambda: self._ask("HEAD", key)) is not None

    def remove(self, key: str) -> None:
        """Remove what is stored under *key*, if anything is."""
        self._unless_missing(lambda: self._ask("DELETE", key))

    def listed(self, prefix: str) -> Iterator[tuple[str, float]]:
        """The keys that start with *prefix*, in their order, each with its age in seconds."""
        after, is_more = "", True
        while is_more:
            query = {"list-type": "2", "prefix": prefix} | ({"start-after": after} if after else {})
            content = self._ask("GET", "", query=query)
            now_s, is_more = self._now_s(), False
            for entry in _ENTRY.findall(content):
                key, changed = _KEY.search(entry), _CHANGED.search(entry)
                if key and changed:
                    after, is_more = unescape(key[1].decode()), _MORE in content
                    yield after, now_s - datetime.fromisoformat(changed[1].decode()).timestamp()

    def url(self, method: str, key: str, lifetime_s: int) -> str:
        """With which the service may do *method* on *key* for *lifetime_s* from now."""
        url = f"{self._for_service}{self._path(key)}"
        return f"{url}?{urlencode(self._signer.query(method, url, at_s=self._now_s(), lifetime_s=lifetime_s))}"

    def close(self) -> None:
        """Close the connections."""
        self._door.close()

    def _path(self, key: str) -> str:
        return f"/{self._bucket}/{quote(key, safe='')}" if key else f"/{self._bucket}"

    def _now_s(self) -> float:
        ahead_s = self._door.ahead_s
        return time.time() + (ahead_s if abs(ahead_s) > _SKEW_S else 0.0)

    def _ask(
        self,
        method: str,
        key: str,
        *,
        body: Body | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        deadline_s: float | None = None,
    ) -> bytes:
        """One request, signed; once more if our clock was wrong and the storage said so.

        Raises:
            AuthenticationFailed: the storage refused the credential.
            RequestRefused: anything else that it refused.
        """
        path = self._path(key)
        for is_last in (False, True):
            url, now_s = f"{self._door.base_url}{path}", self._now_s()
            signed = self._signer.query(method, url, at_s=now_s, lifetime_s=_OURS_S, query=query)
            try:
                return self._door.ask(
                    method, path, query=signed, body=body, headers=headers, deadline_s=deadline_s
                ).content
            except RequestRefused as exc:
                if exc.status != 403:
                    raise
                if is_last or abs(self._now_s() - now_s) < _SKEW_S:
                    raise AuthenticationFailed(self._name, f"storage: {exc.detail}") from exc
        raise AssertionError("unreachable")

    def _unless_missing(self, call: Callable[[], _T]) -> _T | None:
        try:
            return call()
        except RequestRefused as exc:
            if exc.status == 404 and exc.code != "NoSuchBucket":
                return None
            raise
