"""Every verb of the `qrmi` wheel on one resource; prints what came back as JSON. The wheel is all that it needs.

python all_verbs.py RESOURCE TYPE PAYLOAD SLOW_PAYLOAD
"""

import json
import os
import sys
import time

from qrmi import Payload, QuantumResource, ResourceProvider, ResourceType, TaskStatus

ENDED = (TaskStatus.Completed, TaskStatus.Failed, TaskStatus.Cancelled)


def payload(path: str) -> Payload:
    """A payload file, as its own task runner reads it."""
    with open(path) as stream:
        found = json.load(stream)
    return Payload.QiskitPrimitive(input=json.dumps(found["parameters"]), program_id=found["program_id"])


def main(name: str, type_: str, path: str, slow_path: str) -> None:
    """Go through all of them."""
    kind = getattr(ResourceType, type_)
    resource = QuantumResource(name, kind)
    report = {"id": resource.resource_id(), "is_accessible": resource.is_accessible(), "metadata": resource.metadata()}
    status = resource.status()
    report["status"] = str(status.status_code) if hasattr(status, "status_code") else str(status)
    token = resource.acquire()
    os.environ[f"{name}_QRMI_JOB_ACQUISITION_TOKEN"] = token
    report["token"] = token
    report["target"] = sorted(json.loads(resource.target().value))

    task = resource.task_start(payload(path))
    seen = [resource.task_status(task)]
    while seen[-1] not in ENDED:
        time.sleep(0.1)
        seen.append(resource.task_status(task))
    report["statuses"] = sorted({str(one) for one in seen})
    report["result"] = json.loads(resource.task_result(task).value)
    report["logs"] = resource.task_logs(task)
    resource.task_stop(task)

    slow = resource.task_start(payload(slow_path))
    resource.task_stop(slow)
    report["stopped"] = slow
    resource.release(token)

    environment = {key[len(name) + 1 :]: value for key, value in os.environ.items() if key.startswith(f"{name}_")}
    provider = ResourceProvider(kind, environment)
    report["discovered"] = [one.resource_id() for one in provider.resources()]
    if type_ != "IBMQuantumSystem":
        report["least_busy"] = provider.least_busy().resource_id()
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
