"""Answers that nobody hears: no session is left behind, and no task is lost."""

from __future__ import annotations

import signal
import sqlite3
import threading
from contextlib import closing, suppress
from http.client import HTTPException

import pytest

from qrmi_broker.crashpoint import VARIABLE
from qrmi_broker.spool import SMALL_BYTES
from qrmi_core import BrokerUnavailable, Payload, TaskStatus, open_resource

from .daemon import fake, vendor_log
from .watch import held, sessions, until


@pytest.mark.parametrize("second", ["lease.releasing", "lease.closed"])
@pytest.mark.parametrize("first", ["lease.intended", "lease.acquired"])
def test_two_crashes_leave_no_session_behind(new_daemon, first, second):
    """A session that was found after the first crash would be forgotten in the second, and its lane given to two."""
    daemon = new_daemon().start(**{VARIABLE: first})
    with pytest.raises((OSError, HTTPException)):
        daemon.ask("fez")
    assert -signal.SIGKILL == daemon.process.wait(30)
    with suppress(AssertionError):  # it may die before it answers
        daemon.start(**{VARIABLE: second})
    assert -signal.SIGKILL == daemon.process.wait(30)
    daemon.start()
    until(lambda: not daemon.leases())

    assert ["session.opened", "session.closed"][: 2 * (first == "lease.acquired")] == sessions(daemon)


def test_no_session_is_closed_before_it_is_written_that_its_lease_ends(new_daemon):
    """After a crash a token that was refused would be good again, and start tasks in no session."""
    daemon = new_daemon().start()
    granted = daemon.ask("fez")
    with closing(sqlite3.connect(daemon.folder / "state" / "ledger.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # what is to be written has to wait
        daemon.release(granted["id"], wait_s=1)
        assert ["session.opened"] == sessions(daemon)
        daemon.kill()
    daemon.start()

    assert ["1"] == held(daemon)


def test_a_request_that_a_restart_undoes_is_asked_anew(new_daemon):
    """A job that waited for its lease when the broker was restarted was told that it is released, and failed."""
    daemon = new_daemon().start(**{VARIABLE: "lease.acquired"})
    with pytest.raises((OSError, HTTPException)):
        daemon.ask("fez")
    assert -signal.SIGKILL == daemon.process.wait(30)
    trouble = daemon.folder / "service" / "fail-release"
    trouble.touch()
    daemon.start()
    [undone] = daemon.leases()
    connection = daemon.admin().connection()
    connection.request("GET", f"/v1/leases/{undone['id']}")

    assert 404 == connection.getresponse().status
    connection.close()
    trouble.unlink()
    assert daemon.ask("fez")["id"] != undone["id"]


def test_a_task_whose_answer_was_lost_is_found_when_the_vendor_can_be_asked_again(daemon):
    """A vendor that was silent for a moment makes a task that runs one of unknown outcome."""
    service = daemon.folder / "service"
    for trouble in ("lose-task_start", "fail-find_task"):
        (service / trouble).touch()
    threading.Timer(1.0, (service / "fail-find_task").unlink).start()
    with open_resource(daemon.opening(daemon.ask("fez"), "fez")) as resource:
        task = resource.task_start(Payload.from_bytes("script", b'{"runs_s": 0}'), key="k")

        assert TaskStatus.COMPLETED is resource.task_wait(task, 30).status
    assert 1 == sum(one["event"] == "task.started" for one in vendor_log(service))
    assert [] == daemon.admin().ask_json("GET", "/v1/health")["outcome_unknown"]


@pytest.mark.parametrize("size", [0, SMALL_BYTES], ids=["small", "large"])
@pytest.mark.parametrize("point", ["task.intended", "task.submitted", "task.identified", "task.fetched", "task.ended"])
def test_a_task_of_any_size_outlives_the_broker(new_daemon, folder, point, size):
    """Payloads and results that are rows of the ledger would be lost where those that are files are not."""
    daemon = new_daemon(fake(folder / "service", type_="fake-keyed")).start()
    granted = daemon.ask("fez")
    daemon.stop()
    with suppress(AssertionError):
        daemon.start(**{VARIABLE: point})
    payload = Payload.from_bytes("script", b'{"runs_s": 0}' + size * b" ")
    with open_resource(daemon.opening(granted, "fez")) as resource:
        with suppress(BrokerUnavailable):
            resource.task_wait(resource.task_start(payload, key="k"), 20)
        assert -signal.SIGKILL == daemon.process.wait(30)
        daemon.start()
        task = resource.task_start(payload, key="k")

        assert TaskStatus.COMPLETED is resource.task_wait(task, 30).status
        assert payload.read() == resource.task_result(task)
    kept = [path.suffix for path in (folder / "state" / "spool").iterdir()]
    assert ([".result"] if size else []) == kept


@pytest.mark.parametrize("size", [0, SMALL_BYTES], ids=["small", "large"])
def test_a_stop_in_the_middle_of_a_submission_loses_nothing(new_daemon, folder, size):
    """A broker that is stopped as it should be would drop the payload, which one that crashes keeps."""
    daemon = new_daemon(fake(folder / "service", type_="fake-keyed")).start()
    hang = folder / "service" / "hang-task_start"
    payload = Payload.from_bytes("script", b'{"runs_s": 0}' + size * b" ")
    with open_resource(daemon.opening(daemon.ask("fez"), "fez")) as resource:
        hang.touch()
        asking = threading.Thread(target=suppressed, args=(resource, payload))
        asking.start()
        until(lambda: daemon.admin().ask_json("GET", "/v1/health")["open_tasks"])
        daemon.stop()
        hang.unlink()
        asking.join(30)
        daemon.start()
        task = resource.task_start(payload, key="k")

        assert TaskStatus.COMPLETED is resource.task_wait(task, 30).status
    assert 1 == sum(one["event"] == "task.started" for one in vendor_log(folder / "service"))
    assert [] == daemon.admin().ask_json("GET", "/v1/health")["outcome_unknown"]


def suppressed(resource, payload: Payload) -> None:
    """Submit, to a broker that will be stopped."""
    with suppress(BrokerUnavailable):
        resource.task_start(payload, key="k")


def test_what_is_sent_again_after_a_crash_runs_in_the_session_of_its_lease(new_daemon, folder):
    """It would run in the session that was opened last, which is another user's."""
    service = folder / "service"
    daemon = new_daemon(fake(service, type_="fake-seated", lanes=2)).start()
    granted = daemon.ask("fez")
    daemon.stop()
    daemon.start(**{VARIABLE: "task.intended"})
    payload = Payload.from_bytes("script", b'{"runs_s": 0}')
    with open_resource(daemon.opening(granted, "fez")) as resource:
        with pytest.raises(BrokerUnavailable):
            resource.task_start(payload, key="k")
        assert -signal.SIGKILL == daemon.process.wait(30)
        (service / "fail-task_start").touch()
        daemon.start()
        daemon.ask("fez", job=2)
        (service / "fail-task_start").unlink()
        task = resource.task_start(payload, key="k")
        assert TaskStatus.COMPLETED is resource.task_wait(task, 30).status
    log = vendor_log(service)

    first = next(one["token"] for one in log if one["event"] == "session.opened")
    assert [first] == [one["token"] for one in log if one["event"] == "task.seated"]
