"""A bearer token that many threads use: fetched once for all of them, before it expires or when it was refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from attrs import define, field, frozen

from qrmi_core.polling import Clock, SystemClock

_USED_FOR = 0.9
"""Of a token's life: then the next one is fetched."""
HEADER = "Authorization"


@frozen
class Token:
    """What a service of identities gave."""

    text: str = field(repr=False)
    life_s: float


@define(eq=False)
class Bearer:
    """Authorises requests with the token that *fetch* gets.

    An error of *fetch* is raised to everybody who waits for that token; whoever comes later tries again.
    """

    fetch: Callable[[], Token]
    clock: Clock = field(factory=SystemClock)
    _header: str | None = field(default=None, init=False, repr=False)
    _renew_at: float = field(default=0.0, init=False)
    _fetches: int = field(default=0, init=False)
    _error: Exception | None = field(default=None, init=False, repr=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    def __call__(self, refused: Mapping[str, str] | None = None) -> Mapping[str, str]:
        """The header to send; another one than in *refused*, the headers that the service did not accept."""
        seen = self._fetches
        with self._lock:
            is_fresh = self._header is not None and self.clock.monotonic() < self._renew_at
            if not is_fresh or (refused is not None and refused.get(HEADER) == self._header):
                if self._fetches > seen and self._error is not None:  # others tried while we waited
                    raise self._error
                self._fetch()
            return {HEADER: str(self._header)}

    def _fetch(self) -> None:
        self._header = self._error = None
        started = self.clock.monotonic()
        try:
            token = self.fetch()
        except Exception as exc:
            self._error = exc
            raise
        finally:
            self._fetches += 1
        self._header = f"Bearer {token.text}"
        self._renew_at = started + _USED_FOR * token.life_s
