"""`qrmi doctor`: what is installed, which types there are, what is wrong, and how to mend it."""

from __future__ import annotations

import argparse
import functools
import os
import platform
import sys
import threading
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, entry_points, version

from qrmi_core.cli import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qrmi_core.backend import Backend
    from qrmi_core.host import Opening

INTERMIXED = True
IMPORT_S = 20.0
"""How long a backend may take to be imported; the largest libraries take a few on a cold disk."""

Finding = tuple[str, str, str]
"""What was looked at; ``ok``, ``note`` or ``WRONG``; what was found, and the remedy."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = "Say what is installed, which resource types there are, what is wrong and how to mend it."
    parser.add_argument("--config", metavar="FILE", help="look at this qrmi_config.json")


def run(args: argparse.Namespace) -> int:
    """Run the command. The exit status is 2 if something is wrong."""
    findings = [*_installation(), *_backends(), *_hooks(), *_resources(args.config), *_broker(), *_state()]
    for what, verdict, text in findings:
        show(f"{verdict:<6}{what}: {text}\n")
    wrong = sum(verdict == "WRONG" for _, verdict, _ in findings)
    show(f"{wrong} wrong\n" if wrong else "nothing wrong\n")
    return 2 if wrong else 0


def _installation() -> Iterator[Finding]:
    yield "python", "ok", f"{platform.python_version()}, {sys.executable}"
    yield "qrmi-core", "ok", version("qrmi-core")
    try:
        other = version("qrmi")
    except PackageNotFoundError:
        return
    yield (
        "qrmi",
        "note",
        f"the distribution qrmi {other} is installed too. It is another project, which owns the import "
        "name qrmi; ours are qrmi_core and its siblings, and both work side by side",
    )


def _backends() -> Iterator[Finding]:
    from qrmi_core import registry
    from qrmi_core.errors import BackendError

    points = registry.installed()
    if not points:
        yield "backends", "note", 'none is installed. Install one: pip install "qrmi-local"'
    for type_ in dict.fromkeys(point.name for point in points):
        point = next(point for point in points if point.name == type_)
        try:
            found = _loaded(type_)
        except BackendError as exc:
            yield f"type {type_}", "WRONG", str(exc)
        else:
            yield (
                f"type {type_}",
                "ok",
                f"{registry.distribution(point)}, executes {', '.join(sorted(found.payloads))}",
            )
    missing: dict[str, list[str]] = {}
    for type_, distribution in registry.known_types().items():
        if not any(point.name == type_ for point in points):
            missing.setdefault(distribution, []).append(type_)
    for distribution, types in missing.items():
        yield f"type {', '.join(types)}", "note", f'not installed. If you need it: pip install "{distribution}"'


def _loaded(type_: str) -> Backend:
    """The backend of *type_*; one whose import hangs must not keep the doctor from the others."""
    found = _attempt(type_)
    if isinstance(found, Exception):
        raise found
    return found


@functools.cache
def _attempt(type_: str) -> Backend | Exception:
    from qrmi_core import registry
    from qrmi_core.errors import BackendBroken

    outcome: list[Backend | Exception] = []

    def load() -> None:
        try:
            outcome.append(registry.backend(type_))
        except Exception as exc:  # noqa: BLE001 - raised again by whoever asked
            outcome.append(exc)

    loading = threading.Thread(target=load, name="qrmi-import", daemon=True)
    loading.start()
    loading.join(IMPORT_S)
    return outcome[0] if outcome else BackendBroken(type_, f"its import has not ended after {IMPORT_S:g} s")


def _hooks() -> Iterator[Finding]:
    from qrmi_core import hooks
    from qrmi_core.errors import ConfigError

    names = [point.name for point in entry_points(group=hooks.GROUP)]
    if not names:
        return
    try:
        hooks.Hooks.installed()
    except ConfigError as exc:
        yield "hooks", "WRONG", str(exc)
    else:
        yield "hooks", "ok", ", ".join(names)


def _resources(config_path: str | None) -> Iterator[Finding]:
    from qrmi_core import host, job
    from qrmi_core.errors import BackendNotInstalled, QrmiError
    from qrmi_core.redaction import mask

    try:
        found = job.available(config_path)
    except QrmiError as exc:
        for line in mask(str(exc)).split("\n"):
            yield "resources", "WRONG", line
        return
    if not found:
        yield "resources", "note", "none is configured, and no installed backend offers a default"
    for opening in found:
        if opening.broker is not None:
            yield _brokered(opening)
            continue
        try:
            host.load_settings(_loaded(opening.type), opening)
        except BackendNotInstalled as exc:
            yield f"resource {opening.name}", "note", str(exc)
        except QrmiError as exc:
            yield f"resource {opening.name}", "WRONG", mask(" ".join(str(exc).split()))
        else:
            yield f"resource {opening.name}", "ok", f"type {opening.type}, from {opening.source}"


def _brokered(opening: Opening) -> Finding:
    from qrmi_core import host
    from qrmi_core.errors import QrmiError

    what = f"resource {opening.name}"
    try:
        host.open_resource(opening).close()
    except QrmiError as exc:
        return what, "WRONG", " ".join(str(exc).split())
    return what, "ok", f"type {opening.type}, through the broker at {opening.broker}"


def _broker(environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """For administrators: how the broker of this node is."""
    from qrmi_core import protocol, variables
    from qrmi_core.client import Broker
    from qrmi_core.errors import QrmiError

    path = environ.get(variables.ADMIN_SOCKET) or protocol.ADMIN_SOCKET
    if not os.access(path, os.R_OK | os.W_OK):
        return
    try:
        found = Broker(path).ask_json("GET", "/v1/health")
    except QrmiError as exc:
        yield "broker", "WRONG", " ".join(str(exc).split())
        return
    yield "broker", "ok", f"{path}: {found['leases']} leases, {found['open_tasks']} open tasks"
    for problem in (found["reconciler_off"], found["scheduler_failure"]):
        if problem:
            yield "broker", "WRONG", f"the scheduler's listings are not used: {problem}"
    for unknown in found["outcome_unknown"]:
        yield "broker", "WRONG", f"{unknown}: nobody knows whether it is open at the vendor. Look there"
    for orphan in found.get("orphaned", ()):
        yield "broker", "WRONG", f"{orphan}: it is not configured any longer. Put it back, so that it can be ended"
    for name, reason in found["drained"].items():
        yield f"resource {name}", "note", f"drained: {reason}"


def _state() -> Iterator[Finding]:
    from qrmi_core import host
    from qrmi_core.errors import ConfigError

    try:
        yield "state", "ok", str(host.state_root())
    except ConfigError as exc:
        yield "state", "WRONG", str(exc)
