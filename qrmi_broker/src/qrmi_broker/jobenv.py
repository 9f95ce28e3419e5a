"""What a job gets in its environment, as design and documentation list it."""

from __future__ import annotations

from collections.abc import Mapping

from qrmi_broker.lease import Grant, Lease
from qrmi_broker.tokens import Tokens
from qrmi_broker.vendor import Vendor
from qrmi_core import variables
from qrmi_core.declarations import declaration
from qrmi_core.secret import SecretReference

UNLIMITED_S = 365 * 24 * 3600
"""The time limit of a job without one, as the ecosystem writes it."""


async def public_settings(vendor: Vendor) -> dict[str, str]:
    """The settings that are no secret, by variable. Raises as `Vendor.backend` does."""
    secret = set(declaration((await vendor.backend()).settings).secrets(vendor.entry.environment))
    return {
        name: value
        for name, value in vendor.entry.environment.items()
        if name not in secret and not isinstance(value, SecretReference)
    }


async def environment(grant: Grant, vendors: Mapping[str, Vendor], tokens: Tokens, socket_path: str) -> dict[str, str]:
    """The variables of a granted job.

    Raises:
        QrmiError: a backend cannot be imported, or a secret's file not be read in time.
    """
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
        for suffix, value in (await _of_lease(lease, vendors[lease.resource], tokens, socket_path)).items():
            for name in dict.fromkeys((lease.alias, variables.shell_name(lease.alias))):
                found[f"{name}_{suffix}"] = value
    return found


async def _of_lease(lease: Lease, vendor: Vendor, tokens: Tokens, socket_path: str) -> dict[str, str]:
    found = {variables.TIMEOUT_SUFFIX: str(int(lease.grant.facts.time_limit_s or UNLIMITED_S))}
    if lease.own:
        return found
    if await vendor.access() == "broker":
        ours = {variables.BROKER_SUFFIX: socket_path, variables.TOKEN_SUFFIX: tokens.of(lease)}
        return {**found, **await public_settings(vendor), **ours}
    session = {} if lease.session is None else {variables.TOKEN_SUFFIX: lease.session}
    return {**found, **await vendor.locally(lambda: _settings(vendor)), **session}


def _settings(vendor: Vendor) -> dict[str, str]:
    """All of them; reads the files of secrets."""
    return {
        name: value.resolve() if isinstance(value, SecretReference) else value
        for name, value in vendor.entry.environment.items()
    }
