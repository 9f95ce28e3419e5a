"""The other side of the comparison: Aer's SamplerV2, called directly, in a process of its own.

Prints the payload of its circuit, then one duration in seconds for each line it reads.
"""

from __future__ import annotations

import base64
import io
import json
import sys
import time
import zlib

from qiskit import QuantumCircuit, qpy
from qiskit_aer.primitives import SamplerV2

QUBITS, SHOTS = 20, 4096


def circuit(name: str) -> QuantumCircuit:
    """A GHZ state, or one with rotations that no stabilizer simulation can do."""
    made = QuantumCircuit(QUBITS)
    made.h(0)
    for qubit in range(QUBITS - 1):
        made.cx(qubit, qubit + 1)
        if name != "GHZ":
            made.ry(0.3 + 0.1 * qubit, qubit)
    made.measure_all()
    return made


def main() -> None:
    """Serve until standard input ends."""
    made = circuit(sys.argv[1])
    buffer = io.BytesIO()
    qpy.dump(made, buffer)
    encoded = {"__type__": "QuantumCircuit", "__value__": base64.b64encode(zlib.compress(buffer.getvalue())).decode()}
    parameters = {"pubs": [[encoded, None, SHOTS]], "version": 2, "support_qiskit": True, "options": {}}
    print(json.dumps({"program_id": "sampler", "parameters": parameters}), flush=True)
    sampler = SamplerV2()
    for _ in sys.stdin:
        started = time.perf_counter()
        sampler.run([made], shots=SHOTS).result()
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
