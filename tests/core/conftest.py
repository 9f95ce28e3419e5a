"""A clock of our own, and distributions that are installed for one test."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from stevedore import ExtensionManager

from qrmi_core import ConfigError, QrmiError


class HandClock:
    """Stands still until somebody sleeps on it or moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> HandClock:
    """Time that costs none."""
    return HandClock()


@pytest.fixture
def install(tmp_path_factory, monkeypatch) -> Callable[..., Path]:
    """Install a distribution: a folder on the path with one module and a `.dist-info` with real entry points."""
    modules = set(sys.modules)
    monkeypatch.setattr(ExtensionManager, "ENTRY_POINT_CACHE", {})  # stevedore looks once in the life of a process

    def install(name: str, *, group: str, points: dict[str, str], source: str = "") -> Path:
        """*source* becomes the module of the distribution's name; *points*: entry point -> object."""
        site = tmp_path_factory.mktemp("site")
        module = name.replace("-", "_")
        (site / f"{module}.py").write_text(source)
        info = site / f"{module}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        lines = [f"[{group}]", *(f"{point} = {value}" for point, value in points.items())]
        (info / "entry_points.txt").write_text("\n".join(lines))
        monkeypatch.syspath_prepend(site)
        return site

    yield install
    for module in set(sys.modules) - modules:
        if Path(getattr(sys.modules[module], "__file__", None) or "/").parent.name.startswith("site"):
            del sys.modules[module]


_LONGEST_LINE = 2200


@pytest.fixture(scope="session")
def outcome() -> Callable[..., object]:
    """Call something with whatever there is: what it returns, or the error of ours that it raises.

    Any other exception goes through. The error's words must be fit for a terminal: one line for each fault, nothing in
    it that a terminal would obey, and none of it endless.
    """

    def call(function: Callable[..., object], *args: object, **options: object) -> object:
        try:
            return function(*args, **options)
        except QrmiError as exc:
            error = exc
        lines = str(error).split("\n")
        assert len(lines) == (len(error.faults) if isinstance(error, ConfigError) else 1), lines
        assert all(line.isprintable() and len(line) < _LONGEST_LINE for line in lines), lines
        return error

    return call


_PRETEND = """
from qrmi_core import Backend, Device, QuantumResource, ResourceUnavailable, TaskState, TaskStatus, setting, settings

STATES = [
    TaskState(TaskStatus.QUEUED, queue_position=2),
    TaskState(TaskStatus.RUNNING, reason="\\x1b]0;owned\\x07\\nwarm", progress=0.5),
]


@settings(prefix="QRMI_PRETEND")
class Settings:
    token: str | None = setting(help="what nobody asks for", secret=True, default=None)
    speed: float = setting(help="how fast, per second", default=1.0)


class Pretend(QuantumResource):
    def task_start(self, payload, *, key):
        (self.ctx.state_dir / "task").write_bytes(payload.read())
        self.left = list(STATES)
        return "task/1"

    def task_status(self, task_id):
        return self.left.pop(0) if self.left else TaskState(TaskStatus.COMPLETED)

    def task_stop(self, task_id):
        pass

    def task_result(self, task_id):
        return (self.ctx.state_dir / "task").read_bytes()

    def discover(self):
        if self.ctx.settings.speed == 0:
            raise ResourceUnavailable(self.ctx.name, "it stands still")
        return [
            Device(name="off", is_online=False, status="offline", queue=0),
            Device(name="busy", is_online=True, status="online", qubits=5, queue=7),
            Device(name="odd", is_online=True, status="on\x1b]0;owned\x07line", qubits=5, note="who knows?"),
            Device(name="free", is_online=True, status="online", qubits=3, queue=1),
        ]


BACKEND = Backend(contract=1, settings=Settings, payloads={"pretend"}, open=Pretend)
"""


@pytest.fixture
def pretend(install, monkeypatch) -> None:
    """A job, here and in processes started from here, with the resource `fez` of type `pretend`.

    Its tasks queue, run and complete, and their results are their payloads, which are of kind `pretend`.
    """
    site = install("qrmi-pretend", group="qrmi.backends", points={"pretend": "qrmi_pretend:BACKEND"}, source=_PRETEND)
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("QRMI_JOB_QPU_RESOURCES", "fez")
    monkeypatch.setenv("QRMI_JOB_QPU_TYPES", "pretend")
