"""Every request that an emulator was sent, in order, and how many there were."""

from __future__ import annotations

from collections import Counter
from typing import Any

from attrs import asdict, define, field


@define
class Request:
    """One request."""

    method: str
    route: str
    """As the emulator declares it: ``/v1/jobs/{id}``."""
    path: str
    """As it was sent, with its query."""
    at_s: float
    """Seconds since the epoch."""
    headers: dict[str, str]
    """All but those that are secret."""
    size_bytes: int | None
    """Of the body, where the client said so."""
    status: int | None = None
    """Of the answer; None while there is none, and where the connection was dropped."""
    fault: bool = False
    """It met a fault."""


_SECRET = {"authorization", "cookie"}


@define
class Journal:
    """The requests of one emulator, except those to its own control route."""

    requests: list[Request] = field(factory=list)

    def count(self, method: str | None = None, route: str | None = None) -> int:
        """How many requests there were, of this *method* and to this *route* if they are given."""
        return sum(method in (None, one.method) and route in (None, one.route) for one in list(self.requests))

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        """Method and route, to how often they were asked for."""
        return Counter((one.method, one.route) for one in list(self.requests))

    def clear(self) -> None:
        """Forget them all."""
        self.requests.clear()

    def as_json(self) -> dict[str, Any]:
        """What the control route shows."""
        counts = [{"method": method, "route": route, "count": count} for (method, route), count in self.counts.items()]
        return {"counts": counts, "requests": [asdict(one) for one in list(self.requests)]}

    @staticmethod
    def harmless(headers: Any) -> dict[str, str]:
        """The *headers* that may be shown."""
        return {name: value for name, value in headers.items() if name.lower() not in _SECRET}
