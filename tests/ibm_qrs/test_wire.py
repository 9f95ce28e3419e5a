"""The service's JSON and our models: what it says, what it may say one day, and what it must not leave out."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrmi_core import TaskStatus
from qrmi_ibm_qrs import _wire

JOB = {"id": "cz1", "status": "Queued", "state": {"status": "Queued"}}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def job(**facts: object) -> _wire.Job:
    """A job of these facts."""
    return _wire.job_of({**JOB, **facts})


@pytest.mark.parametrize(
    ("status", "state", "expected"),
    [
        ("Queued", {"status": "Queued"}, TaskStatus.QUEUED),
        ("Running", {"status": "Running"}, TaskStatus.RUNNING),
        ("Completed", {"status": "Completed"}, TaskStatus.COMPLETED),
        ("Failed", {"status": "Failed"}, TaskStatus.FAILED),
        ("Cancelled", {"status": "Cancelled"}, TaskStatus.CANCELLED),
        ("Cancelled - Ran too long", {"status": "Cancelled", "reason_code": 1305}, TaskStatus.FAILED),
        ("Cancelled", {"status": "Cancelled", "reason_code": 1305}, TaskStatus.FAILED),
        ("COMPLETED", {}, TaskStatus.COMPLETED),
        (None, {"status": "Completed"}, TaskStatus.COMPLETED),
        ("Brand new", {"status": "Completed"}, TaskStatus.COMPLETED),
    ],
)
def test_a_status_is_what_the_service_means(status, state, expected):
    """A task was reported in another state than it is in."""
    assert expected is job(status=status, state=state).state.status


def test_a_status_that_we_do_not_know_is_running_with_its_name():
    """A new word of the service ended every wait with an error."""
    state = job(status="Hibernating", state={"status": "Hibernating"}).state

    assert (TaskStatus.RUNNING, "the service calls its state 'Hibernating'") == (state.status, state.reason)


def test_a_reason_has_its_code_and_its_solution():
    """Whoever is to mend the cause does not know what the service advises."""
    state = {"status": "Failed", "reason": "Bad pulse.", "reason_code": 8001, "reason_solution": "Map the qubits."}

    assert "Bad pulse (code 8001). Map the qubits" == job(status="Failed", state=state).state.reason


def test_a_failure_without_a_reason_says_that_there_is_none():
    """A failed task had nothing to say."""
    found = job(status="Failed", state={"status": "Failed"})

    assert ("the service gave no reason", False) == (found.state.reason, found.has_reason)


@pytest.mark.parametrize("document", [None, [], {}, {"id": "cz1"}, {"id": 7, "status": "Queued"}, {"status": "Queued"}])
def test_a_job_without_id_or_status_is_a_surprise(document):
    """What is no job was taken for one."""
    with pytest.raises(_wire.Surprise):
        _wire.job_of(document)


@given(facts=st.dictionaries(st.sampled_from(["state", "tags", "usage", "session_id", "cost", "created"]), ANYTHING))
def test_a_member_that_is_not_as_we_know_it_harms_nothing(facts):
    """A wrong optional member made the whole job unreadable, as it does for the vendor's own clients."""
    assert "cz1" == _wire.job_of({"id": "cz1", "status": "Running", **facts}).id


@pytest.mark.parametrize("value", [10**400, float("inf"), float("-inf"), float("nan")], ids="lmin")
def test_a_number_that_nobody_can_mean_is_none(value):
    """A list of processors, or a job, ended a command with an exception of Python."""
    (device,) = _wire.devices_of({"devices": [{"name": "ibm_fez", "qubits": value, "queue_length": value}]})

    assert (None, None) == (device.qubits, device.queue)
    assert None is job(status="Completed", usage={"seconds": value}).usage_s


@given(
    document=ANYTHING
    | st.fixed_dictionaries({}, optional=dict.fromkeys(["jobs", "devices", "workloads", "id", "status"], ANYTHING))
)
def test_anything_is_read_or_is_a_surprise(document):
    """A reply of another shape ended a task with an exception of Python."""
    now = datetime.now(UTC)
    for read in (
        _wire.job_of,
        _wire.jobs_of,
        _wire.session_of,
        _wire.devices_of,
        lambda one: _wire.workloads_of(one, now),
    ):
        try:
            read(document)
        except _wire.Surprise:
            continue


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"quantum_seconds": 2, "seconds": 3}, 2.0),
        ({"seconds": 1.5}, 1.5),
        ({"seconds": None}, None),
        ({"seconds": True}, None),
        ({}, None),
        (None, None),
    ],
)
def test_usage_is_the_processors_seconds(document, expected):
    """A task was accounted for by what it waited."""
    assert expected == _wire.usage_of(document)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ("Traceback (most recent call last):\n  File 1\nValueError: too hot\n", "ValueError: too hot"),
        ('{"error": "Traceback (most recent call last):\\n  f()\\nKeyError: 3"}', "KeyError: 3"),
        ("no trace", None),
        ("", None),
    ],
)
def test_a_traceback_in_place_of_a_result_names_the_error(result, expected):
    """A failed job without a reason left one nobody looked at."""
    assert expected == _wire.last_error(result)


@pytest.mark.parametrize(
    ("facts", "is_open", "is_worth_keeping"),
    [
        ({"state": "open"}, True, True),
        ({"state": "active", "max_ttl": 1000, "active_ttl": 11}, True, True),
        ({"state": "active", "max_ttl": 1000, "active_ttl": 10}, True, False),
        ({"state": "inactive", "accepting_jobs": False}, False, False),
        ({"state": "closed"}, False, False),
        ({"state": "pending_closed"}, True, True),
        ({"state": "open", "closed_at": "2026-01-01T00:00:00Z"}, False, False),
        ({"state": "a new one"}, True, True),
    ],
)
def test_a_session_is_used_while_it_takes_jobs(facts, is_open, is_worth_keeping):
    """A task was sent into a session that refuses it, or a good one was given up."""
    session = _wire.session_of({"id": "s", "mode": "batch", "backend_name": None, **facts})

    assert (is_open, is_worth_keeping) == (session.is_open, session.is_worth_keeping)


def test_a_page_of_workloads_says_where_the_next_one_starts():
    """Only the newest sessions of an account were found again."""
    now = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
    one = {"id": "s", "backend": "b", "mode": "session", "status": "pending", "created": "2026-01-01T00:00:00Z"}
    for following in ({"cursor": "abc"}, {"href": "https://x/v1/workloads?limit=5&next=abc"}):
        found, cursor = _wire.workloads_of({"workloads": [one], "next": following}, now)

        assert ("abc", 60.0, True) == (cursor, found[0].age_s, found[0].is_open)
    assert (False, None) == _ended(one | {"ended": "2026-01-01T00:00:30Z"}, now)


def _ended(one: dict, now: datetime) -> tuple[bool, str | None]:
    found, cursor = _wire.workloads_of({"workloads": [one]}, now)
    return found[0].is_open, cursor
