"""What every test may use: the test data, our wheels built once, environments made of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of payloads, results and device specifications."""
    return DATA


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def wheels(tmp_path_factory) -> Path:
    """A folder with the wheels of all our distributions, built from this tree."""
    folder = tmp_path_factory.mktemp("wheels")
    uv("build", "--wheel", "--all-packages", "--out-dir", str(folder), "-q", cwd=ROOT)
    return folder


@pytest.fixture(scope="session")
def build(tmp_path_factory) -> tuple[Path, str]:
    """The folder of the documentation's built pages, and what Sphinx said."""
    folder = tmp_path_factory.mktemp("html")
    words = ["-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(tmp_path_factory.mktemp("doctrees")), "docs"]
    done = subprocess.run([sys.executable, *words, str(folder)], cwd=ROOT, capture_output=True, text=True)
    return folder, done.stdout + done.stderr


@pytest.fixture
def new_venv(tmp_path) -> Callable[..., Path]:
    """Make an empty environment below tmp_path, install what is named, and return its folder of commands."""

    def make(*what: str, name: str = "venv") -> Path:
        place = tmp_path / name
        uv("venv", "-q", "--python", sys.executable, str(place))
        if what:
            uv(
                "pip",
                "install",
                "-q",
                "--python",
                str(place / "bin" / "python"),
                "-c",
                str(ROOT / ".ci" / "constraints.txt"),
                *what,
            )
        return place / "bin"

    return make


def uv(*words: str, cwd: Path | None = None) -> None:
    """Run uv, and show what it says if it fails."""
    done = subprocess.run([sys.executable, "-m", "uv", *words], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(autouse=True)
def own_state(tmp_path_factory, monkeypatch) -> None:
    """Each test has a state folder of its own, and none of the caller's configuration."""
    monkeypatch.setenv("QRMI_STATE_DIR", str(tmp_path_factory.mktemp("state")))
    for name in list(os.environ):
        if name.startswith(("QRMI_", "SLURM_")) and name not in ("QRMI_STATE_DIR", "QRMI_CI"):
            monkeypatch.delenv(name)
    monkeypatch.setattr("qrmi_core.log._pending", None)  # no test inherits the events of a command before it
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI a test that did not run is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    left_out = [
        kind for kind in ("skipped", "xfailed", "xpassed", "deselected") if reporter and reporter.stats.get(kind)
    ]
    if left_out and os.environ.get("QRMI_CI") and session.exitstatus == 0:
        reporter.write_line(f"tests were left out ({', '.join(left_out)}): in CI that is a failure", red=True)
        session.exitstatus = 1
