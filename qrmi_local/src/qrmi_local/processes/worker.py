"""The process that simulates: checks a payload, runs it, writes its result; and then waits for the next one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import attrs

from qrmi_core.errors import ConfigError, PayloadError
from qrmi_core.payload import parse_json
from qrmi_local import limits
from qrmi_local.processes.channel import Message, end_with_parent, receive, send
from qrmi_local.processes.folder import write_atomically
from qrmi_local.processes.lean import import_pulser_lean
from qrmi_local.settings import Settings


def work(channel: socket.socket, parent_pid: int) -> NoReturn:
    """Check and run what comes, until the channel closes."""
    end_with_parent(parent_pid)
    signal.set_wakeup_fd(-1)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # if memory runs out, it is us, not the user's program
    while (message := receive(channel)) is not None:
        folder = Path(message["folder"])
        with (folder / "log").open("ab", buffering=0) as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        try:
            _work_on(channel, message, folder)
        except BaseException as exc:  # noqa: BLE001 - also what Rust extensions raise; the next task must find us well
            send(channel, **{"is": "failed", "reason": _one_line(exc)})
    os._exit(0)


def _work_on(channel: socket.socket, message: Message, folder: Path) -> None:
    started = time.monotonic()
    settings = Settings(**message["settings"])
    try:
        document = parse_json((folder / "payload").read_bytes(), message["source"])
        prepared = simulator(message["kind"]).prepare(document, message["source"], settings)
    except PayloadError as exc:
        send(channel, **{"is": "refused", "error": exc.args})
        return
    except ConfigError as exc:  # a setting that only the libraries could judge
        send(channel, **{"is": "refused", "error": [exc.source, *exc.faults[0]]})
        return
    send(channel, **{"is": "accepted", "plan": attrs.asdict(prepared.plan)})
    if message["do"] == "plan":
        return
    with limits.bounded_memory(prepared.plan.memory_allowed_bytes):
        content = prepared.run()
    try:
        write_atomically(folder / "result", content)
    except OSError as exc:
        reason = f"its result cannot be stored in {folder}: {exc.strerror}. Free space there, or set QRMI_STATE_DIR"
        send(channel, **{"is": "failed", "reason": reason})
        return
    plan = prepared.plan
    sys.stderr.write(
        f"{plan.kind}: {plan.qubits} qubits, {plan.shots} shots, method {plan.method}, "
        f"{plan.memory_bytes} bytes planned, {time.monotonic() - started:.3f} s\n"
    )
    sys.stderr.flush()
    send(channel, **{"is": "completed"})


def simulator(kind: str) -> Any:
    """The module that prepares payloads of *kind*; imported here because each costs a second."""
    if kind == "pulser":
        import_pulser_lean()
        from qrmi_local import pulses

        return pulses
    from qrmi_local import gates

    return gates


def _one_line(exc: BaseException) -> str:
    text = " ".join(str(exc).split())[:500]
    if isinstance(exc, MemoryError):
        text = text or "memory ran out"
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__
