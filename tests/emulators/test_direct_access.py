"""Each route of the emulated Direct Access keeps the contract of the real one, as far as it is known."""

from __future__ import annotations

import re
import uuid

import botocore.exceptions
import pytest
import requests

from qrmi_testkit import emulators

from .client import DirectClient, sample, until

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def refused(reply: requests.Response) -> tuple[int, str]:
    """Status and code of a refusal, whose body must have the service's form."""
    body = reply.json()
    assert reply.status_code == body["status_code"]
    assert body["trace"]
    assert body["title"]
    (error,) = body["errors"]
    assert {"code", "message", "more_info"} <= error.keys()
    return reply.status_code, error["code"]


def test_backends_are_listed_and_shown(da):
    """A client's list of resources, and whether one is accessible, would be wrong."""
    listed = da("GET", "/v1/backends").json()["backends"]

    assert ["ibm_torino", "ibm_fez"] == [one["name"] for one in listed]
    for one in listed:
        assert one == da("GET", f"/v1/backends/{one['name']}").json()
        assert ("online", False) == (one["status"], one["locked"])


def test_a_backends_documents_are_those_of_the_device(da):
    """A compiler would have no target."""
    configuration = da("GET", "/v1/backends/ibm_torino/configuration").json()
    properties = da("GET", "/v1/backends/ibm_torino/properties").json()
    lanes = da("GET", "/v1/backends/ibm_torino/lanes").json()

    assert ("ibm_torino", 133) == (configuration["backend_name"], configuration["n_qubits"])
    assert 133 == len(properties["qubits"])
    assert {"hpc_workload_manager": {"lanes": 3}, "ibm_quantum_compute": {"lanes": 0}} == lanes
    assert 501 == da("GET", "/v1/backends/ibm_torino/defaults").status_code


@pytest.mark.parametrize("what", ["", "/configuration", "/properties", "/lanes", "/defaults"])
def test_an_unknown_backend_is_not_found(da, what):
    """A misspelt name would look like a fault of the service."""
    assert (404, "1216") == refused(da("GET", f"/v1/backends/ibm_nowhere{what}"))


def test_an_unknown_route_or_method_is_refused_in_the_services_form(da):
    """A client that asks for what there is not would be tried with a body that no service sends."""
    assert 404 == refused(da("GET", "/v1/nothing"))[0]
    assert 405 == refused(da("PUT", "/v1/jobs"))[0]


def test_a_job_goes_from_running_to_completed(da):
    """A client would see a status that the service does not have, or a result before or after its time."""
    job_id = da.start()
    first, last = da.show(job_id), da.ended(job_id)

    assert {"id", "backend", "program_id", "status", "created_time", "storage"} <= first.keys()
    assert "Running" == first["status"]
    assert "end_time" not in first
    assert "Completed" == last["status"]
    assert ISO.fullmatch(last["created_time"])
    assert ISO.fullmatch(last["end_time"])
    assert type(last["usage"]["quantum_nanoseconds"]) is int
    assert [job_id] == [one["id"] for one in da("GET", "/v1/jobs").json()["jobs"]]


def test_results_are_there_when_the_status_says_so(da):
    """A client that reads the result at once would not find it."""
    for _ in range(3):
        job_id = da.start()
        da.ended(job_id)
        assert da.object(f"results_{job_id}.json")
        assert da.object(f"logs_{job_id}.json")
        assert 204 == da("DELETE", f"/v1/jobs/{job_id}").status_code


def test_jobs_are_listed_in_the_order_in_which_they_came(da):
    """A client that looks for the newest would find the oldest."""
    ids = [da.start() for _ in range(3)]

    assert ids == [one["id"] for one in da("GET", "/v1/jobs").json()["jobs"]]


def test_success_without_a_body_is_exactly_204(da):
    """The official client takes no other status for success."""
    da.service.faults.add("POST", "/v1/jobs", service_s=30)
    body = da.body(sample("sampler_bell.json")["parameters"])
    job = f"/v1/jobs/{body['id']}"
    replies = [da("POST", "/v1/jobs", json=body), da("POST", f"{job}/cancel"), da("DELETE", job)]

    assert [(204, b"")] * 3 == [(one.status_code, one.content) for one in replies]
    assert (404, "1291") == refused(da("GET", job))


def test_a_cancelled_job_has_no_result_but_a_log(da):
    """A client would wait for a cancelled job, or take half of a result for one."""
    da.service.faults.add("POST", "/v1/jobs", service_s=30)
    job_id = da.start()
    da("POST", f"/v1/jobs/{job_id}/cancel")

    assert "Cancelled" == da.show(job_id)["status"]
    until(lambda: f"logs_{job_id}.json" in da.service.objects())
    assert f"results_{job_id}.json" not in da.service.objects()


def test_a_simulation_ends_when_its_job_is_cancelled(da):
    """A cancelled job would go on computing, and hold up those that come after it."""
    circuit = "OPENQASM 3.0; include 'stdgates.inc'; qubit[26] q; bit[26] c;".replace("'", '"')
    for layer in range(40):
        circuit += "".join(f"ry(0.{layer}{qubit}) q[{qubit}]; " for qubit in range(26))
        circuit += "".join(f"cx q[{qubit}], q[{qubit + 1}]; " for qubit in range(25))
    body = da.body({"pubs": [[circuit + "c = measure q;", None, 10]], "version": 2, "support_qiskit": False})
    da("POST", "/v1/jobs", json=body)
    until(lambda: da.show(body["id"])["status"] == "Running")
    assert 204 == da("POST", f"/v1/jobs/{body['id']}/cancel").status_code

    assert "Completed" == da.ended(da.start())["status"]


def test_a_job_that_ended_is_not_cancelled_and_one_that_did_not_is_not_deleted(da):
    """The remedies of a client for a late cancel and an early delete could not be tried."""
    da.service.faults.add("POST", "/v1/jobs", service_s=30)
    running, ended = da.start(), da.start()
    da.ended(ended)

    assert (409, "1306") == refused(da("POST", f"/v1/jobs/{ended}/cancel"))
    assert (409, "1337") == refused(da("DELETE", f"/v1/jobs/{running}"))
    assert [404, 404] == [
        da(method, path).status_code for method, path in (("POST", "/v1/jobs/x/cancel"), ("DELETE", "/v1/jobs/x"))
    ]


def test_an_id_is_taken_once(da):
    """A client that repeats a submission could not tell that the first one had arrived."""
    job_id = da.start()
    body = da.body(sample("sampler_bell.json")["parameters"], job_id)

    assert (409, "1231") == refused(da("POST", "/v1/jobs", json=body))


def test_every_job_that_was_not_deleted_takes_a_lane(da):
    """A client that never deletes would work for ever."""
    ids = [da.start() for _ in range(3)]
    for job_id in ids:
        da.ended(job_id)
    body = da.body(sample("sampler_bell.json")["parameters"])

    assert (429, "1232") == refused(da("POST", "/v1/jobs", json=body))
    da("DELETE", f"/v1/jobs/{ids[0]}")
    assert 204 == da("POST", "/v1/jobs", json=body).status_code


@pytest.mark.parametrize(
    "change",
    [
        {"id": ""},
        {"id": "x" * 257},
        {"backend": None},
        {"program_id": 7},
        {"timeout_secs": 0},
        {"timeout_secs": "100"},
        {"log_level": "loud"},
        {"storage": None},
        {"storage": {}},
        {"storage": {"input": {"type": "ibmcloud_cos"}}},
        {"storage": {"input": {"type": "s3_compatible"}}},
    ],
    ids=str,
)
def test_a_bad_submission_is_refused(da, change):
    """A client that sends nonsense would seem to work."""
    body = da.body({}) | change

    assert (400, "1337") == refused(da("POST", "/v1/jobs", json=body))


def test_a_submission_that_is_no_object_is_refused(da):
    """A client that sends nonsense would seem to work."""
    assert [(400, "1337")] * 2 == [refused(da("POST", "/v1/jobs", data=text)) for text in ("{", "[1]")]
    assert (404, "1216") == refused(da("POST", "/v1/jobs", json=da.body({}, backend="ibm_nowhere")))


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"program_id": "executor"}, 1300, "executor"),
        ({"program_id": "estimator"}, 5203, "is not an observable"),
        ({"timeout_secs": 1}, 1305, "longer than its limit of 1 s"),
    ],
)
def test_a_job_that_cannot_run_fails_with_a_code_and_a_reason(da, change, code, words):
    """A client would show a failure without its cause, or read a code that is no number."""
    da.service.faults.add("POST", "/v1/jobs", service_s=2)
    job = da.ended(da.start(**change))

    assert ("Failed", code) == (job["status"], job["reason_code"])
    assert words in job["reason_message"]
    assert job["reason_solution"]
    assert words in da.object(f"logs_{job['id']}.json").decode()


def test_an_input_that_is_not_there_fails_the_job(da):
    """A client that submits before it has uploaded would seem to work."""
    body = da.body({})
    body["storage"]["input"] = da.url("get_object", "nothing.json")
    da("POST", "/v1/jobs", json=body)

    job = da.ended(body["id"])
    assert ("Failed", "The presigned URL of input cannot be used: status 404") == (job["status"], job["reason_message"])


def test_an_expired_url_fails_the_job(da):
    """A client that signs for less than the queue takes would lose its result only at the vendor's."""
    da.service.faults.add("POST", "/v1/jobs", ahead=6, service_s=0.1)
    body = da.body(sample("sampler_bell.json")["parameters"], expires_s=1)
    da("POST", "/v1/jobs", json=body)
    da.service.clock.advance(1)

    job = da.ended(body["id"])
    assert "Failed" == job["status"]
    assert "The presigned URL of input expired" in job["reason_message"]


def test_the_storage_refuses_an_expired_url_and_an_unknown_key(da):
    """moto takes both."""
    url = da.url("put_object", "x", 60)["presigned_url"]
    assert 200 == requests.put(url, data=b"x").status_code
    da.service.clock.advance(61)
    late = requests.put(url, data=b"x")
    assert (403, True) == (late.status_code, "Request has expired" in late.text)

    da.s3._request_signer._credentials.access_key = "EMULATEDNOBODY"
    with pytest.raises(botocore.exceptions.ClientError, match="InvalidAccessKeyId"):
        da.object("x")


def test_a_large_object_in_several_parts_comes_back_whole(da):
    """An upload in parts, as boto3 makes one of a large payload, would be garbled on its way."""
    import io

    content = uuid.uuid4().bytes * (1 << 20)  # 16 MiB
    da.s3.upload_fileobj(io.BytesIO(content), da.bucket, "large")

    assert content == da.object("large")
    da.s3.delete_object(Bucket=da.bucket, Key="large")
    assert "large" not in da.service.objects()


def test_a_device_that_is_not_to_be_had_takes_no_jobs(da):
    """A reservation, or maintenance, could be tried only at the vendor's."""
    device = da.service.devices["ibm_torino"]
    body = da.body(sample("sampler_bell.json")["parameters"])
    try:
        device.is_locked = True
        assert 423 == da("POST", "/v1/jobs", json=body).status_code
        device.is_locked, device.status = False, "offline"
        assert 503 == da("POST", "/v1/jobs", json=body).status_code
        assert "offline" == da("GET", "/v1/backends/ibm_torino").json()["status"]
    finally:
        device.is_locked, device.status = False, "online"


def test_two_emulators_share_nothing():
    """Two tests at a time would see each other's jobs and objects."""
    with emulators.direct_access(devices=("line_5",)) as one, emulators.direct_access(devices=("line_5",)) as two:
        first, second = DirectClient(one), DirectClient(two)
        job_id = first.start()
        assert 404 == second("GET", f"/v1/jobs/{job_id}").status_code
        assert [] == two.objects()
        first.ended(job_id)
        assert 3 == len(one.objects())
        first.close()
        second.close()
