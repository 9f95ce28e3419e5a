"""Whose turn it is: who sends thousands of requests at once waits behind himself, and nobody behind him."""

from __future__ import annotations

import asyncio
from collections import deque

from attrs import define, field


@define(eq=False)
class Turns:
    """Lets one request of each user begin in one round of the event loop. How long it takes then does not matter."""

    _waiting: dict[int, deque[asyncio.Future[None]]] = field(factory=dict)
    """By user; there, if one of his has begun in this round."""

    async def begin(self, uid: int) -> None:
        """Return when a request of *uid*'s may begin."""
        loop = asyncio.get_running_loop()
        if uid not in self._waiting:
            self._waiting[uid] = deque()
            loop.call_soon(self._next_round, uid)
            return
        turn = loop.create_future()
        self._waiting[uid].append(turn)
        await turn

    def _next_round(self, uid: int) -> None:
        waiting = self._waiting[uid]
        while waiting and waiting[0].done():  # its client has gone
            waiting.popleft()
        if waiting:
            waiting.popleft().set_result(None)
            asyncio.get_running_loop().call_soon(self._next_round, uid)
        else:
            del self._waiting[uid]
