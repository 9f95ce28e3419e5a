"""Results on the broker's disk."""

from __future__ import annotations

import os
import threading

from qrmi_broker.spool import Spool

WAIT_S = 10.0


def test_a_result_that_two_calls_bring_is_whole(tmp_path, monkeypatch):
    """A call that was given up goes on beside the next: each would take the other's file away."""
    spool, sync = Spool(tmp_path), os.fsync
    has_written, may_go_on = threading.Event(), threading.Event()

    def slow(handle: int) -> None:
        if threading.current_thread() is late:
            has_written.set()
            may_go_on.wait(WAIT_S)
        sync(handle)

    monkeypatch.setattr(os, "fsync", slow)
    failed: list[OSError] = []

    def keep() -> None:
        try:
            spool.keep("t1", b"the whole result")
        except OSError as exc:
            failed.append(exc)

    late = threading.Thread(target=keep)
    late.start()
    assert has_written.wait(WAIT_S)
    spool.keep("t1", b"the whole result")
    assert b"the whole result" == spool.result("t1").read_bytes()
    may_go_on.set()
    late.join(WAIT_S)

    assert [] == failed
    assert ["t1.result"] == [entry.name for entry in tmp_path.iterdir()]
