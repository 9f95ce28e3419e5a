"""`qrmi emulate`: a vendor's service on this machine, to try things without an account."""

from __future__ import annotations

import argparse

INTERMIXED = True
_EPILOG = """\
A fault is a line such as "POST /v1/jobs status=503 times=2"; several are separated by semicolons, or stand in a file.
What is printed is a qrmi_config.json; it holds credentials of this emulator, so keep it to yourself (umask 077)."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = (
        "Emulate a service of IBM on this machine until SIGINT or SIGTERM, execute circuits for real, and print the "
        "qrmi_config.json to use."
    )
    parser.epilog = _EPILOG
    parser.add_argument(
        "service",
        metavar="SERVICE",
        choices=["ibm-da", "ibm-qrs"],
        help="ibm-da is Direct Access, ibm-qrs is Qiskit Runtime",
    )
    parser.add_argument("--port", metavar="N", type=int, default=0, help="where it listens; by default a free port")
    parser.add_argument(
        "--storage-port", metavar="N", type=int, default=0, help="where the storage of Direct Access listens"
    )
    parser.add_argument("--lanes", metavar="N", type=int, default=5, help="jobs that a device takes at a time")
    parser.add_argument(
        "--device", metavar="NAME", action="append", default=[], help="such as ibm_torino, or line_20; may be repeated"
    )
    parser.add_argument("--service-s", metavar="SECONDS", type=float, default=0.0, help="what a job takes at least")
    parser.add_argument("--token-ttl-s", metavar="SECONDS", type=int, default=3600, help="how long a token is good")
    parser.add_argument(
        "--plan", choices=["paid", "open", "none"], default="paid", help="which sessions Qiskit Runtime allows"
    )
    parser.add_argument("--faults", metavar="TEXT|FILE", help="how it misbehaves")


def run(args: argparse.Namespace) -> int:
    """Run the command: until SIGTERM or SIGINT."""
    import json
    import os
    import signal

    from qrmi_core import cli, log
    from qrmi_core.errors import ConfigError

    log.configure()
    try:
        from qrmi_testkit import emulators
        from qrmi_testkit.emulators import faults
    except ModuleNotFoundError as exc:
        remedy = 'Install it: pip install "qrmi-testkit[emulators]"'
        raise ConfigError.one("qrmi emulate", "", f"{exc.name} is not installed", remedy) from exc
    told, tell = os.pipe()  # a handler in Python waits for the main thread, which may be about to sleep
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    options = {
        "port": args.port,
        "lanes": args.lanes,
        "devices": tuple(args.device),
        "service_s": args.service_s,
        "token_ttl_s": args.token_ttl_s,
        "faults": tuple(faults.given(args.faults)) if args.faults else (),
        "is_talkative": True,
        "is_warm": True,
    }
    service: emulators.Emulator
    if args.service == "ibm-da":
        service = emulators.direct_access(storage_port=args.storage_port, **options)
    else:
        service = emulators.runtime(plan=args.plan, **options)
    try:
        service.start()
    except (OSError, OverflowError) as exc:
        raise ConfigError.one("--port", "", f"cannot be used: {exc}", "Give another, or 0") from exc
    with service.stopping():
        cli.show(json.dumps(service.config(), indent=2) + "\n")
        os.read(told, 1)
    return 0
