"""A task's life: it starts, makes allowed moves only, ends once, and has a result then and not before."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from qrmi_core import ALLOWED_MOVES, Hosted, Payload, TaskFailed, TaskNotReady, TaskState, TaskStatus
from qrmi_testkit.calls import within
from qrmi_testkit.subject import Start, Subject


class Lifecycle(Subject):
    """Start, wait, result."""

    def test_a_task_runs_to_its_result(self, resource: Hosted, start: Start, payload: Payload) -> None:
        """A payload that is fit to run completes, and its result is there."""
        task_id = start(payload)

        assert self.end_of(resource, task_id).status is TaskStatus.COMPLETED
        self.check_result(payload, within(self.patience_s, resource.task_result, task_id))

    def test_a_task_makes_allowed_moves_only(self, resource: Hosted, start: Start, payload: Payload) -> None:
        """Whoever watches a task sees moves of `ALLOWED_MOVES` and no other: it never goes back, or ends twice."""
        seen = list(self._watched(resource, start(payload)))

        for before, after in pairwise(seen):
            assert before is after or after in ALLOWED_MOVES[before], seen

    def _watched(self, resource: Hosted, task_id: str) -> Iterator[TaskStatus]:
        """The task's status, often, and some times more after its end."""
        deadline = time.monotonic() + self.patience_s
        after_the_end = 0
        while after_the_end < 3:
            assert time.monotonic() < deadline, f"has not ended within {self.patience_s:g} s"
            status = resource.task_status(task_id).status
            after_the_end += status.is_terminal
            yield status
            yield resource.task_wait(task_id, 0.02).status

    def test_an_ended_task_stays_as_it_is(self, resource: Hosted, start: Start, payload: Payload) -> None:
        """The state and the result of an ended task are the same whenever they are asked for."""
        task_id = start(payload)
        end, result = self.end_of(resource, task_id), resource.task_result(task_id)

        assert end == resource.task_status(task_id)
        assert result == resource.task_result(task_id)

    def test_a_wait_returns_at_its_timeout(self, resource: Hosted, start: Start, slow_payload: Payload) -> None:
        """`task_wait` gives control back after timeout_s, with the state the task has then."""
        state = within(self.prompt_s, resource.task_wait, start(slow_payload), 0.1)

        assert not state.status.is_terminal

    def test_a_wait_for_an_ended_task_returns_at_once(self, resource: Hosted, start: Start, payload: Payload) -> None:
        """Nobody waits for a task that has ended."""
        task_id = start(payload)
        end = self.end_of(resource, task_id)

        assert end == within(self.prompt_s, resource.task_wait, task_id, 10 * self.prompt_s)

    def test_a_result_asked_for_early_is_not_ready(self, resource: Hosted, start: Start, slow_payload: Payload) -> None:
        """`task_result` of a running task raises TaskNotReady at once: it neither blocks nor returns half a result."""
        task_id = start(slow_payload)

        with pytest.raises(TaskNotReady) as info:
            within(self.prompt_s, resource.task_result, task_id)
        assert task_id == info.value.task_id

    def test_a_failed_task_says_why(self, resource: Hosted, start: Start, failing_payload: Payload) -> None:
        """A task that fails ends FAILED with a reason, and `task_result` raises TaskFailed with the same one."""
        task_id = start(failing_payload)
        end: TaskState = self.end_of(resource, task_id)

        assert end.status is TaskStatus.FAILED
        assert end.reason
        assert end.reason.strip()
        with pytest.raises(TaskFailed) as info:
            within(self.patience_s, resource.task_result, task_id)
        assert (task_id, end.reason) == (info.value.task_id, info.value.detail)
