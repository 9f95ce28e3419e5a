"""qiskit-ibm-runtime from PyPI, unmodified and in an environment of its own, is content with the emulated service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "foreign"
CONSTRAINTS = Path(__file__).parents[2] / ".ci" / "constraints.txt"


@pytest.fixture(scope="module")
def peer(tmp_path_factory) -> Path:
    """The Python of an environment that has the library, and no part of ours."""
    place = tmp_path_factory.mktemp("peer") / "venv"
    python = place / "bin" / "python"
    for words in (
        ["venv", "-q", "--python", sys.executable, str(place)],
        ["pip", "install", "-q", "--python", str(python), "-c", str(CONSTRAINTS), "qiskit-ibm-runtime"],
    ):
        done = subprocess.run([sys.executable, "-m", "uv", *words], capture_output=True, text=True)
        assert 0 == done.returncode, done.stderr
    return python


@pytest.fixture(scope="module")
def report(peer, service_of_qrs, tmp_path_factory) -> dict:
    """What the workload of `foreign/workload.py` came to."""
    account = service_of_qrs.options.account
    done = subprocess.run(
        [peer, HERE / "workload.py", service_of_qrs.url, account.api_key, account.crn],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path_factory.mktemp("home"))},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return json.loads(done.stdout)


def is_bell(counts: dict[str, int]) -> bool:
    """Only 00 and 11, each 50 +- 3 %, or four standard deviations where there are fewer shots."""
    shots = sum(counts.values())
    slack = max(0.03, 2 / shots**0.5)
    return {"00", "11"} == set(counts) and abs(counts["00"] / shots - 0.5) <= slack


def test_the_service_and_its_backends_are_found(report):
    """The library refuses a backend whose documents it cannot read."""
    assert ["ibm_fez", "ibm_torino"] == report["backends"]
    assert (133, True) == (report["qubits"], report["operational"])
    assert report["least_busy"] in report["backends"]
    assert "usage_limit_seconds" in report["usage"]


@pytest.mark.parametrize("where", ["alone", "again", "in_session"])
def test_a_sampler_gets_a_bell_pair(report, where):
    """The library could not read the results, or they would be wrong."""
    assert 4096 == sum(report[where].values())
    assert is_bell(report[where])


def test_a_batch_gets_bell_pairs(report):
    """The library could not read the results, or they would be wrong."""
    assert 3 == len(report["in_batch"])
    assert all(is_bell(counts) for counts in report["in_batch"])
    assert "batch" == report["batch_mode"]


def test_an_estimator_gets_the_energy_of_hydrogen(report):
    """The library could not read the results, or they would be wrong."""
    assert abs(report["energy"] - -1.857) <= 0.05  # five standard errors


def test_a_session_is_what_was_asked_for_and_is_closed_in_the_end(report, service_of_qrs):
    """A session would stay open, and somebody would pay."""
    assert ["dedicated", 600] == report["session"][:2]
    assert "Closed" == report["session_after"]
    assert all(session.is_closed for session in service_of_qrs.sessions.values())
    assert [["in-a-session"]] == report["tagged"]


def test_a_job_can_be_looked_into(report):
    """What a job was, did and cost could not be asked for."""
    assert {"timestamps", "usage"} <= set(report["metrics"])
    assert "pubs" in report["inputs"]
    assert "completed" in report["logs"]


def test_a_job_is_cancelled_and_deleted(report, service_of_qrs):
    """A cancelled job would run on."""
    assert "CANCELLED" == report["cancelled"]
    assert 0 == report["pending"]
    assert 1 == service_of_qrs.requests.count("DELETE", "/api/v1/jobs/{id}")


def test_a_failure_shows_its_reason(report):
    """A user would not know why."""
    status, message = report["failed"]

    assert "ERROR" == status
    assert "the fridge is warm" in message
