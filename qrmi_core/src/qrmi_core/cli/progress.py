"""What the user sees while a task runs, on standard error: one live line on a terminal, JSON lines otherwise."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Any

from qrmi_core.errors import shown

_BEAT_S = 0.2


def progress(prog: str) -> LiveLine | JsonLines:
    """What suits standard error."""
    return LiveLine(prog) if sys.stderr.isatty() else JsonLines()


class JsonLines:
    """Each event as one line of JSON."""

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def event(self, name: str, **facts: Any) -> None:
        """Write it; facts that are None are left out."""
        if name == "payload.reading":
            return  # it is there for people, before the library that writes the others is imported
        from qrmi_core import log

        log.logger().info(name, **{key: value for key, value in facts.items() if value is not None})


class LiveLine:
    """One line that is painted again and again: what is happening, and for how long."""

    def __init__(self, prog: str) -> None:
        self._prog = prog
        self._text = "starting"
        self._resource = ""
        self._started = time.monotonic()
        self._paint_lock = threading.Lock()
        self._over = threading.Event()
        self._painter = threading.Thread(target=self._beat, name="qrmi-live-line", daemon=True)

    def __enter__(self) -> LiveLine:
        self._painter.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._painter.join()
        self._write("\r\x1b[K")

    def event(self, name: str, **facts: Any) -> None:
        """Say it on the line; the end of the task leaves a line of its own."""
        if name == "task.submitting":
            self._resource = f"{facts['resource']}: "
        if name == "result.written":
            elapsed = time.monotonic() - self._started
            line = f"{self._prog}: {self._resource}completed in {elapsed:.1f} s, result in {facts['output']}"
            self._write(f"\r\x1b[K{shown(line)}\n")
            return
        details = [str(facts["payload"])] if "payload" in facts else []
        if facts.get("queue_position") is not None:
            details.append(f"place {facts['queue_position'] + 1} in the queue")
        if facts.get("progress") is not None:
            details.append(f"{facts['progress']:.0%}")
        details += [str(facts[key]) for key in ("reason", "why", "error") if facts.get(key)]
        self._text = " ".join([name.rpartition(".")[2], *details])
        self._paint()

    def _beat(self) -> None:
        self._paint()
        while not self._over.wait(_BEAT_S):
            self._paint()

    def _paint(self) -> None:
        line = shown(f"{self._prog}: {self._resource}{self._text}, {time.monotonic() - self._started:.1f} s")
        self._write("\r\x1b[K" + line[: shutil.get_terminal_size().columns - 1])

    def _write(self, text: str) -> None:
        with self._paint_lock, suppress(OSError):  # a terminal that was closed must not end the task
            sys.stderr.write(text)
            sys.stderr.flush()
