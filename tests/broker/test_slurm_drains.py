"""`qrmi slurm drain|resume`: what Slurm is asked, told by a `scontrol` of our own. The real one is in tests/slurm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qrmi_broker.slurm import controller, drains
from qrmi_core.errors import BrokerUnavailable, ConfigError, ResourceUnavailable

SCONTROL = """\
#!/bin/sh
cd "$(dirname "$0")"
echo "$*" >> asked
case "$*" in
    "--oneliner show licenses") cat licences ;;
    "--oneliner show reservation") cat reservations ;;
    "create "*|"delete "*|"update "*) [ ! -e refuses ] || { echo "Access/permission denied" >&2; exit 1; } ;;
esac
"""
DRAINED = "ReservationName=qrmi_drain:{}:{} StartTime=now Users=root Licenses={} State=ACTIVE\n"
NOWHERE = "/nowhere/admin.sock"


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> Path:
    """The folder of a `scontrol` that knows the licences `fez`, four of them, and `fez.2`; nothing is drained."""
    (tmp_path / "scontrol").write_text(SCONTROL)
    (tmp_path / "scontrol").chmod(0o755)
    (tmp_path / "licences").write_text("LicenseName=fez Total=4 Used=1\nLicenseName=fez.2 Total=1 Used=0\n")
    (tmp_path / "reservations").write_text("No reservations in the system\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def drain(name: str, socket: str) -> int:
    """The usual drain."""
    return drains.drain(name, "calibration", socket, is_broker_asked=False)


def changes(slurm: Path) -> list[str]:
    """What Slurm was asked to change."""
    return [line for line in (slurm / "asked").read_text().splitlines() if " show " not in line]


def test_a_drain_reserves_every_lane_for_nobody(slurm, capfd):
    """Jobs would start on the lanes that are left."""
    assert 0 == drains.drain("fez", "calibration, until 14:00\n\x1b[31m", NOWHERE, is_broker_asked=False)
    assert [
        "create reservation ReservationName=qrmi_drain:fez:calibration_until_14:00_31m Licenses=fez:4 "
        "StartTime=now Duration=UNLIMITED Users=root Flags=ANY_NODES,IGNORE_JOBS"
    ] == changes(slurm)
    assert capfd.readouterr().out.startswith("fez: drained, its jobs wait in the queue: calibration")


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("calibration", "fez: is drained already: calibration\n"),
        ("fire", "fez: is drained already, and keeps its reason: calibration. Resume it first to change that\n"),
    ],
)
def test_a_second_drain_changes_nothing(slurm, capfd, reason, says):
    """Between two reservations jobs would start."""
    (slurm / "reservations").write_text(DRAINED.format("fez", "calibration", "fez:4"))

    assert 0 == drains.drain("fez", reason, NOWHERE, is_broker_asked=False)
    assert [] == changes(slurm)
    assert says == capfd.readouterr().out


def test_a_second_drain_takes_lanes_that_came_since(slurm):
    """Jobs would start on them."""
    (slurm / "reservations").write_text(DRAINED.format("fez", "calibration", "fez:2"))
    drain("fez", NOWHERE)

    assert ["update reservation=qrmi_drain:fez:calibration licenses=fez:4"] == changes(slurm)


def test_resume_ends_its_own_reservations_only(slurm, capfd):
    """Another resource, or the site's maintenance, would be resumed too."""
    (slurm / "reservations").write_text(
        DRAINED.format("fez", "a", "fez:4") + DRAINED.format("fez.2", "b", "fez.2:1") + "ReservationName=fez Nodes=n1\n"
    )

    assert 0 == drains.resume("fez", NOWHERE)
    assert ["delete reservation=qrmi_drain:fez:a"] == changes(slurm)
    said = capfd.readouterr()
    assert "fez: resumed\n" == said.out
    assert "the broker was not asked whether it refuses fez too" in said.err


def test_a_resume_of_what_is_not_drained_changes_nothing(slurm, capfd):
    """A script could not be run twice."""
    assert 0 == drains.resume("fez", NOWHERE)
    assert [] == changes(slurm)
    assert "fez: was not drained\n" == capfd.readouterr().out


def test_what_slurm_refuses_is_said_in_its_own_words(slurm):
    """An administrator would take the resource for drained."""
    (slurm / "refuses").touch()
    with pytest.raises(ResourceUnavailable, match="Access/permission denied"):
        drain("fez", NOWHERE)


@pytest.mark.parametrize("verb", [drain, drains.resume])
def test_without_licences_the_broker_must_answer(slurm, verb):
    """A resource without lanes would be taken for drained, or for resumed."""
    with pytest.raises(BrokerUnavailable):
        verb("free", NOWHERE)
    assert [] == changes(slurm)


@pytest.mark.parametrize("reason", ["", "  ", ",,", "\n"])
def test_a_drain_needs_a_reason(slurm, reason):
    """Those who wait would not know for what."""
    with pytest.raises(ConfigError):
        drains.drain("fez", reason, NOWHERE, is_broker_asked=False)
    assert not (slurm / "asked").exists()


def test_the_broker_is_drained_and_resumed_where_it_is_asked(slurm, daemon, capfd):
    """What comes past the licences would go on."""
    socket = str(daemon.folder / "run" / "admin.sock")
    drains.drain("fez", "calibration, until 14:00", socket, is_broker_asked=True)
    assert {"fez": "calibration, until 14:00"} == daemon.admin().ask_json("GET", "/v1/health")["drained"]

    assert 0 == drains.resume("fez", socket)
    assert {} == daemon.admin().ask_json("GET", "/v1/health")["drained"]
    assert capfd.readouterr().out.endswith("fez: resumed\n")


@pytest.mark.parametrize("verb", [drain, drains.resume])
def test_the_socket_for_jobs_is_not_the_one_to_ask(slurm, daemon, verb):
    """An administrator would write to a backend's maintainers because he named the wrong socket."""
    with pytest.raises(ConfigError) as raised:
        verb("free", daemon.public)
    remedy = "Name the administrators' socket, for root and the broker's own user: admin.sock"
    assert f"--socket: {daemon.public} is the socket for jobs. {remedy}" == raised.value.sentence()


def test_who_answers_nothing_or_is_not_there_is_named(tmp_path, monkeypatch):
    """A command would hang, or end in a traceback."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ResourceUnavailable, match="no scontrol on PATH"):
        controller.settings()
    (tmp_path / "scontrol").write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setattr(controller, "ANSWER_S", 0.2)
    with pytest.raises(ResourceUnavailable, match="has not answered"):
        controller.settings()
