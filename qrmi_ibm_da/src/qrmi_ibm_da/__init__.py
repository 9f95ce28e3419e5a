"""Type `direct-access`, also called `ibm-quantum-system`: IBM Direct Access, now the Quantum System API."""

from qrmi_core import Backend
from qrmi_core.kinds import PRIMITIVE
from qrmi_ibm_da.resource import DirectAccess
from qrmi_ibm_da.settings import Settings

BACKEND = Backend(contract=1, settings=Settings, payloads={PRIMITIVE}, open=DirectAccess)

__all__ = ["BACKEND", "DirectAccess", "Settings"]
