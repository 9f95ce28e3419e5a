"""`qrmi emulate` is a sandbox: it says what to use, serves it, and leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from .client import GRANT

QRMI = Path(sys.executable).parent / "qrmi"
PREFIXES = {"ibm-da": "QRMI_IBM_DA", "ibm-qrs": "QRMI_IBM_QRS"}


@contextmanager
def emulated(*words: str, end: int = signal.SIGTERM) -> Iterator[dict[str, str]]:
    """Run the command; the variables of its first resource without their prefix, and its name."""
    process = subprocess.Popen([QRMI, "emulate", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        text = ""
        while not text.endswith("\n}\n"):
            line = process.stdout.readline()
            assert line, process.stderr.read()
            text += line
        resource = json.loads(text)["resources"][0]
        found = {name.removeprefix(f"{PREFIXES[words[0]]}_"): value for name, value in resource["environment"].items()}
        yield {"name": resource["name"], "type": resource["type"], **found}
        process.send_signal(end)
        assert 0 == process.wait(30)
        for line in process.stderr.read().splitlines():
            assert "event" in json.loads(line), line
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def headers(resource: dict[str, str]) -> dict[str, str]:
    """What a request needs."""
    form = {"grant_type": GRANT, "apikey": resource["IAM_APIKEY"]}
    token = requests.post(f"{resource['IAM_ENDPOINT']}/identity/token", data=form).json()["access_token"]
    return {"Authorization": f"Bearer {token}", "Service-CRN": resource["SERVICE_CRN"]}


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM], ids=lambda one: one.name)
@pytest.mark.parametrize(
    ("service", "type_", "path"),
    [("ibm-da", "direct-access", "/v1/backends"), ("ibm-qrs", "qiskit-runtime-service", "/backends")],
)
def test_what_it_prints_is_what_it_serves(service, type_, path, end):
    """A user would have a configuration that nothing answers to, or a server that does not end."""
    with emulated(service, "--device", "line_5", end=end) as resource:
        assert ("line_5", type_) == (resource["name"], resource["type"])
        assert requests.get(f"{resource['ENDPOINT']}{path}", headers=headers(resource)).ok
    with pytest.raises(requests.ConnectionError):
        requests.get(resource["ENDPOINT"])


def test_faults_come_from_a_file_and_from_elsewhere(tmp_path):
    """A sandbox that never fails teaches nothing about failures."""
    (tmp_path / "faults").write_text("# at first\nPOST /identity/token status=503 retry_after_s=1\n")
    with emulated("ibm-qrs", "--device", "line_5", "--faults", str(tmp_path / "faults")) as resource:
        first = requests.post(f"{resource['IAM_ENDPOINT']}/identity/token")
        assert (503, "1") == (first.status_code, first.headers["Retry-After"])
        control = resource["IAM_ENDPOINT"] + "/_emulator/faults"
        assert requests.post(control, data="GET /api/v1/backends status=500").ok
        assert 500 == requests.get(f"{resource['ENDPOINT']}/backends", headers=headers(resource)).status_code


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ibm-da", "--device", "ibm_nowhere"], "--device: there is no device 'ibm_nowhere'"),
        (["ibm-da", "--faults", "POST /v1/jobs statuss=503"], "did you mean status?"),
        (["ibm-da", "--faults", "POST /v1/job status=503"], "POST /v1/job is no request that this can happen to"),
        (["ibm-da", "--lanes", "0"], "--lanes: 0 is below 1"),
        (["ibm-da", "--port", "70000"], "--port: 70000 is above 65535"),
        (["ibm-qrs", "--plan", "gold"], "invalid choice: 'gold'"),
        (["pasqal"], "invalid choice: 'pasqal'"),
    ],
)
def test_a_wrong_word_is_refused_in_one_line(words, said):
    """A user would be shown the inside of the program, or a sandbox other than the one that was asked for."""
    done = subprocess.run([QRMI, "emulate", *words], capture_output=True, text=True)

    assert (2, "") == (done.returncode, done.stdout)
    assert said in done.stderr
    assert 1 == len(done.stderr.splitlines())


def test_a_port_that_is_taken_is_said():
    """A user would be shown the inside of the program."""
    with emulated("ibm-qrs", "--device", "line_5") as resource:
        port = resource["IAM_ENDPOINT"].rpartition(":")[2]
        done = subprocess.run([QRMI, "emulate", "ibm-qrs", "--port", port], capture_output=True, text=True)

    assert (2, "") == (done.returncode, done.stdout)
    assert (
        f"--port: cannot be used: [Errno 98] error while attempting to bind on address ('127.0.0.1', {port})"
        in done.stderr
    )


def test_without_its_extra_the_command_says_what_to_install(wheels, new_venv):
    """A user who has the test kit alone would be shown an import that failed."""
    qrmi_testkit = next(wheels.glob("qrmi_testkit-*.whl"))
    commands = new_venv("--find-links", str(wheels), str(qrmi_testkit))
    done = subprocess.run([commands / "qrmi", "emulate", "ibm-da"], capture_output=True, text=True)

    assert 2 == done.returncode
    assert 'pip install "qrmi-testkit[emulators]"' in done.stderr
