"""A real `qrmid` in folders of its own, what it needs to run, and the requests that Slurm's plugin would send."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qrmi_core import Opening
from qrmi_core.client import Broker

from .users import User

INSTALLED = Path(__file__).with_name("installed")
BIN = Path(sys.executable).parent
KEY = "canary-4b1d90c7a2"
ENDPOINT = "QRMI_FAKE_ENDPOINT"


class Daemon:
    """One `qrmid`, which may be killed and started again on the same state."""

    def __init__(self, folder: Path, resources: list[dict], **options: str) -> None:
        self.folder, self.options = folder, options
        self.qrmid, self.identity = BIN / "qrmid", {}
        for name in ("state", "run", "bin"):
            (folder / name).mkdir(mode=0o700, exist_ok=True)
        (folder / "run").chmod(0o755)
        self.config = folder / "qrmi_config.json"
        self.write_config(resources)
        self.process: subprocess.Popen | None = None
        self.log = folder / "qrmid.log"

    def write_config(self, resources: list[dict], **others: object) -> None:
        """The configuration of the next start."""
        self.config.write_text(json.dumps({"resources": resources, **others}))
        self.config.chmod(0o600)

    @property
    def public(self) -> str:
        """The socket for jobs."""
        return str(self.folder / "run" / "qrmi.sock")

    def start(self, *words: str, **environment: str) -> Daemon:
        """Start it, and wait until it answers."""
        options = {"scheduler": "none", "reconcile-s": "0.2", **self.options}
        known = [word for name, value in options.items() for word in (f"--{name}", value)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    str(self.qrmid),
                    *("--config", str(self.config), "--state-dir", str(self.folder / "state")),
                    *("--run-dir", str(self.folder / "run"), *known, *words),
                ],
                env={**os.environ, "PYTHONPATH": str(INSTALLED), **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self.identity,
            )
        self.wait_until_ready()
        return self

    def run_as(self, user: User, qrmid: Path) -> None:
        """From the next start on be this user, who can run *qrmid*; what is there becomes his."""
        self.qrmid, self.identity = qrmid, {"user": user.uid, "group": user.gid, "extra_groups": []}
        for path in (self.config, *(self.folder / name for name in ("state", "run"))):
            os.chown(path, user.uid, user.gid)

    def wait_until_ready(self, deadline_s: float = 30.0) -> None:
        """Until it answers, or has ended."""
        deadline = time.monotonic() + deadline_s
        while time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"qrmid ended with {self.process.returncode}: {self.words[-2000:]}")
            try:
                self.admin().ask("GET", "/v1/health")
            except Exception:
                time.sleep(0.02)
            else:
                return
        raise AssertionError(f"qrmid does not answer: {self.words[-2000:]}")

    def kill(self) -> None:
        """As a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> int:
        """As an administrator would; the exit status."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        finally:
            self.kill()

    @property
    def words(self) -> str:
        """All it has said."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of its log."""
        return [json.loads(line) for line in self.words.splitlines() if line.startswith("{")]

    def admin(self) -> Broker:
        """The administrators' socket."""
        return Broker(str(self.folder / "run" / "admin.sock"))

    def ask(self, *names: str, job: int = 1, until: str | None = "granted", **facts: Any) -> dict[str, Any]:
        """Ask for leases as the plugin does, until they are *until* (or whatever comes, for None)."""
        run = {"uid": os.getuid(), "cluster": "c", "job_id": str(job), "restart_count": 0, "start_time": 1000 + job}
        run |= facts.pop("run", {})
        resources = [{"name": name} if isinstance(name, str) else name for name in names]
        body = {"run": run, "resources": resources, "facts": facts.pop("facts", {}), "wait_s": 20.0, **facts}
        found = self.post(body)
        deadline = time.monotonic() + 60
        while found["state"] == "pending" and until is not None and time.monotonic() < deadline:
            found = _any(self.admin(), "GET", f"/v1/leases/{found['id']}")
        assert until in (None, found["state"]), found
        return found

    def post(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """One request for leases; the answer as it comes."""
        return _any(self.admin(), "POST", "/v1/leases", json.dumps(body).encode())

    def release(self, lease: str, wait_s: float = 30.0) -> dict[str, Any]:
        """End a lease."""
        return self.admin().ask_json("DELETE", f"/v1/leases/{lease}?wait_s={wait_s:g}")

    def leases(self) -> list[dict[str, Any]]:
        """Those that are held or waited for."""
        return self.admin().ask_json("GET", "/v1/leases")["leases"]

    def opening(self, granted: Mapping[str, Any], name: str) -> Opening:
        """How a job opens the resource that it was granted."""
        environment = granted["environment"]
        names, types = (environment[f"QRMI_JOB_QPU_{what}"].split(",") for what in ("RESOURCES", "TYPES"))
        return Opening(
            name=name,
            type=types[names.index(name)],
            environment={},
            source="the job",
            broker=environment[f"{name}_QRMI_BROKER"],
            acquisition_token=environment[f"{name}_QRMI_JOB_ACQUISITION_TOKEN"],
        )


def _any(broker: Broker, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
    """The answer, whatever its status."""
    connection = broker.connection()
    try:
        connection.request(method, path, body=body)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def fake(folder: Path, name: str = "fez", type_: str = "fake", **facts: Any) -> dict[str, Any]:
    """The configuration of a resource at a fake vendor whose service is *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "api_key").write_text(KEY)
    environment = {ENDPOINT: str(folder), "QRMI_FAKE_API_KEY": KEY, **facts.pop("environment", {})}
    return {"name": name, "type": type_, "environment": environment, **facts}


def vendor_log(folder: Path) -> list[dict[str, Any]]:
    """What was done at the vendor, in its order."""
    log = folder / "log"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def short_folder() -> tempfile.TemporaryDirectory:
    """A folder whose path is short enough for a socket."""
    return tempfile.TemporaryDirectory(prefix="qrmid-")
