"""Direct Access behind the broker: the same promises, no credential in the job, and more tasks than lanes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
import uuid
from pathlib import Path

import pytest
from broker.daemon import BIN, Daemon, short_folder
from ibm_da.payloads import bell, nonsense, slow

from qrmi_core import Opening, Payload, TaskStatus, open_resource
from qrmi_core.redaction import spellings
from qrmi_testkit import emulators
from qrmi_testkit.conformance import ResourceConformance

NAME = "test-direct-access"


def entry(service, name: str = NAME) -> dict:
    """A resource of a broker's configuration."""
    environment = service.environment("ibm_torino") | {"QRMI_IBM_DA_BACKEND": "ibm_torino"}
    return {"name": name, "type": "direct-access", "environment": environment}


class TestBrokered(ResourceConformance):
    """The suite, through the socket of a real broker."""

    type = "direct-access"

    @pytest.fixture(scope="class")
    @classmethod
    def service(cls):
        with emulators.direct_access(lanes=10) as service:
            yield service

    @pytest.fixture(scope="class")
    @classmethod
    def opening(cls, service) -> Opening:
        with short_folder() as folder:
            daemon = Daemon(Path(folder), [entry(service)]).start()
            yield daemon.opening(daemon.ask(NAME), NAME)
            daemon.stop()

    @pytest.fixture
    def payload(self) -> Payload:
        return bell()

    @pytest.fixture
    def slow_payload(self) -> Payload:
        return slow()

    @pytest.fixture
    def failing_payload(self) -> Payload:
        return nonsense()

    @pytest.fixture
    def task_count(self, service):
        return lambda: len(service.submitted)


del ResourceConformance


@pytest.fixture
def service():
    """A service of three lanes."""
    with emulators.direct_access(lanes=3) as service:
        yield service


@pytest.fixture
def daemon(service):
    """A broker with one resource of it."""
    with short_folder() as folder:
        daemon = Daemon(Path(folder), [entry(service)]).start()
        yield daemon
        daemon.stop()


def test_more_tasks_than_lanes_all_complete_through_the_broker(service, daemon):
    """One job starts thirty tasks on three lanes: each runs once, and the service is asked a quarter as often as by
    somebody who asks for each task once a second.
    """
    with open_resource(daemon.opening(daemon.ask(NAME), NAME)) as resource:
        began = time.monotonic()
        tasks = [resource.task_start(bell(), key=uuid.uuid4().hex) for _ in range(30)]
        ends: list[TaskStatus] = []
        threads = [
            threading.Thread(target=lambda one=one: ends.append(resource.task_wait(one, 120).status)) for one in tasks
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()

        assert [TaskStatus.COMPLETED] * 30 == ends
        assert time.monotonic() - began < 60
        assert all(resource.task_result(one) for one in tasks)
    assert 30 == len(service.submitted)
    assert {} == service.jobs


def test_a_task_outlives_the_broker(service, daemon):
    """A broker that is killed while a task runs finds it again, and nothing runs twice."""
    service.faults.add("POST", "/v1/jobs", service_s=1.5)
    granted = daemon.ask(NAME)
    with open_resource(daemon.opening(granted, NAME)) as resource:
        task_id = resource.task_start(bell(), key="one")
        daemon.kill()
        daemon.start()

        assert task_id == resource.task_start(bell(), key="one")
        assert resource.task_wait(task_id, 60).status is TaskStatus.COMPLETED
        assert resource.task_result(task_id)
    assert 1 == len(service.submitted)


def test_no_credential_is_in_the_job(service, daemon, tmp_path):
    """`qrun` in a job has a result, and nothing it was given, or said, holds a key."""
    granted = daemon.ask(NAME)
    payload = tmp_path / "bell.json"
    payload.write_bytes(bell().read())
    environment = {**os.environ, **granted["environment"]}
    done = subprocess.run([BIN / "qrun", payload], env=environment, capture_output=True, text=True)

    assert 0 == done.returncode, done.stderr
    assert "results" in json.loads(done.stdout)
    seen = json.dumps(granted) + done.stderr + done.stdout + daemon.words
    for secret in (service.options.account.api_key, service.storage.secret_key):
        assert [] == [one for one in spellings(secret) if one in seen]


def test_who_overrides_only_the_endpoint_reads_one_sentence_and_nobody_hears_of_it(service, daemon, tmp_path):
    """He would read seven, about variables that he never named; or the site's key would go where he says."""
    payload = tmp_path / "bell.json"
    payload.write_bytes(bell().read())
    granted = daemon.ask(NAME)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        own = {f"{NAME}_QRMI_IBM_DA_ENDPOINT": f"http://127.0.0.1:{listener.getsockname()[1]}"}
        environment = {**os.environ, **granted["environment"], **own}
        done = subprocess.run([BIN / "qrun", payload], env=environment, capture_output=True, text=True)
        listener.settimeout(0.1)
        with pytest.raises(TimeoutError):  # whoever had come would stand in its queue
            listener.accept()

    assert (2, "") == (done.returncode, done.stdout)
    (line,) = (line for line in done.stderr.splitlines() if not line.startswith("{"))
    missing = ["IAM_APIKEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
    missing += ["IAM_ENDPOINT", "SERVICE_CRN", "S3_ENDPOINT", "S3_BUCKET"]
    *some, last = (f"QRMI_IBM_DA_{suffix}" for suffix in missing)
    assert f"{', '.join(some)} and {last} are missing. Set them all" in line
    assert "QRMI_IBM_DA_ENDPOINT, set by you in place of the site's settings" in line
    for secret in (service.options.account.api_key, service.storage.secret_key):
        assert [] == [one for one in spellings(secret) if one in done.stderr]
