"""Many threads on one resource: nothing is lost and nothing mixed up, whether the backend or the host sees to it."""

from __future__ import annotations

from functools import partial

from qrmi_core import Hosted, Payload, TaskStatus
from qrmi_testkit.calls import together
from qrmi_testkit.subject import Start, Subject, new_key


class Concurrency(Subject):
    """What `concurrent` claims; without the claim the host serialises, and the same must hold."""

    def _life(self, resource: Hosted, start: Start, payload: Payload) -> str:
        task_id = start(payload, new_key())
        assert not resource.task_status(task_id).status.is_terminal or resource.task_result(task_id)
        assert self.end_of(resource, task_id).status is TaskStatus.COMPLETED
        self.check_result(payload, resource.task_result(task_id))
        return task_id

    def test_many_threads_lose_and_mix_up_nothing(
        self, resource: Hosted, start: Start, payloads: list[Payload]
    ) -> None:
        """Tasks that are started, watched and fetched by as many threads all complete, each with its own result."""
        lives = [partial(self._life, resource, start, payload) for payload in payloads]
        ids = together(self.patience_s * len(payloads), lives)

        assert len(payloads) == len(set(ids))

    def test_many_threads_share_a_task(self, resource: Hosted, start: Start, payload: Payload) -> None:
        """Threads that wait for one task all see the same end."""
        task_id = start(payload)
        ends = together(2 * self.patience_s, [partial(self.end_of, resource, task_id)] * 8)

        assert {TaskStatus.COMPLETED} == {end.status for end in ends}
