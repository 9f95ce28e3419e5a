"""Direct Access as its users meet it: lanes, other people's jobs, clocks, accounts, and what is left behind."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import threading
import time
import uuid

import pytest
from attrs import evolve
from ibm_da.conftest import DEVICE, opening_of
from ibm_da.payloads import bell, nonsense

from qrmi_core import (
    ConfigError,
    Payload,
    PayloadError,
    RequestRefused,
    ResourceUnavailable,
    TaskCancelled,
    TaskNotFound,
    TaskState,
    TaskStatus,
    UnexpectedReply,
    cli,
    open_resource,
)
from qrmi_core.door import Body
from qrmi_testkit import emulators

JOBS = "/v1/jobs"
DAY_S = 86_400


@pytest.fixture(autouse=True)
def clean(da):
    """A service that behaves, without jobs."""
    da.faults.clear()
    da.requests.clear()
    yield
    da.faults.clear()
    da.jobs.clear()


@pytest.fixture
def narrow():
    """A service of two lanes."""
    with emulators.direct_access(lanes=2) as service:
        yield service


def key() -> str:
    return uuid.uuid4().hex


# -- lanes


def test_more_tasks_than_lanes_all_complete(narrow, opened):
    """The service refuses what exceeds its lanes; here it queues, and each task runs once, in lanes that come free."""
    resource = opened(narrow)
    tasks = [resource.task_start(bell(), key=key()) for _ in range(12)]
    first = {resource.task_status(one).status for one in tasks}
    deadline = time.monotonic() + 60
    left = set(tasks)
    while left and time.monotonic() < deadline:
        left = {one for one in left if not resource.task_status(one).status.is_terminal}
        time.sleep(0.05)

    assert set() == left
    assert TaskStatus.QUEUED in first
    assert 12 == len(narrow.submitted)
    assert all(resource.task_result(one) for one in tasks)
    assert {} == narrow.jobs


def test_who_waits_for_a_lane_asks_seldom(narrow, opened):
    """A hundred queued tasks that are polled ten times a second are not a thousand requests a second."""
    resource = opened(narrow)
    narrow.faults.add("POST", JOBS, times=2, service_s=600)
    tasks = [resource.task_start(bell(), key=key()) for _ in range(20)]
    narrow.requests.clear()
    began = time.monotonic()
    polls = 0
    while time.monotonic() - began < 1.5:
        for one in tasks[2:]:
            assert resource.task_status(one).status is TaskStatus.QUEUED
            polls += 1

    assert "waits for a lane" in str(resource.task_status(tasks[-1]).reason)
    assert narrow.requests.count() < 40 < polls


def test_retry_after_of_full_lanes_is_obeyed(narrow, opened):
    """A service that says when to ask for a lane again is not asked before, by no task."""
    resource = opened(narrow)
    narrow.faults.add("POST", JOBS, times=None, status=429, retry_after_s=600)
    tasks = [resource.task_start(bell(), key=key()) for _ in range(3)]
    for _ in range(5):
        assert {TaskStatus.QUEUED} == {resource.task_status(one).status for one in tasks}

    assert 1 == narrow.requests.count("POST", JOBS)


def test_a_queued_task_can_be_stopped(narrow, opened):
    """It never runs, and leaves no input behind."""
    resource = opened(narrow)
    narrow.faults.add("POST", JOBS, times=2, service_s=600)
    *_, queued = [resource.task_start(bell(), key=key()) for _ in range(3)]
    resource.task_stop(queued)

    assert TaskState(TaskStatus.CANCELLED, "stopped before there was a lane") == resource.task_status(queued)
    with pytest.raises(TaskCancelled):
        resource.task_result(queued)
    assert 2 == len(narrow.submitted)
    assert f"input_{queued}.json" not in narrow.objects()


def test_a_queued_task_outlives_its_process(narrow, opened):
    """Whoever asks for it later, from anywhere, submits it: nothing but the storage knows of it."""
    first = opened(narrow)
    narrow.faults.add("POST", JOBS, status=423)
    chosen = key()
    task_id = first.task_start(bell(), key=chosen)
    assert [] == narrow.submitted
    first.close()
    second = opened(narrow)

    assert task_id == second.find_task(chosen)
    assert second.task_wait(task_id, 60).status is TaskStatus.COMPLETED
    assert 1 == len(narrow.submitted)


def test_lanes_of_tasks_that_nobody_asks_for_come_free(narrow, opened):
    """Jobs of programs that died keep lanes for ever, unless somebody deletes them: who needs a lane does."""
    gone = opened(narrow)
    ended = [gone.task_start(bell(), key=key()) for _ in range(2)]
    while not all(job.is_ended for job in narrow.submitted):
        time.sleep(0.02)
    resource = opened(narrow)
    task_id = resource.task_start(bell(), key=key())

    assert resource.task_wait(task_id, 60).status is TaskStatus.COMPLETED
    assert all(resource.task_result(one) for one in ended)


def test_tasks_that_are_waited_for_one_after_the_other_all_complete(narrow, opened):
    """A program starts ten and asks for one after the other: those that ended meanwhile give up their lanes."""
    resource = opened(narrow)
    tasks = [resource.task_start(bell(), key=key()) for _ in range(10)]
    began = time.monotonic()

    assert {TaskStatus.COMPLETED} == {resource.task_wait(one, 60).status for one in reversed(tasks)}
    assert time.monotonic() - began < 30


def test_others_jobs_are_theirs(narrow, opened):
    """A job of another client on the account is neither deleted nor stopped to make room; its lane stays taken."""
    other = opened(narrow, s3_bucket=narrow.storage.bucket)
    theirs = str(uuid.uuid4())
    body = other.inner._objects.submission(theirs, _record())
    other.inner._objects.add(theirs, _record(), _parameters())
    other.inner._service.submit(body)
    while not narrow.jobs[theirs].is_ended:
        time.sleep(0.02)
    resource = opened(narrow)
    tasks = [resource.task_start(bell(), key=key()) for _ in range(4)]
    for one in tasks:
        assert resource.task_wait(one, 60).status is TaskStatus.COMPLETED

    assert [theirs] == list(narrow.jobs)
    assert resource.task_status(theirs).status is TaskStatus.COMPLETED
    assert resource.task_result(theirs)


def _record():
    from qrmi_ibm_da._wire import Record

    return Record(program="sampler", device=DEVICE, timeout_s=60)


def _parameters():
    from qrmi_core.members import call_of

    return call_of(bell())[1]


def test_a_job_that_we_cannot_read_hides_no_other(narrow, opened, monkeypatch):
    """Somebody else's job of a kind that we have never seen stands in the same list as ours."""
    shown = type(narrow)._shown
    monkeypatch.setattr(
        type(narrow), "_shown", lambda self, job: {"id": job.id} if job.program == "odd" else shown(self, job)
    )
    resource = opened(narrow)
    odd = Payload.from_json("qiskit-primitive", {"program_id": "odd", "parameters": {}})
    narrow.faults.add("POST", JOBS, service_s=600)
    unreadable = resource.task_start(odd, key=key())
    tasks = [resource.task_start(bell(), key=key()) for _ in range(3)]

    assert {TaskStatus.COMPLETED} == {resource.task_wait(one, 60).status for one in tasks}
    with pytest.raises(UnexpectedReply, match="has no status"):
        opened(narrow).task_status(unreadable)


def test_a_job_that_somebody_deleted_does_not_run_again(da, opened):
    """An administrator who clears the service away must not make every finished task run, and cost, once more."""
    resource = opened()
    done, failed = (resource.task_start(payload, key=key()) for payload in (bell(), nonsense()))
    while not all(da.jobs[one].is_ended for one in (done, failed)):
        time.sleep(0.02)
    count = len(da.submitted)
    da.jobs.clear()

    assert TaskState(TaskStatus.COMPLETED) == resource.task_status(done)
    assert resource.task_result(done)
    assert resource.task_status(failed).status is TaskStatus.FAILED
    assert count == len(da.submitted)


# -- one key, one job


def test_one_key_is_one_job_in_many_processes_threads_and_years(da, opened):
    """Sent again while it runs, after its end, and after its job was deleted: it is the same task, and ran once."""
    count, chosen = len(da.submitted), key()
    first, second = opened(), opened()
    ids = set()
    threads = [
        threading.Thread(target=lambda one=one: ids.add(one.task_start(bell(), key=chosen)))
        for one in (first, second) * 4
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    (task_id,) = ids
    first.task_wait(task_id, 60)
    assert task_id not in da.jobs

    assert task_id == second.task_start(bell(), key=chosen)
    assert task_id == opened().task_start(bell(), key=chosen)
    assert count + 1 == len(da.submitted)
    assert f"input_{task_id}.json" not in da.objects()


def test_a_process_that_was_overtaken_by_the_tasks_end_submits_nothing(da, opened, monkeypatch):
    """It asked whether the task is known before another submitted it, and would run it again after its end."""
    chosen, first, overtaken = key(), opened(), opened()
    tasks, ids = overtaken.inner._tasks, []
    is_known = tasks.is_known

    def asked(task_id: str) -> bool:
        found = is_known(task_id)
        ids.append(first.task_start(bell(), key=chosen))
        first.task_wait(task_id, 60)
        return found

    monkeypatch.setattr(tasks, "is_known", asked)
    count = len(da.submitted)

    assert overtaken.task_start(bell(), key=chosen) in ids
    assert count + 1 == len(da.submitted)
    assert overtaken.task_status(ids[0]).status is TaskStatus.COMPLETED
    assert overtaken.task_result(ids[0])
    assert f"input_{ids[0]}.json" not in da.objects()


@pytest.mark.parametrize("status", [409, 412, 501])
def test_a_storage_that_knows_no_condition_is_used_all_the_same(da, opened, status):
    """Its tasks could not be submitted; or one whose first answer was lost be taken for somebody else's."""
    da.faults.add("PUT", "/{bucket}/{key}", skip=1, status=status)  # the input, and the record
    resource = opened()
    task_id = resource.task_start(bell(), key=key())

    assert resource.task_wait(task_id, 60).status is TaskStatus.COMPLETED


def test_a_submission_that_arrives_after_the_end_does_not_run(da, opened):
    """A request that was held up on its way may arrive when its job has ended and was deleted: it finds no input."""
    resource = opened()
    task_id = resource.task_start(bell(), key=key())
    late = resource.inner._objects.submission(task_id, _record())
    resource.task_wait(task_id, 60)
    resource.inner._service.submit(late)
    while not da.jobs[task_id].is_ended:
        time.sleep(0.02)

    assert TaskStatus.FAILED is da.jobs[task_id].status
    assert "input" in da.jobs[task_id].reason
    assert resource.task_status(task_id).status is TaskStatus.COMPLETED


# -- the storage


def test_presigned_urls_outlive_the_queue(da, opened):
    """A job still delivers its result six days after its submission. Others sign for the time of the execution only."""
    da.faults.add("POST", JOBS, service_s=1.0)
    resource = opened(timeout_seconds="60")
    try:
        task_id = resource.task_start(bell(), key=key())
        while not da.jobs[task_id].started_s:
            time.sleep(0.02)
        da.clock.advance(5.9 * DAY_S)

        assert TaskState(TaskStatus.COMPLETED) == resource.task_wait(task_id, 60)
        assert resource.task_result(task_id)
    finally:
        da.clock.ahead_s = 0.0


def test_a_queue_longer_than_its_urls_is_said(da, opened):
    """The control of the test above: where they do expire, the task fails and says why."""
    da.faults.add("POST", JOBS, service_s=1.0)
    resource = opened(timeout_seconds="60", queue_seconds="60")
    try:
        task_id = resource.task_start(bell(), key=key())
        while not da.jobs[task_id].started_s:
            time.sleep(0.02)
        da.clock.advance(DAY_S)

        assert "expired" in str(resource.task_wait(task_id, 60).reason)
    finally:
        da.clock.ahead_s = 0.0


@pytest.mark.parametrize("ahead_s", [-DAY_S, DAY_S])
def test_a_clock_of_ours_that_is_wrong_does_no_harm(da, opened, ahead_s):
    """A node whose clock is a day off signs with the storage's time all the same."""
    da.clock.advance(ahead_s)
    try:
        resource = opened()
        task_id = resource.task_start(bell(), key=key())

        assert resource.task_wait(task_id, 60).status is TaskStatus.COMPLETED
        assert resource.task_result(task_id)
    finally:
        da.clock.ahead_s = 0.0


def test_the_service_may_know_the_storage_by_another_name(da, opened):
    """Behind a firewall the service reaches the storage elsewhere; we keep to our own address."""
    resource = opened(s3_endpoint_for_qsapi=da.storage_url.replace("127.0.0.1", "localhost"))
    task_id = resource.task_start(bell(), key=key())
    urls = [one["presigned_url"] for one in da.submitted[-1].document["storage"].values()]

    assert all(url.startswith("http://localhost:") for url in urls)
    assert resource.task_wait(task_id, 60).status is TaskStatus.COMPLETED
    assert resource.task_result(task_id)


def test_results_are_kept_for_some_days_and_no_longer(da, opened):
    """The storage does not fill up for ever; once a day whoever starts a task clears away what is old."""
    resource = opened(keep_days="2")
    old = resource.task_start(bell(), key=key())
    resource.task_wait(old, 60)
    try:
        for days, is_there in ((1, True), (1.1, False)):
            da.clock.advance(days * DAY_S)
            (resource.ctx.state_dir / "tidied").unlink()
            new = resource.task_start(bell(), key=key())
            resource.task_wait(new, 60)

            assert is_there is any(old in name for name in da.objects())
            assert any(new in name for name in da.objects())
    finally:
        da.clock.ahead_s = 0.0
    with pytest.raises(TaskNotFound):
        opened().task_status(old)
    with pytest.raises(UnexpectedReply, match="no longer"):
        resource.task_result(old)


def test_every_page_of_the_storages_list_is_read(da, opened, monkeypatch):
    """A storage lists a thousand objects at a time; what stands on its second page would never be cleared away."""
    storage = opened().inner._objects._storage
    for number in range(7):
        storage.put(f"page_{number}<&>", Body.of(b""))
    asked = []
    ask = type(storage)._ask

    def three_at_a_time(self, method, key, *, query=None, **facts):
        asked.append(query)
        return ask(self, method, key, query={**query, "max-keys": "3"}, **facts)

    monkeypatch.setattr(type(storage), "_ask", three_at_a_time)
    listed = list(storage.listed("page_"))

    assert [f"page_{number}<&>" for number in range(7)] == [key for key, _ in listed]
    assert all(-5 < age_s < 60 for _, age_s in listed)
    assert 3 == len(asked)


def test_nothing_heavy_is_imported(da):
    """A job on IBM needs no qiskit, no array and no SDK: not for a whole task either."""
    code = (
        "import sys, pickle; from qrmi_core import open_resource\n"
        "opening, payload = pickle.load(sys.stdin.buffer)\n"
        "resource = open_resource(opening)\n"
        "assert 'urllib3' not in sys.modules, 'opening it sends nothing'\n"
        "task = resource.task_start(payload, key='k'); resource.task_wait(task, 60); resource.task_result(task)\n"
        "print([name for name in ('qiskit', 'numpy', 'boto3', 'botocore', 'requests') if name in sys.modules])\n"
    )
    given = pickle.dumps((opening_of(da), bell()))
    done = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True)

    assert b"[]\n" == done.stdout, done.stderr


def test_a_wrong_key_of_the_storage_is_named(da, opened):
    """Of the two credentials it is said which one is wrong."""
    resource = opened(aws_access_key_id="NOBODY")
    with pytest.raises(Exception, match=r"storage: GET .*InvalidAccessKeyId"):
        resource.task_start(bell(), key=key())

    assert "canary" not in repr(resource.ctx.settings)


# -- accounts and tokens


def test_two_accounts_work_side_by_side(da, opened):
    """Two resources of one program, each with its own credential: neither sees the other's tasks."""
    other = da.add_account()
    mine = opened(name="mine", backend=DEVICE)
    theirs = open_resource(
        evolve(
            opening_of(da, "theirs", backend=DEVICE), environment=da.variables(other) | {"QRMI_IBM_DA_BACKEND": DEVICE}
        )
    )
    with theirs:
        chosen = key()
        ids = {resource.ctx.name: resource.task_start(bell(), key=chosen) for resource in (mine, theirs)}
        for resource in (mine, theirs):
            assert resource.task_wait(ids[resource.ctx.name], 60).status is TaskStatus.COMPLETED

        assert 2 == len(set(ids.values()))
        assert {da.options.account.crn, other.crn} == {job.account.crn for job in da.submitted[-2:]}
        assert theirs.inner._service.job(ids["mine"]) is None


def test_a_token_is_renewed_before_it_expires_and_after_a_401(da, opened):
    """The user sees nothing of it, and IAM is asked as seldom as can be."""
    resource = opened()
    resource.is_accessible()
    resource.is_accessible()
    assert 1 == da.requests.count("POST", "/identity/token")
    da.accounts.expire()
    resource.is_accessible()

    assert 2 == da.requests.count("POST", "/identity/token")


def test_what_iam_says_reaches_the_user(da, opened):
    """An unknown key is named by IAM's own code and words."""
    with pytest.raises(Exception, match=r"IAM: .*could not be found.*BXNIM0415E") as info:
        opened(iam_apikey="canary-wrong-key").is_accessible()

    assert 4 == info.value.exit_status
    assert "canary" not in str(info.value)


# -- the device


def test_capacity_is_told(da, opened):
    """Who configures lanes, or wonders why a task waits, sees how many there are."""
    facts = opened().metadata()

    assert {"name": DEVICE, "lanes": "10", "lanes_free": "10", "reserved": "no"}.items() <= facts.items()


def test_a_target_is_what_a_compiler_reads(da, opened):
    """Configuration and properties, as the service has them."""
    target = json.loads(opened().target())

    assert da.devices[DEVICE].configuration == target["configuration"]
    assert da.devices[DEVICE].properties == target["properties"]


def test_what_the_credential_reaches_is_discovered(da, opened, tmp_path, capfd):
    """Both devices, with their qubits; the one with a job in a lane comes second."""
    with emulators.direct_access(lanes=1) as service:
        service.faults.add("POST", JOBS, service_s=600)
        resource = opened(service)
        resource.task_start(bell(), key=key())
        config = tmp_path / "c.json"
        config.write_text(json.dumps({"resources": service.config()["resources"][:1]}))
        config.chmod(0o600)
        assert 0 == cli.main(["resources", "--discover", "--json", "--config", str(config)])
        rows = json.loads(capfd.readouterr().out)

        assert ["ibm_fez", DEVICE] == [one["device"] for one in rows]
        assert [(156, 0), (133, 1)] == [(one["qubits"], one["queue"]) for one in rows]
        least_busy = opened(service, name="any", backend="least-busy")
        assert "ibm_fez" == json.loads(least_busy.target())["configuration"]["backend_name"]
        service.devices["ibm_fez"].status = service.devices[DEVICE].status = "offline"
        with pytest.raises(ResourceUnavailable):
            opened(service, name="any", backend="least-busy").is_accessible()


@pytest.mark.parametrize(("status", "is_accessible"), [("online", True), ("paused", False), ("offline", False)])
def test_a_device_that_is_not_online_is_not_accessible(da, opened, status, is_accessible):
    """`qrmi resources --check` says so before anything is submitted."""
    da.devices[DEVICE].status = status
    try:
        assert is_accessible is opened().is_accessible()
    finally:
        da.devices[DEVICE].status = "online"


def test_a_device_that_is_not_there_is_named(opened):
    """A misspelt name is the service's to refuse, in its words, before anything is stored."""
    resource = opened(name="ibm_tornio")
    with pytest.raises(RequestRefused, match="ibm_tornio not found"):
        resource.is_accessible()
    with pytest.raises(RequestRefused, match="ibm_tornio not found"):
        resource.task_start(bell(), key=key())


# -- what is sent


def test_what_the_service_gets_is_what_the_user_gave(da, opened):
    """Options that we have never heard of arrive, with the job's own limits beside them."""
    parameters = bell().json()["parameters"] | {"options": {"experimental": {"new": [1.0, 2]}, "environment": {}}}
    payload = Payload.from_json("qiskit-primitive", {"program_id": "sampler", "parameters": parameters})
    da.faults.add("POST", JOBS, service_s=600)
    with open_resource(evolve(opening_of(da, log_level="info"), timeout_s=100)) as resource:
        task_id = resource.task_start(payload, key=key())
        stored = resource.inner._objects._storage.get(f"input_{task_id}.json")
        document = da.submitted[-1].document
        resource.task_stop(task_id)

    assert parameters == json.loads(stored)
    assert (DEVICE, "sampler", "info") == (document["backend"], document["program_id"], document["log_level"])
    assert 90 <= document["timeout_secs"] <= 100


def test_a_payload_that_the_service_refuses_is_the_users_to_mend(da, opened):
    """Status 400 is an error of the payload, with the service's words."""
    da.faults.add("POST", JOBS, status=400)

    with pytest.raises(PayloadError, match="was told to answer 400"):
        opened().task_start(bell(), key=key())


@pytest.mark.parametrize(
    ("setting", "value", "problem"),
    [
        ("endpoint", "https://h/v1", "must not end with /v1"),
        ("endpoint", "h:443", "is no address"),
        ("s3_endpoint", "s3://x", "is no address"),
        ("endpoint", "http://h:99999", "its port is a number"),
        ("iam_endpoint", "https://a b", "it has no spaces"),
        ("service_crn", "crn:\nX: y", "must be of ASCII"),
        ("service_crn", "crn:\u4e00", "must be of ASCII"),
        ("queue_seconds", "604801", "must be from 1 to 604800"),
        ("timeout_seconds", "0", "must be from 1 to 604800"),
        ("keep_days", "0", "must be from 1 to 365"),
        ("log_level", "loud", "is not"),
    ],
)
def test_a_wrong_setting_is_named(da, opened, setting, value, problem):
    """Before anything is sent, and with what would be right."""
    with pytest.raises(ConfigError, match=problem):
        opened(**{setting: value})
