"""Trouble between a relay and its broker: it is said within seconds, with its cause, and is over when it is over."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from typing import Any

import pytest

from qrmi_core import BrokerUnavailable, TaskStatus
from qrmi_core.client import Broker, open_brokered

from .daemon import BIN, INSTALLED, Daemon
from .munged import Munged, running
from .site import LEASES, Site, script


class TestTrouble:
    """What goes wrong between the two."""

    def test_of_a_broker_that_starts_again_is_over_then(self, own_site):
        """A relay would have to be restarted after its broker, on every node."""
        own_site.start()
        granted = own_site.relay.ask("fez")
        with open_brokered(own_site.relay.opening(granted, "fez")) as resource:
            first = resource.task_start(script(), key="one")
            for end in (own_site.broker.kill, own_site.broker.stop):
                end()
                own_site.broker.start()
                resource.task_start(script(), key=f"after {end.__name__}")
                assert TaskStatus.COMPLETED is resource.task_wait(first, 30).status
        assert [granted["id"]] == [one["id"] for one in own_site.relay.leases()]

    @pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
    def test_of_a_broker_that_is_gone_is_said_within_5_s(self, own_site, how):
        """A job would wait for ever, or read of something else."""
        own_site.broker.start()
        own_site.broker.process.send_signal(how)
        _start_unready(own_site.relay)
        started = time.monotonic()
        try:
            with pytest.raises(BrokerUnavailable, match="cannot be reached"):
                Broker(own_site.relay.public).ask("GET", "/v1/resources")
            assert time.monotonic() - started < 5
        finally:
            own_site.broker.process.send_signal(signal.SIGCONT)

    def test_of_a_broker_that_dies_in_the_middle_is_said_within_5_s(self, own_site):
        """Who waits for a task would go on waiting for a broker that is no more."""
        own_site.start()
        granted = own_site.relay.ask("fez")
        with open_brokered(own_site.relay.opening(granted, "fez")) as resource:
            task = resource.task_start(script(runs_s=60), key="long")
            with pytest.raises(BrokerUnavailable):
                _while_waiting(resource, task, own_site.broker.kill)
        assert "broker.unreachable" in [one["event"] for one in own_site.relay.events]

    def test_with_munge_on_the_node_is_said(self, own_site):
        """It would look like the broker's fault, and the wrong machine be searched."""
        own_site.start()
        own_site.there.stop()
        started = time.monotonic()
        with pytest.raises(BrokerUnavailable, match="munged on this node"):
            own_site.relay.admin().ask("GET", LEASES)
        assert time.monotonic() - started < 5

        own_site.there.start()
        assert [] == own_site.relay.leases()

    def test_with_a_munge_that_hangs_is_said_within_5_s(self, own_site):
        """Every job of the node would hang with it."""
        own_site.start()
        own_site.there.process.send_signal(signal.SIGSTOP)
        started = time.monotonic()
        try:
            with pytest.raises(BrokerUnavailable, match="munged on this node"):
                own_site.relay.admin().ask("GET", LEASES)
            assert time.monotonic() - started < 5
        finally:
            own_site.there.process.send_signal(signal.SIGCONT)

    def test_with_munge_at_the_broker_is_said(self, own_site):
        """The relay would be taken for an intruder."""
        own_site.start()
        own_site.here.stop()
        with pytest.raises(BrokerUnavailable, match="cannot ask munged on its host"):
            own_site.relay.admin().ask("GET", LEASES)

        own_site.here.start()
        assert [] == own_site.relay.leases()

    def test_with_the_clock_of_a_node_is_said(self, own_site):
        """The jobs of a node whose clock is wrong would be refused for no reason they can tell."""
        own_site.there = Munged(own_site.folder / "munge", "late", clock="-30m")
        own_site.relay.options["munge-socket"] = own_site.there.socket
        with running(own_site.there):
            own_site.broker.start()
            _start_unready(own_site.relay)
            with pytest.raises(BrokerUnavailable, match=r"does not accept this node's relay.*Expired credential"):
                own_site.relay.admin().ask("GET", LEASES)

    @pytest.mark.parametrize(("host", "authority"), [("localhost", "other.pem"), ("elsewhere.example.org", "ca.pem")])
    def test_with_the_certificate_ends_before_anything_is_sent(self, folder, host, authority):
        """Whoever takes the broker's address would be told the users' tokens."""
        site = Site(folder, host=host)
        site.relay.options["tls-ca"] = str(folder / authority)
        with running(site.here, site.there):
            try:
                site.broker.start()
                _start_unready(site.relay)
                with pytest.raises(BrokerUnavailable, match="its certificate"):
                    site.relay.admin().ask("GET", LEASES)
            finally:
                site.stop()


def test_a_relay_needs_neither_configuration_nor_state(site):
    """Credentials would have to lie on every node."""
    words = [str(BIN / "qrmid"), "--relay", f"localhost:{site.port}", "--run-dir", "/nonexistent"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)

    assert 2 == done.returncode
    assert "/nonexistent: cannot be used: No such file or directory" in done.stderr


def test_one_run_folder_has_one_relay(site):
    """The second would take the first one's sockets away."""
    second = Daemon(site.folder / "relay", [], **site.relay.options)

    with pytest.raises(AssertionError, match="is held by another qrmid"):
        _start_and_end(second)
    assert "uptime_s" in site.relay.admin().ask_json("GET", "/v1/health")


def _start_and_end(daemon: Daemon) -> None:
    """Start what is expected to end; `Daemon.start` would believe the answers of the other one."""
    _start_unready(daemon, until_it_listens=False)
    status = daemon.process.wait(30)
    raise AssertionError(f"qrmid ended with {status}: {daemon.words[-2000:]}")


def _start_unready(daemon: Daemon, *, until_it_listens: bool = True) -> None:
    """Start a relay whose broker does not answer."""
    known = [word for name, value in daemon.options.items() for word in (f"--{name}", value)]
    with daemon.log.open("ab") as log:
        daemon.process = subprocess.Popen(
            [str(BIN / "qrmid"), "--run-dir", str(daemon.folder / "run"), *known],
            env={**os.environ, "PYTHONPATH": str(INSTALLED)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + 30
    while until_it_listens and not (daemon.folder / "run" / "admin.sock").exists():  # the second of its sockets
        assert daemon.process.poll() is None, daemon.words
        assert time.monotonic() < deadline, daemon.words
        time.sleep(0.01)


def _while_waiting(resource: Any, task: str, then: Any) -> None:
    """Do *then* while a long poll is under way; what it raises must come within 5 s of that."""
    began: list[float] = []

    def soon() -> None:
        time.sleep(0.5)
        began.append(time.monotonic())
        then()

    worker = threading.Thread(target=soon)
    worker.start()
    try:
        resource.task_wait(task, 25)
    finally:
        worker.join()
        assert time.monotonic() - began[0] < 5
