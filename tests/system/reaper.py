"""Run a command, adopt whatever it leaves behind, and report about all of it. A process of its own: small, and alone.

    python -I -S reaper.py REPORT COMMAND [ARGUMENT ...]

REPORT gets a JSON object: the command's wait status, the seconds it took, the largest resident memory of any of its
processes in bytes, and how many of them were still there when they should have ended.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time

_PR_SET_CHILD_SUBREAPER = 36
_GRACE_S = 1.0
_LIMIT_S = 20
"""A command that hangs must not take the machine with it."""


def main(report: str, command: list[str]) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)  # orphans become our children, not those of init
    started = time.monotonic()
    pid = os.posix_spawn(command[0], command, os.environ)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
    signal.alarm(_LIMIT_S)
    _, status, usage = os.wait4(pid, 0)  # the usage of those that it waited for is in it
    took_s = time.monotonic() - started
    signal.alarm(0)
    largest_kib, left_behind = usage.ru_maxrss, set()
    while (orphan := _reap(kill=time.monotonic() > started + took_s + _GRACE_S, left_behind=left_behind)) is not None:
        largest_kib = max(largest_kib, orphan)
    facts = {"status": status, "took_s": took_s, "memory_bytes": largest_kib * 1024, "left_behind": len(left_behind)}
    with open(report, "w") as file:
        json.dump(facts, file)


def _reap(*, kill: bool, left_behind: set[int]) -> int | None:
    """Wait for one orphan, or a moment; return its largest memory (KiB), or None when there is no orphan any more."""
    if kill:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            for pid in map(int, file.read().split()):
                left_behind.add(pid)
                os.kill(pid, signal.SIGKILL)
    try:
        pid, _, usage = os.wait4(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    if pid == 0:
        time.sleep(0.002)
        return 0
    return usage.ru_maxrss


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
