"""Short tasks: their results come with their end, and their ends are written after their ids."""

from __future__ import annotations

import os
import sqlite3
import threading
import time

import pytest

from qrmi_broker.spool import SMALL_BYTES
from qrmi_core import Payload, ResourceUnavailable, TaskFailed, TaskNotReady, TaskStatus, open_resource

from .daemon import KEY, fake, vendor_log
from .watch import until


def test_a_small_one_comes_with_the_end(daemon):
    """A task of a few milliseconds costs a question more than it has to."""
    sent = Payload.from_json("script", {"runs_s": 0})
    with open_resource(daemon.opening(daemon.ask("fez"), "fez")) as resource:
        task = resource.task_start(sent, key="small")
        resource.task_wait(task, 30)
        daemon.stop()

        assert sent.read() == resource.task_result(task)


def test_a_large_one_is_asked_for_when_it_is_wanted(daemon):
    """Who only waits for a task would be sent all that it computed."""
    sent = Payload.from_json("script", {"runs_s": 0, "pad": "x" * SMALL_BYTES})
    with open_resource(daemon.opening(daemon.ask("fez"), "fez")) as resource:
        task = resource.task_start(sent, key="large")
        said = daemon.admin().ask_json("GET", f"/v1/tasks/{task}?wait_s=30&result=1")

        assert (TaskStatus.COMPLETED, False) == (said["status"], "result" in said)
        assert sent.read() == resource.task_result(task)


def test_it_is_not_changed_by_what_looks_like_a_secret_in_it(daemon):
    """A result in base64 that is masked on its way is no base64 any longer."""
    sent = Payload.from_json("script", {"runs_s": 0, "note": KEY})
    with open_resource(daemon.opening(daemon.ask("fez"), "fez")) as resource:
        task = resource.task_start(sent, key="secret")
        resource.task_wait(task, 30)

        assert sent.read() == resource.task_result(task)


def test_one_that_is_there_before_the_ledger_can_be_written_is_not_lost(daemon):
    """The end would be written first, and the id after it: a task that has ended would run for ever."""
    service = daemon.folder / "service"
    sent = Payload.from_json("script", {"runs_s": 0})
    with open_resource(daemon.opening(daemon.ask("fez"), "fez")) as resource:
        (service / "hang-task_start").touch()
        started: list[str] = []
        asking = threading.Thread(target=lambda: started.append(resource.task_start(sent, key="early")))
        asking.start()
        until(lambda: resource.find_task("early"))
        other = sqlite3.connect(daemon.folder / "state" / "ledger.sqlite", isolation_level=None)
        time.sleep(0.2)  # its intent is written
        other.execute("BEGIN IMMEDIATE")
        (service / "hang-task_start").unlink()
        until(lambda: "ledger.unavailable" in daemon.words, 30)
        other.execute("ROLLBACK")
        other.close()
        asking.join(30)

        assert TaskStatus.COMPLETED is resource.task_wait(started[0], 30).status
        daemon.kill()
        daemon.start()
        assert TaskStatus.COMPLETED is resource.task_status(started[0]).status
        assert sent.read() == resource.task_result(started[0])
    assert 1 == sum(one["event"] == "task.started" for one in vendor_log(service))


def test_processes_that_were_forked_read_their_own(daemon):
    """They would share their parent's connection, and take each other's answers."""
    with open_resource(daemon.opening(daemon.ask("fez"), "fez")) as resource:
        resource.is_accessible()  # a connection is kept
        children = []
        for number in range(4):
            children.append(os.fork())
            if children[-1] == 0:
                os._exit(differing(resource, number))
        ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]

    assert [0, 0, 0, 0] == ends


def differing(resource, number: int) -> int:
    """How many results of this process are not its own; 100, if it was interrupted."""
    wrong = 0
    try:
        for index in range(10):
            sent = Payload.from_json("script", {"runs_s": 0, "of": f"{number}-{index}"})
            task = resource.task_start(sent, key=f"{number}-{index}")
            resource.task_wait(task, 30)
            wrong += resource.task_result(task) != sent.read()
    except Exception:
        return 100
    return wrong


def test_a_task_that_is_still_being_submitted_has_no_logs_yet(daemon):
    """The backend would be asked for the logs of nothing, and its maintainers be blamed for what it makes of that."""
    hang = daemon.folder / "service" / "hang-task_start"
    with open_resource(daemon.opening(daemon.ask("fez"), "fez")) as resource:
        hang.touch()
        sent = Payload.from_json("script", {"runs_s": 0})
        asking = threading.Thread(target=lambda: resource.task_start(sent, key="slow"))
        asking.start()
        until(lambda: resource.find_task("slow"))
        task = str(resource.find_task("slow"))
        try:
            for asked in (resource.task_logs, resource.task_result):
                with pytest.raises(TaskNotReady):
                    asked(task)
            with pytest.raises(TaskNotReady, match="it is still being submitted"):
                resource.task_logs(task)
        finally:
            hang.unlink()
            asking.join()

        assert f"the script of {vendor_log(daemon.folder / 'service')[-1]['task']}" == resource.task_logs(task)


def test_a_task_of_unknown_outcome_has_no_logs_and_says_why(new_daemon, folder):
    """The same, for ever: nobody knows what the vendor calls it, if it has it."""
    daemon = new_daemon(fake(folder / "service", type_="fake-blind")).start()
    (folder / "service" / "lose-task_start").touch()
    with open_resource(daemon.opening(daemon.ask("fez"), "fez")) as resource:
        with pytest.raises(ResourceUnavailable):
            resource.task_start(Payload.from_json("script", {"runs_s": 0}), key="lost")
        task = str(resource.find_task("lost"))
        for asked in (resource.task_logs, resource.task_result):
            with pytest.raises(TaskFailed, match="whether it was submitted is not known"):
                asked(task)
