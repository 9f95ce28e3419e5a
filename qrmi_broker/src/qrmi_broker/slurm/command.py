"""`qrmi slurm licenses|check|drain|resume`: lanes in the scheduler's queue."""

from __future__ import annotations

import argparse

INTERMIXED = False
_CONFIG = "/etc/qrmi/qrmi_config.json"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = (
        "Tell Slurm of the resources' lanes, find what is wrong, and keep jobs in the queue while a resource is away."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="licenses|check|drain|resume")

    words = "print the lines for slurm.conf, and write what decides at submit"
    licenses = verbs.add_parser("licenses", help=words)
    _config(licenses)
    folder = "where slurm.conf is: write qrmi_job_submit.lua there, and job_submit.lua if there is none"
    licenses.add_argument("--output-dir", metavar="DIR", help=folder)

    check = verbs.add_parser("check", help="find what an administrator has wrong; the exit status is 1 if something is")
    _config(check)
    check.add_argument("--socket", metavar="PATH", help="the administrators' socket; by default as plugstack.conf says")
    check.add_argument("--json", action="store_true", help="as JSON")

    words = "start no more jobs on a resource: they wait in the queue, and those that run go on"
    drain = verbs.add_parser("drain", help=words)
    drain.add_argument("--reason", metavar="TEXT", required=True, help="why, for those who wait")
    words = "also have the broker refuse; what has started and has no lease yet then fails"
    drain.add_argument("--broker", action="store_true", help=words)
    resume = verbs.add_parser("resume", help="start jobs on a resource again")
    for one in (drain, resume):
        one.add_argument("name", metavar="NAME", help="the resource")
        one.add_argument("--socket", metavar="PATH", help="the administrators' socket")


def _config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", default=_CONFIG, help="the resources")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.verb == "licenses":
        from qrmi_broker.slurm import licences

        return licences.run(args.config, args.output_dir)
    if args.verb == "check":
        from qrmi_broker.slurm import check

        return check.run(args.config, args.socket, as_json=args.json)
    from qrmi_broker.slurm import drains

    if args.verb == "drain":
        return drains.drain(args.name, args.reason, args.socket, is_broker_asked=args.broker)
    return drains.resume(args.name, args.socket)
