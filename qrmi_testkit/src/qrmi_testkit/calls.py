"""Calls with a deadline, alone or many at the same time: a verb that hangs must fail its test, not hang the suite."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

_T = TypeVar("_T")


class Blocked(AssertionError):
    """A call took longer than it may."""


def begin(call: Callable[..., _T], *args: Any, **kwargs: Any) -> Future[_T]:
    """Call in a thread of its own, which does not keep the process from ending."""
    outcome: Future[_T] = Future()

    def work() -> None:
        try:
            outcome.set_result(call(*args, **kwargs))
        except BaseException as exc:  # noqa: BLE001 - raised again by whoever takes the outcome
            outcome.set_exception(exc)

    threading.Thread(target=work, daemon=True).start()
    return outcome


def within(limit_s: float, call: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
    """What the call returns or raises; Blocked if it takes longer than *limit_s*."""
    return finished(limit_s, begin(call, *args, **kwargs))


def finished(limit_s: float, outcome: Future[_T]) -> _T:
    """What a call that `begin` began returned or raised; Blocked if it is not done within *limit_s*."""
    wait([outcome], limit_s)
    if not outcome.done():
        raise Blocked(f"still blocks after {limit_s:g} s")
    return outcome.result()


def together(limit_s: float, calls: Iterable[Callable[[], _T]]) -> list[_T]:
    """What the *calls* return, in their order, when all of them start at the same moment."""
    waiting = list(calls)
    gate = threading.Barrier(len(waiting))

    def through_the_gate(call: Callable[[], _T]) -> _T:
        gate.wait(limit_s)
        return call()

    return [finished(limit_s, outcome) for outcome in [begin(through_the_gate, call) for call in waiting]]


def caught(call: Callable[..., object], *args: Any, **kwargs: Any) -> Exception | None:
    """What the call raises, or None."""
    try:
        call(*args, **kwargs)
    except Exception as exc:  # noqa: BLE001 - the tests look at it
        return exc
    return None
