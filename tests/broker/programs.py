"""Stand-ins for Slurm's commands: shell programs on the disk, replaced in one step while others may run them."""

from __future__ import annotations

from pathlib import Path

LISTING = """\
1201                RUNNING             0           1795003600              1000        
1202                PENDING             2           N/A                     1001        
1203                RUNNING             0           NONE                    1000        
1204                OUT_OF_MEMORY       0           1794990000              64030       
"""  # noqa: W291 - squeue pads its columns
"""What `squeue --Format=JobID:20,State:20,RestartCnt:12,EndTime:24,UserID:12 --noheader` prints."""


def program(path: Path, text: str) -> Path:
    """An executable *path* that does what *text* says to `sh`."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(f"#!/bin/sh\n{text}\n")
    fresh.chmod(0o755)
    return fresh.replace(path)


def row(job: str, state: str = "RUNNING", restarts: int = 0, ends: str = "4102444800", uid: str = "1000") -> str:
    """A line as squeue pads it."""
    return f"{job:<20}{state:<20}{restarts:<12}{ends:<24}{uid:<12}"
