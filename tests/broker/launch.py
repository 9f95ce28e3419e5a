"""Other ways to start a `qrmid` than `Daemon.start`: with another command before it, or as another user."""

from __future__ import annotations

import os
import subprocess
from typing import Any

from .daemon import BIN, INSTALLED, Daemon
from .users import User


def command(daemon: Daemon) -> list[str]:
    """How it is started."""
    options = {"scheduler": "none", "reconcile-s": "0.2", **daemon.options}
    folders = ("--state-dir", str(daemon.folder / "state"), "--run-dir", str(daemon.folder / "run"))
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return [str(BIN / "qrmid"), "--config", str(daemon.config), *folders, *words]


def launch(daemon: Daemon, *before: str, env: dict[str, str] | None = None, **facts: Any) -> Daemon:
    """Start it with the words *before* its own, and as `subprocess.Popen` is told."""
    with daemon.log.open("ab") as log:
        daemon.process = subprocess.Popen(
            [*before, *command(daemon)],
            env={**os.environ, "PYTHONPATH": str(INSTALLED), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            **facts,
        )
    daemon.wait_until_ready()
    return daemon


def launch_as(user: User, daemon: Daemon) -> Daemon:
    """Start it as *user*, who owns all it needs.

    It keeps one capability, with which it cannot write anything: the interpreter may lie below root's home.
    """
    for path in [daemon.folder, *daemon.folder.rglob("*")]:
        os.chown(path, user.uid, user.gid)
    keeps = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--bounding-set=-all,+dac_read_search")
    return launch(daemon, "setpriv", f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups", *keeps)
