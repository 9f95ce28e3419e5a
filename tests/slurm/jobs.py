"""Slurm's commands as a user would give them, and what became of the jobs."""

from __future__ import annotations

import functools
import pwd
import re
import subprocess
import time
from pathlib import Path

from broker.users import User

_NOBODY = 65534
_LONG_S = 60.0
_OVER = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")


@functools.cache
def ordinary() -> User:
    """A user of this machine, neither root nor nobody; where it has none one is made."""

    def found() -> list[pwd.struct_passwd]:
        return [one for one in pwd.getpwall() if one.pw_uid not in (0, _NOBODY) and one.pw_uid >= 1000]

    if not found():
        subprocess.run(["useradd", "--no-create-home", "qrmi-ada"], check=True, timeout=30)
    one = found()[0]
    return User(one.pw_name, one.pw_uid, one.pw_gid)


class Jobs:
    """What a cluster is asked to run."""

    folder: Path
    environment: dict[str, str]

    @property
    def user(self) -> User:
        """The one who is not root."""
        return ordinary()

    @property
    def work(self) -> Path:
        """Where jobs run, writable by all."""
        return self.folder / "work"

    def run(
        self, *words: str, user: User | None = None, stdin: str = "", timeout_s: float = _LONG_S, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of Slurm, by default as root."""
        identity = {"user": user.uid, "group": user.gid, "extra_groups": []} if user else {}
        return subprocess.run(
            words,
            env={**self.environment, **environment},
            cwd=self.work,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            **identity,
        )

    def begin(self, *words: str, **environment: str) -> subprocess.Popen:
        """The same, and do not wait for its end."""
        return subprocess.Popen(
            words,
            env={**self.environment, **environment},
            cwd=self.work,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def sbatch(self, *options: str, script: str, user: User | None = None, **environment: str) -> str:
        """Submit *script*; the job's id."""
        words = ("sbatch", "--parsable", "-o", "out-%j", "-t", "10", *options)
        done = self.run(*words, stdin=f"#!/bin/bash\n{script}\n", user=user, **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().partition(";")[0]

    def facts(self, job: str) -> dict[str, str]:
        """What the controller says of a job; empty if it does not know it."""
        shown = self.run("scontrol", "show", "job", "-o", job).stdout
        return dict(re.findall(r"(\w+)=(\S*)", shown.splitlines()[0])) if shown.strip() else {}

    def state(self, job: str) -> str:
        """The job's state, as ``RUNNING``."""
        return self.facts(job).get("JobState", "")

    def wait(self, job: str, *states: str, within_s: float = _LONG_S) -> str:
        """Wait until a job has one of *states*, by default any end, epilog included; which one."""
        deadline = time.monotonic() + within_s
        while (state := self.state(job)) not in (states or _OVER):
            assert time.monotonic() < deadline, f"job {job} is {state}: {self.output(job)}"
            time.sleep(0.03)
        return state

    def output(self, job: str) -> str:
        """What a batch job printed."""
        path = self.work / f"out-{job}"
        return path.read_text(errors="replace") if path.exists() else ""

    def batch(self, *options: str, script: str, **how: str) -> tuple[str, str, str]:
        """Submit *script* and wait for its end; the job, its state and its output."""
        job = self.sbatch(*options, script=script, **how)
        state = self.wait(job)
        return job, state, self.output(job)


def ours(text: str) -> list[str]:
    """The lines in *text* that the plugin wrote."""
    return [line for line in text.splitlines() if line.startswith("qrmi:")]
