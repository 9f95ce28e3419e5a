"""The connection to the broker: a request that is small goes in one packet, and any other as it comes."""

from __future__ import annotations

import io

import pytest

from qrmi_core.unixhttp import AT_ONCE_BYTES, Connection


class Socket:
    """Keeps what it is given to send."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.packets.append(bytes(data))

    def close(self) -> None:
        pass


def sent(*bodies: object) -> list[bytes]:
    """The packets of requests with these bodies, on one connection."""
    connection = Connection("/nowhere")
    connection.sock = Socket()
    for body in bodies:
        connection.request("POST", "/", body=body, headers={"Content-Length": "1"})
        connection._HTTPConnection__state = "Idle"  # as after an answer
    return connection.sock.packets


@pytest.mark.parametrize("body", [b"x", AT_ONCE_BYTES * b"x", b"", None], ids=["small", "just small", "empty", "none"])
def test_a_small_request_is_one_packet(body):
    """The broker wakes up twice for it, and again for the next."""
    packets = sent(body, body)

    assert 2 == len(packets)
    assert all(packet.endswith(b"\r\n\r\n" + (body or b"")) for packet in packets)


@pytest.mark.parametrize(
    "body", [AT_ONCE_BYTES * b"x" + b"x", io.BytesIO(AT_ONCE_BYTES * b"x" + b"x")], ids=["bytes", "a file"]
)
def test_a_large_one_is_never_copied(body):
    """A payload of 100 MB would be held twice."""
    head, *pieces = sent(body)

    assert head.endswith(b"\r\n\r\n")
    assert AT_ONCE_BYTES + 1 == sum(map(len, pieces))


def test_what_a_failed_request_left_is_not_sent_with_the_next():
    """The head of one request, and the body of another."""
    connection = Connection("/nowhere")
    with pytest.raises(FileNotFoundError):
        connection.request("POST", "/first", body=b"x")
    connection.close()
    connection.sock = Socket()
    connection.request("POST", "/second", body=b"y", headers={"Content-Length": "1"})

    [packet] = connection.sock.packets
    assert packet.startswith(b"POST /second")
