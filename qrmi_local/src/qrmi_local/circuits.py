"""Circuits of payloads: read, refused where they cannot run, and made into what a simulator takes.

Three encodings are read: OpenQASM 3 and OpenQASM 2 text, and ``QuantumCircuit`` objects, which are compressed QPY. No
reader opens a file, runs code of the payload, or takes long over a bad one.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterable

import openqasm3
import qiskit_qasm3_import
from attrs import evolve, frozen
from openqasm3 import ast
from qiskit import QuantumCircuit, qasm2, qpy
from qiskit.circuit import Clbit, Parameter
from qiskit.qpy.common import QPY_VERSION

from qrmi_local import instructions
from qrmi_local._wire import Place, brief, inflate, refusing, shown, typed
from qrmi_local.limits import memory_bounded

_MAX_DEPTH = 100
_MAX_OPERATORS = 300
_MAX_BITS = 100_000
_MAX_GATE = 5_000
"""Instructions of one gate that a payload defines: the OpenQASM 3 reader writes them out at once, 2,000 in a second."""
_QPY_OLDEST = 13
"""Older formats may hold expressions that are read by evaluating them."""
_QPY_SWELLS = 50
_QPY_SPARE_BYTES = 64 * 1024**2
"""What reading may take: the reader believes sizes inside the file, and rather ends this process than a loop."""

_VERSION = re.compile(r"\s*OPENQASM\s+(\d+)")
_COMMENT = re.compile(r"/(?:/[^\n]*|\*(?:.*?\*/|.*))", re.DOTALL)
_BRACKET = re.compile(r"[(\[{]|[)\]}]")
_OPERATOR = re.compile(r"[-+*/%^&|~!<>=]")
_HARDWARE_QUBIT = re.compile(r"\$(\d+)")


@frozen
class Register:
    """A classical register as results name it."""

    name: str
    clbits: tuple[int, ...]
    """Indices in the circuit, bit 0 first."""


@frozen
class Circuit:
    """A circuit of a payload, ready to simulate."""

    circuit: QuantumCircuit
    """Only the qubits that something happens to."""
    qubits: tuple[int, ...]
    """Which qubit of the payload's circuit each qubit of `circuit` is, ascending."""
    width: int
    """Qubits of the payload's circuit."""
    is_physical: bool
    """It is written on hardware qubits: the device may have more than it names."""
    parameters: tuple[Parameter, ...]
    """In the order in which values for them are given."""
    registers: tuple[Register, ...]


def read(value: object, place: Place) -> Circuit:
    """Read the circuit *value* of a pub, drop idle qubits, and write out gates that it defines itself.

    Raises:
        PayloadError: it is no circuit, or not one that can be simulated.
    """
    if isinstance(value, str):
        text = _COMMENT.sub(" ", value)
        version = _VERSION.match(text)
        if not text.strip():
            raise place.error("is empty", "Give OpenQASM text or an encoded QuantumCircuit object")
        _check_text(text, place)
        loaded = _openqasm2(value, text, place) if version and version[1] == "2" else _openqasm3(value, place)
    elif typed(value) == "QuantumCircuit":
        loaded = _qpy(inflate(value, place), place)
    else:
        raise place.error(f"{shown(value)} is not a circuit", "Give OpenQASM text or an encoded QuantumCircuit object")
    with refusing(place, "the circuit cannot be simulated", "Write it with plainer instructions"):
        circuit, qubits = instructions.narrowed(loaded.circuit, place)
    return evolve(loaded, circuit=circuit, qubits=qubits)


def _check_text(text: str, place: Place) -> None:
    """Refuse, in linear time, what recursive parsers take long to refuse or do not survive."""
    depth = 0
    for bracket in _BRACKET.finditer(text):
        depth += 1 if bracket[0] in "([{" else -1
        if depth > _MAX_DEPTH:
            raise place.error(f"is nested deeper than {_MAX_DEPTH} levels", "Use fewer brackets inside one another")
    if any(len(_OPERATOR.findall(statement)) > _MAX_OPERATORS for statement in re.split("[;{}]", text)):
        raise place.error(f"has more than {_MAX_OPERATORS} operators in a statement", "Write out the value instead")
    if any(len(digits) > 6 or int(digits) >= _MAX_BITS for digits in _HARDWARE_QUBIT.findall(text)):
        raise place.error("names a hardware qubit that no device has", f"Use numbers below {_MAX_BITS:,}")


def _openqasm2(text: str, bare: str, place: Place) -> Circuit:
    for size in re.findall(r"\b[qc]reg\s+\w+\s*\[\s*(\d+)", bare):
        _check_size(size, place)
    with refusing(place, "is not OpenQASM 2", "Mend that place; the only include is qelib1.inc"):
        circuit = qasm2.loads(text, include_path=())
        return _as_it_is(circuit, tuple(circuit.parameters))


def _openqasm3(text: str, place: Place) -> Circuit:
    remedy = "Mend that place; `qiskit.qasm3.dumps` writes what is read here"
    with refusing(place, "is not OpenQASM 3 that can be read here", remedy):
        try:
            program = openqasm3.parse(text)
        except openqasm3.parser.QASM3ParsingError as exc:
            raise place.error(_unexpected(exc), remedy) from exc
        _check_program(program, place)
        circuit = qiskit_qasm3_import.convert(program)
        by_name = {parameter.name: parameter for parameter in circuit.parameters}
        parameters = tuple(by_name[name] for name in _inputs(program))
        loaded = _as_it_is(circuit, parameters)
        return evolve(loaded, registers=_declared(program, circuit), is_physical=circuit.layout is not None)


def _unexpected(exc: Exception) -> str:
    """Where the parser stopped. It raises an exception around one around one that knows."""
    cause = exc.__cause__.args[0] if exc.__cause__ is not None and exc.__cause__.args else None
    token = getattr(cause, "offendingToken", None)
    if token is None:
        return f"is not OpenQASM 3: {brief(exc)}"
    return f"line {token.line} column {token.column + 1} is not OpenQASM 3: {shown(token.text)} cannot stand there"


def _check_program(program: ast.Program, place: Place) -> None:
    sizes: dict[str, int] = {}
    for statement in program.statements:
        match statement:
            case ast.Include(filename=name) if name != "stdgates.inc":
                raise place.error(f"includes {shown(name)}", "Include stdgates.inc only; files are not read")
            case ast.QubitDeclaration(size=size) | ast.ClassicalDeclaration(type=ast.BitType(size=size)):
                if isinstance(size, ast.IntegerLiteral):
                    _check_size(size.value, place)
                elif size is not None:
                    written = shown(openqasm3.dumps(size))
                    raise place.error(f"declares a register of size {written}", "Write the size as a number")
            case ast.QuantumGateDefinition(name=name, body=body):
                calls = [one.name.name for one in body if isinstance(one, ast.QuantumGate)]
                sizes[name.name] = 1 + sum(sizes.get(call, 1) for call in calls)
                if sizes[name.name] > _MAX_GATE:
                    raise place.error(
                        f"gate {shown(name.name)} is too large when written out", "Use fewer levels of gates"
                    )


def _check_size(size: object, place: Place) -> None:
    if not str(size).isdecimal() or len(str(size)) > 6 or int(str(size)) > _MAX_BITS:
        raise place.error(f"declares a register of size {shown(size)}", f"Write a number up to {_MAX_BITS:,}")


def _inputs(program: ast.Program) -> list[str]:
    return [one.identifier.name for one in program.statements if isinstance(one, ast.IODeclaration)]


def _declared(program: ast.Program, circuit: QuantumCircuit) -> tuple[Register, ...]:
    """The registers by their declared names: the reader renames some, and invents others for conditions and aliases."""
    names = iter(
        one.identifier.name
        for one in program.statements
        if isinstance(one, ast.ClassicalDeclaration) and isinstance(one.type, ast.BitType) and one.type.size
    )
    seen: set[Clbit] = set()
    found = []
    for register in circuit.cregs:
        if seen.isdisjoint(register):
            found.append(Register(next(names, register.name), tuple(circuit.find_bit(bit).index for bit in register)))
        seen.update(register)
    return _with_loose_bits(found, circuit)


def _qpy(content: bytes, place: Place) -> Circuit:
    remedy = f"Write it with `qiskit.qpy.dump`, format {_QPY_OLDEST} to {QPY_VERSION}"
    with refusing(place, "is not a QPY file that can be read here", remedy):
        magic, version, _, _, _, programs, _ = struct.unpack_from("!6sBBBBQc", content)
        if magic != b"QISKIT" or not _QPY_OLDEST <= version <= QPY_VERSION:
            raise ValueError(f"it starts with {shown(magic)}, version {version}")
        if programs != 1:
            raise ValueError(f"it holds {programs} circuits, not 1")
        start = struct.calcsize("!6sBBBBQc") + 1  # the type of the program
        (offset,) = struct.unpack_from("!Q", content, start) if version >= 16 else (start,)
        _, _, _, qubits, clbits, *_ = struct.unpack_from("!H1cHIIQIQI", content, offset)
        if max(qubits, clbits) > _MAX_BITS:
            raise ValueError(f"it claims {qubits} qubits and {clbits} classical bits")
        with memory_bounded(_QPY_SPARE_BYTES + _QPY_SWELLS * len(content)):
            (circuit,) = qpy.load(io.BytesIO(content))
        return _as_it_is(circuit, tuple(circuit.parameters))


def _as_it_is(circuit: QuantumCircuit, parameters: tuple[Parameter, ...]) -> Circuit:
    registers = [Register(one.name, tuple(circuit.find_bit(bit).index for bit in one)) for one in circuit.cregs]
    width = circuit.num_qubits
    return Circuit(circuit, tuple(range(width)), width, False, parameters, _with_loose_bits(registers, circuit))


def _with_loose_bits(registers: Iterable[Register], circuit: QuantumCircuit) -> tuple[Register, ...]:
    """Classical bits without a register get one named ``c``, as at IBM, or the first free of ``c0``, ``c1``, ..."""
    found = [register for register in registers if register.clbits]
    named = {index for register in found for index in register.clbits}
    if loose := tuple(index for index in range(circuit.num_clbits) if index not in named):
        taken = {register.name for register in found}
        names = iter(["c", *(f"c{number}" for number in range(len(found) + 1))])
        found.append(Register(next(name for name in names if name not in taken), loose))
    return tuple(found)
