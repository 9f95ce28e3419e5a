"""What a backend may do against the contract without harm to anybody: it fails alone, and it is said."""

from __future__ import annotations

import pytest

from qrmi_core.client import Broker
from qrmi_core.errors import BackendFault

from .daemon import fake
from .watch import until

TOKEN = "fez_QRMI_JOB_ACQUISITION_TOKEN"


@pytest.fixture
def service(folder):
    """The folder that is the vendor's service."""
    return folder / "service"


@pytest.fixture
def daemon(new_daemon, service):
    """One whose only resource is at the evil vendor, and has one lane."""
    return new_daemon(fake(service, type_="fake-evil", lanes=1)).start()


def submitted(daemon, granted, runs_s: float = 0.0) -> tuple[Broker, str]:
    """A client of the job, and the id of a task of it."""
    broker = Broker(daemon.public, token=granted["environment"][TOKEN])
    headers = {"Qrmi-Payload-Kind": "script"}
    body = b'{"runs_s": %g}' % runs_s
    return broker, broker.ask_json("POST", "/v1/resources/fez/tasks", body=body, headers=headers)["id"]


@pytest.mark.parametrize(
    ("verb", "what", "ends"),
    [
        ("task_usage", "none", "COMPLETED"),
        ("task_usage", "interrupted", "COMPLETED"),
        ("task_status", "failed", "FAILED"),
    ],
)
def test_a_task_ends_whatever_the_backend_says(daemon, service, verb, what, ends):
    """The watch would die of it, and the lease never be released."""
    granted = daemon.ask("fez")
    (service / f"garbage-{verb}").write_text(what)
    broker, task = submitted(daemon, granted)

    until(lambda: broker.ask_json("GET", f"/v1/tasks/{task}?wait_s=5")["status"] == ends)
    assert {"state": "released"} == daemon.release(granted["id"])


@pytest.mark.parametrize("what", ["cancelled", "interrupted", "none"])
def test_a_status_that_is_none_is_asked_again(daemon, service, what):
    """One bad answer would cost a task that runs."""
    granted = daemon.ask("fez")
    (service / "garbage-task_status").write_text(what)
    broker, task = submitted(daemon, granted)
    until(lambda: "unreachable" in (broker.ask_json("GET", f"/v1/tasks/{task}")["reason"] or ""))
    (service / "garbage-task_status").unlink()

    until(lambda: broker.ask_json("GET", f"/v1/tasks/{task}?wait_s=5")["status"] == "COMPLETED")


@pytest.mark.parametrize("what", ["surrogate", "dict", "none", "cancelled"])
def test_a_session_that_cannot_be_named_is_closed(daemon, service, what):
    """It would be open at the vendor, the ledger could not hold its name, and its lane would be lost."""
    (service / "garbage-acquire").write_text(what)
    refused = daemon.ask("fez", until="failed")
    assert "BackendFault" == refused["detail"]["error"]
    (service / "garbage-acquire").unlink()

    daemon.ask("fez", job=2)
    assert 1 == len(list((service / "sessions").glob("session-*")))


@pytest.mark.parametrize("what", ["cancelled", "interrupted"])
def test_a_release_that_failed_is_not_called_released(daemon, service, what):
    """An administrator would give to the next what is not free."""
    granted = daemon.ask("fez")
    (service / "garbage-release").write_text(what)
    assert {"state": "releasing"} == daemon.release(granted["id"], wait_s=0.5)
    (service / "garbage-release").unlink()

    assert {"state": "released"} == daemon.release(granted["id"])


def test_what_was_submitted_without_an_id_is_looked_for(daemon, service):
    """A task would run that nobody follows."""
    granted = daemon.ask("fez")
    (service / "garbage-task_start").write_text("dict")

    broker, task = submitted(daemon, granted)
    until(lambda: broker.ask_json("GET", f"/v1/tasks/{task}?wait_s=5")["status"] == "COMPLETED")


def test_garbage_about_the_resource_is_the_backends_fault(daemon, service):
    """It would be a fault of the broker, and nobody would know whose to mend."""
    for verb in ("target", "metadata"):
        (service / f"garbage-{verb}").write_text("none")
        with pytest.raises(BackendFault):
            daemon.admin().ask("GET", f"/v1/resources/fez/{verb}")
