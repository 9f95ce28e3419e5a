"""The broker keeps its promises through a long history of crashes, and the judge of that history can tell when not.

`QRMI_HISTORY_SEED` chooses the history. Its steps follow from the seed; how they interleave, threads decide.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from . import checker
from .clients import LANES
from .daemon import short_folder
from .history import History
from .installed import mutants
from .steps import troubles

SEED = int(os.environ.get("QRMI_HISTORY_SEED", "20261121"))
STEPS = 10_000
CRASHES = 36
"""Each kills the broker twice: at some moment, and when it passes a point of the code."""


def lived(
    seed: int, steps: int, mutant: str = "", *, drain_s: float = 40.0, **counts: int
) -> tuple[History, list[str]]:
    """A history, and what is wrong with it."""
    with short_folder() as folder:
        history = History(seed, Path(folder), mutant)
        history.run(steps, troubles(seed, **counts), drain_s=drain_s)
        found = checker.faults(checker.vendor_log(history.service), history.record.entries, LANES)
    return history, found


def deaths(history: History) -> Counter[str]:
    """How often the broker was killed, by the point in the code; ``""`` is anywhere."""
    return Counter(entry["point"] for entry in history.record.entries if entry["event"] == "broker.killed")


def test_every_promise_holds_through_a_history_of_crashes() -> None:
    """Crashes, stops, wrong clocks, lost answers and retries together break a lane, a fence, a lease or a task."""
    history, found = lived(SEED, STEPS, crashes=CRASHES, stops=50, jumps=50, failures=40)
    counts, killed = history.record.count(), deaths(history)
    facts = f"seed {SEED}, {history.done} steps, {dict(counts)}, killed at {dict(killed)}"

    assert [] == found[:20], facts
    assert STEPS <= history.done, facts
    assert 50 <= killed.total(), facts
    assert killed.total() <= 2 * sum(count for point, count in killed.items() if point), facts
    assert 8 <= len([point for point in killed if point]), facts
    assert (50, 50) == (counts["broker.stopped"], counts["clock.jumped"]), facts


@pytest.mark.parametrize(
    ("mutant", "promise"),
    [
        ("fence check removed", "fence"),
        ("lane count off by one", "lanes"),
        ("intent skipped", "ends"),
        ("scheduler not asked at expiry", "stays"),
    ],
)
def test_a_broker_with_a_fault_is_caught(mutant: str, promise: str) -> None:
    """The history could not tell a broker that breaks this promise from one that keeps it."""
    history, found = lived(SEED, 600, mutant, drain_s=3.0, crashes=6 * (mutant == "intent skipped"))

    assert promise in {fault.partition(":")[0] for fault in found}, f"seed {SEED}, {history.record.count()}: {found}"


def test_every_mutant_is_tried() -> None:
    """A fault that can be injected is not injected by any test."""
    marks = test_a_broker_with_a_fault_is_caught.pytestmark

    assert {mutant for mutant, _ in marks[0].args[1]} == set(mutants.MUTANTS)
