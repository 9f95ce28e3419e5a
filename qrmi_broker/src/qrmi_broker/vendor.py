"""One resource as the broker drives it: threads of its own, so that a vendor that hangs freezes nobody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from attrs import define, field

from qrmi_broker.lease import Lease
from qrmi_broker.threads import Threads
from qrmi_core import host, log, registry
from qrmi_core.backend import Backend
from qrmi_core.config import ResourceConfig
from qrmi_core.errors import ResourceUnavailable

ANSWER_S = 30.0
"""How long a verb may take before those who wait for it are told."""
MOST_WAITING = 256
"""Calls of one resource that wait for a thread; what comes beyond is told to come back later."""
TARGET_S = 300.0
"""How long a target is kept."""
CLOSE_S = 5.0
"""How long a backend may take to let go."""


@define(eq=False)
class Vendor:
    """One entry of the configuration, opened when it is first used."""

    entry: ResourceConfig
    opening: host.Opening
    on_call: Callable[[str, str, float], None] = lambda resource, verb, seconds: None
    holders: list[Lease] = field(factory=list)
    """Leases that hold a lane, also while they are acquired or released."""
    drained: str | None = None
    """Why nothing new is given, if so."""
    _threads: Threads = field(init=False)
    _opened: asyncio.Future[host.Hosted] | None = None
    _waiting: int = 0
    _backend: Backend | None = None
    _target: tuple[float, str] | None = None

    def __attrs_post_init__(self) -> None:
        self._threads = Threads(self.name)

    @property
    def name(self) -> str:
        """Of the resource."""
        return self.entry.name

    @property
    def backend(self) -> Backend:
        """The backend of its type; looked up once.

        Raises:
            BackendError: it cannot be used.
        """
        if self._backend is None:
            self._backend = registry.backend(self.entry.type)
        return self._backend

    @property
    def access(self) -> str:
        """``broker`` or ``job``."""
        return self.entry.access or self.backend.default_access

    def has_lane_for(self, *, exclusive: bool) -> bool:
        """Whether one more lease fits beside those that hold a lane."""
        if exclusive:
            return not self.holders
        if any(lease.exclusive for lease in self.holders):
            return False
        return self.entry.lanes is None or len(self.holders) < self.entry.lanes

    async def hosted(self, answer_s: float | None = None) -> host.Hosted:
        """The opened resource.

        Raises:
            BackendError, ConfigError: it cannot be opened; the next call tries again.
            ResourceUnavailable: it is not open after *answer_s*; it goes on being opened.
        """
        if self._opened is None:
            self._opened = asyncio.wrap_future(self._threads.submit(self._open))
        opened = self._opened
        if not opened.done():
            await self._answered(opened, "open", answer_s)
        try:
            return opened.result()
        except Exception:
            if self._opened is opened:
                self._opened = None
            raise

    def _open(self) -> host.Hosted:
        return host.open_resource(self.opening)

    async def call(
        self,
        verb: str,
        *args: Any,
        answer_s: float | None = ANSWER_S,
        then: Callable[[Any], Any] | None = None,
        **facts: Any,
    ) -> Any:
        """Call *verb* in a thread of this resource.

        Args:
            verb: of `QuantumResource`.
            args: of the verb.
            answer_s: wait so long; None waits for ever. The call itself goes on.
            then: what the thread does with the answer before it is given.
            facts: of the verb.

        Raises:
            ResourceUnavailable: no answer in time, or too many wait already. Whether the call had an effect is open.
        """
        if self._waiting >= MOST_WAITING:
            raise ResourceUnavailable(self.name, f"{self._waiting} calls wait for it already")
        self._waiting += 1
        try:
            resource = await self.hosted(answer_s)
        except BaseException:
            self._waiting -= 1
            raise
        started = time.monotonic()

        def calls() -> Any:
            answer = getattr(resource, verb)(*args, **facts)
            return answer if then is None else then(answer)

        calling = asyncio.wrap_future(self._threads.submit(calls))

        def ended(call: asyncio.Future[Any]) -> None:
            self._waiting -= 1
            self.on_call(self.name, verb, time.monotonic() - started)
            if not call.cancelled():
                call.exception()  # somebody has looked: nothing is printed about it

        calling.add_done_callback(ended)
        await self._answered(calling, verb, answer_s)
        return calling.result()

    async def _answered(self, calling: asyncio.Future[Any], verb: str, answer_s: float | None) -> None:
        done, _ = await asyncio.wait([calling], timeout=answer_s)
        if not done:
            log.logger(resource=self.name).warning("vendor.silent", verb=verb, waited_s=answer_s)
            raise ResourceUnavailable(self.name, f"{verb} has not answered within {answer_s:g} s")

    async def target(self) -> str:
        """What a compiler needs to know, fresh enough."""
        now = time.monotonic()
        if self._target is None or now - self._target[0] > TARGET_S:
            self._target = (now, await self.call("target"))
        return self._target[1]

    async def close(self) -> None:
        """Let go of the backend; one that takes too long is left alone."""
        if self._opened is not None and self._opened.done() and not self._opened.exception():
            closing = asyncio.wrap_future(self._threads.submit(self._opened.result().close))
            await asyncio.wait([closing], timeout=CLOSE_S)
            if not closing.done() or closing.exception() is not None:
                log.logger(resource=self.name).warning("vendor.not_closed")
