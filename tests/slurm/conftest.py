"""The plugin, built once, and a booted cluster for each module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm import cluster as clusters
from slurm.cluster import Cluster


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plugin of this tree. Where the tests cannot run they fail here, and say what is missing."""
    clusters.check_host()
    return clusters.built(tmp_path_factory.mktemp("spank"))


@pytest.fixture(scope="module")
def booted(plugin: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The module's cluster; it may name its own lines for slurm.conf as `EXTRA`, its own number as `NODES`."""
    module = request.module
    with clusters.running(plugin, extra=getattr(module, "EXTRA", ""), nodes=getattr(module, "NODES", 2)) as made:
        yield made


@pytest.fixture
def cluster(booted: Cluster) -> Iterator[Cluster]:
    """The same before each test: everything runs, no job is left, no node is drained, nothing hangs or fails."""
    booted.mend()
    yield booted
    assert "" == booted.drain_reasons()
    assert [] == [entry for entry in booted.broker.events if entry["event"] in ("broker.fault", "request.failed")]
