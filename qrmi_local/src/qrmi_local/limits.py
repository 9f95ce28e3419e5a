"""What this node leaves to a simulation, and what a simulation needs. Standard library only."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from qrmi_core.errors import ConfigError

if TYPE_CHECKING:
    from qrmi_local.settings import Settings

_UNLIMITED = 1 << 60
"""Control groups of version 1 write "no limit" as a number near 2**63."""

_SPARE = 0.05
"""Part of the free memory that stays free, for the interpreter and whatever is no array."""

_OWN_BYTES = 256 << 20
"""What the libraries and their threads take while they compute."""

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB")

GATES = (
    *("id", "x", "y", "z", "h", "s", "sdg", "sx", "sxdg", "t", "tdg", "p", "r", "rx", "ry", "rz", "u"),
    *("cx", "cy", "cz", "csx", "cp", "cu", "crx", "cry", "crz", "swap", "ecr", "rxx", "ryy", "rzz", "rzx"),
    *("ccx", "ccz", "cswap"),
)
"""What the target offers without a fake device: gates that Aer simulates as they are. Others are translated."""


def threads(given: int | None) -> int:
    """The number of threads for a simulation: *given*, or the CPUs of this process's affinity mask."""
    return given or len(os.sched_getaffinity(0))


def memory_allowed(given: int | None, root: Path = Path("/")) -> int:
    """The bytes a simulation may take: *given*, or what is free under the tightest limit there is.

    Limits are the node's free memory, every control group from this process's own up to the root, and
    `RLIMIT_AS` and `RLIMIT_DATA`. *root* is where ``proc`` and ``sys`` are.
    """
    if given:
        return given
    free = [*_node(root), *_control_groups(root), *_process()]
    return int(min(free) * (1 - _SPARE))


def _node(root: Path) -> Iterator[int]:
    for line in _read(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _control_groups(root: Path) -> Iterator[int]:
    """What each control group leaves. A process in a namespace of its own may not see the path that it is told."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):
            yield from _control_group(top.joinpath(*parts[:depth]), *names)


def _control_group(folder: Path, limit_name: str, usage_name: str, cache_name: str) -> Iterator[int]:
    limit, usage = _read(folder / limit_name).strip(), _read(folder / usage_name).strip()
    if limit.isdecimal() and usage.isdecimal() and int(limit) < _UNLIMITED:
        stat = dict(line.split() for line in _read(folder / "memory.stat").splitlines() if line.count(" ") == 1)
        yield max(0, int(limit) - int(usage) + int(stat.get(cache_name, 0)))


def _process() -> Iterator[int]:
    pages = [int(word) for word in _read(Path("/proc/self/statm")).split()]
    for which, used_pages in ((resource.RLIMIT_AS, pages[0]), (resource.RLIMIT_DATA, pages[5])):
        soft, _ = resource.getrlimit(which)
        if soft != resource.RLIM_INFINITY:
            yield max(0, soft - used_pages * resource.getpagesize())


@contextmanager
def memory_bounded(more_bytes: int) -> Iterator[None]:
    """Let this process take at most *more_bytes* more inside the block, and no more than it may anyway.

    Python code that wants more gets a `MemoryError`; compiled code that cannot do without ends the process.
    """
    before = resource.getrlimit(resource.RLIMIT_DATA)
    pages = int(_read(Path("/proc/self/statm")).split()[5])
    bound = pages * resource.getpagesize() + more_bytes
    tighter = bound if before[0] == resource.RLIM_INFINITY else min(bound, before[0])
    resource.setrlimit(resource.RLIMIT_DATA, (tighter, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def state_bytes(method: str, qubits: int, precision: str) -> int:
    """The bytes of one state of *qubits* qubits; 0 for methods whose state grows with entanglement instead."""
    amplitude = 8 if precision == "single" else 16
    match method:
        case "statevector":
            return amplitude << qubits
        case "density_matrix":
            return amplitude << 2 * qubits
        case "stabilizer":
            return qubits * (2 * qubits + 1) // 2 + 1
    return 0


def bytes_text(size: int) -> str:
    """For people: ``17,592,186,044,416 bytes (16 TiB)``."""
    if size >= 1 << 80:
        return f"2^{size.bit_length() - 1} bytes"
    power = min(max(size.bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    return f"{size:,} bytes" + (f" ({size / 1024**power:.4g} {_UNITS[power]})" if power else "")


class Device(NamedTuple):
    """A fake device, as the vendor describes the real one."""

    name: str
    configuration: dict[str, Any]
    properties: dict[str, Any]


@lru_cache(maxsize=8)
def fake_device(name: str) -> Device:
    """Read a device of `qiskit_ibm_runtime.fake_provider` from its data files; the package itself takes 3 s to import.

    Raises:
        ConfigError: the package is not installed, or has no such device.
    """
    found = find_spec("qiskit_ibm_runtime")
    if found is None or found.origin is None:
        raise ConfigError.one(
            "QRMI_LOCAL_FAKE_DEVICE", "", "qiskit-ibm-runtime is not installed", "Install `qrmi-local[fake]`"
        )
    folder = Path(found.origin).parent / "fake_provider" / "backends"
    known = {path.parent.name: path for path in sorted(folder.glob("*/conf_*.json"))}
    short = name.lower().removeprefix("fake").strip("_").removesuffix("v2").removesuffix("backend")
    if short not in known:
        names = ", ".join(f"Fake{one.capitalize()}" for one in known)
        raise ConfigError.one("QRMI_LOCAL_FAKE_DEVICE", "", f"there is no device {name!r}", f"Known are {names}")
    configuration = known[short]
    properties = configuration.with_name(configuration.name.replace("conf_", "props_", 1))
    return Device(name, json.loads(configuration.read_text()), json.loads(properties.read_text()))


def target(settings: Settings) -> str:
    """What a compiler needs to know, as IBM's services serialise it: ``{"configuration": ..., "properties": ...}``."""
    if settings.fake_device:
        device = fake_device(settings.fake_device)
        return json.dumps({"configuration": device.configuration, "properties": device.properties})
    method = "statevector" if settings.method == "automatic" else settings.method
    allowed, qubits = memory_allowed(settings.memory_limit_bytes), 1
    while qubits < 63 and state_bytes(method, qubits + 1, settings.precision) <= allowed:
        qubits += 1
    configuration = {
        "backend_name": "local",
        "backend_version": "1.0.0",
        "n_qubits": qubits,
        "basis_gates": list(GATES),
        "gates": [],
        "coupling_map": None,
        "local": True,
        "simulator": True,
        "conditional": True,
        "open_pulse": False,
        "memory": True,
        "max_shots": 2**31 - 1,
        "online_date": None,
        "supported_instructions": [*GATES, "measure", "reset", "delay", "if_else", "while_loop", "for_loop"],
        "supported_features": ["qasm3"],
        "description": f"{method} simulation on this node; all qubits are connected",
    }
    return json.dumps({"configuration": configuration, "properties": None})


@contextmanager
def bounded_memory(more_bytes: int | None) -> Iterator[None]:
    """Let this process have so much more memory; then it gets a MemoryError, instead of swapping the node away.

    What no plan can foresee, a matrix product state that grows, must fail like this.
    """
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with suppress(OSError, ValueError):
        if more_bytes is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (_data_bytes() + _OWN_BYTES + more_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _data_bytes() -> int:
    """The private memory of this process, as `RLIMIT_DATA` counts it."""
    return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
