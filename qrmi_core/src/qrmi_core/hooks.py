"""Hooks: what a site can add to every resource without touching a backend. Entry-point group ``qrmi.hooks``.

A plugin is a module or object whose functions carry these names and the mark `hookimpl`. `qrmi_authorize` fails
closed: one that raises or takes too long is a refusal that says so. The others are told what happened; one that raises
is logged as ``hook.failed`` and harms no job.
"""

from __future__ import annotations

import functools
import threading
from typing import Any

import pluggy

from qrmi_core.errors import AuthorizationRefused, ConfigError
from qrmi_core.models import Run, TaskState

GROUP = "qrmi.hooks"
AUTHORIZE_TIMEOUT_S = 10.0

hookspec = pluggy.HookspecMarker("qrmi")
hookimpl = pluggy.HookimplMarker("qrmi")


class Specification:
    """The hooks there are."""

    @hookspec
    def qrmi_authorize(self, run: Run, resource: str) -> str | None:
        """May *run* use *resource*? Return None for yes, or the reason for no. Every plugin must agree."""

    @hookspec
    def qrmi_lease_acquired(self, run: Run, resource: str) -> None:
        """*run* now holds a session on *resource*."""

    @hookspec
    def qrmi_lease_released(self, run: Run, resource: str) -> None:
        """*run* no longer holds *resource*."""

    @hookspec
    def qrmi_task_started(self, run: Run, resource: str, task_id: str) -> None:
        """The task was submitted."""

    @hookspec
    def qrmi_task_finished(self, run: Run, resource: str, task_id: str, state: TaskState) -> None:
        """The task has ended; *state* says how."""


class Hooks:
    """The installed plugins, and the only way to call them."""

    def __init__(self, manager: pluggy.PluginManager) -> None:
        self._manager = manager

    @classmethod
    def installed(cls) -> Hooks:
        """Load group ``qrmi.hooks``.

        Raises:
            ConfigError: a plugin cannot be loaded or has a misspelt hook. A site's hooks are never left out silently.
        """
        manager = new_manager()
        try:
            manager.load_setuptools_entrypoints(GROUP)
            manager.check_pending()
        except (Exception, SystemExit) as exc:  # a plugin's import may raise anything
            raise ConfigError.one(
                f"entry-point group {GROUP}",
                "",
                f"a plugin cannot be loaded: {exc}",
                "Mend or uninstall it; `qrmi doctor` lists the installed plugins",
            ) from exc
        return cls(manager)

    def are_there(self, name: str) -> bool:
        """Whether a plugin has the hook *name*."""
        return bool(getattr(self._manager.hook, name).get_hookimpls())

    def authorize(self, run: Run, resource: str, *, timeout_s: float = AUTHORIZE_TIMEOUT_S) -> None:
        """Ask every plugin.

        Raises:
            AuthorizationRefused: one refused, raised, or did not answer within *timeout_s*.
        """
        if not self.are_there("qrmi_authorize"):
            return
        answers: list[Any] = []

        def ask() -> None:
            try:
                answers.append(self._manager.hook.qrmi_authorize(run=run, resource=resource))
            except BaseException as exc:  # noqa: BLE001 - whatever it is, it is not a yes
                answers.append(exc)

        asking = threading.Thread(target=ask, name="qrmi-authorize", daemon=True)
        asking.start()
        asking.join(timeout_s)
        if not answers:
            raise AuthorizationRefused(resource, f"a qrmi_authorize hook did not answer within {timeout_s:g} s")
        if isinstance(answers[0], BaseException):
            raise AuthorizationRefused(
                resource, f"a qrmi_authorize hook raised {type(answers[0]).__name__}"
            ) from answers[0]
        if reasons := [str(reason) for reason in answers[0] if reason is not None]:
            raise AuthorizationRefused(resource, "; ".join(reasons))

    def notify(self, log: Any, name: str, **facts: Any) -> None:
        """Tell every plugin of *name*; what one raises is logged and reaches nobody else."""
        for implementation in getattr(self._manager.hook, name).get_hookimpls():
            try:
                implementation.function(**{arg: facts[arg] for arg in implementation.argnames})
            except (Exception, SystemExit) as exc:  # noqa: BLE001 - a listener must not harm the job
                log.warning("hook.failed", hook=name, plugin=implementation.plugin_name, error=repr(exc))


def new_manager() -> pluggy.PluginManager:
    """A manager that knows the specification and no plugin yet."""
    manager = pluggy.PluginManager("qrmi")
    manager.add_hookspecs(Specification)
    return manager


@functools.cache
def installed() -> Hooks:
    """The hooks of this process, loaded once."""
    return Hooks.installed()
