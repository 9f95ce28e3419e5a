"""`qrmi resources`: what you can use from here."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from qrmi_core.cli import show

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from qrmi_core.host import Opening

INTERMIXED = True


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = "List the resources that you can use: of this job, of the configuration, or the default."
    parser.add_argument("--config", metavar="FILE", help="list this qrmi_config.json")
    parser.add_argument("--check", action="store_true", help="ask each one whether it accepts tasks now")
    parser.add_argument(
        "--discover",
        action="store_true",
        help="list instead what the resources' credentials reach: each processor with its qubits, queue and status, "
        "the least busy first",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from qrmi_core import job, log

    log.configure("warning")
    openings = job.available(args.config)
    if args.discover:
        return _discover(openings, as_json=args.json)
    rows = [
        {"name": opening.name, "type": opening.type, "status": _status(opening, args.check), "source": opening.source}
        for opening in openings
    ]
    if args.json:
        show(json.dumps(rows, indent=1) + "\n")
    elif rows:
        _table(rows)
    else:
        show(
            "No resource is configured and no installed backend offers a default. Install one: "
            'pip install "qrmi-local", or name a configuration with --config.\n'
        )
    return 0


def _discover(openings: Iterable[Opening], *, as_json: bool) -> int:
    """What each credential reaches. One that fails is said on standard error, and the status is 3 then."""
    from qrmi_core import host
    from qrmi_core.errors import NotOffered, QrmiError, shown
    from qrmi_core.redaction import mask

    found, status = [], 0
    for opening in openings:
        try:
            with host.open_resource(opening) as resource:
                found += [(device, opening.name) for device in resource.discover()]
        except QrmiError as exc:
            sys.stderr.write(f"qrmi resources: {mask(str(exc))}\n")
            status = status if isinstance(exc, NotOffered) else 3
    found.sort(key=lambda one: one[0].business)
    rows = [
        {
            "device": device.name,
            "status": device.status,
            "qubits": device.qubits,
            "queue": device.queue,
            "resource": resource,
            "note": device.note,
        }
        for device, resource in found
    ]
    if as_json:
        show(json.dumps(rows, indent=1) + "\n")
    elif rows:
        _table([{key: shown("-" if value is None else value) for key, value in row.items()} for row in rows])
    return status


def _table(rows: Sequence[Mapping[str, str]]) -> None:
    titles = {key: key.upper() for key in rows[0]}
    widths = {key: max(len(row[key]) for row in (titles, *rows)) for key in titles}
    for row in (titles, *rows):
        show("  ".join(f"{row[key]:<{width}}" for key, width in widths.items()).rstrip() + "\n")


def _status(opening: Opening, check: bool) -> str:
    from qrmi_core import host, registry
    from qrmi_core.errors import BackendNotInstalled, QrmiError
    from qrmi_core.redaction import mask

    try:
        if opening.broker is not None and not check:
            return "leased"
        if not check:
            host.load_settings(registry.backend(opening.type), opening)
            return "configured"
        with host.open_resource(opening) as resource:
            return "accessible" if resource.is_accessible() else "not accessible"
    except BackendNotInstalled as exc:
        return f"not installed. {exc.detail}"
    except QrmiError as exc:
        return mask(" ".join(exc.sentence().split()))
