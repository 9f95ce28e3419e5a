"""No secret of a resource behind the broker is anywhere but in its configuration and in the call of its vendor."""

from __future__ import annotations

import base64
import json
import re
import sqlite3
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest

from qrmi_core import Payload, open_resource
from qrmi_core.errors import QrmiError

from .daemon import KEY, fake


def _small(url: str) -> str:
    return re.sub("%..", lambda escape: escape[0].lower(), url)


CANARY = KEY + "/+ü???z"
"""With what URLs and base64 spell differently."""
FORMS = {
    "plain": CANARY.encode(),
    "base64": base64.b64encode(CANARY.encode()).rstrip(b"=")[:-1],
    "urlsafe base64": base64.urlsafe_b64encode(CANARY.encode()).rstrip(b"=")[:-1],
    "hex": CANARY.encode().hex().encode(),
    "URL": urllib.parse.quote(CANARY, safe="").encode(),
    "URL's path": urllib.parse.quote(CANARY).encode(),
    "URL in small letters": _small(urllib.parse.quote(CANARY, safe="")).encode(),
    "URL's path in small letters": _small(urllib.parse.quote(CANARY)).encode(),
    "JSON": json.dumps(CANARY)[1:-1].encode(),
    "JSON of PHP": json.dumps(CANARY)[1:-1].replace("/", "\\/").encode(),
    "bytes": repr(CANARY.encode())[2:-1].encode(),
    "bytes in JSON": json.dumps(repr(CANARY.encode())[2:-1])[1:-1].encode(),
}


def leaks(places: dict[str, bytes]) -> list[str]:
    """Where the canary is, and how it is spelt there."""
    return [f"{place}: {form}" for place, content in places.items() for form, text in FORMS.items() if text in content]


@pytest.fixture
def daemon(new_daemon, folder):
    """One whose vendor's key is the canary, at the highest level of logging."""
    resource = fake(folder / "service", environment={"QRMI_FAKE_API_KEY": CANARY})
    (folder / "service" / "api_key").write_text(CANARY)
    return new_daemon(resource).start(QRMI_LOG_LEVEL="debug")


def places_of(daemon) -> dict[str, bytes]:
    """All that the broker writes and shows."""
    process = Path(f"/proc/{daemon.process.pid}")
    state = {str(path): path.read_bytes() for path in (daemon.folder / "state").rglob("*") if path.is_file()}
    shown = {str(process / name): (process / name).read_bytes() for name in ("cmdline", "environ")}
    return {**state, **shown, "log": daemon.log.read_bytes()}


def everything(daemon) -> dict[str, bytes]:
    """Do all that can be done, also what fails, and return every place where a secret could have gone."""
    found: dict[str, bytes] = {}
    granted = daemon.ask("fez")
    found["environment"] = json.dumps(granted).encode()
    service = daemon.folder / "service"
    with open_resource(daemon.opening(granted, "fez")) as resource:
        found["repr"] = repr((resource, resource.ctx, resource.inner, vars(resource))).encode()
        task = resource.task_start(Payload.from_bytes("script", b'{"runs_s": 0}'), key="a")
        resource.task_wait(task, 10)
        found["result"] = resource.task_result(task)
        found["logs"] = resource.task_logs(task).encode()
        for verb in ("task_start", "target", "is_accessible"):
            for how in ("crash", "fail"):
                (service / f"{how}-{verb}").touch()
                try:
                    arguments = [Payload.from_bytes("script", b'{"runs_s": 0}')] if verb == "task_start" else []
                    getattr(resource, verb)(*arguments, **({"key": f"{how}-{verb}"} if arguments else {}))
                except QrmiError as exc:
                    found[f"{how} {verb}"] = f"{exc!r} {exc}".encode()
                (service / f"{how}-{verb}").unlink()
    for path in ("/v1/resources", "/v1/resources/fez", "/v1/leases", "/v1/usage", "/v1/health", "/metrics"):
        found[path] = daemon.admin().ask("GET", path)
    (service / "crash-release").touch()
    daemon.release(granted["id"], wait_s=0.5)
    (service / "crash-release").unlink()
    return found


def test_no_secret_of_a_brokered_resource_is_found_anywhere(daemon):
    """A user could take the site's key, or read it in a log."""
    found = everything(daemon)

    assert [] == leaks({**found, **places_of(daemon)})
    assert any(b"RuntimeError" in content for content in found.values())
    assert "backend.fault" in daemon.words


def test_every_form_of_the_canary_is_another():
    """What is spelt alike is searched for once, and a fault of the other spelling is found nowhere."""
    assert len(FORMS) == len(set(FORMS.values()))


def test_a_planted_canary_is_found(daemon, new_daemon):
    """The search would find nothing anywhere."""
    daemon.stop()
    resource = {**json.loads(daemon.config.read_text())["resources"][0], "description": CANARY}
    daemon.write_config([resource])
    daemon.start(QRMI_LOG_LEVEL="debug", PLANTED=CANARY)
    ledger = sqlite3.connect(daemon.folder / "state" / "ledger.sqlite")
    ledger.execute("INSERT INTO drains VALUES ('x', ?, 0)", (CANARY,))
    ledger.commit()
    with daemon.log.open("a") as log:
        log.write(base64.b64encode(CANARY.encode()).decode())
    found = leaks(places_of(daemon))
    ledger.close()

    for planted in ("environ: plain", "ledger.sqlite-wal: plain", "log: base64"):
        assert any(place.endswith(planted) for place in found), found


def test_a_secret_of_access_job_is_disclosed_to_its_job_only(new_daemon, folder):
    """What a site chose to disclose must reach the job that leased it; and nobody else's answers."""
    resource = fake(folder / "service", access="job", environment={"QRMI_FAKE_API_KEY": CANARY})
    (folder / "service" / "api_key").write_text(CANARY)
    daemon = new_daemon(resource).start(QRMI_LOG_LEVEL="debug")
    granted = daemon.ask("fez")

    assert CANARY == granted["environment"]["fez_QRMI_FAKE_API_KEY"]
    assert granted["environment"]["fez_QRMI_JOB_ACQUISITION_TOKEN"].startswith("session-")
    answers = {path: daemon.admin().ask("GET", path) for path in ("/v1/resources", "/v1/resources/fez", "/v1/leases")}
    assert [] == leaks({**answers, **places_of(daemon)})


def test_a_user_cannot_read_the_memory_or_the_environment_of_the_broker(daemon, users):
    """The key would be one `cat` away."""
    for name in ("environ", "mem", "maps"):
        done = subprocess.run(
            [
                *("setpriv", f"--reuid={users[0].uid}", f"--regid={users[0].gid}", "--clear-groups"),
                *(sys.executable, "-c", f"open('/proc/{daemon.process.pid}/{name}', 'rb').read(1)"),
            ],
            capture_output=True,
            text=True,
        )
        assert "PermissionError" in done.stderr, done.stderr
