"""Type ``qiskit-runtime-service``: Qiskit Runtime Service, now called the Quantum Compute Service."""

from qrmi_core import Backend
from qrmi_ibm_qrs.resource import Runtime
from qrmi_ibm_qrs.settings import Settings

BACKEND = Backend(contract=1, settings=Settings, payloads={"qiskit-primitive"}, open=Runtime)

__all__ = ["BACKEND", "Runtime", "Settings"]
