"""`qrmi serve`, `qrmid`: run the broker, or on other nodes the relay."""

from __future__ import annotations

import argparse

from qrmi_core import protocol

INTERMIXED = True
_FOLDER = protocol.SOCKET.rpartition("/")[0]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = "Run the broker: it holds credentials, leases and tasks, and serves the jobs of this cluster."
    parser.add_argument("--config", metavar="FILE", default="/etc/qrmi/qrmi_config.json", help="the resources")
    parser.add_argument("--state-dir", metavar="DIR", default="/var/lib/qrmi", help="ledger, spool and key; mode 0700")
    parser.add_argument("--run-dir", metavar="DIR", default=_FOLDER, help="the two sockets")
    parser.add_argument(
        "--scheduler", choices=["slurm", "none"], default="slurm", help="who knows which runs there are"
    )
    parser.add_argument("--squeue", metavar="PATH", default="squeue", help="Slurm's squeue")
    parser.add_argument("--scontrol", metavar="PATH", default="scontrol", help="Slurm's scontrol")
    parser.add_argument(
        "--reconcile-s", metavar="SECONDS", type=float, default=10.0, help="how often the scheduler is asked"
    )
    nodes = parser.add_argument_group("other nodes")
    nodes.add_argument("--listen", metavar="HOST:PORT", help="let relays on other nodes connect here")
    nodes.add_argument("--tls-cert", metavar="FILE", help="the broker's certificate and its chain, in PEM")
    nodes.add_argument("--tls-key", metavar="FILE", help="its private key, in PEM; mode 0600")
    nodes.add_argument("--relay-user", metavar="NAME", help="the user that relays run as, beside root and our own")
    nodes.add_argument(
        "--relay", metavar="HOST:PORT", help="be the relay of this node to the broker that listens there"
    )
    nodes.add_argument("--tls-ca", metavar="FILE", help="who may certify the broker, in PEM; by default the system's")
    nodes.add_argument("--munge-socket", metavar="PATH", help="the socket of munged, if it is not where it usually is")


def run(args: argparse.Namespace) -> int:
    """Run the command: until SIGTERM or SIGINT."""
    from qrmi_broker import daemon

    return daemon.serve(args)
