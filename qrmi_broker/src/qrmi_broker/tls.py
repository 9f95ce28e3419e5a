"""The broker's door to other nodes: where it is, and the keys and certificates that make it safe."""

from __future__ import annotations

import ssl
from pathlib import Path

from attrs import frozen

from qrmi_broker import guard
from qrmi_core.errors import ConfigError


@frozen
class Address:
    """A host, by name or number, and its port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def of(cls, text: str, option: str) -> Address:
        """Read ``HOST:PORT``; a numeric IPv6 host stands in brackets.

        Raises:
            ConfigError: it is none; names *option*.
        """
        host, _, port = text.rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if not bare or (":" in bare) != (bare != host) or not port.isdecimal() or not 0 < int(port[:6]) < 65536:
            raise ConfigError.one(
                option, "", f"{text!r} is no address", "Give HOST:PORT, as in broker.example.org:7391"
            )
        return cls(bare, int(port))


def of_broker(certificate: Path, key: Path) -> ssl.SSLContext:
    """Who we are, for relays.

    Raises:
        ConfigError: the files cannot be used, or others could read or change them; with the command that mends it.
    """
    guard.check(certificate, guard.WRITABLE, "can be changed by others")
    guard.check(key, guard.OPEN, "is open to others")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(certificate, key, password="")  # or an encrypted key would ask the terminal
    except (OSError, ValueError) as exc:
        remedy = "Give a certificate in PEM with its chain, and its key without a passphrase"
        raise ConfigError.one(str(certificate), "", f"cannot be used with {key} ({_words(exc)})", remedy) from exc
    return context


def renew(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Be who the files say now, from the next connection on.

    Raises:
        ConfigError: they cannot be used; we stay who we were.
    """
    of_broker(certificate, key)  # half of them read would leave *context* without a key
    context.load_cert_chain(certificate, key, password="")


def of_relay(authority: Path | None) -> ssl.SSLContext:
    """Whom we believe to be the broker: who has a certificate for its name from *authority* (None: the system's).

    Raises:
        ConfigError: the file cannot be used, or others could change it.
    """
    if authority is not None:
        guard.check(authority, guard.WRITABLE, "can be changed by others")
    try:
        context = ssl.create_default_context(cafile=None if authority is None else str(authority))
    except (OSError, ValueError) as exc:
        problem = f"holds no certificate ({_words(exc)})"
        raise ConfigError.one(str(authority), "", problem, "Give the authority's certificate in PEM") from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def trust(context: ssl.SSLContext, authority: Path | None) -> None:
    """Believe also whom the file names now, from the next connection on.

    Raises:
        ConfigError: it cannot be used; we believe whom we believed.
    """
    of_relay(authority)
    context.load_default_certs() if authority is None else context.load_verify_locations(authority)


def _words(exc: Exception) -> str:
    return getattr(exc, "reason", None) or getattr(exc, "strerror", None) or type(exc).__name__
