"""What a site adds to every resource."""

from __future__ import annotations

import threading

import pytest
from structlog.testing import capture_logs

from qrmi_core import AuthorizationRefused, ConfigError, Run, hookimpl, log
from qrmi_core.hooks import Hooks, new_manager

RUN = Run(uid=1000, job_id="17")


def hooks(*plugins: object) -> Hooks:
    manager = new_manager()
    for plugin in plugins:
        manager.register(plugin)
    return Hooks(manager)


class Answers:
    """A plugin that gives one answer to `qrmi_authorize`."""

    def __init__(self, answer: str | None) -> None:
        self.answer = answer
        self.asked: list[tuple[Run, str]] = []

    @hookimpl
    def qrmi_authorize(self, run, resource):
        self.asked.append((run, resource))
        return self.answer


class Raises:
    @hookimpl
    def qrmi_authorize(self, run, resource):
        raise RuntimeError("the directory does not answer: canary-7f3a")


class Exits:
    @hookimpl
    def qrmi_authorize(self, run, resource):
        raise SystemExit(0)


class Hangs:
    def __init__(self) -> None:
        self.end = threading.Event()

    @hookimpl
    def qrmi_authorize(self, run, resource):
        self.end.wait()


def test_nobody_asked_is_nobody_against():
    """A site without hooks has none to wait for."""
    assert hooks().authorize(RUN, "ibm_fez") is None


def test_a_run_that_all_agree_to_is_authorised():
    """Every plugin is asked, with the run and the resource, and None means yes."""
    first, second = Answers(None), Answers(None)
    hooks(first, second).authorize(RUN, "ibm_fez")

    assert [(RUN, "ibm_fez")] == first.asked == second.asked


def test_one_that_refuses_is_enough():
    """The reason reaches the user, with the resource that it is about."""
    with pytest.raises(AuthorizationRefused) as info:
        hooks(Answers(None), Answers("not in project chem")).authorize(RUN, "ibm_fez")

    assert ("ibm_fez", "not in project chem") == (info.value.resource, info.value.detail)


@pytest.mark.parametrize("plugin", [Raises(), Exits()])
def test_a_hook_that_raises_is_a_refusal(plugin):
    """A broken permission check must not let anybody in, and says that it is the hook that is broken."""
    with pytest.raises(AuthorizationRefused) as info:
        hooks(Answers(None), plugin).authorize(RUN, "ibm_fez")

    assert "raised" in info.value.detail
    assert "canary" not in str(info.value)


def test_a_hook_that_hangs_is_a_refusal():
    """A permission check that does not answer must neither let anybody in nor hold the job for ever."""
    plugin = Hangs()
    with pytest.raises(AuthorizationRefused) as info:
        hooks(plugin).authorize(RUN, "ibm_fez", timeout_s=0.05)
    plugin.end.set()

    assert "0.05 s" in info.value.detail


class Listens:
    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    @hookimpl
    def qrmi_task_started(self, resource, task_id):
        self.heard.append((resource, task_id))


class Stumbles:
    @hookimpl
    def qrmi_task_started(self, task_id):
        raise RuntimeError("no disk space")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_listener_that_raises_harms_nobody(order):
    """The job goes on, the other listeners are told, and the log says whose fault it was."""
    listener = Listens()
    plugins = [listener, Stumbles()]
    with capture_logs() as events:
        hooks(*(plugins[index] for index in order)).notify(
            log.logger(), "qrmi_task_started", run=RUN, resource="ibm_fez", task_id="t1"
        )

    assert [("ibm_fez", "t1")] == listener.heard
    assert [("hook.failed", "qrmi_task_started")] == [(event["event"], event["hook"]) for event in events]
    assert "no disk space" in events[0]["error"]


def test_an_installed_plugin_is_called(install):
    """A site's distribution in group `qrmi.hooks` takes effect by being installed."""
    source = """
from qrmi_core import hookimpl

@hookimpl
def qrmi_authorize(run, resource):
    return f"{resource} is closed on Sundays"
"""
    install("site-hooks", group="qrmi.hooks", points={"site": "site_hooks"}, source=source)

    with pytest.raises(AuthorizationRefused, match="closed on Sundays"):
        Hooks.installed().authorize(RUN, "ibm_fez")


@pytest.mark.parametrize(
    "source",
    ["1 / 0", "from qrmi_core import hookimpl\n@hookimpl\ndef qrmi_authorise(run, resource): ..."],
    ids=["broken", "misspelt"],
)
def test_a_plugin_that_cannot_be_loaded_stops_everything(install, source):
    """A permission check that is left out silently, because it is broken or misspelt, lets everybody in."""
    install("site-hooks", group="qrmi.hooks", points={"site": "site_hooks"}, source=source)

    with pytest.raises(ConfigError, match=r"qrmi\.hooks"):
        Hooks.installed()
