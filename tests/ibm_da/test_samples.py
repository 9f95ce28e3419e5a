"""The sample payloads of IBM's services through `qrun --qpu`, and their physics."""

from __future__ import annotations

import json

import pytest
from system.physics import CHECKS

from qrmi_core import Payload
from qrmi_core.kinds import PRIMITIVE

SAMPLES = [name for name in CHECKS if not name.startswith("pulser")]


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_comes_to_its_physics(qrun, data, name, da):
    """A payload that other tools run would compute something else here, or nothing."""
    ended = qrun(Payload.from_file(PRIMITIVE, data / name))

    assert 0 == ended.status, ended.err
    CHECKS[name](json.loads(ended.out))
    assert {} == da.jobs
