"""`make demo`: what a newcomer sees first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from slurm import demo

_LIMIT_S = 300


def test_the_demo_shows_what_it_says(tmp_path):
    """The first command that a newcomer types fails, or shows half."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    words = [sys.executable, demo.__file__, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=_LIMIT_S, env={**os.environ, "PATH": path})

    assert 0 == done.returncode, done.stdout + done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [
        ["2", "bell.sh", "PENDING", "(Licenses)", "bell_lab:1"],
        ["1", "bell.sh", "RUNNING", "n1", "bell_lab:1"],
    ] == [row for row in rows if row[1:2] == ["bell.sh"]]
    assert "\nbell_lab_QRMI_JOB_ACQUISITION_TOKEN=" in done.stdout
    assert ["00", "11"] == sorted(row[0] for row in rows if len(row) == 4 and set(row[0]) <= {"0", "1"})
    assert ["1", "2"] == [row[1] for row in rows if row[4:5] == ["bell_lab"]]
    assert json.loads((tmp_path / "bell.json").read_text())
