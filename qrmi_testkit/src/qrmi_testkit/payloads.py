"""What is sent: it arrives unchanged, or is refused in words, whatever its size and letters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qrmi_core import Hosted, Payload, PayloadError, TaskStatus
from qrmi_testkit.subject import Start, Subject

_NO_PAYLOADS = {
    "empty": b"",
    "binary": bytes(range(256)),
    "truncated": b'{"a": [1, 2',
    "nested": b"[" * 100_000,
    "scalar": b"0",
}


class Payloads(Subject):
    """`task_start` and what it is given."""

    def _started(self, start: Start, payload: Payload) -> str | None:
        """The task's id, or None if *payload* was refused as it should be."""
        try:
            return start(payload)
        except PayloadError as exc:
            refused = exc.source
        assert payload.source == refused
        return None

    def _arrives_or_is_refused(self, resource: Hosted, start: Start, payload: Payload) -> None:
        if task_id := self._started(start, payload):
            assert self.end_of(resource, task_id).status is TaskStatus.COMPLETED
            self.check_result(payload, resource.task_result(task_id))

    def test_a_bad_payload_is_refused(
        self, start: Start, bad_payload: Payload, task_count: Callable[[], int] | None
    ) -> None:
        """What cannot run is refused by PayloadError, which names the source, and nothing is submitted."""
        count = task_count and task_count()

        with pytest.raises(PayloadError) as info:
            start(bad_payload)
        assert bad_payload.source == info.value.source
        assert count == (task_count and task_count())

    def test_a_kind_that_it_does_not_execute_is_refused(self, start: Start) -> None:
        """A payload of a foreign kind is refused, and not tried."""
        with pytest.raises(PayloadError):
            start(Payload.from_bytes("no-such-kind", b"{}"))

    @pytest.mark.parametrize("content", _NO_PAYLOADS.values(), ids=_NO_PAYLOADS)
    def test_what_is_no_payload_does_no_harm(
        self, resource: Hosted, start: Start, payload: Payload, content: bytes
    ) -> None:
        """Rubbish is refused by PayloadError; a backend that accepts any bytes ends such a task like any other."""
        if task_id := self._started(start, Payload.from_bytes(payload.kind, content, source="rubbish")):
            self.end_of(resource, task_id)

    def test_a_large_payload_arrives_or_is_refused(
        self, resource: Hosted, start: Start, large_payload: Payload
    ) -> None:
        """10 MB come through whole, or are refused in words: no crash, nothing cut off."""
        self._arrives_or_is_refused(resource, start, large_payload)

    def test_a_unicode_payload_arrives_or_is_refused(
        self, resource: Hosted, start: Start, unicode_payload: Payload
    ) -> None:
        """Text of all planes comes through unchanged, or is refused in words."""
        self._arrives_or_is_refused(resource, start, unicode_payload)

    def test_a_payload_in_a_file_arrives(
        self, resource: Hosted, start: Start, payload: Payload, tmp_path: Path
    ) -> None:
        """A payload that lies in a file runs as one in memory does, whatever the file is called."""
        path = tmp_path / "|ψ⟩ 😀 bell.json"
        path.write_bytes(payload.read())
        task_id = start(Payload.from_file(payload.kind, path))

        assert self.end_of(resource, task_id).status is TaskStatus.COMPLETED
        self.check_result(payload, resource.task_result(task_id))
