"""What a node leaves to simulations, read from folders like those of real nodes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from qrmi_core import ConfigError
from qrmi_local import limits
from qrmi_local.settings import Settings

GIB = 1 << 30


@pytest.fixture
def node(tmp_path):
    """Write files as they are on a node with 64 GiB free; more of them by keyword, slashes as underscores."""

    def write(files: dict[str, object]) -> object:
        for name, content in ({"proc/meminfo": f"MemFree: 1 kB\nMemAvailable: {64 << 20} kB\n"} | files).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(content))
        return tmp_path

    return write


def allowed_gib(root) -> float:
    """The memory allowed, before the spare part is taken off, GiB."""
    return round(limits.memory_allowed(None, root) / (1 - limits._SPARE) / GIB, 3)


def test_without_control_groups_the_free_memory_counts(node):
    """A bare node's simulations are planned with another number than its free memory."""
    assert 64 == allowed_gib(node({}))


def test_the_tightest_group_on_the_way_up_counts(node):
    """A job of Slurm, whose limit is set some folders above the step's own, plans with more than it has."""
    group = "sys/fs/cgroup/system.slice/slurmstepd.scope/job_42"
    root = node(
        {
            "proc/self/cgroup": "0::/system.slice/slurmstepd.scope/job_42/step_0/user\n",
            f"{group}/step_0/user/memory.max": "max\n",
            f"{group}/step_0/user/memory.current": GIB,
            f"{group}/memory.max": 8 * GIB,
            f"{group}/memory.current": 3 * GIB,
            f"{group}/memory.stat": f"anon 5\ninactive_file {GIB}\n",
        }
    )

    assert 8 - 3 + 1 == allowed_gib(root)


def test_a_container_that_cannot_see_its_path_reads_the_root(node):
    """In a container with the host's path in /proc but its own group mounted, the limit is overlooked."""
    files = {"sys/fs/cgroup/memory.max": 2 * GIB, "sys/fs/cgroup/memory.current": 0}

    assert 2 == allowed_gib(node(files | {"proc/self/cgroup": "0::/docker/1234\n"}))
    assert 2 == allowed_gib(node(files | {"proc/self/cgroup": "0::/../..\n"}))


def test_control_groups_of_version_1_count(node):
    """On nodes with version 1 the limit is overlooked, or its way to say "none" is taken for one."""
    group = "sys/fs/cgroup/memory/slurm/uid_1/job_7"
    root = node(
        {
            "proc/self/cgroup": "9:memory:/slurm/uid_1/job_7\n3:cpuset:/slurm\n0::/\n",
            f"{group}/memory.limit_in_bytes": 4 * GIB,
            f"{group}/memory.usage_in_bytes": GIB,
            f"{group}/memory.stat": f"total_inactive_file {GIB // 2}\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": 9223372036854771712,
            "sys/fs/cgroup/memory/memory.usage_in_bytes": 60 * GIB,
        }
    )

    assert 3.5 == allowed_gib(root)


def test_a_full_group_leaves_nothing(node):
    """A group above its limit leaves a negative number of bytes."""
    files = {"sys/fs/cgroup/memory.max": GIB, "sys/fs/cgroup/memory.current": 2 * GIB, "proc/self/cgroup": "0::/\n"}

    assert 0 == limits.memory_allowed(None, node(files))


def test_the_process_limits_count():
    """`ulimit -v` is overlooked."""
    code = "from qrmi_local.limits import memory_allowed; print(memory_allowed(None))"
    shell = f"ulimit -v {4 << 20}; exec {sys.executable} -c '{code}'"
    found = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)

    assert 0 < int(found.stdout) <= 4 * GIB


def test_a_limit_that_is_set_is_the_limit(node):
    """`QRMI_LOCAL_MEMORY_LIMIT_BYTES` is overruled."""
    assert 5 == limits.memory_allowed(5, node({}))


def test_threads_are_the_cpus_of_the_affinity_mask():
    """A simulation in a job of one CPU starts as many threads as the node has."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert 1 == limits.threads(None)
        assert 3 == limits.threads(3)
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1,023 bytes"),
        (1024, "1,024 bytes (1 KiB)"),
        (16 << 40, "17,592,186,044,416 bytes (16 TiB)"),
        (16 << 10_000, "2^10004 bytes"),
    ],
)
def test_bytes_are_written_for_people(size, text):
    """A message states bytes in a form nobody can read, or takes thousands of digits."""
    assert text == limits.bytes_text(size)


@pytest.mark.parametrize(
    ("method", "precision", "expected"),
    [("statevector", "double", 16 << 20), ("statevector", "single", 8 << 20), ("density_matrix", "double", 16 << 40)],
)
def test_the_state_of_20_qubits_takes(method, precision, expected):
    """The memory of a simulation is planned by another formula than the simulator's."""
    assert expected == limits.state_bytes(method, 20, precision)


def test_limits_and_settings_import_nothing_heavy():
    """The caller's process, which reads settings and the target, pays for numpy or a simulator."""
    code = (
        "import sys, qrmi_local.settings, qrmi_local.limits as limits; limits.target(qrmi_local.settings.Settings());"
        "print([name for name in ('numpy', 'qiskit', 'qiskit_aer', 'pulser') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[]" == found.stdout.strip()


class TestTarget:
    """What compilers are told."""

    def test_of_a_fake_device_is_its_own(self):
        """A circuit compiled for the fake device's target is compiled for another device."""
        pytest.importorskip("qiskit_ibm_runtime")
        found = json.loads(limits.target(Settings(fake_device="FakeTorino")))

        assert 133 == found["configuration"]["n_qubits"]
        assert 133 == len(found["properties"]["qubits"])

    def test_without_one_names_what_fits_into_memory(self):
        """The target promises more qubits than the memory allowed can hold, or fewer."""
        found = json.loads(limits.target(Settings(memory_limit_bytes=16 << 20)))

        assert 20 == found["configuration"]["n_qubits"]
        assert {"rz", "sx", "cx"} <= set(found["configuration"]["basis_gates"])

    @pytest.mark.parametrize(
        "name", ["FakeTorino", "faketorino", "fake_torino", "FakeCairoV2", "FakeFractionalBackend"]
    )
    def test_names_are_those_of_the_classes(self, name):
        """A device is not found by its class's name."""
        pytest.importorskip("qiskit_ibm_runtime")
        assert limits.fake_device(name).configuration["n_qubits"] > 1

    @pytest.mark.parametrize("name", ["FakeNowhere", "../torino", "", "Fake"])
    def test_an_unknown_device_is_refused_with_the_known_ones(self, name):
        """A misspelt device leaves the user without a hint."""
        pytest.importorskip("qiskit_ibm_runtime")
        with pytest.raises(ConfigError, match="FakeTorino"):
            limits.fake_device(name)
