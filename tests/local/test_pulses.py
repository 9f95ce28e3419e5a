"""Pulser payloads: physics, bit order, variables, devices, seeds, and what is refused."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import pulser
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pulser import Pulse, Register, Sequence
from pulser.backend import Results
from pulser.devices import AnalogDevice, MockDevice

from qrmi_core import PayloadError
from qrmi_local import pulses
from qrmi_local.settings import Settings

DATA = Path(__file__).parents[1] / "data"
SEEDS = (11, 1, 2, 3)


def sample(name: str) -> dict:
    """A payload of the test data."""
    return json.loads((DATA / f"{name}.json").read_text())


def prepare(payload: object, **settings: object) -> pulses.Prepared:
    """Prepare with these settings."""
    return pulses.prepare(payload, "payload.json", Settings(**settings))


def run(payload: dict, **settings: object) -> dict:
    """The result of a payload."""
    return json.loads(prepare(payload, **settings).run())


def refusal(payload: object, **settings: object) -> PayloadError:
    """The error with which a payload is refused."""
    with pytest.raises(PayloadError) as caught:
        prepare(payload, **settings)
    assert str(caught.value).isprintable()
    return caught.value


def payload_of(sequence: Sequence, runs: int = 100, **variables: object) -> dict:
    """A payload as a client sends it."""
    payload = {"sequence": json.loads(sequence.to_abstract_repr()), "job_runs": runs}
    return payload | ({"variables": variables} if variables else {})


def far_apart(atoms: int = 3) -> Sequence:
    """Atoms in a row that do not feel one another, and a channel for single ones."""
    register = Register({f"q{i}": (40.0 * i, 0.0) for i in range(atoms)})
    sequence = Sequence(register, MockDevice)
    sequence.declare_channel("one", "rydberg_local", initial_target="q0")
    return sequence


PI_PULSE = Pulse.ConstantPulse(1000, math.pi, 0.0, 0.0)


@pytest.mark.parametrize("seed", SEEDS)
class TestSamples:
    """The sample payloads give what exact simulation says, whatever the seed."""

    def test_blockaded_pair(self, seed):
        """Two blockaded atoms are excited together, or one more often than the other."""
        counter = run(sample("pulser_2q_sequence"), seed=seed)["counter"]

        assert 1000 == sum(counter.values())
        assert abs(counter["01"] - 500) <= 80
        assert counter.get("00", 0) + counter.get("11", 0) <= 10

    def test_antiferromagnet(self, seed):
        """Nine atoms do not settle into the checkerboard."""
        assert run(sample("pulser_afm_9q"), seed=seed)["counter"]["101010101"] >= 960


class TestResults:
    """What comes back."""

    def test_the_leftmost_character_is_the_first_atom(self):
        """The bits of a result are in the opposite order."""
        first, last = far_apart(), far_apart()
        first.add(PI_PULSE, "one")
        last.target("q2", "one")
        last.add(PI_PULSE, "one")

        assert {"100": 50} == run(payload_of(first, 50))["counter"]
        assert {"001": 50} == run(payload_of(last, 50))["counter"]

    @pytest.mark.parametrize(
        ("basis", "expected"), [("digital", {"10": 20}), ("ground-rydberg", {"01": 20})], ids=["digital", "rydberg"]
    )
    def test_1_is_the_upper_state_of_the_measured_basis(self, basis, expected):
        """With three levels, an atom in the upper state of the other basis is counted too."""
        sequence = far_apart(2)
        sequence.declare_channel("hyperfine", "raman_local", initial_target="q0")
        sequence.add(PI_PULSE, "hyperfine")
        sequence.target("q1", "one")
        sequence.add(PI_PULSE, "one")
        sequence.measure(basis)

        assert expected == run(payload_of(sequence, 20))["counter"]

    def test_raw_and_serialised_results_are_the_counts(self):
        """The three forms of one result differ."""
        found = run(sample("pulser_2q_sequence"), seed=1)
        results = Results.from_abstract_repr(found["serialised_results"])

        assert found["counter"] == {bits: found["raw"].count(bits) for bits in set(found["raw"])}
        assert found["counter"] == dict(results.final_bitstrings)
        assert {"counter", "raw", "serialised_results"} == found.keys()

    def test_raw_shots_are_in_no_order(self):
        """Raw shots come sorted, as if the atoms had changed their mind half-way."""
        raw = run(sample("pulser_2q_sequence"), seed=1)["raw"]

        assert raw[:500].count("01") == pytest.approx(250, abs=80)

    def test_the_same_seed_gives_the_same_result(self):
        """A result cannot be repeated, or a second seed gives the first one's result."""
        first, again, other = (prepare(sample("pulser_2q_sequence"), seed=seed).run() for seed in (5, 5, 6))

        assert first == again
        assert json.loads(first)["raw"] != json.loads(other)["raw"]

    def test_without_a_seed_results_differ(self):
        """A task without a seed repeats the random numbers of the one before."""
        run(sample("pulser_2q_sequence"), seed=5)
        free = [run(sample("pulser_2q_sequence"))["raw"] for _ in range(2)]

        assert free[0] != free[1]


class TestSequence:
    """What is accepted as a sequence, and what is asked of it."""

    @pytest.mark.parametrize("times", [1, 2, 3])
    def test_text_is_unwrapped(self, times):
        """A sequence that a client encoded twice is refused."""
        payload = sample("pulser_2q_sequence")
        for _ in range(times):
            payload["sequence"] = json.dumps(payload["sequence"])

        assert 2 == prepare(payload).plan.qubits

    def test_the_plan_says_what_will_run(self):
        """The plan names other numbers than will be simulated."""
        plan = prepare(sample("pulser_afm_9q")).plan

        assert ("pulser", 9, 1000, "qutip") == (plan.kind, plan.qubits, plan.shots, plan.method)
        assert 0 < plan.memory_bytes < plan.memory_allowed_bytes

    def test_a_missing_measurement_is_added(self):
        """A sequence that addresses one basis but is not measured is refused, or measured in another."""
        sequence = far_apart(1)
        sequence.add(PI_PULSE, "one")

        assert {"1": 10} == run(payload_of(sequence, 10))["counter"]

    def test_two_bases_without_a_measurement_are_refused(self):
        """A basis to measure in is guessed."""
        sequence = far_apart(1)
        sequence.declare_channel("hyperfine", "raman_local", initial_target="q0")
        sequence.add(PI_PULSE, "one")
        sequence.add(PI_PULSE, "hyperfine")

        assert "not measured" in refusal(payload_of(sequence)).problem

    def test_two_bases_have_three_levels(self):
        """Memory is planned for two levels where three are simulated."""
        sequence = far_apart(2)
        sequence.declare_channel("hyperfine", "raman_local", initial_target="q0")
        sequence.add(PI_PULSE, "one")
        sequence.add(PI_PULSE, "hyperfine")
        sequence.measure("ground-rydberg")

        assert any("3 levels" in note for note in prepare(payload_of(sequence)).plan.notes)

    def test_a_measurement_of_a_basis_that_nothing_drives_is_refused(self):
        """A measurement that the simulator cannot make is found out when it runs."""
        sequence = far_apart(1)
        sequence.declare_channel("hyperfine", "raman_local", initial_target="q0")
        sequence.add(PI_PULSE, "one")
        sequence.measure("digital")

        assert "$.sequence.measurement" == refusal(payload_of(sequence)).path

    def test_an_empty_sequence_is_refused(self):
        """A sequence without pulses runs."""
        assert "no operations" in refusal(payload_of(far_apart())).problem

    @pytest.mark.parametrize(
        ("change", "path"),
        [
            ({"sequence": None}, "$.sequence"),
            ({"sequence": "{"}, "$.sequence"),
            ({"sequence": {}}, "$.sequence.register"),
            ({"sequence": {"_build": True, "__module__": "pulser.sequence"}}, "$.sequence"),
            ({"sequence": {"setup": {}, "hamiltonian": {}}}, "$.sequence"),
            ({"job_runs": 0}, "$.job_runs"),
            ({"job_runs": True}, "$.job_runs"),
            ({"job_runs": 1001}, "$.job_runs"),
            ({"job_runs": None}, "$.job_runs"),
            ({"variables": {"x": 1}}, "$.variables.x"),
            ({"variables": []}, "$.variables"),
        ],
    )
    def test_every_fault_is_named_by_its_place(self, change, path):
        """The message about a fault points to another place in the payload."""
        assert path == refusal(sample("pulser_2q_sequence") | change).path

    @pytest.mark.parametrize(
        "damage",
        [
            lambda sequence: sequence.pop("device"),
            lambda sequence: sequence["device"].pop("channels"),
            lambda sequence: sequence.update(device="NoSuchDevice"),
            lambda sequence: sequence["operations"][0].update(op="no such operation"),
            lambda sequence: sequence["operations"][0]["amplitude"].update(value=1e9),
            lambda sequence: sequence["register"][0].update(x=2.4),
            lambda sequence: sequence.update(measurement="no such basis"),
        ],
    )
    def test_what_pulser_refuses_is_refused(self, damage):
        """An exception of Pulser passes through, or a sequence that breaks its device's limits runs."""
        payload = sample("pulser_2q_sequence")
        damage(payload["sequence"])

        assert refusal(payload).path.startswith("$.sequence")

    def test_a_register_without_layout_is_refused_where_one_is_needed(self):
        """A register that the device could not hold runs."""
        sequence = Sequence(Register.square(2, 6, prefix="q"), AnalogDevice)
        sequence.declare_channel("all", "rydberg_global")
        sequence.add(Pulse.ConstantPulse(200, 1.0, 0.0, 0.0), "all")

        assert "RegisterLayout" in refusal(payload_of(sequence)).problem

    def test_an_open_register_is_refused(self):
        """A sequence for atoms not yet placed runs on some."""
        layout = pulser.register.RegisterLayout([[0.0, 0.0], [10.0, 0.0]])
        sequence = Sequence(layout.make_mappable_register(1), MockDevice)
        sequence.declare_channel("all", "rydberg_global")
        sequence.add(PI_PULSE, "all")

        assert "where the atoms are" in refusal(payload_of(sequence)).problem


class TestVariables:
    """Values of a parametrised sequence."""

    @pytest.fixture
    def sequence(self) -> Sequence:
        """One atom; area of the pulse, and its start as a vector of two whole numbers of which the second counts."""
        sequence = far_apart(1)
        area = sequence.declare_variable("area", dtype=float)
        waits = sequence.declare_variable("waits", dtype=int, size=2)
        sequence.delay(waits[1], "one")
        sequence.add(Pulse.ConstantAmplitude(area, pulser.waveforms.ConstantWaveform(1000, 0.0), 0.0), "one")
        return sequence

    @pytest.mark.parametrize(("area", "expected"), [(math.pi, {"1": 20}), (2 * math.pi, {"0": 20})])
    def test_are_put_in(self, sequence, area, expected):
        """A variable keeps another value."""
        payload = payload_of(sequence, 20, area=area, waits=[16, 32])

        assert expected == run(payload)["counter"]
        assert any(" 1032 ns" in note for note in prepare(payload).plan.notes)

    @pytest.mark.parametrize(
        ("variables", "path"),
        [
            ({}, "$.variables"),
            ({"area": 1.0}, "$.variables"),
            ({"area": 1.0, "waits": [16, 32], "other": 1}, "$.variables.other"),
            ({"area": 1.0, "waits": [16]}, "$.variables.waits"),
            ({"area": 1.0, "waits": 16}, "$.variables.waits"),
            ({"area": 1.0, "waits": [16, 1.5]}, "$.variables.waits"),
            ({"area": 1.0, "waits": [16, 10**12]}, "$.variables.waits"),
            ({"area": "1", "waits": [16, 32]}, "$.variables.area"),
            ({"area": True, "waits": [16, 32]}, "$.variables.area"),
            ({"area": math.nan, "waits": [16, 32]}, "$.variables.area"),
            ({"area": math.inf, "waits": [16, 32]}, "$.variables.area"),
            ({"area": -1.0, "waits": [16, 32]}, "$.variables"),
        ],
    )
    def test_that_do_not_fit_are_refused_by_their_place(self, sequence, variables, path):
        """A missing, unknown, misshapen or impossible value is used somehow."""
        assert path == refusal(payload_of(sequence) | {"variables": variables}).path


class TestLimits:
    """What cannot fit is refused before it is tried."""

    @pytest.mark.parametrize(
        "change",
        [
            {"job_runs": 10**12},
            {"sequence": {"register": [{"name": f"q{i}", "x": 9.0 * i, "y": 0.0} for i in range(60)]}},
            {"sequence": {"register": [{}] * 100_000}},
            {"sequence": {"register": [{}], "operations": [{"duration": 10**12}]}},
        ],
        ids=["10^12 runs", "60 atoms", "many atoms", "long"],
    )
    def test_at_once(self, change):
        """A payload beyond all memory is tried, or thought about for long."""
        started = time.process_time()
        refusal(sample("pulser_2q_sequence") | change, memory_limit_bytes=8 << 30)

        assert time.process_time() - started < 1

    def test_the_limit_is_the_setting(self):
        """A simulation that fits is refused, or one byte more is allowed."""
        needed = prepare(sample("pulser_afm_9q")).plan.memory_bytes

        assert needed == prepare(sample("pulser_afm_9q"), memory_limit_bytes=needed).plan.memory_allowed_bytes
        assert f"{needed - 1:,} bytes" in refusal(sample("pulser_afm_9q"), memory_limit_bytes=needed - 1).problem


@given(
    st.sampled_from(["sequence", "operations", "channels", "register", "variables", "device", "measurement", "layout"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["name", "op", "x", "y", "variable", "expression", "lhs"]), inner, max_size=3
            )
        ),
        max_leaves=8,
    ),
)
@hypothesis_settings(max_examples=100, deadline=None)
def test_no_json_value_upsets_prepare(key, value):
    """Some JSON value makes `prepare` raise something else than a PayloadError."""
    payload = sample("pulser_2q_sequence")
    (payload if key == "sequence" else payload["sequence"])[key] = value
    try:
        prepare(payload)
    except PayloadError as exc:
        assert str(exc).isprintable()  # noqa: PT017


def test_pulser_does_not_need_the_gate_simulator():
    """A Pulser task waits for Qiskit and Aer to be imported."""
    import subprocess
    import sys

    code = "import sys, qrmi_local.pulses; print('qiskit' in sys.modules, 'qiskit_aer' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "False False" == found.stdout.strip()


def test_random_numbers_do_not_leak_into_the_programs_own():
    """Sampling uses a generator whose state depends on tasks before it although a seed is given."""
    np.random.seed(0)
    first = run(sample("pulser_2q_sequence"), seed=5)["raw"]
    np.random.seed(1)

    assert first == run(sample("pulser_2q_sequence"), seed=5)["raw"]
