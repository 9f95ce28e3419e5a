"""How long a command takes to start: help at once, and a Bell circuit hardly later than a bare Aer script."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from measure import BIN, PEER, Row, command, in_turns, peer_bin, ratio_row

BELL = Path(__file__).parents[2] / "examples" / "bell.qasm"
AER_SCRIPT = f"""
from qiskit import qasm3
from qiskit_aer.primitives import SamplerV2
circuit = qasm3.loads(open({str(BELL)!r}).read())
print(SamplerV2().run([circuit], shots=1000).result()[0].data.meas.get_counts())
"""


def rows(rounds: int) -> list[Row]:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        return [*_help(rounds, folder), _cold(max(5, rounds // 2), folder)]


def _help(rounds: int, folder: str) -> list[Row]:
    peer = peer_bin(folder)
    nothing, qrmi, qrun, theirs = in_turns(
        rounds * 2,
        command(sys.executable, "-c", "pass", cwd=folder),
        command(str(BIN / "qrmi"), "--help", cwd=folder),
        command(str(BIN / "qrun"), "--help", cwd=folder),
        command(str(peer / "task_runner"), "--help", cwd=folder),
    )
    (peer_nothing,) = in_turns(rounds, command(str(peer / "python"), "-c", "pass", cwd=folder))
    beside = "`python -c pass`"
    found = [ratio_row("`qrmi --help`", 3, qrmi, nothing, beside), ratio_row("`qrun --help`", 3, qrun, nothing, beside)]
    note = f"{theirs / peer_nothing:.2f}x"
    return [
        *found,
        Row(f"the peer's `task_runner --help` ({PEER})", "for comparison", note, True, f"{theirs * 1000:.1f} ms"),
    ]


def _cold(rounds: int, folder: str) -> Row:
    aer, qrun = in_turns(
        rounds,
        command(sys.executable, "-c", AER_SCRIPT, cwd=folder),
        command(str(BIN / "qrun"), "sample", str(BELL), "--shots", "1000", cwd=folder),
    )
    return ratio_row("`qrun` of a Bell circuit, cold", 1.25, qrun, aer, "the same as an Aer script, cold")
