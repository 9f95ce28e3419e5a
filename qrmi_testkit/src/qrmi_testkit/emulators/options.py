"""How an emulator is set up."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from qrmi_core import ConfigError
from qrmi_testkit.emulators.accounts import Account
from qrmi_testkit.emulators.faults import Fault

_LAST_PORT = 65_535


@frozen(kw_only=True)
class Options:
    """How an emulator is set up."""

    port: int = 0
    """Where it listens on 127.0.0.1; 0 takes a free port."""
    lanes: int = 5
    """Jobs that a device executes at a time."""
    devices: tuple[str, ...] = ()
    """Their names; without any, a choice of what is installed."""
    service_s: float = 0.0
    """What every job takes at least."""
    token_ttl_s: int = 3600
    """How long a token is good."""
    account: Account = field(factory=Account.new)
    """Who may use it; more with `Emulator.add_account`."""
    simulator: Mapping[str, str] = field(factory=dict)
    """Settings of the `qrmi_local` that computes, such as ``{"QRMI_LOCAL_SEED": "7"}``."""
    faults: tuple[Fault, ...] = ()
    """How it misbehaves; more with `Emulator.faults`."""
    is_warm: bool = False
    """Start the simulator at once, so that the first job takes no longer than the others."""
    is_talkative: bool = False
    """Log what happens."""

    def __attrs_post_init__(self) -> None:
        least = {"lanes": 1, "token_ttl_s": 1, "service_s": 0, "port": 0}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise _wrong(name, f"{getattr(self, name)} is below {value}")
        if self.port > _LAST_PORT:
            raise _wrong("port", f"{self.port} is above {_LAST_PORT}")


def _wrong(name: str, problem: str) -> ConfigError:
    return ConfigError.one(f"--{name.replace('_', '-')}", "", problem, "Give another number")
