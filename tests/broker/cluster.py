"""A stand-in for Slurm, as far as the broker asks it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from attrs import define, field

from .record import Record

_SQUEUE = """#!/bin/sh
cd '{folder}'
if [ -e fails ]; then echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1; fi
if [ -e babbles ]; then echo 'slurm_load_jobs error: Invalid job id specified'; exit 0; fi
exec cat jobs
"""


@define(eq=False)
class Cluster:
    """A stand-in for Slurm: `squeue` and `scontrol` that print what we write."""

    folder: Path
    record: Record
    _jobs: dict[str, tuple[str, int, str]] = field(factory=dict)
    _lock: Any = field(factory=threading.Lock)

    def __attrs_post_init__(self) -> None:
        self.folder.mkdir()
        self.program("squeue", _SQUEUE.format(folder=self.folder))
        self.program("scontrol", "#!/bin/sh\necho 'PrivateData = none'\n")
        self.runs("999999", 0, None)

    def program(self, name: str, text: str) -> str:
        """Write an executable."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    def runs(self, job: str, restarts: int, limit_s: float | None) -> None:
        """List a run."""
        ends = "N/A" if limit_s is None else str(int(time.time() + limit_s))
        self._set(job, ("RUNNING", restarts, ends))

    def ends(self, job: str, age: tuple[int, int], how: str) -> None:
        """From now on it may be known that the run has ended."""
        self.record.add("run.ended", job=job, age=age, how=how)
        self._set(job, None if how == "forgotten" else (how, age[1], "N/A"))

    def _set(self, job: str, facts: tuple[str, int, str] | None) -> None:
        with self._lock:
            self._jobs.pop(job, None)
            if facts is not None:
                self._jobs[job] = facts
            lines = [f"{job} {state} {restarts} {ends} 0\n" for job, (state, restarts, ends) in self._jobs.items()]
            fresh = self.folder / ".jobs"
            fresh.write_text("".join(lines))
            fresh.replace(self.folder / "jobs")
