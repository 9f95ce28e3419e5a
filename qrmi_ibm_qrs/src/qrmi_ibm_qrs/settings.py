"""What can be set for a resource at the Qiskit Runtime Service, which IBM now calls the Quantum Compute Service."""

from __future__ import annotations

from typing import Literal

from qrmi_core import setting, settings
from qrmi_core.door import no_address

LEAST_BUSY = "least-busy"
MOST_COST_S = 10800
"""What the service allows a job at most, seconds."""


def _above_zero(value: int) -> str | None:
    return None if value > 0 else "must be above 0"


def _cost(value: int) -> str | None:
    return None if 0 < value <= MOST_COST_S else f"must be from 1 to {MOST_COST_S}"


def _crn(value: str) -> str | None:
    """It becomes a header."""
    return None if value.isascii() and value.isprintable() else "must be of ASCII letters, digits and signs"


@settings(prefix="QRMI_IBM_QCS", older=("QRMI_IBM_QRS",))
class Settings:
    """The settings of a resource of type `qiskit-runtime-service` or `ibm-quantum-compute-service`."""

    endpoint: str = setting(
        check=no_address,
        help="Base URL of the service with its path, such as `https://quantum.cloud.ibm.com/api/v1`, or "
        "`https://eu-de.quantum.cloud.ibm.com/api/v1` for an instance in Frankfurt.",
    )
    iam_endpoint: str = setting(
        check=no_address, help="Where the API key is exchanged for a token: `https://iam.cloud.ibm.com`."
    )
    iam_apikey: str = setting(secret=True, help="API key of the IBM Cloud user or service ID that runs the tasks.")
    service_crn: str = setting(
        check=_crn, help="Cloud Resource Name (CRN) of the instance, `crn:v1:bluemix:public:...`."
    )
    backend: str | None = setting(
        default=None,
        help="Name of the processor at the service; without it, the name of the resource. `least-busy` takes the one "
        "with the shortest queue when the resource is first used, and stays with it until the program or broker ends.",
    )
    session_mode: Literal["dedicated", "batch", "job"] = setting(
        default="dedicated",
        help="What a lease opens: a `dedicated` session, a `batch`, or nothing (`job`). Where the plan refuses one, "
        "the next of these is taken.",
    )
    session_max_ttl: int = setting(
        default=28800,
        check=_above_zero,
        help="Longest life of a session, in seconds; a shorter time limit of the job makes it shorter.",
    )
    session_id: str | None = setting(
        default=None, help="A session that is open already: tasks run in it, and it is not closed by us."
    )
    timeout_seconds: int | None = setting(
        default=None,
        check=_cost,
        help="Longest execution of a task on the processor, in seconds, 1 to 10800 (its `cost`); without it what is "
        "left of the job's time limit, else the service's own limit.",
    )
