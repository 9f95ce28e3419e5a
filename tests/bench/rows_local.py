"""Type `local`: a warm task beside Aer's own sampler, and how fast a big simulation is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from measure import BIN, Row, children_of_group, in_turns, ratio_row

from qrmi_core import Opening, Payload, TaskStatus, open_resource

_DIRECT = Path(__file__).with_name("direct.py")
_DEADLINE_S = 60.0


def rows(rounds: int) -> list[Row]:
    """Measure."""
    return [
        _warm("GHZ", rounds),
        _warm("non-Clifford", rounds),
        _cancel("SIGTERM", signal.SIGTERM),
        _cancel("kill -9 of qrun", signal.SIGKILL),
    ]


def _warm(circuit: str, rounds: int) -> Row:
    with tempfile.TemporaryDirectory() as state:
        os.environ["QRMI_STATE_DIR"] = state
        direct = subprocess.Popen(
            [sys.executable, str(_DIRECT), circuit], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert direct.stdin is not None
        assert direct.stdout is not None
        payload = Payload.from_bytes("qiskit-primitive", direct.stdout.readline().encode())

        def ask() -> float:
            direct.stdin.write("go\n")
            direct.stdin.flush()
            return float(direct.stdout.readline())

        opening = Opening(name="local", type="local", environment={}, source="the benchmark")
        with open_resource(opening) as resource:

            def task() -> float:
                started = time.perf_counter()
                task_id = resource.task_start(payload, key=str(uuid.uuid4()))
                assert resource.task_wait(task_id, _DEADLINE_S).status is TaskStatus.COMPLETED
                resource.task_result(task_id)
                return time.perf_counter() - started

            for _ in range(3):
                task(), ask()
            ours, theirs = in_turns(rounds * 2, task, ask)
        direct.stdin.close()
        direct.wait()
    what = f"`local`, warm, QPY payload, 4096 shots, 20 qubits, {circuit}: start, wait, result"
    return ratio_row(what, 1.3, ours, theirs, "Aer's SamplerV2")


def _cancel(how: str, number: signal.Signals) -> Row:
    taken = max(_cancelled_s(number) for _ in range(3))
    return Row(
        f"cancel of a 26-qubit simulation by {how}, until nothing of ours runs",
        "<= 1 s",
        f"{taken:.2f} s",
        taken <= 1,
        "the slowest of 3",
    )


def _cancelled_s(number: signal.Signals) -> float:
    marker = f"QRMI_BENCH_MARK={uuid.uuid4()}"
    with tempfile.TemporaryDirectory() as folder:
        circuit = Path(folder) / "dense.qasm"
        circuit.write_text(dense(26))
        name, value = marker.split("=")
        process = subprocess.Popen(
            [str(BIN / "qrun"), "sample", str(circuit)],
            stderr=subprocess.PIPE,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            text=True,
            env={**os.environ, name: value, "QRMI_STATE_DIR": folder},
        )
        assert process.stderr is not None
        _until(lambda: "task.running" in process.stderr.readline())  # type: ignore[union-attr]
        time.sleep(0.5)  # into the simulation
        started = time.perf_counter()
        process.send_signal(number)
        process.wait()
        _until(lambda: not children_of_group(marker))
        return time.perf_counter() - started


def _until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError


def dense(qubits: int) -> str:
    """An OpenQASM program that no simulator can shorten: layers of rotations and entangling gates."""
    lines = ["OPENQASM 3.0;", 'include "stdgates.inc";', f"qubit[{qubits}] q;", f"bit[{qubits}] meas;"]
    for layer in range(12):
        lines += [f"ry({0.1 * layer + 0.37 * qubit + 0.1}) q[{qubit}];" for qubit in range(qubits)]
        lines += [f"cx q[{qubit}], q[{qubit + 1}];" for qubit in range(layer % 2, qubits - 1, 2)]
    return "\n".join([*lines, "meas = measure q;"]) + "\n"
