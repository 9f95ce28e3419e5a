"""What a site plugs in: it refuses, raises, hangs or listens, as the job id says."""

from __future__ import annotations

import time

from qrmi_core.hooks import hookimpl

REFUSED, RAISING, HANGING, DEAF = 1001, 1002, 1003, 1004
HANG_S = 60.0


@hookimpl
def qrmi_authorize(run: object, resource: str) -> str | None:
    job = int(run.job_id)
    if job == RAISING:
        raise RuntimeError("the directory is down")
    if job == HANGING:
        time.sleep(HANG_S)
    return f"project closed, and no more of {resource}" if job == REFUSED else None


@hookimpl
def qrmi_lease_acquired(run: object, resource: str) -> None:
    if int(run.job_id) == DEAF:
        raise RuntimeError("nobody listens")


@hookimpl
def qrmi_lease_released(run: object, resource: str) -> None:
    if int(run.job_id) == DEAF:
        time.sleep(HANG_S)
