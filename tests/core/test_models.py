"""The nouns."""

from __future__ import annotations

import attrs
import pytest

from qrmi_core import ALLOWED_MOVES, AcquireRequest, Run, TaskState, TaskStatus


def test_every_status_has_its_moves():
    """A status without a row in the table would be a KeyError in the middle of a wait."""
    assert set(TaskStatus) == set(ALLOWED_MOVES)


@pytest.mark.parametrize("status", TaskStatus)
def test_no_move_leads_back(status):
    """Nothing returns to the queue, nothing leaves an end, and staying is not a move."""
    assert TaskStatus.QUEUED not in ALLOWED_MOVES[status]
    assert status not in ALLOWED_MOVES[status]
    assert status.is_terminal == (status in {TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED})


def test_a_task_may_complete_unseen():
    """Whoever did not look while it ran, sees QUEUED and then COMPLETED."""
    assert TaskStatus.COMPLETED in ALLOWED_MOVES[TaskStatus.QUEUED]


def test_a_state_does_not_change():
    """What two threads look at is the same for both."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        TaskState(TaskStatus.RUNNING).status = TaskStatus.FAILED


def test_a_request_is_made_by_name():
    """`AcquireRequest("key", 60)` would not say what 60 is."""
    with pytest.raises(TypeError):
        AcquireRequest("key", 60)


def test_a_run_is_read_from_what_slurm_sets():
    """Reports say which job a task belonged to, and whether it had been requeued."""
    environ = {"SLURM_JOB_ID": "17", "SLURM_CLUSTER_NAME": "alps", "SLURM_RESTART_COUNT": "2"}

    assert Run(uid=5, cluster="alps", job_id="17", restart_count=2) == attrs.evolve(Run.of_this_process(environ), uid=5)


def test_a_run_outside_slurm_knows_its_user_only():
    """Nothing is invented where Slurm said nothing, or nonsense."""
    assert Run() == Run.of_this_process({"SLURM_JOB_ID": "", "SLURM_RESTART_COUNT": "many"})
