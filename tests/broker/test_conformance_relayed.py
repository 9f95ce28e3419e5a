"""A resource behind a relay keeps the contract, too: nobody can tell on which node the broker runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from . import test_conformance as here
from .daemon import Daemon, fake, short_folder, vendor_log
from .munged import running
from .site import Site


class Relayed:
    """The same suite, with a relay in the daemon's place."""

    @classmethod
    def served(cls, folder: Path) -> dict:
        """The broker's only one, whose service is *folder*."""
        return fake(folder, f"test-{cls.type}", cls.vendor_type)

    @pytest.fixture(scope="class")
    @classmethod
    def daemon(cls) -> Iterator[Daemon]:
        with short_folder() as name:
            folder = Path(name)
            folder.chmod(0o755)  # munged insists
            site = Site(folder, cls.served(folder / "service"))
            with running(site.here, site.there):
                try:
                    yield site.start().relay
                finally:
                    site.stop()

    @pytest.fixture
    def task_count(self, daemon: Daemon):
        return lambda: sum(entry["event"] == "task.started" for entry in vendor_log(daemon.folder.parent / "service"))


class TestFake(Relayed, here.TestFake):
    """A backend that finds tasks and sessions again."""


class TestBlind(Relayed, here.TestBlind):
    """A backend that can tell nothing after a crash."""


class TestLocal(Relayed, here.TestLocal):
    """The simulators."""

    @classmethod
    def served(cls, folder: Path) -> dict:
        return {
            "name": "test-local",
            "type": "local",
            "access": "broker",
            "environment": {"QRMI_LOCAL_SEED": "7"},
        }

    @pytest.fixture
    def task_count(self) -> None:
        return None
