"""`qrmi slurm check`: what an administrator has wrong, one line each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from attrs import asdict

from qrmi_broker.slurm import check_node, check_queue, controller
from qrmi_broker.slurm.finding import Finding, ok, wrong
from qrmi_core.cli import show
from qrmi_core.config import Config, load
from qrmi_core.errors import ConfigError, ResourceUnavailable


def run(config_path: str, socket: str | None, *, as_json: bool) -> int:
    """Print the findings; 1 if something is wrong."""
    findings = list(everything(Path(config_path), socket))
    count = sum(one.verdict == "WRONG" for one in findings)
    if as_json:
        show(json.dumps([asdict(one) for one in findings], indent=1) + "\n")
    else:
        show("".join(f"{one}\n" for one in findings) + (f"{count} wrong\n" if count else "nothing wrong\n"))
    return 1 if count else 0


def everything(path: Path, socket: str | None) -> Iterator[Finding]:
    """What can be seen from this host; what cannot be seen hides nothing else."""
    config = None
    try:
        config = load(path)
    except ConfigError as exc:
        for where, problem, remedy in exc.faults:
            yield wrong("configuration", ": ".join(part for part in (exc.source, where, problem) if part), remedy)
    settings = None
    try:
        settings = controller.settings()
    except ResourceUnavailable as exc:
        yield wrong("slurm", exc.detail, "Start slurmctld, or run this on a host that reaches it")
    else:
        yield ok("slurm", f"{settings.version}, {settings.facts.get('SLURM_CONF', '')}")
    plugin = None
    if settings is not None:
        plugin = check_node.find(settings)
        yield from check_node.plugin(settings, plugin)
    path_of_socket = socket or check_node.socket_of(plugin)
    yield from check_node.sockets(path_of_socket)
    yield from check_node.broker(path_of_socket)
    if config is not None:
        yield from check_node.closed(path, path_of_socket)
    if settings is not None:
        yield from check_queue.sight(settings, path_of_socket)
        if config is not None:
            yield from _queue(config, settings)


def _queue(config: Config, settings: controller.Settings) -> Iterator[Finding]:
    yield from check_queue.grant(config)
    yield from check_queue.planning(config, settings)
    yield from check_queue.rules(config, settings)
    try:
        yield from check_queue.licences_of(config, controller.licences())
        yield from check_queue.drained(config, controller.licences())
    except ResourceUnavailable as exc:
        yield wrong("licences", exc.detail, "See slurmctld's log")
