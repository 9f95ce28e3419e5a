"""The emulated service, and resources that use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from qrmi_core import Hosted, open_resource

from .service import Service, opening, service


@pytest.fixture(scope="module")
def shared() -> Iterator[Service]:
    """An emulator for a whole module; each test finds it without faults."""
    with service(lanes=16) as running:
        yield running


@pytest.fixture
def running(shared: Service) -> Iterator[Service]:
    """The same, as good as new: without faults, jobs and sessions."""
    shared.jobs.clear()
    shared.submitted.clear()
    shared.sessions.clear()
    shared.requests.clear()
    yield shared
    shared.faults.clear()


@pytest.fixture
def new_service() -> Iterator[Callable[..., Service]]:
    """Start an emulator with other options."""
    started: list[Service] = []

    def start(**options: Any) -> Service:
        started.append(service(**options).start())
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def open_(running: Service) -> Iterator[Callable[..., Hosted]]:
    """Open the emulated processor as a resource; it is closed after the test."""
    made: list[Hosted] = []

    def open_(at: Service = running, **facts: Any) -> Hosted:
        made.append(open_resource(opening(at, **facts)))
        return made[-1]

    yield open_
    for one in made:
        one.close()
