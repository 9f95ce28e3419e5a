"""Direct Access, emulated, and resources that use it."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator

import pytest
from attrs import frozen

from qrmi_core import Hosted, Opening, Payload, cli, open_resource
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


class FastClock:
    """Twenty times as fast as the machine's: pauses and deadlines of minutes pass in seconds."""

    SPEED = 20

    def monotonic(self) -> float:
        return time.monotonic() * self.SPEED

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / self.SPEED)


@frozen
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str
    took_s: float


@pytest.fixture
def qrun(da, tmp_path, monkeypatch, capfd) -> Callable[..., Ended]:
    """Run `qrun` in this process, on the device of the service, with a fast clock."""
    config = tmp_path / "qrmi_config.json"
    config.write_text(json.dumps(da.config()))
    config.chmod(0o600)
    monkeypatch.setattr("qrmi_core.host.SystemClock", FastClock)
    monkeypatch.setattr("qrmi_core.runner._RESEND_S", (0.02, 0.1))
    monkeypatch.setattr("qrmi_core.runner.pauses", lambda clock: itertools.repeat(0.03))  # these are in real time

    def run(payload: Payload, *words: str) -> Ended:
        path = tmp_path / "payload.json"
        path.write_bytes(payload.read())
        began = time.monotonic()
        status = cli.qrun([str(path), "--config", str(config), "--qpu", DEVICE, *words])
        return Ended(status, *capfd.readouterr(), time.monotonic() - began)

    return run
