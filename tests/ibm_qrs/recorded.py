"""The emulated service as a process of its own, which outlives the brokers of a history, and writes down what happens.

It executes nothing: a history asks whose result it is, and not what was measured. As a script, with the path of its
log and the names of its processors, it prints the variables of a resource as JSON, and serves until stdin ends.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import evolve

TESTS = Path(__file__).parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))

from ibm_qrs.service import Service  # noqa: E402
from qrmi_core import Payload  # noqa: E402
from qrmi_testkit.emulators.faults import Fault  # noqa: E402
from qrmi_testkit.emulators.jobs import Job, Processor  # noqa: E402
from qrmi_testkit.emulators.runtime import RuntimeJob, RuntimeOptions  # noqa: E402

NOTE = "note="
"""The job's own tag that says which payload it is."""


class Echo:
    """In place of a simulator: the result is the payload's own note."""

    async def run(self, job_id: str, payload: Payload) -> tuple[bytes, str]:
        """At once; what a job takes, its tags say."""
        return json.dumps({"note": note_of(payload.json()["parameters"])}).encode(), ""


def note_of(parameters: Mapping[str, Any]) -> str:
    """Whose payload it is."""
    own: list[str] = parameters["options"]["environment"]["job_tags"]
    (note,) = (tag.removeprefix(NOTE) for tag in own if tag.startswith(NOTE))
    return note


class Recorded(Service):
    """Qiskit Runtime; a line of its log for each thing that happens, in the machine's monotonic time."""

    def __init__(self, options: RuntimeOptions, log: Path) -> None:
        self._log = log.open("a", buffering=1)
        super().__init__(options)

    def tell(self, event: str, **facts: object) -> None:
        """Write it down."""
        self._log.write(json.dumps({"at": time.monotonic(), "event": event, **facts}) + "\n")

    def processor(self, device: str) -> Processor:
        """One that echoes."""
        return evolve(super().processor(device), simulator=Echo())

    def take(self, job: Job, fault: Fault | None) -> None:
        """Write down whose payload *job* is, and its tags."""
        assert isinstance(job, RuntimeJob)
        session, note = job.session and job.session.id, note_of(job.document["params"])
        self.tell("job.taken", job=job.id, device=job.device, note=note, session=session, tags=list(job.tags))
        super().take(job, fault)


def main() -> None:
    """Until stdin ends."""
    _, log, *devices = sys.argv
    options = RuntimeOptions(devices=tuple(devices), lanes=64)
    with Recorded(options, Path(log)) as service:
        print(json.dumps({"url": service.url, "environment": service.environment()}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
