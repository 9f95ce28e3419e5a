"""One resource as the broker drives it: threads of its own, so that a vendor that hangs freezes nobody else."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen

from qrmi_broker import replies
from qrmi_broker.lease import Lease
from qrmi_broker.threads import Threads
from qrmi_core import host, log, registry
from qrmi_core.backend import Backend, QuantumResource
from qrmi_core.config import ResourceConfig
from qrmi_core.errors import BackendFault, ResourceUnavailable, UnexpectedReply

ANSWER_S = 30.0
"""How long a verb may take before those who wait for it are told."""
MOST_WATCHING = 256
"""Looks at the tasks of one resource that wait for a thread; what comes beyond is told to come back later."""
MOST_QUESTIONS = 32
"""The same for what users may ask at any time."""
_FEW_THREADS = 4
KEPT_S = 1.0
"""How long an answer about a resource is given to others who ask."""
TARGET_S = 300.0
"""How long a target is kept."""
CLOSE_S = 5.0
"""How long a backend may take to let go."""


class NotSent(ResourceUnavailable):
    """The call did not reach the vendor, for certain: too many wait already, or the resource cannot be opened."""


@frozen
class Visit:
    """The resource as a thread of it sees it: what it answers is checked and cleaned, and measured."""

    name: str
    resource: host.Hosted
    on_call: Callable[[str, str, float], None]

    def call(self, verb: str, *args: Any, **facts: Any) -> Any:
        """What *verb* of `QuantumResource` returns. Raises as `replies.asked` does."""
        started = time.monotonic()
        try:
            return replies.asked(self.name, verb, lambda: getattr(self.resource, verb)(*args, **facts))
        finally:
            self.on_call(self.name, verb, time.monotonic() - started)


@define(eq=False)
class _Line:
    """Calls that wait for threads of their own."""

    threads: Threads
    most: float
    waiting: int = 0

    def leave(self) -> None:
        """One waits no longer."""
        self.waiting -= 1


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
    _work: _Line = field(init=False)
    """What leases and tasks need. None of it is refused: users have so many lanes, and so many submissions at once."""
    _submissions: _Line = field(init=False)
    """Those that hang keep no lease from its end."""
    _looks: _Line = field(init=False)
    """What becomes of tasks: of ten thousand, none keeps a lease from its end."""
    _questions: _Line = field(init=False)
    """What users ask: a flood of it, or a vendor that hangs over it, keeps no lease and no task waiting."""
    _local: Threads = field(init=False)
    """For what needs no vendor, and may hang all the same: an import, a file."""
    _opened: asyncio.Future[host.Hosted] | None = None
    _loading: asyncio.Future[Backend] | None = None
    _backend: Backend | None = None
    _told: dict[str, tuple[float, asyncio.Task[Any]]] = field(factory=dict)
    """By verb: when it was asked, and the answer."""

    def __attrs_post_init__(self) -> None:
        self._work = _Line(Threads(self.name), math.inf)
        self._submissions = _Line(Threads(f"{self.name}-sent"), math.inf)
        self._looks = _Line(Threads(f"{self.name}-watched", most=_FEW_THREADS), MOST_WATCHING)
        self._questions = _Line(Threads(f"{self.name}-asked", most=_FEW_THREADS), MOST_QUESTIONS)
        self._local = Threads(f"{self.name}-local", most=2)

    @property
    def name(self) -> str:
        """Of the resource."""
        return self.entry.name

    async def backend(self) -> Backend:
        """The backend of its type; imported once, in a thread.

        Raises:
            BackendError: it cannot be used.
            ResourceUnavailable: it is still being imported after `ANSWER_S`.
        """
        if self._backend is None:
            if self._loading is None or self._loading.done():
                self._loading = self._local.submit(self._load).answer
            self._backend = await self._answered(self._loading, "import", ANSWER_S)
        return self._backend

    def _load(self) -> Backend:
        loaded: Backend = replies.asked(self.name, "import", lambda: registry.backend(self.entry.type))
        return loaded

    async def access(self) -> str:
        """``broker`` or ``job``. Raises as `backend` does."""
        return self.entry.access or (await self.backend()).default_access

    async def locally(self, call: Callable[[], Any]) -> Any:
        """What *call* returns, which reads files of this resource.

        Raises:
            ResourceUnavailable: it takes longer than `ANSWER_S`.
        """
        return await self._answered(self._local.submit(call).answer, "a file", ANSWER_S)

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
            self._opened = self._work.threads.submit(self._open).answer
        opened = self._opened
        if opened.done() and opened.exception() is None:
            return opened.result()
        try:
            resource: host.Hosted = await self._answered(opened, "open", answer_s)
        except Exception:
            if self._opened is opened and opened.done():
                self._opened = None
            raise
        return resource

    def inherits(self, verb: str) -> bool:
        """Whether the backend leaves *verb* as `QuantumResource` has it. False while the resource is not open."""
        if self._opened is None or not self._opened.done() or self._opened.exception() is not None:
            return False
        return getattr(type(self._opened.result().inner), verb) is getattr(QuantumResource, verb)

    def _open(self) -> host.Hosted:
        opened: host.Hosted = replies.asked(self.name, "open", lambda: host.open_resource(self.opening))
        return opened

    async def call(self, verb: str, *args: Any, answer_s: float | None = ANSWER_S, **facts: Any) -> Any:
        """Call *verb* in a thread of this resource, for a lease or a task.

        Args:
            verb: of `QuantumResource`.
            args: of the verb.
            answer_s: wait so long; None waits for ever. The call itself goes on, once it has begun.
            facts: of the verb.

        Raises:
            NotSent: it had no effect, and will have none.
            ResourceUnavailable: no answer in time. Whether the call had an effect is open.
            BackendFault: the backend raised or returned what the contract does not allow; the same.
        """
        line = self._submissions if verb == "task_start" else self._work
        return await self._visited(line, verb, lambda visit: visit.call(verb, *args, **facts), answer_s)

    async def look(self, what: str, work: Callable[[Visit], Any]) -> Any:
        """Several calls about a task in one walk to a thread: *what* names them. Raises as `call` and *work* do."""
        return await self._visited(self._looks, what, work, ANSWER_S)

    async def ask(self, verb: str, *args: Any) -> Any:
        """Call *verb*, which changes nothing, because a user wants to know. Raises as `call` does."""
        return await self._visited(self._questions, verb, lambda visit: visit.call(verb, *args), ANSWER_S)

    async def told(self, verb: str, kept_s: float = KEPT_S) -> Any:
        """What *verb* says of the resource: asked once for all who ask meanwhile, and given to others for *kept_s*."""
        asked_at, asking = self._told.get(verb, (0.0, None))
        is_old = asking is not None and asking.done() and time.monotonic() - asked_at > kept_s
        if asking is None or is_old or (asking.done() and asking.exception() is not None):
            asking = asyncio.create_task(self.ask(verb))
            asking.add_done_callback(_seen)
            self._told[verb] = (time.monotonic(), asking)
        return await asyncio.shield(asking)

    async def _visited(self, line: _Line, what: str, work: Callable[[Visit], Any], answer_s: float | None) -> Any:
        if line.waiting >= line.most:
            raise NotSent(self.name, f"{line.waiting} calls wait for it already")
        line.waiting += 1
        try:
            resource = await self.hosted(answer_s)
        except BaseException as exc:
            line.leave()
            if isinstance(exc, BackendFault | ResourceUnavailable | UnexpectedReply):
                raise NotSent(self.name, f"it cannot be opened: {exc.detail}") from exc
            raise
        visit = Visit(self.name, resource, self.on_call)
        errand = line.threads.submit(lambda: work(visit), line.leave)
        try:
            async with asyncio.timeout(answer_s) as limit:
                return await errand.answer
        except TimeoutError:
            if not limit.expired():
                raise
            if errand.withdraw():
                raise NotSent(self.name, f"its threads were busy for {answer_s:g} s") from None
            raise self._silent(what, answer_s) from None
        except asyncio.CancelledError:
            errand.withdraw()
            raise

    async def _answered(self, calling: asyncio.Future[Any], verb: str, answer_s: float | None) -> Any:
        done, _ = await asyncio.wait([calling], timeout=answer_s)
        if not done:
            calling.add_done_callback(_seen)
            raise self._silent(verb, answer_s)
        return calling.result()

    def _silent(self, verb: str, answer_s: float | None) -> ResourceUnavailable:
        log.logger(resource=self.name).warning("vendor.silent", verb=verb, waited_s=answer_s)
        return ResourceUnavailable(self.name, f"{verb} has not answered within {answer_s:g} s")

    async def target(self) -> str:
        """What a compiler needs to know, fresh enough."""
        target: str = await self.told("target", TARGET_S)
        return target

    async def close(self) -> None:
        """Let go of the backend; one that takes too long is left alone."""
        if self._opened is not None and self._opened.done() and not self._opened.exception():
            closing = self._work.threads.submit(self._opened.result().close).answer
            await asyncio.wait([closing], timeout=CLOSE_S)
            if not closing.done() or closing.exception() is not None:
                log.logger(resource=self.name).warning("vendor.not_closed")


def _seen(call: asyncio.Future[Any]) -> None:
    """Somebody has looked: nothing is printed about it."""
    if not call.cancelled():
        call.exception()
