"""The threads of a resource: so many and no more, and none that keeps the process from ending."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from qrmi_broker.threads import Threads

T = TypeVar("T")
WAIT_S = 10.0


@pytest.fixture
def open_() -> Iterator[threading.Event]:
    """What hanging calls wait for; the end of the test sets it."""
    event = threading.Event()
    yield event
    event.set()


def in_loop(what: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What *what* returns, in a loop of its own."""
    return asyncio.run(asyncio.wait_for(what(), WAIT_S))


@pytest.mark.parametrize(
    ("call", "raised"),
    [
        (lambda: 1 / 0, ZeroDivisionError),
        (lambda: sys.exit(3), RuntimeError),
        (lambda: next(iter(())), RuntimeError),
    ],
    ids=["fault", "exit", "stop"],
)
def test_a_call_gives_what_it_returns_or_raises(call, raised):
    """A vendor's answer, or its error, would be lost; or its error end the loop."""

    async def calls() -> None:
        threads = Threads("test")
        assert 42 == await threads.run(lambda: 42)
        with pytest.raises(raised):
            await threads.run(call)
        assert 42 == await threads.run(lambda: 42)

    in_loop(calls)


def test_no_more_threads_run_than_are_allowed(open_):
    """A vendor that hangs would cost a thread for each who asks."""
    threads = Threads("most", most=3)
    begun, started = [], threading.Semaphore(0)

    def hang() -> bool:
        begun.append(1)
        started.release()
        return open_.wait(WAIT_S)

    async def calls() -> list[bool]:
        asked = [threads.submit(hang).answer for _ in range(10)]
        for _ in range(3):
            assert await asyncio.to_thread(started.acquire, timeout=WAIT_S)
        assert 3 == len(begun)
        assert 3 == sum(thread.name == "qrmid-most" for thread in threading.enumerate())
        open_.set()
        return await asyncio.gather(*asked)

    assert 10 * [True] == in_loop(calls)


def test_a_free_thread_is_used_again():
    """Each call would cost a thread, however few are made at once."""

    async def calls() -> None:
        threads = Threads("again")
        for _ in range(50):
            await threads.run(threading.get_ident)

    in_loop(calls)
    assert 3 > sum(thread.name == "qrmid-again" for thread in threading.enumerate())


def test_a_call_that_is_not_wanted_any_longer_is_not_made(open_):
    """What waited behind a vendor that hangs would reach it after nobody wants it."""
    made: list[int] = []
    ended: list[int] = []

    async def calls() -> None:
        threads = Threads("test", most=1)
        hangs = threads.submit(lambda: open_.wait(WAIT_S))
        waiting = threads.submit(lambda: made.append(1), lambda: ended.append(1))
        assert waiting.withdraw()
        assert not waiting.withdraw()
        await asyncio.sleep(0.05)
        assert not hangs.withdraw()
        open_.set()
        assert await hangs.answer
        assert 42 == await threads.run(lambda: 42)

    in_loop(calls)
    assert ([], [1]) == (made, ended)


def test_a_call_goes_on_when_nobody_waits_for_it_any_longer(open_):
    """Its place in the line would be given twice, or its end be a fault of the loop's."""
    ended: list[int] = []

    async def calls() -> None:
        threads = Threads("test")
        errand = threads.submit(lambda: open_.wait(WAIT_S), lambda: ended.append(1))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(errand.answer, 0.05)
        assert [] == ended
        open_.set()
        while not ended:
            await asyncio.sleep(0.01)

    in_loop(calls)


def test_a_call_that_hangs_does_not_keep_the_process():
    """The broker would not end before the slowest vendor answers."""
    program = """
import asyncio, time
from qrmi_broker.threads import Threads

async def main():
    Threads("x").submit(lambda: time.sleep(300))

asyncio.run(main())
"""
    started = time.monotonic()

    assert 0 == subprocess.run([sys.executable, "-c", program], timeout=60).returncode
    assert 30 > time.monotonic() - started


def test_a_thread_that_cannot_be_had_is_tried_again(monkeypatch, open_):
    """Each time that the system had no more of them the pool would be smaller by one, for ever."""
    start, refused = threading.Thread.start, [True, True]

    def scarce(thread: threading.Thread) -> None:
        if thread.name.startswith("qrmid-scarce") and refused:
            refused.pop()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", scarce)

    async def work() -> list[object]:
        threads, left = Threads("scarce", most=2), []
        with pytest.raises(RuntimeError):
            threads.submit(lambda: left.append("withdrawn"), lambda: left.append("told"))
        refused.clear()
        hanging = threads.submit(open_.wait)
        refused.append(True)
        served = threads.submit(lambda: "served")  # by the first, when it is free
        open_.set()
        return [*left, await served.answer, await hanging.answer, await threads.run(lambda: "and more")]

    assert ["told", "served", True, "and more"] == in_loop(work)
