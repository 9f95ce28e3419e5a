"""The emulated services, each opened once: their own state is left as a test found it only where that test says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qrmi_testkit import emulators
from qrmi_testkit.emulators import DirectAccess, Runtime

from .client import DirectClient, RuntimeClient


@pytest.fixture(scope="module")
def service_of_da() -> Iterator[DirectAccess]:
    """Direct Access, for the tests of a module."""
    with emulators.direct_access(lanes=3) as service:
        yield service


@pytest.fixture(scope="module")
def service_of_qrs() -> Iterator[Runtime]:
    """Qiskit Runtime, for the tests of a module."""
    with emulators.runtime(lanes=3) as service:
        yield service


@pytest.fixture
def da(service_of_da) -> Iterator[DirectClient]:
    """A client of Direct Access, of an account that has no jobs yet. Its jobs are gone afterwards."""
    client = DirectClient(service_of_da, service_of_da.add_account())
    yield client
    service_of_da.faults.clear()
    client.renew()
    for job in client("GET", "/v1/jobs").json()["jobs"]:
        client("POST", f"/v1/jobs/{job['id']}/cancel")
        client("DELETE", f"/v1/jobs/{job['id']}")
    client.close()


@pytest.fixture
def qrs(service_of_qrs) -> Iterator[RuntimeClient]:
    """A client of Qiskit Runtime, of an account that has no jobs yet. Its jobs have ended afterwards."""
    client = RuntimeClient(service_of_qrs, service_of_qrs.add_account())
    yield client
    service_of_qrs.faults.clear()
    client.renew()
    for job in client("GET", "/jobs", params={"pending": "true", "limit": 200}).json()["jobs"]:
        client("POST", f"/jobs/{job['id']}/cancel")
    client.close()
