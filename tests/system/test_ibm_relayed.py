"""Every sample of IBM's services through `qrun`, a relay and a broker: right physics, and no credential on the node."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from broker.daemon import BIN, short_folder
from broker.munged import running
from broker.site import Site

from .ibm import RESOURCES, SAMPLES, Ibm, check_sample, contents, emulated


@pytest.fixture(scope="module")
def ibm() -> Iterator[Ibm]:
    """Both services."""
    with emulated() as services:
        yield services


@pytest.fixture(scope="module")
def site(ibm: Ibm) -> Iterator[Site]:
    """A broker with both resources, and a relay; both log all they can."""
    with short_folder() as name:
        Path(name).chmod(0o755)
        site = Site(Path(name), *ibm.resources)
        with running(site.here, site.there):
            try:
                for daemon in (site.broker, site.relay):
                    daemon.start(QRMI_LOG_LEVEL="debug")
                yield site
            finally:
                site.stop()


@pytest.mark.parametrize("resource", RESOURCES)
def test_every_sample_comes_to_its_physics_on_a_node_with_a_relay(ibm, site, data, resource):
    """A job beside the broker had its results, and one on another node had none, or the site's keys."""
    granted = site.relay.ask(resource, job=next(site.jobs))
    environment = {**os.environ, **granted["environment"]}
    seen = {"environment": json.dumps(granted["environment"]).encode()}
    for name in SAMPLES:
        words = [BIN / "qrun", "--qpu", resource, data / name]
        done = subprocess.run(words, env=environment, capture_output=True, timeout=120)
        assert 0 == done.returncode, done.stderr.decode()
        check_sample(name, done.stdout)
        seen |= {f"output of {name}": done.stdout, f"messages of {name}": done.stderr}
    site.relay.release(granted["id"])

    written = contents(site.relay.folder, site.broker.log, site.broker.folder / "state")
    assert [] == ibm.leaks({**seen, **written})
    assert ibm.leaks(contents(site.broker.config)), "the search finds what is there"
    assert {"inputs": [], "sessions": [], "jobs": []} == ibm.left_behind()
