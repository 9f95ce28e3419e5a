"""Starts brokers quickly: a process that has imported all of `qrmid` already, and forks. Each child is a real daemon.

It reads a request per line on stdin, ``{"words": [...], "environment": {...}}``, and answers with the child's pid when
it is born and with its status when it has died. Importing takes most of the second that a start costs, and a history
has a hundred of them.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def follow() -> None:
    """Die with our parent: a test that is killed leaves nothing behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Until stdin ends."""
    follow()
    from qrmi_broker import broker, crashpoint, daemon, doors, remote, tls  # noqa: F401
    from qrmi_core import registry

    registry.backend(os.environ["QRMI_TEST_TYPE"])
    if prepare := os.environ.get("QRMI_TEST_PREPARE"):
        importlib.import_module(prepare)
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            follow()
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_RDWR), 0)
            os.dup2(2, 1)
            os.environ.update(request["environment"])
            importlib.reload(crashpoint)
            sys.argv = ["qrmid", *request["words"]]
            sys.exit(daemon.main())
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
