"""Type `qiskit-runtime-service` keeps the contract, against an emulator that executes for real."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from broker.daemon import Daemon, short_folder

from qrmi_core import Opening, Payload
from qrmi_testkit.conformance import ResourceConformance

from .service import DEVICE, Service, bell, service


class OnSessions(ResourceConformance):
    """The suite, on sessions."""

    type = "qiskit-runtime-service"

    @pytest.fixture(scope="class")
    @classmethod
    def running(cls) -> Iterator[Service]:
        with service(lanes=64) as running:
            yield running

    @pytest.fixture(scope="class")
    @classmethod
    def opening(cls, running: Service) -> Opening:
        environment = running.environment() | {"QRMI_IBM_QRS_BACKEND": DEVICE}
        return Opening(name=f"test-{cls.type}", type=cls.type, environment=environment, source="the emulator")

    @pytest.fixture
    def payload(self) -> Payload:
        return bell()

    @pytest.fixture
    def slow_payload(self) -> Payload:
        return bell("service_s=300")

    @pytest.fixture
    def failing_payload(self) -> Payload:
        return bell("fail=The fridge is warm")

    @pytest.fixture
    def payloads(self) -> list[Payload]:
        return [bell(shots=10 + number) for number in range(8)]

    @pytest.fixture
    def task_count(self, running: Service) -> Callable[[], int]:
        return lambda: len(running.submitted)

    def check_result(self, payload: Payload, result: bytes) -> None:
        shots = payload.json()["parameters"]["pubs"][0][2]
        assert shots == len(json.loads(result)["results"][0]["data"]["c"]["samples"])


class TestRuntime(OnSessions):
    """In the program's own process."""


class TestBrokered(OnSessions):
    """Through the socket of a real broker."""

    @pytest.fixture(scope="class")
    @classmethod
    def opening(cls, running: Service) -> Iterator[Opening]:
        entry = {"name": f"test-{cls.type}", "type": cls.type}
        environment = running.environment() | {"QRMI_IBM_QRS_BACKEND": DEVICE}
        with short_folder() as folder:
            daemon = Daemon(Path(folder), [{**entry, "environment": environment}]).start()
            yield daemon.opening(daemon.ask(entry["name"]), entry["name"])
            daemon.stop()


del OnSessions, ResourceConformance
