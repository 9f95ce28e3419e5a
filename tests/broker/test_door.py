"""The broker's TCP port: TLS or nothing, and shut where something must be mended first."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

import pytest

from .daemon import Daemon, fake
from .site import Site


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


def _rest(connection: socket.socket) -> bytes:
    """What comes until the other side ends the connection, whether it says so or not."""
    with suppress(ConnectionError, ssl.SSLError):
        return connection.recv(1)
    return b""
