"""What the user sees of each fault at each call: no hang, no second job, no lost one, nothing left in the storage."""

from __future__ import annotations

import json
import time
import uuid

import pytest
from ibm_da.payloads import bell

from qrmi_core import TaskStatus

IAM, JOB, JOBS, CANCEL = "/identity/token", "/v1/jobs/{id}", "/v1/jobs", "/v1/jobs/{id}/cancel"
OBJECT = "/{bucket}/{key}"
CALLS = {
    "the token": ("POST", IAM),
    "whether the job is known": ("GET", JOB),
    "whether the task is remembered": ("GET", OBJECT),
    "the upload of the input": ("PUT", OBJECT),
    "the submission": ("POST", JOBS),
    "the deletion of the job": ("DELETE", JOB),
    "the removal of the input": ("DELETE", OBJECT),
}
PASSING = {
    "408": {"status": 408},
    "423": {"status": 423},
    "429 with Retry-After": {"status": 429, "retry_after_s": 2},
    "500": {"status": 500},
    "502 after": {"status": 502, "when": "after"},
    "503 in html": {"status": 503, "body": "<html>down</html>"},
    "dropped": {"drop": True},
    "dropped after": {"drop": True, "when": "after"},
    "cut off": {"truncate": True},
    "slow drip": {"drip_s": 0.3},
    "late": {"latency_s": 0.3},
    "tokens expire": {"expire_tokens": True},
}
LONGEST_S = 30.0
"""In real time; the deadlines are those of a clock that is twenty times as fast."""


@pytest.fixture(autouse=True)
def clean(da):
    """A service that behaves, without jobs."""
    da.faults.clear()
    da.requests.clear()
    da.submitted.clear()
    yield
    da.faults.clear()
    da.jobs.clear()


def objects(da, task_id: str) -> set[str]:
    """What of the task lies in the storage."""
    return {key.partition("_")[0] for key in da.objects() if task_id in key}


def id_of(da) -> str:
    (job,) = da.submitted
    return job.id


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_passing_fault_passes(da, qrun, call, fault):
    """The task completes, as if nothing had been; one job was made, its lane is free, and only what is kept is kept."""
    da.faults.add(*call, **fault)
    ended = qrun(bell())

    assert 0 == ended.status, ended.err
    assert {"00", "11"} >= {
        f"{int(one, 16):02b}" for one in json.loads(ended.out)["results"][0]["data"]["meas"]["samples"]
    }
    assert 1 == len(da.submitted)
    assert {} == da.jobs
    assert {"results", "logs", "job"} == objects(da, id_of(da))
    assert ended.took_s < LONGEST_S


LASTING = {
    "nobody answers": {"drop": True},
    "503": {"status": 503},
    "429": {"status": 429},
    "401": {"status": 401},
    "403": {"status": 403},
    "400": {"status": 400},
    "nonsense": {"status": 500, "body": "\x1b]0;owned\x07"},
}
BEFORE = ("the token", "whether the job is known", "whether the task is remembered", "the upload of the input")
EXIT = {"401": 4, "403": 4}
"""Of what is not 3: see below for what the submission says."""


@pytest.mark.parametrize("fault", LASTING)
@pytest.mark.parametrize("call", BEFORE)
def test_a_lasting_fault_before_the_submission_submits_nothing(da, qrun, call, fault):
    """The command ends soon, says what is wrong with which status, and leaves neither job nor object."""
    before = set(da.objects())
    da.faults.add(*CALLS[call], times=None, **LASTING[fault])
    ended = qrun(bell())

    expected = 4 if call == "the token" and fault == "400" else EXIT.get(fault, 3)  # IAM says so of an unknown key
    assert expected == ended.status, ended.err
    assert [] == da.submitted
    assert "ibm_torino: " in ended.err
    assert "\x1b" not in ended.err
    assert ended.took_s < LONGEST_S
    assert before == set(da.objects())


@pytest.mark.parametrize(
    ("fault", "status"), [("nobody answers", 3), ("503", 3), ("401", 4), ("403", 4), ("400", 2), ("nonsense", 3)]
)
def test_a_submission_that_is_refused_leaves_nothing(da, qrun, fault, status):
    """What the service never accepts is no job, and its input does not stay in the storage."""
    before = set(da.objects())
    da.faults.add("POST", JOBS, times=None, **LASTING[fault])
    ended = qrun(bell())

    assert status == ended.status, ended.err
    assert [] == da.submitted
    assert before == set(da.objects())
    assert ended.took_s < LONGEST_S


@pytest.mark.parametrize(
    "fault", [{"drop": True, "when": "after"}, {"status": 503, "when": "after"}], ids=["drop", "503"]
)
def test_a_submission_that_is_never_answered_but_done_is_one_job(da, qrun, fault):
    """The official client sends it again, is told of a duplicate, and loses the job: here it is looked for."""
    da.faults.add("POST", JOBS, times=None, **fault)
    ended = qrun(bell())

    assert 0 == ended.status, ended.err
    assert 1 == len(da.submitted)


@pytest.mark.parametrize("then", [{"status": 401, "times": 2}, {"status": 403}, {"status": 400}, {"status": 404}])
def test_a_submission_that_was_done_is_one_job_though_its_repetition_is_refused(da, qrun, then):
    """The task would run and be paid for, and the user be told that nothing was submitted."""
    da.faults.add("POST", JOBS, status=503, when="after")
    da.faults.add("POST", JOBS, **then)
    ended = qrun(bell())

    assert 0 == ended.status, ended.err
    assert 1 == len(da.submitted)
    assert {} == da.jobs
    assert {"results", "logs", "job"} == objects(da, id_of(da))


def test_a_submission_that_was_done_is_no_refusal_where_it_cannot_be_looked_for(da, qrun):
    """The same, where the credential is refused from then on."""
    da.faults.add("POST", JOBS, drop=True, when="after")
    da.faults.add("POST", JOBS, status=401, times=None)
    da.faults.add("GET", JOB, skip=1, status=401, times=None)
    ended = qrun(bell())

    assert 3 == ended.status, ended.err
    assert "whether it was done is not known" in ended.err
    assert "its key is " in ended.err
    assert "job" in objects(da, id_of(da))


def test_a_task_whose_status_cannot_be_asked_is_not_lost(da, qrun, opened):
    """The command gives up after a while and names the task; later its result is there."""
    da.faults.add("GET", JOB, times=None, skip=1, status=503)
    ended = qrun(bell())
    task_id = id_of(da)

    assert 3 == ended.status
    assert task_id in ended.err
    assert ended.took_s < LONGEST_S
    da.faults.clear()
    assert opened().task_result(task_id)


def test_a_result_that_cannot_be_fetched_is_not_lost(da, qrun, opened):
    """The command ends with 3 and says that the task completed; its result can be had later, and nothing runs again."""
    da.faults.add("GET", OBJECT, times=None, skip=2, status=503)  # the record, and the input, which the service gets
    ended = qrun(bell())
    task_id = id_of(da)

    assert 3 == ended.status
    assert f"task {task_id} completed" in ended.err
    da.faults.clear()
    assert opened().task_result(task_id)
    assert 1 == len(da.submitted)


@pytest.mark.parametrize("call", ["the deletion of the job", "the removal of the input"])
def test_what_cannot_be_cleared_away_costs_no_result(da, qrun, opened, call):
    """The result is the user's all the same; what was left is cleared away by the next who asks."""
    da.faults.add(*CALLS[call], times=None, status=503)
    ended = qrun(bell())
    task_id = id_of(da)

    assert 0 == ended.status, ended.err
    da.faults.clear()
    assert opened().task_status(task_id).status is TaskStatus.COMPLETED


@pytest.mark.parametrize("is_known", [True, False], ids=["the same process", "another process"])
def test_a_submission_that_arrives_after_the_tasks_end_changes_nothing(da, opened, is_known):
    """Its job finds no input and fails; a task that had completed, and was paid for, became one that failed."""
    first = opened()
    task_id = first.task_start(bell(), key=uuid.uuid4().hex)
    assert first.task_wait(task_id, 30).status is TaskStatus.COMPLETED
    (job,) = da.submitted
    first.inner._service.submit(job.document)
    wait_until_ended(da, task_id)
    looking = first if is_known else opened()
    others = [looking.task_start(bell(), key=uuid.uuid4().hex) for _ in range(2)]
    for one in (*others, task_id):
        assert looking.task_wait(one, 30).status is TaskStatus.COMPLETED

    assert opened().task_status(task_id).status is TaskStatus.COMPLETED
    assert opened().task_result(task_id)


def wait_until_ended(da, task_id: str) -> None:
    """Until the service's job has ended."""
    for _ in range(200):
        if da.jobs[task_id].is_ended:
            return
        time.sleep(0.05)
    raise AssertionError("it does not end")


def test_tasks_whose_jobs_cannot_be_deleted_end_all_the_same(da, opened):
    """Of several tasks the ends are seen together; that their lanes stay taken must not hide them."""
    da.faults.add("DELETE", JOB, times=None, status=403)
    resource = opened()
    tasks = [resource.task_start(bell(), key=uuid.uuid4().hex) for _ in range(3)]

    assert {TaskStatus.COMPLETED} == {resource.task_wait(one, 30).status for one in tasks}
    assert all(resource.task_result(one) for one in tasks)


def test_a_slow_drip_ends_at_the_deadline(da, opened):
    """An answer that comes byte by byte for ten minutes is given up after our deadline, not after theirs."""
    resource = opened()
    resource.is_accessible()
    resource.inner._service._door.deadline_s = 1.0
    da.faults.add("GET", "/v1/backends/{name}", drip_s=600)
    began = time.monotonic()
    with pytest.raises(Exception, match="no whole answer within 1 s"):
        resource.is_accessible()

    assert time.monotonic() - began < 10


def test_a_truncated_result_is_no_result(da, opened):
    """Half a result parses as JSON now and then; it is asked for again instead."""
    resource = opened()
    task_id = resource.task_start(bell(), key=uuid.uuid4().hex)
    resource.task_wait(task_id, 60)
    whole = resource.task_result(task_id)
    da.faults.add("GET", OBJECT, truncate=True)

    assert whole == resource.task_result(task_id)


def test_a_stop_that_is_not_answered_is_repeated(da, opened):
    """A cancel is lost, and done all the same or not: either way the task ends."""
    for fault in ({"drop": True}, {"drop": True, "when": "after"}, {"status": 503}, {"status": 429}):
        da.faults.add("POST", JOBS, service_s=600)
        da.faults.add("POST", CANCEL, **fault)
        resource = opened()
        task_id = resource.task_start(bell(), key=uuid.uuid4().hex)
        resource.task_stop(task_id)

        assert resource.task_status(task_id).status is TaskStatus.CANCELLED
        assert {} == da.jobs


def test_a_failed_job_says_why(da, qrun):
    """The service's reason, code and solution stand in the one line that the user gets."""
    da.faults.add("POST", JOBS, fail="the fridge is warm", fail_code=9999)
    ended = qrun(bell())

    assert 1 == ended.status
    assert "the fridge is warm (code 9999). Mend the cause and submit the job again." in ended.err
