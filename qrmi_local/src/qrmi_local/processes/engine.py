"""The user's side of the simulator: starts the zygote, speaks to it, and knows what became of each task."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from typing import cast

import attrs
from attrs import define, field

from qrmi_core import PayloadError, ResourceUnavailable, TaskPlan, TaskState, TaskStatus
from qrmi_local.processes.channel import Message, receive, send
from qrmi_local.processes.folder import Owner, TaskFolder
from qrmi_local.settings import Settings

_STOP_S = 10.0


@define
class Entry:
    """One task of this process."""

    folder: TaskFolder
    state: TaskState | None = None
    """None while it is being checked."""
    refusal: PayloadError | None = None
    plan: TaskPlan | None = None
    lost: str | None = None
    """Why the simulator ended before it had decided."""

    @property
    def is_decided(self) -> bool:
        """It was accepted or refused, or nobody will decide about it any more."""
        return any(one is not None for one in (self.state, self.refusal, self.plan, self.lost))


@define(eq=False)
class Engine:
    """One zygote and the tasks given to it. Any thread may call; it belongs to the process that made it."""

    name: str
    settings: Settings
    pid: int = field(factory=os.getpid)
    owner: Owner | None = None
    _tasks: dict[str, Entry] = field(factory=dict)
    _changed: threading.Condition = field(factory=threading.Condition)
    _channel: socket.socket | None = None
    _process: subprocess.Popen[bytes] | None = None
    _failure: str | None = None

    def submit(self, task_id: str, folder: TaskFolder, *, do: str, kind: str, source: str) -> Entry:
        """Give a task to the simulator, and wait until it is accepted or refused.

        Args:
            task_id: of the task.
            folder: where its payload lies.
            do: ``start``, or ``plan`` to have it checked only.
            kind: of the payload.
            source: of the payload, for messages.

        Raises:
            PayloadError: it cannot run.
            ResourceUnavailable: the simulator cannot be started.
        """
        with self._changed:
            channel = self._channel or self._start(kind)
            entry = self._tasks[task_id] = Entry(folder)
            send(
                channel,
                do=do,
                task=task_id,
                folder=str(folder.path),
                kind=kind,
                source=source,
                settings=attrs.asdict(cast("attrs.AttrsInstance", self.settings)),
            )
            self._changed.wait_for(lambda: entry.is_decided)
            if entry.refusal is not None or entry.lost is not None or do == "plan":
                del self._tasks[task_id]
        if entry.lost is not None:
            raise ResourceUnavailable(self.name, entry.lost)
        if entry.refusal is not None:
            raise entry.refusal
        return entry

    def find(self, task_id: str) -> Entry | None:
        """The task, if it was given to this engine."""
        with self._changed:
            return self._tasks.get(task_id)

    def state(self, entry: Entry) -> TaskState:
        """The task's state; a queued one with its place in the queue."""
        with self._changed:
            self._changed.wait_for(lambda: entry.is_decided)
            if entry.lost is not None:
                return TaskState(TaskStatus.FAILED, entry.lost)
            state = entry.state or TaskState(TaskStatus.QUEUED)
            if state.status is not TaskStatus.QUEUED:
                return state
            ahead = 0
            for other in self._tasks.values():
                if other is entry:
                    break
                ahead += other.state is not None and other.state.status is TaskStatus.QUEUED
            return attrs.evolve(state, queue_position=ahead)

    def wait(self, entry: Entry, timeout_s: float) -> TaskState:
        """Until the task has ended, or *timeout_s* passed."""
        with self._changed:
            self._changed.wait_for(lambda: entry.state is not None and entry.state.status.is_terminal, timeout_s)
        return self.state(entry)

    def stop(self, task_id: str) -> None:
        """Ask for the task's end and return when it has ended, or has completed before."""
        with self._changed:
            entry, channel = self._tasks.get(task_id), self._channel
        if entry is not None and channel is not None:
            send(channel, do="stop", task=task_id)
            self.wait(entry, _STOP_S)

    def close(self) -> None:
        """End the simulator's processes. Tasks that have not ended are cancelled; results are on disk already."""
        with self._changed:
            process, self._channel = self._process, None
        if process is not None and self.pid == os.getpid():
            process.kill()  # the kernel then ends its workers
            process.wait()

    # -- under the lock

    def _start(self, kind: str) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._failure = None
        threading.Thread(target=self._attend, args=(ours, theirs, kind), name="qrmi-local", daemon=True).start()
        self._changed.wait_for(lambda: self._process is not None or self._failure is not None)
        if self._failure is not None:
            raise ResourceUnavailable(self.name, self._failure)
        self._channel = ours
        return ours

    # -- in the thread

    def _attend(self, ours: socket.socket, theirs: socket.socket, kind: str) -> None:
        """Start the zygote and note what it says. It ends when this thread ends: the kernel sees to that."""
        with os.fdopen(os.memfd_create("complaints"), "w+b") as complaints:
            try:
                # -P: a file of the user's that is called like a library must not be taken for it
                process = subprocess.Popen(
                    [
                        sys.executable,
                        "-P",
                        "-m",
                        "qrmi_local.processes.zygote",
                        str(theirs.fileno()),
                        str(os.getpid()),
                        kind,
                    ],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=complaints,
                    stderr=complaints,
                    start_new_session=True,
                )
            except OSError as exc:
                with self._changed:
                    self._failure = f"the simulator cannot be started: {exc.strerror}"
                    self._changed.notify_all()
                return
            theirs.close()
            with self._changed:
                self._process, self.owner = process, Owner.here(process.pid)
                self._changed.notify_all()
            while (message := receive(ours)) is not None:
                with self._changed:
                    self._note(message)
                    self._changed.notify_all()
            status = process.wait()
            complaints.seek(0)
            last = complaints.read().decode(errors="replace").strip().splitlines()[-1:]
        with self._changed:
            self._ended(f"the simulator ended with status {status}" + "".join(f": {line}" for line in last))
            self._process = None
            self._channel = None
            self._changed.notify_all()
        ours.close()

    def _note(self, message: Message) -> None:
        entry = self._tasks.get(message["task"])
        if entry is None:
            return
        if message["is"] == "accepted":
            plan = {**message["plan"], "notes": tuple(message["plan"]["notes"])}
            entry.plan = TaskPlan(**plan)
            if "running" in message:
                entry.state = TaskState(TaskStatus.RUNNING if message["running"] else TaskStatus.QUEUED)
        elif message["is"] == "refused":
            entry.refusal = PayloadError(*message["error"])
        else:
            entry.state = TaskState(TaskStatus(message["is"].upper()), message.get("reason"))

    def _ended(self, cause: str) -> None:
        self._failure = cause
        for entry in self._tasks.values():
            if not entry.is_decided:
                entry.lost = cause
            elif entry.state is not None and not entry.state.status.is_terminal:
                how = TaskStatus.CANCELLED if self._channel is None else TaskStatus.FAILED
                entry.state = TaskState(how, "the resource was closed" if self._channel is None else cause)
                self._save(entry)

    def _save(self, entry: Entry) -> None:
        if entry.state is not None and self.owner is not None and entry.folder.exists:
            entry.folder.write_state(entry.state, self.owner)
