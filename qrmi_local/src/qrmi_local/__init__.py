"""Type `local`: gate circuits on Aer and Pulser sequences on QuTiP, simulated on this node."""

from qrmi_core import Backend
from qrmi_local.resource import Local
from qrmi_local.settings import Settings

BACKEND = Backend(
    contract=1,
    settings=Settings,
    payloads={"qiskit-primitive", "pulser"},
    open=Local,
    default_access="job",
)

__all__ = ["BACKEND", "Local", "Settings"]
