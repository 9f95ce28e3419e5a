"""The core of QRMI for HPC: the contract between programs and quantum processors, and what runs tasks on it.

Every public name is listed in one table and imported when it is first used (PEP 562): `import qrmi_core` costs nothing.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # typing's own costs 2 ms, a tenth of `qrun --help`
if TYPE_CHECKING:
    from typing import Any

    from qrmi_core.backend import Backend, Context, QuantumResource
    from qrmi_core.declarations import setting, settings
    from qrmi_core.errors import (
        AcquireTimeout,
        AuthenticationFailed,
        AuthorizationRefused,
        BackendBroken,
        BackendConflict,
        BackendError,
        BackendFault,
        BackendNotInstalled,
        BrokerUnavailable,
        ConfigError,
        NotOffered,
        OutcomeUnknown,
        PayloadError,
        QrmiError,
        RequestRefused,
        ResourceError,
        ResourceUnavailable,
        ResultNotSaved,
        TaskCancelled,
        TaskError,
        TaskFailed,
        TaskNotFound,
        TaskNotReady,
        TaskTimeLimit,
        UnexpectedReply,
    )
    from qrmi_core.hooks import hookimpl
    from qrmi_core.host import Hosted, Opening, open_resource
    from qrmi_core.models import (
        ALLOWED_MOVES,
        AcquireRequest,
        Device,
        Run,
        Session,
        TaskPlan,
        TaskState,
        TaskStatus,
        Usage,
    )
    from qrmi_core.payload import Payload
    from qrmi_core.runner import TaskRunner

_HOMES = {
    "backend": ("Backend", "Context", "QuantumResource"),
    "errors": (
        "AcquireTimeout",
        "AuthenticationFailed",
        "AuthorizationRefused",
        "BackendBroken",
        "BackendConflict",
        "BackendError",
        "BackendFault",
        "BackendNotInstalled",
        "BrokerUnavailable",
        "BrokerUnavailable",
        "ConfigError",
        "NotOffered",
        "OutcomeUnknown",
        "PayloadError",
        "QrmiError",
        "RequestRefused",
        "ResourceError",
        "ResourceUnavailable",
        "ResultNotSaved",
        "TaskCancelled",
        "TaskError",
        "TaskFailed",
        "TaskNotFound",
        "TaskNotReady",
        "TaskTimeLimit",
        "UnexpectedReply",
    ),
    "hooks": ("hookimpl",),
    "host": ("Hosted", "Opening", "open_resource"),
    "models": (
        "ALLOWED_MOVES",
        "AcquireRequest",
        "Device",
        "Run",
        "Session",
        "TaskPlan",
        "TaskState",
        "TaskStatus",
        "Usage",
    ),
    "payload": ("Payload",),
    "runner": ("TaskRunner",),
    "declarations": ("setting", "settings"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ALLOWED_MOVES",
    "AcquireRequest",
    "AcquireTimeout",
    "AuthenticationFailed",
    "AuthorizationRefused",
    "Backend",
    "BackendBroken",
    "BackendConflict",
    "BackendError",
    "BackendFault",
    "BackendNotInstalled",
    "BrokerUnavailable",
    "ConfigError",
    "Context",
    "Device",
    "Hosted",
    "NotOffered",
    "Opening",
    "OutcomeUnknown",
    "Payload",
    "PayloadError",
    "QrmiError",
    "QuantumResource",
    "RequestRefused",
    "ResourceError",
    "ResourceUnavailable",
    "ResultNotSaved",
    "Run",
    "Session",
    "TaskCancelled",
    "TaskError",
    "TaskFailed",
    "TaskNotFound",
    "TaskNotReady",
    "TaskPlan",
    "TaskRunner",
    "TaskState",
    "TaskStatus",
    "TaskTimeLimit",
    "UnexpectedReply",
    "Usage",
    "hookimpl",
    "open_resource",
    "setting",
    "settings",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'qrmi_core' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"qrmi_core.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
