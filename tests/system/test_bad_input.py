"""Bad input through the real `qrun`: refused in time, in one line, with nothing submitted and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from attrs import frozen

from .bad_inputs import BAD_INPUTS, BadInput
from .commands import BIN

_LONGEST_S = 2.0
_OVER_IMPORT = 1.4
"""On a machine where the import of a simulator alone takes that long: how many times as long all may take."""
_TRIES = 3
"""Somebody else may keep this machine busy: what is too slow may be tried again."""
_MOST_BYTES = 500_000_000
_LONGEST_LINE = 2000


@frozen
class Outcome:
    """What became of one command."""

    status: int
    out: str
    lines: list[str]
    """On standard error, apart from events."""
    took_s: float
    memory_bytes: int
    left_behind: int
    tasks: list[str]
    """What is left of tasks on disk."""


def _run(bad: BadInput, folder: Path, environment: dict[str, str]) -> Outcome:
    folder.mkdir()
    for name, content in bad.files.items():
        raw = content() if callable(content) else content
        (folder / name).write_bytes(raw.encode() if isinstance(raw, str) else raw)
    state = folder / "state"
    reaper = [sys.executable, "-I", "-S", str(Path(__file__).with_name("reaper.py")), str(folder / "report")]
    done = subprocess.run(
        [*reaper, str(BIN / "qrun"), *bad.words],
        cwd=folder,
        env={**environment, "QRMI_STATE_DIR": str(state), **bad.environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads((folder / "report").read_text())
    return Outcome(
        os.waitstatus_to_exitcode(report["status"]),
        done.stdout,
        [line for line in done.stderr.splitlines() if not line.startswith("{")],
        report["took_s"],
        report["memory_bytes"],
        report["left_behind"],
        [str(path) for path in state.glob("resources/*/tasks/*")],
    )


def _importing_s(simulator: str) -> float:
    """What the libraries of a simulator take to be imported now: nobody can refuse faster than that."""
    started = time.monotonic()
    statement = "from qrmi_local.processes.worker import simulator; simulator({!r})"
    kind = "pulser" if simulator == "pulses" else "qiskit-primitive"
    subprocess.run([sys.executable, "-c", statement.format(kind)], check=True)
    return time.monotonic() - started


@pytest.fixture(scope="module")
def run(request, tmp_path_factory):
    """Run a row. All rows that were chosen are under way from the first one on, two at a time."""
    folder = tmp_path_factory.mktemp("bad")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("QRMI_", "SLURM_"))}
    environment["XDG_CONFIG_HOME"] = str(folder)
    tests = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    rows = [params["bad"] for params in tests if "bad" in params]
    with ThreadPoolExecutor(2) as pool:
        under_way = {
            bad.name: pool.submit(_run, bad, folder / str(index), environment) for index, bad in enumerate(rows)
        }
        again = iter(range(len(rows), 1_000_000))

        def run_(bad: BadInput) -> Outcome:
            if bad.name in under_way:
                return under_way.pop(bad.name).result()
            return _run(bad, folder / str(next(again)), environment)

        yield run_
        pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="module")
def importing_s() -> dict[str, float]:
    """By simulator: what its import took when somebody last looked."""
    return {}


def test_the_table_has_no_row_twice():
    """A row could be lost behind another of its name."""
    assert len(BAD_INPUTS) == len({bad.name for bad in BAD_INPUTS})
    assert len(BAD_INPUTS) >= 70


@pytest.mark.parametrize("bad", BAD_INPUTS, ids=lambda bad: bad.name)
def test_bad_input_is_refused_in_one_line_and_nothing_happens(bad, run, importing_s, record_testsuite_property):
    """Somebody would wait, pay, read a traceback, or look for the fault in the wrong place."""
    found = run(bad)
    for _ in range(_TRIES - 1):
        if found.took_s <= max(_LONGEST_S, _OVER_IMPORT * importing_s.get(bad.simulator, 0)):
            break
        importing_s[bad.simulator] = _importing_s(bad.simulator)
        found = min(found, run(bad), key=lambda one: one.took_s)
    record_testsuite_property(bad.name, f"{found.took_s:.2f} s, {found.memory_bytes >> 20} MiB")

    assert 2 == found.status, found
    assert "" == found.out
    assert bad.faults == len(found.lines), found.lines
    assert found.lines[0].startswith(f"qrun: {bad.at}"), found.lines
    assert bad.says in found.lines[0]
    assert re.search(r"(\[error-[a-z-]+\]|See qrun --help)$", found.lines[-1]), found.lines
    assert all(line.isprintable() and len(line) < _LONGEST_LINE for line in found.lines)
    assert [] == found.tasks
    assert 0 == found.left_behind
    assert found.memory_bytes < _MOST_BYTES
    assert found.took_s <= max(_LONGEST_S, _OVER_IMPORT * importing_s.get(bad.simulator, 0))
