"""One of IBM's services, emulated in a process of its own; a job takes what it is told to take, whatever it computes.

    python service.py da|qrs

Prints the environment of a job that uses it, as JSON, and serves until standard input ends. On Qiskit Runtime the job
has a session, as Slurm's plugins open one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

from qrmi_testkit import emulators
from qrmi_testkit.emulators import emulator

NAME = "line_20"
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
RESULT = Path(__file__).parents[1] / "data" / "result_sampler_bell_plain.json"
TYPES = {"da": ("ibm-quantum-system", "QRMI_IBM_QS"), "qrs": ("ibm-quantum-compute-service", "QRMI_IBM_QCS")}


class Instant:
    """In place of the simulator: the same result at once, so that no time is measured but the service's."""

    is_closing = False

    def __init__(self, *_: object, **__: object) -> None:
        self._result = RESULT.read_bytes()

    async def run(self, *_: object) -> tuple[bytes, str]:
        """The result, and no log."""
        return self._result, ""

    async def warm(self) -> None:
        """It always is."""

    def close(self) -> None:
        """Nothing is open."""


def session_of(settings: dict[str, str]) -> str:
    """A session, opened as a plugin does."""
    form = {"grant_type": "urn:ibm:params:oauth:grant-type:apikey", "apikey": settings["IAM_APIKEY"]}
    reply = urllib3.request("POST", f"{settings['IAM_ENDPOINT']}/identity/token", body=urlencode(form), headers=_FORM)
    token = reply.json()["access_token"]
    headers = {"Authorization": f"Bearer {token}", "Service-CRN": settings["SERVICE_CRN"]}
    wanted = {"mode": "dedicated", "backend": NAME, "max_ttl": 28800}
    reply = urllib3.request("POST", f"{settings['ENDPOINT']}/sessions", json=wanted, headers=headers)
    return str(reply.json()["id"])


def main(which: str) -> None:
    """Serve."""
    emulator.Simulator = Instant  # type: ignore[assignment, misc]
    service: Any = {"da": emulators.direct_access, "qrs": emulators.runtime}[which](devices=(NAME,))
    type_, prefix = TYPES[which]
    with service:
        settings = service.variables(service.options.account, prefix)
        env = {f"{NAME}_{name}": value for name, value in settings.items()}
        env |= {"SLURM_JOB_QPU_RESOURCES": NAME, "SLURM_JOB_QPU_TYPES": type_}
        env |= {"QRMI_JOB_QPU_RESOURCES": NAME, "QRMI_JOB_QPU_TYPES": type_}
        env[f"{NAME}_QRMI_JOB_TIMEOUT_SECONDS"] = "300"
        if which == "qrs":
            token = session_of({name.removeprefix(f"{prefix}_"): value for name, value in settings.items()})
            env[f"{NAME}_QRMI_JOB_ACQUISITION_TOKEN"] = token
        print(json.dumps({"url": service.url, "env": env}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
