"""A bare circuit file, and what the command line says about it, made into a payload of kind ``qiskit-primitive``."""

from __future__ import annotations

import base64
import math
import re
import zlib
from collections.abc import Sequence
from typing import Any, Literal

from qrmi_core.errors import ConfigError, PayloadError
from qrmi_core.kinds import is_finite

Mode = Literal["sampler", "estimator"]

# These read what strangers wrote, in time that grows with its length and no faster.
_COMMENT = re.compile(r"/(?:/[^\n]*|\*.*?(?:\*/|\Z))", re.DOTALL)
_INPUT = re.compile(r"input(?<!\winput)\s+\w+(?:\s*\[[^][;\n]*\])?\s+(\w+)\s*;")
_TERM = re.compile(r"\s*+([+-]?)\s*+(?:(\d++\.?\d*+|\.\d++)([eE][+-]?\d++)?\s*+\*?\s*+)?([IXYZ]+)\s*+")


def payload_of(
    content: bytes,
    source: str,
    *,
    is_qpy: bool,
    mode: Mode,
    shots: int | None,
    observables: Sequence[str],
    params: Sequence[str],
) -> dict[str, Any]:
    """Make a payload of a bare circuit file: OpenQASM 2 or 3 text, or QPY.

    Args:
        content: of the file.
        source: its name, for messages.
        is_qpy: it is QPY, not text.
        mode: the primitive to call.
        shots: for the sampler.
        observables: for the estimator, each a sum such as ``0.5*ZZ - XI``.
        params: ``VALUE`` in the order of declaration, or ``NAME=VALUE`` where the circuit is OpenQASM 3.

    Raises:
        PayloadError, ConfigError: the file or an option is wrong.
    """
    if is_qpy:
        circuit: Any = _qpy(content, source)
        names: list[str] = []
    else:
        try:
            circuit = content.decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            raise PayloadError(source, "", f"byte {exc.start} is not UTF-8 text", "Save the file as UTF-8") from exc
        if not circuit.strip():
            raise PayloadError(source, "", "is empty", "Write an OpenQASM program into it")
        names = _INPUT.findall(_COMMENT.sub("", circuit))
    values = bind(params, names)
    parameters: dict[str, Any] = {"version": 2, "support_qiskit": False, "options": {}}
    if mode == "sampler":
        parameters["pubs"] = [[circuit, values, shots]]
    else:
        if not observables:
            raise ConfigError.one("--observable", "", "is missing", "An estimate needs one, such as --observable ZZ")
        sums = [observable(text) for text in observables]
        parameters["pubs"] = [[circuit, sums[0] if len(sums) == 1 else sums, values]]
    return {"program_id": mode, "parameters": parameters}


def bind(params: Sequence[str], names: Sequence[str]) -> list[float] | None:
    """The values of ``--param``, in the order of the circuit's declarations *names*.

    Where the circuit declares no names that we can read, as in QPY, values are taken in their order.
    """
    given: dict[str, float] = {}
    for index, text in enumerate(params):
        written, equals, value = text.rpartition("=")
        name = written if equals else names[index] if index < len(names) else str(index)
        if (equals or names) and name not in names:
            what = f"no input {name!r}" if equals else f"{len(names)} inputs, not {len(params)}"
            known = f"The circuit declares {', '.join(names)}" if names else "Give values in order, without names"
            raise _wrong_param(f"the circuit declares {what}", known)
        if name in given:
            raise _wrong_param(f"{name!r} has two values", "Give each input one value")
        try:
            given[name] = float(value)
        except ValueError:
            given[name] = math.nan
        if not is_finite(given[name]):
            raise _wrong_param(f"{value!r} is not a finite number", "Give NAME=VALUE or VALUE")
    if missing := [name for name in names if name not in given]:
        raise _wrong_param(f"the circuit's input {', '.join(missing)} has no value", f"Add --param {missing[0]}=VALUE")
    return [given[name] for name in names] if names else list(given.values()) or None


def _wrong_param(problem: str, remedy: str) -> ConfigError:
    return ConfigError.one("--param", "", problem, remedy)


def observable(text: str) -> dict[str, float]:
    """Parse a sum of Pauli strings: ``ZZ``, ``0.5*XX - 0.25*ZI``."""
    terms: dict[str, float] = {}
    at = 0
    while match := _TERM.match(text, at):
        sign, number, exponent, pauli = match.groups()
        if at and not sign:
            break
        terms[pauli] = terms.get(pauli, 0.0) + float(f"{sign}{number or 1}{exponent or ''}")
        at = match.end()
    if at < len(text) or len(set(map(len, terms))) != 1 or not all(map(is_finite, terms.values())):
        raise ConfigError.one(
            "--observable",
            "",
            f"{text!r} is not a sum of Pauli strings of one length",
            "Write it like 0.5*ZZ - 0.25*XI, the rightmost letter for qubit 0",
        )
    return terms


def _qpy(content: bytes, source: str) -> dict[str, str]:
    if content[:6] != b"QISKIT":
        raise PayloadError(source, "", "is not a QPY file", "Write one with qiskit.qpy.dump(circuit, file)")
    if len(content) < 18:
        raise PayloadError(source, "", "is a QPY file without its end", "Write it again, or copy all of it")
    count = int.from_bytes(content[10:18], "big")
    if count != 1:
        raise PayloadError(source, "", f"holds {count} circuits", "Write one circuit into each file")
    return {"__type__": "QuantumCircuit", "__value__": base64.b64encode(zlib.compress(content)).decode()}
