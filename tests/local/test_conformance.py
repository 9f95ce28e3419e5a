"""Type `local` keeps the contract: the same suite that a stranger's backend passes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qrmi_core import Payload
from qrmi_testkit.conformance import ResourceConformance

DATA = Path(__file__).parents[1] / "data"


def sampler(program: str, shots: int = 100) -> Payload:
    """A payload of one circuit."""
    return Payload.from_json(
        "qiskit-primitive",
        {
            "program_id": "sampler",
            "parameters": {"pubs": [[program, None, shots]], "version": 2, "support_qiskit": False},
        },
    )


def dense(qubits: int) -> str:
    """A circuit that takes a statevector and time."""
    lines = ["OPENQASM 3.0;", 'include "stdgates.inc";', f"qubit[{qubits}] q;", f"bit[{qubits}] meas;"]
    for layer in range(12):
        lines += [f"ry({0.1 * layer + 0.37 * qubit + 0.1}) q[{qubit}];" for qubit in range(qubits)]
        lines += [f"cx q[{qubit}], q[{qubit + 1}];" for qubit in range(layer % 2, qubits - 1, 2)]
    return "\n".join([*lines, "meas = measure q;"])


class TestLocal(ResourceConformance):
    """The suite, on the simulators."""

    type = "local"
    environment = {"QRMI_LOCAL_SEED": "7"}  # noqa: RUF012 - what the suite reads

    @pytest.fixture
    def payload(self) -> Payload:
        return sampler(dense(3))

    @pytest.fixture
    def slow_payload(self) -> Payload:
        return sampler(dense(27))

    @pytest.fixture
    def failing_payload(self) -> Payload:
        return Payload.from_json("pulser", json.loads((DATA / "pulser_stiff.json").read_text()))

    @pytest.fixture
    def bad_payload(self) -> Payload:
        return sampler("OPENQASM 3.0; nonsense")
