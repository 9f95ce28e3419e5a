"""Sampler V2 and Estimator V2: physics, shapes, order, seeds, methods, noise, and what is refused."""

from __future__ import annotations

import base64
import io
import json
import math
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from qiskit import QuantumCircuit, qasm3, qpy
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp, Statevector

from qrmi_core import ConfigError, PayloadError
from qrmi_local import aer
from qrmi_local.gates import prepare
from qrmi_local.settings import Settings

DATA = Path(__file__).parents[1] / "data"
HEAD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
BELL = HEAD + "qubit[2] q; bit[2] meas; h q[0]; cx q[0], q[1]; meas = measure q;"
SEEDS = (11, 1, 2, 3)


def sample(name: str) -> dict:
    """A payload of the test data."""
    return json.loads((DATA / f"{name}.json").read_text())


def as_qpy(circuit: QuantumCircuit) -> dict[str, str]:
    """An encoded circuit object."""
    stream = io.BytesIO()
    qpy.dump(circuit, stream)
    return {"__type__": "QuantumCircuit", "__value__": base64.b64encode(zlib.compress(stream.getvalue())).decode()}


def sampler(*pubs: object, **parameters: object) -> dict:
    """A sampler payload with plain results."""
    return {"program_id": "sampler", "parameters": {"pubs": list(pubs), "support_qiskit": False, **parameters}}


def estimator(*pubs: object, **parameters: object) -> dict:
    """An estimator payload with plain results."""
    return {"program_id": "estimator", "parameters": {"pubs": list(pubs), "support_qiskit": False, **parameters}}


def run(payload: dict, **settings: object) -> dict:
    """The result of a payload, as parsed JSON."""
    return json.loads(prepare(payload, "payload.json", Settings(**settings)).run())


def counts(payload: dict, register: str = "meas", **settings: object) -> Counter[str]:
    """How often each value was sampled in a register of the first pub."""
    return Counter(run(payload, **settings)["results"][0]["data"][register]["samples"])


def evs(payload: dict, **settings: object) -> np.ndarray:
    """The expectation values of the first pub."""
    return np.array(run(payload, **settings)["results"][0]["data"]["evs"])


def decoded(payload: dict, **settings: object) -> object:
    """The result of a payload, as qiskit-ibm-runtime's own decoder reads it."""
    decoder = pytest.importorskip("qiskit_ibm_runtime").RuntimeDecoder
    return json.loads(prepare(payload, "payload.json", Settings(**settings)).run(), cls=decoder)


def refusal(payload: object, **settings: object) -> PayloadError:
    """The error with which a payload is refused."""
    with pytest.raises(PayloadError) as caught:
        prepare(payload, "payload.json", Settings(**settings))
    assert str(caught.value).isprintable()
    return caught.value


def is_close(found: Counter[str], probabilities: dict[str, float], sigmas: float = 5) -> bool:
    """Counts are those of the probabilities, within statistics; what has probability 0 never came up."""
    shots = sum(found.values())
    return found.keys() <= {value for value, p in probabilities.items() if p > 0} and all(
        abs(found[value] - shots * p) <= sigmas * math.sqrt(shots * p * (1 - p)) + 1e-9
        for value, p in probabilities.items()
    )


class TestSamples:
    """The sample payloads give what physics says, whatever the seed."""

    @pytest.mark.parametrize("seed", SEEDS)
    @pytest.mark.parametrize(("name", "ones"), [("sampler_bell", "0x3"), ("sampler_ghz20_isa", "0xfffff")])
    def test_plain_samplers(self, name, ones, seed):
        """A Bell or GHZ state gives other values than all zeros and all ones, or these unequally."""
        assert is_close(counts(sample(name), seed=seed), {"0x0": 0.5, ones: 0.5})

    @pytest.mark.parametrize("seed", SEEDS)
    def test_runtime_encoded_sampler(self, seed):
        """A payload as qiskit-ibm-runtime sends it gives other samples, or ones that it cannot decode."""
        (pub,) = decoded(sample("sampler_bell_runtime_encoded"), seed=seed)
        found = Counter(pub.data.meas.get_counts())

        assert 4096 == pub.data.meas.num_shots
        assert is_close(found, {"00": 0.5, "11": 0.5})

    @pytest.mark.parametrize("seed", SEEDS)
    def test_ground_state_of_hydrogen(self, seed):
        """The energy of H2 is wrong, from text or from the encoding of qiskit-ibm-runtime."""
        (pub,) = decoded(sample("estimator_h2_runtime_encoded"), seed=seed)

        assert evs(sample("estimator_h2"), seed=seed) == pytest.approx(-1.8572750302, abs=0.03)
        assert float(pub.data.evs) == pytest.approx(-1.8572750302, abs=0.03)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_broadcast(self, seed):
        """Observables meet other parameters than the shapes say."""
        expected = [[1, 0.540302, 0.764842], [0.5, 0.371300, -0.551612]]

        np.testing.assert_allclose(evs(sample("estimator_broadcast"), seed=seed), expected, atol=0.1)

    @pytest.mark.parametrize(
        ("payload", "result"),
        [
            ("sampler_bell", "result_sampler_bell_plain"),
            ("sampler_bell_runtime_encoded", "result_sampler_bell_qiskit"),
            ("estimator_broadcast", "result_estimator_broadcast_plain"),
        ],
    )
    def test_results_have_the_members_of_the_services(self, payload, result):
        """A result lacks a member that IBM's has, or has it with another type."""

        def check(expected: object, found: object, path: str) -> None:
            assert type(expected) is type(found), path
            if isinstance(expected, dict):
                for key in expected.keys() - {"metadata", "field_types"}:
                    check(expected[key], found[key], f"{path}.{key}")
            elif isinstance(expected, list) and expected:
                check(expected[0], found[0], f"{path}[0]")

        check(sample(result), run(sample(payload)), "$")


def test_our_check_of_counts_notices_exchanged_qubits():
    """The tests of this file would pass with two qubits exchanged."""
    text = HEAD + "qubit[2] q; bit[2] meas; x q[0]; ry(1.0) q[1]; meas = measure q;"
    flipped = math.sin(0.5) ** 2
    right = {"0x1": 1 - flipped, "0x3": flipped}
    found = counts(sampler([text, None, 2000]), seed=1)

    assert is_close(found, right)
    assert not is_close(found, {"0x2": 1 - flipped, "0x3": flipped})
    assert not is_close(Counter({"0x0": 1000, "0x3": 990, "0x1": 10}), {"0x0": 0.5, "0x3": 0.5})


class TestBits:
    """Which bit is which."""

    def test_bit_0_of_a_register_is_the_last(self):
        """The qubit measured into bit 0 appears as another bit."""
        text = HEAD + "qubit[3] q; bit[3] meas; x q[0]; meas = measure q;"
        (pub,) = decoded(sampler([text, None, 5], support_qiskit=True))

        assert {"0x1": 5} == counts(sampler([text, None, 5]))
        assert {"001": 5} == pub.data.meas.get_counts()

    def test_registers_are_told_apart(self):
        """Bits of one register appear in another; measured across, out of order, with a loose bit between."""
        text = HEAD + "qubit[12] q; bit[10] wide; bit m; bit[2] Two; x q[3]; x q[11]; m = measure q[3];"
        text += "wide[9] = measure q[11]; wide[0] = measure q[0]; Two[1] = measure q[3];"
        data = run(sampler([text, None, 2]))["results"][0]["data"]

        assert {"wide": ["0x200"] * 2, "Two": ["0x2"] * 2, "c": ["0x1"] * 2} == {
            n: d["samples"] for n, d in data.items()
        }
        assert {"wide": 10, "Two": 2, "c": 1} == {name: field["num_bits"] for name, field in data.items()}

    def test_registers_beyond_64_bits_are_whole(self):
        """Wide registers lose their upper bits."""
        text = HEAD + "qubit[70] q; bit[70] meas; x q[69]; x q[0]; meas = measure q;"

        assert {hex(2**69 + 1): 3} == counts(sampler([text, None, 3]))


class TestDynamicCircuits:
    """Circuits that measure on the way."""

    def test_a_branch_follows_the_measured_bit(self):
        """A correction is applied to the wrong shots."""
        text = HEAD + "qubit[3] q; bit[1] a; bit[2] b; ry(1.2) q[0]; a[0] = measure q[0]; "
        text += "if (a[0] == true) { x q[2]; } else { x q[1]; } b[0] = measure q[1]; b[1] = measure q[2];"
        data = run(sampler([text, None, 3000]), seed=4)["results"][0]["data"]
        pairs = Counter(zip(data["a"]["samples"], data["b"]["samples"], strict=True))

        assert {("0x0", "0x1"), ("0x1", "0x2")} == set(pairs)
        assert is_close(Counter(data["a"]["samples"]), {"0x1": math.sin(0.6) ** 2, "0x0": math.cos(0.6) ** 2})

    def test_reset_and_measuring_twice(self):
        """A qubit keeps its state through a reset, or a first measurement is overwritten by the second."""
        text = HEAD + "qubit q; bit[2] meas; ry(1.2) q; meas[0] = measure q; reset q; meas[1] = measure q;"

        assert is_close(
            counts(sampler([text, None, 3000]), seed=4), {"0x1": math.sin(0.6) ** 2, "0x0": math.cos(0.6) ** 2}
        )

    def test_loops_end(self):
        """A loop that repeats until success stops early."""
        text = HEAD + "qubit q; bit meas; h q; meas = measure q; while (meas == false) { h q; meas = measure q; }"

        assert {"0x1": 500} == counts(sampler([text, None, 500]), "c", seed=4)

    def test_parameters_inside_loops_and_branches(self):
        """A parameter inside a block keeps the value of another parameter set."""
        text = HEAD + "input float[64] theta; qubit[2] q; bit m; bit[1] meas; x q[0]; m = measure q[0]; "
        text += "if (m == true) { rx(theta) q[1]; } for int i in [0:1] { rx(theta) q[1]; } meas[0] = measure q[1];"
        data = run(sampler([text, [[0.0], [math.pi / 3]], 4]))["results"][0]["data"]

        assert [["0x0"] * 4, ["0x1"] * 4] == data["meas"]["samples"]

    def test_switches_of_qpy(self):
        """A switch takes the wrong case."""
        circuit = QuantumCircuit(2, 2)
        circuit.x(1)
        circuit.measure([0, 1], [0, 1])
        with circuit.switch(circuit.cregs[0]) as case:
            with case(2):
                circuit.x(0)
            with case(1, 3):
                circuit.x(1)
        circuit.measure_all()

        assert {"0x3": 5} == counts(sampler([as_qpy(circuit), None, 5]))

    def test_an_estimator_averages_over_shots(self):
        """The mean over runs that differ is given as exact, or its error too small."""
        text = HEAD + "qubit[2] q; bit c; ry(1.2) q[0]; c = measure q[0]; if (c == true) { x q[1]; }"
        payload = estimator([text, ["IZ", "ZI", "ZZ"], None, 0.02])
        plan = prepare(payload, "p", Settings()).plan
        data = run(payload, seed=2)["results"][0]["data"]

        assert 2500 == plan.shots
        np.testing.assert_allclose(data["evs"], [math.cos(1.2), math.cos(1.2), 1], atol=0.1)
        assert [0.02] * 3 == data["stds"]
        for precision in (0, 1e-200, 1e-7):
            assert "$.parameters.pubs[0][3]" == refusal(estimator([text, "ZZ", None, precision])).path


ANGLES = st.floats(-3, 3)


class TestParameters:
    """Values meet their parameters and observables."""

    @given(st.permutations(range(12)), hnp.arrays(float, 12, elements=ANGLES))
    @hypothesis_settings(max_examples=10, deadline=None)
    def test_beyond_ten_are_bound_in_the_order_of_their_declarations(self, order, values):
        """Parameters with numbers in their names are bound in the order of the alphabet."""
        text = HEAD + "".join(f"input float[64] _p_{i}_;\n" for i in order) + "qubit[12] q;\n"
        text += "".join(f"ry(_p_{i}_) q[{i}];\n" for i in range(12))
        observables = ["I" * (11 - i) + "Z" + "I" * i for i in order]

        np.testing.assert_allclose(evs(estimator([text, observables, values.tolist(), 0])), np.cos(values), atol=1e-9)

    @given(st.data())
    @hypothesis_settings(max_examples=25, deadline=None)
    def test_broadcast_by_numpys_rules(self, data):
        """Expectation values stand in other places than numpy's broadcasting puts them."""
        shapes = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, min_dims=0, max_dims=3, max_side=3))
        params, obs = shapes.input_shapes
        values = data.draw(hnp.arrays(float, (*params, 2), elements=ANGLES))
        which = data.draw(hnp.arrays(int, obs, elements=st.integers(0, 2)))
        known = [{"ZZ": 1.0}, {"IX": 0.5, "ZI": -2}, "XZ"]
        observables = np.array([json.dumps(one) for one in known])[which].tolist()
        text = HEAD + "input float[64] b; input float[64] a; qubit[2] q; ry(b) q[0]; ry(a) q[1];"

        def parse(value: object) -> object:
            return [parse(one) for one in value] if isinstance(value, list) else json.loads(value)

        q0, q1 = values[..., 0], values[..., 1]
        table = [np.cos(q0) * np.cos(q1), 0.5 * np.sin(q0) - 2 * np.cos(q1), np.sin(q1) * np.cos(q0)]
        expected = np.choose(which, np.broadcast_arrays(*table))
        found = evs(estimator([text, parse(observables), values.tolist(), 0]))

        assert shapes.result_shape == found.shape
        np.testing.assert_allclose(found, expected, atol=1e-9)

    def test_of_a_sampler_shape_its_result(self):
        """Samples of one parameter set are listed under another."""
        text = HEAD + "input float[64] a; input float[64] b; qubit[2] q; bit[2] meas; rx(a) q[0]; rx(b) q[1];"
        values = [[[0, 0], [math.pi, 0]], [[0, math.pi], [math.pi, math.pi]], [[0, 0], [0, 0]]]
        payload = sampler([text + "meas = measure q;", values, 3])
        (pub,) = decoded(payload | {"parameters": payload["parameters"] | {"support_qiskit": True}})

        expected = [[["0x0"] * 3, ["0x1"] * 3], [["0x2"] * 3, ["0x3"] * 3], [["0x0"] * 3] * 2]
        assert expected == run(payload)["results"][0]["data"]["meas"]["samples"]
        assert (3, 2) == pub.data.meas.shape
        assert {"10": 3} == pub.data.meas.get_counts((1, 0))

    def test_of_a_circuit_without_any_still_shape_the_result(self):
        """Three empty parameter sets give one set of samples."""
        samples = run(sampler([BELL, [[], [], []], 2]))["results"][0]["data"]["meas"]["samples"]

        assert (3, 2) == np.array(samples).shape

    @pytest.mark.parametrize("values", [None, [], [[]][0]])
    def test_none_are_none(self, values):
        """A way to write "no parameters" is refused."""
        assert 8 == sum(counts(sampler([BELL, values, 8])).values())

    def test_one_may_be_swept_by_a_flat_list(self):
        """What qiskit accepts for one parameter, a flat list of sets, is refused."""
        text = HEAD + "input float[64] a; qubit q; ry(a) q;"

        np.testing.assert_allclose(evs(estimator([text, "Z", [0, 1, 2], 0])), np.cos([0, 1, 2]), atol=1e-9)

    @pytest.mark.parametrize("values", [None, [], [[1, 2, 3]], [[1], [2]], "x", [["1", "2"]], [[]]])
    def test_that_do_not_fit_are_refused_by_their_place(self, values):
        """Too few, too many or no numbers are bound somehow."""
        text = HEAD + "input float[64] a; input float[64] b; qubit q; bit c; rx(a) q; rx(b) q; c = measure q;"

        assert "$.parameters.pubs[0][1]" == refusal(sampler([text, values])).path

    def test_that_do_not_broadcast_are_refused(self):
        """Shapes that do not agree are cut to fit."""
        text = HEAD + "input float[64] a; qubit q; ry(a) q;"

        assert "do not broadcast" in refusal(estimator([text, ["Z", "X"], [[1], [2], [3]]])).problem


class TestObservables:
    """What an estimator measures."""

    @given(st.text("IXYZ01+-rl", min_size=3, max_size=3), hnp.arrays(float, 3, elements=ANGLES))
    @hypothesis_settings(max_examples=30, deadline=None)
    def test_every_letter_has_its_operator(self, letters, angles):
        """A letter stands for another operator, or acts on another qubit."""
        circuit = QuantumCircuit(3)
        for qubit, angle in enumerate(angles):
            circuit.ry(angle, qubit)
            circuit.rz(angle * 2, qubit)
        circuit.cx(0, 2)
        plus = {letter: SparsePauliOp(["I", pauli], [0.5, 0.5]) for letter, pauli in zip("0+r", "ZXY", strict=True)}
        minus = {letter: SparsePauliOp(["I", pauli], [0.5, -0.5]) for letter, pauli in zip("1-l", "ZXY", strict=True)}
        singles = plus | minus | {letter: SparsePauliOp(letter) for letter in "IXYZ"}
        operator = singles[letters[0]] ^ singles[letters[1]] ^ singles[letters[2]]
        expected = Statevector(circuit).expectation_value(operator).real

        assert evs(estimator([as_qpy(circuit), {letters: 2.0}, None, 0])) == pytest.approx(2 * expected, abs=1e-9)

    @pytest.mark.parametrize(
        ("letter", "expected"),
        [("I", 1), ("Z", 1), ("X", 0), ("Y", 0), ("0", 1), ("1", 0), ("+", 0.5), ("-", 0.5), ("r", 0.5), ("l", 0.5)],
    )
    def test_idle_qubits_are_in_state_0(self, letter, expected):
        """An observable on a qubit that was dropped counts as identity."""
        text = HEAD + "x $2; barrier $2, $4;"
        on_idle, beyond = "II" + "Z" + "I" + letter, letter + "IIIIIIZII"

        np.testing.assert_allclose(evs(estimator([text, [on_idle], None, 0])), [-expected], atol=1e-12)
        np.testing.assert_allclose(evs(estimator([text, [beyond], None, 0])), [-expected], atol=1e-12)

    def test_of_another_length_are_refused(self):
        """An observable for another circuit is cut to fit."""
        text = HEAD + "qubit[2] q; x q[0];"

        assert "$.parameters.pubs[0][1]" == refusal(estimator([text, "ZZZ"])).path
        assert "3 letters for a circuit of 2" in refusal(estimator([text, "ZZZ"])).problem
        assert "1 letters" in refusal(estimator([text, "Z"])).problem

    def test_after_final_measurements_are_those_before(self):
        """Measurements at the end, which an estimator has no use for, collapse the state that it looks at."""
        text = HEAD + "qubit[2] q; bit[2] c; h q[0]; cx q[0], q[1]; c = measure q;"

        np.testing.assert_allclose(evs(estimator([text, ["XX", "ZZ", "ZI"], None, 0])), [1, 1, 0], atol=1e-9)

    def test_precision_is_the_noise_of_the_values(self):
        """Values scatter more or less than the precision asked for, or their `stds` say something else."""
        text = HEAD + "qubit q; h q;"
        data = run(estimator([text, ["Z"] * 2000, None, 0.05]), seed=3)["results"][0]["data"]

        assert np.std(data["evs"]) == pytest.approx(0.05, rel=0.1)
        assert {0.05} == set(data["stds"])

    @pytest.mark.parametrize(
        ("pub", "parameters", "expected"),
        [
            ([], {}, 0.015625),
            ([], {"options": {"default_precision": 0.1}}, 0.1),
            ([], {"options": {"default_precision": 0.1, "default_shots": 2500}}, 0.02),
            ([], {"precision": 0.2, "options": {"default_precision": 0.1}}, 0.2),
            ([None, 0.3], {"precision": 0.2}, 0.3),
        ],
    )
    def test_precision_is_taken_from_the_nearest_place(self, pub, parameters, expected):
        """A default wins over what a pub says."""
        text = HEAD + "qubit q; h q;"

        assert expected == run(estimator([text, "Z", *pub], **parameters))["results"][0]["data"]["stds"]


class TestShotsAndSeeds:
    """How many, and which random numbers."""

    @pytest.mark.parametrize(
        ("pub", "parameters", "settings", "expected"),
        [
            ([], {}, {}, 4096),
            ([], {}, {"default_shots": 7}, 7),
            ([], {"options": {"default_shots": 5}}, {"default_shots": 7}, 5),
            ([], {"shots": 6, "options": {"default_shots": 5}}, {}, 6),
            ([None, 8], {"shots": 6}, {}, 8),
            ([None, None], {"shots": None, "options": None}, {}, 4096),
        ],
    )
    def test_shots_are_taken_from_the_nearest_place(self, pub, parameters, settings, expected):
        """A default wins over what a pub says."""
        payload = sampler([BELL, *pub], **parameters)

        assert expected == sum(counts(payload, **settings).values())
        assert expected == prepare(payload, "p", Settings(**settings)).plan.shots

    @pytest.mark.parametrize("name", ["sampler_bell", "estimator_broadcast"])
    def test_the_same_seed_gives_the_same_result(self, name):
        """A result cannot be repeated, or a second seed gives the first one's result."""
        first, again, other = (prepare(sample(name), "p", Settings(seed=seed)).run() for seed in (5, 5, 6))

        assert first == again
        assert first != other

    def test_without_a_seed_results_differ(self):
        """Two tasks without a seed give the same random numbers."""
        assert run(sample("sampler_bell")) != run(sample("sampler_bell"))
        assert run(sample("estimator_h2")) != run(sample("estimator_h2"))

    def test_the_payloads_seed_wins(self):
        """The seed of the resource overrules the payload's."""
        bells = [sampler([BELL], options={"simulator": {"seed_simulator": 9}})] * 2
        hydrogen = sample("estimator_h2")
        hydrogen["parameters"]["options"] = {"seed_estimator": 9, "simulator": {"seed_simulator": 1}}

        assert run(bells[0], seed=1) == run(bells[1], seed=2)
        assert run(hydrogen, seed=1) == run(hydrogen, seed=2)

    def test_equal_pubs_and_sets_give_different_samples(self):
        """Two pubs or parameter sets of one payload are the same experiment twice."""
        first, second = (one["data"]["meas"]["samples"] for one in run(sampler([BELL], [BELL]), seed=1)["results"])
        sets = run(sampler([BELL, [[], []]]), seed=1)["results"][0]["data"]["meas"]["samples"]

        assert first != second
        assert sets[0] != sets[1]


class TestMethods:
    """The plan says what will run, and it runs."""

    @pytest.mark.parametrize(
        ("gates", "expected"),
        [
            ("h q[0]; cx q[0], q[1];", "stabilizer"),
            ("rx(0.3) q[0];", "statevector"),
        ],
    )
    def test_automatic_is_exact(self, gates, expected):
        """A circuit is simulated approximately, or a Clifford one expensively, without being asked."""
        payload = sampler([f"{HEAD}qubit[2] q; bit[2] meas; {gates} meas = measure q;", None, 10])
        prepared = prepare(payload, "p", Settings())

        assert (expected, 2, 10) == (prepared.plan.method, prepared.plan.qubits, prepared.plan.shots)
        assert expected == json.loads(prepared.run())["results"][0]["metadata"]["method"]

    def test_a_swept_circuit_is_clifford_if_every_set_makes_it_so(self):
        """A sweep goes to a simulator that cannot run one of its points."""
        text = HEAD + "input float[64] a; qubit[60] q; bit[60] meas; h q[0]; rz(a) q[0]; h q[0];"
        text += "".join(f"cx q[{i}], q[{i + 1}];" for i in range(59)) + "meas = measure q;"
        samples = run(sampler([text, [[0], [math.pi]], 2]))["results"][0]["data"]["meas"]["samples"]

        assert [["0x0"] * 2, [hex(2**60 - 1)] * 2] == samples
        assert "statevector" in refusal(sampler([text, [[0], [0.1]], 2])).problem

    @pytest.mark.parametrize(
        "method", ["statevector", "density_matrix", "matrix_product_state", "extended_stabilizer", "stabilizer"]
    )
    def test_a_method_that_is_set_is_used(self, method):
        """`QRMI_LOCAL_METHOD` is overruled."""
        payload = sampler([BELL, None, 400])
        prepared = prepare(payload, "p", Settings(method=method, seed=1))

        assert method == prepared.plan.method
        assert {"0x0", "0x3"} == set(json.loads(prepared.run())["results"][0]["data"]["meas"]["samples"])

    @pytest.mark.parametrize(
        ("method", "payload"),
        [
            ("stabilizer", sampler([HEAD + "qubit q; bit c; t q; c = measure q;"])),
            ("extended_stabilizer", sampler([HEAD + "qubit[64] q; bit[64] c; x q; c = measure q;"])),
            ("extended_stabilizer", sampler([HEAD + "qubit q; bit c; c = measure q; if (c) { x q; }"])),
            ("extended_stabilizer", estimator([HEAD + "qubit q; h q;", "X"])),
        ],
    )
    def test_a_method_that_cannot_is_refused(self, method, payload):
        """A method that cannot run a circuit is found out when it runs."""
        assert "$.parameters.pubs[0][0]" == refusal(payload, method=method).path

    def test_the_extended_stabilizer_takes_every_angle(self):
        """A method gets a gate that it refuses when it runs."""
        text = HEAD + "qubit q; bit[1] meas; rx(3.0) q; rz(0.3) q; meas[0] = measure q;"

        assert counts(sampler([text, None, 20]), method="extended_stabilizer", seed=1)["0x1"] > 15

    def test_gates_outside_aers_are_translated(self):
        """A circuit with an instruction that Aer lacks fails when it runs."""
        circuit = QuantumCircuit(3)
        circuit.x(0)
        circuit.ch(0, 1)
        circuit.iswap(1, 2)
        circuit.initialize([0, 1], 0)
        circuit.measure_all()

        assert is_close(counts(sampler([as_qpy(circuit), None, 2000]), seed=1), {"0x1": 0.5, "0x5": 0.5})

    def test_single_precision_halves_the_memory(self):
        """`QRMI_LOCAL_PRECISION=single` plans or computes with double precision."""
        payload = sampler([f"{HEAD}qubit[10] q; bit[10] meas; ry(0.3) q; meas = measure q;", None, 1])
        double, single = (prepare(payload, "p", Settings(precision=p)).plan for p in ("double", "single"))

        assert (16 - 8) * 2**10 == double.memory_bytes - single.memory_bytes


class TestMemory:
    """What cannot fit is refused before it is tried."""

    @pytest.mark.parametrize(
        "payload",
        [
            sampler([HEAD + "qubit[50] q; bit[50] c; rx(0.3) q; c = measure q;"]),
            sampler([BELL, None, 10**12]),
            sampler([BELL, [[]] * 100_000, 10**9]),
            estimator([HEAD + "qubit[50] q; rx(0.3) q;", "Z" * 50]),
            estimator([HEAD + "input float[64] a; qubit q; rx(a) q;", [["Z"]] * 100_000, [[[0.1]] * 100_000]]),
        ],
        ids=["50 qubits", "10^12 shots", "many sets", "50 qubits estimated", "broadcast"],
    )
    def test_what_does_not_fit_is_refused_at_once(self, payload):
        """A payload beyond all memory is tried, or thought about for long."""
        started = time.process_time()
        error = refusal(payload, memory_limit_bytes=8 << 30)

        assert time.process_time() - started < 2
        assert "8,589,934,592 bytes (8 GiB)" in error.problem

    def test_the_limit_is_the_setting(self):
        """A simulation that fits is refused, or one byte more is allowed."""
        payload = sampler([f"{HEAD}qubit[10] q; bit[10] meas; ry(0.3) q; meas = measure q;", None, 1])
        needed = prepare(payload, "p", Settings()).plan.memory_bytes

        assert needed == prepare(payload, "p", Settings(memory_limit_bytes=needed)).plan.memory_allowed_bytes
        assert "Use fewer qubits" in refusal(payload, memory_limit_bytes=needed - 1).remedy

    def test_matrix_product_states_hold_what_dense_ones_do_not(self):
        """The remedy that the refusal names does not work."""
        gates = "rx(0.3) q[0]; " + "".join(f"cx q[{i}], q[{i + 1}]; " for i in range(49))
        payload = sampler([f"{HEAD}qubit[50] q; bit[50] meas; {gates} meas = measure q;", None, 50])

        assert "matrix_product_state" in refusal(payload).remedy
        assert {"0x0", hex(2**50 - 1)} >= set(counts(payload, method="matrix_product_state"))


class TestFakeDevice:
    """A resource that stands in for a device."""

    @pytest.fixture(autouse=True)
    def _installed(self):
        pytest.importorskip("qiskit_ibm_runtime")

    @staticmethod
    def flips(qubit: int, count: int = 40) -> dict:
        """Bring a qubit up by many gates and measure it."""
        return sampler([HEAD + f"bit[1] meas; {f'x ${qubit}; ' * (count + 1)} meas[0] = measure ${qubit};", None, 4000])

    def test_its_noise_acts_on_its_qubits(self):
        """After idle qubits are dropped, a qubit has the errors of another one."""
        device = aer.limits.fake_device("FakeTorino")
        readout = [
            next(fact["value"] for fact in qubit if fact["name"] == "prob_meas0_prep1")
            for qubit in device.properties["qubits"]
        ]
        order = np.argsort(readout)
        for qubit in (int(order[0]), int(order[-10])):
            found = counts(self.flips(qubit, 0), fake_device="FakeTorino", seed=1)
            gate_error = 0.01
            assert found["0x0"] / 4000 == pytest.approx(readout[qubit], abs=gate_error + 5 * 0.5 / math.sqrt(4000))

    def test_its_noise_is_qiskits(self):
        """The noise read from the device's data differs from what qiskit makes of the device."""
        from qiskit_aer.noise import NoiseModel
        from qiskit_ibm_runtime.fake_provider import FakeManilaV2

        theirs = NoiseModel.from_backend(FakeManilaV2())._local_quantum_errors
        ours = aer._noise("FakeManilaV2", (3, 4))._local_quantum_errors

        assert theirs["cx"][3, 4] == ours["cx"][0, 1]
        assert theirs["sx"][4,] == ours["sx"][1,]

    def test_a_small_noisy_circuit_takes_a_density_matrix(self):
        """Noise is simulated by a method other than the plan says, or by the dearer one."""
        small = prepare(sample("sampler_bell_runtime_encoded"), "p", Settings(fake_device="FakeTorino")).plan
        wide = prepare(sample("sampler_ghz20_isa"), "p", Settings(fake_device="FakeTorino")).plan

        assert ("density_matrix", "statevector") == (small.method, wide.method)
        assert any("FakeTorino" in note for note in small.notes)

    def test_noise_shows(self):
        """A noisy device gives ideal results, or an ideal one noisy results."""
        (noisy,) = decoded(sample("sampler_bell_runtime_encoded"), fake_device="FakeTorino", seed=1)
        (ideal,) = decoded(sample("sampler_bell_runtime_encoded"), fake_device="FakeTorino", noise=False, seed=1)

        assert {"00", "01", "10", "11"} == set(noisy.data.meas.get_counts())
        assert {"00", "11"} == set(ideal.data.meas.get_counts())

    def test_noise_lowers_expectation_values(self):
        """An estimator is spared the noise of the device."""
        payload = sample("estimator_h2_runtime_encoded")
        payload["parameters"]["pubs"][0][3] = 0
        (noisy,) = decoded(payload, fake_device="FakeTorino")

        assert -1.857275 + 0.001 < float(noisy.data.evs) < -1.7

    def test_it_takes_only_circuits_compiled_for_it(self):
        """A circuit that the device would refuse runs, without noise on the gates that the device lacks."""
        assert "h on qubits" in refusal(sample("sampler_bell"), fake_device="FakeTorino").problem

    @pytest.mark.parametrize("method", ["stabilizer", "extended_stabilizer"])
    def test_its_noise_is_beyond_stabilizers(self, method):
        """A method that cannot simulate noise is found out when it runs."""
        error = refusal(sample("sampler_bell_runtime_encoded"), fake_device="FakeTorino", method=method)

        assert "noise" in error.problem

    def test_an_unknown_device_is_an_error_of_the_configuration(self):
        """The user is told that the payload is wrong."""
        with pytest.raises(ConfigError):
            prepare(sample("sampler_bell"), "p", Settings(fake_device="FakeNowhere"))


def test_a_gpu_that_is_not_there_is_an_error_of_the_configuration():
    """`QRMI_LOCAL_PROCESSOR=gpu` silently runs on the CPU."""
    from qiskit_aer import AerSimulator

    if "GPU" in AerSimulator().available_devices():
        pytest.skip("this Aer has a GPU")
    with pytest.raises(ConfigError, match="no GPU"):
        prepare(sample("sampler_bell"), "p", Settings(processor="gpu"))


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        ([], "$"),
        ({"program_id": "executor"}, "$.program_id"),
        ({"program_id": "sampler"}, "$.parameters"),
        (sampler(), "$.parameters.pubs"),
        ({"program_id": "sampler", "parameters": {"pubs": {}}}, "$.parameters.pubs"),
        (sampler([BELL], version=3), "$.parameters.version"),
        (sampler([BELL], support_qiskit="no"), "$.parameters.support_qiskit"),
        (sampler([BELL], options=[]), "$.parameters.options"),
        (sampler([BELL], shots=0), "$.parameters.shots"),
        (sampler([BELL], options={"default_shots": True}), "$.parameters.options.default_shots"),
        (sampler([BELL], options={"simulator": {"noise_model": {}, "seed_simulator": -1}}),
         "$.parameters.options.simulator.seed_simulator"),
        (sampler([BELL], options={"simulator": {"noise_model": {"a": 1}}}),
         "$.parameters.options.simulator.noise_model"),
        (sampler([BELL], options={"execution": {"meas_type": "kerneled"}}), "$.parameters.options.execution.meas_type"),
        (sampler([BELL], []), "$.parameters.pubs[1][0]"),
        (sampler([BELL], [BELL, None, 1.5]), "$.parameters.pubs[1][2]"),
        (sampler([BELL, None, 1, 1]), "$.parameters.pubs[0]"),
        (sampler([HEAD + "qubit q; h q;"]), "$.parameters.pubs[0][0]"),
        (estimator([BELL]), "$.parameters.pubs[0][1]"),
        (estimator([BELL, "ZZ", None, -1]), "$.parameters.pubs[0][3]"),
        (estimator([BELL, "ZZ", None, "x"]), "$.parameters.pubs[0][3]"),
    ],
)  # fmt: skip
def test_every_fault_is_named_by_its_place(payload, path):
    """The message about a fault points to another place in the payload."""
    assert path == refusal(payload).path


def test_a_bare_circuit_is_a_pub():
    """A pub that is only its circuit has to be put into a list."""
    assert 4096 == sum(counts(sampler(BELL)).values())


def test_options_without_effect_are_noted():
    """A user believes that error mitigation was applied."""
    plan = prepare(sampler([BELL], options={"twirling": {"enable_gates": True}}), "p", Settings()).plan

    assert any("twirling" in note for note in plan.notes)


NAMES = ["pubs", "options", "shots", "version", "__type__", "__value__", "simulator"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(NAMES), inner),
        max_leaves=12,
    )
)
@hypothesis_settings(max_examples=100, deadline=None)
def test_no_json_value_upsets_prepare(value):
    """Some JSON value makes `prepare` raise something else than a PayloadError."""
    for program in ("sampler", "estimator"):
        for parameters in (
            value,
            {"pubs": value},
            {"pubs": [[BELL, value, value]]},
            {"pubs": [BELL], "options": value},
        ):
            try:
                prepare({"program_id": program, "parameters": parameters}, "p", Settings(memory_limit_bytes=1 << 30))
            except PayloadError as exc:
                assert str(exc).isprintable()  # noqa: PT017


@pytest.mark.parametrize(
    "gate",
    ["rx", "ry", "rz", "p", "rxx", "ryy", "rzz", "rzx", "crx", "cry", "crz", "cp", "u", "cu", "r", "mcp", "box", "for"],
)
def test_parameters_reach_every_gate(gate):
    """A gate keeps angle 0 for some sets, as Aer's own primitives leave controlled ones (Qiskit/qiskit-aer#2403)."""
    angle, circuit = Parameter("theta"), QuantumCircuit(3)
    for qubit in range(3):
        circuit.u(0.3 + qubit, 0.2, 0.5, qubit)
    circuit.cx(0, 1)
    if gate in ("u", "cu"):
        getattr(circuit, gate)(
            *[angle, 0.2, 2 * angle, 0.4][: 3 if gate == "u" else 4], *range(1 if gate == "u" else 2)
        )
    elif gate == "mcp":
        circuit.mcp(angle, [0, 1], 2)
    elif gate == "r":
        circuit.r(angle, 0.3, 2)
    elif gate == "box":
        with circuit.box():
            circuit.rx(angle, 1)
    elif gate == "for":
        with circuit.for_loop(range(2)):
            circuit.crx(angle, 0, 1)
    else:
        getattr(circuit, gate)(angle, *[0, 2][: 2 if gate.startswith("c") or len(gate) == 3 else 1])
    labels = ["XYZ", "ZZI", "YIX", "IXX"]

    def expected(value: float) -> list[float]:
        state = Statevector.from_int(0, 8)
        for one in circuit.assign_parameters([value]).data:
            if gate == "for" and one.name == "for_loop":
                crx = QuantumCircuit(2)
                crx.crx(2 * value, 0, 1)
                state = state.evolve(crx, [0, 1])
            elif one.name == "box":
                state = state.evolve(one.operation.blocks[0], [circuit.find_bit(bit).index for bit in one.qubits])
            else:
                state = state.evolve(one.operation, [circuit.find_bit(bit).index for bit in one.qubits])
        return [state.expectation_value(SparsePauliOp(label)).real for label in labels]

    found = evs(estimator([as_qpy(circuit), [labels], [[[0.7]], [[-1.1]]], 0]))

    np.testing.assert_allclose(found, [expected(0.7), expected(-1.1)], atol=1e-9)


def test_exported_circuits_mean_what_they_meant():
    """A circuit of many kinds of gates changes on its way through OpenQASM 3 and our reading."""
    angle = Parameter("theta")
    circuit = QuantumCircuit(3)
    circuit.u(0.1, 0.2, 0.3, 0)
    circuit.rxx(0.4, 0, 2)
    circuit.cswap(0, 1, 2)
    circuit.iswap(1, 2)
    circuit.crz(angle, 2, 0)
    circuit.sxdg(1)
    circuit.cu(0.3, 0.2, 0.1, 0.4, 0, 1)
    labels = ["XYZ", "ZZI", "YIX", "IZZ"]
    bound = Statevector(circuit.assign_parameters([0.7]))
    expected = [bound.expectation_value(SparsePauliOp(label)).real for label in labels]

    for value in (qasm3.dumps(circuit), as_qpy(circuit)):
        np.testing.assert_allclose(evs(estimator([value, labels, [0.7], 0])), expected, atol=1e-9)
