"""The body of ``POST /v1/leases``: what a run asks for, and what is refused before anybody is asked."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator

from attrs import field, frozen

from qrmi_broker.lease import Facts, Wanted
from qrmi_core import wire
from qrmi_core.declarations import Fault
from qrmi_core.errors import PayloadError
from qrmi_core.models import Run
from qrmi_core.payload import parse_json

_WAIT_S = 20.0
_SURROGATE = re.compile("[\ud800-\udfff]")


@frozen(kw_only=True)
class LeaseRequest:
    """Of one run: all of it, or nothing."""

    run: Run
    resources: tuple[Wanted, ...]
    facts: Facts = field(factory=Facts)
    wait_s: float = _WAIT_S
    """How long to wait for lanes."""


for _cls in (Run, Wanted, Facts, LeaseRequest):
    wire.forbid_extra_keys(_cls)

BOUNDS: dict[str, tuple[float, float]] = {
    "run.uid": (0, 2**32 - 2),
    "run.restart_count": (0, 2**32 - 1),
    "run.start_time": (0, 10**12),
    "facts.time_limit_s": (0, 10**12),
    "wait_s": (0, 86_400),
}
"""Of the numbers in a lease request, as Slurm has them: the ledger takes no greater ones, and no user is below 0."""


def read(body: bytes) -> LeaseRequest:
    """What *body* asks for.

    Raises:
        PayloadError: it is no such request; names the field.
    """
    document = parse_json(body, "lease request")
    made, faults = wire.structure(document, LeaseRequest)
    if made is None:
        path, problem = faults[0]
        raise PayloadError("lease request", f"$.{path}", problem, "See the protocol's reference")
    for where, problem, remedy in _faults(document, made):
        raise PayloadError("lease request", f"$.{where}", problem, remedy)
    return made


def _faults(document: object, made: LeaseRequest) -> Iterator[Fault]:
    """What the types of a lease request cannot say."""
    if not made.run.job_id:
        yield "run.job_id", "is missing", "Give the id of the job"
    if not made.resources:
        yield "resources", "is missing", "Name what is asked for"
    for where, (least, most) in BOUNDS.items():
        found = operator.attrgetter(where)(made)
        if found is not None and not least <= found <= most:
            yield where, f"is {found}", f"Give {least} to {most}"
    for where, text in _texts(document):
        if not text.isascii() and _SURROGATE.search(text):
            yield where, "is not UTF-8", "Give text without half of a surrogate pair"


def _texts(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text of *value*, and where it stands."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, f"{path}[{index}]")
