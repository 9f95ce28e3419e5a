"""Vendors that never answer: a lease ends at its limit all the same."""

from __future__ import annotations

import asyncio
import time

from qrmi_broker import session, tasks
from qrmi_broker.lease import Facts, Grant, Lease, Wanted
from qrmi_broker.task import Task
from qrmi_broker.tasks import Tasks
from qrmi_core.models import Run

LIMIT_S = 0.2


def lease() -> Lease:
    """One that may take no longer than `LIMIT_S`."""
    facts, expires_at = Facts(time_limit_s=LIMIT_S), time.time() + LIMIT_S
    run = Run(uid=1, cluster="c", job_id="1", restart_count=0, start_time=1)
    grant = Grant(id="g", run=run, facts=facts, wanted=(Wanted(name="fez"),), expires_at=expires_at)
    return Lease(grant=grant, resource="fez", alias="fez", fence=1)


def test_a_submission_without_end_holds_no_lease_beyond_its_limit(monkeypatch):
    """Its lane would be lost until the broker is restarted."""
    for name in ("_SETTLE_S", "_STOP_S", "ANSWER_S"):
        monkeypatch.setattr(tasks, name, LIMIT_S / 4)

    async def settled() -> float:
        task = Task(id="t", resource="fez", uid=1, key="k", kind="script", digest="", size_bytes=0, fence=1)
        task.sending = asyncio.create_task(asyncio.sleep(60))
        made, started = Tasks(ledger=None, vendors={}, spool=None), time.monotonic()
        made._open[task.id] = task
        await made.settle(lease())
        return time.monotonic() - started

    assert LIMIT_S <= asyncio.run(settled()) < 10


def test_an_acquire_without_end_is_looked_up_at_its_limit(monkeypatch):
    """The same, where a session may be open that nobody was told of."""
    monkeypatch.setattr(session, "_LOOK_S", LIMIT_S / 4)

    async def may_be_open() -> tuple[bool, float]:
        one, started = lease(), time.monotonic()
        one.opening = asyncio.create_task(asyncio.sleep(60))
        return await session.may_be_open(one), time.monotonic() - started

    is_open, took_s = asyncio.run(may_be_open())
    assert is_open
    assert LIMIT_S <= took_s < 10


def test_an_administrator_need_not_wait_for_an_acquire_without_end():
    """Who has seen at the vendor that nothing is open would wait for the limit all the same."""

    async def may_be_open() -> bool:
        one = lease()
        one.grant.limit_at, one.grant.is_forced = time.monotonic() + 60, True
        one.opening = asyncio.create_task(asyncio.sleep(60))
        async with asyncio.timeout(10):
            return await session.may_be_open(one)

    assert asyncio.run(may_be_open())


def test_a_clock_that_jumps_forward_takes_no_time_from_a_lease(monkeypatch):
    """The end that the scheduler lists would seem to be now, and an empty list would then end the lease."""
    grant, now = lease().grant, time.time()
    grant.lives(now + 7200)
    before = grant.limit_at
    monkeypatch.setattr(time, "time", lambda: now + 7199)
    grant.lives(now + 7200)

    assert before <= grant.limit_at
