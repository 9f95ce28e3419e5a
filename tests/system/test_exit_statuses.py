"""Each exit status of `qrun`, produced by the real command, and nothing of ours left running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .commands import BIN, Command, dense, until

_STATEVECTOR_BYTES = 16 << 26


def _interrupted(command: Command, number: signal.Signals) -> tuple[int, str, float]:
    """Send *number* in the middle of the simulation; return status, output, and the seconds until nothing was left."""
    command.wait_for("task.running")
    command.wait_for_group_memory(_STATEVECTOR_BYTES // 2)
    sent = time.monotonic()
    command.process.send_signal(number)
    status, out = command.end()
    until(lambda: not command.living(), "the end of everything that qrun started")
    return status, out, time.monotonic() - sent


def test_a_completed_task_ends_with_0(start, bell):
    """A script could not tell success."""
    command = start("qrun", "sample", str(bell), "--shots", "50")
    status, out = command.end()

    assert 0 == status
    assert 50 == len(json.loads(out)["results"][0]["data"]["meas"]["samples"])
    assert "" == command.words


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_cancels_the_task_and_ends_with_128_and_its_number(start, big, number, expected):
    """A cancelled job would go on computing, or claim to have completed."""
    command = start("qrun", "sample", str(big))
    status, out, took_s = _interrupted(command, number)

    assert expected == status
    assert "" == out
    assert took_s < 1.0
    assert "was cancelled" in command.words
    assert number.name in command.words


def test_kill_9_of_qrun_leaves_nothing_running(start, big):
    """An orphan would hold a node's memory and cores after its job."""
    status, out, took_s = _interrupted(start("qrun", "sample", str(big)), signal.SIGKILL)

    assert -signal.SIGKILL == status
    assert "" == out
    assert took_s < 1.0


def test_a_resumed_job_is_not_a_cancelled_one(start, tmp_path):
    """SIGCONT alone, as `scontrol resume` sends it, would lose the task."""
    circuit = tmp_path / "some.qasm"
    circuit.write_text(dense(21))
    command = start("qrun", "sample", str(circuit), "--shots", "10")
    command.wait_for("task.running")
    command.process.send_signal(signal.SIGCONT)
    status, _ = command.end(60)

    assert 0 == status


def test_a_closed_terminal_does_not_end_what_nohup_protects(start, tmp_path):
    """Who wrote nohup would lose the task all the same."""
    circuit = tmp_path / "some.qasm"
    circuit.write_text(dense(21))
    command = start("/usr/bin/nohup", str(BIN / "qrun"), "sample", str(circuit), "--shots", "10")
    command.wait_for("task.running")
    command.process.send_signal(signal.SIGHUP)

    assert 0 == command.end()[0]


def test_scancel_sends_SIGCONT_and_then_SIGTERM(start, big):
    """The pair that Slurm sends at scancel and at the time limit would not cancel."""
    command = start("qrun", "sample", str(big))
    command.wait_for("task.running")
    command.process.send_signal(signal.SIGCONT)
    command.process.send_signal(signal.SIGTERM)

    assert 143 == command.end()[0]


def test_a_signal_to_the_whole_group_ends_like_one_to_qrun(tmp_path, start, big):
    """Slurm signals every process of a step: the simulator must not die before qrun can cancel it."""
    command = start("qrun", "sample", str(big))
    command.wait_for("task.running")
    pids = command.living()
    for pid in sorted(pids, key=lambda pid: pid == command.process.pid):
        os.kill(pid, signal.SIGTERM)
    status, out = command.end()

    assert len(pids) > 1
    assert 143 == status
    assert "" == out


def test_the_time_limit_ends_with_124(start, big):
    """A script could not tell a slow task from a failed one."""
    command = start("qrun", "sample", str(big), "--timeout", "3")
    status, out = command.end()
    until(lambda: not command.living(), "the end of everything that qrun started")

    assert 124 == status
    assert "" == out
    assert "time limit of 3 s" in command.words


def test_the_jobs_time_limit_counts_too(start, big):
    """A task would outlive the job that pays for it."""
    command = start(
        "qrun",
        "sample",
        str(big),
        QRMI_JOB_QPU_RESOURCES="sim",
        QRMI_JOB_QPU_TYPES="local",
        sim_QRMI_JOB_TIMEOUT_SECONDS="3",
    )

    assert 124 == command.end()[0]


def test_a_payload_that_cannot_run_ends_with_2(start, tmp_path):
    """A script would retry what can never work."""
    (tmp_path / "bad.qasm").write_text(
        'OPENQASM 3.0; include "stdgates.inc"; qubit q; bit c; hadamard q; c = measure q;'
    )
    command = start("qrun", "sample", "bad.qasm")
    status, out = command.end()

    assert 2 == status
    assert "" == out
    assert "hadamard" in command.words
    assert "Nothing was submitted" in command.words


def test_a_resource_that_cannot_be_reached_ends_with_3(start, bell, tmp_path):
    """A script could not tell a broken payload from a resource that is down."""
    state = tmp_path / "state" / "resources" / "local"
    state.mkdir(parents=True)
    (state / "tasks").write_text("not a folder")
    command = start("qrun", "sample", str(bell), QRMI_STATE_DIR=str(tmp_path / "state"))

    assert 3 == command.end()[0]
    assert "local: unavailable" in command.words


def test_a_task_that_fails_ends_with_1_and_its_reason(start, data):
    """A failure would look like a result, or come without a cause."""
    command = start("qrun", str(data / "pulser_stiff.json"))  # accepted; its integrator gives up
    status, out = command.end(60)

    assert 1 == status
    assert "" == out
    assert "failed: IntegratorException: Excess work done" in command.words


def test_a_worker_killed_by_the_memory_limit_is_a_failed_task(start, big, memory_group):
    """The kernel's memory killer would look like a hang, or like a success; or it would take the user's program."""
    command = start("qrun", "sample", str(big), local_QRMI_LOCAL_MEMORY_LIMIT_BYTES=str(8 << 30))
    memory_group(command, 600 << 20)
    status, out = command.end(60)

    assert 1 == status
    assert "" == out
    assert "killed by signal 9" in command.words
    assert "QRMI_LOCAL_MEMORY_LIMIT_BYTES" in command.words


def test_a_refusal_by_a_hook_ends_with_4(bell, tmp_path):
    """A site could not tell its users that they may not."""
    plugin = tmp_path / "site"
    (plugin / "site_policy-1.dist-info").mkdir(parents=True)
    (plugin / "site_policy-1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: site-policy\nVersion: 1\n"
    )
    (plugin / "site_policy-1.dist-info" / "entry_points.txt").write_text("[qrmi.hooks]\nsite = site_policy\n")
    (plugin / "site_policy.py").write_text(
        "from qrmi_core import hookimpl\n@hookimpl\ndef qrmi_authorize(run, resource):\n    return 'not on Sundays'\n"
    )
    command = Command("qrun", "sample", str(bell), cwd=tmp_path, PYTHONPATH=str(plugin))
    status, out = command.end()

    assert 4 == status
    assert "" == out
    assert "not on Sundays" in command.words


def test_an_interrupt_before_anything_was_submitted_ends_with_130(tmp_path, start):
    """Ctrl-C while a payload is read would print a traceback."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    command = start("qrun", str(fifo))
    writer = os.open(fifo, os.O_WRONLY)  # opens when qrun reads
    command.process.send_signal(signal.SIGINT)
    status, _ = command.end()
    os.close(writer)

    assert 130 == status
    assert "Traceback" not in command.words


def test_usage_ends_with_2_and_one_line(tmp_path):
    """A typo would be answered with a page."""
    done = subprocess.run([str(BIN / "qrun"), "--shot", "3"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert 2 == done.returncode
    assert 1 == len(done.stderr.splitlines())


def test_a_signal_while_the_result_is_written_does_not_lose_it(start, bell, tmp_path):
    """A completed task, which may have cost money, would leave nothing."""
    os.mkfifo(tmp_path / "nobody-reads")
    command = start("qrun", "sample", str(bell), "nobody-reads")
    command.wait_for("task.completed")
    until(
        lambda: b"wait_for_partner" in Path(f"/proc/{command.process.pid}/wchan").read_bytes(), "the open of the pipe"
    )
    command.process.send_signal(signal.SIGTERM)
    status, _ = command.end()

    assert 143 == status
    kept = command.words.partition("is kept in ")[2].partition(": move it")[0]
    assert "results" in json.loads(Path(kept).read_text())
