"""What outlives a process: tasks and sessions, for whoever knows the id, the key or the token."""

from __future__ import annotations

import pytest

from qrmi_core import AcquireRequest, Hosted, Opening, Payload, TaskCancelled, TaskStatus
from qrmi_testkit.process import fresh
from qrmi_testkit.subject import Start, Subject, new_key


class FreshProcess(Subject):
    """Every verb from a new process. `qrmi task result ID` is one; so is the broker after a restart."""

    def test_a_fresh_process_reads_the_end_of_a_task(
        self, resource: Hosted, opening: Opening, start: Start, payload: Payload
    ) -> None:
        """Another process that has only the id sees the same end and the same result."""
        task_id = start(payload)
        end = self.end_of(resource, task_id)

        assert end == fresh(opening, "task_status", task_id)
        assert resource.task_result(task_id) == fresh(opening, "task_result", task_id)

    def test_a_fresh_process_sees_that_a_task_runs(self, opening: Opening, start: Start, slow_payload: Payload) -> None:
        """Another process neither loses a running task nor takes it for ended."""
        task_id = start(slow_payload)

        assert not fresh(opening, "task_status", task_id).status.is_terminal

    def test_a_fresh_process_stops_a_task(
        self, resource: Hosted, opening: Opening, start: Start, slow_payload: Payload
    ) -> None:
        """A stop from another process takes effect, and the process that started the task sees it."""
        task_id = start(slow_payload)
        fresh(opening, "task_stop", task_id)

        assert resource.task_wait(task_id, self.stop_s).status is TaskStatus.CANCELLED
        with pytest.raises(TaskCancelled):
            resource.task_result(task_id)

    def test_a_fresh_process_makes_no_second_task(
        self, resource: Hosted, opening: Opening, start: Start, payload: Payload
    ) -> None:
        """After a crash the same key, sent by the next process, is still the same task."""
        key = new_key()
        task_id = start(payload, key)

        if resource.can_resend:
            assert task_id == fresh(opening, "task_start", payload, key=key)

    def test_a_task_outlives_the_process_that_started_it(
        self, resource: Hosted, opening: Opening, payload: Payload
    ) -> None:
        """A task whose process is gone completes, or ends with a reason. It is never lost, nor runs for ever."""
        task_id = fresh(opening, "task_start", payload, key=new_key())
        end = self.end_of(resource, task_id)

        if end.status is TaskStatus.COMPLETED:
            self.check_result(payload, resource.task_result(task_id))
        else:
            assert end.reason

    def test_a_fresh_process_releases_a_session(self, resource: Hosted, opening: Opening) -> None:
        """A session can be closed by whoever knows its token; that it is closed already, later, is no error."""
        token = resource.acquire(AcquireRequest(lease_key=new_key(), max_s=600))

        fresh(opening, "release", token)
        resource.release(token)
