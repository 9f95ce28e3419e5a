"""No answer, no line of the log and no row of the ledger shows a secret that the vendor gives back."""

from __future__ import annotations

import json
import sqlite3
from contextlib import suppress

import pytest

from qrmi_core.errors import QrmiError
from qrmi_core.redaction import MASK

from .daemon import fake
from .test_garbage import submitted
from .watch import until

PLAIN = "canary-91bc07d4"
ODD = 'pässwörtß-Ω"quoted\\back\tand tab'
"""What JSON, and Python's repr, spell differently."""


@pytest.fixture(params=[PLAIN, ODD])
def key(request) -> str:
    """What the vendor's key is."""
    return request.param


@pytest.fixture
def daemon(new_daemon, folder, key):
    """One whose only resource is at the evil vendor."""
    service = folder / "service"
    made = new_daemon(fake(service, type_="fake-evil", environment={"QRMI_FAKE_API_KEY": key}, access="broker"))
    (service / "api_key").write_text(key)
    return made.start(QRMI_LOG_LEVEL="debug")


def texts(value: object) -> str:
    """Every text in a document, as who reads it sees it."""
    if isinstance(value, dict):
        return "\n".join(map(texts, value.values()))
    return "\n".join(map(texts, value)) if isinstance(value, list) else str(value)


def test_no_answer_shows_what_the_vendor_gave_back(daemon, folder, key):
    """A vendor that quotes our credential in a reason, a log or a fact would hand it to every user."""
    service, granted, found = folder / "service", daemon.ask("fez"), {}
    for verb, what in (("task_status", "failed"), ("task_logs", "key"), ("metadata", "keys"), ("target", "key")):
        (service / f"garbage-{verb}").write_text(what)
    broker, task = submitted(daemon, granted)
    until(lambda: broker.ask_json("GET", f"/v1/tasks/{task}?wait_s=5")["status"] == "FAILED")
    found["state"] = texts(broker.ask_json("GET", f"/v1/tasks/{task}"))
    found["logs"] = broker.ask("GET", f"/v1/tasks/{task}/logs").decode()
    found["metadata"] = texts(broker.ask_json("GET", "/v1/resources/fez/metadata"))
    found["target"] = broker.ask("GET", "/v1/resources/fez/target").decode()
    with pytest.raises(QrmiError) as failed:
        broker.ask("GET", f"/v1/tasks/{task}/result")
    found["error"] = f"{failed.value.args} {failed.value}"

    assert [] == [where for where, text in found.items() if key in text or repr(key)[1:-1] in text]
    assert [] == [where for where, text in found.items() if MASK not in text]
    (row,) = sqlite3.connect(folder / "state" / "ledger.sqlite").execute("SELECT * FROM tasks").fetchall()
    assert key not in texts(list(row))
    assert MASK in texts(list(row))


def test_no_refusal_shows_it(daemon, folder, key):
    """The same for errors: of a submission, and of a lease."""
    service = folder / "service"
    granted = daemon.ask("fez")
    (service / "garbage-task_start").write_text("refusal")
    with suppress(QrmiError):
        submitted(daemon, granted)
    for verb in ("acquire", "metadata"):
        (service / f"garbage-{verb}").write_text("refusal")
    refused = daemon.ask("fez", job=2, until="failed")
    with pytest.raises(QrmiError) as failed:
        daemon.admin().ask("GET", "/v1/resources/fez/metadata")

    assert MASK in refused["error"]
    assert key not in texts(refused)
    assert key not in f"{failed.value.args}"
    lines = [texts(json.loads(line)) for line in daemon.words.splitlines() if line.startswith("{")]
    assert [] == [line for line in lines if key in line]
