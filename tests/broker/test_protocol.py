"""The protocol is what its OpenAPI document says, and any request gets an answer that the document knows."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from qrmi_broker import openapi

from .daemon import BIN

EXAMPLES = "25"
SEED = "7"


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(1 << 16):
            sink.sendall(chunk)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _pass_on(client: socket.socket, path: str) -> None:
    with closing(client), closing(socket.socket(socket.AF_UNIX)) as server:
        server.connect(path)
        there = threading.Thread(target=_copy, args=(client, server), daemon=True)
        there.start()
        _copy(server, client)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
        there.join()


@pytest.fixture
def address(daemon) -> Iterator[str]:
    """The administrators' socket as an address that an HTTP tool understands."""
    path = str(daemon.folder / "run" / "admin.sock")
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=_pass_on, args=(client, path), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_every_route_is_in_the_document():
    """Somebody who writes a client would not know of it."""
    found = openapi.document()
    operations = [operation for path in found["paths"].values() for operation in path.values()]

    assert len(openapi.public.routes()) + len(openapi.admin.routes()) == len(operations)
    assert all(operation["summary"].endswith(".") for operation in operations)
    assert len(operations) == len({operation["operationId"] for operation in operations})


def test_any_request_gets_an_answer_that_the_document_knows(address, daemon, tmp_path):
    """A stranger's client would meet what nobody told it of, or find the broker's faults before we do."""
    token = daemon.ask("fez")["environment"]["fez_QRMI_JOB_ACQUISITION_TOKEN"]
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(openapi.document()))
    done = subprocess.run(
        [
            *(str(BIN / "schemathesis"), "run", str(path), "--url", address, "--seed", SEED),
            *("--max-examples", EXAMPLES, "--phases", "examples,coverage,fuzzing", "--no-color"),
            *("--header", f"Authorization: Bearer {token}"),
            *("--checks", "status_code_conformance,content_type_conformance,response_schema_conformance"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert 0 == done.returncode, done.stdout[-6000:]
    assert [] == [event for event in daemon.events if event["event"] == "request.failed"]
