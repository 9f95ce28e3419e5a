"""A resource behind the broker keeps the contract: nobody can tell it from one in the program's own process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from stevedore import ExtensionManager

from qrmi_core import Opening, Payload
from qrmi_testkit.conformance import ResourceConformance

from .daemon import INSTALLED, Daemon, fake, short_folder, vendor_log

DATA = Path(__file__).parents[1] / "data"


def script(**facts: object) -> Payload:
    """What the fake vendor executes."""
    return Payload.from_json("script", facts)


class Brokered(ResourceConformance):
    """The suite, through the socket of a real broker."""

    type = "fake"
    vendor_type = "fake"

    @pytest.fixture(autouse=True)
    def _installed(self, monkeypatch):
        """The suite looks up the backend in the registry; the client itself would not need it."""
        monkeypatch.syspath_prepend(INSTALLED)
        monkeypatch.setattr(ExtensionManager, "ENTRY_POINT_CACHE", {})

    @pytest.fixture(scope="class")
    @classmethod
    def daemon(cls) -> Iterator[Daemon]:
        """A broker with one resource, `test-...`."""
        with short_folder() as folder:
            daemon = Daemon(Path(folder), [fake(Path(folder) / "service", f"test-{cls.type}", cls.vendor_type)])
            daemon.start()
            yield daemon
            daemon.stop()

    @pytest.fixture(scope="class")
    @classmethod
    def opening(cls, daemon: Daemon) -> Opening:
        """As the job opens it."""
        return daemon.opening(daemon.ask(f"test-{cls.type}"), f"test-{cls.type}")

    @pytest.fixture
    def payload(self) -> Payload:
        return script(runs_s=0.05)

    @pytest.fixture
    def slow_payload(self) -> Payload:
        return script(runs_s=300)

    @pytest.fixture
    def failing_payload(self) -> Payload:
        return script(runs_s=0.05, ends="FAILED")

    @pytest.fixture
    def task_count(self, daemon: Daemon):
        return lambda: sum(entry["event"] == "task.started" for entry in vendor_log(daemon.folder / "service"))

    def check_result(self, payload: Payload, result: bytes) -> None:
        assert payload.read() == result


class TestFake(Brokered):
    """A backend that finds tasks and sessions again."""


class TestBlind(Brokered):
    """A backend that can tell nothing after a crash."""

    vendor_type = "fake-blind"


class TestLocal(Brokered):
    """The simulators, served by the broker."""

    type = "local"
    stop_s = 20.0

    @pytest.fixture(scope="class")
    @classmethod
    def daemon(cls) -> Iterator[Daemon]:
        resource = {"name": "test-local", "type": "local", "access": "broker"}
        with short_folder() as folder:
            daemon = Daemon(Path(folder), [{**resource, "environment": {"QRMI_LOCAL_SEED": "7"}}]).start()
            yield daemon
            daemon.stop()

    @pytest.fixture
    def payload(self) -> Payload:
        program = 'OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; bit[2] c; h q[0]; cx q[0], q[1]; c = measure q;'
        parameters = {"pubs": [[program, None, 100]], "version": 2, "support_qiskit": False}
        return Payload.from_json("qiskit-primitive", {"program_id": "sampler", "parameters": parameters})

    @pytest.fixture
    def slow_payload(self) -> Payload:
        lines = ["OPENQASM 3.0;", 'include "stdgates.inc";', "qubit[27] q;", "bit[27] meas;"]
        for layer in range(12):
            lines += [f"ry({0.1 * layer + 0.37 * qubit + 0.1}) q[{qubit}];" for qubit in range(27)]
            lines += [f"cx q[{qubit}], q[{qubit + 1}];" for qubit in range(layer % 2, 26, 2)]
        parameters = {"pubs": [["\n".join([*lines, "meas = measure q;"]), None, 100]], "version": 2}
        return Payload.from_json("qiskit-primitive", {"program_id": "sampler", "parameters": parameters})

    @pytest.fixture
    def failing_payload(self) -> Payload:
        return Payload.from_json("pulser", json.loads((DATA / "pulser_stiff.json").read_text()))

    @pytest.fixture
    def task_count(self) -> None:
        return None

    def check_result(self, payload: Payload, result: bytes) -> None:
        assert result


del Brokered, ResourceConformance
