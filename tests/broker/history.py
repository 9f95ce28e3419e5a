"""A history: clients that work through random steps while the broker is killed, stopped and told a wrong time.

What was asked and answered is written into a `Record`, which `checker.py` judges beside the vendor's log.
"""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from pathlib import Path

from attrs import define, field

from qrmi_broker.crashpoint import VARIABLE

from .clients import Client
from .clock import Clock
from .cluster import Cluster
from .daemon import Daemon
from .nursery import Nursery
from .record import Record
from .sockets import Socket
from .steps import Trouble, steps
from .vendor import HOUR_S, SHORT_S, Vendor

STOP_S = SHORT_S + 0.05
"""How long a process is stopped: longer than the shortest lease."""
FAILURE_S = 0.5
"""How long the vendor or the scheduler may fail without a break."""


@define(eq=False)
class History:
    """One broker, its clients, and what happens to them."""

    seed: int
    folder: Path
    vendor: Vendor
    mutant: str = ""
    record: Record = field(factory=Record)
    done: int = 0
    """Steps."""
    daemon: Daemon = field(init=False)
    cluster: Cluster = field(init=False)
    clients: list[Client] = field(factory=list)
    clock: Clock = field(init=False)
    nursery: Nursery = field(init=False)
    up: threading.Event = field(factory=threading.Event)
    """It may be worth asking: whoever is not answered waits for this."""
    _offset_h: int = 0
    _faults: list[BaseException] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.cluster = Cluster(self.folder / "slurm", self.record)
        options = {"scheduler": "slurm", "squeue": "", "scontrol": "", "reconcile-s": "0.15"}
        options |= {name: str(self.cluster.folder / name) for name in ("squeue", "scontrol")}
        self.daemon = Daemon(self.folder, self.vendor.resources(), **options)
        self.clock = Clock(self.folder / "clock")
        self.clock.says("+0")
        self.nursery = Nursery(self.clock, self.daemon.log, self.vendor, self.mutant)

    def run(self, count: int, plan: list[Trouble], clients: int = 5, drain_s: float = 40.0) -> None:
        """Take *count* steps, with the troubles of *plan* between them; then let everything end."""
        run = self.folder / "run"
        self.start()
        self.clients = [
            Client(
                number,
                Socket(run / "qrmi.sock", self.record, self.up),
                Socket(run / "admin.sock", self.record, self.up),
                self.cluster,
                self.vendor,
            )
            for number in range(1, clients + 1)
        ]
        threads = [
            threading.Thread(target=self._work, args=(one, count // clients), daemon=True) for one in self.clients
        ]
        try:
            for thread in threads:
                thread.start()
            for number, trouble in enumerate(plan, 1):
                self._await((count - 300) * number // (len(plan) + 1))
                if number % 2:  # every other failure lasts through the next trouble
                    self._heal()
                self._suffer(trouble)
            self._heal()
            for thread in threads:
                thread.join()
            self._drain(drain_s)
        finally:
            self.daemon.kill()
            self.nursery.close()
        if self._faults:
            raise self._faults[0]

    def _work(self, client: Client, count: int) -> None:
        try:
            for step in steps(self.seed, client.number, count):
                client.take(step)
                self.done += 1
        except BaseException as exc:
            self._faults.append(exc)
            raise

    def _await(self, done: int) -> None:
        """Until so many steps are done; no failure lasts so long that everybody waits for its end."""
        heal_at = time.monotonic() + FAILURE_S
        while self.done < done and not self._faults:
            if time.monotonic() > heal_at:
                self._heal()
                heal_at = time.monotonic() + FAILURE_S
            if self.daemon.process.poll() is not None:
                raise AssertionError(f"qrmid ended by itself: {self.daemon.words[-2000:]}")
            time.sleep(0.002)

    # -- troubles

    def start(self, point: str = "") -> None:
        """Start the broker, under a clock of ours."""
        self.record.add("broker.started", point=point)
        known = [word for name, value in self.daemon.options.items() for word in (f"--{name}", value)]
        words = ["--config", str(self.daemon.config), "--state-dir", str(self.folder / "state"), *known]
        self.daemon.process = self.nursery.start([*words, "--run-dir", str(self.folder / "run")], {VARIABLE: point})
        admin = self.folder / "run" / "admin.sock"
        before = admin.stat().st_ino if admin.exists() else None
        while self.daemon.process.poll() is None and (not admin.exists() or admin.stat().st_ino == before):
            time.sleep(0.01)
        assert point or self.daemon.process.poll() is None, f"qrmid ended: {self.daemon.words[-2000:]}"
        self.up.set()

    def _suffer(self, trouble: Trouble) -> None:
        process = self.daemon.process
        if trouble.kind == "crash":
            self.record.add("broker.killed", point="")
            self.up.clear()
            self.daemon.kill()
            self._die_at(trouble.at)
            self._die_at(trouble.then)
            self.start()
        elif trouble.kind == "restart":
            self.record.add("broker.terminated")
            self.up.clear()
            assert self.daemon.stop() == 0, self.daemon.words[-2000:]
            self.start()
        elif trouble.kind == "stop":
            process.send_signal(signal.SIGSTOP)
            time.sleep(STOP_S)
            process.send_signal(signal.SIGCONT)
            self.record.add("broker.stopped")
        elif trouble.kind == "jump":
            self._offset_h += 1 if (trouble.at == "+") != (abs(self._offset_h) >= 3) else -1
            self.clock.says(f"{self._offset_h * HOUR_S:+d}s")
            self.record.add("clock.jumped")
        elif trouble.kind == "vendor":
            self.vendor.fail(trouble.at)
            self.record.add("vendor.fails", how=trouble.at)
        else:
            (self.cluster.folder / trouble.at).touch()
            self.record.add("squeue.fails", how=trouble.at)

    def _die_at(self, point: str) -> None:
        """Start one that dies there; a failure that keeps it from getting there ends."""
        self.start(point)
        try:
            code = self._end_within(FAILURE_S)
            if code is None:
                self._heal()
                code = self._end_within(10)
        finally:
            self.up.clear()
        if code is None:
            self.daemon.kill()
        else:
            assert code == -signal.SIGKILL, self.daemon.words[-2000:]
        self.record.add("broker.killed", point="" if code is None else point)

    def _end_within(self, wait_s: float) -> int | None:
        try:
            return self.daemon.process.wait(wait_s)
        except subprocess.TimeoutExpired:
            return None

    def _heal(self) -> None:
        """The vendor and the scheduler work again."""
        self.vendor.heal()
        for name in ("fails", "babbles"):
            (self.cluster.folder / name).unlink(missing_ok=True)

    def _drain(self, drain_s: float) -> None:
        """Every job ends; then nothing may be held, and every task that was accepted is read."""
        client = self.clients[0]
        for one in self.clients:
            for number, slot in enumerate(one.slots):
                one._end(slot, number)
        deadline = time.monotonic() + drain_s
        while any(one["state"] != "failed" for one in self.daemon.leases()) and time.monotonic() < deadline:
            time.sleep(0.05)
        client.admin.ask("last list", "GET", "/v1/leases")
        client.admin.ask("health", "GET", "/v1/health")
        accepted = {
            entry["found"]["id"]: entry
            for entry in list(self.record.entries)
            if entry["event"] == "answer" and entry["verb"] == "submit" and entry["status"] == 201
        }
        for task, entry in accepted.items():
            wait_s = max(0.0, min(5.0, deadline - time.monotonic()))
            facts = {"task": task, "resource": entry["resource"], "key": entry["key"]}
            _, found = client.public.ask("last status", "GET", f"/v1/tasks/{task}?wait_s={wait_s:.3f}", **facts)
            if found.get("status") == "COMPLETED":
                client.public.ask("last result", "GET", f"/v1/tasks/{task}/result", **facts)
