"""The broker's TCP port: TLS or nothing, and shut where something must be mended first."""

from __future__ import annotations

import signal
import socket
import ssl
import time
from contextlib import suppress

import pytest

from qrmi_core import BrokerUnavailable

from .daemon import Daemon, fake
from .site import LEASES, Site, certificates


class TestTheDoor:
    """The broker's TCP port."""

    def test_cuts_off_who_says_nothing(self, site):
        """Strangers could hold so many connections that no relay finds one."""
        context = ssl.create_default_context(cafile=str(site.folder / "ca.pem"))
        bare = socket.create_connection(("localhost", site.port), timeout=20)
        with bare, context.wrap_socket(bare, server_hostname="localhost") as connection:
            assert b"" == _rest(connection)

    def test_speaks_nothing_but_tls(self, site):
        """Tokens would go over the network as they are."""
        with socket.create_connection(("localhost", site.port), timeout=20) as bare:
            bare.sendall(b"GET /v1/resources HTTP/1.1\r\nHost: x\r\n\r\n")

            assert b"HTTP" not in bare.recv(1000)

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (lambda site: (site.folder / "broker.key").chmod(0o640), r"broker\.key: is open to others\. chmod 600 "),
            (
                lambda site: (site.folder / "broker.pem").chmod(0o646),
                r"broker\.pem: can be changed by others\. chmod 644",
            ),
            (lambda site: (site.folder / "broker.key").write_text("no key"), r"broker\.pem: cannot be used with"),
            (lambda site: site.broker.options.pop("tls-key"), r"needs --tls-cert and --tls-key"),
            (lambda site: site.broker.options.update(listen="nothing"), r"'nothing' is no address"),
            (lambda site: site.broker.options.update({"relay-user": "nobody-here"}), r"no user 'nobody-here'"),
            (lambda site: site.broker.options.update({"relay": "a:1"}), r"--relay: cannot be given with --listen"),
        ],
    )
    def test_stays_shut_where_something_must_be_mended_first(self, folder, change, expected):
        """The broker would serve with a key that others can read, or nobody, and say nothing."""
        site = Site(folder)
        change(site)

        with pytest.raises(AssertionError, match=rf"ended with 2: (?s:.*){expected}"):
            site.broker.start()
        site.stop()
        assert not (folder / "broker" / "run" / "qrmi.sock").exists()

    def test_says_that_its_port_is_taken(self, site, folder):
        """The broker would end with a traceback."""
        second = Daemon(folder, [fake(folder / "service")], **{**site.broker.options})

        with pytest.raises(AssertionError, match=rf"ended with 2: (?s:.*)--listen: 127\.0\.0\.1:{site.port}: "):
            second.start()


class TestARenewedCertificate:
    """What SIGHUP changes."""

    def test_is_shown_and_believed_without_a_restart(self, own_site):
        """Every job would lose its broker for the renewal, or on the day on which the old certificate ends."""
        own_site.start()
        old = (own_site.folder / "ca.pem").read_bytes()
        self._renew(own_site)
        self._hup(own_site.broker, "certificates.read")

        assert 200 == own_site.directly("GET", LEASES, own_site.credential("GET", LEASES))[0]
        assert isinstance(own_site.relay.leases(), list)  # over the connection that it has
        self._hup(own_site.relay, "certificates.read")
        own_site.broker.stop()
        own_site.broker.start()
        assert isinstance(own_site.relay.leases(), list)
        (own_site.folder / "ca.pem").write_bytes(old)
        with pytest.raises(ssl.SSLCertVerificationError):
            own_site.directly("GET", LEASES)

    def test_that_cannot_be_used_changes_nothing(self, own_site):
        """A mistake in a file would cut every node off, and nobody be told."""
        own_site.start()
        authority = own_site.folder / "ca.pem"
        good = authority.read_bytes()
        self._renew(own_site, "broker.pem")
        self._hup(own_site.broker, "certificates.refused")

        assert 200 == own_site.directly("GET", LEASES, own_site.credential("GET", LEASES))[0]
        authority.write_text("nothing")
        self._hup(own_site.relay, "certificates.refused")
        authority.write_bytes(good)
        own_site.broker.stop()
        self._renew(own_site)
        own_site.broker.start()
        with pytest.raises(BrokerUnavailable, match="its certificate"):
            own_site.relay.leases()
        self._hup(own_site.relay, "certificates.read")
        assert isinstance(own_site.relay.leases(), list)

    @staticmethod
    def _renew(site: Site, *names: str) -> None:
        """Write these files anew, by default all."""
        for name, content in certificates("localhost").items():
            if name in (names or (name,)):
                (site.folder / name).write_bytes(content)

    @staticmethod
    def _hup(daemon: Daemon, event: str) -> None:
        """Send SIGHUP, and wait until it says this once more."""

        def times() -> int:
            return [entry["event"] for entry in daemon.events].count(event)

        before, deadline = times(), time.monotonic() + 20
        daemon.process.send_signal(signal.SIGHUP)
        while times() == before:
            assert time.monotonic() < deadline, daemon.words
            time.sleep(0.02)


def test_a_broker_without_relays_outlives_sighup(daemon):
    """An administrator who sends it to every daemon would end the broker."""
    daemon.process.send_signal(signal.SIGHUP)

    assert 0 == daemon.stop()


def _rest(connection: socket.socket) -> bytes:
    """What comes until the other side ends the connection, whether it says so or not."""
    with suppress(ConnectionError, ssl.SSLError):
        return connection.recv(1)
    return b""
