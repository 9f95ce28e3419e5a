"""A lease's session at the vendor: opened once, found again when the answer was lost, and closed whatever it takes."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import Iterator

from qrmi_broker.lease import Lease
from qrmi_broker.vendor import NotSent, Vendor
from qrmi_core import log
from qrmi_core.errors import (
    AcquireTimeout,
    AuthenticationFailed,
    AuthorizationRefused,
    BackendError,
    ConfigError,
    NotOffered,
    QrmiError,
    ResourceUnavailable,
)
from qrmi_core.models import AcquireRequest

OPEN_S = 120.0
"""How long a vendor may take to open a session before those who wait for it are told."""
_RETRY_S = (0.2, 1.0, 5.0, 15.0, 60.0)
_LOOK_S = 1.0
_GIVE_UP_S = 600.0
"""A vendor is asked to close a session for so long at least."""
_REFUSALS = (AcquireTimeout, AuthenticationFailed, AuthorizationRefused, BackendError, ConfigError, NotOffered, NotSent)
"""Answers to an acquire that opened nothing. After any other, nobody knows."""

_log = log.logger(part="session")


def open_unasked(lease: Lease, vendor: Vendor) -> None:
    """Give *lease* its session where that is no more than a token: nobody has to be asked, and nothing may be lost."""
    if not lease.own and vendor.inherits("acquire"):
        lease.session = str(uuid.uuid4())


async def open_(lease: Lease, vendor: Vendor) -> None:
    """Open the session of *lease*. If this raises, one may be open: see `may_be_open`.

    Raises:
        QrmiError: the vendor's answer, or none within `OPEN_S`.
    """
    grant = lease.grant
    request = AcquireRequest(
        lease_key=lease.key,
        max_s=grant.facts.time_limit_s,
        exclusive=lease.exclusive,
        tags=("qrmi", f"{grant.run.cluster}:{grant.run.job_id}"),
    )
    lease.opening = asyncio.create_task(vendor.call("acquire", request, answer_s=None))
    done, _ = await asyncio.wait([lease.opening], timeout=OPEN_S)
    if not done:
        raise ResourceUnavailable(lease.resource, f"acquire has not answered within {OPEN_S:g} s")
    lease.session = lease.opening.result()


async def may_be_open(lease: Lease) -> bool:
    """Wait for the answer to its acquire; whether one may be open although no answer named it."""
    if lease.opening is None:
        return False
    while not (lease.opening.done() or lease.grant.is_past_limit or lease.grant.is_forced):
        await asyncio.wait([lease.opening], timeout=_LOOK_S)
    if not lease.opening.done():
        return True
    exc = lease.opening.exception()
    if exc is None:
        lease.session = lease.opening.result()
    return exc is not None and not isinstance(exc, _REFUSALS)


async def find(lease: Lease, vendor: Vendor) -> bool:
    """Look at the vendor for the session that *lease* may have; False: nobody can tell."""
    pauses = _pauses()
    while not lease.own:
        try:
            await vendor.hosted()
            if vendor.inherits("acquire"):
                return True
            sessions = await vendor.call("sessions")
        except NotOffered:
            return False
        except QrmiError as exc:
            _log.warning("lease.unresolved", resource=lease.resource, fence=lease.fence, error=str(exc))
            await asyncio.sleep(next(pauses))
        else:
            lease.session = next((one.token for one in sessions if one.lease_key == lease.key), None)
            return True
    return True


async def close(lease: Lease, vendor: Vendor) -> None:
    """Close the session, if there is one; a vendor that cannot is asked again until the session ends by itself."""
    if lease.session is None or vendor.inherits("release"):
        return
    pauses = _pauses()
    deadline = time.monotonic() + max(
        lease.grant.facts.limit_s, _GIVE_UP_S
    )  # it was opened before, and no clock that jumps has a say in this
    while True:
        try:
            await vendor.call("release", lease.session)
            return
        except QrmiError as exc:
            _log.warning("release.failed", resource=lease.resource, fence=lease.fence, error=str(exc))
        if time.monotonic() > deadline:
            _log.error("lease.abandoned", resource=lease.resource, fence=lease.fence, session=lease.session)
            return
        await asyncio.sleep(next(pauses))


def _pauses() -> Iterator[float]:
    """Before each further try; without end."""
    return itertools.chain(_RETRY_S, itertools.repeat(_RETRY_S[-1]))
