"""The administrators' socket, as commands ask it. Who may not use it is told so, and not that nobody answers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from qrmi_core import protocol, variables
from qrmi_core.client import Broker
from qrmi_core.errors import AuthorizationRefused, BrokerUnavailable, ConfigError

_WHOSE = "for root and the broker's own user"


@contextmanager
def opened(path: str | None) -> Iterator[Broker]:
    """Who answers on *path*, by default on the socket that the environment names.

    Raises:
        ConfigError: it is the socket for jobs.
        AuthorizationRefused: it is not for this user.
        BrokerUnavailable: nobody answers.
    """
    broker = Broker(path or os.environ.get(variables.ADMIN_SOCKET) or protocol.ADMIN_SOCKET)
    try:
        yield broker
    except BrokerUnavailable as exc:
        if isinstance(exc.__cause__, PermissionError):
            raise AuthorizationRefused(broker.socket_path, f"the administrators' socket is {_WHOSE}") from exc
        raise
    except AuthorizationRefused as exc:
        problem = f"{broker.socket_path} is the socket for jobs"
        raise ConfigError.one(
            "--socket", "", problem, f"Name the administrators' socket, {_WHOSE}: admin.sock"
        ) from exc
    finally:
        broker.close()
