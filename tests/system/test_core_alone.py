"""The core without any backend: its wheel in an empty environment, used from a folder that is not ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("numpy", "qiskit", "pulser", "boto3", "requests")
LATE = {"attrs", "attr", "cattrs", "structlog", "stevedore", "asyncio"}
"""What is not imported before a command is chosen."""


@pytest.fixture(scope="module")
def commands(wheels, tmp_path_factory) -> Path:
    """The folder of commands of an environment with nothing but the core and what it needs."""
    place = tmp_path_factory.mktemp("core") / "venv"
    (wheel,) = wheels.glob("qrmi_core-*.whl")
    for words in (
        ["venv", "-q", "--python", sys.executable, str(place)],
        ["pip", "install", "-q", "--python", str(place / "bin" / "python"), str(wheel)],
    ):
        subprocess.run([sys.executable, "-m", "uv", *words], check=True, capture_output=True)
    return place / "bin"


@pytest.fixture
def run(commands, tmp_path):
    """Run one of the commands in tmp_path."""

    def run_(command: str, *words: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PATH": f"{commands}:/usr/bin:/bin"}
        return subprocess.run([commands / command, *words], cwd=tmp_path, env=env, capture_output=True, text=True)

    return run_


def test_nothing_heavy_is_installed(run):
    """The core needs no array, no SDK of a vendor and no HTTP library."""
    for name in HEAVY:
        assert 0 != run("python", "-P", "-c", f"import {name}").returncode, name


def test_a_task_without_a_backend_is_told_what_to_install(run, tmp_path):
    """The first command a newcomer types ends with 2 and the distribution to install, and no traceback."""
    (tmp_path / "x.json").write_text('{"program_id": "sampler", "parameters": {"pubs": [["OPENQASM 3.0;"]]}}')
    done = run("qrun", "x.json")

    assert (2, "") == (done.returncode, done.stdout)
    assert 'pip install "qrmi-local"' in done.stderr
    assert 1 == len(done.stderr.splitlines())


def test_a_configured_type_without_its_backend_is_told_what_to_install(run, tmp_path):
    """The same for a resource of a configuration file: its type leads to the distribution."""
    (tmp_path / "x.json").write_text('{"program_id": "sampler", "parameters": {"pubs": [["OPENQASM 3.0;"]]}}')
    (tmp_path / "c.json").write_text('{"resources": [{"name": "fez", "type": "direct-access"}]}')
    done = run("qrun", "--config", "c.json", "x.json")

    assert (2, "") == (done.returncode, done.stdout)
    assert 'pip install "qrmi-ibm-da"' in done.stderr
    assert "[error-backend-not-installed]" in done.stderr


@pytest.mark.parametrize("command", ["qrmi", "qrun", "qrmi_task_runner"])
def test_help_is_there(run, command):
    """Every command explains itself."""
    done = run(command, "--help")

    assert (0, "") == (done.returncode, done.stderr)
    assert f"usage: {command}" in done.stdout


@pytest.mark.parametrize("command", ["qrmi", "qrun", "qrmi_task_runner"])
def test_help_is_instant(run, commands, command):
    """No library is imported that a parser does not need."""
    done = run("python", "-X", "importtime", str(commands / command), "--help")
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}

    assert 0 == done.returncode, done.stderr
    assert "argparse" in imported
    assert set() == imported & LATE


def test_the_doctor_finds_nothing_wrong(run):
    """A core without backends is in order, and the doctor says how to get one."""
    done = run("qrmi", "doctor")

    assert 0 == done.returncode, done.stdout + done.stderr
    assert 'pip install "qrmi-local"' in done.stdout
    assert "WRONG" not in done.stdout


def test_a_configuration_is_checked(run, tmp_path):
    """Its form is checked; what only a missing backend could check is noted, and is no fault."""
    (tmp_path / "good.json").write_text('{"resources": [{"name": "sim", "type": "local"}]}')
    (tmp_path / "bad.json").write_text('{"resources": [{"name": "sim", "typ": "local"}]}')
    good, bad, none = (run("qrmi", "config", "check", *words) for words in (["good.json"], ["bad.json"], []))

    assert 0 == good.returncode
    assert 'pip install "qrmi-local"' in good.stderr
    assert 2 == bad.returncode
    assert "resources[0]" in bad.stderr
    assert 2 == none.returncode
    assert "QRMI_CONFIG" in none.stderr


def test_the_schema_is_json(run):
    """Also where no backend adds its settings."""
    done = run("qrmi", "config", "schema")

    assert 0 == done.returncode
    assert {"resources", "unknown", "grant"} == set(json.loads(done.stdout)["properties"])


def test_no_resources_is_an_answer(run):
    """The list is empty, and says how to fill it; for programs it is an empty list."""
    words, numbers = run("qrmi", "resources"), run("qrmi", "resources", "--json")

    assert (0, 0) == (words.returncode, numbers.returncode)
    assert 'pip install "qrmi-local"' in words.stdout
    assert [] == json.loads(numbers.stdout)


@pytest.mark.parametrize("form", ["plain", "qiskit"])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sampler_bell", ["pub 0, meas: 4096 shots", "11", "2051", "00", "2045"]),
        ("estimator_broadcast", ["pub 0", "[0, 0]", "+1.000000 +- 0.020000", "[1, 2]", "-0.551612"]),
    ],
)
def test_a_result_of_a_primitive_is_shown(run, data, name, form, expected):
    """Counts and expectation values, plain and as Qiskit encodes them, without numpy."""
    done = run("qrmi", "result", "show", str(data / f"result_{name}_{form}.json"))

    assert (0, "") == (done.returncode, done.stderr)
    for words in expected:
        assert words in done.stdout


def test_a_result_of_a_sequence_is_shown(run, tmp_path):
    """Pulser's counter."""
    (tmp_path / "r.json").write_text('{"counter": {"01": 30, "10": 70}}')
    done = run("qrmi", "result", "show", "r.json")

    assert 0 == done.returncode
    assert ["10", "01"] == [line.split()[0] for line in done.stdout.splitlines()[1:]]


def test_a_picture_without_matplotlib_says_what_to_install(run, data):
    """The picture is an extra, and its absence has a remedy."""
    done = run("qrmi", "result", "plot", str(data / "result_sampler_bell_plain.json"), "-o", "bell.png")

    assert 2 == done.returncode
    assert 'pip install "qrmi-core[plot]"' in done.stderr
