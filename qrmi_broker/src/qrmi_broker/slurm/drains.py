"""Keep jobs off a resource, and let them go on: a reservation of all its licences, beside it the broker's own drain."""

from __future__ import annotations

import json
import re
import sys
from http import HTTPStatus
from urllib.parse import quote

from qrmi_broker import adminsocket
from qrmi_broker.slurm import controller
from qrmi_core.cli import show
from qrmi_core.errors import AuthorizationRefused, ConfigError, RequestRefused, ResourceUnavailable, shown

PREFIX = "qrmi_drain:"
"""A reservation is called ``qrmi_drain:<resource>:<reason>``: Slurm has no other place for a reason that users see and
job_submit.lua can read. No resource's name holds a colon."""
_MOST_REASON = 120


def drain(name: str, reason: str, socket: str | None, *, is_broker_asked: bool) -> int:
    """Start no more jobs on *name*. Those that run go on; those that wait stay pending, with reason ``Licenses``.

    The broker is not asked where there are licences: a job that Slurm has started, and that has no lease yet, would
    fail on its node. Without licences its refusal is all there is. A second call changes nothing.

    Raises:
        ConfigError: there is no such resource, or no reason, or the socket is the one for jobs.
        ResourceUnavailable: Slurm or the broker refused or did not answer.
        AuthorizationRefused: the socket is not for this user.
    """
    written = _as_name(reason)
    total = controller.licences().get(name)
    if total is not None:
        _reserve(name, written, total, reason)
    if total is None or is_broker_asked:
        _ask(socket, name, "drain", {"reason": reason})
        show(f"{name}: the broker gives no more leases: {shown(reason)}\n")
    if total is None:
        _say(f"{name} has no licences: its jobs do not wait in the queue, they fail on their nodes with this reason")
    return 0


def resume(name: str, socket: str | None) -> int:
    """Start jobs on *name* again, also if only the broker was told not to. A second call changes nothing.

    Raises:
        ResourceUnavailable: Slurm refused or did not answer, or the broker does not where it has to.
        AuthorizationRefused, ConfigError: so does the socket, as not for this user or for jobs.
    """
    held = controller.reservations(f"{PREFIX}{name}:")
    for one in held:
        controller.ask("scontrol", "delete", f"reservation={one.name}")
    has_licences = bool(held) or name in controller.licences()
    is_told = False
    try:
        with adminsocket.opened(socket) as broker:
            is_told = name in broker.ask_json("GET", "/v1/health")["drained"]
        if is_told or not has_licences:
            _ask(socket, name, "resume", None)
    except (ResourceUnavailable, AuthorizationRefused, ConfigError) as exc:
        if not has_licences:
            raise
        _say(f"the broker was not asked whether it refuses {name} too: {exc.sentence()}")
    show(f"{name}: {'resumed' if held or is_told else 'was not drained'}\n")
    return 0


def reason_of(reservation: controller.Reservation, name: str) -> str:
    """Why *name* is drained, nearly as it was given."""
    return reservation.name.removeprefix(f"{PREFIX}{name}:").replace("_", " ")


def _as_name(reason: str) -> str:
    """*reason* as part of a reservation's name: no blank, no comma, nothing that a terminal obeys."""
    written = re.sub(r"[^A-Za-z0-9.:+()/-]+", "_", reason.strip())[:_MOST_REASON].strip("_")
    if not written:
        raise ConfigError.one("--reason", "", "is empty", "Say why, for those who wait")
    return written


def _reserve(name: str, written: str, total: int, reason: str) -> None:
    """Take every lane, once."""
    held = controller.reservations(f"{PREFIX}{name}:")
    if not held:
        controller.ask(
            *("scontrol", "create", "reservation", f"ReservationName={PREFIX}{name}:{written}"),
            *(f"Licenses={name}:{total}", "StartTime=now", "Duration=UNLIMITED", "Users=root"),
            "Flags=ANY_NODES,IGNORE_JOBS",
        )
        show(f"{name}: drained, its jobs wait in the queue: {shown(reason)}\n")
        return
    first, was = held[0], reason_of(held[0], name)
    if first.licences.get(name) != total:  # it has got other lanes since
        controller.ask("scontrol", "update", f"reservation={first.name}", f"licenses={name}:{total}")
    if first.name == f"{PREFIX}{name}:{written}":
        show(f"{name}: is drained already: {was}\n")
    else:  # Slurm cannot rename it, and jobs would start between two of them
        show(f"{name}: is drained already, and keeps its reason: {was}. Resume it first to change that\n")


def _ask(socket: str | None, name: str, verb: str, document: object) -> None:
    try:
        with adminsocket.opened(socket) as broker:
            broker.ask("POST", f"/v1/resources/{quote(name, safe='')}/{verb}", body=json.dumps(document).encode())
    except RequestRefused as exc:
        if exc.status != HTTPStatus.NOT_FOUND:
            raise
        remedy = "There are: `qrmi resources`, `scontrol show licenses`"
        raise ConfigError.one("qrmi slurm", "", f"neither Slurm nor the broker knows {name!r}", remedy) from exc


def _say(text: str) -> None:
    sys.stderr.write(f"qrmi slurm: {text}\n")
