"""The process `qrmid`: start, serve until told to stop, stop."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from qrmi_broker import guard
from qrmi_core import cli, log, variables
from qrmi_core.errors import ConfigError

_log = log.logger(part="daemon")


def main() -> int:
    """The command `qrmid`."""
    return cli.run_command("qrmid", "qrmi_broker.serve", sys.argv[1:])


def serve(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; the exit status is 0 then.

    Raises:
        ConfigError: something must be mended first.
    """
    from qrmi_broker.broker import Broker
    from qrmi_broker.ledger import LedgerUnavailable
    from qrmi_broker.scheduler import NoScheduler, Slurm

    guard.seal()
    log.configure()
    config, state, run = Path(args.config), Path(args.state_dir), Path(args.run_dir)
    guard.check_namespace()
    guard.check_files(config, state, run)
    os.environ[variables.STATE_DIR] = str(state)
    held = guard.lock(state)
    scheduler = Slurm(args.squeue, args.scontrol) if args.scheduler == "slurm" else NoScheduler()
    try:
        broker = Broker.of(config, state, scheduler, every_s=args.reconcile_s)
    except LedgerUnavailable as exc:
        remedy = "Restore it from its backup; docs: operate the broker"
        raise ConfigError.one("ledger", "", str(exc), remedy) from exc
    with held:
        asyncio.run(_serve(broker, run))
    return 0


async def _serve(broker: Broker, run: Path) -> None:  # type: ignore[name-defined] # noqa: F821
    from qrmi_broker.doors import Doors, application

    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await broker.start()
    doors = Doors(run)
    await doors.open(
        application(broker, doors.public_path, is_admin=False), application(broker, doors.public_path, is_admin=True)
    )
    _tell_systemd("READY=1")
    await stopping.wait()
    await doors.close()
    await broker.stop()


def _tell_systemd(text: str) -> None:
    """Type=notify, where systemd started us."""
    import socket

    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(text.encode(), "\0" + address[1:] if address.startswith("@") else address)
