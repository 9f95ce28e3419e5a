"""What can be set for a resource of type `local`. Nothing heavy is imported: the caller's process reads this too."""

from __future__ import annotations

from typing import Literal

from qrmi_core import ConfigError, setting, settings


def _above_zero(value: int) -> str | None:
    return "must be above 0" if value <= 0 else None if value < 2**62 else "must be below 2^62"


def _seed(value: int) -> str | None:
    return None if 0 <= value < 2**32 else "must be from 0 to 4294967295"


def _device(name: str) -> str | None:
    from qrmi_local.limits import fake_device

    try:
        fake_device(name)
    except ConfigError as exc:
        _, problem, remedy = exc.faults[0]
        return f"cannot be used: {problem}. {remedy}"
    return None


@settings(prefix="QRMI_LOCAL")
class Settings:
    """The settings of a resource of type `local`. Every one has a default."""

    method: Literal[
        "automatic",
        "statevector",
        "density_matrix",
        "stabilizer",
        "matrix_product_state",
        "extended_stabilizer",
    ] = setting(
        default="automatic",
        help="How gate circuits are simulated; `automatic` is exact: it takes `stabilizer` for Clifford circuits, else "
        "`statevector`, with noise `density_matrix` where that is smaller.",
    )
    precision: Literal["double", "single"] = setting(
        default="double", help="Floating-point precision of amplitudes: 16 or 8 bytes for each of them."
    )
    seed: int | None = setting(
        default=None,
        check=_seed,
        help="Seed of all random numbers, 0 to 4294967295; without one every task differs. A payload's own seed wins.",
    )
    threads: int | None = setting(
        default=None,
        check=_above_zero,
        help="Number of threads of a simulation; without it, the CPUs that this process may use.",
    )
    memory_limit_bytes: int | None = setting(
        default=None,
        check=_above_zero,
        help="Memory that a simulation may take, in bytes; without it, what the node, the control group and the "
        "limits of the process leave.",
    )
    fake_device: str | None = setting(
        default=None,
        check=_device,
        help="A device of `qiskit_ibm_runtime.fake_provider` to stand in for, such as `FakeTorino`: its target, its "
        "noise, and like the device it takes only circuits compiled for it. Needs `qrmi-local[fake]`.",
    )
    noise: bool = setting(default=True, help="With `fake_device`, simulate the noise of that device.")
    processor: Literal["cpu", "gpu"] = setting(
        default="cpu", help="Where gate circuits are simulated; `gpu` needs a build of Aer with GPU support."
    )
    default_shots: int = setting(
        default=4096, check=_above_zero, help="Shots of a sampler pub that does not say how many."
    )
