"""Both services of IBM, emulated side by side, as a site configures them: two resources, and secrets to look for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen

from qrmi_core.redaction import spellings
from qrmi_testkit.emulators import DirectAccess, Runtime
from qrmi_testkit.emulators.accounts import Account
from qrmi_testkit.emulators.direct_access import DirectAccessOptions
from qrmi_testkit.emulators.runtime import RuntimeOptions

from .physics import CHECKS

DEVICE = "ibm_torino"
"""What the samples of 133 qubits were made for."""
SAMPLES = [name for name in CHECKS if not name.startswith("pulser")]
RESOURCES = ("torino_da", "torino_qrs")
_UNLIKE = "/+ü%"
"""What URLs and base64 spell differently."""


@frozen
class Ibm:
    """The services, running."""

    da: DirectAccess
    qrs: Runtime

    @property
    def resources(self) -> list[dict[str, Any]]:
        """What a site's configuration says of them."""
        found = []
        for name, service in zip(RESOURCES, (self.da, self.qrs), strict=True):
            environment = service.environment(DEVICE)
            prefix = next(iter(environment)).removesuffix("_ENDPOINT")
            environment |= {f"{prefix}_BACKEND": DEVICE}
            found.append({"name": name, "type": service.resource_type, "environment": environment})
        return found

    def leaks(self, places: Mapping[str, bytes]) -> list[str]:
        """Where one of the credentials is, or a token that was given for one, and how it is spelt there."""
        secrets = {"API key of Direct Access": self.da.options.account.api_key}
        secrets |= {"API key of Runtime": self.qrs.options.account.api_key}
        secrets |= {"secret key of the storage": self.da.storage.secret_key}
        forms = {form.encode(): what for what, secret in secrets.items() for form in spellings(secret)}
        forms[b"eyJhbGciOi"] = "a token"  # '{"alg":', with which every JWT begins
        return [
            f"{place}: {what}, as {form.decode(errors='replace')[:6]}..."
            for place, content in places.items()
            for form, what in forms.items()
            if form in content
        ]

    def left_behind(self) -> dict[str, Any]:
        """Jobs, objects and sessions that somebody pays for; none, after everybody has gone."""
        kept = [one for one in self.da.objects() if one.startswith("input_")]
        is_open = [one.id for one in self.qrs.sessions.values() if not one.is_closed]
        running = [job.id for job in (*self.da.jobs.values(), *self.qrs.jobs.values()) if not job.is_ended]
        return {"inputs": kept, "sessions": is_open, "jobs": running}


@contextmanager
def emulated() -> Iterator[Ibm]:
    """Both services, with keys that are spelt differently in every encoding."""

    def account() -> Account:
        made = Account.new()
        return Account(made.api_key + _UNLIKE, made.crn)

    facts: dict[str, Any] = {"devices": (DEVICE,), "simulator": {"QRMI_LOCAL_SEED": "7"}, "is_warm": True}
    direct = DirectAccess(DirectAccessOptions(account=account(), **facts))
    direct.storage.secret_key += "/+%"
    with direct, Runtime(RuntimeOptions(account=account(), **facts)) as runtime:
        yield Ibm(direct, runtime)


def contents(*roots: Path) -> dict[str, bytes]:
    """Every file at or below *roots*."""
    files = (path for root in roots for path in ([root] if root.is_file() else sorted(root.rglob("*"))))
    return {str(path): path.read_bytes() for path in files if path.is_file()}


def check_sample(name: str, result: str | bytes) -> None:
    """The *result* of the sample *name* is what its physics says."""
    CHECKS[name](json.loads(result))
