"""Requests that a vendor carries out after it was given up: nothing is paid twice, and nothing stays open."""

from __future__ import annotations

import pytest

from qrmi_core import Payload, ResourceUnavailable, TaskStatus, open_resource

from .daemon import vendor_log
from .watch import sessions, until

PAYLOAD = Payload.from_bytes("script", b'{"runs_s": 0}')


def started(daemon) -> list[str]:
    """The vendor's keys of the tasks that it has started."""
    return [one["key"] for one in vendor_log(daemon.folder / "service") if one["event"] == "task.started"]


def late(daemon, verb: str, delay_s: float):
    """The file that makes the vendor late."""
    path = daemon.folder / "service" / f"late-{verb}"
    path.write_text(str(delay_s))
    return path


@pytest.mark.parametrize("crashes", [False, True], ids=["", "and the broker dies"])
def test_a_retry_finds_the_task_that_arrives_late(daemon, crashes):
    """A submission that timed out, and was carried out all the same, would be paid for twice."""
    granted = daemon.ask("fez")
    trouble = late(daemon, "task_start", 6.0)
    with open_resource(daemon.opening(granted, "fez")) as resource:
        with pytest.raises(ResourceUnavailable):
            resource.task_start(PAYLOAD, key="pay once")
        trouble.unlink()
        if crashes:
            daemon.kill()
            daemon.start()
        task = resource.task_start(PAYLOAD, key="pay once")

        assert TaskStatus.COMPLETED is resource.task_wait(task, 30).status
        until(lambda: started(daemon))
        assert 1 == len(set(started(daemon)))
        assert resource.task_start(PAYLOAD, key="pay twice") != task
    assert 2 == len(set(started(daemon)))


def test_a_session_that_opens_late_is_closed(new_daemon):
    """A session that nobody knows of would run, and cost, until it ends by itself."""
    daemon = new_daemon().start()
    trouble = late(daemon, "acquire", 2.0)
    daemon.ask("fez", until="failed")
    trouble.unlink()
    until(lambda: "session.closed" in sessions(daemon), 30)

    assert ["session.opened", "session.closed"] == sessions(daemon)
    [said] = [one for one in daemon.events if one["event"] == "session.orphaned"]
    assert "error" == said["level"]
