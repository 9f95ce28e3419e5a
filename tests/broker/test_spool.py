"""Results on the broker's disk."""

from __future__ import annotations

import os
import threading
import time

from qrmi_broker.spool import KEPT_S, Spool

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


def test_only_what_is_idle_is_tidied_away(tmp_path):
    """A payload that was still coming would be removed, and its task fail; one that nobody needs would stay."""
    spool = Spool(tmp_path)
    for name in ("coming.payload", "left.payload", "open.payload", "t.result", ".t.1.part", ".t.2.part", "week.result"):
        (tmp_path / name).touch()
    for name, age_s in (
        ("left.payload", 4000),
        ("open.payload", 4000),
        (".t.2.part", 4000),
        ("t.result", 4000),
        ("week.result", KEPT_S + 60),
    ):
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    spool.tidy({"open"})

    assert {".t.1.part", "coming.payload", "open.payload", "t.result"} == {one.name for one in tmp_path.iterdir()}
    spool.tidy({"open"}, is_used=False)
    assert {"open.payload", "t.result"} == {one.name for one in tmp_path.iterdir()}
