"""Payloads of kind ``qiskit-primitive``, checked for their shape before anything is sent.

What a circuit means is for the backend to check; here is what can be told without any vendor's library: missing keys,
wrong types, numbers that are none. The forms are those of Qiskit's primitives V2 as its services accept them.
"""

from __future__ import annotations

import math
import re
from typing import Any, NoReturn

from qrmi_core.errors import PayloadError
from qrmi_core.kinds import describe, is_finite

_MOST_AXES = 32
"""As many as numpy had for long."""
_PAULI = re.compile(r"[IXYZ01+\-rl]+")


def check(document: Any, source: str) -> None:
    """Check the shape of a primitive call.

    Raises:
        PayloadError: with the JSON path of the first fault.
    """
    _Check(source).document(document)


def _are_numbers(value: list[Any]) -> bool:
    """*value* holds finite numbers and nothing else: told at once, because there may be a million of them."""
    try:
        return {float, int} >= {*map(type, value)} and all(map(math.isfinite, value)) and bool(value)
    except OverflowError:  # a whole number that no float can hold
        return False


class _Check:
    def __init__(self, source: str) -> None:
        self.source = source

    def fail(self, path: str, problem: str, remedy: str) -> NoReturn:
        raise PayloadError(self.source, path, problem, remedy)

    def typed(self, value: Any, expected: type, path: str, remedy: str) -> None:
        if type(value) is not expected:
            self.fail(path, f"is {describe(value)}", remedy)

    def document(self, document: Any) -> None:
        program = document["program_id"]
        self.typed(program, str, "$.program_id", 'Give text: "sampler" or "estimator"')
        if not program:
            self.fail("$.program_id", "is empty", 'Give "sampler" or "estimator"')
        parameters = document.get("parameters")
        if parameters is None:
            self.fail("$.parameters", "is missing", 'Give an object with "pubs"')
        self.typed(parameters, dict, "$.parameters", 'Give an object with "pubs"')
        if program not in ("sampler", "estimator"):
            return  # another program's parameters are its backend's business
        self.options(parameters)
        pubs = parameters.get("pubs")
        if pubs is None:
            self.fail("$.parameters.pubs", "is missing", "Give a list of pubs, each a list that starts with a circuit")
        self.typed(pubs, list, "$.parameters.pubs", "Give a list of pubs, each a list that starts with a circuit")
        if not pubs:
            self.fail("$.parameters.pubs", "is empty", "Give at least one pub")
        for index, pub in enumerate(pubs):
            (self.sampler_pub if program == "sampler" else self.estimator_pub)(pub, f"$.parameters.pubs[{index}]")

    def options(self, parameters: dict[str, Any]) -> None:
        path = "$.parameters"
        version = parameters.get("version", 2)
        if type(version) is not int or version != 2:
            problem = f"is {version}" if is_finite(version) else f"is {describe(version)}"
            self.fail(f"{path}.version", problem, "Only version 2 of the primitives is known")
        if "support_qiskit" in parameters:
            self.typed(parameters["support_qiskit"], bool, f"{path}.support_qiskit", "Give true or false")
        options = parameters.get("options")
        if options is not None:
            self.typed(options, dict, f"{path}.options", "Give an object")
            self.shots(options.get("default_shots"), f"{path}.options.default_shots")
            self.precision(options.get("default_precision"), f"{path}.options.default_precision")
        self.shots(parameters.get("shots"), f"{path}.shots")
        self.precision(parameters.get("precision"), f"{path}.precision")

    def sampler_pub(self, pub: Any, path: str) -> None:
        self.pub(pub, path, 3, "[circuit, parameter values, shots]")
        self.values(pub[1] if len(pub) > 1 else None, f"{path}[1]")
        self.shots(pub[2] if len(pub) > 2 else None, f"{path}[2]")

    def estimator_pub(self, pub: Any, path: str) -> None:
        self.pub(pub, path, 4, "[circuit, observables, parameter values, precision]")
        if len(pub) < 2:
            self.fail(path, "has no observables", 'Add them after the circuit, such as {"ZZ": 1.0}')
        self.observables(pub[1], f"{path}[1]")
        self.values(pub[2] if len(pub) > 2 else None, f"{path}[2]")
        self.precision(pub[3] if len(pub) > 3 else None, f"{path}[3]")

    def pub(self, pub: Any, path: str, most: int, form: str) -> None:
        self.typed(pub, list, path, f"Give a list: {form}")
        if not 1 <= len(pub) <= most:
            self.fail(path, f"has {len(pub)} elements", f"A pub is {form}; what is left out may be null")
        circuit = pub[0]
        if isinstance(circuit, dict):
            if circuit.get("__type__") != "QuantumCircuit" or not isinstance(circuit.get("__value__"), str):
                self.fail(
                    f"{path}[0]",
                    "is an object, but not a QuantumCircuit",
                    'Give OpenQASM text, or {"__type__": "QuantumCircuit", "__value__": "..."}',
                )
            return
        self.typed(circuit, str, f"{path}[0]", "Give OpenQASM text, or an encoded QuantumCircuit")
        if not circuit.strip():
            self.fail(f"{path}[0]", "is empty", "Give OpenQASM text")

    def shots(self, value: Any, path: str) -> None:
        if value is None:
            return
        if type(value) is not int:
            problem = f"is {value if isinstance(value, float) else describe(value)}"
            self.fail(path, problem, "Give a whole number of shots")
        if value < 1:
            self.fail(path, f"is {value}", "Give at least 1 shot")

    def precision(self, value: Any, path: str) -> None:
        if value is None:
            return
        self.number(value, path)
        if value < 0:
            self.fail(path, f"is {value}", "Give a precision of 0 (exact) or above")

    def number(self, value: Any, path: str) -> None:
        if not is_finite(value):
            self.fail(path, f"is {value if isinstance(value, float) else describe(value)}", "Give a finite number")

    def values(self, value: Any, path: str) -> None:
        """Parameter values: nested lists of numbers, all of one shape, or an encoded ndarray."""
        if value is None or self.is_array(value, path):
            return
        self.typed(value, list, path, "Give nested lists of numbers, or an encoded ndarray")
        self.shape(value, path)

    def shape(self, value: Any, path: str, depth: int = 0) -> tuple[int, ...]:
        if not isinstance(value, list):
            self.number(value, path)
            return ()
        self.bounded(depth, path)
        if _are_numbers(value):
            return (len(value),)
        shapes = [self.shape(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
        for index, shape in enumerate(shapes):
            if shape != shapes[0]:
                self.fail(
                    f"{path}[{index}]",
                    f"has shape {shape}, the elements before it {shapes[0]}",
                    "Give every list of one level the same length",
                )
        return (len(value), *(shapes[0] if shapes else ()))

    def bounded(self, depth: int, path: str) -> None:
        if depth == _MOST_AXES:
            self.fail(path, f"is a list inside {_MOST_AXES} others", "Use fewer levels of lists")

    def is_array(self, value: Any, path: str) -> bool:
        if not isinstance(value, dict):
            return False
        if value.get("__type__") != "ndarray" or not isinstance(value.get("__value__"), str | list | int | float):
            self.fail(path, "is an object, but not an ndarray", 'Give lists, or {"__type__": "ndarray", ...}')
        return True

    def observables(self, value: Any, path: str, depth: int = 0) -> None:
        self.bounded(depth, path)
        if isinstance(value, dict) and value.get("__type__") == "ObservablesArray":
            value, path = value.get("__value__"), f"{path}.__value__"
        if isinstance(value, str):
            self.pauli(value, path)
        elif isinstance(value, dict):
            if not value:
                self.fail(path, "is empty", 'Give Pauli strings with their coefficients, such as {"ZZ": 1.0}')
            for pauli, coefficient in value.items():
                self.pauli(pauli, path)
                self.number(coefficient, f"{path}.{pauli}")
        elif isinstance(value, list) and value:
            for index, inner in enumerate(value):
                self.observables(inner, f"{path}[{index}]", depth + 1)
        else:
            self.fail(
                path,
                "is empty" if value == [] else f"is {describe(value)}",
                'Give an object such as {"ZZ": 1.0}, or nested lists of them',
            )

    def pauli(self, text: str, path: str) -> None:
        if not _PAULI.fullmatch(text):
            self.fail(
                path,
                f"holds {text[:40]!r}, which is not a Pauli string",
                "Use the letters I, X, Y and Z, one for each qubit, the rightmost for qubit 0",
            )
