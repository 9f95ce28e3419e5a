"""The administrator's guide: its ten lines, typed on a host that has Slurm and not us."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from broker.daemon import short_folder

from slurm import bare
from slurm.cluster import check_host

ROOT = Path(__file__).parents[2]
_LIMIT_S = 900


def lines(root: Path) -> list[str]:
    """Of the guide's block, without the prompt."""
    page = (root / "docs" / "how-to" / "install-on-slurm.md").read_text()
    block = re.search(r":name: ten-lines\n\n(.*?)```", page, re.DOTALL)
    assert block is not None
    return [line.removeprefix("# ") for line in block[1].strip().splitlines()]


@pytest.fixture(scope="module")
def report() -> list[dict]:
    """What each line did, in a fresh folder."""
    check_host()
    with short_folder() as name:
        Path(name).chmod(0o755)
        written = Path(name) / "lines.json"
        written.write_text(json.dumps(lines(ROOT)))
        words = ["unshare", "--mount", "--propagation", "private", sys.executable, bare.__file__, name, str(written)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=_LIMIT_S)
        assert 0 == done.returncode, done.stdout + done.stderr
        return json.loads((Path(name) / "report.json").read_text())


def test_a_bare_slurm_runs_its_first_job_after_ten_lines(report):
    """An administrator who types the guide does not get there, or needs more lines than it says."""
    assert 0 == report[-1]["status"], report[-1]["line"] + report[-1]["stdout"] + report[-1]["stderr"]
    assert 10 >= len(report) == len(lines(ROOT))
    result = json.loads(report[-1]["stdout"])
    assert result["results"], result


def test_nothing_is_wrong_after_them(report):
    """`qrmi slurm check` finds fault with what its own guide made."""
    [check] = [one for one in report if one["line"].endswith("qrmi slurm check")]

    assert "WRONG" not in check["stdout"], check["stdout"]
