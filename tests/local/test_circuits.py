"""Reading circuits: every encoding, the order of parameters and names of registers, and what means harm."""

from __future__ import annotations

import base64
import contextlib
import io
import math
import os
import resource
import signal
import struct
import subprocess
import sys
import time
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, qasm2, qasm3, qpy
from qiskit.circuit import Clbit, Gate, Parameter, Qubit

from qrmi_core import PayloadError
from qrmi_local import circuits, instructions, limits
from qrmi_local._wire import Place
from qrmi_local.circuits import Register

HERE = Place("circuit.json")
HEAD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
HEAD_2 = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'


def as_object(content: bytes) -> dict[str, str]:
    """An encoded circuit object with these bytes inside."""
    return {"__type__": "QuantumCircuit", "__value__": base64.b64encode(zlib.compress(content)).decode()}


def as_qpy(*given: QuantumCircuit, version: int | None = None) -> bytes:
    """The bytes of a QPY file."""
    stream = io.BytesIO()
    qpy.dump(list(given), stream, **({} if version is None else {"version": version}))
    return stream.getvalue()


def read(value: object) -> circuits.Circuit:
    """Read a circuit of a pub."""
    return circuits.read(value, HERE)


def bell() -> QuantumCircuit:
    """Two qubits, two classical bits in register `c`."""
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    return circuit


@pytest.mark.parametrize(
    "value",
    [
        qasm3.dumps(bell()),
        qasm2.dumps(bell()),
        "// a comment; of {two\n/* kinds */\n" + qasm3.dumps(bell()),
        "// OPENQASM 3.0;\n" + qasm2.dumps(bell()),
        as_object(as_qpy(bell())),
        as_object(as_qpy(bell(), version=13)),
        as_object(as_qpy(bell(), version=17)),
    ],
    ids=["qasm3", "qasm2", "qasm3 commented", "qasm2 commented", "qpy", "qpy 13", "qpy 17"],
)
def test_every_encoding_gives_the_same_circuit(value):
    """A circuit means something else in one of its encodings."""
    found = read(value)

    assert {"h": 1, "cx": 1, "measure": 2} == dict(found.circuit.count_ops())
    assert (Register("c", (0, 1)),) == found.registers
    assert (0, 1) == found.qubits


class TestParameters:
    """Which value belongs to which parameter."""

    @given(st.permutations([f"p{i}" for i in range(12)]))
    @settings(max_examples=15, deadline=None)
    def test_of_openqasm_3_come_in_the_order_of_their_declarations(self, names):
        """Values are bound by the alphabet, so that the tenth is taken for the second."""
        inputs = "".join(f"input float[64] {name};\n" for name in names)
        gates = "".join(f"rx({name}) q[0];\n" for name in sorted(names))
        found = read(f"{HEAD}// input float[64] zero;\n{inputs}qubit[1] q;\n{gates}")

        assert names == [parameter.name for parameter in found.parameters]

    def test_of_a_vector_keep_their_indices(self):
        """The eleventh element of a vector that qiskit exported changes places with the second."""
        text = HEAD + "".join(f"input float[64] _p_{i}_;\n" for i in range(11)) + "qubit[11] q;\n"
        found = read(text + "".join(f"rx(_p_{i}_) q[{i}];\n" for i in range(11)))

        assert [f"_p_{i}_" for i in range(11)] == [parameter.name for parameter in found.parameters]

    def test_without_use_still_count(self):
        """An input that no gate uses shifts the values of those after it."""
        found = read(HEAD + "input float[64] unused;\ninput float[64] used;\nqubit[1] q;\nrx(used) q[0];")

        assert ["unused", "used"] == [parameter.name for parameter in found.parameters]

    def test_of_qpy_come_in_the_order_of_the_circuit(self):
        """A QPY circuit's values are bound in another order than `circuit.parameters`, which its sender used."""
        circuit = QuantumCircuit(1)
        for name in ("b", "a"):
            circuit.rx(Parameter(name), 0)
        found = read(as_object(as_qpy(circuit)))

        assert [parameter.name for parameter in circuit.parameters] == [p.name for p in found.parameters]


class TestRegisters:
    """The names under which results appear."""

    def test_keep_the_names_of_the_payload(self):
        """A register with a capital letter gets another name in the result."""
        found = read(HEAD + "qubit[3] q; bit[2] Result; bit[1] b; Result[1] = measure q[0]; b[0] = measure q[2];")

        assert (Register("Result", (0, 1)), Register("b", (2,))) == found.registers

    def test_loose_bits_are_gathered_under_a_free_name(self):
        """Bits without a register vanish from the result, or take the name of another."""
        found = read(HEAD + "qubit[2] q; bit m; bit[1] c; bit n; m = measure q[0]; n = measure q[1];")

        assert (Register("c", (1,)), Register("c0", (0, 2))) == found.registers
        assert "c" == read(HEAD + "qubit q; bit m; m = measure q;").registers[0].name

    def test_that_share_bits_all_appear(self):
        """Registers of a QPY circuit that overlap show each other's bits, or only one of them appears."""
        bits = [Clbit() for _ in range(3)]
        circuit = QuantumCircuit([Qubit()], bits, ClassicalRegister(bits=bits[1:], name="late"))
        circuit.add_register(ClassicalRegister(bits=bits[::-1], name="turned"))

        found = read(as_object(as_qpy(circuit)))

        assert (Register("late", (1, 2)), Register("turned", (2, 1, 0))) == found.registers

    def test_of_conditions_and_aliases_do_not_appear(self):
        """A register that the reader invents shows up in the result."""
        found = read(HEAD + "qubit[2] q; bit[2] m; m = measure q; let two = m[0:1]; if (two == 1) { x q[0]; }")

        assert (Register("m", (0, 1)),) == found.registers


class TestIdleQubits:
    """Circuits compiled for a large device use few of its qubits."""

    def test_are_dropped_and_the_others_keep_their_numbers(self):
        """A circuit on two qubits of a device is simulated with all of them, or loses which they were."""
        found = read(
            "OPENQASM 3.0;\nbit[1] c;\nx $7;\nbarrier $3, $7, $9;\ncz $7, $9;\nc[0] = measure $9;".replace(
                "\nbit", '\ninclude "stdgates.inc";\nbit'
            )
        )

        assert (7, 9) == found.qubits
        assert 10 == found.width
        assert found.is_physical
        assert [2] == [one.operation.num_qubits for one in found.circuit.data if one.name == "barrier"]

    def test_that_are_only_waited_on_are_idle(self):
        """A delay on an unused qubit doubles the memory."""
        circuit = QuantumCircuit(3, 1)
        circuit.x(1)
        circuit.delay(100, 2)
        circuit.measure(1, 0)

        assert (1,) == read(as_object(as_qpy(circuit))).qubits

    def test_one_is_left_where_all_are_idle(self):
        """An empty circuit cannot be simulated."""
        assert 1 == read(HEAD + "qubit[5] q; bit[1] c;").circuit.num_qubits


class TestOwnGates:
    """Gates that a payload defines: simulators go by names, which may mislead."""

    def test_with_a_name_of_the_library_but_another_meaning_mean_what_they_say(self):
        """A gate that the payload calls `x` flips the qubit although it is defined to do nothing."""
        found = read("OPENQASM 3.0; gate x a { U(0, 0, 0) a; } qubit q; bit c; x q; c = measure q;")

        assert {"id": 1, "measure": 1} == dict(found.circuit.count_ops())

    def test_that_are_what_their_name_says_are_the_librarys(self):
        """An `ecr` that qiskit exported is written out, so that a Clifford circuit is none and a device lacks it."""
        circuit = QuantumCircuit(2)
        circuit.ecr(0, 1)
        circuit.rzz(0.3, 0, 1)
        circuit.sxdg(0)

        assert {"ecr": 1, "rzz": 1, "sxdg": 1} == dict(read(qasm3.dumps(circuit)).circuit.count_ops())

    def test_with_angles_are_recognised_by_their_angles(self):
        """A home-made `rzz` that equals the library's for one angle is taken for it at every angle."""
        text = HEAD + "gate rzz(a) q, r { cx q, r; rz(2*a) r; cx q, r; } qubit[2] q; "
        found = read(text + "rzz(0) q[0], q[1]; rzz(0.3) q[0], q[1];")

        assert {"rzz": 1, "cx": 2, "rz": 1} == dict(found.circuit.count_ops())

    def test_inside_loops_and_branches_are_written_out_too(self):
        """A gate of the payload's own inside a branch reaches the simulator, which does not know it."""
        body = "gate mine a { h a; z a; } qubit q; bit c; c = measure q; if (c) { mine q; } "
        found = read(HEAD + body + "for int i in [0:1] { mine q; }")

        assert {"measure", "if_else", "for_loop", "h", "z"} == {
            one.name for one in instructions.instructions(found.circuit)
        }

    def test_without_a_definition_are_refused(self):
        """A gate nobody defines reaches the simulator."""
        with pytest.raises(PayloadError, match="'foo'"):
            read(HEAD_2 + "opaque foo a; qreg q[1]; foo q[0];")

    def test_of_qpy_are_written_out_on_their_qubits(self):
        """A composite gate acts on other qubits than it was put on."""
        inner = QuantumCircuit(2, name="pair")
        inner.x(1)
        circuit = QuantumCircuit(4, 1)
        circuit.append(inner.to_gate(), [3, 2])
        circuit.measure(2, 0)
        found = read(as_object(as_qpy(circuit)))

        assert (2,) == found.qubits
        assert ["x", "measure"] == [one.name for one in found.circuit.data]


class TestJudgement:
    """What the choice of a method rests on."""

    @pytest.mark.parametrize(
        ("gates", "expected"),
        [
            ("h q[0]; cx q[0], q[1]; sx q[1]; swap q[0], q[1];", True),
            ("rz(1.5707963267948966) q[0]; rz(-pi) q[1]; rz(0) q[1];", True),
            ("rz(0.3) q[0];", False),
            ("t q[0];", False),
            ("ry(pi/2) q[0];", False),
            ("c[0] = measure q[0]; if (c[0]) { x q[1]; }", True),
            ("c[0] = measure q[0]; if (c[0]) { t q[1]; }", False),
        ],
    )
    def test_clifford_circuits_are_known_by_their_instructions(self, gates, expected):
        """A circuit goes to a simulator that cannot run it, or to one that cannot hold it."""
        assert expected == instructions.is_clifford(read(f"{HEAD} qubit[2] q; bit[1] c; {gates}").circuit)

    @pytest.mark.parametrize(
        ("gates", "expected"),
        [
            ("x q[0]; c[0] = measure q[0]; x q[1];", True),
            ("c[0] = measure q[0]; x q[0];", False),
            ("reset q[0];", False),
            ("c[0] = measure q[0]; if (c[0]) { x q[1]; }", False),
        ],
    )
    def test_one_run_serves_all_shots_if_measurements_come_last(self, gates, expected):
        """The cost of shots is misjudged."""
        assert expected == instructions.is_sampled_at_the_end(read(f"{HEAD} qubit[2] q; bit[1] c; {gates}").circuit)

    def test_gates_a_device_lacks_are_refused_by_their_place(self):
        """A circuit for another device runs on this one, without its noise."""
        device = limits.Device("Tiny", {"n_qubits": 9, "basis_gates": ["x"]}, {"gates": [{"gate": "x", "qubits": [7]}]})
        right, wrong = read(HEAD + "x $7;"), read(HEAD + "x $8;")
        instructions.check_compiled(right.circuit, right.qubits, device, HERE)

        with pytest.raises(PayloadError, match=r"x on qubits \(8,\)"):
            instructions.check_compiled(wrong.circuit, wrong.qubits, device, HERE)


def doubling(count: int, angle: str = "") -> str:
    """Gates of which each calls the one before twice."""
    gates = [f"gate g{i}{angle} a {{ g{i - 1}{angle} a; g{i - 1}{angle} a; }}" for i in range(1, count)]
    return f"gate g0{angle} a {{ h a; }} " + " ".join(gates)


BELL = as_qpy(bell())
START = struct.unpack_from("!Q", BELL, struct.calcsize("!6sBBBBQc") + 1)[0]
CLAIMS_ALL_QUBITS = BELL[: START + 5] + b"\xff\xff\xff\xff" + BELL[START + 9 :]

HARMFUL = {
    "deep brackets": HEAD + "qubit q; rx(" + "(" * 100_000 + "1" + ")" * 100_000 + ") q;",
    "deep blocks": HEAD + "qubit q; bit b; " + "if (b) {" * 3000 + "x q;" + "}" * 3000,
    "signs": HEAD + "qubit q; rx(" + "-" * 1_000_000 + "1) q;",
    "a long sum": HEAD + "qubit q; rx(" + "1+" * 100_000 + "1) q;",
    "powers": HEAD_2 + "qreg q[1]; rx(" + "2^" * 100_000 + "1) q[0];",
    "many qubits": HEAD + "qubit[1000000000] q;",
    "computed qubits": HEAD + "qubit[100000 * 100000] q;",
    "many bits": HEAD_2 + "qreg q[1]; creg c [ 1000000000 ];",
    "high hardware qubit": HEAD + "x $999999999;",
    "doubling gates": HEAD + doubling(60) + " qubit q; g59 q;",
    "doubling gates with angles": HEAD + doubling(60, "(t1)") + " qubit q; g59(0.1) q;",
    "long loop": HEAD + "qubit q; for int i in [0:1000000000] { x q; }",
    "loops in loops": HEAD + "qubit q; for int i in [0:9999] { for int j in [0:9999] { x q; } }",
    "many controls": HEAD + "qubit[2] q; ctrl(1000000) @ x q[0], q[1];",
    "open comments": HEAD + "/*" * 100_000,
    "closed comments": "/**/" * 100_000 + "OPENQASM",
    "no text": " \n ",
    "null bytes": "\0" * 1000,
    "qpy of all qubits": as_object(CLAIMS_ALL_QUBITS),
    "qpy cut short": as_object(BELL[:-20]),
    "qpy of two": as_object(as_qpy(bell(), bell())),
    "old qpy": as_object(BELL[:6] + b"\x0a" + BELL[7:]),
    "no qpy": as_object(b"PK" + BELL),
    "no zlib": {"__type__": "QuantumCircuit", "__value__": "AAAA"},
    "no base64": {"__type__": "QuantumCircuit", "__value__": "%"},
    "a number": 5,
    "nothing": None,
}


@pytest.mark.parametrize("value", HARMFUL.values(), ids=HARMFUL.keys())
def test_harmful_circuits_are_refused_at_once(value):
    """A circuit made to hurt takes the worker's time or memory, or its life."""
    read(HEAD + "qubit q;")  # what is imported at first use
    started = time.process_time()
    with pytest.raises(PayloadError) as caught:
        read(value)

    assert time.process_time() - started < 2
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700


def test_doubling_gates_of_openqasm_2_are_refused_in_seconds():
    """Gates of gates, which this reader writes out late, grow for ever."""
    with pytest.raises(PayloadError, match="instructions when written out"):
        read(HEAD_2 + doubling(60) + " qreg q[1]; g59 q[0];")


@pytest.mark.parametrize("head", ["OPENQASM 3.0;", "OPENQASM 2.0;"])
@pytest.mark.parametrize("form", ["{}", "../{}", "//{}"])
def test_no_file_is_read(tmp_path, monkeypatch, head, form):
    """A payload includes a file of the worker's user and shows it in a message, or by what it does."""
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    for folder in (tmp_path, inner):
        (folder / "secret.inc").write_text("gate canary_7f3a a { } qreg q[1];")
    name = form.format(tmp_path / "secret.inc" if form == "//{}" else "secret.inc")
    with pytest.raises(PayloadError) as caught:
        read(f'{head} include "{name}"; qubit q;')

    assert "canary" not in str(caught.value)


def test_nothing_of_a_payload_is_printed():
    """A reader writes to standard error what only the message should say."""
    code = (
        "from qrmi_local import circuits; from qrmi_local._wire import Place\n"
        "try: circuits.read('OPENQASM 3.0; \\u2603 canary;', Place('x'))\nexcept Exception: pass"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "" == found.stdout + found.stderr


TOKENS = [
    *("qubit[2] q;", "bit[2] c;", "x q[0];", "c = measure q;", "if (c == 1) {", "}", "gate g a {", "rx(", "ctrl @"),
    *("input float a;", "$0", "1", "pi", "(", ")", ";", "include", '"stdgates.inc"', "let d = c[0:1];", "[", "]"),
]


@given(st.lists(st.sampled_from(TOKENS), max_size=12), st.sampled_from([HEAD, HEAD_2, ""]))
@settings(max_examples=60, deadline=None)
def test_no_text_upsets_the_readers(tokens, head):
    """Some text makes a reader raise something else than a PayloadError."""
    with contextlib.suppress(PayloadError):
        read(head + " ".join(tokens))


def reads_or_refuses(content: bytes) -> bool:
    """Read a QPY file in a child process; whether it was read, refused, or ended the child at its memory limit."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        end = 1
        with contextlib.suppress(BaseException):
            with contextlib.suppress(PayloadError):
                read(as_object(content))
            end = 0 if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2 << 20 else 2
        os._exit(end)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) in (0, -signal.SIGABRT)


def rich() -> bytes:
    """A QPY file with a composite instruction, parameters, branches, loops and a matrix inside."""
    angle, inner, circuit = Parameter("a"), QuantumCircuit(2), QuantumCircuit(3, 3)
    inner.rx(angle, 0)
    circuit.rx(2 * angle + 1, 1)
    circuit.append(inner.to_instruction(), [0, 2])
    circuit.unitary([[0, 1], [1, 0]], [1])
    circuit.measure([0, 1], [0, 1])
    with circuit.if_test((circuit.cregs[0], 3)):
        circuit.x(2)
    with circuit.for_loop(range(3)) as turn:
        circuit.rz(turn, 0)
    return as_qpy(circuit)


RICH = rich()


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.data_too_large])
def test_no_damaged_qpy_upsets_the_reader(data):
    """A damaged QPY file makes the reader raise something else than a PayloadError, or take the node's memory.

    The library may end the process when a file asks for more memory than it may take: the worker is there for that.
    """
    content = bytearray(RICH)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))

    assert reads_or_refuses(bytes(content))


def test_gates_outside_the_simulators_are_translated():
    """A circuit with a gate that Aer lacks is refused."""
    found = read(HEAD + "qubit[2] q; h q[0]; ch q[0], q[1];")
    basis = frozenset({"h", "cx", "u"})

    assert {one.name for one in instructions.translated(found.circuit, basis, HERE).data} <= basis


def test_a_circuit_in_the_basis_is_left_as_it_is():
    """A circuit that needs no translation pays for one."""
    found = read(HEAD + "qubit[2] q; h q[0]; cx q[0], q[1];").circuit

    assert found is instructions.translated(found, frozenset({"h", "cx"}), HERE)


def test_instructions_without_definition_in_the_basis_are_refused():
    """An instruction that no simulator knows reaches one."""
    circuit = QuantumCircuit(QuantumRegister(1))
    circuit.append(Gate("magic", 1, [math.pi]), [0])
    with pytest.raises(PayloadError, match="'magic'"):
        read(as_object(as_qpy(circuit)))
