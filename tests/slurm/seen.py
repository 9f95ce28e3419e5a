"""What the tasks of a job saw: programs that write it down, and how a test reads it."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

_SHOW = """\
#!/bin/bash
# Keep the environment of this task, as `show NAME`.
exec /usr/bin/env -0 > "{folder}/seen/$SLURM_JOB_ID.$1.$SLURM_PROCID"
"""
_WORK = """\
#!/bin/bash
# The same, and run a task on each resource of the job.
/usr/bin/env -0 > "{folder}/seen/$SLURM_JOB_ID.$1.$SLURM_PROCID" && exec {python} {program}
"""
_TASK = '''\
"""Run a task on every resource of the job; a line for each."""
import os
from qrmi_core import Payload, job

key = "-".join(os.environ[f"SLURM_{name}"] for name in ("JOB_ID", "PROCID")) + f"-{os.getpid()}"
for qpu in job.resources():
    with qpu:
        task = qpu.task_start(Payload.from_json("script", {"runs_s": 0.01}), key=key)
        print("task", qpu.task_wait(task, timeout_s=30).status.value, flush=True)
'''
_OURS = re.compile(r"QPU|QRMI_|qrmi", re.ASCII)
TOKEN = "<token>"
_TOKEN = re.compile(r"\d+\.[0-9a-f]{64}")


def write_programs(folder: Path) -> None:
    """Put `show` and `work` where the jobs of the cluster in *folder* find them."""
    (folder / "seen").mkdir()
    (folder / "seen").chmod(0o1777)
    program = folder / "bin" / "task.py"
    program.write_text(_TASK)
    for name, text in (("show", _SHOW), ("work", _WORK)):
        path = folder / "bin" / name
        path.write_text(text.format(folder=folder, python=sys.executable, program=program))
        path.chmod(0o755)


@frozen
class Seen:
    """The environment of one task."""

    job: str
    name: str
    rank: str
    environment: Mapping[str, str]

    @property
    def node(self) -> str:
        """Where it ran."""
        return self.environment["SLURMD_NODENAME"]

    @property
    def ours(self) -> dict[str, str]:
        """What the plugin set, or left; a token is there as ``<token>``."""
        return {
            name: TOKEN if _TOKEN.fullmatch(value) else value
            for name, value in self.environment.items()
            if _OURS.search(name)
        }

    @property
    def tokens(self) -> set[str]:
        """The tokens in it."""
        return {value for value in self.environment.values() if _TOKEN.fullmatch(value)}


def collect(folder: Path) -> list[Seen]:
    """What the tasks wrote down since the last time; it is removed."""
    found = []
    for path in sorted((folder / "seen").iterdir()):
        pairs = [entry.partition("=") for entry in path.read_text().split("\0") if entry]
        found.append(Seen(*path.name.split("."), {name: value for name, _, value in pairs}))
        path.unlink()
    return found
