"""The threads of a resource: so many and no more, and none that keeps the process from ending."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from qrmi_broker.threads import Threads

WAIT_S = 10.0


@pytest.fixture
def open_() -> Iterator[threading.Event]:
    """What hanging calls wait for; the end of the test sets it."""
    event = threading.Event()
    yield event
    event.set()


def test_a_call_gives_what_it_returns_or_raises():
    """A vendor's answer, or its error, would be lost."""
    threads = Threads("test")

    assert 42 == threads.submit(lambda: 42).result(WAIT_S)
    assert isinstance(threads.submit(lambda: 1 / 0).exception(WAIT_S), ZeroDivisionError)
    assert isinstance(threads.submit(lambda: sys.exit(3)).exception(WAIT_S), SystemExit)
    assert 42 == threads.submit(lambda: 42).result(WAIT_S)


def test_no_more_threads_run_than_are_allowed(open_):
    """A vendor that hangs would cost a thread for each who asks."""
    threads = Threads("most", most=3)
    started = threading.Semaphore(0)
    calls = [threads.submit(lambda: (started.release(), open_.wait(WAIT_S))) for _ in range(10)]
    for _ in range(3):
        assert started.acquire(timeout=WAIT_S)

    assert 3 == sum(one.running() for one in calls)
    assert 3 == sum(thread.name == "qrmid-most" for thread in threading.enumerate())
    open_.set()
    assert 10 * [(None, True)] == [one.result(WAIT_S) for one in calls]


def test_a_free_thread_is_used_again():
    """Each call would cost a thread, however few are made at once."""
    threads = Threads("again")
    for _ in range(50):
        threads.submit(threading.get_ident).result(WAIT_S)

    assert 3 > sum(thread.name == "qrmid-again" for thread in threading.enumerate())


def test_a_call_that_is_not_wanted_any_longer_is_not_made(open_):
    """What waited behind a vendor that hangs would reach it after nobody wants it."""
    threads = Threads("test", most=1)
    threads.submit(lambda: open_.wait(WAIT_S))
    made: list[int] = []
    waiting = threads.submit(lambda: made.append(1))

    assert waiting.cancel()
    open_.set()
    assert 42 == threads.submit(lambda: 42).result(WAIT_S)
    assert [] == made


def test_a_call_that_hangs_does_not_keep_the_process():
    """The broker would not end before the slowest vendor answers."""
    program = "from qrmi_broker.threads import Threads; import time; Threads('x').submit(lambda: time.sleep(300))"
    started = time.monotonic()

    assert 0 == subprocess.run([sys.executable, "-c", program], timeout=60).returncode
    assert 30 > time.monotonic() - started
