"""What travels to the service and back: options unchanged, polls without the input, accounts apart from each other."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from functools import partial

import pytest
from attrs import evolve
from structlog.testing import capture_logs

from qrmi_core import ConfigError, Payload, ResourceUnavailable, TaskNotFound, open_resource
from qrmi_core.declarations import declaration
from qrmi_ibm_qrs import Settings
from qrmi_testkit.calls import together

from .service import DEVICE, bell, opening
from .test_faults import BASE, CALLS, is_bell, run


@pytest.mark.parametrize("type_", ["qiskit-runtime-service", "ibm-quantum-compute-service"])
@pytest.mark.parametrize("prefix", ["QRMI_IBM_QRS", "QRMI_IBM_QCS"])
def test_both_names_and_both_prefixes_are_understood(running, type_, prefix):
    """A configuration of the existing ecosystem, older or newer, was refused."""
    one = opening(running, type_=type_)
    environment = {name.replace("QRMI_IBM_QRS", prefix): value for name, value in one.environment.items()}
    with open_resource(evolve(one, environment=environment)) as resource:
        assert is_bell(run(resource))


def test_two_prefixes_with_different_values_are_a_fault_that_names_both(running):
    """Of two addresses one was taken, and nobody knew which."""
    with pytest.raises(ConfigError) as info:
        open_resource(opening(running).with_variables({"QRMI_IBM_QCS_ENDPOINT": "http://elsewhere"}))
    assert "QRMI_IBM_QRS_ENDPOINT" in str(info.value)
    assert "QRMI_IBM_QCS_ENDPOINT" in str(info.value)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("ENDPOINT", "http://h:99999/api/v1", "its port is a number"),
        ("IAM_ENDPOINT", "https://a b", "it has no spaces"),
        ("SERVICE_CRN", "crn:\nX: y", "must be of ASCII"),
        ("SERVICE_CRN", "crn:\u4e00", "must be of ASCII"),
    ],
)
def test_what_cannot_work_is_said_of_the_setting(running, name, value, problem):
    """The first request ended as a fault of the backend, which the user was to report to its maintainers."""
    with pytest.raises(ConfigError, match=problem):
        open_resource(
            evolve(opening(running), environment={**opening(running).environment, f"QRMI_IBM_QRS_{name}": value})
        )


def test_options_travel_unchanged(running, open_):
    """An option that we have never heard of was dropped, as the vendor's ecosystem does, or its numbers spelt anew."""
    document = bell().json()
    document["parameters"]["options"] |= {"brand_new": {"é": [1e-7, 1.0, None]}, "twirling": {"enable_gates": True}}
    content = json.dumps(document, ensure_ascii=False, indent=3).encode()
    task_id = open_().task_start(Payload.from_bytes("qiskit-primitive", content), key="1")

    assert document["parameters"] == running.jobs[task_id].document["params"]


def test_a_poll_does_not_fetch_the_input(running, open_):
    """Every question how a task is getting on downloaded its whole payload again."""
    assert is_bell(run(open_()))

    polls = [one for one in running.requests.requests if one.method == "GET" and "/jobs" in one.path]
    polls = [one for one in polls if one.route in (f"{BASE}/jobs", f"{BASE}/jobs/{{id}}")]
    assert polls
    assert all("exclude_params=true" in one.path for one in polls)


def test_the_time_limit_of_the_job_is_the_cost(running, open_):
    """A task could run on the processor for longer than its job had left."""
    with open_resource(evolve(opening(running), timeout_s=90.0)) as resource:
        resource.task_start(bell(), key="1")
    open_(TIMEOUT_SECONDS="30").task_start(bell(), key="2")
    open_().task_start(bell(), key="3")

    assert [90, 30, None] == [job.document.get("cost") for job in running.submitted]


def test_two_accounts_live_side_by_side_in_one_process(running):
    """A token, a session or a task of one account was used for the other."""
    other = running.add_account()
    first, second = opening(running, "mine", BACKEND=DEVICE), opening(running, "theirs", BACKEND=DEVICE)
    theirs = {"QRMI_IBM_QRS_IAM_APIKEY": other.api_key, "QRMI_IBM_QRS_SERVICE_CRN": other.crn}
    second = evolve(second, environment=second.environment | theirs)
    with open_resource(first) as one, open_resource(second) as two:
        lives = [partial(run, resource) for resource in (one, two, one, two)]
        assert all(is_bell(result) for result in together(60, lives))
        ids = [resource.task_start(bell(), key="the same key") for resource in (one, two)]

        assert ids[0] != ids[1]
        assert ids == [one.find_task("the same key"), two.find_task("the same key")]
        for resource, foreign in ((one, ids[1]), (two, ids[0])):
            with pytest.raises(TaskNotFound):
                resource.task_status(foreign)
    owners = Counter(job.account.crn for job in running.submitted)
    assert {running.options.account.crn: 3, other.crn: 3} == owners


def test_one_token_serves_all_threads(running, open_):
    """Eight threads that began at the same moment fetched eight tokens."""
    resource = open_()

    assert [True] * 8 == together(30, [resource.is_accessible] * 8)
    assert 1 == running.requests.count(*CALLS["token"])


def test_tokens_may_expire_while_a_task_runs(new_service, open_):
    """Who waits for a long task lost contact with it when the first token expired."""
    running = new_service(token_ttl_s=1)

    assert is_bell(run(open_(running), bell("service_s=2.5")))
    assert running.requests.count(*CALLS["token"]) >= 3


def test_the_least_busy_processor_is_taken_and_kept(new_service, open_):
    """Tasks waited in the longest queue, or each went to another processor."""
    running = new_service(devices=("line_5", "line_7", "line_9"))
    running.devices["line_9"].status = "offline"
    busy = open_(running, name="line_7")
    busy.task_start(bell("service_s=300"), key="1")
    with capture_logs() as events:
        resource = open_(running, name="any", BACKEND="least-busy")
        ids = [resource.task_start(bell(), key=key) for key in "ab"]

    assert ["line_5", "line_5"] == [running.jobs[one].device for one in ids]
    assert ["line_5"] == [one["device"] for one in events if one["event"] == "device.chosen"]
    assert [("line_5", True, 5), ("line_7", True, 7), ("line_9", False, 9)] == [
        (one.name, one.is_online, one.qubits) for one in sorted(resource.discover(), key=lambda one: one.name)
    ]


def test_no_processor_online_is_said(new_service, open_):
    """`least-busy` took one that accepts nothing."""
    running = new_service(devices=("line_5",))
    running.devices["line_5"].status = "paused"

    assert not open_(running, name="line_5").is_accessible()
    with pytest.raises(ResourceUnavailable):
        open_(running, BACKEND="least-busy").task_start(bell(), key="1")


def test_a_processor_that_is_not_there_is_a_fault_of_the_configuration(open_):
    """A misspelt name was reported as a service that is down."""
    for use in (lambda one: one.is_accessible(), lambda one: one.target(), lambda one: one.task_start(bell(), key="1")):
        with pytest.raises(ConfigError) as info:
            use(open_(BACKEND="ibm_torin"))
        assert "ibm_torin" in str(info.value)


def test_a_target_holds_the_services_documents(running, open_):
    """A compiler got something else than what the vendor serialises."""
    target = json.loads(open_().target())

    assert running.devices[DEVICE].configuration == target["configuration"]
    assert running.devices[DEVICE].properties == target["properties"]


def test_a_target_without_properties_has_none(running, open_):
    """A processor that was never calibrated had no target at all; or one with a fault had `null` for it."""
    running.faults.add("GET", f"{BASE}/backends/{{name}}/properties", status=404)
    assert json.loads(open_().target())["properties"] is None
    running.faults.add("GET", f"{BASE}/backends/{{name}}/properties", status=500, times=4)
    with pytest.raises(ResourceUnavailable):
        open_().target()


def test_a_large_payload_is_sent_without_copies_of_it(running, open_):
    """Twenty megabytes were held several times while they were sent."""
    size = 20_000_000
    document = bell().json()
    document["parameters"]["options"]["environment"]["private"] = "x" * size
    payload = Payload.from_json("qiskit-primitive", document)
    resource = open_()
    body = resource.inner._body(payload, "tag", None)
    tracemalloc.start()
    with body.open() as stream:
        while stream.read(1 << 16):
            pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert body.size_bytes > size
    assert peak < size / 10


def test_every_setting_has_an_example_or_a_unit():
    """Whoever configures a resource had to guess what a setting takes."""
    assert {"endpoint", "iam_endpoint", "iam_apikey", "service_crn"} == {
        one.name for one in declaration(Settings) if one.is_required
    }
    assert ["iam_apikey"] == [one.name for one in declaration(Settings) if one.secret]
