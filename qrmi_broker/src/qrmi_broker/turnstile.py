"""Submissions of one user to one resource: so many at once, the next ones in their order; other users do not wait."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from attrs import define, field

from qrmi_broker.task import Task

AT_ONCE = 4


@define(eq=False)
class Turnstile:
    """Who waits at it is in `Task.turn`, and is turned away by an exception that is set there."""

    _inside: Counter[tuple[int, str]] = field(factory=Counter)
    _waiting: dict[tuple[int, str], deque[asyncio.Future[None]]] = field(factory=dict)

    @asynccontextmanager
    async def passed(self, task: Task) -> AsyncIterator[None]:
        """Go through when it is the turn of *task*."""
        who = (task.uid, task.resource)
        await self._enter(who, task)
        try:
            yield
        finally:
            self._leave(who)

    async def _enter(self, who: tuple[int, str], task: Task) -> None:
        if self._inside[who] < AT_ONCE:
            self._inside[who] += 1
            return
        task.turn = turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(who, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._leave(who)  # it had been let in
            raise
        finally:
            task.turn = None

    def _leave(self, who: tuple[int, str]) -> None:
        """Let the next one in, in this one's place."""
        waiting = self._waiting.get(who, deque())
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._waiting.pop(who, None)
        self._inside[who] -= 1
        if not self._inside[who]:
            del self._inside[who]
