"""`qrmi_task_runner NAME FILE [-o OUT]`: `qrun` under the name that existing job scripts use."""

from __future__ import annotations

import argparse

from qrmi_core.cli import run as qrun

INTERMIXED = True


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = "Run a payload file on the resource NAME. The same as qrun --qpu NAME FILE [OUT]."
    parser.add_argument("qpu", metavar="NAME", help="the resource")
    parser.add_argument("payload", metavar="FILE", help="the payload file")
    parser.add_argument("-o", "--output", metavar="OUT", help="where the result goes; standard output by default")
    qrun.add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    return qrun.run_payload(args, payload=args.payload, output=args.output)
