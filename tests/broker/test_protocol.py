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
from qrmi_core import PayloadError, RequestRefused, UnexpectedReply
from qrmi_core.client import Broker
from qrmi_core.protocol import error_of

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


@pytest.mark.parametrize(
    ("method", "path", "facts", "status", "says"),
    [
        ("GET", "/v1/resources/nope", {}, 404, "the broker has no resource 'nope'"),
        ("POST", "/v1/resources/nope/resume", {}, 404, "the broker has no resource 'nope'"),
        ("GET", "/v1/leases/nope", {}, 404, "there is no such lease"),
        ("GET", "/v1/nothing", {}, 404, "different versions"),
        ("DELETE", "/v1/resources", {}, 405, "different versions"),
        ("POST", "/v1/leases", {"body": b" " * (2 << 20)}, 413, "Send less at once"),
        ("GET", "/v1/resources", {"headers": {"X": "x" * 10_000}}, 400, "x: the service refused it"),
    ],
)
def test_what_only_http_has_a_status_for_is_an_error_of_ours(daemon, method, path, facts, status, says):
    """Each was an unexpected reply, to be reported to the maintainers of a backend."""
    broker = Broker(str(daemon.folder / "run" / "admin.sock"), "x")
    with pytest.raises(RequestRefused) as refused:
        broker.ask(method, path, **facts)

    assert ("x", status) == (refused.value.resource, refused.value.status)
    assert says in str(refused.value)


def test_what_an_older_broker_says_is_one_too():
    """Its refusals have no name that we know."""
    document = {"error": "HTTPError", "facts": [], "message": "this socket is for root"}
    error = error_of(document, "fez", 403)

    assert "fez: the service refused it: this socket is for root. Ask the administrators" in str(error)
    assert isinstance(error_of("<html>", "fez", 503), UnexpectedReply)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("run.uid", -1),
        ("run.uid", 2**32 - 1),  # Linux: nobody at all
        ("run.uid", 2**64),
        ("run.restart_count", -1),
        ("run.restart_count", 10**30),
        ("run.start_time", 10**30),
        ("run.cluster", "c\ud800"),
        ("run.job_id", "\udfff"),
        ("run.job_id", ""),
        ("facts.user", "\ud800"),
        ("facts.licences[0]", "fez:\ud800"),
        ("facts.time_limit_s", -1),
        ("facts.time_limit_s", 1e300),
        ("facts.time_limit_s", 10**200),
        ("facts.time_limit_s", "inf"),
        ("resources[0].alias", "q\ud800"),
        ("resources", []),
        ("wait_s", -1),
    ],
)
def test_a_lease_request_that_no_ledger_takes_is_refused_with_the_name_of_its_field(daemon, where, value):
    """It was a fault of the broker's, or a lease of nobody was given."""
    body = {"run": {"uid": 0, "job_id": "1"}, "facts": {"licences": [""]}, "resources": [{"name": "fez"}]}
    inner = body
    *path, last = where.replace("[0]", ".0").split(".")
    for name in path:
        inner = inner[int(name) if name.isdecimal() else name]
    inner[int(last) if last.isdecimal() else last] = value
    with pytest.raises(PayloadError) as refused:
        daemon.admin().ask("POST", "/v1/leases", body=json.dumps(body).encode())

    assert f"$.{where}" == refused.value.path
    assert [] == daemon.leases()
