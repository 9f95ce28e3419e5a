"""The emulated service as these tests use it: a payload may say how long its job takes and how it ends."""

from __future__ import annotations

from typing import Any

from qrmi_core import Opening, Payload
from qrmi_testkit.emulators.faults import Fault
from qrmi_testkit.emulators.jobs import Job
from qrmi_testkit.emulators.runtime import Runtime, RuntimeOptions

TYPE = "qiskit-runtime-service"
DEVICE = "ibm_torino"
BELL = 'OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; bit[2] c; h q[0]; cx q[0], q[1]; c = measure q;'


class Service(Runtime):
    """Qiskit Runtime; it does what a job's own tags say, which travel in its options."""

    def take(self, job: Job, fault: Fault | None) -> None:
        """Begin to work on *job*, as its tags say."""
        tags = job.document["params"].get("options", {}).get("environment", {}).get("job_tags", [])
        facts = dict(tag.split("=", 1) for tag in tags)
        if "service_s" in facts:
            fault = Fault(service_s=float(facts["service_s"]))
        elif "fail" in facts:
            fault = Fault(fail=facts["fail"])
        super().take(job, fault)

    @property
    def open_sessions(self) -> list[str]:
        """The ids of those that take jobs."""
        return [one.id for one in self.sessions.values() if one.is_accepting]


def service(**options: Any) -> Service:
    """An emulator of one processor, to be opened with `with`."""
    facts = {"devices": (DEVICE,), "simulator": {"QRMI_LOCAL_SEED": "7"}, **options}
    return Service(RuntimeOptions(**facts))


def bell(*tags: str, shots: int = 100) -> Payload:
    """A pair of qubits; *tags* say what the emulated service is to do."""
    options = {"environment": {"job_tags": list(tags)}}
    parameters = {"pubs": [[BELL, None, shots]], "version": 2, "support_qiskit": False, "options": options}
    return Payload.from_json("qiskit-primitive", {"program_id": "sampler", "parameters": parameters})


def opening(running: Runtime, name: str = DEVICE, type_: str = TYPE, **variables: str) -> Opening:
    """How to open the emulated processor; *variables* are settings without their prefix."""
    settings = {f"QRMI_IBM_QRS_{suffix}": value for suffix, value in variables.items()}
    return Opening(name=name, type=type_, environment=running.environment() | settings, source="the test")
