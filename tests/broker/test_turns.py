"""Turns: a flood of one user's requests waits behind itself."""

from __future__ import annotations

import asyncio

from qrmi_broker.turns import Turns


def test_one_user_waits_behind_nobody_elses_flood():
    """A lease would take as long as all that one user has sent before it."""

    async def first() -> list[int]:
        turns, begun = Turns(), []

        async def request(uid: int) -> None:
            await turns.begin(uid)
            begun.append(uid)

        flood = [asyncio.create_task(request(1)) for _ in range(100)]
        other = asyncio.create_task(request(2))
        await other
        seen = list(begun)
        await asyncio.gather(*flood)
        assert 101 == len(begun)
        return seen

    assert [1, 2] == asyncio.run(first())


def test_who_has_gone_has_no_turn():
    """One client that hung up would stop all requests of its user for ever."""

    async def ends() -> int:
        turns = Turns()
        waiting = [asyncio.create_task(turns.begin(1)) for _ in range(10)]
        await asyncio.sleep(0)
        for task in waiting[1:5]:
            task.cancel()
        done, _ = await asyncio.wait(waiting, timeout=10)
        return len(done)

    assert 10 == asyncio.run(ends())
