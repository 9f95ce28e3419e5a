"""`qrmi task status|result|logs|cancel`: a task that was submitted before, by its id."""

from __future__ import annotations

import argparse
import json

from qrmi_core.cli import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qrmi_core.backend import QuantumResource

INTERMIXED = False


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = (
        "Look after a task by its id, as qrun --no-wait or the events of qrun name it. A task behind a broker is found "
        "through the broker's socket, also after the end of its job; another one needs --qpu."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="status|result|logs|cancel")
    for verb, about in (
        ("status", "print its state"),
        ("result", "print its result, or write it to OUTPUT"),
        ("logs", "print what the vendor logged"),
        ("cancel", "ask for its end; nothing happens to one that has ended"),
    ):
        one = verbs.add_parser(verb, help=about)
        one.add_argument("id", metavar="ID", help="of the task")
        if verb == "result":
            one.add_argument("output", nargs="?", metavar="OUTPUT", help="where it goes; standard output by default")
        if verb == "status":
            one.add_argument("--json", action="store_true", help="as JSON")
        one.add_argument("--qpu", metavar="NAME", help="the resource that has it")
        one.add_argument("--config", metavar="FILE", help="take the resource from this qrmi_config.json")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from qrmi_core.cli.output import Output
    from qrmi_core.errors import TaskNotFound

    output = Output.of(getattr(args, "output", None), each_task=False)
    if output is None:
        return 0
    resource, unasked = _resource(args)
    try:
        if args.verb == "status":
            _show_state(resource, args.id, as_json=args.json)
        elif args.verb == "result":
            output.check(remedy="Choose another OUTPUT. The result is still where it was")
            output.save(resource.task_result(args.id), args.id)
        elif args.verb == "logs":
            show(resource.task_logs(args.id))
        else:
            resource.task_stop(args.id)
    except TaskNotFound as exc:
        raise TaskNotFound(exc.resource, exc.task_id, exc.detail or unasked) from exc
    finally:
        resource.close()
    return 0


def _show_state(resource: QuantumResource, task_id: str, *, as_json: bool) -> None:
    import attrs

    from qrmi_core.errors import shown

    state = resource.task_status(task_id)
    if as_json:
        show(json.dumps(attrs.asdict(state)) + "\n")
        return
    facts = [
        None if state.queue_position is None else f"{state.queue_position} before it",
        None if state.progress is None else f"{state.progress:.0%}",
        state.reason,
    ]
    show(" ".join([state.status.value, *(f"({shown(fact)})" for fact in facts if fact)]) + "\n")


def _resource(args: argparse.Namespace) -> tuple[QuantumResource, str]:
    """The resource that was named; else the broker; else the only resource there is. And who could not be asked."""
    from qrmi_core import client, job, protocol, variables
    from qrmi_core.host import open_resource

    unasked = ""
    if args.qpu is None and args.config is None:
        if socket_path := client.socket_here():
            return client.tasks_at(socket_path), ""
        if not job.available():
            return client.tasks_at(protocol.SOCKET), ""  # there is nobody else: who asks hears that it is not there
        unasked = f"and there is no broker at {protocol.SOCKET}; {variables.BROKER_SOCKET} names another socket"
    return open_resource(job.find(args.qpu, config_path=args.config)), unasked
