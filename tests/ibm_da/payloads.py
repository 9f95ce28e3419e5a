"""Payloads that complete, take minutes, or fail."""

from __future__ import annotations

from qrmi_core import Payload


def sampler(program: str, shots: int = 100) -> Payload:
    """A payload of one circuit."""
    parameters = {"pubs": [[program, None, shots]], "version": 2, "support_qiskit": False}
    return Payload.from_json("qiskit-primitive", {"program_id": "sampler", "parameters": parameters})


def bell(shots: int = 100) -> Payload:
    return sampler(
        'OPENQASM 3.0; include "stdgates.inc"; bit[2] meas; qubit[2] q; h q[0]; cx q[0], q[1]; meas = measure q;', shots
    )


def slow() -> Payload:
    """Each shot is a simulation of its own, and there are very many."""
    lines = ['OPENQASM 3.0; include "stdgates.inc"; bit[10] meas; bit[1] mid; qubit[10] q;']
    lines += [f"ry(0.{1 + number}) q[{number}];" for number in range(10)]
    lines += ["mid[0] = measure q[0]; reset q[0];", *(f"cx q[{n}], q[{n + 1}]; ry(0.3) q[{n}];" for n in range(9))]
    return sampler("\n".join([*lines, "meas = measure q;"]), 5_000_000)


def nonsense() -> Payload:
    """Has the shape of a payload, and a circuit that is none."""
    return sampler("OPENQASM 3.0; nonsense")
