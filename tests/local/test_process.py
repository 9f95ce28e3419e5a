"""The simulator's process model: tasks survive, stop, queue and fail as processes do."""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from functools import partial
from pathlib import Path

import pytest

from qrmi_core import (
    Opening,
    Payload,
    PayloadError,
    TaskCancelled,
    TaskNotReady,
    TaskState,
    TaskStatus,
    open_resource,
)
from qrmi_local.processes.engine import Engine, Entry
from qrmi_local.processes.folder import Owner, TaskFolder, outdated, task_id_of
from qrmi_local.processes.zygote import Zygote
from qrmi_local.settings import Settings
from qrmi_testkit.calls import within

OPENING = Opening(name="local", type="local", environment={}, source="the test")


def sampler(program: str, shots: int = 10) -> Payload:
    """A payload of one circuit."""
    return Payload.from_json(
        "qiskit-primitive",
        {
            "program_id": "sampler",
            "parameters": {"pubs": [[program, None, shots]], "version": 2, "support_qiskit": False},
        },
    )


def dense(qubits: int, layers: int = 12) -> str:
    """A circuit that takes a statevector and time."""
    lines = ["OPENQASM 3.0;", 'include "stdgates.inc";', f"qubit[{qubits}] q;", f"bit[{qubits}] meas;"]
    for layer in range(layers):
        lines += [f"ry({0.1 * layer + 0.37 * qubit + 0.1}) q[{qubit}];" for qubit in range(qubits)]
        lines += [f"cx q[{qubit}], q[{qubit + 1}];" for qubit in range(layer % 2, qubits - 1, 2)]
    return "\n".join([*lines, "meas = measure q;"])


QUICK = sampler(dense(3))
SLOW = sampler(dense(26))


def key() -> str:
    """A new one."""
    return str(uuid.uuid4())


def children(pid: int) -> list[int]:
    """The live processes below *pid*."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                state, parent, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if state != "Z":
                parents.setdefault(int(parent), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        below = parents.get(todo.pop(), [])
        found += below
        todo += below
    return found


def until(happened, what: str, deadline_s: float = 20.0) -> None:
    """Wait for *happened*, and fail loudly if it does not."""
    ends = time.monotonic() + deadline_s
    while not happened():
        assert time.monotonic() < ends, what
        time.sleep(0.01)


@pytest.fixture(scope="module")
def resource(tmp_path_factory):
    """One resource for the module: its zygote imports the simulators once."""
    os.environ["QRMI_STATE_DIR"] = str(tmp_path_factory.mktemp("local-state"))
    with open_resource(OPENING) as opened:
        yield opened


@pytest.fixture(autouse=True)
def own_state():
    """Overrides the fixture that gives each test a state folder: here the module has one."""


def test_a_key_belongs_to_one_payload(resource):
    """A script that reuses a key would take an old result for a new one."""
    one = key()
    task = resource.task_start(QUICK, key=one)
    with pytest.raises(PayloadError, match="under this key before"):
        resource.task_start(SLOW, key=one)

    assert task == resource.task_start(QUICK, key=one)


def test_the_program_itself_never_imports_a_simulator(tmp_path):
    """The user's program would pay two seconds and hundreds of megabytes for libraries it does not call."""
    program = """
import sys
from qrmi_core import Opening, Payload, open_resource
with open_resource(Opening(name="local", type="local", environment={}, source="test")) as resource:
    payload = Payload.from_bytes("qiskit-primitive", sys.stdin.buffer.read())
    resource.task_wait(resource.task_start(payload, key="k"), 60)
print([name for name in ("numpy", "qiskit", "qiskit_aer", "pulser") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=QUICK.read(),
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "QRMI_STATE_DIR": str(tmp_path)},
        check=True,
    )

    assert b"[]\n" == done.stdout


def test_a_second_task_queues_and_both_complete(resource):
    """A second task would be lost, or run beside the first and take its memory."""
    first = resource.task_start(sampler(dense(22)), key=key())
    second = resource.task_start(QUICK, key=key())
    third = resource.task_start(QUICK, key=key())
    waiting = resource.task_status(third)

    assert TaskStatus.QUEUED == waiting.status
    assert 1 == waiting.queue_position
    assert [TaskStatus.COMPLETED] * 3 == [resource.task_wait(task, 60).status for task in (first, second, third)]


def test_a_bad_payload_is_refused_also_while_the_simulator_is_busy(resource):
    """What can never run would be accepted, and fail much later."""
    busy = resource.task_start(SLOW, key=key())
    with pytest.raises(PayloadError, match="nosuchgate"):
        resource.task_start(
            sampler('OPENQASM 3.0; include "stdgates.inc"; qubit q; bit c; nosuchgate q; c=measure q;'), key=key()
        )
    assert TaskStatus.RUNNING == resource.task_status(busy).status
    resource.task_stop(busy)

    assert TaskStatus.CANCELLED == resource.task_status(busy).status


def test_a_refused_payload_leaves_nothing_behind(resource):
    """A second try with the same key would find a task that never existed."""
    one = key()
    with pytest.raises(PayloadError):
        resource.task_start(sampler("OPENQASM 3.0; nonsense"), key=one)

    assert resource.find_task(one) is None
    assert TaskStatus.COMPLETED == resource.task_wait(resource.task_start(QUICK, key=one), 60).status


def test_a_queued_task_can_be_stopped_and_the_others_go_on(resource):
    """Stopping one task would hold up, or end, the others."""
    running = resource.task_start(SLOW, key=key())
    queued = resource.task_start(QUICK, key=key())
    last = resource.task_start(QUICK, key=key())
    resource.task_stop(queued)

    assert TaskStatus.CANCELLED == resource.task_status(queued).status
    assert TaskStatus.RUNNING == resource.task_status(running).status
    resource.task_stop(running)
    assert TaskStatus.COMPLETED == resource.task_wait(last, 60).status


def test_a_stopped_simulation_is_gone_at_once_and_the_next_task_runs_soon(resource):
    """Cancelling would cost the user the rest of the simulation, or a new start of the simulator."""
    task = resource.task_start(SLOW, key=key())
    started = time.monotonic()
    resource.task_stop(task)
    resource.task_wait(resource.task_start(QUICK, key=key()), 60)

    assert time.monotonic() - started < 1.0
    with pytest.raises(TaskCancelled):
        resource.task_result(task)


def test_a_killed_worker_fails_its_task_and_the_next_one_runs(resource):
    """One task that takes too much memory would end all that follow."""
    task = resource.task_start(SLOW, key=key())
    with pytest.raises(TaskNotReady):
        resource.task_result(task)
    until(lambda: len(children(os.getpid())) > 1, "the worker")
    os.kill(children(os.getpid())[-1], signal.SIGKILL)
    state = resource.task_wait(task, 10)

    assert TaskStatus.FAILED == state.status
    assert "killed by signal 9" in (state.reason or "")
    assert TaskStatus.COMPLETED == resource.task_wait(resource.task_start(QUICK, key=key()), 60).status


def test_another_process_can_follow_and_stop_a_running_task(resource):
    """A task could be stopped by nobody but the program that started it."""
    task = resource.task_start(SLOW, key=key())
    program = f"""
from qrmi_core import Opening, open_resource
with open_resource(Opening(name="local", type="local", environment={{}}, source="test")) as resource:
    print(resource.task_status({task!r}).status.value)
    resource.task_stop({task!r})
    print(resource.task_wait({task!r}, 10).status.value)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert ["RUNNING", "CANCELLED"] == done.stdout.split()
    assert TaskStatus.CANCELLED == resource.task_status(task).status


def test_a_task_whose_program_was_killed_is_cancelled_and_says_so(tmp_path):
    """A task that nobody works on would be running for ever."""
    program = """
import sys, time
from qrmi_core import Opening, Payload, open_resource
resource = open_resource(Opening(name="local", type="local", environment={}, source="test"))
print(resource.task_start(Payload.from_bytes("qiskit-primitive", sys.stdin.buffer.read()), key="k"), flush=True)
time.sleep(60)
"""
    environment = {**os.environ, "QRMI_STATE_DIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(SLOW.read())
    process.stdin.close()
    task = process.stdout.readline().decode().strip()
    below = children(process.pid)
    process.kill()
    process.wait()
    until(lambda: not any(Path(f"/proc/{pid}").exists() and _runs(pid) for pid in below), "the end of the simulator")
    state = json.loads(
        subprocess.run(
            [
                sys.executable,
                "-c",
                f"""
import json
from qrmi_core import Opening, open_resource
state = open_resource(Opening(name="local", type="local", environment={{}}, source="test")).task_status({task!r})
print(json.dumps([state.status.value, state.reason]))
""",
            ],
            capture_output=True,
            env=environment,
            check=True,
        ).stdout
    )

    assert len(below) >= 2
    assert ["CANCELLED", "the program that started it ended before the task did"] == state


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_forked_program_has_a_simulator_of_its_own(resource):
    """Parent and child would read one another's answers from one socket."""
    assert TaskStatus.COMPLETED == resource.task_wait(resource.task_start(QUICK, key=key()), 60).status
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            state = resource.task_wait(resource.task_start(QUICK, key=key()), 60)
            os.write(writing, state.status.value.encode())
            resource.close()
        finally:
            os._exit(0)
    os.close(writing)
    said = os.read(reading, 100)
    os.close(reading)
    os.waitpid(pid, 0)

    assert b"COMPLETED" == said
    assert TaskStatus.COMPLETED == resource.task_wait(resource.task_start(QUICK, key=key()), 60).status


def test_a_thread_that_ends_takes_no_simulation_with_it(resource):
    """A pool that retires the thread which started the first task would kill the simulator."""
    with open_resource(OPENING) as opened:
        started: list[str] = []
        thread = threading.Thread(target=lambda: started.append(opened.task_start(sampler(dense(22)), key=key())))
        thread.start()
        thread.join()

        assert TaskStatus.COMPLETED == opened.task_wait(started[0], 60).status


def test_close_ends_every_process_and_cancels_what_runs():
    """A closed resource would leave processes, or tasks that claim to run."""
    opened = open_resource(OPENING)
    task = opened.task_start(SLOW, key=key())
    until(lambda: len(children(os.getpid())) > 1, "the worker")
    before = children(os.getpid())
    opened.close()
    opened.close()
    until(lambda: not any(_runs(pid) for pid in before if pid not in children(os.getpid())), "the end of the processes")

    assert TaskStatus.CANCELLED == open_resource(OPENING).task_status(task).status


def test_a_task_whose_program_was_killed_while_it_was_checked_is_cancelled(tmp_path):
    """The same key would wait for ever for a task that nobody works on."""
    folder = TaskFolder.of(tmp_path, task_id_of("k"))
    folder.claim(QUICK)
    gone = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    folder.write_state(TaskState(TaskStatus.QUEUED), Owner.here(gone.pid))
    gone.communicate()

    assert TaskStatus.CANCELLED == folder.read_state()[0].status


def test_tidying_up_stumbles_over_nothing(tmp_path):
    """A dangling link, or another process that tidies up, too, would end every command on that resource."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "dangling").symlink_to(tmp_path / "nowhere")

    assert [] == list(outdated(tmp_path))


def test_a_stop_while_the_task_is_being_started_ends_the_task_alone(monkeypatch):
    """The signal that wakes another process's simulator went to our own program, and ended it without a word."""
    submit, stop_was_sent = Engine.submit, threading.Event()
    stopper: list[threading.Thread] = []

    def slowly(self: Engine, task_id: str, *args: object, **facts: object) -> object:
        stopper.append(threading.Thread(target=lambda: (stop_was_sent.set(), resource.task_stop(task_id))))
        stopper[0].start()
        assert stop_was_sent.wait(30)
        return submit(self, task_id, *args, **facts)

    with open_resource(OPENING) as resource:
        monkeypatch.setattr(Engine, "submit", slowly)
        task_id = resource.task_start(SLOW, key=key())
        stopper[0].join(30)

        assert resource.task_wait(task_id, 30).status is TaskStatus.CANCELLED


def test_a_worker_that_one_event_ended_is_not_heard_by_the_next():
    """A stop that arrived together with the worker's last word ended the simulator, and every task with it."""
    caller, heard = socket.socketpair()[0], []
    zygote = Zygote(caller)
    pairs = [socket.socketpair() for _ in range(2)]

    def end_the_other(which: int) -> None:
        heard.append(which)
        for ours, _ in pairs:
            if ours.fileno() >= 0:
                zygote.selector.unregister(ours)
                ours.close()

    for which, (ours, theirs) in enumerate(pairs):
        zygote.selector.register(ours, selectors.EVENT_READ, partial(end_the_other, which))
        theirs.send(b"x")
    zygote.attend()

    assert 1 == len(heard)


def test_who_asks_for_a_task_learns_that_the_simulator_ended_before_it_had_decided(tmp_path):
    """A simulator that was closed while it checked a payload left whoever stopped that task waiting for ever."""
    engine, entry = Engine("local", Settings()), Entry(TaskFolder(tmp_path))
    engine._tasks["checked"] = entry
    engine._ended("it was closed")
    engine._failure = None  # as the next simulator has it

    assert TaskState(TaskStatus.FAILED, "it was closed") == within(5, engine.state, entry)
