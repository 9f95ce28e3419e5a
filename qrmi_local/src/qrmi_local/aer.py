"""How Aer simulates one circuit: by which method, with what noise, in how much memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.result import Result
from qiskit_aer import AerSimulator
from qiskit_aer.backends.backendproperties import AerBackendProperties
from qiskit_aer.noise import NoiseModel

from qrmi_core import ConfigError
from qrmi_local import _wire, instructions, limits
from qrmi_local._wire import Place
from qrmi_local.circuits import Circuit
from qrmi_local.settings import Settings

_FOREIGN = frozenset({"kraus", "superop", "roerror", "qerror_loc", "quantum_channel"})
_ON_GPU = ("statevector", "density_matrix")
_EXTENDED_QUBITS = 63
_BOUND_BY_AER = frozenset({"rx", "ry", "rz", "p", "u", "rxx", "ryy", "rzz", "rzx"})
"""Gates whose parameters Aer binds rightly, which is faster. Controlled ones it leaves at 0: Qiskit/qiskit-aer#2403."""


@frozen
class Node:
    """What simulates here, and how much memory it may take."""

    settings: Settings
    allowed_bytes: int
    device: limits.Device | None

    @property
    def is_noisy(self) -> bool:
        return self.device is not None and self.settings.noise

    @classmethod
    def here(cls, settings: Settings) -> Node:
        if settings.processor == "gpu" and "GPU" not in AerSimulator().available_devices():
            raise ConfigError.one(
                "QRMI_LOCAL_PROCESSOR", "", "this build of Aer has no GPU support", "Use cpu, or install qiskit-aer-gpu"
            )
        device = limits.fake_device(settings.fake_device) if settings.fake_device else None
        return cls(settings, limits.memory_allowed(settings.memory_limit_bytes), device)

    def simulation(
        self, circuit: Circuit, values: NDArray[np.float64], place: Place, *, shots: int | None
    ) -> Simulation:
        """How *circuit* is simulated: the method, its noise, and its translation.

        Args:
            circuit: as it was read.
            values: its parameter sets, parameters last.
            place: of the circuit.
            shots: of one parameter set; None for expectation values.
        """
        settings = self.settings
        if self.device is not None:
            instructions.check_compiled(circuit.circuit, circuit.qubits, self.device, place)
        method: str = settings.method
        sets = _bound(circuit.circuit, circuit.parameters, values)  # made one by one, while they are looked at
        if method == "automatic":
            method = self._method(circuit.circuit, sets, shots)
        elif reason := self._unable(circuit.circuit, sets, shots):
            raise place.error(reason, "Use another QRMI_LOCAL_METHOD")
        translated = instructions.translated(circuit.circuit, _basis(method), place)
        return Simulation(settings, method, evolve(circuit, circuit=translated), self.allowed_bytes)

    def _unable(self, circuit: QuantumCircuit, sets: Iterator[QuantumCircuit], shots: int | None) -> str | None:
        """Why the method of the settings cannot simulate *circuit*."""
        method = self.settings.method
        if "stabilizer" in method and self.is_noisy:
            return f"{method} cannot simulate the noise of a device"
        if method == "stabilizer" and not all(map(instructions.is_clifford, sets)):
            return "is no Clifford circuit, or has parameters that make it none"
        if method == "extended_stabilizer":
            if shots is None:
                return f"{method} has no expectation values"
            if circuit.num_qubits > _EXTENDED_QUBITS or any(one.is_control_flow() for one in circuit.data):
                return f"{method} takes up to {_EXTENDED_QUBITS} qubits, and no branches or loops"
        return None

    def _method(self, circuit: QuantumCircuit, sets: Iterator[QuantumCircuit], shots: int | None) -> str:
        if not self.is_noisy:
            return "stabilizer" if all(map(instructions.is_clifford, sets)) else "statevector"
        qubits = circuit.num_qubits
        pays = shots is None or 2**qubits <= shots
        fits = limits.state_bytes("density_matrix", qubits, self.settings.precision) <= self.allowed_bytes
        static = instructions.is_sampled_at_the_end(circuit)
        return "density_matrix" if pays and fits and static else "statevector"


@frozen
class Simulation:
    """One circuit on Aer."""

    settings: Settings
    method: str
    circuit: Circuit
    """Translated for the method."""
    allowed_bytes: int

    @property
    def is_noisy(self) -> bool:
        return self.settings.fake_device is not None and self.settings.noise

    @property
    def qubits(self) -> int:
        return int(self.circuit.circuit.num_qubits)

    @property
    def state_bytes(self) -> int:
        return limits.state_bytes(self.method, self.qubits, self.settings.precision)

    @property
    def text(self) -> str:
        return f"{self.method} simulation of {self.qubits} qubit{'s' * (self.qubits != 1)}"

    @property
    def remedy(self) -> str:
        """What helps where the state does not fit."""
        exact = "" if self.method == "density_matrix" else ", or set QRMI_LOCAL_METHOD to matrix_product_state"
        return f"Use fewer qubits{exact}"

    def notes(self) -> Iterator[str]:
        """What a user should know of the numbers."""
        if self.is_noisy:
            yield f"noise of {self.settings.fake_device}"
        if self.method in ("matrix_product_state", "extended_stabilizer"):
            yield f"the memory of {self.method} depends on the circuit and is not known beforehand"

    def run(self, circuit: QuantumCircuit, values: NDArray[np.float64], **options: Any) -> Result:
        """Simulate *circuit*, ours or made from it, with each set of *values*; *options* are Aer's.

        Raises:
            RuntimeError: Aer gave up.
        """
        parameters = self.circuit.parameters
        circuits, binds = [circuit], None
        if not circuit.parameters:
            circuits *= math.prod(values.shape[:-1])
        elif {one.name for one in circuit.data if one.is_parameterized() or one.is_control_flow()} <= _BOUND_BY_AER:
            binds = [{p: values[..., i].ravel() for i, p in enumerate(parameters) if p in circuit.parameters}]
        else:
            circuits = list(_bound(circuit, parameters, values))
        simulator = AerSimulator(
            method=self.method,
            device=self.settings.processor.upper() if self.method in _ON_GPU else "CPU",
            precision=self.settings.precision,
            max_parallel_threads=limits.threads(self.settings.threads),
            max_memory_mb=max(1, self.allowed_bytes >> 20),
            noise_model=_noise(self.settings.fake_device, self.circuit.qubits) if self.is_noisy else None,
        )
        result = simulator.run(circuits, parameter_binds=binds, **options).result()
        if not result.success:
            states = {str(one.status) for one in result.results} or {str(result.status)}
            raise RuntimeError(_wire.brief(f"Aer: {'; '.join(sorted(states))}"))
        return result


def _bound(
    circuit: QuantumCircuit, parameters: Sequence[Parameter], values: NDArray[np.float64]
) -> Iterator[QuantumCircuit]:
    """*circuit* with each set of *values* for *parameters*; itself, once, if it has none."""
    present = circuit.parameters
    if not present:
        yield circuit
        return
    for row in values.reshape(-1, values.shape[-1]).tolist():
        yield circuit.assign_parameters({p: value for p, value in zip(parameters, row, strict=True) if p in present})


@lru_cache(maxsize=16)
def _basis(method: str) -> frozenset[str]:
    """The instructions that Aer takes as they are, without those that only Aer itself may add."""
    names = AerSimulator(method=method).configuration().basis_gates
    known = {name for name in names if not name.startswith(("save_", "set_"))} - _FOREIGN
    if method == "extended_stabilizer":
        known -= {"rz"}  # it takes any angle of p, but of rz only multiples of pi/2
    return frozenset(known | {"measure", "barrier", "delay", "reset"})


@lru_cache(maxsize=16)
def _noise(name: str, qubits: tuple[int, ...]) -> NoiseModel:
    """The noise of the fake device *name* on *qubits*, numbered from 0 in that order."""
    device = limits.fake_device(name)
    number = {old: new for new, old in enumerate(qubits)}
    gates = [
        {**gate, "qubits": [number[qubit] for qubit in gate["qubits"]]}
        for gate in device.properties["gates"]
        if number.keys() >= set(gate["qubits"])
    ]
    kept = {
        **{key: device.properties[key] for key in ("backend_name", "backend_version", "last_update_date")},
        "qubits": [device.properties["qubits"][qubit] for qubit in qubits],
        "gates": gates,
        "general": [],
    }
    dt_s = device.configuration.get("dt", 0) * 1e-9
    return NoiseModel.from_backend_properties(AerBackendProperties.from_dict(kept), dt=dt_s or None)
