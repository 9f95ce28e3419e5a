"""Each fault does what it says, to the requests that it names and to no other."""

from __future__ import annotations

import json
import time

import botocore.exceptions
import pytest
import requests

from qrmi_core import ConfigError
from qrmi_testkit.emulators import faults
from qrmi_testkit.emulators.faults import Fault, Faults

BACKENDS = "/v1/backends"


@pytest.fixture(autouse=True)
def behaving(service_of_da, service_of_qrs):
    """No fault is left for the next test."""
    yield
    for service in (service_of_da, service_of_qrs):
        service.faults.clear()


@pytest.mark.parametrize("status", [401, 408, 423, 429, 500, 502, 503])
def test_an_error_is_answered_as_often_as_was_said(da, status):
    """A test of a retry would never see its success, or see none of the failures."""
    da.service.faults.add("GET", BACKENDS, status=status, times=2)

    assert [status, status, 200] == [da("GET", BACKENDS).status_code for _ in range(3)]
    assert 200 == da("GET", f"{BACKENDS}/ibm_torino").status_code


def test_an_error_has_the_form_of_the_service(da, qrs):
    """A client that looks for the code would be tried with a body that no service sends."""
    da.service.faults.add("GET", BACKENDS, status=429, retry_after_s=7)
    qrs.service.faults.add("GET", "/api/v1/backends", status=503, body="<html>Bad gateway</html>")

    mine, theirs = da("GET", BACKENDS), qrs("GET", "/backends")
    assert {"status_code", "trace", "errors", "title"} == mine.json().keys()
    assert "7" == mine.headers["Retry-After"]
    assert (503, "<html>Bad gateway</html>") == (theirs.status_code, theirs.text)


def test_an_error_before_is_not_carried_out_and_one_after_is(qrs):
    """The difference between a job that was lost and one that was submitted twice could not be tried."""
    for when, jobs in (("before", 0), ("after", 1)):
        qrs.service.faults.add("POST", "/api/v1/jobs", status=502, when=when)

        assert 502 == qrs("POST", "/jobs", json=qrs.body()).status_code
        assert jobs == qrs("GET", "/jobs").json()["count"]


def test_a_connection_is_dropped_before_or_after(qrs):
    """The difference between a job that was lost and one that was submitted twice could not be tried."""
    for when, jobs in (("before", 0), ("after", 1)):
        qrs.service.faults.add("POST", "/api/v1/jobs", drop=True, when=when)

        with pytest.raises(requests.ConnectionError):
            qrs("POST", "/jobs", json=qrs.body())
        assert jobs == qrs("GET", "/jobs").json()["count"]


def test_latency_delays_the_answer(da):
    """A deadline of a client could not be tried."""
    da.service.faults.add("GET", BACKENDS, latency_s=0.3)
    started = time.monotonic()

    assert 200 == da("GET", BACKENDS).status_code
    assert 0.3 <= time.monotonic() - started


def test_a_slow_drip_comes_whole(da):
    """A client that gives up between two bytes, rather than at its deadline, could not be told from a good one."""
    da.service.faults.add("GET", BACKENDS, drip_s=0.4)
    started = time.monotonic()

    reply = da("GET", BACKENDS)
    assert 0.3 <= time.monotonic() - started
    assert "backends" in reply.json()


def test_a_truncated_body_ends_early(da):
    """A client that takes half a result for a result could not be found out."""
    da.service.faults.add("GET", BACKENDS, truncate=True)

    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        da("GET", BACKENDS)


def test_tokens_expire_when_told_to(da):
    """A client's renewal after a 401 could not be tried."""
    da.service.faults.add("GET", BACKENDS, expire_tokens=True)

    assert [401, 401] == [da("GET", BACKENDS).status_code for _ in range(2)]
    da.renew()
    assert 200 == da("GET", BACKENDS).status_code


def test_a_skewed_token_has_other_times_and_is_good_as_long(da):
    """A client that compares a token's times with its own clock could not be found out."""
    da.service.faults.add("POST", "/identity/token", skew_s=-7200)
    da.renew()

    assert da.token["expiration"] < time.time()
    assert 3600 == da.token["expires_in"]
    assert 200 == da("GET", BACKENDS).status_code


def test_a_job_waits_for_jobs_of_others(qrs):
    """A client's waiting in a queue could not be tried."""
    qrs.service.faults.add("POST", "/api/v1/jobs", ahead=3, service_s=0.3)
    before = qrs("GET", "/backends/ibm_torino/status").json()["length_queue"]
    job_id = qrs.start()

    assert "Queued" == qrs.show(job_id)["status"]
    assert before + 2 <= qrs("GET", "/backends/ibm_torino/status").json()["length_queue"]
    assert "Completed" == qrs.ended(job_id)["status"]


def test_a_job_fails_for_the_reason_that_was_given(da, qrs):
    """That a reason reaches the user could not be tried."""
    for client, route in ((da, "/v1/jobs"), (qrs, "/api/v1/jobs")):
        client.service.faults.add("POST", route, fail="the fridge is warm", fail_code=9999)
        job = client.ended(client.start())
        state = job["state"] if client is qrs else job

        assert "Failed" == job["status"]
        assert 9999 == state["reason_code"]
        assert "the fridge is warm" == state["reason" if client is qrs else "reason_message"]


def test_a_job_takes_its_time(qrs):
    """How late a client notices an end could not be measured."""
    qrs.service.faults.add("POST", "/api/v1/jobs", service_s=0.5)
    job = qrs.ended(qrs.start())

    assert 0.5 <= job["usage"]["quantum_seconds"]


def test_storage_misbehaves_too(da):
    """An upload that fails, half of a sequence of calls, could not be tried."""
    da.service.faults.add("PUT", "/{bucket}/{key}", status=403)
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        da.body({})

    da.service.faults.add("PUT", "/{bucket}/{key}", status=503, skip=1, times=1)  # the service's own upload
    assert "Failed" == da.ended(da.start())["status"]


def test_faults_wait_for_their_turn():
    """The third of five requests could not be the one that fails."""
    table = Faults([("GET", "/a"), ("POST", "/a")])
    table.add("GET", "/a", skip=2, status=500)
    table.add("*", "/*", times=None, latency_s=1)

    met = [table.take("GET", "/a") for _ in range(4)]
    assert [None, None, 500, None] == [fault and fault.status for fault in met]
    assert [1.0, 1.0, 0.0, 1.0] == [fault and fault.latency_s for fault in met]
    assert [3] == [entry["met"] for entry in table.left]


FORMS = [
    '{"method": "POST", "route": "/v1/jobs", "status": 503, "times": 2, "fail_code": 7}',
    '[{"method": "POST", "route": "/v1/jobs", "status": 503, "times": 2, "fail_code": 7}]',
    "POST /v1/jobs status=503 times=2 fail_code=7",
    "# a comment\nPOST /v1/jobs status=503 times=2 fail_code=7 # why",
]


@pytest.mark.parametrize("text", FORMS)
def test_every_form_says_the_same(text, tmp_path):
    """What the page on faults shows would not be what the command takes."""
    expected = [Fault(method="POST", route="/v1/jobs", status=503, times=2, fail_code=7)]
    (tmp_path / "faults").write_text(text)

    assert expected == faults.given(text)
    assert expected == faults.given(str(tmp_path / "faults"))


def test_a_fault_waits_for_a_request_that_has_what_it_spoils(qrs):
    """A failed job that any POST will do for would be spent on the token before it, and never strike."""
    qrs.service.faults.add("POST", "*", fail="the fridge is warm")
    qrs.service.faults.add("*", "*", skew_s=60)
    qrs.renew()

    assert 0 < qrs.token["expiration"] - time.time() - 3600 <= 61
    assert "Failed" == qrs.ended(qrs.start())["status"]


def test_a_line_holds_several_faults_and_texts_with_blanks():
    """A reason of several words could not be given in a shell."""
    first, second = faults.parse("POST /v1/jobs fail='too hot'; GET * latency_s=1 times=null")

    assert "too hot" == first.fail
    assert (None, 1.0) == (second.times, second.latency_s)


WRONG = {
    '{"statuss": 503}': "did you mean status?",
    '{"status": "503"}': "status: is text, not a whole number",
    '{"latency_s": "1"}': "latency_s: is text, not a number",
    '{"latency_s": true}': "latency_s: is true or false, not a number",
    '{"status": 200}': "status 200 is no error",
    '{"method": "GET"}': "it does nothing",
    '{"retry_after_s": 3}': "give its status",
    '{"latency_s": 1, "when": "after"}': "give one of them",
    '{"drop": true, "when": "never"}': "not before or after",
    '{"drop": true, "times": 0}': "times is below 1",
    '{"latency_s": -1}': "latency_s is negative",
    "[1]": "is a number, not an object",
    "{": "is not JSON",
    "POST status=503": "must begin with a method and a route",
    "POST /v1/jobs fail='": "No closing quotation",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_fault_that_says_nothing_sensible_is_refused(text):
    """A misspelt fault would never strike, and the test that wanted it would pass."""
    with pytest.raises(ConfigError) as caught:
        faults.parse(text)

    assert WRONG[text] in str(caught.value)


@pytest.mark.parametrize("place", [("GET", "/v1/job"), ("POST", "/v1/backends"), ("PATCH", "*")])
def test_a_fault_that_can_meet_nothing_is_refused(da, place):
    """A fault for a route that is spelt otherwise would never strike, and the test that wanted it would pass."""
    with pytest.raises(ConfigError, match=r"is no request that this can happen to.*POST /v1/jobs"):
        da.service.faults.add(*place, status=500)


def test_a_fault_of_a_job_needs_a_submission(da):
    """A failure that is bound to a question would never strike."""
    with pytest.raises(ConfigError, match=r"There are POST /v1/jobs"):
        da.service.faults.add("GET", "/v1/jobs", fail="why not")


def test_another_process_scripts_it_over_http(da):
    """An emulator that was started by a command could not be made to misbehave."""
    base = f"{da.service.url}/_emulator"
    added = requests.post(f"{base}/faults", data="GET /v1/backends status=500 times=null")
    assert [(200, 500, None)] == [(added.status_code, one["status"], one["times"]) for one in added.json()]
    assert 500 == da("GET", BACKENDS).status_code
    assert [1] == [one["met"] for one in requests.get(f"{base}/faults").json()]
    assert 204 == requests.delete(f"{base}/faults").status_code
    assert 200 == da("GET", BACKENDS).status_code

    refused = requests.post(f"{base}/faults", data=json.dumps({"statuss": 500}))
    assert 400 == refused.status_code
    assert "did you mean status?" in refused.text


def test_another_process_counts_the_requests(da):
    """How often a program asked could be told only from inside."""
    base = f"{da.service.url}/_emulator"
    assert 204 == requests.delete(f"{base}/requests").status_code
    for _ in range(3):
        da("GET", BACKENDS)
    da("GET", "/v1/jobs/nonsense")

    found = requests.get(f"{base}/requests").json()
    assert {"method": "GET", "route": BACKENDS, "count": 3} in found["counts"]
    assert (404, "/v1/jobs/{id}") == (found["requests"][-1]["status"], found["requests"][-1]["route"])
    assert da.token["access_token"] not in json.dumps(found)


def test_another_process_lets_time_pass_and_changes_a_device(da):
    """Expiry could be tried only by waiting, and a closed device only at the vendor's."""
    base = f"{da.service.url}/_emulator"
    changed = requests.patch(f"{base}/devices/ibm_fez", json={"status": "paused", "message": "maintenance"})
    assert ("paused", "maintenance") == (changed.json()["status"], changed.json()["message"])
    assert "paused" == da("GET", f"{BACKENDS}/ibm_fez").json()["status"]
    assert 400 == requests.patch(f"{base}/devices/ibm_fez", json={"status": "asleep"}).status_code
    requests.patch(f"{base}/devices/ibm_fez", json={"status": "online", "message": ""})

    assert 200 == requests.post(f"{base}/clock", json={"advance_s": 4000}).status_code
    assert 401 == da("GET", BACKENDS).status_code
    da.renew()
    assert 200 == da("GET", BACKENDS).status_code
