"""What must be right before the broker starts, and what keeps its memory its own."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import stat
from pathlib import Path
from typing import IO

from qrmi_core.errors import ConfigError

_PR_SET_DUMPABLE = 4
WRITABLE = stat.S_IWGRP | stat.S_IWOTH
"""Others may change it."""
OPEN = stat.S_IRWXG | stat.S_IRWXO
"""Others may do anything with it."""


def seal() -> None:
    """No core dump, no tracer, no reading of ``/proc/<pid>/environ`` by others: secrets are in this memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE)")
    os.umask(0o077)


def check_namespace(uid_map: Path = Path("/proc/self/uid_map")) -> None:
    """Refuse a user namespace: in one, every user of the host may look like one and the same.

    Raises:
        ConfigError: we are in one.
    """
    mapped = uid_map.read_text().split()
    if mapped != ["0", "0", "4294967295"]:
        raise ConfigError.one(
            "qrmid",
            "",
            f"runs inside a user namespace ({' '.join(mapped)}), where users cannot be told apart",
            "Start it on the host; in a systemd unit remove PrivateUsers",
        )


def check_files(config: Path, state: Path, run: Path) -> None:
    """Refuse files and folders that others could change or read.

    Raises:
        ConfigError: with the command that mends it.
    """
    check(config, WRITABLE, "can be changed by others")
    check(state, OPEN, "is open to others")
    check(run, WRITABLE, "can be changed by others")
    if os.statvfs(state).f_flag & os.ST_RDONLY:
        raise ConfigError.one(str(state), "", "is on a read-only disk", "See why it is (dmesg), and mount it writable")
    if not os.access(state, os.W_OK | os.X_OK):
        raise ConfigError.one(str(state), "", "cannot be written", f"chown {os.geteuid()} {state}")


def check(path: Path, forbidden: int, what: str) -> None:
    """Refuse *path* if it belongs to another user than root or us, or has a permission that is *forbidden*.

    Raises:
        ConfigError: says *what* is wrong, with the command that mends it.
    """
    try:
        found = path.stat()
    except OSError as exc:
        raise ConfigError.one(str(path), "", f"cannot be used: {exc.strerror}", "Make it, or name another") from exc
    if found.st_uid not in (0, os.geteuid()):
        remedy = f"chown {os.geteuid()} {path}"
        raise ConfigError.one(str(path), "", f"belongs to user {found.st_uid}, neither root nor us", remedy)
    if found.st_mode & forbidden:
        remedy = f"chmod {stat.S_IMODE(found.st_mode) & ~forbidden:o} {path}"
        raise ConfigError.one(str(path), "", what, remedy)


def lock(state: Path) -> IO[bytes]:
    """Hold *state* for this process: two brokers on one ledger would give every lane twice.

    Raises:
        ConfigError: another process holds it.
    """
    try:
        file = (state / "lock").open("ab")
    except OSError as exc:
        raise ConfigError.one(
            f"{state}/lock", "", f"cannot be opened: {exc.strerror}", "Mend it, or free space"
        ) from exc
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        file.close()
        raise ConfigError.one(str(state), "", "is held by another qrmid", "Stop it first, or name another") from exc
    return file
