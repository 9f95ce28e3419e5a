"""Direct Access, emulated, and resources that use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from qrmi_core import Hosted, Opening, open_resource
from qrmi_testkit import emulators
from qrmi_testkit.emulators import DirectAccess

DEVICE = "ibm_torino"


def opening_of(service: DirectAccess, name: str = DEVICE, **settings: str) -> Opening:
    """How to open a resource of *service*; *settings* by their suffixes, in small letters."""
    variables = service.environment(DEVICE) | {f"QRMI_IBM_DA_{one.upper()}": value for one, value in settings.items()}
    return Opening(name=name, type="direct-access", environment=variables, source="a test")


@pytest.fixture(scope="module")
def da() -> Iterator[DirectAccess]:
    """The service, for the tests of a module."""
    with emulators.direct_access(lanes=10) as service:
        yield service


@pytest.fixture
def opened(da) -> Iterator[Callable[..., Hosted]]:
    """Opens resources of that service, and closes them after the test."""
    found: list[Hosted] = []

    def open_(service: DirectAccess | None = None, name: str = DEVICE, **settings: str) -> Hosted:
        found.append(open_resource(opening_of(service or da, name, **settings)))
        return found[-1]

    yield open_
    for one in found:
        one.close()
