"""What can be set for a resource of type `direct-access`."""

from __future__ import annotations

from typing import Literal

from qrmi_core import setting, settings
from qrmi_core.door import no_address

LEAST_BUSY = "least-busy"
MOST_URL_S = 604_800
"""The longest that a presigned URL may be good: a week, of AWS Signature Version 4."""


def _service(value: str) -> str | None:
    ends = value.rstrip("/").endswith("/v1")
    return "must not end with /v1, which we add" if ends else no_address(value)


def _seconds(value: int) -> str | None:
    return None if 0 < value <= MOST_URL_S else f"must be from 1 to {MOST_URL_S}, a week"


def _days(value: int) -> str | None:
    return None if 0 < value <= 365 else "must be from 1 to 365"


def _crn(value: str) -> str | None:
    """It becomes a header."""
    return None if value.isascii() and value.isprintable() else "must be of ASCII letters, digits and signs"


@settings(prefix="QRMI_IBM_QS", older=("QRMI_IBM_DA",))
class Settings:
    """The settings of a resource of type `direct-access`, or `ibm-quantum-system`."""

    endpoint: str = setting(check=_service, help="Address of the service, without `/v1`.")
    iam_endpoint: str = setting(check=no_address, help="Address of IAM, such as `https://iam.cloud.ibm.com`.")
    iam_apikey: str = setting(secret=True, help="API key, for which IAM gives tokens.")
    service_crn: str = setting(check=_crn, help="CRN of the service instance, `crn:v1:...`.")
    s3_endpoint: str = setting(
        check=no_address, help="Address of the S3-compatible storage through which inputs, results and logs go."
    )
    s3_bucket: str = setting(help="Its bucket. Lives there: `input_`, `results_`, `logs_` and `job_` of each task.")
    s3_region: str = setting(default="us-east-1", help="Region of the bucket, as signatures name it.")
    aws_access_key_id: str = setting(secret=True, help="Access key ID of the storage.")
    aws_secret_access_key: str = setting(secret=True, help="Secret access key of the storage.")
    s3_endpoint_for_qsapi: str | None = setting(
        default=None,
        check=no_address,
        help="Address under which the service reaches the storage, where that is not `S3_ENDPOINT`.",
    )
    backend: str | None = setting(
        default=None,
        help="Name of the processor at the service; without it, the name of the resource. `least-busy` takes the one "
        "with the shortest queue when the resource is first used, and stays with it until the program or broker ends.",
    )
    timeout_seconds: int = setting(
        default=3600,
        check=_seconds,
        help="Seconds of execution that the service allows a task; less where the job ends sooner.",
    )
    queue_seconds: int = setting(
        default=518_400,
        check=_seconds,
        help="Seconds that a task may wait at the service before it runs: the service's access to the storage is good "
        "for these and the execution, together a week at most.",
    )
    keep_days: int = setting(
        default=7, check=_days, help="Days that results and logs of ended tasks are kept in the storage."
    )
    log_level: Literal["debug", "info", "warning", "error", "critical"] = setting(
        default="warning", help="What the service writes into a task's log."
    )
