"""One task from start to result, with all that may go wrong on the way."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from attrs import evolve

from qrmi_core import (
    AcquireRequest,
    AuthenticationFailed,
    AuthorizationRefused,
    Backend,
    BackendFault,
    Context,
    Hosted,
    OutcomeUnknown,
    Payload,
    PayloadError,
    QuantumResource,
    RequestRefused,
    ResourceUnavailable,
    Run,
    TaskCancelled,
    TaskFailed,
    TaskRunner,
    TaskState,
    TaskStatus,
    TaskTimeLimit,
    UnexpectedReply,
    hookimpl,
    log,
    settings,
)
from qrmi_core.hooks import Hooks, new_manager
from qrmi_core.polling import SystemClock
from qrmi_core.runner import PATIENCE_S

RUNNING = TaskState(TaskStatus.RUNNING)
COMPLETED = TaskState(TaskStatus.COMPLETED)
CANCELLED = TaskState(TaskStatus.CANCELLED)
SCRIPT = Payload.from_json("script", {})


class Puppet(QuantumResource):
    """Does what its test sets up, and writes down what it is asked to do."""

    concurrent = True

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.calls: list[str] = []
        self.state = COMPLETED
        self.after_stop = CANCELLED
        self.start_error: Exception | None = None
        self.release_error: Exception | None = None
        self.status_errors: list[Exception] = []
        self.asked = threading.Event()

    def task_start(self, payload: Payload, *, key: str) -> str:
        self.calls.append("task_start")
        if self.start_error:
            raise self.start_error
        return "t1"

    def task_status(self, task_id: str) -> TaskState:
        self.asked.set()
        if self.status_errors:
            raise self.status_errors.pop()
        return self.state

    def task_stop(self, task_id: str) -> None:
        self.calls.append("task_stop")
        self.state = self.after_stop

    def task_result(self, task_id: str) -> bytes:
        return b"result"

    def acquire(self, request: AcquireRequest) -> str:
        self.calls.append("acquire")
        return "token"

    def release(self, token: str) -> None:
        self.calls.append(f"release {token}")
        if self.release_error:
            raise self.release_error


class Told(Puppet):
    """Learns of the end by itself."""

    def task_wait(self, task_id: str, timeout_s: float) -> TaskState:
        self.calls.append(f"task_wait {timeout_s:g}")
        return COMPLETED


@settings(prefix="QRMI_PUPPET")
class NoSettings:
    pass


class Notes:
    """A hook plugin that writes down what it is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.refusal: str | None = None

    @hookimpl
    def qrmi_authorize(self, run, resource):
        return self.refusal

    @hookimpl
    def qrmi_lease_acquired(self, resource):
        self.heard.append("lease_acquired")

    @hookimpl
    def qrmi_task_started(self, task_id):
        self.heard.append(f"task_started {task_id}")

    @hookimpl
    def qrmi_task_finished(self, task_id, state):
        self.heard.append(f"task_finished {task_id} {state.status.value}")

    @hookimpl
    def qrmi_lease_released(self, resource):
        self.heard.append("lease_released")


class Silent:
    def event(self, name, **facts):
        pass


class Stage:
    """A runner, its puppet, and who listens."""

    def __init__(self, tmp_path, cls: type[Puppet] = Puppet, **context) -> None:
        ctx = Context(
            name="fez", type="puppet", settings=NoSettings(), log=log.logger(), clock=SystemClock(), state_dir=tmp_path
        )
        backend = Backend(contract=1, settings=NoSettings, payloads={"script"}, open=cls)
        hosted = Hosted(backend, evolve(ctx, **context))
        self.puppet = hosted.inner
        self.notes = Notes()
        manager = new_manager()
        manager.register(self.notes)
        self.runner = TaskRunner(hosted, Silent(), hooks=Hooks(manager), task_run=Run(uid=1))


@pytest.fixture
def stage(tmp_path) -> Stage:
    return Stage(tmp_path)


def test_a_task_runs_in_a_session_and_everybody_is_told(stage):
    """Acquire, start, wait, result, release: in this order, each told to the hooks."""
    assert b"result" == stage.runner.run(SCRIPT)
    assert ["acquire", "task_start", "release token"] == stage.puppet.calls
    assert [
        "lease_acquired",
        "task_started t1",
        "task_finished t1 COMPLETED",
        "lease_released",
    ] == stage.notes.heard


def test_a_run_that_is_refused_touches_nothing(stage):
    """Who may not use a resource opens no session on it."""
    stage.notes.refusal = "not in project chem"
    with pytest.raises(AuthorizationRefused):
        stage.runner.run(SCRIPT)

    assert [] == stage.puppet.calls


def test_a_session_that_somebody_else_acquired_is_neither_opened_nor_closed(tmp_path):
    """A job that was handed a token leaves the session to who opened it."""
    stage = Stage(tmp_path, acquisition_token="theirs")
    stage.runner.run(SCRIPT)

    assert ["task_start"] == stage.puppet.calls


@pytest.mark.parametrize(
    ("state", "start_error", "error"),
    [
        (TaskState(TaskStatus.FAILED, reason="the laser went out"), None, TaskFailed),
        (CANCELLED, None, TaskCancelled),
        (COMPLETED, PayloadError("payload", "$", "is wrong", "Mend it"), PayloadError),
        (COMPLETED, ResourceUnavailable("fez", "down"), ResourceUnavailable),
        (COMPLETED, ZeroDivisionError("a bug of the backend"), BackendFault),
    ],
)
def test_the_session_is_released_however_the_task_ends(stage, state, start_error, error):
    """No end of a task leaves a session open, which a site pays for and others wait for."""
    stage.puppet.state, stage.puppet.start_error = state, start_error
    with pytest.raises(error):
        stage.runner.run(SCRIPT)

    assert "release token" == stage.puppet.calls[-1]
    assert "lease_released" == stage.notes.heard[-1]


def test_a_release_that_fails_does_not_take_the_result_away(stage):
    """The task was paid for; that its session could not be closed is for the log, not instead of the result."""
    stage.puppet.release_error = ResourceUnavailable("fez", "down")

    assert b"result" == stage.runner.run(SCRIPT)
    assert "lease_released" not in stage.notes.heard


@pytest.mark.parametrize("reason", ["the laser went out", None])
def test_a_failure_has_a_reason(stage, reason):
    """Whoever's task failed reads why, or that the backend did not say."""
    stage.puppet.state = TaskState(TaskStatus.FAILED, reason=reason)
    with pytest.raises(TaskFailed) as info:
        stage.runner.run(SCRIPT)

    assert (reason or "the backend gave no reason") == info.value.detail


def test_the_time_limit_cancels_the_task(stage):
    """What takes longer than it may is stopped, and the error says which limit it was."""
    stage.puppet.state = RUNNING
    with pytest.raises(TaskTimeLimit) as info:
        stage.runner.run(SCRIPT, timeout_s=0.1)

    assert ("fez", "t1", "0.1 s") == (info.value.resource, info.value.task_id, info.value.detail)
    assert ["acquire", "task_start", "task_stop", "release token"] == stage.puppet.calls


@pytest.mark.parametrize("from_now_s", [0.1, -5.0], ids=["soon", "past"])
def test_the_end_of_the_job_is_a_time_limit_too(tmp_path, from_now_s):
    """A task does not outlive the job that pays for it; a deadline that passed while we acquired is no crash."""
    stage = Stage(tmp_path, deadline=time.monotonic() + from_now_s)
    stage.puppet.state = RUNNING

    with pytest.raises(TaskTimeLimit):
        stage.runner.run(SCRIPT, timeout_s=3600)
    assert "task_stop" in stage.puppet.calls


def test_another_thread_can_cancel(stage):
    """A signal or a button ends the task; the error says who it was, and the session is released."""
    stage.puppet.state = RUNNING
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(stage.runner.run, SCRIPT)
        assert stage.puppet.asked.wait(5)
        stage.runner.cancel("by signal SIGTERM")
        stage.runner.cancel("by somebody else, later")
        with pytest.raises(TaskCancelled) as info:
            running.result(5)

    assert ("t1", "by signal SIGTERM") == (info.value.task_id, info.value.detail)
    assert ["acquire", "task_start", "task_stop", "release token"] == stage.puppet.calls


@pytest.mark.parametrize("timeout_s", [0.05, None])
def test_a_stop_that_loses_to_completion_returns_the_result(stage, timeout_s):
    """A result that was computed and paid for is not thrown away because a cancel came too late."""
    stage.puppet.state, stage.puppet.after_stop = RUNNING, COMPLETED
    if timeout_s is None:
        stage.runner.cancel("by signal SIGINT")

    assert b"result" == stage.runner.run(SCRIPT, timeout_s=timeout_s)
    assert "task_stop" in stage.puppet.calls


def test_a_cancel_that_takes_a_while_does_not_hammer_the_service(stage):
    """While a vendor confirms a cancel it is asked at a decent pace, not as fast as a loop can turn."""
    asked = []
    confirmed_at = time.monotonic() + 0.5

    def status(task_id: str) -> TaskState:
        asked.append(task_id)
        return CANCELLED if time.monotonic() > confirmed_at else RUNNING

    stage.puppet.task_status = status
    with pytest.raises(TaskTimeLimit):
        stage.runner.run(SCRIPT, timeout_s=0.05)

    assert len(asked) < 25


def test_a_resource_that_cannot_be_reached_for_a_moment_is_asked_again(stage):
    """A network that hiccups does not lose a task."""
    stage.puppet.status_errors = [ResourceUnavailable("fez", "connection refused")] * 3

    assert b"result" == stage.runner.run(SCRIPT)
    assert ["acquire", "task_start", "release token"] == stage.puppet.calls


def test_a_resource_that_stays_away_is_given_up_and_the_task_named(tmp_path, clock):
    """Somebody has to know the id of the task that may still run and cost."""

    class Away(Puppet):
        def task_status(self, task_id: str) -> TaskState:
            self.ctx.clock.sleep(PATIENCE_S)
            raise ResourceUnavailable("fez", "connection refused")

    with pytest.raises(ResourceUnavailable) as info:
        Stage(tmp_path, Away, clock=clock).runner.run(SCRIPT)

    assert "connection refused" in info.value.detail
    assert "t1" in info.value.detail


@pytest.mark.parametrize(
    "error", [AuthenticationFailed("fez", "401"), RequestRefused("fez", "410", 410), UnexpectedReply("fez", "<html>")]
)
def test_whoever_may_ask_no_longer_is_told_which_task_goes_on(stage, error):
    """A task would run and be paid for, and the error that the user keeps would not lead to it."""
    stage.puppet.status_errors = [error]
    with pytest.raises(type(error), match="task t1 was submitted and may go on") as raised:
        stage.runner.run(SCRIPT)
    assert vars(error) | {"detail": ""} == vars(raised.value) | {"detail": ""}


def test_a_backend_that_is_told_of_the_end_is_not_asked(tmp_path):
    """A long poll waits; asking for the status besides would cost requests for nothing."""
    stage = Stage(tmp_path, Told)

    assert b"result" == stage.runner.run(SCRIPT)
    assert ["acquire", "task_start", "task_wait 0", "release token"] == stage.puppet.calls
    assert not stage.puppet.asked.is_set()


def test_a_task_is_sent_under_the_key_it_was_given(stage):
    """Who sends the same key again gets the same task; who gives none never meets another's."""
    keys = []
    stage.puppet.task_start = lambda payload, *, key: keys.append(key) or "t1"
    for key in ("mine", None, None):
        stage.runner.run(SCRIPT, key=key)

    assert "mine" == keys[0]
    assert 3 == len(set(keys))


def test_a_cancel_reaches_a_task_whose_submission_hangs(stage):
    """The service has the task, but its answer is late: it is found by its key and stopped."""
    stopped = threading.Event()

    def start(payload: Payload, *, key: str) -> str:
        stage.puppet.asked.set()
        stopped.wait(10)
        return "t1"

    def stop(task_id: str) -> None:
        stage.puppet.state = CANCELLED
        stopped.set()

    stage.puppet.task_start, stage.puppet.task_stop, stage.puppet.find_task = start, stop, lambda key: "t1"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(stage.runner.run, SCRIPT)
        assert stage.puppet.asked.wait(5)
        stage.runner.cancel("by signal SIGTERM")

        with pytest.raises(TaskCancelled):
            running.result(5)


def test_a_submission_whose_answer_was_lost_is_found_by_its_key(stage):
    """A task that was accepted would be given up for lost, and paid for again."""
    stage.puppet.start_error = ResourceUnavailable("fez", "no answer")
    stage.puppet.find_task = lambda key: "t1"

    assert b"result" == stage.runner.run(SCRIPT)
    assert 1 == stage.puppet.calls.count("task_start")


def test_a_submission_that_nobody_can_find_names_its_key(stage):
    """Whoever tries again could not avoid a second task."""
    stage.puppet.start_error = ResourceUnavailable("fez", "no answer")
    with pytest.raises(ResourceUnavailable, match="--key my-key"):
        stage.runner.run(SCRIPT, key="my-key")


@pytest.mark.parametrize(
    "then", [AuthenticationFailed("fez", "401"), PayloadError("it", "$", "was refused", "Mend it")], ids=["401", "400"]
)
def test_a_submission_whose_answer_was_lost_is_no_refusal_whatever_the_next_try_says(stage, then):
    """The user does not believe that nothing was submitted while the task runs, and has the key that leads to it."""
    errors: list[Exception] = [then, OutcomeUnknown("fez", "no answer")]

    def start(payload: Payload, *, key: str) -> str:
        raise errors.pop()

    stage.puppet.task_start = start
    with pytest.raises(OutcomeUnknown, match=r"no answer; the next try: .*; its key is my-key"):
        stage.runner.run(SCRIPT, key="my-key")


def test_a_result_is_fetched_again_when_contact_is_lost(stage):
    """A completed task would be lost for one broken connection."""
    lost = [ResourceUnavailable("fez", "reset")]

    def task_result(task_id: str) -> bytes:
        if lost:
            raise lost.pop()
        return b"result"

    stage.puppet.task_result = task_result

    assert b"result" == stage.runner.run(SCRIPT)


def test_whoever_may_not_have_the_result_is_told_of_which_task_it_is(stage):
    """A result was paid for, and the error did not lead to it."""

    def refused(task_id: str) -> bytes:
        raise AuthenticationFailed("fez", "401")

    stage.puppet.task_result = refused
    with pytest.raises(AuthenticationFailed, match="task t1 completed"):
        stage.runner.run(SCRIPT)


def test_a_backend_that_hangs_cannot_keep_us_beyond_the_grace(stage, monkeypatch):
    """A time limit would pass unnoticed while a backend waits for a service that never answers."""
    monkeypatch.setattr("qrmi_core.runner.STOP_GRACE_S", 0.5)
    never = threading.Event()
    stage.puppet.task_status = lambda task_id: never.wait(30)
    stage.puppet.task_stop = lambda task_id: never.wait(30)
    with pytest.raises(TaskTimeLimit, match="not confirmed"):
        stage.runner.run(SCRIPT, timeout_s=0.2)
    never.set()
