"""Opening a resource, and what the host adds to it."""

from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import structlog
from structlog.testing import capture_logs

from qrmi_core import (
    Backend,
    BackendBroken,
    BackendFault,
    ConfigError,
    Context,
    Hosted,
    Opening,
    Payload,
    PayloadError,
    QuantumResource,
    TaskState,
    TaskStatus,
    log,
    open_resource,
    redaction,
    settings,
)
from qrmi_core.host import state_dir, state_root
from qrmi_core.polling import SystemClock
from qrmi_core.secret import SecretReference

CANARY = "canary-7f3a9c"
ACME = """
from qrmi_core import Backend, QuantumResource, TaskState, TaskStatus, setting, settings

@settings(prefix="QRMI_ACME")
class Settings:
    api_key: str = setting(help="what the service asks for", secret=True)

class Acme(QuantumResource):
    closed = 0
    def task_start(self, payload, *, key): return key
    def task_status(self, task_id): return TaskState(TaskStatus.COMPLETED)
    def task_stop(self, task_id): ...
    def task_result(self, task_id): return b"result"
    def close(self): self.closed += 1

BACKEND = Backend(contract=1, settings=Settings, payloads={"script"}, open=Acme)
"""


@pytest.fixture
def acme(install) -> None:
    install("qrmi-acme", group="qrmi.backends", points={"acme": "qrmi_acme:BACKEND"}, source=ACME)


def opening(**environment: str | SecretReference) -> Opening:
    return Opening(name="fez", type="acme", environment={"QRMI_ACME_API_KEY": CANARY, **environment}, source="file")


@pytest.mark.usefixtures("acme")
def test_a_resource_is_opened_from_its_name_type_and_variables(clock):
    """Everything that a backend is promised is in its context."""
    resource = open_resource(
        Opening(
            name="fez",
            type="acme",
            environment={"QRMI_ACME_API_KEY": CANARY},
            source="file",
            acquisition_token="t",
            timeout_s=60,
        ),
        clock=clock,
    )
    ctx = resource.inner.ctx

    assert ("fez", "acme", "t") == (ctx.name, ctx.type, ctx.acquisition_token)
    assert CANARY == ctx.settings.api_key
    assert clock.now + 60 == ctx.deadline
    assert ("fez", "acme", True) == (resource.resource_id(), resource.resource_type(), resource.is_accessible())


@pytest.mark.usefixtures("acme")
def test_the_block_of_a_with_closes_the_resource():
    """No process or connection is left behind by `with open_resource(...)`."""
    with open_resource(opening()) as resource:
        assert 0 == resource.inner.closed
    assert 1 == resource.inner.closed


@pytest.mark.usefixtures("acme")
def test_a_secret_is_masked_from_the_moment_it_is_read(monkeypatch):
    """The second net knows every secret that this process has opened a resource with."""
    monkeypatch.setattr(redaction, "_known", ())
    open_resource(opening())

    assert redaction.MASK == redaction.mask(CANARY)


@pytest.mark.usefixtures("acme")
def test_a_secret_may_lie_in_a_file_or_a_variable(tmp_path, monkeypatch):
    """A configuration need not hold the secret itself."""
    (tmp_path / "key").write_text(f"{CANARY}\n")
    monkeypatch.setenv("MY_KEY", CANARY)

    for reference in (SecretReference(file=str(tmp_path / "key")), SecretReference(env="MY_KEY")):
        assert CANARY == open_resource(opening(QRMI_ACME_API_KEY=reference)).ctx.settings.api_key


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize("reference", [SecretReference(file="/no/such/file"), SecretReference(env="NO_SUCH_VARIABLE")])
def test_a_secret_that_cannot_be_read_is_named(reference):
    """The message says which setting lacks its secret, and where it was looked for."""
    with pytest.raises(ConfigError) as info:
        open_resource(opening(QRMI_ACME_API_KEY=reference))

    ((path, problem, _),) = info.value.faults
    assert "QRMI_ACME_API_KEY" == path
    assert (reference.file or reference.env) in problem


@pytest.mark.usefixtures("acme")
def test_a_variable_of_somebody_else_is_passed_over_with_one_warning():
    """A typo in the prefix would otherwise go unnoticed; the value is not shown, it may be a secret."""
    with capture_logs() as events:
        open_resource(opening(QRMI_OTHER_KEY=CANARY, UNRELATED="1"))

    assert [("settings.unused", ["QRMI_OTHER_KEY", "UNRELATED"])] == [(e["event"], e["variables"]) for e in events]
    assert CANARY not in repr(events)


def test_the_state_of_a_resource_is_its_own(monkeypatch, tmp_path):
    """Nobody else can read what a resource keeps, and two resources do not meet."""
    monkeypatch.setenv("QRMI_STATE_DIR", str(tmp_path / "state"))

    assert state_dir("fez") != state_dir("marrakesh")
    assert 0o700 == stat.S_IMODE(state_dir("fez").stat().st_mode)
    assert 0o700 == stat.S_IMODE(state_root().stat().st_mode)


def test_a_state_folder_that_cannot_be_used_gives_way_to_the_next(tmp_path, monkeypatch):
    """A job without a usable home still runs."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "home").write_text("a file, not a folder")

    assert tmp_path == state_root({"HOME": str(tmp_path / "home")}).parent


class Busy(QuantumResource):
    """Counts how many calls are in it at once. Its task runs until it is stopped."""

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        self.inside = self.most = 0
        self.lock = threading.Lock()
        self.two_inside = threading.Barrier(2)
        self.asked = threading.Event()
        self.state = TaskState(TaskStatus.RUNNING)

    def task_start(self, payload: Payload, *, key: str) -> str:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        if self.concurrent:
            self.two_inside.wait(5)
        with self.lock:
            self.inside -= 1
        return key

    def task_status(self, task_id: str) -> TaskState:
        self.asked.set()
        return self.state

    def task_stop(self, task_id: str) -> None:
        self.state = TaskState(TaskStatus.CANCELLED)

    def task_result(self, task_id: str) -> bytes:
        return b""


class Agile(Busy):
    concurrent = True


class Told(Agile):
    can_resend = False

    def task_wait(self, task_id: str, timeout_s: float) -> TaskState:
        return TaskState(TaskStatus.COMPLETED, reason=f"told within {timeout_s:g} s")


@settings(prefix="QRMI_BUSY")
class NoSettings:
    pass


def hosted(cls: type[QuantumResource], tmp_path) -> Hosted:
    backend = Backend(contract=1, settings=NoSettings, payloads={"script"}, open=cls)
    ctx = Context(
        name="fez", type="busy", settings=NoSettings(), log=log.logger(), clock=SystemClock(), state_dir=tmp_path
    )
    return Hosted(backend, ctx)


SCRIPT = Payload.from_json("script", {})


@pytest.mark.parametrize(("cls", "most"), [(Busy, 1), (Agile, 2)])
def test_calls_go_in_one_at_a_time_unless_the_backend_is_concurrent(cls, most, tmp_path):
    """A backend that says nothing of threads never sees two; one that claims them is not slowed down."""
    resource = hosted(cls, tmp_path)
    with ThreadPoolExecutor(2) as pool:
        assert list("abcdefgh") == list(pool.map(lambda key: resource.task_start(SCRIPT, key=key), "abcdefgh"))

    assert most == resource.inner.most


def test_a_wait_keeps_no_stop_waiting(tmp_path):
    """The host's own wait holds nothing between its questions, so a stop gets in and ends it."""
    resource = hosted(Busy, tmp_path)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(resource.task_wait, "t1", 60)
        assert resource.inner.asked.wait(5)
        resource.task_stop("t1")

        assert TaskStatus.CANCELLED is waiting.result(5).status


def test_a_backend_that_is_told_of_the_end_waits_itself(tmp_path):
    """Long poll and notification are not replaced by asking; what the backend cannot promise is not promised for it."""
    resource = hosted(Told, tmp_path)

    assert "told within 7 s" == resource.task_wait("t1", 7).reason
    assert (True, False) == (resource.is_told, resource.can_resend)
    assert not hosted(Agile, tmp_path).is_told


def test_a_payload_of_a_foreign_kind_does_not_reach_the_backend(tmp_path):
    """A backend need not check what the host has checked; the message says which kinds there are."""
    resource = hosted(Busy, tmp_path)
    for verb in (lambda payload: resource.task_start(payload, key="k"), resource.task_plan):
        with pytest.raises(PayloadError) as info:
            verb(Payload.from_bytes("pulser", b"", source="pulse.json"))

        assert "pulse.json" == info.value.source
        assert "script" in info.value.remedy
    assert 0 == resource.inner.most


def test_a_wait_of_ones_own_needs_threads(tmp_path):
    """A wait that holds the resource would keep every stop waiting for the task's end."""

    class Selfish(Told):
        concurrent = False

    with pytest.raises(BackendBroken, match="concurrent"):
        hosted(Selfish, tmp_path)


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize(
    ("verb", "returned"),
    [
        ("task_start", None),
        ("task_start", ""),
        ("task_status", "COMPLETED"),
        ("task_status", None),
        ("task_result", "text"),
        ("task_result", None),
    ],
)
def test_what_a_backend_must_not_return_is_a_fault_of_the_backend(verb, returned):
    """The user would read a traceback that blames us, and the backend's author never hear of it."""
    with open_resource(opening()) as resource:
        setattr(resource.inner, verb, lambda *_, **__: returned)
        arguments = {"key": "k"} if verb == "task_start" else {}
        with pytest.raises(BackendFault, match=f"{verb} returned {type(returned).__name__}"):
            getattr(resource, verb)(*([Payload.from_bytes("script", b"")] if arguments else ["t"]), **arguments)


@pytest.mark.usefixtures("acme")
def test_a_fault_of_a_backend_shows_its_place_and_none_of_its_variables(capsys):
    """In a program that does not configure structlog, the values in every frame were printed, keys and tokens too."""
    structlog.reset_defaults()

    def task_result(task_id: str) -> bytes:
        form = {"apikey": f"derived-from-{CANARY[::-1]}"}
        raise RuntimeError(f"{len(form)} field")

    with open_resource(opening()) as resource:
        resource.inner.task_result = task_result
        with pytest.raises(BackendFault):
            resource.task_result("t")

    printed = "".join(capsys.readouterr())
    assert CANARY[::-1] not in printed
    assert "in task_result" in printed
