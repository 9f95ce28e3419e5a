"""What this node must have: the plugin where Slurm loads it, two sockets, and somebody who answers on them."""

from __future__ import annotations

import glob
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from qrmi_broker import guard
from qrmi_broker.slurm import controller
from qrmi_broker.slurm.finding import Finding, note, ok, wrong
from qrmi_core import protocol
from qrmi_core.client import Broker
from qrmi_core.errors import QrmiError, ResourceUnavailable

FILE = "spank_qrmi.so"
_LOOK_S = 10.0
_LOOK = """
import ctypes, os, sys
plugin, *libraries = sys.argv[1:]
for one in filter(os.path.exists, libraries):
    ctypes.CDLL(one, ctypes.RTLD_GLOBAL)
print(ctypes.c_uint.in_dll(ctypes.CDLL(plugin), "plugin_version").value)
"""
"""A plugin finds Slurm's functions in the program that loads it; here in the library that those programs use."""


@frozen
class Line:
    """The plugin's line in plugstack.conf."""

    source: Path
    need: str
    """``optional`` or ``required``."""
    plugin: Path
    words: tuple[str, ...]


def find(settings: controller.Settings) -> Line | None:
    """The plugin's line, in plugstack.conf or what it includes."""
    return next(_lines(settings.plugstack, settings, 8), None)


def _lines(path: Path, settings: controller.Settings, depth: int) -> Iterator[Line]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        words = line.partition("#")[0].split()
        if len(words) >= 2 and words[0] == "include" and depth:
            for name in sorted(glob.glob(str(path.parent / words[1]))):
                yield from _lines(Path(name), settings, depth - 1)
        elif len(words) >= 2 and words[0] in ("optional", "required") and Path(words[1]).name == FILE:
            folders = settings.facts.get("PluginDir", "").split(":")
            places = [Path(folder) / words[1] for folder in folders if folder]
            place = next((one for one in places if one.exists()), places[0] if places else Path(words[1]))
            yield Line(path, words[0], place, tuple(words[2:]))


def socket_of(line: Line | None) -> str:
    """The socket that the plugin asks on this node."""
    found = [word.removeprefix("socket=") for word in (line.words if line else ()) if word.startswith("socket=")]
    name = os.environ.get("SLURMD_NODENAME") or socket.gethostname().partition(".")[0]
    return found[-1].replace("%n", name) if found else protocol.ADMIN_SOCKET


def plugin(settings: controller.Settings, line: Line | None) -> Iterator[Finding]:
    """The plugin is named, there, of this Slurm, and srun shows its option."""
    if line is None:
        yield wrong("plugin", f"{settings.plugstack} does not name {FILE}", f"Add the line: optional {FILE}")
        return
    if line.need == "required":
        text = f"{line.source} says required: without its file no job of anybody runs"
        yield wrong("plugin", text, "Write optional: a job with --qpu fails all the same when it must")
    if not line.plugin.exists():
        yield wrong("plugin", f"{line.plugin} is missing", "Install it there on every node: cmake --install")
        return
    found = line.plugin.stat()
    if found.st_uid != 0 or found.st_mode & guard.WRITABLE:
        text = f"{line.plugin} can be changed by others than root, and runs as root"
        yield wrong("plugin", text, f"chown root {line.plugin}; chmod go-w {line.plugin}")
    closed = [one for one in (line.plugin, *line.plugin.absolute().parents) if not _is_open(one)]
    if closed:
        text = f"{closed[0]} is closed to users: their sbatch and srun have no --qpu"
        yield wrong("plugin", text, f"chmod go+rX {closed[0]}")
    built = _version(line.plugin, settings)
    if built is None:
        yield wrong(
            "plugin", f"{line.plugin} cannot be loaded, or is no plugin of Slurm", "Build it again, on this host"
        )
    elif built.split(".")[:2] != settings.version.split(".")[:2]:
        text = f"{line.plugin} is built for Slurm {built}, this is {settings.version}"
        yield wrong("plugin", text, f"Build it with the headers of {settings.version}")
    else:
        yield _shown(line)


def _is_open(path: Path) -> bool:
    """Everybody may read a file, or pass through a folder."""
    needed = stat.S_IXOTH if path.is_dir() else stat.S_IROTH
    return bool(path.stat().st_mode & needed)


def _shown(line: Line) -> Finding:
    try:
        text = controller.ask("srun", "--help")
    except ResourceUnavailable as exc:
        return wrong("plugin", f"srun does not start with it: {exc.detail}", "Take the line away until that is mended")
    if "--qpu" not in text:
        remedy = "See what `srun -vvv --help` says of it"
        return wrong("plugin", f"{line.plugin} is there, but srun has no option --qpu", remedy)
    return ok("plugin", str(line.plugin))


def _version(path: Path, settings: controller.Settings) -> str | None:
    """For which Slurm a plugin was built; looked up in a process of its own, which it may crash."""
    try:
        libraries = [f"{folder}/libslurmfull.so" for folder in settings.facts.get("PluginDir", "").split(":")]
        words = [sys.executable, "-I", "-c", _LOOK, str(path), *libraries]
        done = subprocess.run(words, capture_output=True, text=True, timeout=_LOOK_S, check=False)
        number = int(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return f"{number >> 16 & 255:02}.{number >> 8 & 255:02}.{number & 255}"


def sockets(admin: str) -> Iterator[Finding]:
    """Both sockets are there, for whom they are meant."""
    for path, meant in ((Path(admin), 0o600), (Path(admin).with_name("qrmi.sock"), 0o666)):
        what = f"socket {path}"
        try:
            found = path.stat()
        except OSError as exc:
            remedy = "Start qrmid on this node: the broker, or `qrmid --relay`"
            yield wrong(what, exc.strerror or "cannot be seen", remedy)
            continue
        if not stat.S_ISSOCK(found.st_mode):
            yield wrong(what, "is no socket", "Remove it, and start qrmid again")
        elif stat.S_IMODE(found.st_mode) != meant:
            text = f"has mode {stat.S_IMODE(found.st_mode):04o}, and must have {meant:04o}"
            yield wrong(what, text, "Start qrmid again: it sets the mode")
        else:
            yield ok(what, f"mode {meant:04o}")


def broker(admin: str) -> Iterator[Finding]:
    """Somebody answers on the administrators' socket, and is well."""
    if not Path(admin).exists():
        return
    if not os.access(admin, os.R_OK | os.W_OK):
        yield note("broker", "was not asked: only root and its own user may", "Run this as root")
        return
    try:
        found = Broker(admin).ask_json("GET", "/v1/health")
    except QrmiError as exc:
        yield wrong("broker", getattr(exc, "detail", str(exc)), "Start qrmid, or see its log")
        return
    yield ok("broker", f"{admin}: {found['leases']} leases, {found['open_tasks']} open tasks")
    for problem in (found["reconciler_off"], found["scheduler_failure"]):
        if problem:
            yield wrong("broker", f"does not see which jobs have ended: {problem}", "Mend that, and start qrmid again")
    for name, reason in found["drained"].items():
        yield note("broker", f"gives no leases on {name}: {reason}", f"When it is back: `qrmi slurm resume {name}`")


def closed(config: Path, admin: str) -> Iterator[Finding]:
    """Nobody but root and the broker's user may change the configuration, or put a socket in the place of ours."""
    folder = Path(admin).parent
    try:
        owner = Path(admin).stat().st_uid
    except OSError:
        owner = os.geteuid()
    for what, path in (("configuration", config), (f"folder {folder}", folder)):
        if path.exists():
            yield _closed(what, path, owner)


def _closed(what: str, path: Path, owner: int) -> Finding:
    found = path.stat()
    if found.st_uid not in (0, owner):
        text = f"{path} belongs to user {found.st_uid}, neither root nor the one who runs the broker"
        return wrong(what, text, f"chown {owner} {path}")
    if found.st_mode & guard.WRITABLE:
        remedy = f"chmod {stat.S_IMODE(found.st_mode) & ~guard.WRITABLE:o} {path}"
        return wrong(what, f"{path} can be changed by others", remedy)
    return ok(what, str(path))
