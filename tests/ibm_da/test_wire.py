"""The service's JSON and our models: what we do not know is tolerated, and shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrmi_core import TaskState, TaskStatus
from qrmi_ibm_da._wire import Job, Record, device_of, job_of, lanes_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("document", "state"),
    [
        ({"status": "Running"}, TaskState(TaskStatus.RUNNING)),
        ({"status": "Queued"}, TaskState(TaskStatus.QUEUED)),
        ({"status": "Completed"}, TaskState(TaskStatus.COMPLETED)),
        ({"status": "Cancelled"}, TaskState(TaskStatus.CANCELLED)),
        ({"status": "Cooling down"}, TaskState(TaskStatus.RUNNING, "Cooling down")),
        ({"status": "Failed"}, TaskState(TaskStatus.FAILED, "the service gave no reason")),
        (
            {"status": "Failed", "reason_code": 1305, "reason_message": "Too long.", "reason_solution": "Run less."},
            TaskState(TaskStatus.FAILED, "Too long (code 1305). Run less"),
        ),
        ({"status": "Failed", "reason_code": "x", "reason_message": 7}, TaskState(TaskStatus.FAILED, "7 (code x)")),
    ],
)
def test_a_status_is_ours(document, state):
    """A status of tomorrow is a running task with a reason, and a failure shows code, message and solution."""
    assert state == job_of(document).state


def test_a_reason_shows_no_signature():
    """A service that repeats a presigned URL must not hand it to every reader of an error."""
    reason = job_of({"status": "Failed", "reason_message": "PUT http://h/b/k?X-Amz-Date=1&X-Amz-Signature=abc failed"})

    assert "PUT http://h/b/k?[redacted] failed" == reason.state.reason


@given(JSON | st.fixed_dictionaries({"status": st.text()}, optional=dict.fromkeys(["usage", "storage", "id"], JSON)))
def test_a_job_is_described_or_named_as_none(document):
    """No answer of a service makes an exception of Python's."""
    try:
        job_of(document)
    except ValueError:
        assert not (isinstance(document, dict) and isinstance(document.get("status"), str))


def test_usage_is_in_seconds():
    """The service counts nanoseconds."""
    assert 1.5 == job_of({"status": "Completed", "usage": {"quantum_nanoseconds": 1_500_000_000}}).qpu_s
    for senseless in (True, 10**400, float("inf"), float("nan")):
        assert 0.0 == job_of({"status": "Completed", "usage": {"quantum_nanoseconds": senseless}}).qpu_s


@given(st.sampled_from([TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED]), st.text(), st.floats(0, 1e6))
def test_a_record_says_what_was_written(status, reason, qpu_s):
    """What another process reads is what this one has seen."""
    end = Job(TaskState(status, reason), qpu_s, "ibm_torino")
    for record in (
        Record(program="sampler", device="ibm_torino", timeout_s=7),
        Record(program="sampler", device="ibm_torino", timeout_s=7, end=end),
    ):
        assert record == Record.decoded(record.encoded())


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"program_id": "a"}', b"\xff"])
def test_what_somebody_else_wrote_is_no_record(content):
    """It is said, and not taken for one."""
    with pytest.raises(ValueError):
        Record.decoded(content)


@pytest.mark.parametrize("document", [None, {}, {"hpc_workload_manager": {}}, {"hpc_workload_manager": {"lanes": "5"}}])
def test_lanes_may_be_unknown(document):
    """An older service has no lanes to tell."""
    assert lanes_of(document) is None


def test_a_device_shows_its_queue():
    """Of two devices the one with a free lane is the less busy."""
    jobs = [Job(TaskState(TaskStatus.RUNNING), device="a")] * 3
    full = device_of({"name": "a", "status": "online", "locked": True}, qubits=5, lanes=3, jobs=jobs)
    free = device_of({"name": "b", "status": "online"}, qubits=5, lanes=3, jobs=jobs)

    assert (1, "0 of 3 lanes free, reserved") == (full.queue, full.note)
    assert free.business < full.business
