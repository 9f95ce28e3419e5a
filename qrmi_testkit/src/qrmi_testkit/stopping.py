"""Stopping a task: it takes effect soon, may be repeated, and does nothing to what has ended."""

from __future__ import annotations

import pytest

from qrmi_core import Hosted, Payload, TaskCancelled, TaskStatus
from qrmi_testkit.calls import begin, finished, within
from qrmi_testkit.subject import Start, Subject


class Stopping(Subject):
    """`task_stop`."""

    def _stop(self, resource: Hosted, task_id: str) -> None:
        within(self.patience_s, resource.task_stop, task_id)

    def test_a_stopped_task_is_cancelled(self, resource: Hosted, start: Start, slow_payload: Payload) -> None:
        """A running task that is stopped ends CANCELLED, soon."""
        task_id = start(slow_payload)
        self._stop(resource, task_id)

        assert within(2 * self.stop_s, resource.task_wait, task_id, self.stop_s).status is TaskStatus.CANCELLED

    def test_a_cancelled_task_has_no_result(self, resource: Hosted, start: Start, slow_payload: Payload) -> None:
        """`task_result` of a cancelled task raises TaskCancelled, not TaskFailed and not TaskNotReady."""
        task_id = start(slow_payload)
        self._stop(resource, task_id)
        self.end_of(resource, task_id)

        with pytest.raises(TaskCancelled) as info:
            within(self.prompt_s, resource.task_result, task_id)
        assert task_id == info.value.task_id

    def test_a_stop_ends_a_wait(self, resource: Hosted, start: Start, slow_payload: Payload) -> None:
        """Whoever waits for a task keeps nobody from stopping it, and learns of the end soon."""
        task_id = start(slow_payload)
        waiting = begin(resource.task_wait, task_id, self.patience_s)
        within(self.prompt_s, resource.task_stop, task_id)

        assert finished(self.stop_s, waiting).status.is_terminal

    def test_stopping_twice_is_stopping_once(self, resource: Hosted, start: Start, slow_payload: Payload) -> None:
        """`task_stop` is idempotent: a second one, at once or later, is no error and changes nothing."""
        task_id = start(slow_payload)
        self._stop(resource, task_id)
        self._stop(resource, task_id)
        end = self.end_of(resource, task_id)
        self._stop(resource, task_id)

        assert end == resource.task_status(task_id)

    def test_stopping_an_ended_task_changes_nothing(self, resource: Hosted, start: Start, payload: Payload) -> None:
        """A stop that comes after the end is no error, and takes neither the status nor the result away."""
        task_id = start(payload)
        end = self.end_of(resource, task_id)
        self._stop(resource, task_id)

        assert end == resource.task_status(task_id)
        self.check_result(payload, resource.task_result(task_id))

    def test_a_stop_and_the_end_agree_on_what_happened(self, resource: Hosted, start: Start, payload: Payload) -> None:
        """A stop may lose to completion; whichever won, the result then says the same as the status."""
        task_id = start(payload)
        self._stop(resource, task_id)
        end = self.end_of(resource, task_id)

        if end.status is TaskStatus.COMPLETED:
            self.check_result(payload, resource.task_result(task_id))
        else:
            assert end.status is TaskStatus.CANCELLED
            with pytest.raises(TaskCancelled):
                resource.task_result(task_id)
