"""The verbs of QRMI on Direct Access."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Sequence
from contextlib import suppress

from qrmi_core import (
    Context,
    Device,
    Payload,
    QuantumResource,
    RequestRefused,
    ResourceUnavailable,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    TaskNotReady,
    TaskState,
    TaskStatus,
    UnexpectedReply,
    Usage,
)
from qrmi_core.members import call_of
from qrmi_ibm_da._api import Service
from qrmi_ibm_da._objects import Objects
from qrmi_ibm_da._tasks import Tasks
from qrmi_ibm_da._wire import Job, Record, device_of, jobs_on
from qrmi_ibm_da.settings import LEAST_BUSY, Settings

_IDS = uuid.UUID("6d1f6f0e-5d3f-5c0b-9d0c-5f0a3b1e7a52")
"""The namespace of our jobs' ids: a key always leads to the same id."""
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,255}")


class DirectAccess(QuantumResource):
    """One device of IBM Direct Access.

    A task's id is that of its job, which follows from the key: the service refuses a second job of that id. Where all
    lanes are taken the task is QUEUED with us; whoever asks for a task's status submits those that wait.
    """

    concurrent = True

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self._settings: Settings = ctx.settings
        self._service = Service(ctx, self._settings)
        self._objects = Objects(ctx, self._settings)
        self._tasks = Tasks(ctx, self._service, self._objects)
        self._chosen: str | None = None

    # -- tasks

    def task_start(self, payload: Payload, *, key: str) -> str:
        program, parameters = call_of(payload)
        task_id = self._id_of(key)
        record = Record(program=program, device=self._device(), timeout_s=self._timeout_s())
        self._tasks.start(task_id, record, parameters, payload.source)
        self._objects.tidy()
        return task_id

    def task_status(self, task_id: str) -> TaskState:
        return self._look(task_id).state

    def task_stop(self, task_id: str) -> None:
        self._tasks.stop(self._checked(task_id))

    def task_result(self, task_id: str) -> bytes:
        state, name = self.task_status(task_id), self.ctx.name
        if not state.status.is_terminal:
            raise TaskNotReady(name, task_id, state.status.value)
        if state.status is TaskStatus.CANCELLED:
            raise TaskCancelled(name, task_id, state.reason or "")
        if state.status is TaskStatus.FAILED:
            raise TaskFailed(name, task_id, state.reason or "")
        content = self._objects.result(task_id)
        if content is None:
            raise UnexpectedReply(name, f"job {task_id} completed, but its result is not in the storage, or no longer")
        return content

    def task_logs(self, task_id: str) -> str:
        content = self._objects.logs(self._checked(task_id))
        if content is None:
            self._look(task_id)  # raises where there is no such task
            return ""
        return content.decode(errors="replace")

    def task_usage(self, task_id: str) -> Usage:
        return Usage(qpu_s=self._look(task_id).qpu_s)

    def find_task(self, key: str) -> str | None:
        task_id = self._id_of(key)
        return task_id if self._tasks.is_known(task_id) else None

    # -- the device

    def is_accessible(self) -> bool:
        return self._service.device(self._device()).get("status") == "online"

    def target(self) -> str:
        name = self._device()
        found = {"configuration": self._service.configuration(name), "properties": self._service.properties(name)}
        return json.dumps(found, separators=(",", ":"))

    def metadata(self) -> dict[str, str]:
        name = self._device()
        document, lanes = self._service.device(name), self._service.lanes(name)
        facts = {one: str(document[one]) for one in ("name", "status", "version", "message") if document.get(one)}
        facts["reserved"] = "yes" if document.get("locked") is True else "no"
        if lanes is not None:
            taken = jobs_on(self._service.jobs(), name)
            facts |= {"lanes": str(lanes), "lanes_free": str(max(0, lanes - taken))}
        return facts

    def discover(self) -> Sequence[Device]:
        jobs, found = self._service.jobs(), []
        for document in self._service.devices():
            name = str(document.get("name"))
            qubits = None
            with suppress(RequestRefused, ResourceUnavailable):
                qubits = self._service.configuration(name).get("n_qubits")
            lanes = self._service.lanes(name)
            found.append(device_of(document, qubits=qubits, lanes=lanes, jobs=jobs))
        return found

    def close(self) -> None:
        self._service.close()
        self._objects.close()

    # -- small things

    def _look(self, task_id: str) -> Job:
        return self._tasks.look(self._checked(task_id))

    def _checked(self, task_id: str) -> str:
        """Nothing else becomes part of an address."""
        if not _ID.fullmatch(task_id):
            raise TaskNotFound(self.ctx.name, task_id)
        return task_id

    def _id_of(self, key: str) -> str:
        return str(uuid.uuid5(_IDS, f"{self.ctx.name}\n{key}"))

    def _device(self) -> str:
        """What the service calls the device."""
        if self._settings.backend != LEAST_BUSY:
            return self._settings.backend or self.ctx.name
        if self._chosen is None:
            online = [device for device in self.discover() if device.is_online]
            if not online:
                raise ResourceUnavailable(self.ctx.name, "none of the credential's processors is online")
            self._chosen = min(online, key=lambda device: device.business).name
            self.ctx.log.info("device.chosen", device=self._chosen)
        return self._chosen

    def _timeout_s(self) -> int:
        """Of the execution: as configured, and no longer than the surrounding job."""
        clock, deadline, most = self.ctx.clock, self.ctx.deadline, self._settings.timeout_seconds
        return most if deadline is None else max(1, min(most, int(deadline - clock.monotonic())))
