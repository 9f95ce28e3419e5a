"""The commands `qrmi`, `qrun` and `qrmi_task_runner`.

Nothing but argparse is imported until a command is chosen: help, completion and a plain failure are instant, although
the libraries behind are not.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import sys

TYPE_CHECKING = False  # typing's own costs 2 ms, a tenth of `qrun --help`
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, NoReturn, TextIO

COMMANDS = {
    "resources": ("qrmi_core.cli.resources", "list the resources that you can use"),
    "task": ("qrmi_core.cli.task", "look after a task by its id: status, result, logs, cancel"),
    "result": ("qrmi_core.cli.result", "look at a result: show, plot"),
    "config": ("qrmi_core.cli.config", "check a qrmi_config.json, or print its JSON Schema"),
    "doctor": ("qrmi_core.cli.doctor", "say what is installed, what is wrong and how to mend it"),
}
"""Word -> what it does, and its module with ``configure(parser)``, ``run(args)`` and ``INTERMIXED``: options may stand
between names."""

_USAGE = 2

_out: TextIO | None = None
"""Where standard output goes while a command runs."""


class _Help(argparse.RawDescriptionHelpFormatter):
    """Keeps our line breaks. The width is given, or argparse would import shutil, and with it five compressors."""

    def __init__(self, prog: str) -> None:
        try:
            columns = os.get_terminal_size().columns
        except OSError:
            columns = 100
        super().__init__(prog, width=min(columns, 120) - 2)


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line, as all of ours are."""

    def __init__(self, **facts: Any) -> None:
        super().__init__(allow_abbrev=False, **{"formatter_class": _Help, **facts})

    def error(self, message: str) -> NoReturn:
        from qrmi_core.errors import shown

        self.exit(_USAGE, f"{self.prog}: {shown(message)}. See {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """The command `qrmi`."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "--version"):
        return _front(words)
    module = _module(words[0])
    if module is None:
        known = ", ".join(COMMANDS)
        sys.stderr.write(f"qrmi: there is no command {words[0]!r}. There are: {known}. See qrmi --help\n")
        return _USAGE
    return run_command(f"qrmi {words[0]}", module, words[1:])


def qrun(argv: Sequence[str] | None = None) -> int:
    """The command `qrun`."""
    return run_command("qrun", "qrmi_core.cli.run", list(sys.argv[1:] if argv is None else argv))


def task_runner(argv: Sequence[str] | None = None) -> int:
    """The command `qrmi_task_runner`, the ecosystem's name for `qrun`."""
    return run_command("qrmi_task_runner", "qrmi_core.cli.run_named", list(sys.argv[1:] if argv is None else argv))


def run_command(prog: str, module: str, words: list[str]) -> int:
    """Run one command; the only place where an error of ours ends as one line and an exit status."""
    _reopen()
    try:
        command = importlib.import_module(module)
        parser = Parser(prog=prog)
        command.configure(parser)
        parse = parser.parse_intermixed_args if command.INTERMIXED else parser.parse_args
        args = parse(words)
        with _result_only():
            status: int = command.run(args)
    except Exception as exc:  # noqa: BLE001 - the last door: all is said
        from qrmi_core.errors import QrmiError
        from qrmi_core.redaction import mask

        if not isinstance(exc, QrmiError):
            import traceback

            _say(mask(traceback.format_exc()))
            _say(f"{prog}: that is a fault of the program. Report it, with the lines above\n")
            return 1
        _say("".join(f"{prog}: {line}\n" for line in mask(str(exc)).split("\n")))
        return exc.exit_status
    except KeyboardInterrupt:
        _say(f"{prog}: interrupted\n")
        return 130
    finally:
        _say("")
    return status


@contextlib.contextmanager
def _result_only() -> Iterator[None]:
    """Keep standard output for the result: what plugins, libraries and their children print goes to standard error.

    That holds until the process ends: what they print then is no result either.
    """
    global _out  # noqa: PLW0603 - there is one standard output
    outer = sys.stdout
    if outer is sys.__stdout__ and isinstance(outer, io.TextIOWrapper):
        if _out is None:
            _out = open(os.dup(1), "w", encoding=outer.encoding)  # noqa: SIM115 - as long as the process
            os.dup2(2, 1)
        yield
    else:  # somebody runs us in a process of their own
        _out, sys.stdout = outer, sys.stderr
        try:
            yield
        finally:
            _out, sys.stdout = None, outer


def write(content: bytes) -> None:
    """Write *content* to standard output.

    Raises:
        OSError: it cannot be written; what is left of it is given up.
    """
    out: Any = _out or sys.stdout
    try:
        out.buffer.write(content)
        out.flush()
    except OSError:  # or the interpreter would try again at its end
        with contextlib.suppress(OSError):
            _silence(out.fileno())
        raise


def show(text: str) -> None:
    """Write *text* to standard output; where that cannot be done, end the command."""
    encoding = getattr(_out or sys.stdout, "encoding", None) or "utf-8"
    try:
        write(text.encode(encoding, "replace"))  # bars of blocks, on a terminal of 8-bit letters
    except BrokenPipeError:  # whoever read it has had enough
        sys.exit(128 + 13)
    except OSError as exc:
        _say(f"standard output cannot be written: {exc.strerror}. Redirect it elsewhere\n")
        sys.exit(1)


def _say(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:  # nobody can be told, and the exit status must stay the true one
        _silence(2)


def _silence(number: int) -> None:
    """Let the interpreter's last flush of standard output or error succeed: a failure would change the exit status."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def _reopen() -> None:
    """Open what the caller closed: or the next file that anybody opens would be taken for standard output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - as long as the process
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _front(words: list[str]) -> int:
    if words[:1] == ["--version"]:
        from importlib.metadata import version

        print(f"qrmi-core {version('qrmi-core')}")
        return 0
    parser = Parser(
        prog="qrmi",
        usage="qrmi COMMAND ...",
        description="Quantum processors for the jobs of an HPC centre. To run something: qrun --help.",
        epilog="commands:\n" + "\n".join(f"  {word:<12}{text}" for word, (_, text) in COMMANDS.items()),
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.print_help(sys.stdout if words else sys.stderr)
    return 0 if words else _USAGE


def _module(word: str) -> str | None:
    if word in COMMANDS:
        return COMMANDS[word][0]
    from importlib.metadata import entry_points

    for point in entry_points(group="qrmi.commands", name=word):
        return point.module
    return None
