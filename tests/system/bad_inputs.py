"""Everything that users get wrong, as far as we could think of it: a table for `test_bad_input.py`.

Each row is what `qrun` is given, where its message must say that the fault is, and a word of what it must say.
"""

from __future__ import annotations

import base64
import copy
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

DATA = Path(__file__).parents[1] / "data"
P = "p.json"
HEAD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
BELL = HEAD + "bit[2] c;\nqubit[2] q;\nh q[0];\ncx q[0], q[1];\nc = measure q;\n"
PREPARED = HEAD + "qubit[2] q;\nh q[0];\ncx q[0], q[1];\n"
ROTATED = HEAD + "input float[64] a;\ninput float[64] b;\nbit c;\nqubit q;\nrx(a) q;\nrz(b) q;\nc = measure q;\n"
QASM2 = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[1];\ncreg c[1];\n'

Content = bytes | str | Callable[[], bytes]


@frozen(kw_only=True)
class BadInput:
    """One row."""

    name: str
    words: tuple[str, ...]
    """Of the command line, after `qrun`."""
    at: str
    """What the message begins with: the file and the JSON path in it, or the option."""
    says: str = ""
    files: Mapping[str, Content] = field(factory=dict, repr=False)
    environment: Mapping[str, str] = field(factory=dict)
    faults: int = 1
    """How many lines there are: a configuration file is told all its faults at once."""
    simulator: str = "gates"
    """Which module of `qrmi_local` refuses it, unless the core does."""


def of_file(name: str, content: Content, at: str, says: str = "", *options: str) -> BadInput:
    """A row about the payload file p.json."""
    return BadInput(name=name, words=(P, *options), at=f"{P}: {at}", says=says, files={P: content})


def of_sequence(name: str, content: Content, at: str, says: str = "") -> BadInput:
    """A row about the payload file p.json, which holds a Pulser sequence."""
    return evolve(of_file(name, content, at, says), simulator="pulses")


def of_circuit(name: str, circuit: str, says: str) -> BadInput:
    """A row about a bare circuit, whose faults are those of the payload made of it."""
    return BadInput(
        name=name,
        words=("sample", "c.qasm"),
        at="c.qasm: $.parameters.pubs[0][0]: ",
        says=says,
        files={"c.qasm": circuit},
    )


def of_options(name: str, at: str, says: str, *words: str, **environment: str) -> BadInput:
    """A row about the command line or the environment, around a circuit that is right."""
    return BadInput(
        name=name,
        words=words,
        at=at,
        says=says,
        files={"bell.qasm": BELL, "rotated.qasm": ROTATED, P: sampler([BELL]), "pulses.json": pulses()},
        environment=environment,
    )


def of_configuration(name: str, resource: Any, at: str, says: str = "", **more: Any) -> BadInput:
    """A row about a configuration file of one resource."""
    document = {"resources": [{"name": "sim", "type": "local", **resource}], **more}
    return BadInput(
        name=name,
        words=("--config", "c.json", "bell.qasm"),
        at=f"c.json: {at}",
        says=says,
        files={"bell.qasm": BELL, "c.json": json.dumps(document)},
    )


def sampler(*pubs: Any, **parameters: Any) -> str:
    return json.dumps({"program_id": "sampler", "parameters": {"pubs": pubs, "version": 2, **parameters}})


def estimator(*pubs: Any, **parameters: Any) -> str:
    return json.dumps({"program_id": "estimator", "parameters": {"pubs": pubs, "version": 2, **parameters}})


def ndarray(content: bytes) -> dict[str, str]:
    return {"__type__": "ndarray", "__value__": base64.b64encode(zlib.compress(content)).decode()}


def npy(header: str, content: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + content


def circuit_object(text: str) -> dict[str, str]:
    return {"__type__": "QuantumCircuit", "__value__": text}


def qpy_text(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content)).decode()


@cache
def qpy() -> bytes:
    """The QPY of a Bell circuit."""
    document = json.loads((DATA / "sampler_bell_runtime_encoded.json").read_text())
    return zlib.decompress(base64.b64decode(document["parameters"]["pubs"][0][0]["__value__"]))


def two_circuits() -> bytes:
    """A QPY file that says it holds two."""
    return qpy()[:10] + (2).to_bytes(8, "big") + qpy()[18:]


@cache
def bomb(start: bytes) -> str:
    """Some hundred kilobytes of text that unpack to 600 MB."""
    packer = zlib.compressobj(1)
    parts = [packer.compress(start), *(packer.compress(bytes(1 << 20)) for _ in range(600)), packer.flush()]
    return base64.b64encode(b"".join(parts)).decode()


def pulses(change: Callable[[dict[str, Any]], Any] = lambda _: None, **members: Any) -> str:
    """The payload of the two-atom sample, its sequence changed by *change*, and *members* beside it."""
    document = copy.deepcopy(_two_atoms())
    change(document["sequence"])
    return json.dumps({**document, **members})


@cache
def _two_atoms() -> dict[str, Any]:
    return json.loads((DATA / "pulser_2q_sequence.json").read_text())  # type: ignore[no-any-return]


def parametrised(sequence: dict[str, Any]) -> None:
    """Make the amplitude of the pulse a variable."""
    sequence["variables"] = {"amp": {"type": "float", "value": [0.0]}}
    sequence["operations"][0]["amplitude"]["value"] = {"expression": "index", "lhs": {"variable": "amp"}, "rhs": 0}


def _computed(member: str) -> Callable[[dict[str, Any]], None]:
    """Arithmetic that makes much of a harmless variable."""

    def change(sequence: dict[str, Any]) -> None:
        dtype, operator, rhs = ("int", "mul", 100_000) if member == "duration" else ("float", "pow", 1e6)
        sequence["variables"] = {"d": {"type": dtype, "value": [1]}}
        value = {
            "expression": operator,
            "lhs": {"expression": "index", "lhs": {"variable": "d"}, "rhs": 0},
            "rhs": rhs,
        }
        for part in ("amplitude", "detuning") if member == "duration" else ("amplitude",):
            sequence["operations"][0][part][member] = value
        _endless(sequence)

    return change


def _long(sequence: dict[str, Any]) -> None:
    """Each pulse is as long as one may be, nearly."""
    for part in ("amplitude", "detuning"):
        sequence["operations"][0][part]["duration"] = 9_000_000
    sequence["operations"] *= 6
    _endless(sequence)


def _endless(sequence: dict[str, Any]) -> None:
    """Take the limits off its device, so that no other check comes first."""
    sequence["device"]["max_sequence_duration"] = 10**12
    for channel in sequence["device"]["channels"]:
        channel |= {"max_duration": 10**12, "max_amp": 1e300}


def on_device(**limits: Any) -> Callable[[dict[str, Any]], None]:
    return lambda sequence: sequence["device"].update(limits)


def _put(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(sequence: dict[str, Any]) -> None:
        place: Any = sequence
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return change


def _without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda sequence: sequence.pop(name)


PUB = "$.parameters.pubs[0]"


def not_json() -> Iterator[BadInput]:
    yield of_file("broken JSON", '{"program_id": "sampler",', "$: ", "line 1 column")
    yield of_file("an empty file", "", "$: ", "is empty")
    yield of_file("a file of blanks", "  \n\n ", "$: ", "is empty")
    yield of_file("two documents", "{} {}", "$: ", "Extra data")
    yield of_file("NaN", '{"program_id": "sampler", "x": NaN}', "$: ", "NaN")
    yield of_file("infinity", '{"program_id": "sampler", "x": -Infinity}', "$: ", "-Infinity")
    yield of_file("a number above all floats", '{"program_id": "sampler", "x": 1e999}', "$: ", "1e999")
    yield of_file("a number of 5000 digits", '{"x": ' + "1" * 5000 + "}", "$: ", "5000 digits")
    yield of_file("one member twice", '{"program_id": "sampler", "program_id": "estimator"}', "$: ", "'program_id'")
    yield of_file("text that is not UTF-8", '{"program_id": "Grüße"}'.encode("latin-1"), "$: ", "UTF-8")
    yield of_file("text in UTF-16", "{}".encode("utf-16"), "$: ", "UTF-8")
    yield of_file("a byte-order mark before a fault", b"\xef\xbb\xbf[]", "$: ", "a list")
    yield of_file("20 MB of nesting", b"[" * 20_000_000, "$: ", "nested too deeply")
    yield of_file("a terminal's control characters", '{"\\u001b]0;owned\\u0007": 1}', "$: ", "no kind that we know")
    yield of_file("a picture", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "$: ", "UTF-8")


def not_a_payload() -> Iterator[BadInput]:
    yield of_file("a list", "[1, 2]", "$: ", "a list")
    yield of_file("a number", "3", "$: ", "a number")
    yield of_file("an object of no kind", '{"circuit": "x"}', "$: ", "'circuit'")
    yield of_file("a program that is a number", '{"program_id": 5}', "$.program_id: ", "a number")
    yield of_file(
        "an unknown program", '{"program_id": "noise-learner", "parameters": {}}', "$.program_id: ", "noise-learner"
    )
    yield of_file("no parameters", '{"program_id": "sampler"}', "$.parameters: ", "missing")
    yield of_file("parameters that are a list", '{"program_id": "sampler", "parameters": []}', "$.parameters: ", "list")
    yield of_file("no pubs", '{"program_id": "sampler", "parameters": {}}', "$.parameters.pubs: ", "missing")
    yield of_file("an empty list of pubs", sampler(), "$.parameters.pubs: ", "empty")
    yield of_file("a pub that is text", sampler(BELL), f"{PUB}: ", "text")
    yield of_file("a pub of five elements", sampler([BELL, None, 1, 2, 3]), f"{PUB}: ", "5 elements")
    yield of_file("a circuit that is null", sampler([None]), f"{PUB}[0]: ", "null")
    yield of_file("a circuit of blanks", sampler(["  "]), f"{PUB}[0]: ", "empty")
    yield of_file("a circuit that is some object", sampler([{"qasm": BELL}]), f"{PUB}[0]: ", "QuantumCircuit")
    yield of_file("version 1", sampler([BELL], version=1), "$.parameters.version: ", "is 1")
    yield of_file("a version that is text", sampler([BELL], version="2"), "$.parameters.version: ", "text")
    yield of_file("options that are a list", sampler([BELL], options=[]), "$.parameters.options: ", "a list")
    yield of_file(
        "support_qiskit as text", sampler([BELL], support_qiskit="no"), "$.parameters.support_qiskit: ", "text"
    )


def numbers_of_shots() -> Iterator[BadInput]:
    for name, shots in (("negative", -5), ("zero", 0), ("fractional", 10.5), ("true", True), ("textual", "100")):
        yield of_file(f"{name} shots", sampler([BELL, None, shots]), f"{PUB}[2]: ")
    yield of_file("a million million shots", sampler([BELL, None, 10**12]), PUB, "memory")
    yield of_file("zero default shots", sampler([BELL], options={"default_shots": 0}), "$.parameters.options.default_")
    yield of_file("a negative precision", estimator([PREPARED, "ZZ", None, -0.1]), f"{PUB}[3]: ", "-0.1")
    yield of_file("a precision that is true", estimator([PREPARED, "ZZ"], precision=True), "$.parameters.precision: ")


def parameter_values() -> Iterator[BadInput]:
    at = f"{PUB}[1]"
    yield of_file("ragged values", sampler([ROTATED, [[1, 2], [3]]]), f"{at}[1]: ", "shape")
    yield of_file("too few values", sampler([ROTATED, [1.0]]), at, "2")
    yield of_file("too many values", sampler([ROTATED, [1.0, 2.0, 3.0]]), at, "2")
    yield of_file("no values for a circuit that needs them", sampler([ROTATED]), PUB, "2")
    yield of_file("values for a circuit without inputs", sampler([BELL, [1.0]]), at)
    yield of_file("values by name", sampler([ROTATED, {"a": 1.0, "b": 2.0}]), f"{at}: ", "ndarray")
    yield of_file("values that are text", sampler([ROTATED, ["1", "2"]]), f"{at}[0]: ", "text")
    yield of_file("a thousand levels of values", sampler([ROTATED, json.loads("[" * 400 + "]" * 400)]), at, "32")
    yield of_file(
        "an array of base64 garbage", sampler([ROTATED, {"__type__": "ndarray", "__value__": "@@@"}]), f"{at}: "
    )
    yield of_file(
        "an array that is a decompression bomb",
        lambda: sampler([ROTATED, {"__type__": "ndarray", "__value__": bomb(b"\x93NUMPY\x01\x00")}]).encode(),
        f"{at}: ",
    )
    pickled = npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", b"cos\nsystem\n(S'touch owned'\ntR.")
    yield of_file("an array that is a pickle", sampler([ROTATED, ndarray(pickled)]), f"{at}: ")
    huge = npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 2), }\n")
    yield of_file("an array that claims a shape it has not", sampler([ROTATED, ndarray(huge)]), f"{at}: ")
    nan = npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }\n", b"\x00\x00\x00\x00\x00\x00\xf8\x7f" * 2)
    yield of_file("an array of NaN", sampler([ROTATED, ndarray(nan)]), f"{at}: ", "finite")


def circuits() -> Iterator[BadInput]:
    yield of_circuit("an unknown gate", HEAD + "qubit q;\nbit c;\nhadamard q;\nc = measure q;\n", "hadamard")
    yield of_circuit("a syntax error", HEAD + "qubit[2 q;\n", "")
    yield of_circuit("an unknown include", 'OPENQASM 3.0;\ninclude "mygates.inc";\nqubit q;\n', "mygates.inc")
    yield of_circuit(
        "an include of a file of the system", 'OPENQASM 3.0;\ninclude "../../etc/passwd";\nqubit q;\n', "passwd"
    )
    yield of_circuit("an OpenQASM 2 include of a file", 'OPENQASM 2.0;\ninclude "/etc/passwd";\nqreg q[1];\n', "passwd")
    yield of_circuit("an OpenQASM 2 syntax error", QASM2 + "h q[0]\nmeasure q -> c;\n", "")
    yield of_circuit("an OpenQASM 2 index out of range", QASM2 + "h q[7];\nmeasure q -> c;\n", "")
    yield of_circuit("an unknown version of OpenQASM", "OPENQASM 9.0;\nqubit q;\n", "")
    yield of_circuit("no measurement", PREPARED, "measure")
    yield of_circuit("an index out of range", HEAD + "qubit[2] q;\nbit c;\nx q[5];\nc = measure q[0];\n", "")
    yield of_circuit("a million qubits", HEAD + "qubit[1000000] q;\nbit c;\nh q[0];\nc = measure q[0];\n", "1000000")
    yield of_circuit("20 MB of parentheses", HEAD + "qubit q;\nrx(" + "(" * 20_000_000, "")
    yield of_circuit(
        "a gate of gates of gates", HEAD + _doubling(40) + "qubit q;\nbit c;\ng40 q;\nc = measure q;\n", "g"
    )
    entangled = "".join(f"cx q[{bit}], q[{bit + 1}];\nry(0.3) q[{bit}];\n" for bit in range(49))
    dense = f"{HEAD}qubit[50] q;\nbit[50] c;\n{entangled}c = measure q;\n"
    yield of_file("50 entangled qubits", sampler([dense]), f"{PUB}: ", "memory")
    yield BadInput(
        name="a circuit that is empty",
        words=("sample", "c.qasm"),
        at="c.qasm: ",
        says="empty",
        files={"c.qasm": " \n"},
    )
    yield BadInput(
        name="a circuit that is not UTF-8",
        words=("c.qasm",),
        at="c.qasm: ",
        says="UTF-8",
        files={"c.qasm": b"\xff\xfe"},
    )


def _doubling(levels: int) -> str:
    """Gates that are written out to 2 to the power of *levels* instructions."""
    return "gate g0 a { x a; }\n" + "".join(
        f"gate g{n} a {{ g{n - 1} a; g{n - 1} a; }}\n" for n in range(1, levels + 1)
    )


def binary_circuits() -> Iterator[BadInput]:
    at = f"{PUB}[0]: "
    yield of_file("a circuit of base64 garbage", sampler([circuit_object("!!!!")]), at, "unpacked")
    yield of_file("a circuit that is no zlib", sampler([circuit_object("QUJDRA==")]), at, "unpacked")
    yield of_file("a circuit that is no QPY", sampler([circuit_object(qpy_text(b"nonsense" * 40))]), at, "QPY")
    yield of_file(
        "a circuit that is a decompression bomb", lambda: sampler([circuit_object(bomb(b"QISKIT\x0d"))]).encode(), at
    )
    yield of_file("a truncated circuit", lambda: sampler([circuit_object(qpy_text(qpy()[:200]))]).encode(), at, "QPY")
    yield of_file("two circuits in one", lambda: sampler([circuit_object(qpy_text(two_circuits()))]).encode(), at, "2")
    for name, content, says in (
        ("a QPY file of two circuits", two_circuits, "2 circuits"),
        ("a QPY file of a few bytes", b"QISKIT\x0d", "end"),
        ("a QPY file that is text", b"OPENQASM 3;", "QPY"),
    ):
        yield BadInput(name=name, words=("c.qpy",), at="c.qpy: ", says=says, files={"c.qpy": content})
    yield BadInput(
        name="a truncated QPY file",
        words=("c.qpy",),
        at="c.qpy: $.parameters.pubs[0][0]: ",
        says="QPY",
        files={"c.qpy": lambda: qpy()[:150]},
    )


def observables() -> Iterator[BadInput]:
    at = f"{PUB}[1]"
    yield of_file("no observables", estimator([PREPARED]), f"{PUB}: ", "no observables")
    yield of_file("an empty list of observables", estimator([PREPARED, []]), f"{at}: ", "empty")
    yield of_file("an empty observable", estimator([PREPARED, {}]), f"{at}: ", "empty")
    yield of_file("a Pauli string of wrong letters", estimator([PREPARED, {"ZQ": 1.0}]), f"{at}: ", "'ZQ'")
    yield of_file("a Pauli string that is too long", estimator([PREPARED, {"ZZZ": 1.0}]), f"{at}: ", "3 letters")
    yield of_file("a Pauli string that is too short", estimator([PREPARED, "Z"]), f"{at}: ", "2 qubits")
    yield of_file("a coefficient that is text", estimator([PREPARED, {"ZZ": "1"}]), f"{at}.ZZ: ", "text")
    yield of_file(
        "a thousand levels of observables", estimator([PREPARED, json.loads("[" * 400 + "]" * 400)]), at, "32"
    )
    turned = HEAD + "input float[64] a;\nqubit q;\nrx(a) q;\n"
    shapes = estimator([turned, ["Z", "X"], [[0.1], [0.2], [0.3]]])
    yield of_file("shapes that do not broadcast", shapes, PUB, "broadcast")


def sequences() -> Iterator[BadInput]:
    at = "$.sequence"
    yield of_sequence("no runs", json.dumps({"sequence": _two_atoms()["sequence"]}), "$.job_runs: ", "missing")
    for name, runs in (("zero", 0), ("negative", -1), ("fractional", 1.5), ("true", True), ("textual", "10")):
        yield of_sequence(f"{name} runs", pulses(job_runs=runs), "$.job_runs: ")
    yield of_sequence("more runs than the device allows", pulses(job_runs=1001), "$.job_runs: ", "1000")
    yield of_sequence("a sequence that is a number", json.dumps({"sequence": 5, "job_runs": 1}), f"{at}: ", "a number")
    yield of_sequence(
        "a sequence that is other text", json.dumps({"sequence": "hello", "job_runs": 1}), f"{at}: ", "text"
    )
    thrice = _two_atoms()["sequence"]
    for _ in range(3):
        thrice = json.dumps(thrice)
    yield of_sequence(
        "a sequence encoded three times", json.dumps({"sequence": thrice, "job_runs": 1}), f"{at}: ", "text"
    )
    old = {"_build": True, "__module__": "pulser.sequence", "__name__": "Sequence", "__args__": [], "__kwargs__": {}}
    yield of_sequence("the format of old Pulsers", json.dumps({"sequence": old, "job_runs": 1}), f"{at}: ", "format")
    yield of_sequence("no pulses", pulses(_put("operations", value=[])), f"{at}: ", "no operations")
    yield of_sequence("no register", pulses(_without("register")), at, "register")
    yield of_sequence("no channels", pulses(_without("channels")), at, "channels")
    yield of_sequence("no operations", pulses(_without("operations")), at, "operations")
    yield of_sequence("a register without coordinates", pulses(_put("register", value=[{"name": "q0"}])), at)
    yield of_sequence(
        "a register that is an object", pulses(_put("register", value={"q0": [0, 0]})), f"{at}.register: "
    )
    close = _put("register", value=[{"name": "q0", "x": 0, "y": 0}, {"name": "q1", "x": 0.5, "y": 0}])
    yield of_sequence("atoms too close together", pulses(close), f"{at}: ")
    yield of_sequence(
        "an unknown device", pulses(_put("device", value={"name": "Nowhere", "version": "1"})), f"{at}.device: "
    )
    yield of_sequence("an unknown channel", pulses(_put("channels", value={"ryd": "raman_of_nowhere"})), f"{at}: ")
    yield of_sequence(
        "a pulse on a channel that is not declared", pulses(_put("operations", 0, "channel", value="x")), at
    )
    yield of_sequence("a pulse of an hour", pulses(_put("operations", 0, "amplitude", "duration", value=3.6e12)), at)
    yield of_sequence("a variable without a value", pulses(parametrised), "$.variables: ", "amp")
    yield of_sequence("an unknown variable", pulses(variables={"amp": 1.0}), "$.variables.amp: ", "not a variable")
    yield of_sequence("a variable that is text", pulses(parametrised, variables={"amp": "1"}), "$.variables.amp: ")
    yield of_sequence("variables that are a list", pulses(parametrised, variables=[1]), "$.variables: ", "a list")
    yield of_sequence("an amplitude above the channel's", pulses(parametrised, variables={"amp": 1e6}), "$.")
    crowd = [{"name": f"q{n}", "x": 5.0 * (n % 10), "y": 5.0 * (n // 10)} for n in range(100)]
    for span, number in (("a second", 10_000), ("an hour", 9_000_000)):
        endless = pulses(_computed("duration"), variables={"d": number})
        yield of_sequence(f"a computed duration of {span}", endless, at, "memory")
    yield of_sequence("a computed amplitude without bound", pulses(_computed("value"), variables={"d": 9e6}), "$.")
    yield of_sequence("many long pulses", pulses(_long), at, "in all its parts")
    yield of_sequence(
        "two atoms of one name", pulses(_put("register", 1, "name", value="q0")), f"{at}.register[1].name"
    )
    yield of_sequence("a hundred atoms", pulses(_put("register", value=crowd)), at, "memory")


def options() -> Iterator[BadInput]:
    see = "See qrun --help"
    yield of_options("an unknown option", "unrecognized arguments: --shot", see, "bell.qasm", "--shot", "5")
    yield of_options("no payload", "the following arguments are required: PAYLOAD", see)
    yield of_options("two outputs", "qrun: ", "3 names", "bell.qasm", "a.json", "b.json")
    yield of_options("an option without its value", "argument --timeout", see, "bell.qasm", "--timeout")
    yield of_options("shots that are no number", "argument --shots", see, "bell.qasm", "--shots", "many")
    yield of_options("no shots at all", "--shots: ", "at least 1", "bell.qasm", "--shots", "0")
    for value in ("0", "-3", "nan", "inf", "1e300"):
        yield of_options(f"a time limit of {value}", "--timeout: ", "seconds", "bell.qasm", f"--timeout={value}")
    yield of_options("a time limit that is no number", "argument --timeout", see, "bell.qasm", "--timeout", "1h")
    yield of_options("a key of no characters", "--key: ", "256", "bell.qasm", "--key", "")
    yield of_options("a key with a line break", "--key: ", "256", "bell.qasm", "--key", "a\nb")
    yield of_options("a parameter that is no number", "--param: ", "'x'", "rotated.qasm", "--param", "a=x")
    yield of_options("a parameter that is NaN", "--param: ", "'nan'", "rotated.qasm", "--param", "a=nan")
    yield of_options("a parameter of another name", "--param: ", "'c'", "rotated.qasm", "--param", "c=1")
    yield of_options("a parameter too few", "--param: ", "input b", "rotated.qasm", "--param", "a=1")
    yield of_options(
        "a parameter too many", "--param: ", "3", "rotated.qasm", "--param", "1", "--param", "2", "--param", "3"
    )
    yield of_options("a parameter twice", "--param: ", "'a'", "rotated.qasm", "--param", "a=1", "--param", "a=2")
    yield of_options("no observable", "--observable: ", "missing", "estimate", "bell.qasm")
    for value in ("hello", "1.2.3*ZZ", "1e999*ZZ", "ZZ + X", "", "ZZ ZZ"):
        yield of_options(f"the observable {value!r}", "--observable: ", "Pauli", "bell.qasm", f"--observable={value}")
    yield of_options(
        "an observable of other qubits", "bell.qasm: ", "3 letters", "estimate", "bell.qasm", "--observable=ZZZ"
    )
    yield of_options("shots for an estimate", "--shots: ", "estimate", "bell.qasm", "--observable=ZZ", "--shots", "5")
    yield of_options("shots for a payload file", "--shots: ", "Leave it out", P, "--shots", "5")
    yield of_options("a mode for a payload file", "sample or estimate: ", "Leave it out", "sample", P)
    yield of_options("a variable that is no number", "--var: ", "NAME=NUMBER", "pulses.json", "--var", "amp=x")
    yield of_options("a variable without a name", "--var: ", "NAME=NUMBER", "pulses.json", "--var", "=1")
    yield of_options("a variable for a circuit", "--var: ", "Leave it out", "bell.qasm", "--var", "a=1")
    yield of_options("the wrong kind", f"{P}: $: ", "--kind says pulser", P, "--kind", "pulser")
    yield of_options("a kind that the resource does not know", f"{P}: ", "'annealing'", P, "--kind", "annealing")
    yield of_options("a payload that is not there", "nowhere.json: ", "No such file", "nowhere.json")
    yield of_options("a payload that is a folder", "/: ", "folder", "/")
    yield of_options("a payload that has no end", "/dev/zero: ", "larger than", "/dev/zero")
    yield of_options("an empty standard input", "standard input: ", "empty", "-")


def outputs() -> Iterator[BadInput]:
    yield of_options("an output in a folder that is not there", "no/r.json: ", "No such file", "bell.qasm", "no/r.json")
    yield of_options("an output that is a folder", "/tmp: ", "folder", "bell.qasm", "/tmp")
    yield of_options("an output of an endless name", "xxx", "too long", "bell.qasm", "x" * 300)
    yield of_options("an unknown sign in an output", "OUTPUT: ", "'%x'", "bell.qasm", "r-%x.json")
    yield of_options("a lonely % in an output", "OUTPUT: ", "'%'", "bell.qasm", "r%")
    yield of_options(
        "one output for several tasks", "OUTPUT: ", "%t", "bell.qasm", "r.json", "--each-task", SLURM_NTASKS="4"
    )


def resources() -> Iterator[BadInput]:
    job = {"QRMI_JOB_QPU_RESOURCES": "sim", "QRMI_JOB_QPU_TYPES": "local"}
    lists = "QRMI_JOB_QPU_RESOURCES: "
    yield of_options("an unknown resource", "resources: ", "'nowhere'", "bell.qasm", "--qpu", "nowhere")
    yield of_options("a misspelt resource", "resources: ", "mean local", "bell.qasm", "--qpu", "lokal")
    yield of_options(
        "lists of different lengths", lists, "1 types", "bell.qasm", **{**job, "QRMI_JOB_QPU_RESOURCES": "a,b"}
    )
    yield of_options(
        "a resource that climbs out of its folder",
        lists,
        "'../x'",
        "bell.qasm",
        **{**job, "QRMI_JOB_QPU_RESOURCES": "../x"},
    )
    yield of_options(
        "one resource twice",
        lists,
        "2 times",
        "bell.qasm",
        QRMI_JOB_QPU_RESOURCES="a,a",
        QRMI_JOB_QPU_TYPES="local,local",
    )
    several = {"QRMI_JOB_QPU_RESOURCES": "a,b", "QRMI_JOB_QPU_TYPES": "local,local"}
    yield of_options("several resources and no choice", "resources: ", "--qpu", "bell.qasm", **several)
    yield of_options(
        "a type that is not installed", "type 'pasqal-cloud': ", "pip install", "bell.qasm",
        **{**job, "QRMI_JOB_QPU_TYPES": "pasqal-cloud"},
    )  # fmt: skip
    yield of_options(
        "a type that nobody knows",
        "type 'quantum': ",
        "spelling",
        "bell.qasm",
        **{**job, "QRMI_JOB_QPU_TYPES": "quantum"},
    )
    yield of_options(
        "a time limit of a job that is no number",
        "sim_QRMI_JOB_TIMEOUT_SECONDS: ",
        "'soon'",
        "bell.qasm",
        **job,
        sim_QRMI_JOB_TIMEOUT_SECONDS="soon",
    )
    setting = "the environment: sim.QRMI_LOCAL_"
    for name, value in (
        ("SEED", "-1"),
        ("SEED", "one"),
        ("METHOD", "magic"),
        ("NOISE", "maybe"),
        ("DEFAULT_SHOTS", "0"),
        ("THREADS", "1.5"),
        ("MEMORY_LIMIT_BYTES", "4G"),
    ):
        variables = {**job, f"sim_QRMI_LOCAL_{name}": value}
        yield of_options(f"{value} for {name}", f"{setting}{name}: ", value, "bell.qasm", **variables)
    yield of_options(
        "a misspelt setting", f"{setting}SEEDS: ", "Did you mean QRMI_LOCAL_SEED?", "bell.qasm",
        **job, sim_QRMI_LOCAL_SEEDS="1",
    )  # fmt: skip
    yield of_options("an unknown level of events", "$QRMI_LOG_LEVEL: ", "'loud'", "bell.qasm", QRMI_LOG_LEVEL="loud")
    yield of_options("a state folder that is a file", "$QRMI_STATE_DIR", "", "bell.qasm", QRMI_STATE_DIR="/dev/null")


def configurations() -> Iterator[BadInput]:
    yield of_configuration("an unknown key", {"lane": 1}, "resources[0].lane: ", "did you mean lanes?")
    yield of_configuration("an unknown key of the file", {}, "ressources: ", "did you mean resources?", ressources=[])
    yield of_configuration("no type", {"type": ""}, "resources[0].type: ", "empty")
    yield of_configuration("a name with a blank", {"name": "my sim"}, "resources[0].name: ", "'my sim'")
    yield of_configuration("lanes that are text", {"lanes": "2"}, "resources[0].lanes: ", "text")
    yield of_configuration("no lanes", {"lanes": 0}, "resources[0].lanes: ", "is 0")
    yield of_configuration("users that are one text", {"allow": {"users": "bob"}}, "resources[0].allow.users: ", "list")
    yield of_configuration("an unknown access", {"access": "door"}, "resources[0].access: ", "'door'")
    yield of_configuration("a setting that is a list", {"environment": {"A": []}}, "resources[0].environment.A: ")
    yield of_configuration("a misspelt policy", {}, "unknown: ", "'ignore'", unknown="ignore")
    yield of_configuration(
        "a secret whose file is not there",
        {"environment": {"QRMI_LOCAL_X_TOKEN": {"file": "/nowhere/token"}}},
        "resources[0].environment.QRMI_LOCAL_X_TOKEN: ",
        "/nowhere/token",
    )
    two = [{"name": "a-b", "type": "local"}, {"name": "a_b", "type": "local"}]
    yield of_configuration("names that shells cannot tell apart", {}, "resources: ", "a_b", resources=two)
    yield of_configuration("two of one name", {}, "resources: ", "'a-b'", resources=[two[0], two[0]])
    exposed = {"resources": [{"name": "sim", "type": "local", "environment": {"ACME_API_KEY": "canary-5f1c"}}]}
    for name, content, at, says, faults in (
        ("a configuration that is broken JSON", "{", "c.json: $: ", "line 1", 1),
        ("a configuration that is a list", "[]", "c.json: ", "a list", 1),
        (
            "a secret that everybody can read",
            json.dumps(exposed),
            "c.json: resources[0].environment.",
            "chmod o-rwx",
            1,
        ),
        ("three faults at once", '{"resources": [{"nam": "x"}]}', "c.json: resources[0].", "", 3),
    ):
        yield BadInput(
            name=name,
            words=("--config", "c.json", "bell.qasm"),
            at=at,
            says=says,
            files={"c.json": content, "bell.qasm": BELL},
            faults=faults,
        )
    yield of_options(
        "a configuration that is not there", "no.json: ", "No such file", "--config", "no.json", "bell.qasm"
    )
    yield of_options("a configuration that is a folder", "/: ", "cannot be read", "bell.qasm", QRMI_CONFIG="/")
    yield of_options(
        "a configuration that has no end", "/dev/zero: ", "larger than", "bell.qasm", QRMI_CONFIG="/dev/zero"
    )


BAD_INPUTS = [
    *not_json(),
    *not_a_payload(),
    *numbers_of_shots(),
    *parameter_values(),
    *circuits(),
    *binary_circuits(),
    *observables(),
    *sequences(),
    *options(),
    *outputs(),
    *resources(),
    *configurations(),
]
