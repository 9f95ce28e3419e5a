"""The process `qrmid`, broker or relay: start, serve until told to stop, stop."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qrmi_broker import guard
from qrmi_core import cli, log, variables
from qrmi_core.errors import ConfigError

if TYPE_CHECKING:
    from qrmi_broker.broker import Broker

_Reread = Callable[[], None]
"""Reads the certificates again; a ConfigError changes nothing."""

_SWITCH_S = 0.0005
"""A thread that has heard from the disk or a vendor waits no longer for its turn; Python would let it wait 5 ms."""

_log = log.logger(part="daemon")


def main() -> int:
    """The command `qrmid`."""
    return cli.run_command("qrmid", "qrmi_broker.serve", sys.argv[1:])


def serve(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; the exit status is 0 then.

    Raises:
        ConfigError: something must be mended first.
    """
    guard.seal()
    log.configure()
    guard.check_namespace()
    _check_options(args)
    _allow_many_files()
    return _be_relay(args) if args.relay else _be_broker(args)


def _check_options(args: argparse.Namespace) -> None:
    if args.relay and args.listen:
        raise ConfigError.one("--relay", "", "cannot be given with --listen", "Run the relay on another node")
    if args.listen and not (args.tls_cert and args.tls_key):
        raise ConfigError.one("--listen", "", "needs --tls-cert and --tls-key", "Give the broker a certificate")


def _allow_many_files() -> None:
    """As many descriptors as we may have: every job that waits holds one, and the usual 1024 are few."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _be_broker(args: argparse.Namespace) -> int:
    from qrmi_broker.broker import Broker
    from qrmi_broker.ledger import LedgerUnavailable
    from qrmi_broker.scheduler import NoScheduler, Slurm

    config, state, run = (Path(given).absolute() for given in (args.config, args.state_dir, args.run_dir))
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
        asyncio.run(_until_told(_open_broker(broker, run, args)))
    return 0


@asynccontextmanager
async def _open_broker(broker: Broker, run: Path, args: argparse.Namespace) -> AsyncIterator[_Reread | None]:
    from qrmi_broker import remote, tls
    from qrmi_broker.doors import Doors, application
    from qrmi_broker.munge import Munge

    doors = Doors(run)
    reread: _Reread | None = None
    if args.listen:  # what is wrong with it is said before anything runs
        address = tls.Address.of(args.listen, "--listen")
        files = Path(args.tls_cert), Path(args.tls_key)
        context = tls.of_broker(*files)
        reread = partial(tls.renew, context, *files)
        gate = remote.Gate(Munge(args.munge_socket), remote.trusted(args.relay_user))
    await broker.start()
    try:
        if args.listen:
            app = remote.application(broker, doors.public_path, gate)
            await doors.listen(app, address, context, remote.Caller.of)
            _log.info("relays.awaited", address=str(address))
        await doors.open(
            application(broker, doors.public_path, is_admin=False),
            application(broker, doors.public_path, is_admin=True),
        )
        gc.freeze()  # what lives as long as we do: looking through it again and again took 20 ms each time
        sys.setswitchinterval(_SWITCH_S)
        yield reread
    finally:
        await doors.close()
        await broker.stop()


def _be_relay(args: argparse.Namespace) -> int:
    run = Path(args.run_dir).absolute()  # jobs are told of it, and work elsewhere
    guard.check(run, guard.WRITABLE, "can be changed by others")
    with guard.lock(run):
        asyncio.run(_until_told(_open_relay(run, args)))
    return 0


@asynccontextmanager
async def _open_relay(run: Path, args: argparse.Namespace) -> AsyncIterator[_Reread]:
    from qrmi_broker import tls
    from qrmi_broker.doors import Doors
    from qrmi_broker.munge import Munge
    from qrmi_broker.relay import Relay

    doors = Doors(run)
    authority = Path(args.tls_ca) if args.tls_ca else None
    context = tls.of_relay(authority)
    address = tls.Address.of(args.relay, "--relay")
    relay = Relay(address, Munge(args.munge_socket), context, doors.public_path)
    await relay.start()
    try:
        await relay.open(doors)
        yield partial(tls.trust, context, authority)
    finally:
        await doors.close()
        await relay.stop()


async def _until_told(opened: AbstractAsyncContextManager[_Reread | None]) -> None:
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with opened as reread:
        loop.add_signal_handler(signal.SIGHUP, _renew, reread)
        _tell_systemd("READY=1")
        await stopping.wait()


def _renew(reread: _Reread | None) -> None:
    if reread is None:
        return
    try:
        reread()
    except ConfigError as exc:
        _log.error("certificates.refused", error=str(exc))
    else:
        _log.info("certificates.read")


def _tell_systemd(text: str) -> None:
    """Type=notify, where systemd started us."""
    import socket

    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(text.encode(), "\0" + address[1:] if address.startswith("@") else address)
