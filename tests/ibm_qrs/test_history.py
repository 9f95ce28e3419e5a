"""The history of the broker's crashes once more, with the emulated Runtime as the vendor: the same promises are kept.

`QRMI_HISTORY_SEED` chooses the history. Its steps follow from the seed; how they interleave, threads decide.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from broker import checker
from broker.daemon import short_folder
from broker.history import History
from broker.steps import troubles

from .vendor import emulated

SEED = int(os.environ.get("QRMI_HISTORY_SEED", "20261121"))
STEPS = 1_500


def lived(seed: int, steps: int, mutant: str = "", *, drain_s: float = 60.0, **counts: int):
    """A history, and what is wrong with it."""
    with short_folder() as name, emulated(Path(name)) as vendor:
        history = History(seed, Path(name), vendor, mutant)
        history.run(steps, troubles(seed, vendor.ways, vendor.loss, **counts), clients=4, drain_s=drain_s)
        log = vendor.log(history.record)
        found = checker.faults(log, history.record.entries, vendor.lanes, vendor.is_result)
        broken = [line for line in Path(name, "service.err").read_text().splitlines() if "broken" in line]
    return history, log, [*found, *(f"the emulator: {line}" for line in broken)]


@pytest.fixture(scope="module")
def long():
    """The long one: every point of the code at which a broker can die, and every fault of the service."""
    return lived(SEED, STEPS, crashes=8, stops=6, jumps=8, failures=40)


def test_no_promise_is_broken_by_crashes_and_lost_answers(long):
    """With a real service's REST API behind the broker a lane is held twice, a session is left open to be paid for, a
    task runs twice or is lost, or a run that has ended goes on.
    """
    history, _, found = long

    assert [] == found[:20], f"seed {SEED}, {history.record.count()}"


def test_the_history_is_long_and_full_of_trouble(long):
    """The promises would be kept through a quiet day."""
    history, log, _ = long
    counts, events = history.record.count(), Counter(entry["event"] for entry in log)
    points = {entry["point"] for entry in history.record.entries if entry["event"] == "broker.killed"} - {""}
    ended = Counter(
        entry["found"].get("status") for entry in history.record.entries if entry.get("verb") == "last status"
    )
    facts = f"seed {SEED}, {history.done} steps, {dict(counts)}, {dict(events)}, {dict(ended)}, died at {points}"

    assert STEPS <= history.done, facts
    assert 20 <= counts["broker.killed"], facts
    assert 6 <= len(points), facts
    assert (6, 8, 40) == (counts["broker.stopped"], counts["clock.jumped"], counts["vendor.fails"]), facts
    assert 50 <= events["session.opened"], facts
    assert 50 <= events["task.started"], facts
    assert {"COMPLETED", "FAILED", "CANCELLED"} <= set(ended), facts


def test_a_backend_that_sends_again_without_a_look_is_caught():
    """The history could not tell a backend that pays twice for a lost answer."""
    history, _, found = lived(SEED, 600, "sent again without a look", drain_s=5.0, losses=12)

    assert "once" in {fault.partition(":")[0] for fault in found}, f"seed {SEED}, {history.record.count()}: {found}"
