"""Threads that ask others: vendors, hooks, directories of users. None of them keeps the process from ending."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from attrs import define, field

MOST = 8
"""Threads of one pool. What comes beyond waits."""


@define(eq=False)
class Errand:
    """A call that was given to a pool."""

    call: Callable[[], Any]
    answer: asyncio.Future[Any]
    """What it returned or raised. Who gives up waiting may cancel it: the call goes on, once it has begun."""
    then: Callable[[], None]
    """Called in the loop's thread when it has ended or was withdrawn."""
    _turn: threading.Lock = field(factory=threading.Lock)

    def begin(self) -> bool:
        """Whether nobody has begun or withdrawn it; then it is the caller's."""
        return self._turn.acquire(blocking=False)

    def withdraw(self) -> bool:
        """Nobody wants it any longer; whether it has not begun, and never will."""
        if not self.begin():
            return False
        self.answer.cancel()
        self.then()
        return True


@define(eq=False)
class Threads:
    """A pool whose threads die with the process: `concurrent.futures` would wait at its end for a vendor that hangs."""

    name: str
    most: int = MOST
    _asked: queue.SimpleQueue[Errand] = field(factory=queue.SimpleQueue)
    _idle: threading.Semaphore = field(factory=lambda: threading.Semaphore(0))
    _started: int = 0

    def submit(self, call: Callable[[], Any], then: Callable[[], None] = lambda: None) -> Errand:
        """Run *call* in the next thread that is free, and *then* in that of the event loop, which alone may submit."""
        errand = Errand(call, asyncio.get_running_loop().create_future(), then)
        self._asked.put(errand)
        if not self._idle.acquire(blocking=False) and self._started < self.most:
            try:
                threading.Thread(target=self._serve, name=f"qrmid-{self.name}", daemon=True).start()
                self._started += 1
            except RuntimeError:  # no more can be had: one of the others serves it
                if not self._started:
                    errand.withdraw()
                    raise
        return errand

    async def run(self, call: Callable[[], Any]) -> Any:
        """What *call* returns, or raises."""
        return await self.submit(call).answer

    def _serve(self) -> None:
        while True:
            errand = self._asked.get()
            if errand.begin():
                result, error = None, None
                try:
                    result = errand.call()
                except BaseException as exc:  # noqa: BLE001 - raised again where it was asked for
                    error = exc if _is_harmless(exc) else RuntimeError(f"{exc!r} in a thread")
                self._idle.release()  # before the answer: who gets it may submit the next at once
                with suppress(RuntimeError):  # the loop is closed: nobody waits
                    errand.answer.get_loop().call_soon_threadsafe(_ended, errand, result, error)
                del result, error
            else:
                self._idle.release()
            del errand


def _is_harmless(exc: BaseException) -> bool:
    """What may be raised in the loop: not what ends it, nor what a future refuses."""
    return isinstance(exc, Exception) and not isinstance(exc, StopIteration)


def _ended(errand: Errand, result: Any, error: BaseException | None) -> None:
    settle(errand.answer, result, error)
    errand.then()


def settle(answer: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    """Give *answer* what a thread found, if somebody still waits for it."""
    if answer.done():
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)
        answer.exception()  # who gave up waiting shall not be told of it by the garbage collector
