"""The simulator's process: imports the simulators once, computes nothing, and forks the workers that do.

Aer holds the interpreter lock for a whole simulation, so whoever simulates can neither answer nor be stopped in any way
but one: by killing its process. Hence three generations, each ended by the kernel when its parent ends:

    the user's program  --socket-->  zygote  --socket-->  worker   (checks payloads and runs them, one at a time)
                                             --socket-->  checker  (checks one payload while the worker is busy)

The messages are JSON objects, one datagram each. To us: ``start``, ``plan`` and ``stop`` a task. From us: ``accepted``,
``refused``, ``planned``, ``running``, ``completed``, ``failed``, ``cancelled``. When the socket closes, all of us end.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import signal
import socket
import sys
from collections import deque
from pathlib import Path
from typing import NoReturn

from attrs import define, field

from qrmi_core.models import TaskState, TaskStatus
from qrmi_local.processes.channel import Message, end_with_parent, receive, send
from qrmi_local.processes.folder import Owner, TaskFolder
from qrmi_local.processes.worker import simulator, work

_MORE_MEMORY = "Allow the job more memory, or set QRMI_LOCAL_MEMORY_LIMIT_BYTES so that what does not fit is refused"


def main(fd: int, parent_pid: int, kind: str) -> None:
    """Serve the socket *fd* until it closes.

    Args:
        fd: our end of the socket pair.
        parent_pid: who started us; if it is gone already, we go too.
        kind: of the first payload: what it needs is imported before anything is forked.
    """
    end_with_parent(parent_pid)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # meant for the program, which will tell us
        signal.signal(ignored, signal.SIG_IGN)
    simulator(kind)
    gc.collect()
    gc.freeze()
    Zygote(socket.socket(fileno=fd)).serve()


@define
class Worker:
    """A forked process that simulates, and what it is doing."""

    pid: int
    channel: socket.socket
    request: Message | None = None

    def end(self) -> int:
        """Kill and reap it; return its wait status."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        return self.reap()

    def reap(self) -> int:
        """Wait for its end, which is near; return its wait status."""
        self.channel.close()
        return os.waitpid(self.pid, 0)[1]


@define
class Zygote:
    """The loop: what is queued, who works."""

    caller: socket.socket
    worker: Worker | None = None
    checkers: dict[int, Worker] = field(factory=dict)
    """By pid."""
    queue: deque[Message] = field(factory=deque)
    """Accepted requests that wait for the worker."""
    selector: selectors.BaseSelector = field(factory=selectors.DefaultSelector)
    owner: Owner = field(factory=lambda: Owner.here(os.getpid()))

    def serve(self) -> None:
        """Until the caller's socket closes."""
        woken, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGUSR1, lambda *_: None)  # another process left a stop mark
        self.selector.register(woken, selectors.EVENT_READ, lambda: self._look_for_stop_marks(woken))
        self.selector.register(self.caller, selectors.EVENT_READ, self._hear_caller)
        while True:
            self.attend()

    def attend(self) -> None:
        """Wait for events, and deal with them."""
        for key, _ in self.selector.select():
            if self.selector.get_map().get(key.fd) is key:  # else an event before it ended that worker
                key.data()

    # -- from the caller

    def _hear_caller(self) -> None:
        message = receive(self.caller)
        if message is None:
            self._leave()
        elif message["do"] == "stop":
            self._stop(message["task"])
        elif message["do"] == "start" and not self.queue and (self.worker is None or self.worker.request is None):
            self._assign(message)
        else:
            checker = self._fork()
            checker.request = message
            self.checkers[checker.pid] = checker
            send(checker.channel, **{**message, "do": "plan"})

    def _leave(self) -> NoReturn:
        for child in (*self.checkers.values(), *([self.worker] if self.worker else [])):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
        os._exit(0)

    def _stop(self, task_id: str) -> None:
        for request in [queued for queued in self.queue if queued["task"] == task_id]:
            self.queue.remove(request)
            self._settle(request, TaskState(TaskStatus.CANCELLED, "stopped before it ran"))
        for checker in list(self.checkers.values()):
            if checker.request and checker.request["task"] == task_id:
                self._forget(checker)
                checker.end()
                self._settle(checker.request, TaskState(TaskStatus.CANCELLED, "stopped before it ran"))
        if self.worker and self.worker.request and self.worker.request["task"] == task_id:
            request = self.worker.request
            self.selector.unregister(self.worker.channel)
            self.worker.end()
            self.worker = None
            self._settle(request, TaskState(TaskStatus.CANCELLED, "stopped while it ran"))
            self._next()

    def _look_for_stop_marks(self, woken: int) -> None:
        os.read(woken, 512)
        running = [self.worker.request] if self.worker and self.worker.request else []
        for request in (*running, *self.queue):
            if TaskFolder(Path(request["folder"])).is_to_stop:
                self._stop(request["task"])

    # -- to and from the workers

    def _assign(self, request: Message) -> None:
        if self.worker is None:
            self.worker = self._fork()
        self.worker.request = request
        send(self.worker.channel, **{**request, "do": "run"})

    def _next(self) -> None:
        if self.queue:
            self._assign(self.queue.popleft())

    def _fork(self) -> Worker:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self.selector.close()
            self.caller.close()
            ours.close()
            work(theirs, parent)
        theirs.close()
        worker = Worker(pid, ours)
        self.selector.register(ours, selectors.EVENT_READ, lambda: self._hear(worker))
        return worker

    def _hear(self, worker: Worker) -> None:
        message = receive(worker.channel)
        request = worker.request
        if message is None:
            self._lost(worker)
        elif request is None:
            return
        elif worker is self.worker:
            self._from_worker(request, message)
        else:
            self._from_checker(worker, request, message)

    def _from_worker(self, request: Message, message: Message) -> None:
        assert self.worker is not None  # noqa: S101 - only its own messages come here
        if message["is"] == "accepted":
            self._say(request, TaskState(TaskStatus.RUNNING))
            if request.get("accepted"):  # when it was checked
                send(self.caller, task=request["task"], **{"is": "running"})
            else:
                request["accepted"] = True
                send(self.caller, task=request["task"], **{**message, "running": True})
            return
        self.worker.request = None
        if message["is"] == "completed":
            self._settle(request, TaskState(TaskStatus.COMPLETED))
        elif message["is"] == "refused" and not request.get("accepted"):
            send(self.caller, task=request["task"], **message)
        else:
            self._settle(request, TaskState(TaskStatus.FAILED, message.get("reason") or message["error"][2]))
        self._next()

    def _from_checker(self, checker: Worker, request: Message, message: Message) -> None:
        self._forget(checker)
        checker.end()
        if message["is"] == "accepted" and request["do"] == "start":
            request["accepted"] = True
            self._say(request, TaskState(TaskStatus.QUEUED))
            send(self.caller, task=request["task"], **{**message, "running": False})
            self.queue.append(request)
            if self.worker is None or self.worker.request is None:
                self._next()
        else:
            send(self.caller, task=request["task"], **message)

    def _lost(self, worker: Worker) -> None:
        """A worker's socket closed although nobody killed it."""
        self._forget(worker)
        how = os.waitstatus_to_exitcode(worker.reap())
        cause = f"the simulator was killed by signal {-how}" if how < 0 else f"the simulator ended with status {how}"
        if -how in (signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV):
            cause += ", most often because memory ran out"
        if (request := worker.request) is None:
            return
        if request.get("accepted"):
            self._settle(request, TaskState(TaskStatus.FAILED, f"{cause}. {_MORE_MEMORY}"))
        else:
            error = [request["source"], "$", f"{cause}, while the payload was checked", _MORE_MEMORY]
            send(self.caller, task=request["task"], **{"is": "refused", "error": error})
        self._next()

    def _forget(self, worker: Worker) -> None:
        self.selector.unregister(worker.channel)
        self.checkers.pop(worker.pid, None)
        if worker is self.worker:
            self.worker = None

    def _settle(self, request: Message, state: TaskState) -> None:
        self._say(request, state)
        send(self.caller, task=request["task"], **{"is": state.status.value.lower(), "reason": state.reason})

    def _say(self, request: Message, state: TaskState) -> None:
        with contextlib.suppress(OSError):  # a full disk must not end us: the caller is told by message anyway
            TaskFolder(Path(request["folder"])).write_state(state, self.owner)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
