"""The clients of a history: jobs that lease, submit, retry and end."""

from __future__ import annotations

import json
import os
from typing import Any

from attrs import define, field

from .cluster import Cluster
from .sockets import Socket
from .steps import SLOTS, Step
from .vendor import Vendor

KEYS = 6
"""Different keys of one job on one resource: submissions are mostly retries."""
_WAITS_S = (0.0, 0.02, 0.05, 0.2)


@define
class Slot:
    """One job of a client, as its scripts know it."""

    job: str
    start: int = 1
    restarts: int = 0
    grant: str | None = None
    tokens: dict[str, str] = field(factory=dict)
    old: list[tuple[str, str, str]] = field(factory=list)
    """Resource, token and grant of leases that it had."""
    tasks: list[tuple[str, str, str]] = field(factory=list)
    """Resource, key and id of tasks that were accepted."""
    body: bytes = b""
    """The last request for leases,"""
    plan: tuple[str, ...] = ()
    """and what it asked for."""

    @property
    def age(self) -> tuple[int, int]:
        """Which run of the job it is."""
        return (self.start, self.restarts)

    @property
    def facts(self) -> dict[str, Any]:
        """What is on record of an answer about its lease."""
        return {"job": self.job, "age": self.age, "plan": self.plan}

    def drop(self) -> None:
        """Know the lease no longer."""
        self.old = [*((name, token, self.grant or "") for name, token in self.tokens.items()), *self.old][:6]
        self.grant, self.tokens = None, {}


@define(eq=False)
class Client:
    """Works through its steps."""

    number: int
    public: Socket
    admin: Socket
    cluster: Cluster
    vendor: Vendor
    slots: list[Slot] = field(factory=list)
    _jobs: int = 0

    def __attrs_post_init__(self) -> None:
        self.slots = [Slot(self._new_job()) for _ in range(SLOTS)]

    def _new_job(self) -> str:
        self._jobs += 1
        return str(self.number * 100_000 + self._jobs)

    def take(self, step: Step) -> None:
        """One step. What needs a lease or a task that is not there, asks for it instead."""
        slot = self.slots[step.slot]
        needs_lease = step.verb not in ("list", "submit_with_old_token")
        if step.verb in ("ask", "ask_twice") or (needs_lease and slot.grant is None):
            self._ask(slot, step.choice, twice=step.verb == "ask_twice")
        elif step.verb in ("status", "wait", "result", "stop") and not slot.tasks:
            self._submit(slot, step.choice)
        else:
            getattr(self, f"_{step.verb}")(slot, step.choice)

    # -- leases

    def _ask(self, slot: Slot, choice: int, *, twice: bool = False) -> None:
        if slot.grant is None or not slot.body:
            slot.plan = plan = self.vendor.plans[choice % len(self.vendor.plans)]
            limit_s = self.vendor.limit_s(plan, choice // 16)
            run = {"uid": os.getuid(), "cluster": "c", "job_id": slot.job}
            body = {
                "run": {**run, "restart_count": slot.restarts, "start_time": slot.start},
                "resources": [{"name": name.rstrip("!"), "exclusive": name.endswith("!")} for name in plan],
                "facts": {"time_limit_s": limit_s},
                "wait_s": _WAITS_S[choice // 128 % len(_WAITS_S)],
            }
            slot.body = json.dumps(body).encode()
            self.cluster.runs(slot.job, slot.restarts, limit_s if choice & 1024 else None)
        ask = self.admin.ask_twice if twice else self.admin.ask
        status, found = ask("ask", "POST", "/v1/leases", slot.body, **slot.facts)
        while status == 202:
            where = f"/v1/leases/{found['id']}"
            status, found = self.admin.ask("show", "GET", where, grant=found["id"], **slot.facts)
        if status == 200:
            slot.grant = found["id"]
            suffix = "_QRMI_JOB_ACQUISITION_TOKEN"
            environment = found["environment"]
            slot.tokens = {
                name: environment[name + suffix] for name in self.vendor.lanes if name + suffix in environment
            }
        elif status != 404:
            self._end(slot, choice)

    def _ask_as_before(self, slot: Slot, choice: int) -> None:
        """An earlier run of the job, which was late."""
        if slot.restarts:
            body = json.loads(slot.body)
            body["run"] |= {"restart_count": slot.restarts - 1, "start_time": slot.start - 1}
            facts = {**slot.facts, "age": (slot.start - 1, slot.restarts - 1)}
            self.admin.ask("ask", "POST", "/v1/leases", json.dumps(body).encode(), **facts)
        else:
            self._show(slot, choice)

    def _show(self, slot: Slot, choice: int) -> None:
        self.admin.ask("show", "GET", f"/v1/leases/{slot.grant}", grant=slot.grant, **slot.facts)

    def _list(self, slot: Slot, choice: int) -> None:
        self.admin.ask("list", "GET", "/v1/leases")

    def _release(self, slot: Slot, choice: int) -> None:
        self.admin.record.add("release.asked", job=slot.job, age=slot.age, grant=slot.grant)
        wait_s = (0, 0.05, 5)[choice % 3]
        self.admin.ask("release", "DELETE", f"/v1/leases/{slot.grant}?wait_s={wait_s}", grant=slot.grant)
        slot.drop()
        self._end(slot, choice)

    def _end(self, slot: Slot, choice: int) -> None:
        """The job ends, or is forgotten; the next one takes its place."""
        self.cluster.ends(slot.job, slot.age, ("COMPLETED", "CANCELLED", "forgotten")[choice % 3])
        slot.drop()
        slot.job, slot.start, slot.restarts, slot.body = self._new_job(), 1, 0, b""

    def _requeue(self, slot: Slot, choice: int) -> None:
        self.cluster.ends(slot.job, slot.age, "PENDING")
        slot.drop()
        slot.start, slot.restarts = slot.start + 1, slot.restarts + 1
        self._ask(slot, choice)

    # -- tasks

    def _submit(self, slot: Slot, choice: int, *, twice: bool = False) -> None:
        resource = sorted(slot.tokens)[choice % len(slot.tokens)]
        key = f"{slot.job}-{choice // 8 % KEYS}"
        status, found = self._post(resource, slot.tokens[resource], key, slot.grant, twice=twice)
        if status == 201:
            slot.tasks = [*{(resource, key, found["id"]): None, **dict.fromkeys(slot.tasks)}][:12]

    def _submit_twice(self, slot: Slot, choice: int) -> None:
        self._submit(slot, choice, twice=True)

    def _submit_with_old_token(self, slot: Slot, choice: int) -> None:
        if slot.old:
            resource, token, grant = slot.old[choice % len(slot.old)]
            self._post(resource, token, f"old-{slot.job}-{choice}", grant)
        else:
            self._list(slot, choice)

    def _post(self, resource: str, token: str, key: str, grant: str | None, *, twice: bool = False) -> Any:
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key, "Qrmi-Payload-Kind": self.vendor.kind}
        ask = self.public.ask_twice if twice else self.public.ask
        path, facts = f"/v1/resources/{resource}/tasks", {"resource": resource, "key": key, "grant": grant}
        payload = self.vendor.payload(resource, key)
        return ask("submit", "POST", path, payload, headers, fence=token.partition(".")[0], **facts)

    def _task(self, verb: str, slot: Slot, choice: int, method: str = "GET", rest: str = "") -> None:
        resource, key, task = slot.tasks[choice % len(slot.tasks)]
        self.public.ask(verb, method, f"/v1/tasks/{task}{rest}", task=task, resource=resource, key=key)

    def _status(self, slot: Slot, choice: int) -> None:
        self._task("status", slot, choice)

    def _wait(self, slot: Slot, choice: int) -> None:
        self._task("status", slot, choice, rest="?wait_s=0.05")

    def _result(self, slot: Slot, choice: int) -> None:
        self._task("result", slot, choice, rest="/result")

    def _stop(self, slot: Slot, choice: int) -> None:
        self._task("stop", slot, choice, "DELETE")

    def _find(self, slot: Slot, choice: int) -> None:
        resource, key = sorted(self.vendor.lanes)[choice % len(self.vendor.lanes)], f"{slot.job}-{choice // 8 % KEYS}"
        self.public.ask("find", "GET", f"/v1/resources/{resource}/tasks?key={key}", resource=resource, key=key)
