"""The credential of a request that a relay passes on: believed once, of a relay, and about that request only."""

from __future__ import annotations

import socket
import ssl

import pytest

from qrmi_broker.voucher import HEADER, Voucher, digest
from qrmi_core.client import open_brokered

from .daemon import KEY
from .munged import Munged, running
from .site import LEASES, Site, script


class TestACredential:
    """What the broker believes."""

    def test_is_believed_once(self, site):
        """Who recorded a request could send it again."""
        credential = site.credential("GET", LEASES)

        assert 200 == site.directly("GET", LEASES, credential)[0]
        status, document = site.directly("GET", LEASES, credential)
        assert 401 == status
        assert "Replayed credential" in document["message"]

    @pytest.mark.parametrize(("clock", "expected"), [("-30m", "Expired"), ("+30m", "Rewound")])
    def test_of_another_time_is_refused(self, site, clock, expected):
        """One that was kept, or made for later, would be believed."""
        other = Munged(site.folder / "munge", "other", clock=clock)
        with running(other):
            credential = site.credential("GET", LEASES, munge=other.socket)
        status, document = site.directly("GET", LEASES, credential)

        assert 401 == status
        assert f"{expected} credential" in document["message"]

    @pytest.mark.parametrize(
        ("method", "target", "body"),
        [
            ("GET", "/v1/leases?x=1", None),
            ("GET", "/v1/usage", None),
            ("POST", "/v1/leases", b""),
            ("GET", "/v1/leases", b"{}"),
            ("GET", "/v1/%6ceases", None),
        ],
    )
    def test_is_of_one_request(self, site, method, target, body):
        """It could be put on another path, method or content."""
        status, document = site.directly(method, target, site.credential("GET", LEASES), body=body)

        assert 401 == status
        assert "another request" in document["message"]

    def test_of_a_user_is_refused(self, site, users):
        """Every user of the cluster can make credentials, and could vouch for himself."""
        voucher = Voucher(uid=0, is_admin=True, request=digest("GET", LEASES, 0), socket_path="/run/x.sock")
        status, document = site.directly("GET", LEASES, site.there.encoded_by(users[0].uid, voucher.to_bytes()))

        assert 401 == status
        assert f"user {users[0].uid}, who is no relay" in document["message"]

    @pytest.mark.parametrize("payload", [b"", b"null", b"{}", b'{"qrmi_relay": {"uid": 0}}', b"\xff", b"[" * 5000])
    def test_of_root_about_something_else_is_refused(self, site, payload):
        """What root's other programs encode, Slurm's among them, could be taken for a voucher."""
        credential = site.there.encoded_by(0, payload)

        assert 401 == site.directly("GET", LEASES, credential)[0]

    @pytest.mark.parametrize("facts", [{"uid": -1}, {"socket_path": "run/x"}, {"socket_path": "/a\nb"}, {"version": 2}])
    def test_that_says_what_no_relay_says_is_refused(self, site, facts):
        """A job could be told a socket that is none."""
        assert 401 == site.directly("GET", LEASES, site.credential("GET", LEASES, **facts))[0]

    def test_is_needed_and_only_one(self, site):
        """Whoever reaches the port would be let in."""
        two = [site.credential("GET", LEASES) for _ in range(2)]

        assert 401 == site.directly("GET", LEASES)[0]
        assert 401 == site.directly("GET", LEASES, *two)[0]
        assert 401 == site.directly("GET", "/metrics", "MUNGE:AAAA:")[0]

    def test_and_a_token_are_in_no_log(self, own_site):
        """Who reads the log could use them."""
        own_site.broker.start(QRMI_LOG_LEVEL="debug")
        own_site.relay.start(QRMI_LOG_LEVEL="debug")
        credential = own_site.credential("GET", LEASES)
        granted = own_site.relay.ask("fez")
        token = granted["environment"]["fez_QRMI_JOB_ACQUISITION_TOKEN"]
        with open_brokered(own_site.relay.opening(granted, "fez")) as resource:
            resource.task_start(script(), key="key")
        for _ in range(2):
            own_site.directly("GET", LEASES, credential, headers={"Authorization": f"Bearer {token}"})
        for mistake in (f"Author ization: Bearer {token}", f"{HEADER}: {credential}\x01", f"{token}{credential}"):
            self._say(own_site, f"GET {LEASES} HTTP/1.1\r\n{mistake}\r\n\r\n".encode())
        own_site.stop()
        words = own_site.broker.words + own_site.relay.words

        assert "request.refused" in words
        assert [] == [one for one in (token, token.partition(".")[2], "MUNGE:", credential[6:46], KEY) if one in words]

    @staticmethod
    def _say(site: Site, words: bytes) -> None:
        """At every door."""
        tls = ssl.create_default_context(cafile=str(site.folder / "ca.pem"))
        bare = socket.create_connection(("localhost", site.port), timeout=20)
        doors = [tls.wrap_socket(bare, server_hostname="localhost")]
        for daemon in (site.broker, site.relay):
            doors.append(socket.socket(socket.AF_UNIX))
            doors[-1].connect(daemon.public)
        for door in doors:
            with door:
                door.sendall(words)
                assert b" 400 " in door.recv(1000)

    def test_of_the_relays_user_is_believed_where_it_is_named(self, own_site, users):
        """A site could not run its relays as a user of their own."""
        own_site.broker.start("--relay-user", users[0].name)
        voucher = Voucher(uid=0, is_admin=True, request=digest("GET", LEASES, 0), socket_path="/run/x.sock")
        statuses = [
            own_site.directly("GET", LEASES, own_site.there.encoded_by(uid, voucher.to_bytes()))[0]
            for uid in (users[0].uid, 0, users[1].uid)
        ]

        assert [200, 200, 401] == statuses
