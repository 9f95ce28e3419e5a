"""What a site plugs in: it refuses, raises, hangs or listens, as the job id says; a file may refuse everybody."""

from __future__ import annotations

import os
import time
from pathlib import Path

from qrmi_core.hooks import hookimpl

REFUSED, RAISING, HANGING, DEAF = 1001, 1002, 1003, 1004
HANG_S = 60.0
CLOSED = "SITE_CLOSED"
"""The variable that names the file: while it is there, what is in it is the reason."""


@hookimpl
def qrmi_authorize(run: object, resource: str) -> str | None:
    job, closed = int(run.job_id), Path(os.environ.get(CLOSED, "/nonexistent"))
    if closed.exists():
        return closed.read_text()
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
