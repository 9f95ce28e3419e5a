"""The quantum processors that an emulated service offers, and their documents.

Where qiskit-ibm-runtime is installed they are those of its fake devices; a straight line of qubits is always there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from attrs import define

from qrmi_core import ConfigError

_DAY = "2026-01-01T00:00:00+00:00"
_LINE = "line_"
_SINGLE, _PAIR = ("id", "rz", "sx", "x"), "cz"


@define
class Device:
    """One device. Its status may be changed while it is served."""

    name: str
    configuration: dict[str, Any]
    properties: dict[str, Any]
    status: str = "online"
    """`online`, `paused` or `offline`."""
    message: str = ""
    is_locked: bool = False
    """Held by a reservation, as Direct Access shows it."""

    @property
    def qubits(self) -> int:
        """How many it has."""
        return int(self.configuration["n_qubits"])


def offered(names: Iterable[str] = ()) -> dict[str, Device]:
    """The devices of these *names*; without any, a choice of what is installed.

    Raises:
        ConfigError: a name is neither that of a fake device, such as `ibm_torino`, nor `line_` with a number of qubits.
    """
    wanted = tuple(names) or (("ibm_torino", "ibm_fez") if _folder() else (f"{_LINE}20",))
    return {name: _device(name) for name in wanted}


def _device(name: str) -> Device:
    folder = _folder()
    if folder and (found := sorted((folder / name.removeprefix("ibm_")).glob("conf_*.json"))):
        configuration = json.loads(found[0].read_text())
        properties = json.loads(found[0].with_name(found[0].name.replace("conf_", "props_", 1)).read_text())
    elif name.startswith(_LINE) and name.removeprefix(_LINE).isdecimal() and int(name.removeprefix(_LINE)) > 1:
        configuration, properties = line(int(name.removeprefix(_LINE)))
    else:
        known = sorted(f"ibm_{path.parent.name}" for path in folder.glob("*/conf_*.json")) if folder else []
        remedy = f"There are {', '.join([*known, 'line_N with N qubits'])}"
        if not folder:
            remedy += "; more with `qrmi-local[fake]`"
        raise ConfigError.one("--device", "", f"there is no device {name!r}", remedy)
    return Device(name, {**configuration, "backend_name": name}, {**properties, "backend_name": name})


def _folder() -> Path | None:
    found = find_spec("qiskit_ibm_runtime")
    return Path(found.origin).parent / "fake_provider" / "backends" if found and found.origin else None


def line(qubits: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Configuration and properties of *qubits* in a line, each coupled to the next, with the gates of a Heron."""
    pairs = [[left, left + 1] for left in range(qubits - 1)]
    pairs += [pair[::-1] for pair in pairs]
    gates = [
        *((name, ["theta"] if name == "rz" else [], [[qubit] for qubit in range(qubits)]) for name in _SINGLE),
        (_PAIR, [], pairs),
    ]
    configuration = {
        "backend_version": "1.0.0",
        "n_qubits": qubits,
        "basis_gates": [*_SINGLE, _PAIR],
        "gates": [
            {"name": name, "parameters": parameters, "qasm_def": f"gate {name} q {{ }}", "coupling_map": places}
            for name, parameters, places in gates
        ],
        "coupling_map": pairs,
        "supported_instructions": [*_SINGLE, _PAIR, "measure", "reset", "delay"],
        "supported_features": ["qasm3"],
        "timing_constraints": {"acquire_alignment": 1, "granularity": 1, "min_length": 1, "pulse_alignment": 1},
        "processor_type": {"family": "Heron", "revision": "1"},
        "description": f"{qubits} qubits in a line, emulated",
        "dt": 4.0,
        "rep_delay_range": [0.0, 500.0],
        "default_rep_delay": 250.0,
        "dynamic_reprate_enabled": True,
        "max_shots": 100_000,
        "max_experiments": 300,
        "online_date": _DAY,
        "local": False,
        "simulator": False,
        "conditional": False,
        "open_pulse": False,
        "memory": True,
    }
    properties = {
        "backend_version": "1.0.0",
        "last_update_date": _DAY,
        "qubits": [_qubit() for _ in range(qubits)],
        "gates": [
            _gate(name, place, error=0.0 if name == "rz" else 3e-3 if name == _PAIR else 3e-4)
            for name, _, places in gates
            for place in places
        ],
        "general": [],
    }
    return configuration, properties


def _value(name: str, unit: str, value: float) -> dict[str, Any]:
    return {"date": _DAY, "name": name, "unit": unit, "value": value}


def _qubit() -> list[dict[str, Any]]:
    return [
        _value("T1", "us", 200.0),
        _value("T2", "us", 150.0),
        _value("readout_error", "", 0.01),
        _value("prob_meas0_prep1", "", 0.01),
        _value("prob_meas1_prep0", "", 0.01),
        _value("readout_length", "ns", 1500.0),
    ]


def _gate(name: str, place: list[int], error: float) -> dict[str, Any]:
    length_ns = 0.0 if name == "rz" else 88.0 if name == _PAIR else 32.0
    parameters = [_value("gate_error", "", error), _value("gate_length", "ns", length_ns)]
    return {"gate": name, "qubits": place, "parameters": parameters, "name": name + "_".join(map(str, place))}
