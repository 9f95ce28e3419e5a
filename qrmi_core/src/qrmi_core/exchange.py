"""One request through a `Door`, with all its tries, until its answer."""

from __future__ import annotations

import random
import time
from collections.abc import Collection
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import urllib3
from attrs import define, field, frozen

from qrmi_core import complaint, redaction, timed
from qrmi_core.door import Body, Door, Headers, Reply
from qrmi_core.errors import (
    AuthenticationFailed,
    OutcomeUnknown,
    QrmiError,
    RequestRefused,
    ResourceError,
    ResourceUnavailable,
    UnexpectedReply,
    shown,
)

_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 8.0
_NOT_DONE = frozenset({423, 429})
"""The service says that it did not do it: locked, or too much. Anything may be sent again."""
_IN_DOUBT = frozenset({408, *range(500, 600)} - {501, 505})
"""Something between us and the end failed, perhaps after it was done; proxies have numbers of their own above 504."""


class _Lost(Exception):
    """There was no whole answer."""

    def __init__(self, cause: str, *, is_sent: bool, is_final: bool = False) -> None:
        super().__init__(cause)
        self.is_sent = is_sent
        self.is_final = is_final
        """Another try would end alike."""


@frozen
class _Answer:
    status: int
    reason: str
    headers: Headers
    content: bytes


@define(eq=False)
class Exchange:
    """One request, with all its tries."""

    door: Door
    method: str
    path: str
    target: str
    body: Body | None
    headers: Headers
    is_repeatable: bool
    own: Collection[int]
    until: float
    most_bytes: int
    _authority: Headers = field(factory=dict)
    _is_renewed: bool = False
    _is_in_doubt: bool = False

    @property
    def request(self) -> str:
        """For messages: the query may hold a signature."""
        return f"{self.method} {self.path}"

    def run(self) -> Reply:
        """Try until there is an answer, or no time or no try is left. Raises as `Door.ask` does."""
        try:
            return self._tried()
        except ResourceError as exc:
            exc.is_in_doubt = self._is_in_doubt
            raise

    def _tried(self) -> Reply:
        number = 1
        if self.door.authorise is not None:
            self._authority = self.door.authorise(None)
        while True:
            asked_s, is_final = 0.0, False
            try:
                answer = self._send()
            except _Lost as lost:
                problem, may_be_done, is_final = str(lost), lost.is_sent, lost.is_final
            else:
                if answer.status < 300:
                    return Reply(self.door.resource, self.request, answer.status, answer.headers, answer.content)
                if answer.status == HTTPStatus.UNAUTHORIZED and self._renewed():
                    continue
                if answer.status in self.own or answer.status not in _NOT_DONE | _IN_DOUBT:
                    raise self._refusal(answer)
                problem, may_be_done = f"{answer.status} {self._words(answer)}", answer.status in _IN_DOUBT
                asked_s = _retry_after(answer.headers)
            self._is_in_doubt |= may_be_done
            if may_be_done and not self.is_repeatable:
                raise OutcomeUnknown(self.door.resource, f"{self.request}: {problem}")
            pause_s = max(asked_s, self._pause(number))
            if is_final or number >= self.door.tries or pause_s >= self.until - self.door.clock.monotonic():
                raise self._unavailable(problem, number, asked_s)
            self.door.log.debug(
                "service.retried", request=self.request, problem=problem, tries=number, pause_s=round(pause_s, 3)
            )
            self.door.clock.sleep(pause_s)
            number += 1

    def _pause(self, number: int) -> float:
        """Twice as long each time, and not for everybody at the same moment."""
        longest: float = min(_LONGEST_PAUSE_S, _PAUSE_S * 2 ** (number - 1))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret depends on it

    def _renewed(self) -> bool:
        """Whether there are other headers to try. Once only."""
        if self.door.authorise is None or self._is_renewed:
            return False
        self._is_renewed = True
        before, self._authority = self._authority, self.door.authorise(self._authority)
        return before != self._authority

    # -- one try

    def _send(self) -> _Answer:
        """Raises _Lost where no whole answer came."""
        left_s = self.until - self.door.clock.monotonic()
        if left_s <= 0:
            raise _Lost("no time was left", is_sent=False, is_final=True)
        attempt = timed.Attempt(until=time.monotonic() + left_s, silence_s=self.door.silence_s)
        # What cannot be repeated goes over a new connection: whether a kept one still lives, only sending it tells.
        pools = self.door.kept() if self.is_repeatable else self.door.made()
        token = timed.ATTEMPT.set(attempt)
        try:
            return self._answered(pools)
        except urllib3.exceptions.SSLError as exc:
            raise _Lost(f"TLS: {_cause(exc)}", is_sent=attempt.is_sent, is_final=_is_distrust(exc)) from None
        except (urllib3.exceptions.HTTPError, OSError) as exc:
            late = time.monotonic() >= attempt.until
            cause = f"no whole answer within {left_s:.3g} s" if late else _cause(exc)
            raise _Lost(cause, is_sent=attempt.is_sent, is_final=late) from None
        finally:
            timed.ATTEMPT.reset(token)
            if not self.is_repeatable:
                pools.clear()

    def _answered(self, pools: urllib3.PoolManager) -> _Answer:
        headers = {"User-Agent": "qrmi", "Accept": "application/json", **self.headers, **self._authority}
        stream = None
        if self.body is not None:
            headers |= {"Content-Type": self.body.content_type, "Content-Length": str(self.body.size_bytes)}
            stream = self.body.open()
        try:
            answer = pools.urlopen(
                self.method,
                self.target,
                body=stream,
                headers=headers,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=urllib3.Timeout(connect=self.door.connect_s, read=self.door.silence_s),
            )
        finally:
            if stream is not None:
                stream.close()
        try:
            content = self._content(answer)
        except BaseException:
            answer.close()
            raise
        answer.release_conn()
        if (now_s := _moment(answer.headers.get("Date", ""))) is not None:
            self.door.ahead_s = now_s - time.time()
        return _Answer(answer.status, answer.reason or "", answer.headers, content)

    def _content(self, answer: urllib3.BaseHTTPResponse) -> bytes:
        """The whole body, in memory once where its length is known."""
        length = answer.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) <= self.most_bytes:
            return answer.read()
        parts, size = [], 0
        while not length and (part := answer.read(1 << 16)):
            parts.append(part)
            size += len(part)
            if size > self.most_bytes:
                break
        if length or size > self.most_bytes:
            raise UnexpectedReply(self.door.resource, f"{self.request} answered more than {self.most_bytes:,} bytes")
        return b"".join(parts)

    # -- what the service says

    def _complaint(self, answer: _Answer) -> complaint.Complaint:
        said = complaint.read(answer.content, answer.reason or "no reason given")
        return complaint.Complaint(*(self._masked(words) for words in (said.message, said.code, said.solution)))

    def _words(self, answer: _Answer) -> str:
        return str(self._complaint(answer))

    def _masked(self, words: str) -> str:
        """Without any secret that we know of, and without what authorised the request."""
        for value in self._authority.values():
            for secret in {value, value.rpartition(" ")[2]}:
                for spelling in redaction.spellings(secret) if len(secret) > 3 else ():
                    words = words.replace(spelling, redaction.MASK)
        return redaction.mask(words)

    def _refusal(self, answer: _Answer) -> QrmiError:
        name, said = self.door.resource, self._complaint(answer)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            return AuthenticationFailed(name, f"{self.request}: {said}")
        if answer.status < 400:
            return UnexpectedReply(name, f"{self.request} was redirected ({answer.status}), which we do not follow")
        words = f"{self.request}: {answer.status} {said}"
        return RequestRefused(name, words, answer.status, said.code, said.solution, _retry_after(answer.headers))

    def _unavailable(self, problem: str, number: int, asked_s: float) -> ResourceUnavailable:
        asks = f"; it asks to be left alone for {asked_s:g} s" if asked_s else ""
        tries = f" (tried {number} times)" if number > 1 else ""
        return ResourceUnavailable(self.door.resource, f"{self.request}: {problem}{asks}{tries}")


def _retry_after(headers: Headers) -> float:
    """Seconds that the service asks us to stay away: a number, or a date, which is measured by the service's clock."""
    text = next((value for name, value in headers.items() if name.lower() == "retry-after"), "").strip()
    if text.isdecimal():
        return float(text[:9])
    then_s, now_s = _moment(text), _moment(headers.get("Date", ""))
    return 0.0 if then_s is None else max(0.0, then_s - (time.time() if now_s is None else now_s))


def _moment(text: str) -> float | None:
    """Seconds since the epoch, of a date as HTTP writes it."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _cause(exc: BaseException) -> str:
    """The words of the innermost cause: urllib3 wraps what the system said in its own, with addresses of objects."""
    seen = exc
    while isinstance(inner := seen.__cause__ or (seen.args[-1] if seen.args else None), BaseException):
        seen = inner
    words = getattr(seen, "strerror", None) or str(seen) or type(seen).__name__
    return redaction.mask(shown(words))


def _is_distrust(exc: BaseException) -> bool:
    return "CERTIFICATE_VERIFY_FAILED" in str(exc)
