"""The broker: leases, tasks over the backend's own time, and what many of both cost."""

from __future__ import annotations

import json
import os
import socket
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measure import Row, computed_s, processor_time, taken_by_others

LEASES, FEW, MANY = 1000, 1000, 10_000
_THREADS = 16
_TASKS_JOB, _FIRST_JOB = 10**6, 2 * 10**6
"""The job whose tasks are measured, and the first of many."""


def rows(rounds: int) -> list[Row]:
    """Measure."""
    from broker.daemon import Daemon, fake
    from broker.programs import Slurm, program, row

    with tempfile.TemporaryDirectory(prefix="qrmid-") as name:
        folder = Path(name)
        os.environ["QRMI_STATE_DIR"] = str(folder / "mine")
        service = folder / "service"
        resources = [fake(service, lanes=LEASES), fake(service, "now", "fake-instant")]
        (folder / "bin").mkdir()
        jobs = (_TASKS_JOB, *range(_FIRST_JOB, _FIRST_JOB + LEASES))
        slurm = Slurm(folder / "bin")
        slurm.lists(*(row(str(job), uid=str(os.getuid())) for job in jobs))
        program(folder / "bin" / "scontrol", "echo 'PrivateData = none'")
        commands = {name: str(folder / "bin" / name) for name in ("squeue", "scontrol")}
        daemon = Daemon(folder, resources, scheduler="slurm", **commands, **{"reconcile-s": "2"}).start()
        try:
            return [_leases(daemon, 20 * rounds), _task(daemon, 10 * rounds), *_many(daemon, slurm, is_full=rounds > 5)]
        finally:
            daemon.stop()


def _leases(daemon, rounds: int) -> Row:
    """As the plugin asks, at a vendor that has no sessions."""
    taken, before, computed = [], processor_time(), computed_s(daemon.process.pid)
    for job in range(rounds + 20):
        run = {"uid": os.getuid(), "cluster": "c", "job_id": str(job), "start_time": 1}
        body = json.dumps({"run": run, "resources": [{"name": "now"}], "facts": {"user": "root", "node": "n1"}})
        started = time.perf_counter()
        lease = _asked(daemon, "POST", "/v1/leases", body).partition("lease ")[2].split()[0]
        _asked(daemon, "DELETE", f"/v1/leases/{lease}?wait_s=30")
        taken.append(time.perf_counter() - started)
    each = (computed_s(daemon.process.pid) - computed) / len(taken)
    p50, p99 = (_quantile(taken[20:], share) for share in (0.5, 0.99))
    return Row(
        "broker acquire + release, durable",
        "p99 <= 10 ms",
        f"p99 {p99 * 1000:.1f} ms",
        p99 <= 0.010,
        f"median {p50 * 1000:.1f} ms of {rounds}; the broker computes for {each * 1000:.1f} ms; "
        f"{taken_by_others(before)}",
    )


def _asked(daemon, method: str, target: str, body: str = "") -> str:
    """One request of the plugin's: a new connection, HTTP/1.0, lines."""
    head = f"{method} {target} HTTP/1.0\r\nHost: qrmid\r\nAccept: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(daemon.folder / "run" / "admin.sock"))
        connection.sendall((head + body).encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    assert answer.split()[1] == "200", answer
    return answer


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * len(values))]


def _task(daemon, rounds: int) -> Row:
    from broker.daemon import ENDPOINT, KEY

    from qrmi_core import Opening, Payload, open_resource

    environment = {ENDPOINT: str(daemon.folder / "service"), "QRMI_FAKE_API_KEY": KEY}
    direct = Opening(name="fez", type="fake", environment=environment, source="bench")
    payload = Payload.from_bytes("script", b'{"runs_s": 0}')
    granted = daemon.ask("fez", job=_TASKS_JOB)
    taken: dict[str, list[float]] = {"direct": [], "brokered": []}
    before = processor_time()
    with open_resource(direct) as one, open_resource(daemon.opening(granted, "fez")) as other:
        for index in range(rounds + 10):
            for name, resource in (("direct", one), ("brokered", other)):
                started = time.perf_counter()
                task = resource.task_start(payload, key=f"{name}-{index}")
                resource.task_wait(task, 60)
                resource.task_result(task)
                taken[name].append(time.perf_counter() - started)
    daemon.release(granted["id"])
    own, brokered = (statistics.median(values[10:]) for values in taken.values())
    return Row(
        "one brokered task (start, wait, result) over the backend's own time",
        "<= 5 ms",
        f"{(brokered - own) * 1000:.1f} ms",
        brokered - own <= 0.005,
        f"{brokered * 1000:.1f} ms beside {own * 1000:.1f} ms; {taken_by_others(before)}",
    )


def _many(daemon, slurm, *, is_full: bool) -> list[Row]:
    """A thousand leases at once, and then ten tasks on each; memory after the first thousand, and after all."""
    from qrmi_core import Payload, TaskStatus, open_resource

    leases, many = (LEASES, MANY) if is_full else (100, 1000)
    payload = Payload.from_bytes("script", b'{"runs_s": 0}')
    with ThreadPoolExecutor(_THREADS) as pool:
        started = time.perf_counter()
        granted = list(pool.map(lambda job: daemon.ask("fez", job=_FIRST_JOB + job), range(leases)))
        leased_s = time.perf_counter() - started
        held = len(daemon.leases())

        def run(number: int) -> bool:
            with open_resource(daemon.opening(granted[number % leases], "fez")) as resource:
                task = resource.task_start(payload, key=f"many-{number}")
                state = resource.task_wait(task, 120)
                return state.status is TaskStatus.COMPLETED and resource.task_result(task) == payload.read()

        started = time.perf_counter()
        few = many // 10
        kept = sum(pool.map(run, range(few)))
        before = _holds(daemon.process.pid)
        kept += sum(pool.map(run, range(few, many)))
        after = _holds(daemon.process.pid)
        took_s = time.perf_counter() - started
        list(pool.map(lambda one: daemon.release(one["id"]), granted))
    log = (daemon.folder / "service" / "log").read_text()
    lost = many - kept + leases - held + log.count("session.opened") - log.count("session.closed")
    most = max(now / then for now, then in zip(after, before, strict=True))
    return [
        Row(
            f"{leases:,} concurrent leases, {many:,} tasks through one broker",
            "nothing lost",
            f"{lost} lost",
            lost == 0,
            f"leases in {leased_s:.1f} s, tasks at {many / took_s:.0f} per second, {_THREADS} clients; "
            f"a stand-in for squeue listed the jobs {slurm.looks} times",
        ),
        Row(
            f"resident memory and descriptors after {many:,} tasks",
            f"<= 1.1x those after {few:,}",
            f"{most:.2f}x",
            most <= 1.1,
            f"{after[0] / 1e6:.0f} MB and {after[1]} beside {before[0] / 1e6:.0f} MB and {before[1]}",
        ),
    ]


def _holds(pid: int) -> tuple[int, int]:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(f"/proc/{pid}/fd"))
