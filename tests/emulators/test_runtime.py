"""Each route of the emulated Qiskit Runtime keeps the contract of the real one, as far as it is known."""

from __future__ import annotations

import pytest
import requests

from qrmi_core import ConfigError
from qrmi_testkit import emulators

from .client import RuntimeClient, good, until

TEXT = "text/plain; charset=utf-8"


def refused(reply: requests.Response) -> tuple[int, int]:
    """Status and code of a refusal, whose body must have the service's form."""
    body = reply.json()
    assert {"trace", "errors"} == body.keys()
    (error,) = body["errors"]
    assert {"code", "message", "more_info", "solution"} == error.keys()
    return reply.status_code, error["code"]


def slow(client: RuntimeClient, **more) -> str:
    """Submit a job that takes until somebody ends it; its id."""
    client.service.faults.add("POST", "/api/v1/jobs", service_s=60, **more)
    return client.start()


def test_devices_are_listed_as_the_version_asks(qrs):
    """A client that names no version, or the wrong one, would be tried with the other form."""
    new = qrs("GET", "/backends", headers={"IBM-API-Version": "2025-01-01"}).json()["devices"]
    old = qrs("GET", "/backends", headers={"IBM-API-Version": "2024-06-01"}).json()["devices"]

    assert old == [one["name"] for one in new] == ["ibm_torino", "ibm_fez"]
    assert new == qrs("GET", "/backends").json()["devices"]
    for one in new:
        assert {"name": "online"} == one["status"]
        assert type(one["queue_length"]) is int
        assert type(one["qubits"]) is int


def test_a_backend_has_a_status_and_documents(qrs):
    """A client's idea of whether it may submit would be wrong, and a compiler would have no target."""
    status = qrs("GET", "/backends/ibm_torino/status").json()

    assert {"state", "status", "message", "length_queue", "backend_version"} == status.keys()
    assert (True, "active") == (status["state"], status["status"])
    assert "ibm_torino" == qrs("GET", "/backends/ibm_torino/configuration").json()["backend_name"]
    assert 133 == len(qrs("GET", "/backends/ibm_torino/properties").json()["qubits"])
    for what in ("status", "configuration", "properties"):
        assert (404, 1216) == refused(qrs("GET", f"/backends/ibm_nowhere/{what}"))


def test_a_paused_device_says_so(qrs):
    """Maintenance could be tried only at the vendor's."""
    device = qrs.service.devices["ibm_fez"]
    device.status, device.message = "paused", "maintenance"
    try:
        status = qrs("GET", "/backends/ibm_fez/status").json()
        assert (False, "paused", "maintenance") == (status["state"], status["status"], status["message"])
        devices = qrs("GET", "/backends").json()["devices"]
        assert {"name": "paused", "reason": "maintenance"} == devices[1]["status"]
    finally:
        device.status, device.message = "online", ""


def test_a_job_goes_from_queued_to_completed(qrs):
    """A client would see a status that the service does not have."""
    job_id = slow(qrs, ahead=1)
    queued = qrs.show(job_id)
    qrs("POST", f"/jobs/{job_id}/cancel")
    job_id = qrs.start(cost=100, tags=["one", "two"])
    ended = qrs.ended(job_id)

    assert ("Queued", {"status": "Queued"}) == (queued["status"], queued["state"])
    assert ("Completed", {"status": "Completed"}) == (ended["status"], ended["state"])
    assert {"id": "sampler"} == ended["program"]
    assert (100, ["one", "two"], "ibm_torino") == (ended["cost"], ended["tags"], ended["backend"])
    assert type(queued["cost"]) is int
    assert 0 < ended["usage"]["quantum_seconds"]
    assert "params" not in ended
    assert qrs.body()["params"] == qrs("GET", f"/jobs/{job_id}").json()["params"]


def test_results_and_logs_are_text(qrs):
    """The official client takes results and logs as nothing but text."""
    job_id = qrs.start()
    qrs.ended(job_id)

    for what in ("results", "logs"):
        assert TEXT == qrs("GET", f"/jobs/{job_id}/{what}").headers["Content-Type"]


def test_there_is_no_result_before_the_end_and_an_error_text_after_a_failure(qrs):
    """A client would take nothing for a result, or find no cause."""
    running = slow(qrs)
    assert (204, b"") == ((reply := qrs("GET", f"/jobs/{running}/results")).status_code, reply.content)

    job = qrs.ended(qrs.start(program_id="estimator"))
    text = qrs("GET", f"/jobs/{job['id']}/results")
    assert ("Failed", "Failed", 5203) == (job["status"], job["state"]["status"], job["state"]["reason_code"])
    assert {"reason", "reason_solution"} <= job["state"].keys()
    assert (200, TEXT) == (text.status_code, text.headers["Content-Type"])
    assert text.text.startswith("Traceback")
    assert job["state"]["reason"] in text.text


def test_a_job_that_runs_too_long_is_cancelled_with_its_own_status(qrs):
    """A client would take the vendor's limit for somebody's wish."""
    qrs.service.faults.add("POST", "/api/v1/jobs", service_s=5)
    job = qrs.ended(qrs.start(cost=1))

    assert ("Cancelled - Ran too long", "Cancelled") == (job["status"], job["state"]["status"])
    assert 1305 == job["state"]["reason_code"]


def test_a_job_is_cancelled_once_and_deleted_when_it_ended(qrs):
    """The remedies of a client for a late cancel and an early delete could not be tried."""
    job_id = slow(qrs)
    job = f"/jobs/{job_id}"

    assert (409, 1337) == refused(qrs("DELETE", job))
    assert (204, b"") == ((reply := qrs("POST", f"{job}/cancel")).status_code, reply.content)
    assert "Cancelled" == qrs.show(job_id)["status"]
    assert (409, 1306) == refused(qrs("POST", f"{job}/cancel"))
    assert (204, b"") == ((reply := qrs("DELETE", job)).status_code, reply.content)
    assert (404, 1291) == refused(qrs("GET", job))


def test_an_unknown_job_is_not_found(qrs):
    """A client's answer to a wrong id could not be tried."""
    for method, path in (
        *(("GET", f"/jobs/x{what}") for what in ("", "/results", "/logs", "/metrics")),
        *(("POST", "/jobs/x/cancel"), ("DELETE", "/jobs/x"), ("PUT", "/jobs/x/tags")),
    ):
        assert (404, 1291) == refused(qrs(method, path, json={"tags": []} if method == "PUT" else None))


def test_jobs_are_found_by_tag_session_and_state(qrs):
    """A client that looks for its job before it sends it again would find nothing, or another's."""
    session = qrs.session()
    first, second = qrs.start(tags=["key-1", "both"]), qrs.start(tags=["key-2", "both"], session_id=session)
    for job_id in (first, second):
        qrs.ended(job_id)
    third = slow(qrs)

    def found(**query) -> list[str]:
        return [one["id"] for one in qrs("GET", "/jobs", params=query).json()["jobs"]]

    assert [third, second, first] == found()
    assert [first, second, third] == found(sort="ASC")
    assert [first] == found(tags="key-1")
    assert [second, first] == found(tags="both")
    assert [] == found(tags=["key-1", "key-2"])
    assert [second] == found(session_id=session)
    assert [third] == found(pending="true")
    assert [second, first] == found(pending="false")
    assert [] == found(pending="true", session_id=session)
    assert [] == found(backend="ibm_fez")
    assert [] == found(program="estimator")
    assert [] == found(created_before="2000-01-01T00:00:00Z")
    assert [third, second, first] == found(created_after="2000-01-01T00:00:00Z")


def test_a_list_has_pages(qrs):
    """A client that reads the first page only would lose the rest."""
    ids = [slow(qrs) for _ in range(3)]
    page = qrs("GET", "/jobs", params={"limit": 2, "offset": 1, "sort": "ASC", "exclude_params": "true"}).json()

    assert (3, 1, 2) == (page["count"], page["offset"], page["limit"])
    assert ids[1:] == [one["id"] for one in page["jobs"]]
    assert all("params" not in one for one in page["jobs"])
    assert (400, 1337) == refused(qrs("GET", "/jobs", params={"limit": "many"}))
    for job_id in ids:
        qrs("POST", f"/jobs/{job_id}/cancel")


def test_tags_are_changed(qrs):
    """A job could not be marked after its submission."""
    job_id = qrs.start(tags=["old"])

    assert qrs("PUT", f"/jobs/{job_id}/tags", json={"tags": ["new"]}).ok
    assert ["new"] == qrs.show(job_id)["tags"]
    assert (400, 1337) == refused(qrs("PUT", f"/jobs/{job_id}/tags", json={"tags": ["x" * 87]}))


def test_metrics_tell_the_times(qrs):
    """What a job has cost could not be told."""
    job_id = qrs.start()
    qrs.ended(job_id)
    metrics = qrs("GET", f"/jobs/{job_id}/metrics").json()

    times = metrics["timestamps"]
    assert times["created"] <= times["running"] <= times["finished"]
    assert 0 < metrics["usage"]["quantum_seconds"]


def test_a_private_job_shows_its_input_never_and_its_result_once(qrs):
    """A client that reads a private result twice would seem to work."""
    job_id = qrs.start(private=True)
    qrs.ended(job_id)

    assert "params" not in qrs("GET", f"/jobs/{job_id}").json()
    assert [200, 404] == [qrs("GET", f"/jobs/{job_id}/results").status_code for _ in range(2)]


@pytest.mark.parametrize(
    "change",
    [
        {"backend": None},
        {"program_id": ""},
        {"params": "{}"},
        {"cost": 1.5},
        {"cost": 10_801},
        {"log_level": "loud"},
        {"tags": "one"},
        {"tags": ["x" * 87]},
    ],
    ids=str,
)
def test_a_bad_submission_is_refused(qrs, change):
    """A client that sends nonsense would seem to work."""
    assert (400, 1337) == refused(qrs("POST", "/jobs", json=qrs.body(**change)))


@pytest.mark.parametrize("level", ["debug", "WARNING"])
def test_log_levels_are_taken_in_both_cases(qrs, level):
    """One of the two official clients would be refused."""
    assert qrs("POST", "/jobs", json=qrs.body(log_level=level)).ok


def test_the_use_of_an_instance_has_a_limit():
    """What a user sees when the allowance is used up could be tried only by using it up."""
    with emulators.runtime(devices=("line_5",), usage_limit_s=1, service_s=1.2) as service:
        client = RuntimeClient(service)
        assert not client("GET", "/instances/usage").json()["usage_limit_reached"]
        client.ended(client.start())
        usage = client("GET", "/instances/usage").json()
        assert usage["usage_limit_reached"]
        assert usage["usage_consumed_seconds"] >= 1 == usage["usage_limit_seconds"]
        assert 409 == client("POST", "/jobs", json=client.body()).status_code
        client.close()


# -- sessions


@pytest.mark.parametrize("mode", ["dedicated", "batch"])
def test_a_session_goes_from_open_to_closed(qrs, mode):
    """A client that asks where its session is would be told what the service does not say."""
    session = qrs.session(mode, max_ttl=100)

    def state() -> str:
        return good(qrs("GET", f"/sessions/{session}"))["state"]

    shown = good(qrs("GET", f"/sessions/{session}"))
    assert (mode, "ibm_torino", 100, True) == tuple(
        shown[name] for name in ("mode", "backend_name", "max_ttl", "accepting_jobs")
    )
    assert shown["active_ttl"] <= 100
    assert "open" == state()
    job_id = qrs.start(session_id=session)
    assert session == qrs.show(job_id)["session_id"]
    qrs.ended(job_id)
    assert "inactive" == state()
    qrs.service.faults.add("POST", "/api/v1/jobs", service_s=60)
    job_id = qrs.start(session_id=session)
    until(lambda: "active" == state())
    assert 204 == qrs("PATCH", f"/sessions/{session}", json={"accepting_jobs": False}).status_code
    assert "active" == state()
    qrs("POST", f"/jobs/{job_id}/cancel")
    assert "closed" == state()


def test_sessions_are_listed_with_the_other_workloads(qrs):
    """A client that lost the answer to its opening of a session would never find it again."""
    session, batch = qrs.session(), qrs.session("batch")
    job = qrs.start()
    qrs("DELETE", f"/sessions/{batch}/close")

    def found(**query) -> list[tuple[str, str]]:
        return [(one["id"], one["mode"]) for one in qrs("GET", "/workloads", params=query).json()["workloads"]]

    assert [(job, "job"), (batch, "batch"), (session, "session")] == found()
    assert [(session, "session")] == found(mode="session")
    assert (batch, "batch") in found(status="completed")
    page = qrs("GET", "/workloads", params={"limit": 2}).json()
    assert (2, 3) == (len(page["workloads"]), page["total_count"])
    assert [(session, "session")] == found(limit=2, next=page["next"]["cursor"])
    assert (400, 1337) == refused(qrs("GET", "/workloads", params={"limit": 99}))


def test_both_ways_to_close_a_session_may_be_repeated(qrs):
    """A client that cancels and then leaves its `with` closes twice."""
    for first, second in (("PATCH", "DELETE"), ("DELETE", "PATCH"), ("PATCH", "PATCH"), ("DELETE", "DELETE")):
        session = f"/sessions/{qrs.session()}"
        for method in (first, second):
            path, body = (session, {"accepting_jobs": False}) if method == "PATCH" else (f"{session}/close", None)
            assert 204 == qrs(method, path, json=body).status_code
        shown = good(qrs("GET", session))
        assert ("closed", False, 0) == (shown["state"], shown["accepting_jobs"], shown["active_ttl"])


def test_a_closed_session_takes_no_jobs(qrs):
    """A client that goes on after its session ended would seem to work."""
    session = qrs.session()
    qrs("PATCH", f"/sessions/{session}", json={"accepting_jobs": False})

    assert (400, 1217) == refused(qrs("POST", "/jobs", json=qrs.body(session_id=session)))
    assert (404, 1337) == refused(qrs("POST", "/jobs", json=qrs.body(session_id="nothing")))
    assert (400, 1337) == refused(qrs("POST", "/jobs", json=qrs.body(session_id=qrs.session(), backend="ibm_fez")))


def test_closing_at_once_cancels_the_queue_and_lets_what_runs_end(qrs):
    """Jobs that wait would run after all, or those that run would be lost."""
    session = qrs.session()
    qrs.service.faults.add("POST", "/api/v1/jobs", service_s=1)
    running = qrs.start(session_id=session)
    until(lambda: "Running" == qrs.show(running)["status"])
    qrs.service.faults.add("POST", "/api/v1/jobs", service_s=10, ahead=9)
    waiting = qrs.start(session_id=session)
    qrs("DELETE", f"/sessions/{session}/close")

    assert "Cancelled" == qrs.show(waiting)["status"]
    assert "Completed" == qrs.ended(running)["status"]


def test_a_session_ends_with_its_time(qrs):
    """A client that holds a session for too long could be tried only by waiting."""
    used, idle = qrs.session(max_ttl=100), qrs.session()
    qrs.ended(qrs.start(session_id=used))
    waiting = [slow(qrs, ahead=9)]
    qrs.service.faults.add("POST", "/api/v1/jobs", service_s=10, ahead=9)
    waiting.append(qrs.start(session_id=used))
    qrs.service.clock.advance(101)
    assert ["closed", "open"] == [good(qrs("GET", f"/sessions/{one}"))["state"] for one in (used, idle)]
    assert ["Queued", "Cancelled"] == [qrs.show(one)["status"] for one in waiting]
    qrs.service.clock.advance(1700)
    assert "closed" == good(qrs("GET", f"/sessions/{idle}"))["state"]
    qrs("POST", f"/jobs/{waiting[0]}/cancel")


@pytest.mark.parametrize(
    "change", [{"mode": "shared"}, {"max_ttl": 0.5}, {"max_ttl": 28_801}, {"max_ttl": "100"}], ids=str
)
def test_a_bad_session_is_refused(qrs, change):
    """A client that asks for nonsense would seem to work."""
    body = {"mode": "dedicated", "backend": "ibm_torino", **change}

    assert (400, 1337) == refused(qrs("POST", "/sessions", json=body))


@pytest.mark.parametrize(("plan", "dedicated", "batch"), [("paid", 200, 200), ("open", 400, 200), ("none", 400, 400)])
def test_a_plan_has_its_modes(plan, dedicated, batch):
    """What a client does where the plan refuses a session could be tried only with such a plan."""
    with emulators.runtime(plan=plan, devices=("line_5",)) as service:
        client = RuntimeClient(service)
        replies = [
            client("POST", "/sessions", json={"mode": mode, "backend": "line_5"}) for mode in ("dedicated", "batch")
        ]
        assert [dedicated, batch] == [one.status_code for one in replies]
        assert [1352] * (replies[0].status_code != 200) == [refused(replies[0])[1] for _ in "x" if not replies[0].ok]
        client.close()


def test_an_unknown_plan_or_device_is_refused():
    """A misspelt word would be taken for the default."""
    with pytest.raises(ConfigError, match="ibm_nowhere"):
        emulators.runtime(devices=("ibm_nowhere",))
    with pytest.raises(ConfigError, match="gold"):
        emulators.runtime(plan="gold")


def test_a_queue_is_as_wide_as_the_lanes():
    """A device would run any number of jobs at a time."""
    with emulators.runtime(lanes=2, devices=("line_5",), service_s=60) as service:
        client = RuntimeClient(service)
        ids = [client.start() for _ in range(3)]
        until(lambda: ["Running", "Running", "Queued"] == [client.show(one)["status"] for one in ids])
        assert 3 == client("GET", "/backends/line_5/status").json()["length_queue"]
        client("POST", f"/jobs/{ids[0]}/cancel")
        until(lambda: "Running" == client.show(ids[2])["status"])
        client.close()
