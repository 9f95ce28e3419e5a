"""What happens in a history: the steps of its clients and the troubles of its broker. Both follow from the seed alone,

and nothing here knows what the right answer to any of them is.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from attrs import frozen

from qrmi_broker.crashpoint import POINTS

SLOTS = 2
"""Jobs of one client at a time."""
_WEIGHTS = {
    "ask": 8,
    "ask_twice": 2,
    "ask_as_before": 2,
    "submit": 22,
    "submit_twice": 4,
    "submit_with_old_token": 6,
    "status": 14,
    "wait": 4,
    "result": 10,
    "stop": 4,
    "find": 6,
    "show": 6,
    "list": 2,
    "release": 5,
    "end": 2,
    "requeue": 3,
}


@frozen
class Step:
    """What a client does next."""

    verb: str
    slot: int
    choice: int
    """Whatever else must be drawn, is drawn from this."""


@frozen
class Trouble:
    """What happens to the broker, or to what it depends on."""

    kind: str
    at: str = ""
    then: str = ""
    """A crash has a second point."""


def steps(seed: int, client: int, count: int) -> Iterator[Step]:
    """The steps of one client."""
    draw = random.Random(f"{seed}/{client}")
    verbs, weights = list(_WEIGHTS), list(_WEIGHTS.values())
    for _ in range(count):
        yield Step(draw.choices(verbs, weights)[0], draw.randrange(SLOTS), draw.getrandbits(30))


def troubles(
    seed: int,
    ways: Sequence[str],
    loss: str,
    *,
    crashes: int = 0,
    stops: int = 0,
    jumps: int = 0,
    failures: int = 0,
    losses: int = 0,
    points: Sequence[str] = POINTS,
) -> list[Trouble]:
    """The troubles of one history: each crash is a kill, two starts that die at *points* of the code, and a start.

    Half as many crashes as there are points go through all of them.
    The vendor can fail in these *ways*; one of them, the *loss*, loses the answers to submissions.
    """
    draw = random.Random(f"{seed}/troubles")
    half = len(points) // 2
    found = [Trouble("crash", points[number % half], points[half + number % half]) for number in range(crashes)]
    found += [Trouble("stop")] * stops + [Trouble("jump", draw.choice(("+", "-"))) for _ in range(jumps)]
    found += [Trouble("vendor", draw.choice(ways)) for _ in range(failures)]
    found += [Trouble("squeue", draw.choice(("fails", "babbles"))) for _ in range(failures // 2)]
    found += [Trouble("vendor", loss)] * losses
    found += [Trouble("restart")] * (crashes // 8)
    draw.shuffle(found)
    return found
