"""Payloads of kind `pulser`: sequences for neutral atoms, on Pulser's own QuTiP backend.

`prepare` finds every fault of a payload before anything runs; `Prepared.run` computes the result, without noise.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import numpy as np
from attrs import field, frozen
from pulser import Sequence
from pulser.backend import BitStrings
from pulser.backend.abc import Backend
from pulser.devices import Device
from pulser.sampler import sample

from qrmi_core.models import TaskPlan
from qrmi_local import limits
from qrmi_local._wire import Place, brief, member, refusing, shown
from qrmi_local.settings import Settings

_MAX_NS = 10_000_000
"""Longest duration, nanoseconds: a sequence is sampled every nanosecond before anything else is known of it."""
_CHECK_BYTES = 64 << 20
"""What checking a sequence may take, beside what the libraries do: it believes the durations it computes."""
_LEVEL_BYTES = 2000
"""What QuTiP holds for one state of the basis: operators and the solver's vectors; measured with 10 to 14 atoms."""
_SHOT_BYTES = 300
"""What one shot takes in the results, besides its bits; measured."""
_ONE = {"ground-rydberg": "r", "digital": "h", "XY": "d"}
"""Which state a 1 stands for, by the basis of the measurement."""
_OBSERVABLE = str(UUID(int=0))
"""In place of an id that Pulser draws at random, so that a seed gives the same bytes."""
_REMEDY = "Write it with Sequence.to_abstract_repr()"


@frozen
class Prepared:
    """A payload without faults, and how it will be simulated."""

    plan: TaskPlan
    _sequence: Sequence = field(repr=False)
    _runs: int
    _seed: int | None

    def run(self) -> bytes:
        """Simulate; return ``{"counter": ..., "raw": ..., "serialised_results": ...}`` as JSON.

        The leftmost character of a bit string is the first atom; 1 is the Rydberg state, or the upper digital one.
        """
        from pulser_simulation import QutipBackendV2, QutipConfig  # with it comes QuTiP, which no refusal needs

        np.random.seed(self._seed)  # the state that QuTiP's sampling draws from; None takes fresh entropy
        sampling = BitStrings(num_shots=self._runs, one_state=_ONE[self._sequence.get_measurement_basis()])
        config = QutipConfig(observables=[sampling])
        results = QutipBackendV2(self._sequence, config=config).run()
        counter = {bits: int(count) for bits, count in results.final_bitstrings.items()}
        shots = np.repeat(list(counter), list(counter.values()))
        raw = np.random.default_rng(self._seed).permutation(shots).tolist()  # counts say nothing of the order
        serialised = results.to_abstract_repr().replace(str(sampling.uuid), _OBSERVABLE)
        found = {"counter": counter, "raw": raw, "serialised_results": serialised}
        return json.dumps(found, separators=(",", ":")).encode()


def prepare(document: object, source: str, settings: Settings) -> Prepared:
    """Check the payload *document* ``{"sequence": ..., "job_runs": ..., "variables"?: ...}``.

    Raises:
        PayloadError: it cannot run here, or not within the memory allowed.
    """
    place = Place(source)
    fields: dict[str, Any] = member(document, place, dict, "an object with sequence and job_runs")
    runs = member(fields.get("job_runs"), place / "job_runs", int, "a whole number of runs")
    if runs < 1:
        raise (place / "job_runs").error(f"{runs} runs cannot be made", "Ask for at least 1")
    at = place / "sequence"
    written = _unwrapped(fields.get("sequence"), at)
    register = member(written.get("register"), at / "register", list, "a list of atoms")
    atoms = len(register)
    _check_names(register, at / "register")
    allowed = limits.memory_allowed(settings.memory_limit_bytes)
    _check_memory(atoms, 2, runs, allowed, at)
    _check_durations(written, at)
    try:
        with limits.bounded_memory(_CHECK_BYTES):
            sequence = _measured(_built(_read(written, at), fields.get("variables"), place), at)
            levels = _levels(sequence, at)
    except MemoryError as exc:
        raise at.error("takes too much memory to be sampled", f"Use at most {_MAX_NS:,} ns in all") from exc
    device = sequence.device
    if device.max_runs is not None and runs > device.max_runs:
        raise (place / "job_runs").error(
            f"{runs} runs are more than the {device.max_runs} of {device.name}",
            "Ask for fewer, or submit several tasks",
        )
    plan = TaskPlan(
        kind="pulser",
        qubits=atoms,
        shots=runs,
        method="qutip",
        memory_bytes=_check_memory(atoms, levels, runs, allowed, at),
        memory_allowed_bytes=allowed,
        notes=(f"device {device.name}, {sequence.get_duration()} ns, {levels} levels per atom, no noise",),
    )
    return Prepared(plan, sequence, runs, settings.seed)


def _read(written: dict[str, Any], place: Place) -> Sequence:
    with refusing(place, "is not a sequence that can be read here", _REMEDY):
        try:
            return Sequence.from_abstract_repr(json.dumps(written))
        except Exception as exc:
            if not hasattr(exc, "context"):
                raise
            fault = _closest(exc)
            at = Place(place.source, place.path + fault.json_path[1:])
            raise at.error(f"does not fit Pulser's schema: {brief(fault.message)}", _REMEDY) from exc


def _closest(fault: Any) -> Any:
    """The one fault to mend, of a fault of JSON Schema: where there are alternatives, of the one with the fewest."""
    while fault.context:
        alternatives: dict[Any, list[Any]] = {}
        for one in fault.context:
            alternatives.setdefault(one.schema_path[0], []).append(one)
        fault = min(alternatives.values(), key=len)[0]
    return fault


def _unwrapped(value: object, place: Place) -> dict[str, Any]:
    """The sequence as an object: clients send it as one, as its text, or as the text of its text."""
    for _ in range(3):
        if not isinstance(value, str):
            break
        with refusing(place, "is not JSON", _REMEDY):
            value = json.loads(value)
    sequence: dict[str, Any] = member(value, place, dict, "a sequence object")
    if "_build" in sequence or "__module__" in sequence:
        raise place.error("has the format of Pulser before its abstract representation", _REMEDY)
    if "setup" in sequence and "hamiltonian" in sequence:
        raise place.error("is a CUDA-Q program, which is not simulated here", "Give a Pulser sequence")
    return sequence


def _check_memory(atoms: int, levels: int, runs: int, allowed: int, place: Place) -> int:
    """The bytes of the simulation, if they are allowed."""
    state, results = _LEVEL_BYTES * int(levels**atoms), (_SHOT_BYTES + 4 * atoms) * runs
    if state + results > allowed:
        remedy = "Ask for fewer runs" if results > state else "Use fewer atoms"
        problem = f"simulating {atoms} atoms {runs} times needs {limits.bytes_text(state + results)} of memory"
        raise place.error(f"{problem}; allowed are {limits.bytes_text(allowed)}", remedy)
    return state + results


def _check_names(register: list[Any], place: Place) -> None:
    """Refuse two atoms of one name: Pulser would take them for one."""
    names = [atom.get("name") for atom in register if isinstance(atom, dict)]
    for index, name in enumerate(names):
        if isinstance(name, str) and name in names[:index]:
            raise (place / index / "name").error(f"{shown(name)} is the name of another atom", "Give each atom its own")


def _check_durations(written: object, place: Place) -> None:
    """Refuse times that no sequence has, before arrays of that length are made."""
    left = [written]
    total = 0.0
    while left:
        value = left.pop()
        if isinstance(value, dict):
            for key, inner in value.items():
                if key in ("duration", "time") and type(inner) in (int, float) and not inner <= _MAX_NS:
                    raise place.error(f"has a {key} of {inner:g} ns", f"Use at most {_MAX_NS:,} ns")
                if key in ("duration", "time") and type(inner) in (int, float):
                    total += inner
                left.append(inner)
        elif isinstance(value, list):
            left.extend(value)
    if total > _MAX_NS:
        raise place.error(f"lasts {total:g} ns in all its parts", f"Use at most {_MAX_NS:,} ns")


def _built(sequence: Sequence, given: object, place: Place) -> Sequence:
    """*sequence* with a value for each of its variables."""
    place /= "variables"
    values = {} if given is None else member(given, place, dict, "an object of names and values")
    declared = sequence.declared_variables
    if unknown := sorted(values.keys() - declared.keys()):
        known = ", ".join(declared) or "none"
        raise (place / unknown[0]).error("is not a variable of the sequence", f"Its variables are: {known}")
    if missing := sorted(declared.keys() - values.keys()):
        raise place.error(f"lacks {', '.join(missing)}", "Give a value for every variable of the sequence")
    if sequence.is_register_mappable():
        at = Place(place.source, "$.sequence.register")
        raise at.error("leaves open where the atoms are", "Build the sequence with its qubits first")
    for name, value in values.items():
        _check_variable(declared[name], value, place / name)
    if not sequence.is_parametrized():
        return sequence
    with refusing(place, "the sequence cannot be built with these values", "Use values that its device allows"):
        return sequence.build(**values)


def _check_variable(variable: Any, value: object, place: Place) -> None:
    numbers: list[Any] = value if isinstance(value, list) else [value]
    kinds = (int,) if variable.dtype is int else (int, float)
    if any(type(number) not in kinds or not abs(number) <= _MAX_NS for number in numbers):
        what = "whole numbers" if variable.dtype is int else "finite numbers"
        raise place.error(f"{shown(value)} does not hold {what} up to {_MAX_NS:,}", f"Give {what}")
    if len(numbers) != variable.size:
        raise place.error(f"has {len(numbers)} values", f"Give {variable.size}")


def _measured(sequence: Sequence, place: Place) -> Sequence:
    """*sequence*, checked as the device would, and with a measurement at its end."""
    if sequence.is_empty() or sequence.get_duration() == 0:
        raise place.error("has no operations", "Add at least one pulse")
    with refusing(place, "does not fit its device", "Build it for that device, with a register of a layout"):
        Backend.validate_sequence(sequence, mimic_qpu=isinstance(sequence.device, Device))
    if not sequence.is_measured():
        bases = sequence.get_addressed_bases()
        if len(bases) != 1:
            addressed = ", ".join(bases) or "no basis"
            raise place.error(f"is not measured and addresses {addressed}", "End it with a measurement")
        with refusing(place, "cannot be measured", "End it with a measurement"):
            sequence.measure(bases[0])
    return sequence


def _levels(sequence: Sequence, place: Place) -> int:
    """How many states of each atom the simulator keeps: those of the bases that pulses other than 0 drive."""
    with refusing(place, "cannot be sampled", _REMEDY):
        samples = sample(sequence)
        driven = samples.used_bases or {"XY" if sequence.get_addressed_bases() == ("XY",) else "ground-rydberg"}
    if not all(np.isfinite(part).all() for one in samples.samples_list for part in (one.amp, one.det, one.phase)):
        raise (place / "operations").error("drive with a value without bound", "Use finite values")
    measured = sequence.get_measurement_basis()
    if measured not in driven:
        problem = f"is {measured}, but the pulses drive {', '.join(sorted(driven))} only"
        raise (place / "measurement").error(problem, "Measure a basis that is driven")
    return 3 if len(driven) == 2 else 2
