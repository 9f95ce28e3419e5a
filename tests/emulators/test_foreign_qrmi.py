"""The `qrmi` wheel from PyPI, unmodified and in an environment of its own, is content with the emulated services."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from system.physics import CHECKS

from .client import DATA

PEER = "qrmi==0.26.4"
HERE = Path(__file__).parent / "foreign"
NAME = "ibm_torino"


@pytest.fixture(scope="module")
def peer(tmp_path_factory) -> Path:
    """The commands of an environment that has the wheel, and no part of ours."""
    place = tmp_path_factory.mktemp("peer") / "venv"
    for words in (
        ["venv", "-q", "--python", sys.executable, str(place)],
        ["pip", "install", "-q", "--python", str(place / "bin" / "python"), PEER],
    ):
        done = subprocess.run([sys.executable, "-m", "uv", *words], capture_output=True, text=True)
        assert 0 == done.returncode, done.stderr
    return place / "bin"


def variables(client, prefix: str, type_: str) -> dict[str, str]:
    """The environment of a job, as the wheel reads it."""
    own = client.service.variables(client.account, prefix)
    listed = {"SLURM_JOB_QPU_RESOURCES": NAME, "SLURM_JOB_QPU_TYPES": type_}
    return {
        "PATH": os.environ["PATH"],
        "SRUN_DEBUG": "4",
        **listed,
        **{name.replace("SLURM", "QRMI"): value for name, value in listed.items()},
        f"{NAME}_QRMI_JOB_TIMEOUT_SECONDS": "300",
        **{f"{NAME}_{name}": value for name, value in own.items()},
    }


def all_verbs(peer: Path, env: dict[str, str], type_: str) -> dict:
    """What the verbs came to."""
    words = [NAME, type_, str(DATA / "sampler_bell.json"), str(DATA / "estimator_h2.json")]
    done = subprocess.run(
        [peer / "python", HERE / "all_verbs.py", *words], env=env, capture_output=True, text=True, timeout=120
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_every_verb_works_on_direct_access(peer, da):
    """The emulator would be one that only our own client is content with."""
    da.service.faults.add("POST", "/v1/jobs", skip=1, service_s=60)
    report = all_verbs(peer, variables(da, "QRMI_IBM_QS", "ibm-quantum-system"), "IBMQuantumSystem")

    assert (NAME, True) == (report["id"], report["is_accessible"])
    assert ["configuration", "properties"] == report["target"]
    assert "TaskStatus.Completed" in report["statuses"]
    assert {"TaskStatus.Running", "TaskStatus.Completed"} >= set(report["statuses"])
    CHECKS["sampler_bell.json"](report["result"])
    assert "completed" in report["logs"]
    assert ["ibm_fez", "ibm_torino"] == sorted(report["discovered"])
    assert [] == da("GET", "/v1/jobs").json()["jobs"]  # stopping deletes


@pytest.mark.parametrize("type_", ["IBMQuantumComputeService", "IBMQiskitRuntimeService"])
def test_every_verb_works_on_runtime(peer, qrs, type_):
    """The emulator would be one that only our own client is content with."""
    qrs.service.faults.add("POST", "/api/v1/jobs", skip=1, service_s=60)
    prefix = "QRMI_IBM_QCS" if type_ == "IBMQuantumComputeService" else "QRMI_IBM_QRS"
    report = all_verbs(peer, variables(qrs, prefix, "ibm-quantum-compute-service"), type_)

    assert (NAME, True) == (report["id"], report["is_accessible"])
    assert ["configuration", "properties"] == report["target"]
    assert "TaskStatus.Completed" in report["statuses"]
    CHECKS["sampler_bell.json"](report["result"])
    assert "completed" in report["logs"]
    assert ["ibm_fez", "ibm_torino"] == sorted(report["discovered"])
    session = qrs("GET", f"/sessions/{report['token']}").json()
    assert ("closed", "dedicated") == (session["state"], session["mode"])
    jobs = qrs("GET", "/jobs", params={"sort": "ASC"}).json()["jobs"]
    assert ["Completed", "Cancelled"] == [one["status"] for one in jobs]
    assert {report["token"]} == {one.get("session_id") for one in jobs}


SAMPLES = [name for name in CHECKS if name.startswith(("sampler", "estimator"))]


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("service", ["da", "qrs"])
def test_its_task_runner_gets_right_physics(request, peer, service, name, tmp_path):
    """The emulator would be one that only our own runner is content with."""
    client = request.getfixturevalue(service)
    types = {
        "da": ("QRMI_IBM_QS", "ibm-quantum-system"),
        "qrs": ("QRMI_IBM_QCS", "ibm-quantum-compute-service"),
    }
    done = subprocess.run(
        [peer / "task_runner", NAME, DATA / name, tmp_path / "result.json"],
        env=variables(client, *types[service]),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    CHECKS[name](json.loads((tmp_path / "result.json").read_text()))


def test_its_answers_to_failures_are_those_that_are_known(peer, da):
    """An error of the emulator that the wheel cannot read would not be one of the service."""
    da.service.faults.add("POST", "/v1/jobs", fail="the fridge is warm", fail_code=5203)
    code = (
        "import sys, time, qrmi, json\n"
        f"sys.path.insert(0, {str(HERE)!r})\n"
        "from all_verbs import payload\n"
        f"resource = qrmi.QuantumResource({NAME!r}, qrmi.ResourceType.IBMQuantumSystem)\n"
        f"task = resource.task_start(payload({str(DATA / 'sampler_bell.json')!r}))\n"
        "while resource.task_status(task) == qrmi.TaskStatus.Running: time.sleep(0.1)\n"
        "try: resource.task_result(task)\n"
        "except Exception as exc: print(exc)\n"
        "try: resource.task_status('nothing')\n"
        "except qrmi.TaskNotFoundError as exc: print(exc)\n"
    )
    env = variables(da, "QRMI_IBM_QS", "ibm-quantum-system")
    done = subprocess.run([peer / "python", "-c", code], env=env, capture_output=True, text=True, timeout=120)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "the fridge is warm" in done.stdout
    assert "5203" in done.stdout
    assert "1291" in done.stdout or "not found" in done.stdout.lower()
