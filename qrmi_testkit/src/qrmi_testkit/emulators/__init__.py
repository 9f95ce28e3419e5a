"""IBM's services, emulated on loopback: they execute circuits for real, and misbehave on demand.

    from qrmi_testkit import emulators

    with emulators.direct_access(lanes=2) as service:
        service.environment("ibm_torino")     # the variables that a resource needs

They need `qrmi-testkit[emulators]`.
"""

from __future__ import annotations

from typing import Any

from qrmi_testkit.emulators.direct_access import DirectAccess, DirectAccessOptions
from qrmi_testkit.emulators.emulator import Emulator
from qrmi_testkit.emulators.runtime import Runtime, RuntimeOptions

__all__ = ["DirectAccess", "Emulator", "Runtime", "direct_access", "runtime"]


def direct_access(**options: Any) -> DirectAccess:
    """Direct Access, to be opened with `with`; *options* are those of `DirectAccessOptions`."""
    return DirectAccess(DirectAccessOptions(**options))


def runtime(**options: Any) -> Runtime:
    """Qiskit Runtime, to be opened with `with`; *options* are those of `RuntimeOptions`."""
    return Runtime(RuntimeOptions(**options))
