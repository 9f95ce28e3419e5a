"""The sample payloads through the real `qrun`, in both result forms, with a fixed seed and three random ones."""

from __future__ import annotations

import json
import random

import pytest

from .physics import CHECKS, SLACK, asymmetric, bell

FIXED_SEED = "20260101"
RANDOM_SEEDS = [str(random.SystemRandom().randrange(2**32)) for _ in range(3)]
FORMS = [(name, qiskit) for name in CHECKS for qiskit in ((None,) if name.startswith("pulser") else (False, True))]


def _payload(data, tmp_path, name: str, qiskit: bool | None) -> str:
    document = json.loads((data / name).read_text())
    if qiskit is not None:
        document["parameters"]["support_qiskit"] = qiskit
    path = tmp_path / name
    path.write_text(json.dumps(document))
    return str(path)


def _run(start, payload: str, seed: str) -> tuple[int, str]:
    command = start("qrun", payload, local_QRMI_LOCAL_SEED=seed)
    status, out = command.end(60)
    assert status == 0, command.words
    return status, out


@pytest.mark.parametrize(("name", "qiskit"), FORMS)
def test_a_sample_comes_to_its_physics(start, data, tmp_path, name, qiskit):
    """A payload that other tools run would compute something else here. The seeds are in the assertion's context."""
    payload = _payload(data, tmp_path, name, qiskit)
    for seed in [FIXED_SEED, *RANDOM_SEEDS]:
        document = json.loads(_run(start, payload, seed)[1])
        CHECKS[name](document, 1.0 if seed == FIXED_SEED else SLACK)
        assert ("__type__" in document) == bool(qiskit), f"the form that was asked for (seed {seed})"


def test_a_seed_gives_the_same_result_again(start, data, tmp_path):
    """A result could not be reproduced."""
    payload = _payload(data, tmp_path, "estimator_h2.json", False)

    assert _run(start, payload, FIXED_SEED)[1] == _run(start, payload, FIXED_SEED)[1]


def test_the_check_of_bit_order_fails_for_two_swapped_qubits(start, tmp_path):
    """The checks above could not tell qubit 0 from qubit 2, and a wrong bit order would pass."""
    circuit = tmp_path / "first.qasm"
    circuit.write_text(
        'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[3] q;\nbit[3] c;\nx q[0];\nbarrier q;\nc = measure q;\n'
    )
    document = json.loads(_run(start, str(circuit), FIXED_SEED)[1])
    asymmetric(document)
    samples = document["results"][0]["data"]["c"]["samples"]
    swapped = [format((int(s, 16) & 2) | (int(s, 16) & 1) << 2 | (int(s, 16) & 4) >> 2, "#x") for s in samples]
    document["results"][0]["data"]["c"]["samples"] = swapped

    with pytest.raises(AssertionError):
        asymmetric(document)


def test_the_check_of_the_bell_pair_fails_for_an_independent_pair():
    """A simulator without entanglement would pass."""
    samples = ["0x0", "0x1", "0x2", "0x3"] * 1024
    result = {"results": [{"data": {"meas": {"samples": samples, "num_bits": 2}}, "metadata": {}}], "metadata": {}}

    with pytest.raises(AssertionError):
        bell(result)
