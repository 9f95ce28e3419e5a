"""What is to be seen while a task runs: a live line on a terminal, events otherwise."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from attrs import frozen

QRUN = str(Path(sys.executable).parent / "qrun")
_FIRST_S = 0.2
_TRIES = 10
"""Somebody else may keep this machine busy: the time that counts is the shortest of so many."""


@frozen
class Seen:
    """What a command wrote to its terminal, and to its standard output."""

    status: int
    terminal: str
    out: str
    first_s: float
    """From the process's creation to the first byte on the terminal."""


def on_terminal(*words: str) -> Seen:
    """Run qrun with standard error on a terminal of its own."""
    ours, theirs = pty.openpty()
    started = time.monotonic()
    process = subprocess.Popen([QRUN, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    seen, first_s = b"", 0.0
    while True:
        assert select.select([ours], [], [], 30)[0], "nothing for half a minute"
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # the other end is closed
            break
        first_s = first_s or time.monotonic() - started
        seen += part
    os.close(ours)
    out = process.communicate(timeout=30)[0]
    return Seen(process.returncode, seen.decode(), out.decode(), first_s)


@pytest.fixture
def payload(pretend, tmp_path) -> str:
    """A payload for the resource `fez`."""
    path = tmp_path / "p.bin"
    path.write_text("result")
    return str(path)


def test_the_first_thing_is_to_be_seen_at_once(payload):
    """Somebody would think that the command hangs, and press Ctrl-C."""
    times = []
    while not times or (min(times) > _FIRST_S and len(times) < _TRIES):
        times.append(on_terminal(payload, "--kind", "pretend").first_s)

    assert min(times) <= _FIRST_S


def test_a_terminal_shows_one_line_that_lives_and_a_last_one_that_stays(payload):
    """A terminal would be full of events, or silent."""
    seen = on_terminal(payload, "--kind", "pretend")
    painted = [line for line in re.split(r"[\r\n]+", seen.terminal.replace("\x1b[K", "")) if line]

    assert (0, "result\n") == (seen.status, seen.out)
    assert painted[0].startswith("qrun: ")
    for said in ("place 3 in the queue", "50%", "warm"):
        assert any(said in line for line in painted), said
    assert re.fullmatch(r"qrun: fez: completed in \d+\.\d s, result in standard output", painted[-1])
    assert 1 == seen.terminal.count("\n")
    assert "{" not in seen.terminal


def test_what_a_vendor_says_cannot_drive_the_terminal(payload):
    """A reason from elsewhere could rename the window, or worse."""
    seen = on_terminal(payload, "--kind", "pretend")

    assert r"\x1b]0;owned\x07 warm" in seen.terminal
    assert set(re.findall(r"[^ -~]", seen.terminal.replace("\x1b[K", ""))) <= {"\r", "\n"}


def test_no_line_is_wider_than_the_terminal(payload, tmp_path):
    """A line that wraps cannot be painted over, and the terminal fills."""
    long = tmp_path / ("x" * 200)
    long.write_text("result")
    seen = on_terminal(str(long), "--kind", "pretend")
    painted = re.split(r"\r\x1b\[K", seen.terminal)

    assert all(len(line) < 80 for line in painted if not line.endswith("\n"))


def test_an_error_stands_on_a_line_of_its_own():
    """It would be painted over, or stand behind half a line."""
    seen = on_terminal("nowhere.json")

    assert 2 == seen.status
    assert seen.terminal.rpartition("\x1b[K")[2].startswith("qrun: nowhere.json: cannot be read")


def test_without_a_terminal_there_are_events_and_nothing_else(payload):
    """A tool that reads them would meet paint."""
    done = subprocess.run([QRUN, payload, "--kind", "pretend"], capture_output=True, text=True)
    events = [json.loads(line) for line in done.stderr.splitlines()]

    assert (0, "result\n") == (done.returncode, done.stdout)
    assert ["task.submitting", "task.started", "task.queued", "task.running", "task.completed", "result.written"] == [
        event["event"] for event in events
    ]
    assert {("fez", "pretend")} == {(events[0]["resource"], events[0]["type"])}
    assert 2 == events[2]["queue_position"]
    assert "result.written" == events[-1]["event"]
    assert 6 == events[-1]["size_bytes"]
    assert all(None not in event.values() for event in events)


def test_a_terminal_that_goes_away_does_not_end_the_task(payload):
    """A lost connection would lose the result."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [QRUN, payload, "--kind", "pretend"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs
    )
    os.close(theirs)
    os.read(ours, 1)
    os.close(ours)

    assert b"result\n" == process.communicate(timeout=30)[0]
    assert 0 == process.returncode
