"""Two real users of one broker, neither of them root: what is the one's is not there for the other."""

from __future__ import annotations

import itertools
import json
import statistics
import time
from pathlib import Path
from typing import Any

import pytest

from qrmi_broker.spool import SMALL_BYTES
from qrmi_broker.vendor import ANSWER_S

from .daemon import Daemon, fake, vendor_log
from .users import Answer, User

KIND = {"Qrmi-Payload-Kind": "script"}
LONG = json.dumps({"runs_s": 300})
SHORT = json.dumps({"runs_s": 0})
TRIES = 15
MOST_MS = 100
"""The median of so many tries to acquire, while others keep the broker busy."""
FORGED = ("{fence}.", "{fence}." + 64 * "0", "{fence}", "{next}.{proof}", "{proof}", "999999999.{proof}", "-1.é")


@pytest.fixture
def ada(users: tuple[User, User]) -> User:
    """Who has the lease."""
    return users[0]


@pytest.fixture
def bob(users: tuple[User, User]) -> User:
    """Who has not."""
    return users[1]


@pytest.fixture
def granted(daemon: Daemon, ada: User) -> dict[str, Any]:
    """Ada's lease."""
    return daemon.ask("fez", run={"uid": ada.uid})


@pytest.fixture
def token(granted: dict[str, Any]) -> str:
    """Ada's token."""
    return token_of(granted)


@pytest.fixture
def task(daemon: Daemon, ada: User, token: str) -> str:
    """A task of Ada's that runs."""
    script = LONG + SMALL_BYTES * " "  # its payload is a file
    (answer,) = ada.ask(daemon.public, submission(script, key="secret-key"), token=token)
    assert 201 == answer.status, answer
    return answer.facts["id"]


def submission(script: str, key: str = "") -> tuple[str, str, str, dict]:
    """The request that starts a task."""
    return "POST", "/v1/resources/fez/tasks", script, KIND | ({"Idempotency-Key": key} if key else {})


def token_of(granted: dict[str, Any]) -> str:
    """The token of a granted run."""
    return granted["environment"]["fez_QRMI_JOB_ACQUISITION_TOKEN"]


def on_task(task_id: str) -> list[tuple[str, str]]:
    """All that can be asked about a task."""
    path = f"/v1/tasks/{task_id}"
    return [
        *(("GET", path), ("GET", f"{path}?wait_s=5"), ("GET", f"{path}/result"), ("GET", f"{path}/logs")),
        *(("GET", f"{path}/usage"), ("DELETE", path)),
    ]


def without(task_id: str, answers: list[Answer]) -> list[Answer]:
    """The same, whichever task they are about."""
    return [Answer(one.status, one.text.replace(task_id, "ID")) for one in answers]


def median_ms(attempt: Any) -> float:
    """What half of `TRIES` tries need at most."""
    found = []
    for number in range(TRIES):
        started = time.perf_counter()
        finish = attempt(number)
        found.append((time.perf_counter() - started) * 1000)
        finish()
    return statistics.median(found)


def test_no_user_can_read_or_stop_anothers_task(daemon, bob, task, token):
    """The second user could read or stop the first one's task, or learn from the answer that it exists."""
    unknown = task[::-1]
    for held in (None, token):
        answers = bob.ask(daemon.public, *on_task(task), token=held)

        assert [404] * 6 == [one.status for one in answers]
        assert without(unknown, bob.ask(daemon.public, *on_task(unknown), token=held)) == without(task, answers)
    assert [] == [entry for entry in vendor_log(daemon.folder / "service") if entry["event"] == "task.stopped"]


def test_the_owner_of_a_task_reads_and_stops_it(daemon, ada, task):
    """The refusals of the other tests would be refusals of everybody."""
    path = f"/v1/tasks/{task}"
    shown, logs, stopped, ended = ada.ask(
        daemon.public, ("GET", path), ("GET", f"{path}/logs"), ("DELETE", path), ("GET", f"{path}?wait_s=20")
    )

    assert (200, 200, 204, 200) == (shown.status, logs.status, stopped.status, ended.status)
    assert "CANCELLED" == ended.facts["status"]


def test_a_result_of_another_user_is_not_there(daemon, ada, bob, token):
    """The second user could read the result of a task that has ended, when only the ledger knows whose it was."""
    (started,) = ada.ask(daemon.public, submission(SHORT), token=token)
    path = f"/v1/tasks/{started.facts['id']}"
    own = ada.ask(daemon.public, ("GET", f"{path}?wait_s=20"), ("GET", f"{path}/result"))
    daemon.stop()
    daemon.start()

    assert [200, 200] == [one.status for one in own]
    assert [404] * 6 == [one.status for one in bob.ask(daemon.public, *on_task(started.facts["id"]))]


def test_a_task_of_another_user_is_not_found_by_its_key(daemon, ada, bob, task):
    """The second user could find the first one's task by its key."""
    request = ("GET", "/v1/resources/fez/tasks?key=secret-key")

    assert {"id": task} == ada.ask(daemon.public, request)[0].facts
    assert {"id": None} == bob.ask(daemon.public, request)[0].facts


def test_the_same_key_of_two_users_is_two_tasks(daemon, ada, bob, task):
    """The second user could get hold of the first one's task by submitting under its key."""
    granted = daemon.ask("fez", job=2, run={"uid": bob.uid})
    (answer,) = bob.ask(daemon.public, submission(LONG, key="secret-key"), token=token_of(granted))

    assert 201 == answer.status
    assert task != answer.facts["id"]
    assert 200 == bob.ask(daemon.public, ("GET", f"/v1/tasks/{answer.facts['id']}"))[0].status
    assert 404 == ada.ask(daemon.public, ("GET", f"/v1/tasks/{answer.facts['id']}"))[0].status


def test_a_copied_token_is_worth_nothing(daemon, ada, bob, token):
    """The second user could submit with the first one's token, or learn that it is a good one."""
    requests = (submission(SHORT), ("POST", "/v1/resources/fez/plan", SHORT, KIND))
    copied = bob.ask(daemon.public, *requests, token=token)

    assert [403, 403] == [one.status for one in copied]
    assert bob.ask(daemon.public, *requests) == copied
    assert [] == [entry for entry in vendor_log(daemon.folder / "service") if entry["event"] == "task.started"]
    assert 201 == ada.ask(daemon.public, submission(SHORT), token=token)[0].status


def test_a_copied_token_does_not_reveal_a_restricted_resource(new_daemon, folder, ada, bob):
    """The second user could see a resource that is not his to see, through the first one's token."""
    daemon = new_daemon(fake(folder / "service", allow={"users": [ada.name]})).start()
    token = token_of(daemon.ask("fez", run={"uid": ada.uid}))
    requests = [
        ("GET", f"/v1/resources/fez{rest}") for rest in ("", "?check=1", "/target", "/metadata", "/tasks?key=k")
    ]

    assert [200] * 5 == [one.status for one in ada.ask(daemon.public, *requests, token=token)]
    assert [404] * 5 == [one.status for one in bob.ask(daemon.public, *requests, token=token)]
    assert {"resources": []} == bob.ask(daemon.public, ("GET", "/v1/resources"), token=token)[0].facts


def test_a_forged_token_is_worth_nothing(daemon, ada, token):
    """Who knows the number of a lease could make its token, even the holder of another lease."""
    fence, _, proof = token.partition(".")
    refused = ada.ask(daemon.public, submission(SHORT))
    for form in FORGED:
        forged = form.format(fence=fence, next=int(fence) + 1, proof=proof)

        assert refused == ada.ask(daemon.public, submission(SHORT), token=forged.encode().decode("latin-1"))
    assert 64 == len(proof)


def test_a_token_ends_with_its_lease(daemon, ada, granted, token):
    """A program that outlives its job could go on submitting."""
    daemon.release(granted["id"])

    assert 403 == ada.ask(daemon.public, submission(SHORT), token=token)[0].status


def test_leases_are_not_there_for_users(daemon, ada, bob, granted):
    """A user could list, ask for or end leases, his own or another's: that is Slurm's and the administrator's."""
    admin = daemon.admin().socket_path
    requests = [
        *(("GET", "/v1/leases"), ("GET", f"/v1/leases/{granted['id']}"), ("DELETE", f"/v1/leases/{granted['id']}")),
        *(("POST", "/v1/leases", "{}"), ("POST", "/v1/resources/fez/drain", '{"reason": "x"}'), ("GET", "/metrics")),
        *(("GET", "/v1/usage"), ("GET", "/v1/health")),
    ]
    for user in (ada, bob):
        public = user.ask(daemon.public, *requests)
        private = user.ask(admin, *requests)

        assert {404} == {one.status for one in public}, public
        assert {("AuthorizationRefused", True)} == {
            (one.facts["error"], "admin.sock" in one.facts["message"]) for one in public
        }
        assert {Answer(0, "Permission denied")} == set(private)
    assert ["granted"] == [one["state"] for one in daemon.leases()]


def test_usage_is_not_for_users(daemon, ada):
    """A user would learn who computes what, or that nobody answers, although somebody does."""
    refused = ada.asks_usage(daemon.admin().socket_path)

    assert refused.startswith("AuthorizationRefused: ")
    assert "for root and the broker's own user" in refused


def test_what_the_broker_keeps_is_closed_to_users(daemon, ada, bob, task):
    """A user could read the ledger, the key of all tokens, another's payload, or the configuration."""
    state = daemon.folder / "state"
    kept = [path for path in state.rglob("*") if path.is_file()] + [daemon.config]
    names = {path.name for path in kept}

    assert {"ledger.sqlite", "token.key", f"{task}.payload", "qrmi_config.json"} <= names
    assert {0o600} == {path.stat().st_mode & 0o777 for path in kept}
    assert [] == [path for path in kept if bob.can_read(str(path))][:1]
    assert not ada.can_read(str(state / "spool" / f"{task}.payload"))


def test_idle_connections_of_one_user_keep_nobody_waiting(daemon, ada, bob):
    """One user with 500 connections could slow down the starting of jobs, or keep others from being served."""

    def acquire(number: int) -> Any:
        granted = daemon.ask("fez", job=100 + number, until=None)
        assert "granted" == granted["state"]
        return lambda: daemon.release(granted["id"])

    daemon.release(daemon.ask("fez", job=99)["id"])
    with bob.connected(daemon.public, 500) as opened:
        assert 500 == opened
        assert MOST_MS > median_ms(acquire)
        assert 200 == ada.ask(daemon.public, ("GET", "/v1/resources"))[0].status
        assert 200 > descriptors(daemon)


def test_a_resource_that_hangs_keeps_no_other_waiting(new_daemon, folder):
    """A vendor that does not answer could delay the jobs of all others."""
    daemon = new_daemon(fake(folder / "deaf", "deaf"), fake(folder / "service")).start()
    (folder / "deaf" / "hang-acquire").touch()
    began, jobs = time.monotonic(), itertools.count(100)
    waiting = daemon.ask("deaf", until=None)
    daemon.release(daemon.ask("fez", job=99)["id"])

    def acquire(_: int) -> Any:
        granted = daemon.ask("fez", job=next(jobs), until=None)
        assert "granted" == granted["state"]
        return lambda: daemon.release(granted["id"])

    assert "pending" == waiting["state"]
    for hangs_s in (0, ANSWER_S + 1, 60):
        time.sleep(max(0.0, began + hangs_s - time.monotonic()))
        assert MOST_MS > median_ms(acquire)
    (folder / "deaf" / "hang-acquire").unlink()


def test_a_hanging_vendor_does_not_keep_the_broker_from_stopping(new_daemon, folder):
    """An administrator's stop could wait for a vendor that does not answer, until it is killed."""
    daemon = new_daemon().start()
    (folder / "service" / "hang-acquire").touch()
    pending = daemon.ask("fez", until=None)
    started = time.monotonic()

    assert "pending" == pending["state"]
    assert 0 == daemon.stop()
    assert 15 > time.monotonic() - started


def descriptors(daemon: Daemon) -> int:
    """How many the broker holds open."""
    assert daemon.process is not None
    return len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))
