"""Threads that ask others: vendors, hooks, directories of users. None of them keeps the process from ending."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from attrs import define, field

MOST = 8
"""Threads of one pool. What comes beyond waits."""


@define(eq=False)
class Threads:
    """A pool whose threads die with the process: `concurrent.futures` would wait at its end for a vendor that hangs."""

    name: str
    most: int = MOST
    _asked: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = field(factory=queue.SimpleQueue)
    _idle: threading.Semaphore = field(factory=lambda: threading.Semaphore(0))
    _started: int = 0

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
        """Run *call* in the next thread that is free. Only one thread, that of the event loop, may submit."""
        answer: Future[Any] = Future()
        self._asked.put((answer, call))
        if not self._idle.acquire(blocking=False) and self._started < self.most:
            self._started += 1
            threading.Thread(target=self._serve, name=f"qrmid-{self.name}", daemon=True).start()
        return answer

    def _serve(self) -> None:
        while True:
            answer, call = self._asked.get()
            if answer.set_running_or_notify_cancel():
                try:
                    answer.set_result(call())
                except BaseException as exc:  # noqa: BLE001 - raised again where it was asked for
                    answer.set_exception(exc)
            del answer, call
            self._idle.release()
