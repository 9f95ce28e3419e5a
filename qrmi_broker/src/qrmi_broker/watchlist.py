"""Who is watched, written down: a daemon that is started again watches on, or learns who has died meanwhile.

A file beside the sockets for each lease. /run is empty after a reboot, and so nothing is known of processes of before.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from attrs import define, field

from qrmi_core import log

_LEASE = re.compile("[0-9A-Za-z-]{1,64}")
_LINE = re.compile(r"(\d{1,9}) (\d+|hidden) (\d+)\n", re.ASCII)
_HIDDEN = "hidden"
"""The beginning of a process that /proc does not show: its number is all that is known."""

_log = log.logger(part="deathwatch")


@define(eq=False)
class Watchlist:
    """The leases of one daemon whose processes are watched."""

    folder: Path
    _namespace: int = field(factory=lambda: os.stat("/proc/self/ns/pid").st_ino)
    """Numbers of processes mean nothing in another one."""

    def add(self, lease: str, pid: int) -> None:
        """Write down that the end of the process *pid* is the end of *lease*."""
        if not _LEASE.fullmatch(lease):
            return
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            (self.folder / lease).write_text(f"{pid} {_beginning(pid)} {self._namespace}\n")
        except OSError as exc:
            _log.warning("death.unwritten", lease=lease, error=str(exc))

    def remove(self, lease: str) -> None:
        """Forget it: its end has been told."""
        (self.folder / lease).unlink(missing_ok=True)

    def read(self) -> Iterator[tuple[str, int, int | None]]:
        """Each lease, the number of its process, and a pidfd; None: that process has ended for certain."""
        for path in sorted(self.folder.glob("*")):
            line = _LINE.fullmatch(path.read_text(errors="replace"))
            if line is None or line[3] != str(self._namespace):  # a full disk; another container
                path.unlink()
                continue
            pid = int(line[1])
            try:
                handle = os.pidfd_open(pid)
            except ProcessLookupError:
                yield path.name, pid, None
                continue
            except OSError as exc:
                _log.warning("death.unwatched", pid=pid, error=str(exc))
                continue
            begun = _beginning(pid)  # of the process that the handle is of, or it has ended
            if _HIDDEN in (begun, line[2]) or begun == line[2]:
                yield path.name, pid, handle
            else:
                os.close(handle)
                yield path.name, pid, None


def _beginning(pid: int) -> str:
    """When a process began, in clock ticks since the host did: a number that is used again differs. proc(5), stat."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return _HIDDEN
