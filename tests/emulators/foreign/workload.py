"""What a user does with qiskit-ibm-runtime, against the service at an address; prints what came of it as JSON.

    python workload.py URL API_KEY CRN

Two things tell the library where the service is, for it knows only IBM's: a resolver of addresses, and a list of
instances in place of IBM's catalogue. Everything else is the library as it is.
"""

import json
import os
import sys
import time
import urllib.request

url, api_key, crn = sys.argv[1:]
os.environ["IAM_URL"] = url

from qiskit import QuantumCircuit, transpile  # noqa: E402
from qiskit.quantum_info import SparsePauliOp  # noqa: E402
from qiskit_ibm_runtime import Batch, EstimatorV2, QiskitRuntimeService, SamplerV2, Session  # noqa: E402
from qiskit_ibm_runtime.accounts.account import Account  # noqa: E402

Account.list_instances = lambda self: [
    {"crn": crn, "plan": "premium", "name": "emulated", "tags": [], "pricing_type": "paid"}
]
H2 = SparsePauliOp.from_list(
    [
        ("II", -1.052373245772859),
        ("IZ", 0.39793742484318045),
        ("ZI", -0.39793742484318045),
        ("ZZ", -0.01128010425623538),
        ("XX", 0.18093119978423156),
    ]
)
THETA = -0.223537


def bell() -> QuantumCircuit:
    """Two qubits that are read alike."""
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.measure_all()
    return circuit


def ground_state() -> QuantumCircuit:
    """Of hydrogen, as far as two qubits can hold it."""
    circuit = QuantumCircuit(2)
    circuit.x(0)
    circuit.ry(THETA, 1)
    circuit.cx(1, 0)
    return circuit


def ended(job) -> str:
    """The job's status once it has ended."""
    end = time.monotonic() + 60
    while not job.in_final_state() and time.monotonic() < end:
        time.sleep(0.1)
    return job.status()


def fault(text: str) -> None:
    """Let the next job meet a fault."""
    urllib.request.urlopen(f"{url}/_emulator/faults", data=text.encode()).read()


def main() -> dict:
    """Do it all."""
    service = QiskitRuntimeService(
        channel="ibm_quantum_platform",
        token=api_key,
        instance=crn,
        url=url,
        url_resolver=lambda *_args, **_kwargs: f"{url}/api/v1",
    )
    backend = service.backend("ibm_torino")
    report = {"backends": sorted(one.name for one in service.backends()), "qubits": backend.num_qubits}
    report["operational"] = backend.status().operational
    report["least_busy"] = service.least_busy(operational=True).name
    report["usage"] = sorted(service.usage())
    isa, state = transpile(bell(), backend), transpile(ground_state(), backend)
    observable = H2.apply_layout(state.layout)

    job = SamplerV2(mode=backend).run([isa], shots=4096)
    report["alone"] = job.result()[0].data.meas.get_counts()
    report["metrics"] = sorted(job.metrics())
    again = service.job(job.job_id())
    report["again"] = again.result()[0].data.meas.get_counts()
    report["inputs"] = sorted(again.inputs)
    report["logs"] = job.logs()

    with Session(backend=backend, max_time=600) as session:
        sampler = SamplerV2(mode=session)
        sampler.options.environment.job_tags = ["in-a-session"]
        report["in_session"] = sampler.run([isa], shots=4096).result()[0].data.meas.get_counts()
        estimator = EstimatorV2(mode=session)
        report["energy"] = float(estimator.run([(state, observable)], precision=0.01).result()[0].data.evs)
        details = session.details()
        report["session"] = [details["mode"], details["max_time"], session.status()]
    report["session_id"] = session.session_id
    report["session_after"] = session.status()
    tagged = service.jobs(job_tags=["in-a-session"])
    report["tagged"] = [one.tags for one in tagged]

    with Batch(backend=backend) as batch:
        jobs = [SamplerV2(mode=batch).run([isa], shots=1024) for _ in range(3)]
        report["in_batch"] = [one.result()[0].data.meas.get_counts() for one in jobs]
    report["batch_mode"] = batch.details()["mode"]

    fault("POST /api/v1/jobs service_s=60")
    job = SamplerV2(mode=backend).run([isa])
    job.cancel()
    report["cancelled"] = ended(job)
    service.delete_job(job.job_id())

    fault("POST /api/v1/jobs fail='the fridge is warm'")
    job = SamplerV2(mode=backend).run([isa])
    report["failed"] = [ended(job), job.error_message()]
    report["pending"] = len(service.jobs(pending=True))
    return report


if __name__ == "__main__":
    json.dump(main(), sys.stdout)
