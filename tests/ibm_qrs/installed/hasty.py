"""What a broker of a history imports after the backend: its pauses are shorter, and it has a fault if one is named."""

from __future__ import annotations

import os

from qrmi_core import exchange
from qrmi_ibm_qrs import resource

exchange._PAUSE_S = 0.02
resource._LOOKS_S = (0.0, 0.05)


def sent_again() -> None:
    """Whatever is not known to have been submitted or opened is sent, without a look at what is there."""
    from qrmi_ibm_qrs._sessions import Sessions

    resource.Runtime._oldest = lambda self, tag: None
    Sessions._found = lambda self, record: None


MUTANTS = {"sent again without a look": sent_again}

if mutant := os.environ.get("QRMI_TEST_MUTANT"):
    MUTANTS[mutant]()
