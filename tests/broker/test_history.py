"""The broker keeps its promises through a long history of crashes, and the judge of that history can tell when not.

`QRMI_HISTORY_SEED` chooses the history. Its steps follow from the seed; how they interleave, threads decide.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from . import checker
from .daemon import short_folder
from .history import History
from .installed import mutants
from .steps import troubles
from .vendor import Sturdy

SEED = int(os.environ.get("QRMI_HISTORY_SEED", "20261121"))
STEPS = 10_000
CRASHES = 24
"""Each kills the broker three times: at some moment, and twice when it passes a point of the code."""


PROMISES = {"ends", "stays", "lanes", "fence", "once", "kept", "answers"}
"""What a fault that the checker finds begins with."""
CAUGHT = {
    "fence check removed": ["fence"],
    "lane count off by one": ["lanes: [a-g]", "lanes: [hi]"],
    "intent skipped": ["ends"],
    "scheduler not asked at expiry": ["stays"],
    "sent again where nobody can tell": ["once"],
}
"""How the faults begin that each mutant makes; `h` and `i` are those whose vendor has no sessions."""
NEEDED = {
    "lane count off by one": {"steps": 1_000},
    "intent skipped": {"crashes": 6, "points": ("lease.acquired", "task.submitted")},
    "sent again where nobody can tell": {"losses": 10},
}
"""Without which a mutant may do no harm."""


def lived(seed: int, steps: int, mutant: str = "", *, drain_s: float = 40.0, **plan: Any) -> tuple[History, list[str]]:
    """A history, and what is wrong with it."""
    with short_folder() as folder:
        vendor = Sturdy(Path(folder, "service"))
        history = History(seed, Path(folder), vendor, mutant)
        history.run(steps, troubles(seed, vendor.ways, vendor.loss, **plan), drain_s=drain_s)
        log, record = vendor.log(history.record), history.record.entries
        found = checker.faults(log, record, vendor.lanes, vendor.is_result, vendor.sessionless)
    return history, found


def deaths(history: History) -> Counter[str]:
    """How often the broker was killed, by the point in the code; ``""`` is anywhere."""
    return Counter(entry["point"] for entry in history.record.entries if entry["event"] == "broker.killed")


def uses(history: History) -> Counter[tuple[str, str]]:
    """How many leases were ``granted`` on each resource, and how many tasks ``accepted``."""
    granted, accepted = {}, {}
    for entry in history.record.entries:
        if entry["event"] == "answer" and entry["found"].get("state") == "granted":
            granted[entry["found"]["id"]] = entry["found"]["environment"]["QRMI_JOB_QPU_RESOURCES"].split(",")
        elif entry["event"] == "answer" and (entry["verb"], entry["status"]) == ("submit", 201):
            accepted[entry["found"]["id"]] = entry["resource"]
    leased = Counter(("granted", name) for names in granted.values() for name in names)
    return leased + Counter(("accepted", name) for name in accepted.values())


@pytest.fixture(scope="module")
def long() -> tuple[History, list[str]]:
    """The long one."""
    return lived(SEED, STEPS, crashes=CRASHES, stops=50, jumps=50, failures=40)


def broken(long: tuple[History, list[str]], *promises: str) -> list[str]:
    """What broke one of *promises*; above all the seed, with which it can be looked for."""
    found = [fault for fault in long[1] if fault.partition(":")[0] in promises]
    return [f"seed {SEED}", *found[:20]] if found else []


def test_no_lease_is_leaked_by_any_single_crash_and_none_released_that_is_still_needed(long) -> None:
    """A crash, a lost answer or a wrong clock keeps a lane from everybody, or takes it from a job that runs."""
    assert [] == broken(long, "ends", "stays")


def test_there_are_never_more_holders_than_lanes_and_an_old_fence_is_refused(long) -> None:
    """Two jobs use one lane, or a run that has ended goes on beside the next one."""
    assert [] == broken(long, "lanes", "fence")


def test_no_task_is_submitted_twice_and_none_is_lost_once_accepted(long) -> None:
    """A retry is paid for twice, or what was paid for never read."""
    assert [] == broken(long, "once", "kept")


def test_every_request_is_answered_and_nothing_else_breaks(long) -> None:
    """A client waits for ever, or a fault of the broker goes unnoticed."""
    assert [] == broken(long, "answers")
    assert {fault.partition(":")[0] for fault in long[1]} <= PROMISES


def test_the_history_is_long_and_full_of_trouble(long) -> None:
    """The promises would be kept through a quiet day."""
    history = long[0]
    counts, killed = history.record.count(), deaths(history)
    facts = f"seed {SEED}, {history.done} steps, {dict(counts)}, killed at {dict(killed)}"

    assert STEPS <= history.done, facts
    assert 50 <= killed.total(), facts
    assert killed.total() <= 2 * sum(count for point, count in killed.items() if point), facts
    assert 8 <= len([point for point in killed if point]), facts
    assert (50, 50) == (counts["broker.stopped"], counts["clock.jumped"]), facts


def test_the_history_has_a_vendor_without_sessions(long) -> None:
    """What no vendor has to be asked for would be leased and used in no history."""
    used = uses(long[0])

    assert all(25 <= used["granted", one] and 25 <= used["accepted", one] for one in long[0].vendor.sessionless), used


@pytest.mark.parametrize("mutant", CAUGHT)
def test_a_broker_with_a_fault_is_caught(mutant: str) -> None:
    """The history could not tell a broker that breaks these promises from one that keeps them."""
    history, found = lived(SEED, mutant=mutant, drain_s=3.0, **{"steps": 600, **NEEDED.get(mutant, {})})

    missed = [promise for promise in CAUGHT[mutant] if not any(re.match(promise, fault) for fault in found)]
    assert [] == missed, f"seed {SEED}, {history.record.count()}: {found}"


def test_every_mutant_is_tried() -> None:
    """A fault that can be injected is not injected by any test."""
    assert CAUGHT.keys() == mutants.MUTANTS.keys()
