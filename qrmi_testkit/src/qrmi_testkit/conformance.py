"""`ResourceConformance`: every promise of a backend, as one class to inherit from."""

from __future__ import annotations

from qrmi_testkit.concurrency import Concurrency
from qrmi_testkit.errors import Errors
from qrmi_testkit.fresh_process import FreshProcess
from qrmi_testkit.identity import Identity
from qrmi_testkit.lifecycle import Lifecycle
from qrmi_testkit.offers import Offers
from qrmi_testkit.payloads import Payloads
from qrmi_testkit.secrecy import Secrecy
from qrmi_testkit.sessions import Sessions
from qrmi_testkit.stopping import Stopping


class ResourceConformance(
    Lifecycle, Stopping, Identity, Sessions, Payloads, FreshProcess, Concurrency, Offers, Errors, Secrecy
):
    """Inherit, name the type, give three payloads; all tests of the suite are then yours.

    Example::

        class TestAcme(ResourceConformance):
            type = "acme"
            environment = {"QRMI_ACME_ENDPOINT": "http://localhost:8080", "QRMI_ACME_API_KEY": "canary-7f3a"}

            @pytest.fixture
            def payload(self):
                return Payload.from_json("qiskit-primitive", BELL)

            @pytest.fixture
            def slow_payload(self):
                return Payload.from_json("qiskit-primitive", A_HUNDRED_MILLION_SHOTS)

            @pytest.fixture
            def failing_payload(self):
                return Payload.from_json("qiskit-primitive", ACCEPTED_BUT_WRONG)

    `qrmi_testkit.subject.Subject` lists everything that may be given, and the defaults.
    """
