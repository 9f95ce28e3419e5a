"""`qrmi slurm check`, of whether the broker sees all jobs: by Slurm's settings, and a `sacctmgr` of our own."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from qrmi_broker.slurm import check_queue
from qrmi_broker.slurm.controller import Settings

from .programs import program

LEVELS = {"AccountingStorageType": "accounting_storage/slurmdbd"}


@pytest.fixture
def socket(folder) -> str:
    """The socket of a broker that is neither root nor SlurmUser."""
    path = folder / "admin.sock"
    path.touch()
    os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)
    return str(path)


def found(socket: str, **facts: str) -> tuple[str, str]:
    """The verdict, and the whole line."""
    (one,) = check_queue.sight(Settings({"SlurmUser": "slurm(64030)", **facts}), socket)
    return one.verdict, str(one)


@pytest.mark.parametrize(("level", "verdict"), [("Operator", "ok"), ("Administrator", "ok"), ("None", "WRONG")])
def test_an_operator_of_slurm_sees_all_jobs(socket, tmp_path, monkeypatch, level, verdict):
    """An administrator who did what he was told is told again."""
    asks = f"[ \"$*\" = '-nP show user nobody format=AdminLevel' ] && echo {level}"
    monkeypatch.setenv("PATH", f"{program(tmp_path / 'sacctmgr', asks).parent}:{os.environ['PATH']}")
    said = found(socket, PrivateData="jobs", **LEVELS)

    assert verdict == said[0]
    assert (verdict == "WRONG") == ("sacctmgr modify user nobody set AdminLevel=Operator" in said[1])


def test_without_slurmdbd_nobody_is_an_operator(socket):
    """A remedy is named that Slurm does not have."""
    verdict, line = found(socket, PrivateData="jobs")

    assert "WRONG" == verdict
    assert "Run qrmid as slurm, or take `jobs` out" in line
    assert "sacctmgr" not in line


def test_a_slurmdbd_that_is_down_is_said(socket, tmp_path: Path, monkeypatch):
    """A check that nobody could make passes, or ends in a traceback."""
    program(tmp_path / "sacctmgr", "echo 'Connection refused' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    assert "Connection refused" in found(socket, PrivateData="jobs", **LEVELS)[1]


def test_jobs_that_are_not_private_are_seen(socket):
    """A fault is reported at a site that hides nothing."""
    assert "ok" == found(socket, PrivateData="usage,users")[0]
