"""Stand-ins for Slurm's commands: shell programs on the disk, replaced in one step while others may run them."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from .watch import until

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


@frozen
class Slurm:
    """Stand-ins for its commands, and how often they were asked."""

    folder: Path

    def does(self, text: str) -> None:
        """From now on squeue does this."""
        program(self.folder / "squeue", f"echo >> {self.folder}/looks\n{text}")

    def lists(self, *rows: str) -> None:
        """From now on squeue prints these jobs."""
        self.does("cat <<'END'\n" + "".join(f"{one}\n" for one in rows) + "END")

    @property
    def looks(self) -> int:
        """How often squeue was asked."""
        path = self.folder / "looks"
        return len(path.read_bytes()) if path.exists() else 0

    def is_asked(self, times: int = 4) -> None:
        """Wait until squeue was asked so often: by then what it says now has been acted on."""
        start = self.looks
        until(lambda: self.looks >= start + times)
