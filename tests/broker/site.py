"""A broker and the relay of another node, as real processes on this host: own certificates, own key of MUNGE."""

from __future__ import annotations

import datetime
import http.client
import ipaddress
import itertools
import json
import socket
import ssl
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from qrmi_broker.munge import Munge
from qrmi_broker.voucher import HEADER, Voucher, digest
from qrmi_core import Payload

from .daemon import Daemon, fake
from .munged import Munged

LEASES = "/v1/leases"


class Site:
    """Two nodes: that of the broker, and one with a relay. Each has a `munged`; nothing runs yet."""

    def __init__(self, folder: Path, *resources: dict, host: str = "localhost") -> None:
        """*resources*: by default one, `fez`; *host*: the name in the broker's certificate."""
        self.folder = folder
        self.jobs = itertools.count(1)
        self.here, self.there = Munged(folder / "munge", "here"), Munged(folder / "munge", "there")
        self.port = free_port()
        for name, content in certificates(host).items():
            (folder / name).touch(mode=0o600)
            (folder / name).write_bytes(content)
        self.service = folder / "service"
        tls = {"tls-cert": str(folder / "broker.pem"), "tls-key": str(folder / "broker.key")}
        for name in ("broker", "relay"):
            (folder / name).mkdir(mode=0o755)
        self.broker = Daemon(
            folder / "broker",
            list(resources) or [fake(self.service)],
            listen=f"127.0.0.1:{self.port}",
            **tls,
            **{"munge-socket": self.here.socket},
        )
        self.relay = Daemon(
            folder / "relay",
            [],
            relay=f"localhost:{self.port}",
            **{"tls-ca": str(folder / "ca.pem"), "munge-socket": self.there.socket},
        )

    def start(self) -> Site:
        """Start the broker, then the relay."""
        self.broker.start()
        self.relay.start()
        return self

    def stop(self) -> None:
        """Stop them, if they run."""
        for daemon in (self.relay, self.broker):
            if daemon.process is not None and daemon.process.poll() is None:
                daemon.stop()

    def credential(self, method: str, target: str, *, length: int | None = 0, munge: str = "", **facts: Any) -> str:
        """What a relay would send, were it ours: by default for root, who came in by the admin socket."""
        known = {"uid": 0, "is_admin": True, "socket_path": "/run/x.sock"} | facts
        voucher = Voucher(request=digest(method, target, length), **known)
        return Munge(munge or self.there.socket).encode(voucher.to_bytes())

    def directly(
        self, method: str, target: str, *credentials: str, body: bytes | None = None, headers: dict | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Ask the broker's TCP door; the status and the document."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        connection = http.client.HTTPSConnection("localhost", self.port, timeout=30, context=context)
        try:
            connection.putrequest(method, target)
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            for credential in credentials:
                connection.putheader(HEADER, credential)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


def script(**facts: object) -> Payload:
    """What the fake vendor executes."""
    return Payload.from_json("script", {"runs_s": 0, **facts})


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def certificates(host: str) -> dict[str, bytes]:
    """An authority, ``ca.pem``; what it certifies for *host*, ``broker.pem`` and ``broker.key``; and ``other.pem``."""
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer, subject = _name("the test's authority"), _name("the broker")
    alternative: list[x509.GeneralName] = [x509.DNSName(host)]
    if host == "localhost":
        alternative.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    own = _certificate(issuer, issuer, authority, authority, is_authority=True)
    broker = _certificate(
        issuer, subject, authority, key, is_authority=False, names=x509.SubjectAlternativeName(alternative)
    )
    stranger = ec.generate_private_key(ec.SECP256R1())
    other = _certificate(_name("another"), _name("another"), stranger, stranger, is_authority=True)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = serialization.Encoding.PEM
    return {
        "ca.pem": own.public_bytes(pem),
        "broker.pem": broker.public_bytes(pem),
        "broker.key": private,
        "other.pem": other.public_bytes(pem),
    }


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(issuer, subject, signer, key, *, is_authority: bool, names=None) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if is_authority:
        usage = dict.fromkeys(
            (
                *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
                *("key_agreement", "encipher_only", "decipher_only"),
            ),
            False,
        )
        builder = builder.add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(signer, hashes.SHA256())
