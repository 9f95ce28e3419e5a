"""`qrun`: run one payload on one resource, and end with a status that tells the truth."""

from __future__ import annotations

import argparse

from qrmi_core.cli import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qrmi_core.circuit import Mode
    from qrmi_core.cli.output import Output
    from qrmi_core.host import Opening
    from qrmi_core.payload import Payload
    from qrmi_core.runner import Listener

_ABOUT = """\
Run a payload on a quantum processor, or on a simulator, and print its result.

PAYLOAD is a payload file, - for standard input, a circuit (.qasm of version 2 or 3, .qpy), or a Pulser sequence.
OUTPUT gets the result, as a whole or not at all; %j in it is the job's id, %t the task's rank. Without OUTPUT the
result goes to standard output, which carries nothing else.
"""
_STATUS = """\
examples:
  qrun sample bell.qasm --shots 1000
  qrun estimate ansatz.qasm --observable "0.5*ZZ - 0.25*XI" --param theta=0.3
  qrun --qpu ibm_fez payload.json result-%j.json

exit status: 0 completed; 1 the task failed, or its result could not be written where asked; 2 usage, payload,
configuration or a missing backend (nothing was submitted); 3 the resource is unavailable; 4 not authorised;
124 time limit; 128+n ended by signal n, after cancelling the task
"""
_MODES: dict[str, Mode] = {"sample": "sampler", "estimate": "estimator"}

INTERMIXED = True
_LONGEST_KEY = 256
_LONGEST_S = 1e9
"""Thirty years; the system's clocks hold no more than ten times that."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.usage = "qrun [sample|estimate] [options] PAYLOAD [OUTPUT]"
    parser.description, parser.epilog = _ABOUT, _STATUS
    parser.add_argument("words", nargs="+", metavar="PAYLOAD", help=argparse.SUPPRESS)
    add_common(parser)
    parser.add_argument("--qpu", metavar="NAME", help="the resource; needed where there are several")
    circuit = parser.add_argument_group("for a bare circuit or sequence")
    circuit.add_argument("--shots", type=int, metavar="N", help="how often to run it")
    circuit.add_argument(
        "--observable",
        action="append",
        default=[],
        metavar="SUM",
        help="what to estimate, such as 0.5*ZZ-0.25*XI; repeatable",
    )
    circuit.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="[NAME=]VALUE",
        help="a value for an input of the circuit; repeatable",
    )
    circuit.add_argument(
        "--var",
        action="append",
        default=[],
        metavar="NAME=VALUE[,...]",
        help="a value for a variable of a Pulser sequence; repeatable",
    )


def add_common(parser: argparse.ArgumentParser) -> None:
    """The options that `qrmi_task_runner` has too."""
    parser.add_argument("--config", metavar="FILE", help="take the resource from this qrmi_config.json")
    parser.add_argument("--kind", metavar="KIND", help="the payload's kind, where its shape does not tell")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="cancel the task after so long")
    parser.add_argument("--key", help="the same key never submits a second task: its first result is returned")
    parser.add_argument(
        "--each-task", action="store_true", help="in a step of several tasks let each one submit; OUTPUT needs %%t"
    )
    parser.add_argument("--no-wait", action="store_true", help="submit, print the task's id, and end; see qrmi task")
    parser.add_argument("--dry-run", action="store_true", help="check everything, say what would run, submit nothing")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from qrmi_core.errors import ConfigError

    words: list[str] = args.words
    mode = _MODES[words.pop(0)] if len(words) > 1 and words[0] in _MODES else None
    if len(words) > 2:
        raise ConfigError.one("qrun", "", f"{len(words)} names were given", "Give one PAYLOAD and at most one OUTPUT")
    return run_payload(args, payload=words[0], output=words[1] if len(words) == 2 else None, mode=mode)


def run_payload(args: argparse.Namespace, *, payload: str, output: str | None, mode: Mode | None = None) -> int:
    """What `qrun` and `qrmi_task_runner` share."""
    from qrmi_core.cli.progress import progress

    with progress("qrun") as listener:
        listener.event("payload.reading", payload=payload)  # before any library: the user sees that we are here

        from qrmi_core import intake, job, log
        from qrmi_core.cli.output import Output
        from qrmi_core.errors import ConfigError

        log.configure()
        if args.no_wait and output is not None:
            raise ConfigError.one("--no-wait", "", "leaves no result to write", "Leave OUTPUT out: qrmi task result")
        target = Output.of(output, each_task=args.each_task)
        if target is None:
            return 0
        if args.timeout is not None and not 0 < args.timeout <= _LONGEST_S:
            raise ConfigError.one(
                "--timeout", "", f"is {args.timeout:g}", f"Give a number of seconds above 0, up to {_LONGEST_S:.0e}"
            )
        if args.key is not None and not (args.key.isprintable() and 0 < len(args.key) <= _LONGEST_KEY):
            raise ConfigError.one(
                "--key", "", f"is no text of 1 to {_LONGEST_KEY} characters", "Give a name, or a uuid"
            )
        options = intake.Options(
            mode=mode,
            kind=args.kind,
            shots=getattr(args, "shots", None),
            observables=getattr(args, "observable", ()),
            params=getattr(args, "param", ()),
            variables=getattr(args, "var", ()),
        )
        opening = job.find(args.qpu, config_path=args.config)
        what = intake.read(payload, options)
        target.check(payload)
        if args.dry_run:
            return _plan(opening, what)
        if args.no_wait:
            return _submit(args, opening, what, listener)
        return _execute(args, opening, what, target, listener)


def _execute(args: argparse.Namespace, opening: Opening, payload: Payload, output: Output, listener: Listener) -> int:
    import errno
    import signal

    from qrmi_core.errors import ResultNotSaved, TaskCancelled
    from qrmi_core.host import open_resource
    from qrmi_core.runner import TaskRunner

    received: list[int] = []
    ending = [signal.SIGTERM, signal.SIGINT]  # not SIGCONT: alone it means that the job was resumed
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        ending.append(signal.SIGHUP)
    with open_resource(opening) as resource:
        runner = TaskRunner(resource, listener)

        def told(number: int, _: object) -> None:
            received.append(number)
            if number == signal.SIGINT:
                signal.signal(number, signal.SIG_DFL)  # who presses Ctrl-C twice does not want to wait for a service
            runner.cancel(f"by signal {signal.Signals(number).name}")

        for number in ending:
            signal.signal(number, told)
        try:
            content = runner.run(payload, key=args.key, timeout_s=args.timeout)
        except TaskCancelled as exc:
            if received:
                exc.exit_status = 128 + received[0]
            raise

        def ended(number: int, _: object) -> None:
            received.append(number)
            raise InterruptedError(errno.EINTR, f"ended by signal {signal.Signals(number).name}")

        for number in ending:  # writing may wait for a reader: give up, and keep the result
            signal.signal(number, ended)
        try:
            output.save(content, runner.task_id or "result")
        except ResultNotSaved as exc:
            if isinstance(exc.__cause__, InterruptedError):
                exc.exit_status = 128 + received[-1]
            raise
        finally:
            for number in ending:
                signal.signal(number, signal.SIG_DFL)
    listener.event("result.written", output=output.name, size_bytes=len(content))
    return 0


def _submit(args: argparse.Namespace, opening: Opening, payload: Payload, listener: Listener) -> int:
    from qrmi_core.errors import ConfigError
    from qrmi_core.host import open_resource
    from qrmi_core.runner import TaskRunner

    if opening.acquisition_token is None:
        problem = f"needs a lease that outlives qrun, and {opening.name} has none"
        raise ConfigError.one("--no-wait", "", problem, "Use it in a job whose resource is behind the broker, or wait")
    with open_resource(opening) as resource:
        task_id = TaskRunner(resource, listener).submit(payload, key=args.key)
    show(f"{task_id}\n")
    return 0


def _plan(opening: Opening, payload: Payload) -> int:
    import textwrap

    from qrmi_core.errors import NotOffered, shown
    from qrmi_core.host import open_resource
    from qrmi_core.models import TaskPlan

    with open_resource(opening) as resource:
        try:
            plan = resource.task_plan(payload)
        except NotOffered:
            plan = TaskPlan(kind=payload.kind, notes=("its backend tells no more before it runs",))
    memory = None if plan.memory_bytes is None else f"{plan.memory_bytes:,} bytes"
    if memory and plan.memory_allowed_bytes is not None:
        memory += f" of {plan.memory_allowed_bytes:,} allowed"
    facts = {
        "resource": f"{opening.name} (type {opening.type})",
        "kind": plan.kind,
        "payload": f"{payload.size_bytes:,} bytes from {shown(payload.source)}",
        "qubits": plan.qubits,
        "shots": plan.shots,
        "method": plan.method,
        "memory": memory,
    }
    lines = [f"{name:<10}{value}" for name, value in facts.items() if value is not None]
    lines += [
        textwrap.fill(note, 100, initial_indent=f"{'note':<10}", subsequent_indent=" " * 10) for note in plan.notes
    ]
    show("\n".join(lines) + "\n")
    return 0
