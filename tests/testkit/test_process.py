"""A fresh process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from stevedore import ExtensionManager

from qrmi_core import Opening, Payload, PayloadError, TaskNotFound
from qrmi_testkit.process import fresh

INSTALLED = Path(__file__).parent / "installed"
CANARY = "canary-7f3a9c"


@pytest.fixture
def opening(monkeypatch) -> Opening:
    monkeypatch.syspath_prepend(INSTALLED)
    monkeypatch.setattr(ExtensionManager, "ENTRY_POINT_CACHE", {})
    return Opening(
        name="fresh",
        type="scripted",
        environment={"QRMI_SCRIPTED_API_KEY": CANARY, "QRMI_SCRIPTED_GREETING": "from afar"},
        source="test",
    )


def test_a_verb_runs_elsewhere_and_returns_here(opening):
    """What a fresh process finds out is what the test looks at."""
    assert {"greeting": "from afar"} == fresh(opening, "metadata")


def test_an_error_of_a_fresh_process_is_raised_here(opening):
    """A test of what a fresh process raises looks at the error itself, with its fields."""
    with pytest.raises(TaskNotFound) as info:
        fresh(opening, "task_status", "no-such-task")
    assert ("fresh", "no-such-task") == (info.value.resource, info.value.task_id)
    with pytest.raises(PayloadError):
        fresh(opening, "task_start", Payload.from_json("script", []), key="k")


def test_what_a_fresh_process_logs_is_not_taken_for_its_reply(opening, capfd):
    """A backend that logs to standard output does not spoil the reply; what it logged is shown, to be searched."""
    payload = Payload.from_json("script", {"runs_s": 0})
    task_id = fresh(opening, "task_start", payload, key="k")

    assert task_id == fresh(opening, "task_start", payload, key="k")
    assert "task.known" in capfd.readouterr().err


def test_a_fresh_process_is_another_one(opening, monkeypatch):
    """Whatever this process remembers is not known to the fresh one, but for the state folder."""
    monkeypatch.setenv("QRMI_STATE_DIR", f"{os.environ['QRMI_STATE_DIR']}-other")

    assert fresh(opening, "find_task", "k") is None
