"""The instructions of a circuit: written out where the payload defines them, judged, and translated for a simulator."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from functools import cache

from qiskit import QuantumCircuit
from qiskit.circuit import Barrier, CircuitInstruction, ControlFlowOp, Gate, Operation, Qubit
from qiskit.circuit.controlflow import CONTROL_FLOW_OP_NAMES
from qiskit.circuit.library import IGate, get_standard_gate_name_mapping
from qiskit.quantum_info import Operator
from qiskit.transpiler import generate_preset_pass_manager

from qrmi_local._wire import Place, refusing, shown
from qrmi_local.limits import Device

_MAX_WRITTEN_OUT = 100_000
"""Instructions out of the bodies of gates and loops; what stands in the payload itself is bounded by its size."""

PASSIVE = frozenset({"barrier", "delay"})
_PLAIN = PASSIVE | {"measure", "reset"}
_CLIFFORD = frozenset({"id", "x", "y", "z", "h", "s", "sdg", "sx", "sxdg", "cx", "cy", "cz", "swap", "ecr", "pauli"})
_QUARTER = math.pi / 2
_EPSILON = sys.float_info.epsilon
"""As strict as Aer."""
_FLATTER = "Use fewer levels of gates and fewer turns of loops"
_COMPILE = "Compile the circuit for the target of this resource"


def _is_defined_here(operation: Operation) -> bool:
    """The payload itself says what this instruction is; its name alone, which simulators go by, may mean another."""
    home = type(operation).__module__
    return not home.startswith("qiskit.circuit.") or home.endswith((".instruction", ".gate", ".controlledgate"))


class _Rewriting:
    """Circuits with gates of their own definition written out, up to a bound."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.left = _MAX_WRITTEN_OUT
        self.same: dict[object, Gate | None] = {}

    def of(self, circuit: QuantumCircuit) -> list[CircuitInstruction]:
        """The instructions of *circuit*, rewritten."""
        return [new for old in circuit.data for new in self.of_one(old)]

    def of_one(self, old: CircuitInstruction) -> Iterator[CircuitInstruction]:
        if old.is_standard_gate() or old.name in _PLAIN:
            is_identity = old.name == "u" and list(old.params) == [0, 0, 0]  # how OpenQASM 3 is read
            yield old.replace(operation=IGate()) if is_identity else old
        elif old.name == "box":
            yield from self.written_out(old, old.operation.blocks[0])
        elif isinstance(old.operation, ControlFlowOp):
            yield old.replace(operation=self.of_blocks(old.operation))
        elif not _is_defined_here(old.operation):
            yield old
        elif (same := self.library_gate(old.operation)) is not None:
            yield old.replace(operation=same)
        else:
            yield from self.written_out(old, old.operation.definition)

    def written_out(self, old: CircuitInstruction, definition: QuantumCircuit | None) -> Iterator[CircuitInstruction]:
        if definition is None:
            raise self.place.error(f"uses {shown(old.name)}, which is not defined", "Define it in the circuit")
        bits = dict(zip([*definition.qubits, *definition.clbits], [*old.qubits, *old.clbits], strict=True))
        self.spend(len(definition.data))
        for inner in definition.data:
            moved = inner.replace(qubits=[bits[b] for b in inner.qubits], clbits=[bits[b] for b in inner.clbits])
            yield from self.of_one(moved)

    def library_gate(self, operation: Operation) -> Gate | None:
        """The library's gate of that name, if it is what the payload defines: exporters define all but a few."""
        definition = operation.definition
        if operation.name not in _library() or definition is None or operation.num_qubits > 3:
            return None
        body = tuple((one.name, *map(definition.qubits.index, one.qubits), *map(str, one.params)) for one in definition)
        key = (operation.name, *map(str, operation.params), body)
        if key not in self.same:
            self.same[key] = _equal_library_gate(operation, definition)
        return self.same[key]

    def of_blocks(self, operation: ControlFlowOp) -> ControlFlowOp:
        turns = len(operation.params[0]) if operation.name == "for_loop" else 1  # the simulator writes out every turn
        blocks = []
        for block in operation.blocks:
            before = self.left
            self.spend(len(block.data))
            new = block.copy_empty_like()
            new.data = self.of(block)
            self.spend((turns - 1) * (before - self.left))
            blocks.append(new)
        return operation.replace_blocks(blocks)

    def spend(self, instructions: int) -> None:
        self.left -= instructions
        if self.left < 0:
            raise self.place.error(f"has more than {_MAX_WRITTEN_OUT:,} instructions when written out", _FLATTER)


@cache
def _library() -> dict[str, Gate]:
    return {name: gate for name, gate in get_standard_gate_name_mapping().items() if isinstance(gate, Gate)}


def _equal_library_gate(operation: Operation, definition: QuantumCircuit) -> Gate | None:
    known = _library()[operation.name]
    if (known.num_qubits, len(known.params)) != (operation.num_qubits, len(operation.params)):
        return None
    gate = known.base_class(*operation.params)
    ours = QuantumCircuit(gate.num_qubits)
    ours.append(gate, ours.qubits)
    values = {parameter: 0.1 + 0.7 * index for index, parameter in enumerate(ours.parameters)}
    theirs = definition.assign_parameters({p: v for p, v in values.items() if p in definition.parameters})
    return gate if Operator(theirs).equiv(Operator(ours.assign_parameters(values))) else None


def narrowed(circuit: QuantumCircuit, place: Place) -> tuple[QuantumCircuit, tuple[int, ...]]:
    """*circuit* without the qubits that nothing happens to, its own gates written out; and which qubits are left."""
    if circuit.num_input_vars or circuit.num_stretches:
        raise place.error("has classical inputs or stretches", "Use parameters and fixed durations")
    if circuit.num_qubits == 0:
        raise place.error("has no qubits", "Give a circuit with at least one qubit")
    written = _Rewriting(place).of(circuit)
    touched = {bit for one in written if one.name not in PASSIVE for bit in one.qubits}
    kept = [(index, bit) for index, bit in enumerate(circuit.qubits) if bit in touched] or [(0, circuit.qubits[0])]
    narrow = QuantumCircuit([bit for _, bit in kept], circuit.clbits, *circuit.cregs, metadata=circuit.metadata)
    for variable in circuit.iter_declared_vars():
        narrow.add_uninitialized_var(variable)
    there = set(narrow.qubits)
    narrow.data = [one for one in (_on(there, one) for one in written) if one is not None]
    return narrow, tuple(index for index, _ in kept)


def _on(there: set[Qubit], one: CircuitInstruction) -> CircuitInstruction | None:
    """*one*, where it is passive, on no other qubits than those that are *there*."""
    if one.name not in PASSIVE or there.issuperset(one.qubits):
        return one
    left = [bit for bit in one.qubits if bit in there]
    return CircuitInstruction(Barrier(len(left)), left) if left and one.name == "barrier" else None


def instructions(circuit: QuantumCircuit) -> Iterator[CircuitInstruction]:
    """The instructions of *circuit* and of all blocks inside it."""
    for one in circuit.data:
        yield one
        if one.is_control_flow():
            for block in one.operation.blocks:
                yield from instructions(block)


def is_clifford(circuit: QuantumCircuit) -> bool:
    """Every instruction is one that the stabilizer simulator takes; `rz` at multiples of pi/2 only."""
    for one in instructions(circuit):
        if one.name == "rz":
            (angle,) = one.params
            if not isinstance(angle, (int, float)) or abs(angle / _QUARTER - round(angle / _QUARTER)) > _EPSILON:
                return False
        elif one.name not in _CLIFFORD and one.name not in _PLAIN and not one.is_control_flow():
            return False
    return True


def is_sampled_at_the_end(circuit: QuantumCircuit) -> bool:
    """Measurements come last on their qubits, so one run of the simulation serves all shots."""
    measured: set[Qubit] = set()
    for one in circuit.data:
        is_late = one.name not in PASSIVE and not measured.isdisjoint(one.qubits)
        if is_late or one.is_control_flow() or one.name in ("reset", "initialize"):
            return False
        if one.name == "measure":
            measured.update(one.qubits)
    return True


def is_random(circuit: QuantumCircuit) -> bool:
    """Runs of *circuit* end in different states, also without noise."""
    return any(one.name in ("measure", "reset", "initialize") for one in instructions(circuit))


def without_final_measurements(circuit: QuantumCircuit) -> QuantumCircuit:
    """*circuit* for an estimator, which looks at the state that measurements at the end would collapse.

    Where measured bits are used further on, all measurements stay.
    """
    if any(one.is_control_flow() or one.name == "store" for one in circuit.data):
        return circuit
    busy: set[Qubit] = set()
    kept = []
    for one in reversed(circuit.data):
        if one.name != "measure" or not busy.isdisjoint(one.qubits):
            kept.append(one)
            busy.update(() if one.name in PASSIVE else one.qubits)
    new = circuit.copy_empty_like()
    new.data = kept[::-1]
    return new


def translated(circuit: QuantumCircuit, basis: frozenset[str], place: Place) -> QuantumCircuit:
    """*circuit* in instructions of *basis*; itself where it already is."""
    foreign = {one.name for one in instructions(circuit)} - basis
    if not foreign:
        return circuit
    remedy = f"Use other instructions than {', '.join(sorted(foreign))}, or another QRMI_LOCAL_METHOD"
    with refusing(place, "the simulator does not have all of its instructions", remedy):
        standard = basis & (get_standard_gate_name_mapping().keys() | CONTROL_FLOW_OP_NAMES)
        manager = generate_preset_pass_manager(optimization_level=0, basis_gates=sorted(standard))
        new = manager.run(circuit)
        if left := {one.name for one in instructions(new)} - basis:
            raise ValueError(f"{', '.join(sorted(left))} cannot be translated")
        return new


def check_compiled(circuit: QuantumCircuit, qubits: Sequence[int], device: Device, place: Place) -> None:
    """Refuse, as the real device does, what was not compiled for *device*; *qubits* are its own numbers."""
    if max(qubits) >= device.configuration["n_qubits"]:
        raise place.error(f"uses qubit {max(qubits)}, which {device.name} does not have", _COMPILE)
    basis = set(device.configuration["basis_gates"])
    there = {(one["gate"], tuple(one["qubits"])) for one in device.properties["gates"] if one["gate"] in basis}

    def check(body: QuantumCircuit, numbers: Sequence[int]) -> None:
        number = dict(zip(body.qubits, numbers, strict=True))
        for one in body.data:
            qubits = tuple(number[bit] for bit in one.qubits)
            if one.is_control_flow():
                for block in one.operation.blocks:
                    check(block, qubits)
            elif one.name not in _PLAIN and (one.name, qubits) not in there:
                raise place.error(f"has {one.name} on qubits {qubits}, which {device.name} does not have", _COMPILE)

    check(circuit, qubits)
