"""What the sample payloads must come to: the physics, tabled once, checked on results as `qrmi_core` reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qrmi_core.results import Counts, Values, views

SLACK = 5 / 3
"""Three standard errors become five: of random seeds, one in a hundred runs has one that is further out than three."""


def _counts(document: Any) -> Mapping[str, int]:
    (view,) = views(document, "result")
    assert isinstance(view, Counts)
    return view.counts


def _values(document: Any) -> dict[str, float]:
    (view,) = views(document, "result")
    assert isinstance(view, Values)
    return {label: value for label, value, _ in view.values}


def bell(document: Any, slack: float = SLACK) -> None:
    """Only 00 and 11, each 50 +- 3 %."""
    counts = _counts(document)
    assert {"00", "11"} == set(counts)
    assert abs(counts["00"] / sum(counts.values()) - 0.5) <= 0.03 * slack


def ghz20(document: Any, slack: float = SLACK) -> None:
    """Only all 0 and all 1, each 50 +- 4 %."""
    counts = _counts(document)
    assert {"0" * 20, "1" * 20} == set(counts)
    assert 2048 == sum(counts.values())
    assert abs(counts["0" * 20] / 2048 - 0.5) <= 0.04 * slack


def h2(document: Any, slack: float = SLACK) -> None:
    """The exact ground state energy of the operator, three standard errors wide."""
    assert abs(_values(document)["value"] - -1.8572750302) <= 0.03 * slack


def broadcast(document: Any, slack: float = SLACK) -> None:
    """Two observables times three parameter sets."""
    expected = {"[0, 0]": 1.0, "[0, 1]": 0.540302, "[0, 2]": 0.764842, "[1, 0]": 0.5, "[1, 1]": 0.371300,
                "[1, 2]": -0.551612}  # fmt: skip
    values = _values(document)
    assert expected.keys() == values.keys()
    for label, value in expected.items():
        assert abs(values[label] - value) <= 0.06 * slack, (label, value, values[label])


def blockade(document: Any, slack: float = SLACK) -> None:
    """Two atoms within the blockade radius share one excitation."""
    counts = _counts(document)
    assert 1000 == sum(counts.values())
    assert abs(counts.get("01", 0) - 500) <= 80 * slack
    assert counts.get("00", 0) + counts.get("11", 0) <= 10 * slack


def antiferromagnet(document: Any, slack: float = SLACK) -> None:
    """A 3x3 square ends as a checkerboard."""
    assert _counts(document)["101010101"] >= 1000 - 40 * slack


def asymmetric(document: Any) -> None:
    """Three qubits of which only the first was flipped: the bit of qubit 0 stands on the right."""
    assert {"001"} == set(_counts(document))


CHECKS: dict[str, Callable[[Any, float], None]] = {
    "sampler_bell.json": bell,
    "sampler_ghz20_isa.json": ghz20,
    "estimator_h2.json": h2,
    "estimator_broadcast.json": broadcast,
    "sampler_bell_runtime_encoded.json": bell,
    "estimator_h2_runtime_encoded.json": h2,
    "pulser_2q_sequence.json": blockade,
    "pulser_afm_9q.json": antiferromagnet,
}
