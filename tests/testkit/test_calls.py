"""Deadlines around calls."""

from __future__ import annotations

import threading

import pytest

from qrmi_testkit.calls import Blocked, caught, together, within


def test_a_call_that_hangs_fails_its_test():
    """A verb that never returns would hang the whole suite, and nobody would know which."""
    with pytest.raises(Blocked, match=r"still blocks after 0\.05 s"):
        within(0.05, threading.Event().wait)


def test_a_call_is_what_it_returns_or_raises():
    """The deadline changes nothing for a call that keeps it."""
    assert 42 == within(5, int, "42")
    with pytest.raises(ValueError):
        within(5, int, "forty-two")


def test_calls_together_are_under_way_at_the_same_time():
    """Eight calls one after another would never meet, and a test of concurrency would test nothing."""
    meeting = threading.Barrier(8)

    assert {*range(8)} == {*together(5, [lambda: meeting.wait(5)] * 8)}


def test_what_a_call_raises_is_caught():
    """`caught` tells an exception from a result."""
    assert caught(int, "42") is None
    assert isinstance(caught(int, "forty-two"), ValueError)
