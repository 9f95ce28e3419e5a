"""`qrmi usage`: what was used, by job, user or account."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from qrmi_core.cli import show

INTERMIXED = True
_COUNTED = ("leases", "tasks", "qpu_s", "held_s")
_DAY_S = 86400.0
_BY = {
    "job": ("cluster", "job_id", "user", "account", "resource", "end_reason"),
    "user": ("user", "resource"),
    "account": ("account", "resource"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    from qrmi_core import protocol, variables

    parser.description = "Print what was used, as the broker's ledger has it. For root and the broker's own user."
    parser.add_argument("--by", choices=list(_BY), default="job", help="one line for each of these")
    parser.add_argument("--days", type=float, default=30.0, metavar="N", help="leases of the last N days")
    parser.add_argument("--json", action="store_true", help="as JSON")
    socket = os.environ.get(variables.ADMIN_SOCKET) or protocol.ADMIN_SOCKET
    parser.add_argument("--socket", default=socket, metavar="PATH", help="the administrators' socket")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    rows = table(_rows(args.socket, args.days), args.by)
    if args.json:
        show(json.dumps(rows, indent=1) + "\n")
        return 0
    columns = (*_BY[args.by], *_COUNTED)
    lines = [[name.upper() for name in columns]]
    lines += [[_text(row[name]) for name in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    show("".join("  ".join(map(str.ljust, line, widths)).rstrip() + "\n" for line in lines))
    return 0


def _rows(socket_path: str, days: float) -> list[Mapping[str, Any]]:
    from qrmi_broker import adminsocket
    from qrmi_core.errors import ConfigError

    if not days >= 0:  # nor is nan
        raise ConfigError.one("--days", "", f"is {days:g}", "Give a number of days, 0 or more")
    since = max(0.0, time.time() - days * _DAY_S)
    with adminsocket.opened(socket_path) as broker:
        found = broker.ask_json("GET", f"/v1/usage?since={since:.0f}")
    rows: list[Mapping[str, Any]] = found["usage"]
    return rows


def table(rows: Iterable[Mapping[str, Any]], by: str) -> list[dict[str, Any]]:
    """The ledger's *rows*, added up *by* job, user or account."""
    sums: dict[tuple[Any, ...], dict[str, float]] = defaultdict(lambda: dict.fromkeys(_COUNTED, 0))
    for row in rows:
        named = {**row, "user": row["user"] or row["uid"]}
        total = sums[tuple(named[name] for name in _BY[by])]
        for name in _COUNTED:
            total[name] += row[name]
    return [dict(zip(_BY[by], key, strict=True)) | total for key, total in sums.items()]


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
