"""Where a result goes: a file, written as a whole or not at all, or standard output. It is never lost."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from qrmi_core.cli import write
from qrmi_core.errors import ConfigError, QrmiError, ResultNotSaved
from qrmi_core.host import state_root

_STDOUT = "standard output"
_DESCRIPTOR = re.compile(r"(?:/dev/fd|/proc/(?:self|thread-self|\d+)/fd)/(\d+)")
_STANDARD = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}


@frozen
class Output:
    """A file, or standard output where there is none."""

    path: Path | None
    descriptor: int | None = None
    """Of an open file that *path* stands for: it must be added to, not replaced."""

    @classmethod
    def of(cls, text: str | None, *, each_task: bool, environ: Mapping[str, str] = os.environ) -> Output | None:
        """Make it of what the user wrote; None if this process is not the one of its step that submits.

        Raises:
            ConfigError: an unknown ``%``, or several tasks that would write one file.
        """
        rank = environ.get("SLURM_PROCID", "0")
        tasks = environ.get("SLURM_STEP_NUM_TASKS") or environ.get("SLURM_NTASKS") or "1"
        if tasks != "1" and each_task and "%t" not in (text or ""):
            raise ConfigError.one(
                "OUTPUT",
                "",
                f"is {'one file' if text else 'not given'} for {tasks} tasks",
                "With --each-task put %t into its name",
            )
        if not each_task and rank != "0":
            sys.stderr.write(f"qrun: task {rank} of {tasks}: task 0 submits for all of them; see --each-task\n")
            return None
        if text is None:
            return cls(None)
        values = {"%j": environ.get("SLURM_JOB_ID", "0"), "%t": rank, "%%": "%"}

        def fill(match: re.Match[str]) -> str:
            if match.group() not in values:
                raise ConfigError.one("OUTPUT", "", f"{text!r} holds {match.group()!r}", "There are %j, %t and %%")
            return values[match.group()]

        name = re.sub(r"%.?", fill, text)
        descriptor = _descriptor(name)
        return cls(None) if descriptor == 1 else cls(Path(name), descriptor)

    @property
    def name(self) -> str:
        """For messages."""
        return _STDOUT if self.path is None else str(self.path)

    def check(self, payload: str = "-", *, remedy: str = "Choose another OUTPUT. Nothing was submitted") -> None:
        """Before anything is done: can it be written, and is it not the file of the *payload*?

        Raises:
            ConfigError: it cannot.
        """
        with suppress(OSError):
            if self.path is not None and payload != "-" and os.path.samefile(self.path, payload):
                raise ConfigError.one(self.name, "", "is the payload itself", "Choose another OUTPUT")
        cause = _obstacle(self.path) if self.descriptor is None else _unwritable(self.descriptor)
        if cause:
            raise ConfigError.one(self.name, "", cause, remedy)

    def save(self, content: bytes, task_id: str) -> None:
        """Write *content*.

        Raises:
            ResultNotSaved: it could not be written; it is kept elsewhere, and the message says where.
        """
        try:
            if self.path is None:
                write(content if content.endswith(b"\n") else content + b"\n")
            elif self.descriptor is not None:
                with open(self.descriptor, "wb", closefd=False) as file:
                    file.write(content)
            else:
                _write(self.path, content)
        except OSError as exc:
            raise ResultNotSaved(self.name, exc.strerror or str(exc), _keep(content, task_id)) from exc


def _obstacle(path: Path | None) -> str | None:
    """Why nothing could be written there, as far as that can be told without writing."""
    if path is None:
        return "is closed" if sys.__stdout__ is None else None
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mode = 0
    except OSError as exc:
        return f"cannot be written: {exc.strerror}"
    if stat.S_ISDIR(mode):
        return "is a folder"
    try:
        if mode and not os.access(path, os.W_OK):
            return "cannot be written: its mode forbids it"
        if stat.S_ISREG(mode) or not mode:
            with tempfile.TemporaryFile(dir=_real(path).parent):
                pass
    except OSError as exc:
        return f"cannot be written: {exc.strerror}"
    return None


def _descriptor(name: str) -> int | None:
    """The number of the open file that *name* stands for, also by way of symbolic links."""
    for _ in range(40):
        folder, last = os.path.split(os.path.abspath(name))
        name = os.path.join(folder, last)
        if name in _STANDARD:
            return _STANDARD[name]
        if match := _DESCRIPTOR.fullmatch(name) or _DESCRIPTOR.fullmatch(os.path.join(os.path.realpath(folder), last)):
            return int(match[1])
        try:
            name = os.path.join(folder, os.readlink(name))
        except OSError:
            return None
    return None


def _unwritable(descriptor: int) -> str | None:
    try:
        access = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
    except OSError as exc:
        return f"cannot be written: {exc.strerror}"
    return "cannot be written: it is open for reading only" if access == os.O_RDONLY else None


def _real(path: Path) -> Path:
    """Where a symbolic link leads: the link stays, and its target is replaced."""
    return Path(os.path.realpath(path))


def _write(path: Path, content: bytes) -> None:
    """Put *content* at *path* as a whole; into it where it is a device or a pipe, which must not be replaced."""
    path = _real(path)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        mode = stat.S_IFREG | 0o666 & ~mask  # as readable as any other new file
    if stat.S_ISREG(mode):
        _replace(path, content, stat.S_IMODE(mode))
    else:
        with path.open("wb") as file:
            file.write(content)


def _replace(path: Path, content: bytes, mode: int) -> None:
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=".qrmi-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(part).chmod(mode)
        Path(part).replace(path)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise


def _keep(content: bytes, task_id: str) -> str:
    """Keep a result that its OUTPUT does not take. Returns where it is."""
    folders = [Path(tempfile.gettempdir())]
    with suppress(QrmiError):
        folders.insert(0, state_root() / "results")
    for folder in folders:
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            kept = folder / f"result-{re.sub('[^A-Za-z0-9_.-]', '_', task_id)}.json"
            _replace(kept, content, 0o600)
            return str(kept)
    return f"the resource alone, as task {task_id}"
