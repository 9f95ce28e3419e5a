"""Promises of the repository as a whole: its pins, its versions, what may stand in it."""

from __future__ import annotations

import re
import subprocess
import tomllib

import pytest

DISTRIBUTIONS = ("qrmi_core", "qrmi_local", "qrmi_ibm_da", "qrmi_ibm_qrs", "qrmi_broker", "qrmi_testkit")


@pytest.fixture(scope="module")
def tracked(root) -> list[str]:
    """The files under version control."""
    return subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True).stdout.split()


def test_every_pin_is_a_name_and_a_version(root):
    """An address in the pins would tie every site to one registry."""
    for line in (root / ".ci" / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.+]*( ; .+)?", line), line


def test_all_distributions_have_one_version_and_ask_for_each_other_by_it(root):
    """A mix of versions could be installed that never ran together."""
    projects = [tomllib.loads((root / name / "pyproject.toml").read_text())["project"] for name in DISTRIBUTIONS]
    umbrella = tomllib.loads((root / "pyproject.toml").read_text())["project"]

    assert {umbrella["version"]} == {project["version"] for project in projects}
    for project in [*projects, umbrella]:
        extras = [one for group in project.get("optional-dependencies", {}).values() for one in group]
        for requirement in [*project["dependencies"], *extras]:
            if requirement.startswith("qrmi-") and "qrmi-hpc" not in requirement:
                assert requirement.endswith(f"~={umbrella['version']}"), requirement


def test_nothing_at_the_root_is_importable_as_qrmi(root):
    """The import name of another project would be shadowed for whoever works in this folder."""
    assert not (root / "qrmi").exists()
    assert not (root / "qrmi.py").exists()


def test_the_repository_stands_alone(root, tracked):
    """A clone would need what only our machines have, or a registry's address."""
    forbidden = re.compile(
        "|".join(
            ["pypi" + r"\.org", "python" + "hosted", r"registry\.npm" + "js", r"deb\.deb" + "ian", r"\.\./sha" + "red"]
        )
    )
    found = [
        name
        for name in tracked
        if not name.endswith((".png", ".ico")) and forbidden.search((root / name).read_text(errors="replace"))
    ]

    assert [] == found


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_each_distribution_builds_and_installs_alone(wheels, new_venv, name):
    """A distribution would only work inside this repository."""
    (wheel,) = wheels.glob(f"{name}-*.whl")
    commands = new_venv("--find-links", str(wheels), str(wheel))
    place = commands.parent.parent
    done = subprocess.run(
        [str(commands / "python"), "-c", f"import {name}; print({name}.__file__)"],
        cwd=place, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert "site-packages" in done.stdout
