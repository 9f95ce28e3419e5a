"""One user's questions, payloads and waiting keep no other from his lease and his task."""

from __future__ import annotations

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from qrmi_broker import asker
from qrmi_core import AuthorizationRefused, Payload, TaskCancelled
from qrmi_core.client import Broker, open_brokered

from .daemon import fake, vendor_log
from .test_garbage import TOKEN, submitted
from .watch import until

SOON_S = 10.0
"""Far below the 30 s after which a silent vendor is given up."""


def asked(path: str, request: bytes) -> socket.socket:
    """A connection on which *request* was sent."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(path)
    connection.sendall(request)
    return connection


def test_questions_to_a_hanging_vendor_keep_no_lease_and_no_task_waiting(daemon, folder):
    """Anybody who may see a resource could take it from all others, for half a minute with each round."""
    (folder / "service" / "hang-is_accessible").touch()
    (folder / "service" / "hang-target").touch()
    wanted = [b"GET /v1/resources/fez?check=1", b"GET /v1/resources/fez/target"]
    asking = [asked(daemon.public, wanted[one % 2] + b" HTTP/1.1\r\nHost: q\r\n\r\n") for one in range(300)]
    started = time.monotonic()

    granted = daemon.ask("fez")
    submitted(daemon, granted)
    assert {"state": "released"} == daemon.release(granted["id"])
    assert SOON_S > time.monotonic() - started
    for connection in asking:
        connection.close()
    for verb in ("is_accessible", "target"):
        (folder / "service" / f"hang-{verb}").unlink()


def test_a_flood_of_submissions_keeps_no_other_waiting(new_daemon, folder):
    """One user with a lease would take the resource from all others, and keep their leases from their end."""
    daemon = new_daemon(fake(folder / "service", lanes=3, environment={"QRMI_FAKE_START_S": "1"})).start()
    flooding = daemon.ask("fez")
    other = daemon.ask("fez", job=2, run={"uid": 1})
    head = f"POST /v1/resources/fez/tasks HTTP/1.1\r\nHost: q\r\nAuthorization: Bearer {flooding['environment'][TOKEN]}"
    body = '\r\nQrmi-Payload-Kind: script\r\nContent-Length: 13\r\n\r\n{"runs_s": 0}'
    sending = [asked(daemon.public, f"{head}{body}".encode()) for _ in range(400)]
    until(lambda: daemon.admin().ask_json("GET", "/v1/health")["open_tasks"] > 350)
    started = time.monotonic()

    daemon.ask("fez", job=3, run={"uid": 2})
    assert {"state": "released"} == daemon.release(other["id"])
    assert {"state": "released"} == daemon.release(flooding["id"])
    assert SOON_S > time.monotonic() - started
    assert 0 == daemon.admin().ask_json("GET", "/v1/health")["open_tasks"]
    for connection in sending:
        connection.close()


@pytest.fixture
def behind(new_daemon, folder):
    """A broker at whose vendor four submissions of a user hang, and his fifth, of another job, that waits for them."""
    daemon = new_daemon(fake(folder / "service", lanes=3)).start()
    (folder / "service" / "hang-task_start").touch()
    payload = Payload.from_json("script", {"runs_s": 0})
    hanging, waiting = daemon.ask("fez"), daemon.ask("fez", job=2)
    with ThreadPoolExecutor(5) as pool, ExitStack() as opened:
        first, second = (opened.enter_context(open_brokered(daemon.opening(one, "fez"))) for one in (hanging, waiting))
        asking = [pool.submit(first.task_start, payload, key=f"hangs-{number}") for number in range(4)]
        until(lambda: 4 == daemon.admin().ask_json("GET", "/v1/health")["open_tasks"])
        fifth = pool.submit(second.task_start, payload, key="waits")
        until(lambda: 5 == daemon.admin().ask_json("GET", "/v1/health")["open_tasks"])
        yield daemon, waiting, second, fifth
        (folder / "service" / "hang-task_start").unlink()
        assert 4 == len({one.result(30) for one in asking})
    assert 4 == sum(one["event"] == "task.started" for one in vendor_log(folder / "service"))


def test_a_lease_does_not_wait_for_a_submission_that_waits_itself(behind):
    """A task that was never sent would hold a lane for as long as the vendor hangs."""
    daemon, waiting, _, fifth = behind
    started = time.monotonic()

    assert {"state": "released"} == daemon.release(waiting["id"])
    assert SOON_S > time.monotonic() - started
    with pytest.raises(AuthorizationRefused, match="has ended"):
        fifth.result(10)


def test_a_submission_that_waits_can_be_stopped(behind):
    """A task that was cancelled would be sent afterwards, and paid for."""
    _, _, resource, fifth = behind
    resource.task_stop(resource.find_task("waits"))

    with pytest.raises(TaskCancelled):
        fifth.result(10)


def test_a_flood_of_stops_is_one_stop(new_daemon, folder):
    """One user's cancels of one task, again and again, would keep the leases of all others waiting."""
    service = folder / "service"
    daemon = new_daemon(fake(service)).start()
    broker, task = submitted(daemon, daemon.ask("fez"), runs_s=300)
    (service / "hang-task_stop").touch()
    request = f"DELETE /v1/tasks/{task} HTTP/1.1\r\nHost: q\r\n\r\n".encode()
    asking = [asked(daemon.public, request) for _ in range(100)]
    started = time.monotonic()

    daemon.release(daemon.ask("fez", job=2)["id"])
    assert SOON_S > time.monotonic() - started
    (service / "hang-task_stop").unlink()
    assert {b"HTTP/1.1 204"} == {connection.recv(12) for connection in asking}
    assert "CANCELLED" == broker.ask_json("GET", f"/v1/tasks/{task}?wait_s=20")["status"]
    for connection in asking:
        connection.close()
    assert 2 >= sum(one["event"] == "task.stopped" for one in vendor_log(service))


def test_an_import_that_hangs_holds_up_no_other_resource(new_daemon, folder):
    """All acquires would wait for the one distribution that lies on a dead file system."""
    slow = fake(folder / "slow", name="slow", type_="fake-slow-import")
    daemon = new_daemon(fake(folder / "service"), slow).start(SLOW_IMPORT=str(folder / "hangs"))
    (folder / "hangs").touch()
    request = b"GET /v1/resources/slow HTTP/1.1\r\nHost: q\r\n\r\n"
    asking = [asked(daemon.public, request) for _ in range(60)]
    started = time.monotonic()

    daemon.ask("fez")
    assert SOON_S > time.monotonic() - started
    (folder / "hangs").unlink()
    assert {b"HTTP/1.1 200 OK"} == {connection.recv(15) for connection in asking}


def test_payloads_that_announce_no_length_count(daemon, folder):
    """A user could fill the spool, whatever the limit on bytes under way."""
    token = daemon.ask("fez")["environment"][TOKEN]
    head = f"POST /v1/resources/fez/tasks HTTP/1.1\r\nHost: q\r\nAuthorization: Bearer {token}\r\n"
    head += "Qrmi-Payload-Kind: script\r\nTransfer-Encoding: chunked\r\n\r\n"
    size = 60 << 20
    chunk = b"%x\r\n" % (1 << 20) + bytes(1 << 20) + b"\r\n"
    sending = [asked(daemon.public, head.encode()) for _ in range(asker.BYTES_IN_FLIGHT // size + 2)]
    answers = []
    for connection in sending:
        for _ in range(size >> 20):
            connection.sendall(chunk)
        connection.settimeout(0.2)
        try:
            answers.append(connection.recv(12))
        except TimeoutError:
            continue

    assert b"HTTP/1.1 503" in answers
    assert asker.BYTES_IN_FLIGHT >= sum(path.stat().st_size for path in (folder / "state" / "spool").iterdir())
    for connection in sending:
        connection.close()
    until(lambda: not list((folder / "state" / "spool").iterdir()))


def test_a_long_poll_that_timed_out_leaves_nothing_behind(daemon):
    """A script that polls a task for a day would fill the broker's memory."""
    broker, task = submitted(daemon, daemon.ask("fez"), runs_s=300)

    def grows_kb(polls: int) -> int:
        before = resident_kb(daemon.process.pid)
        for _ in range(polls):
            broker.ask_json("GET", f"/v1/tasks/{task}?wait_s=0.0001")
        return resident_kb(daemon.process.pid) - before

    grows_kb(200)
    assert 1500 > grows_kb(2000)


def resident_kb(pid: int) -> int:
    """How much memory a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


@pytest.mark.parametrize("header", ["Idempotency-Key", "Qrmi-Payload-Kind", "Qrmi-Payload-Source"])
def test_a_header_that_is_no_text_is_refused(daemon, header):
    """It would be answered as a fault of the broker."""
    token = daemon.ask("fez")["environment"][TOKEN]
    given = {"Qrmi-Payload-Kind": b"script", header: b"a\xff"}
    lines = b"".join(name.encode() + b": " + value + b"\r\n" for name, value in given.items())
    head = f"POST /v1/resources/fez/tasks HTTP/1.1\r\nHost: q\r\nAuthorization: Bearer {token}\r\n".encode()

    with asked(daemon.public, head + lines + b"Content-Length: 2\r\n\r\n{}") as connection:
        assert b"HTTP/1.1 422" == connection.recv(12)


def test_who_asks_without_a_lease_is_answered_too(daemon):
    """The answer that all share would be lost when the first who asked has gone."""
    asked(daemon.public, b"GET /v1/resources/fez?check=1 HTTP/1.1\r\nHost: q\r\n\r\n").close()

    assert Broker(daemon.public).ask_json("GET", "/v1/resources/fez?check=1")["is_accessible"]
