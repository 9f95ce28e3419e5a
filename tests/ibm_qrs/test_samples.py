"""Every sample payload through the real `qrun` and the emulated service comes to its physics."""

from __future__ import annotations

import json

import pytest
from system.commands import Command
from system.physics import CHECKS

from .service import DEVICE, TYPE

SAMPLES = [name for name in CHECKS if not name.startswith("pulser")]


@pytest.fixture
def config(running, tmp_path):
    """A configuration with the emulated processor."""
    path = tmp_path / "qrmi_config.json"
    entry = {"name": DEVICE, "type": TYPE, "environment": running.environment(DEVICE)}
    path.write_text(json.dumps({"resources": [entry]}))
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_comes_to_its_physics(running, config, data, tmp_path, name):
    """A payload that other tools run would compute something else through the service."""
    command = Command("qrun", str(data / name), "--qpu", DEVICE, "--config", str(config), cwd=tmp_path)
    status, out = command.end(60)

    assert 0 == status, command.stderr
    CHECKS[name](json.loads(out))
    assert [] == running.open_sessions
    assert "canary" not in out + "".join(command.stderr)


def test_the_command_finds_what_the_credential_reaches(running, config, tmp_path):
    """Whoever configures a resource does not know how its processor is called."""
    command = Command("qrmi", "resources", "--discover", "--json", "--config", str(config), cwd=tmp_path)
    status, out = command.end(60)

    assert 0 == status, command.stderr
    (row,) = json.loads(out)
    assert (DEVICE, "online", 133, 0) == (row["device"], row["status"], row["qubits"], row["queue"])
