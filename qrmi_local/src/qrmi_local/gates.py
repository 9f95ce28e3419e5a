"""Payloads of kind `qiskit-primitive`: Sampler V2 and Estimator V2 on Aer.

`prepare` finds every fault of a payload before anything runs; `Prepared.run` computes the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
from attrs import evolve, field, frozen
from numpy.typing import NDArray
from qiskit.quantum_info import Pauli

from qrmi_core.models import TaskPlan
from qrmi_local import _wire, circuits, instructions, limits
from qrmi_local._wire import Observable, Place, PubResult, Samples, member, shown
from qrmi_local.aer import Node, Simulation
from qrmi_local.circuits import Circuit
from qrmi_local.settings import Settings

_DEFAULT_PRECISION = 0.015625
_FINEST_PRECISION = 1e-4
"""Of means over shots: a hundred million of them."""
_SHOT_BYTES = 330
"""What Aer and we hold for one shot, besides 2 bytes per classical bit; measured."""
_VALUE_BYTES = 2000
"""What Aer and we hold for one expectation value of one parameter set; measured."""
_ENTRY_BYTES = 200
"""What we hold for one entry of an estimator's result."""
_PAULIS: Mapping[str, tuple[tuple[str, float], ...]] = {letter: ((letter, 1.0),) for letter in "IXYZ"} | {
    letter: (("I", 0.5), (pauli, sign)) for letter, pauli, sign in zip("01+-rl", "ZZXXYY", (0.5, -0.5) * 3, strict=True)
}
"""Each letter of an observable as a sum of Paulis."""
_ON_ZERO = dict(zip("IXYZ01+-rl", (1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.5, 0.5, 0.5, 0.5), strict=True))
"""The expectation of each letter on a qubit that nothing happens to."""


@frozen
class Prepared:
    """A payload without faults, and how it will be simulated."""

    plan: TaskPlan
    _pubs: Sequence[_Sampling | _Estimating] = field(repr=False)
    _asked: _Asked = field(repr=False)

    def run(self) -> bytes:
        """Simulate; return the result as JSON in the encoding that the payload asks for.

        Raises:
            RuntimeError: the simulator gave up; its reason.
        """
        seeds = self._asked.seeds(len(self._pubs))
        results = [pub.run(seed) for pub, seed in zip(self._pubs, seeds, strict=True)]
        return _wire.result(results, support_qiskit=self._asked.support_qiskit)


def prepare(document: object, source: str, settings: Settings) -> Prepared:
    """Check the payload *document* ``{"program_id": ..., "parameters": ...}`` and decide how it is simulated.

    Raises:
        PayloadError: it cannot run here, or not within the memory allowed.
        ConfigError: the settings name a device or a processor that is not there.
    """
    place = Place(source)
    fields: dict[str, Any] = member(document, place, dict, "an object with program_id and parameters")
    program = fields.get("program_id")
    if program not in ("sampler", "estimator"):
        raise (place / "program_id").error(f"{shown(program)} is not known here", "Use sampler or estimator")
    place = place / "parameters"
    parameters = member(fields.get("parameters"), place, dict, "an object with pubs")
    asked = _Asked.read(parameters, place, settings, is_sampler=program == "sampler")
    entries = member(parameters.get("pubs"), place / "pubs", list, "a list of pubs")
    if not entries:
        raise (place / "pubs").error("is empty", "Give at least one pub")
    node = Node.here(settings)
    read = _sampling if program == "sampler" else _estimating
    pubs: list[_Sampling | _Estimating] = []
    kept = needed = 0
    for index, entry in enumerate(entries):
        at = place / "pubs" / index
        pub = read(entry if isinstance(entry, list) else [entry], at, asked, node)
        kept += pub.result_bytes
        needed = max(needed, pub.simulation.state_bytes)
        if kept + needed > node.allowed_bytes:
            remedy = "Use fewer shots or parameter sets" if kept > needed else pub.simulation.remedy
            problem = f"{pub.simulation.text} needs {limits.bytes_text(kept + needed)} of memory"
            raise at.error(f"{problem}; allowed are {limits.bytes_text(node.allowed_bytes)}", remedy)
        pubs.append(pub)
    shots = [pub.total_shots for pub in pubs if pub.total_shots is not None]
    plan = TaskPlan(
        kind="qiskit-primitive",
        qubits=max(pub.simulation.qubits for pub in pubs),
        shots=sum(shots) if shots else None,
        method=", ".join(sorted({pub.simulation.method for pub in pubs})),
        memory_bytes=kept + needed,
        memory_allowed_bytes=node.allowed_bytes,
        notes=tuple(dict.fromkeys([*asked.notes, *(note for pub in pubs for note in pub.notes())])),
    )
    return Prepared(plan, pubs, asked)


@frozen
class _Asked:
    """What a payload asks for besides its pubs."""

    support_qiskit: bool
    shots: int
    precision: float
    seed: int | None
    notes: tuple[str, ...]

    @classmethod
    def read(cls, parameters: dict[str, Any], place: Place, settings: Settings, *, is_sampler: bool) -> _Asked:
        if parameters.get("version", 2) != 2:
            raise (place / "version").error(f"{shown(parameters['version'])} is not supported", "Use version 2")
        options, at = _group(parameters, place, "options")
        simulator, at_simulator = _group(options, at, "simulator")
        execution, at_execution = _group(options, at, "execution")
        if simulator.get("noise_model"):
            raise (at_simulator / "noise_model").error("is not supported", "Use QRMI_LOCAL_FAKE_DEVICE for noise")
        if execution.get("meas_type") not in (None, "classified"):
            raise (at_execution / "meas_type").error("only classified measurements exist here", "Remove it")
        default_shots = _shots(options.get("default_shots"), at / "default_shots", settings.default_shots)
        precision = _precision(options.get("default_precision"), at / "default_precision", _DEFAULT_PRECISION)
        if options.get("default_shots") is not None:
            precision = 1 / math.sqrt(default_shots)
        seed = _seed(simulator.get("seed_simulator"), at_simulator / "seed_simulator", settings.seed)
        if not is_sampler:
            seed = _seed(options.get("seed_estimator"), at / "seed_estimator", seed)
        support = parameters.get("support_qiskit", True)
        unused = sorted(
            name for name in ("dynamical_decoupling", "twirling", "resilience", "resilience_level") if options.get(name)
        )
        return cls(
            member(support, place / "support_qiskit", bool, "true or false"),
            _shots(parameters.get("shots"), place / "shots", default_shots),
            _precision(parameters.get("precision"), place / "precision", precision),
            seed,
            (f"no effect on a simulator: {', '.join(unused)}",) if unused else (),
        )

    def seeds(self, pubs: int) -> Iterator[int | None]:
        """A seed for each pub, so that equal pubs do not give equal samples."""
        for index in range(pubs):
            fresh = None if self.seed is None else np.random.SeedSequence((self.seed, index)).generate_state(1)[0]
            yield None if fresh is None else int(fresh) >> 1


def _group(parent: dict[str, Any], place: Place, name: str) -> tuple[dict[str, Any], Place]:
    value = parent.get(name)
    return ({} if value is None else member(value, place / name, dict, "an object")), place / name


def _shots(value: object, place: Place, default: int) -> int:
    shots: int = default if value is None else member(value, place, int, "a whole number of shots")
    if shots < 1:
        raise place.error(f"{shots} shots cannot be taken", "Ask for at least 1")
    return shots


def _precision(value: object, place: Place, default: float) -> float:
    if value is None:
        return default
    if type(value) not in (int, float) or not 0 <= float(value) < math.inf:  # type: ignore[arg-type]
        raise place.error(f"{shown(value)} is not a precision", "Give a number above 0, or 0 for exact values")
    return float(value)  # type: ignore[arg-type]


def _seed(value: object, place: Place, default: int | None) -> int | None:
    if value is None:
        return default
    if type(value) is not int or not 0 <= value < 2**64:
        raise place.error(f"{shown(value)} is not a seed", "Give a whole number from 0 to 18446744073709551615")
    return value


def _values(value: object, circuit: Circuit, place: Place) -> NDArray[np.float64]:
    """The parameter sets of a pub, parameters last."""
    found, count = _wire.array(value, place), len(circuit.parameters)
    if found.shape == (0,) and count == 0:
        return found
    if count == 1 and found.shape[-1:] != (1,):
        found = found[..., np.newaxis]  # as qiskit reads it
    if found.ndim == 0 or found.shape[-1] != count or 0 in found.shape[:-1]:
        names = ", ".join(parameter.name for parameter in circuit.parameters[:8]) or "none"
        remedy = f"Give {count} along the last axis, in this order: {names}"
        raise place.error(f"has values of shape {list(found.shape)} for {count} parameters", remedy)
    return found


def _pub(entry: list[Any], place: Place, parts: str) -> Iterator[tuple[Any, Place]]:
    names = parts.split()
    if len(entry) > len(names):
        raise place.error(f"has {len(entry)} members", f"Give at most {len(names)}: {', '.join(names)}")
    for index in range(len(names)):
        yield (entry[index] if index < len(entry) else None), place / index


@frozen
class _Sampling:
    """A sampler pub."""

    circuit: Circuit
    simulation: Simulation
    values: NDArray[np.float64]
    shots: int

    @property
    def total_shots(self) -> int:
        return self.shots * math.prod(self.values.shape[:-1])

    @property
    def result_bytes(self) -> int:
        return self.total_shots * (_SHOT_BYTES + 2 * int(self.circuit.circuit.num_clbits))

    def notes(self) -> Iterator[str]:
        yield from self.simulation.notes()

    def run(self, seed: int | None) -> PubResult:
        circuit, shape = self.simulation.circuit.circuit, self.values.shape[:-1]
        options = {"shots": self.shots, "memory": True, "seed_simulator": seed}
        done = self.simulation.run(circuit, self.values, **options)
        memory = [word for one in done.results for word in getattr(one.data, "memory", ["0x0"] * self.shots)]
        fields = {}
        for register in self.circuit.registers:
            rows = _wire.packed(memory, circuit.num_clbits, register.clbits)
            fields[register.name] = Samples(rows.reshape(*shape, self.shots, rows.shape[-1]), len(register.clbits))
        metadata = {"circuit_metadata": circuit.metadata or {}, "shots": self.shots, "method": self.simulation.method}
        return PubResult("SamplerPubResult", shape, fields, metadata)


def _sampling(entry: list[Any], place: Place, asked: _Asked, node: Node) -> _Sampling:
    (text, at), (given, at_values), (own, at_shots) = _pub(entry, place, "circuit parameter_values shots")
    circuit = circuits.read(text, at)
    if not circuit.registers:
        raise at.error("has no classical bits, so there is nothing to sample", "Add measurements")
    values = _values(given, circuit, at_values)
    shots = _shots(own, at_shots, asked.shots)
    simulation = node.simulation(circuit, values, at, shots=shots)
    return _Sampling(circuit, simulation, values, shots)


@frozen
class _Estimating:
    """An estimator pub."""

    circuit: Circuit
    simulation: Simulation
    values: NDArray[np.float64]
    observables: NDArray[np.intp]
    """Which of `terms` stands where, in the shape of the payload's observables."""
    terms: Sequence[Observable]
    """On the qubits of `simulation`, Pauli letters only."""
    precision: float
    is_random: bool
    """Runs differ, so values are means over shots; otherwise they are exact."""

    @property
    def shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(self.values.shape[:-1], self.observables.shape)

    @property
    def labels(self) -> list[str]:
        return sorted({label for term in self.terms for label in term if label.strip("I")})

    @property
    def shots(self) -> int:
        return math.ceil(1 / self.precision**2) if self.is_random else 1

    @property
    def total_shots(self) -> int | None:
        return self.shots * math.prod(self.values.shape[:-1]) if self.is_random else None

    @property
    def result_bytes(self) -> int:
        sets = math.prod(self.values.shape[:-1])
        return _VALUE_BYTES * sets * len(self.labels) + _ENTRY_BYTES * math.prod(self.shape)

    def notes(self) -> Iterator[str]:
        yield from self.simulation.notes()
        if self.simulation.is_noisy:
            yield "readout errors do not act on expectation values"
        if self.is_random:
            yield "expectation values are means over shots; their errors are upper bounds"
        else:
            yield "expectation values are exact, with normal noise of the asked precision added"

    def run(self, seed: int | None) -> PubResult:
        labels, circuit = self.labels, self.simulation.circuit.circuit.copy()
        for label in labels:
            circuit.save_expectation_value(Pauli(label), circuit.qubits, label=label)
        means = np.ones((math.prod(self.values.shape[:-1]), len(labels) + 1))  # of each set and label; the last is 1
        if labels:
            done = self.simulation.run(circuit, self.values, shots=self.shots, seed_simulator=seed)
            for index in range(len(means)):
                data = done.data(index)
                means[index, :-1] = [data[label] for label in labels]
        column = {label: index for index, label in enumerate(labels)}
        weights = [
            ([column.get(label, -1) for label in term], np.fromiter(term.values(), float, len(term)))
            for term in self.terms
        ]
        sets = np.arange(len(means)).reshape(self.values.shape[:-1])
        pairs = np.broadcast_arrays(sets, self.observables)
        evs = np.array(
            [
                means[one, weights[which][0]] @ weights[which][1]
                for one, which in zip(*map(np.ravel, pairs), strict=True)
            ]
        )
        if self.is_random:
            bounds = np.array([sum(abs(c) for p, c in term.items() if p.strip("I")) for term in self.terms])
            stds = np.broadcast_to(bounds[self.observables] / math.sqrt(self.shots), self.shape)
        else:
            stds = np.full(self.shape, self.precision)
            evs = np.random.default_rng(seed).normal(evs, self.precision)
        metadata = {"target_precision": self.precision, "circuit_metadata": circuit.metadata or {}}
        metadata |= {"method": self.simulation.method} | ({"shots": self.shots} if self.is_random else {})
        return PubResult("PubResult", self.shape, {"evs": evs.reshape(self.shape), "stds": stds.copy()}, metadata)


def _estimating(entry: list[Any], place: Place, asked: _Asked, node: Node) -> _Estimating:
    (text, at), (given, at_observables), (numbers, at_values), (own, at_precision) = _pub(
        entry, place, "circuit observables parameter_values precision"
    )
    circuit = circuits.read(text, at)
    circuit = evolve(circuit, circuit=instructions.without_final_measurements(circuit.circuit))
    shape, found = _wire.observables(given, at_observables)
    expand = cache(partial(_expanded, circuit, at_observables))
    terms = [_reduced(one, expand) for one in found]
    values = _values(numbers, circuit, at_values)
    try:
        np.broadcast_shapes(shape, values.shape[:-1])
    except ValueError:
        problem = f"observables of shape {list(shape)} do not broadcast with parameters of {list(values.shape[:-1])}"
        raise at_observables.error(problem, "Make the shapes agree by numpy's rules") from None
    precision = _precision(own, at_precision, asked.precision)
    simulation = node.simulation(circuit, values, at, shots=None)
    is_random = instructions.is_random(circuit.circuit) or (
        simulation.is_noisy and simulation.method != "density_matrix"
    )
    if is_random and precision < _FINEST_PRECISION:
        problem = f"precision {precision:g} of a circuit whose runs differ needs more shots than anybody takes"
        raise at_precision.error(problem, f"Ask for {_FINEST_PRECISION:g} or more")
    where = np.arange(len(terms)).reshape(shape)
    return _Estimating(circuit, simulation, values, where, terms, precision, is_random)


def _reduced(observable: Observable, expand: Callable[[str], Observable]) -> Observable:
    """*observable* as Paulis on the qubits that are simulated."""
    reduced: Observable = {}
    for pauli, coefficient in observable.items():
        for label, value in expand(pauli).items():
            reduced[label] = reduced.get(label, 0.0) + coefficient * value
    return reduced


def _expanded(circuit: Circuit, place: Place, pauli: str) -> Observable:
    """One string of letters as Paulis on the qubits that are simulated; idle ones are in state 0."""
    letters = pauli[::-1]
    if len(letters) < circuit.width or (len(letters) > circuit.width and not circuit.is_physical):
        problem = f"has {len(letters)} letters for a circuit of {circuit.width} qubits"
        raise place.error(problem, "Give one letter per qubit, the rightmost for qubit 0")
    active = set(circuit.qubits)
    if sum(letters[qubit] not in "IXYZ" for qubit in active) > 12:
        raise place.error("has more than 12 projectors in one string", "Use Pauli letters instead")
    sums = {"": math.prod(_ON_ZERO[letter] for qubit, letter in enumerate(letters) if qubit not in active)}
    for qubit in circuit.qubits:
        sums = {new + old: value * part for old, value in sums.items() for new, part in _PAULIS[letters[qubit]]}
    return {label: value for label, value in sums.items() if value}
