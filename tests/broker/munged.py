"""A real `munged` with a key and a socket of its own; where it is not installed and we may, it is installed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FAKETIME = "libfaketime.so.1"


def install() -> None:
    """See to `munged`, `munge` and libfaketime.

    Raises:
        AssertionError: they are missing, and cannot be installed.
    """
    if shutil.which("munged") and _faketime():
        return
    assert os.geteuid() == 0, "munged or libfaketime is missing: apt-get install munge libfaketime"
    apt = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update", "-qq"], ["install", "-y", "-qq", "munge", "libfaketime"]):
        done = subprocess.run(["apt-get", *words], env=apt, capture_output=True, text=True, timeout=300)
    assert shutil.which("munged"), done.stderr
    assert _faketime(), done.stderr


def _faketime() -> Path | None:
    return next(Path("/usr/lib").glob(f"*/faketime/{FAKETIME}"), None)


class Munged:
    """One `munged`. Those with the same *folder* share its key, as the nodes of a cluster do."""

    def __init__(self, folder: Path, name: str = "munged", *, clock: str | None = None) -> None:
        """*clock*: how far its clock is ahead, as libfaketime writes it: ``+1h``, ``-1h``."""
        folder.mkdir(mode=0o755, exist_ok=True)
        self.folder, self.name, self._clock = folder, name, clock
        self.socket = str(folder / f"{name}.sock")
        self.process: subprocess.Popen | None = None
        key = folder / "key"
        if not key.exists():
            key.touch(mode=0o600)
            key.write_bytes(os.urandom(128))

    def start(self) -> Munged:
        """Start it, and wait until it answers."""
        files = [f"--{kind}-file={self.folder / self.name}.{kind}" for kind in ("pid", "log", "seed")]
        environment = dict(os.environ)
        if self._clock is not None:
            environment |= {
                "LD_PRELOAD": str(_faketime()),
                "FAKETIME": self._clock,
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }
        self.process = subprocess.Popen(
            ["munged", "-F", f"--key-file={self.folder / 'key'}", f"--socket={self.socket}", *files, "--num-threads=2"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self.process.poll() is None:
            if subprocess.run(["munge", "-S", self.socket, "-n"], capture_output=True, timeout=10).returncode == 0:
                return self
            time.sleep(0.01)
        raise AssertionError(f"munged did not start: {self.stop()}")

    def stop(self) -> str:
        """Stop it; what it said."""
        if self.process is None:
            return ""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.communicate(timeout=10)[1]
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.communicate()[1]
        finally:
            self.process = None

    def encoded_by(self, uid: int, payload: bytes) -> str:
        """The credential that the user *uid* makes of *payload*, with MUNGE's own command."""
        done = subprocess.run(["munge", "-S", self.socket], input=payload, user=uid, capture_output=True, timeout=10)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode().strip()


@contextmanager
def running(*daemons: Munged) -> Iterator[None]:
    """Start them, and stop them in the end."""
    install()
    try:
        for one in daemons:
            one.start()
        yield
    finally:
        for one in daemons:
            one.stop()
