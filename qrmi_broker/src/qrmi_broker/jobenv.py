"""What a job gets in its environment, as design and documentation list it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

from qrmi_broker.lease import Grant, Lease
from qrmi_broker.tokens import Tokens
from qrmi_broker.vendor import Vendor
from qrmi_core import variables
from qrmi_core.declarations import declaration
from qrmi_core.secret import SecretReference

UNLIMITED_S = 365 * 24 * 3600
"""The time limit of a job without one, as the ecosystem writes it."""


def public_settings(vendor: Vendor) -> dict[str, str]:
    """The settings that are no secret, by variable."""
    secret = set(declaration(vendor.backend.settings).secrets(vendor.entry.environment))
    return {
        name: value
        for name, value in vendor.entry.environment.items()
        if name not in secret and not isinstance(value, SecretReference)
    }


async def environment(grant: Grant, vendors: Mapping[str, Vendor], tokens: Tokens, socket_path: str) -> dict[str, str]:
    """The variables of a granted job; in a thread, as a backend may have to be imported and a secret's file be read."""
    return await asyncio.to_thread(_environment, grant, vendors, tokens, socket_path)


def _environment(grant: Grant, vendors: Mapping[str, Vendor], tokens: Tokens, socket_path: str) -> dict[str, str]:
    names = ",".join(lease.alias for lease in grant.leases)
    types = ",".join(vendors[lease.resource].entry.type for lease in grant.leases)
    found = {
        variables.JOB_RESOURCES: names,
        variables.JOB_TYPES: types,
        variables.SLURM_RESOURCES: names,
        variables.SLURM_TYPES: types,
        variables.JOB_ID: grant.run.job_id or "",
        variables.JOB_UID: str(grant.run.uid),
    }
    for lease in grant.leases:
        for suffix, value in _of_lease(lease, vendors[lease.resource], tokens, socket_path):
            for name in dict.fromkeys((lease.alias, variables.shell_name(lease.alias))):
                found[f"{name}_{suffix}"] = value
    return found


def _of_lease(lease: Lease, vendor: Vendor, tokens: Tokens, socket_path: str) -> Iterator[tuple[str, str]]:
    yield variables.TIMEOUT_SUFFIX, str(int(lease.grant.facts.time_limit_s or UNLIMITED_S))
    if lease.own:
        return
    if vendor.access == "broker":
        yield from public_settings(vendor).items()
        yield variables.BROKER_SUFFIX, socket_path
        yield variables.TOKEN_SUFFIX, tokens.of(lease)
        return
    for name, value in vendor.entry.environment.items():
        yield name, value.resolve() if isinstance(value, SecretReference) else value
    if lease.session is not None:
        yield variables.TOKEN_SUFFIX, lease.session
