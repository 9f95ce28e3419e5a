"""Requests of a real user: a process of his that asks the broker. Run as a script, it is that process.

It gives up root after its imports: the interpreter itself may lie where the user cannot read.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from attrs import frozen

from qrmi_broker import usage
from qrmi_core.client import Broker
from qrmi_core.errors import QrmiError

Request = tuple[str, str] | tuple[str, str, str] | tuple[str, str, str, dict]
"""Method, path, body, headers."""


@frozen
class Answer:
    """What came back."""

    status: int
    text: str

    @property
    def facts(self) -> dict:
        """Its JSON."""
        return json.loads(self.text)


@frozen
class User:
    """A user of this machine."""

    name: str
    uid: int
    gid: int

    def ask(self, socket_path: str, *requests: Request, token: str | None = None) -> list[Answer]:
        """Send *requests*, with *token* if one is given; status 0 stands for no answer."""
        words = {"socket": socket_path, "token": token, "requests": requests}
        with self._process("ask") as process:
            out, _ = process.communicate(json.dumps(words), timeout=60)
        assert 0 == process.returncode
        return [Answer(status, text) for status, text in json.loads(out)]

    def can_read(self, path: str) -> bool:
        """Whether the user can read the file *path*."""
        with self._process("read") as process:
            out, _ = process.communicate(json.dumps(path), timeout=60)
        assert 0 == process.returncode
        return bool(json.loads(out))

    def asks_usage(self, socket_path: str) -> str:
        """What `qrmi usage` says to the user: the name of the error and its sentence; empty where it answers."""
        with self._process("usage") as process:
            out, _ = process.communicate(json.dumps(socket_path), timeout=60)
        assert 0 == process.returncode
        return out

    @contextmanager
    def connected(self, socket_path: str, count: int) -> Iterator[int]:
        """Hold up to *count* connections that say nothing; how many were opened."""
        with self._process("connect") as process:
            try:
                process.stdin.write(json.dumps([socket_path, count]) + "\n")
                process.stdin.flush()
                yield int(process.stdout.readline())
            finally:
                process.kill()
                process.wait()

    @contextmanager
    def _process(self, verb: str) -> Iterator[subprocess.Popen]:
        process = subprocess.Popen(
            [sys.executable, __file__, verb, str(self.uid), str(self.gid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()


def _asked(broker: Broker, method: str, path: str, body: str | None = None, headers: dict | None = None) -> tuple:
    own = {"Authorization": f"Bearer {broker.token}"} if broker.token else {}
    connection = broker.connection()
    try:
        connection.request(method, path, body=None if body is None else body.encode(), headers=own | (headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except OSError as exc:
        return 0, str(exc.strerror)
    finally:
        connection.close()


def _ask() -> None:
    words = json.load(sys.stdin)
    broker = Broker(words["socket"], token=words["token"])
    json.dump([_asked(broker, *request) for request in words["requests"]], sys.stdout)


def _read() -> None:
    try:
        with open(json.load(sys.stdin), "rb") as file:
            file.read()
    except OSError:
        json.dump(False, sys.stdout)
    else:
        json.dump(True, sys.stdout)


def _usage() -> None:
    args = argparse.Namespace(socket=json.load(sys.stdin), days=30.0, by="job", json=True)
    try:
        usage.run(args)
    except QrmiError as exc:
        print(f"{type(exc).__name__}: {exc}", end="")


def _connect() -> None:
    path, count = json.loads(sys.stdin.readline())
    held = []
    for _ in range(count):
        held.append(socket.socket(socket.AF_UNIX))
        held[-1].connect(path)
    print(len(held), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    _, verb, uid, gid = sys.argv
    os.setgroups([])
    os.setresgid(int(gid), int(gid), int(gid))
    os.setresuid(int(uid), int(uid), int(uid))
    {"ask": _ask, "read": _read, "usage": _usage, "connect": _connect}[verb]()
