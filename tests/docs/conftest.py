"""The documentation, built once, and how to look into it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .site import Site


@pytest.fixture(scope="session")
def build(root, tmp_path_factory) -> tuple[Path, str]:
    """The folder of the built pages, and what Sphinx said."""
    folder = tmp_path_factory.mktemp("html")
    words = ["-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(tmp_path_factory.mktemp("doctrees")), "docs"]
    done = subprocess.run([sys.executable, *words, str(folder)], cwd=root, capture_output=True, text=True)
    return folder, done.stdout + done.stderr


@pytest.fixture(scope="session")
def site(build) -> Site:
    """The built pages."""
    return Site(build[0])
