"""Which task is which: one key is one task, however often it is sent, and an id that nobody gave out is not found."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from qrmi_core import Hosted, NotOffered, Payload, TaskNotFound
from qrmi_testkit.calls import together, within
from qrmi_testkit.subject import Start, Subject, new_key

_UNKNOWN = ("00000000-0000-4000-8000-000000000000", "no such task", "../../etc/passwd", "a/b?c=d#e%2F", "ψ\n", "")
"""The ids of no task; some would be something else to a backend that pastes them into a path or an address."""


class Identity(Subject):
    """Keys and ids. What a backend that says ``can_resend = False`` never promised, is not asked of it."""

    def test_the_same_key_is_the_same_task(
        self, resource: Hosted, start: Start, slow_payload: Payload, task_count: Callable[[], int] | None
    ) -> None:
        """A second `task_start` with the same key returns the first task's id and submits nothing."""
        key = new_key()
        first = start(slow_payload, key)
        count = task_count and task_count()

        if resource.can_resend:
            assert first == start(slow_payload, key)
            assert count == (task_count and task_count())

    def test_the_same_key_at_the_same_time_is_the_same_task(
        self, resource: Hosted, start: Start, slow_payload: Payload, task_count: Callable[[], int] | None
    ) -> None:
        """Eight threads that send one key at one moment make one task."""
        key = new_key()
        count = task_count and task_count() + 1

        if resource.can_resend:
            ids = together(self.patience_s, [partial(start, slow_payload, key)] * 8)
            assert 1 == len(set(ids))
            assert count == (task_count and task_count())

    def test_the_key_of_an_ended_task_does_not_run_it_again(
        self, resource: Hosted, start: Start, payload: Payload
    ) -> None:
        """A key that is sent again after the task's end names the same, ended task."""
        key = new_key()
        first = start(payload, key)
        end = self.end_of(resource, first)

        if resource.can_resend:
            assert first == start(payload, key)
            assert end == resource.task_status(first)

    def test_another_key_is_another_task(self, start: Start, payload: Payload) -> None:
        """The same payload under two keys is two tasks."""
        assert start(payload) != start(payload)

    @pytest.mark.parametrize("verb", ["task_status", "task_stop", "task_result"])
    def test_an_unknown_task_is_not_found(self, resource: Hosted, verb: str) -> None:
        """An id that is no task's raises TaskNotFound with that id, whatever characters it is made of."""
        for task_id in _UNKNOWN:
            with pytest.raises(TaskNotFound) as info:
                within(self.patience_s, getattr(resource, verb), task_id)
            assert task_id == info.value.task_id

    def test_a_task_is_found_by_its_key(self, resource: Hosted, start: Start, payload: Payload) -> None:
        """Where `find_task` is offered, it finds the task of a key, and None where there is none."""
        key = new_key()
        task_id = start(payload, key)
        try:
            found = resource.find_task(key)
        except NotOffered:
            return

        assert task_id == found
        assert resource.find_task(new_key()) is None
