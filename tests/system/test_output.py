"""Results whose place goes away, fills up or was forbidden from the start, through the real `qrun`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .commands import BIN, dense


def shots_of(path: Path | str) -> int:
    """How many shots a plain result holds."""
    return len(json.loads(Path(path).read_text())["results"][0]["data"]["meas"]["samples"])


def kept(words: str) -> Path:
    """Where the message says that the result is."""
    found = re.search(r"kept in (.*): move it from there \[error-result-not-saved\]$", words)
    assert found, words
    return Path(found[1])


@pytest.fixture
def full(tmp_path):
    """A place without space: a file system of one page where we may mount one, else the device that is always full."""
    folder = tmp_path / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "qrmi-test", str(folder)]
    if os.getuid() or shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        yield Path("/dev/full")
        return
    yield folder / "r.json"
    assert [] == os.listdir(folder), "no part of the result is left"
    subprocess.run(["umount", str(folder)], check=True)


def test_a_result_is_in_its_output_and_nowhere_else(start, bell, tmp_path):
    """A script that reads the file would read standard output as well, or find neither."""
    command = start("qrun", str(bell), "r-%j.json", "--shots", "20", SLURM_JOB_ID="17")

    assert (0, "") == command.end()
    assert 20 == shots_of(tmp_path / "r-17.json")
    assert {"bell.qasm", "r-17.json"} == {path.name for path in tmp_path.iterdir()}


def test_a_full_file_system_leaves_the_result_kept(start, bell, full):
    """Hours of a quantum processor would be lost for a full disk."""
    command = start("qrun", str(bell), str(full), "--shots", "3000")

    assert (1, "") == command.end()
    assert "No space left on device" in command.words
    assert 3000 == shots_of(kept(command.words))


def test_a_full_standard_output_leaves_the_result_kept(tmp_path, bell):
    """`qrun bell.qasm > /full/disk` would lose it, or end with 0."""
    line = f"exec {BIN / 'qrun'} {bell} --shots 30 > /dev/full"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, stderr=subprocess.PIPE, text=True)

    assert 1 == done.returncode
    assert 30 == shots_of(kept(done.stderr.strip()))


def test_a_closed_pipe_leaves_the_result_kept(tmp_path, bell):
    """A program that reads the result and dies would take it along."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [BIN / "qrun", bell, "--shots", "30"], cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    os.close(reading)
    words = process.communicate(timeout=60)[1]

    assert 1 == process.returncode
    assert "Broken pipe" in words
    assert 30 == shots_of(kept(words.strip()))


def test_a_closed_standard_output_is_refused_before_anything_is_submitted(tmp_path, bell):
    """The result would go into the next file that somebody opens."""
    done = subprocess.run(
        ["bash", "-c", f"exec {BIN / 'qrun'} {bell} >&-"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )

    assert 2 == done.returncode
    assert "standard output: is closed" in done.stderr
    assert 1 == len(done.stderr.splitlines())


def _remove(folder: Path) -> None:
    shutil.rmtree(folder)


def _replace_by_a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("not a folder any longer")


def _forbid(folder: Path) -> None:
    folder.chmod(0o500)
    if os.getuid() == 0:  # no mode forbids root anything, but nobody can put a file over a folder
        (folder / "r.json").mkdir()


@pytest.mark.parametrize("happening", [_remove, _replace_by_a_file, _forbid])
def test_what_happens_to_the_folder_meanwhile_leaves_the_result_kept(start, tmp_path, happening):
    """A task may run for hours, and folders come and go."""
    folder = tmp_path / "results"
    folder.mkdir()
    (tmp_path / "some.qasm").write_text(dense(20))
    command = start("qrun", "some.qasm", "results/r.json", "--shots", "10")
    command.wait_for("task.running")
    happening(folder)

    assert (1, "") == command.end(60)
    assert 10 == shots_of(kept(command.words.strip()))


@pytest.mark.parametrize("output", ["/proc/r.json", "nowhere/r.json", "/"])
def test_a_forbidden_output_is_refused_before_anything_is_submitted(start, bell, output):
    """Hours of a quantum processor would be paid for before somebody learns it."""
    command = start("qrun", str(bell), output)

    assert (2, "") == command.end()
    assert [] == command.events
    assert command.words.startswith(f"qrun: {output}: ")
    assert "Nothing was submitted" in command.words


def test_a_device_is_still_one_afterwards(start, bell):
    """As root, a result for /dev/null would leave the machine without one."""
    assert 0 == start("qrun", str(bell), "/dev/null").end()[0]
    assert Path("/dev/null").is_char_device()


def test_a_standard_error_that_is_full_costs_no_result(tmp_path, bell):
    """Nobody can be told how it goes; the result must come all the same."""
    line = f"exec {BIN / 'qrun'} {bell} r.json --shots 30 2> /dev/full"

    assert 0 == subprocess.run(["bash", "-c", line], cwd=tmp_path).returncode
    assert 30 == shots_of(tmp_path / "r.json")
