"""Type `direct-access` keeps the contract: the same suite that a stranger's backend passes."""

from __future__ import annotations

import pytest
from ibm_da.payloads import bell, nonsense, slow

from qrmi_core import Opening, Payload
from qrmi_testkit import emulators
from qrmi_testkit.conformance import ResourceConformance


class TestDirectAccess(ResourceConformance):
    """The suite, on the emulated service."""

    type = "direct-access"
    prefix = "QRMI_IBM_DA"

    @pytest.fixture(scope="class")
    @classmethod
    def service(cls):
        with emulators.direct_access(lanes=10) as service:
            yield service

    @pytest.fixture(scope="class")
    @classmethod
    def opening(cls, service) -> Opening:
        variables = service.variables(service.options.account, prefix=cls.prefix)
        variables[f"{cls.prefix}_BACKEND"] = "ibm_torino"
        return Opening(name=f"test-{cls.type}", type=cls.type, environment=variables, source="the conformance suite")

    @pytest.fixture
    def payload(self) -> Payload:
        return bell()

    @pytest.fixture
    def slow_payload(self) -> Payload:
        return slow()

    @pytest.fixture
    def failing_payload(self) -> Payload:
        return nonsense()

    @pytest.fixture
    def task_count(self, service):
        return lambda: len(service.submitted)


class TestQuantumSystem(TestDirectAccess):
    """The same under its new names."""

    type = "ibm-quantum-system"
    prefix = "QRMI_IBM_QS"
