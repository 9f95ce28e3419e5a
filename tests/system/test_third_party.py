"""A backend that was written from the built documentation alone, by somebody who has nothing of ours but wheels."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import qrmi_core


@pytest.fixture(scope="module")
def page(build) -> Path:
    """The built page "publish a backend"."""
    return build[0] / "how-to" / "publish-a-backend.html"


@pytest.fixture(scope="module")
def code(root, page) -> dict[str, str]:
    """The files of the page, by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root / "docs"))
        patch.setattr(sys, "dont_write_bytecode", True)
        import snippets
    return {block.caption: block.text for block in snippets.Page(page.read_text()).blocks if block.caption}


@pytest.fixture(scope="module")
def only_uv(tmp_path_factory) -> Path:
    """A folder of commands with uv in it, and none of those under test."""
    import uv

    folder = tmp_path_factory.mktemp("uv")
    (folder / "uv").symlink_to(uv.find_uv_bin())
    return folder


@pytest.fixture
def wheel_of(tmp_path, only_uv):
    """Build the wheel of a distribution of two files."""

    def build(project: str, module: str, source: str) -> str:
        folder = tmp_path / "source" / module
        folder.mkdir(parents=True)
        (folder / "pyproject.toml").write_text(project)
        (folder / f"{module}.py").write_text(source)
        subprocess.run([only_uv / "uv", "build", "-q", "--wheel", folder], check=True, capture_output=True)
        (wheel,) = (folder / "dist").glob("*.whl")
        return str(wheel)

    return build


@pytest.fixture
def coin(code, wheel_of) -> str:
    """The wheel of the page's backend."""
    return wheel_of(code["qrmi-coin/pyproject.toml"], "qrmi_coin", code["qrmi-coin/qrmi_coin.py"])


def ours(wheels: Path, name: str) -> str:
    """The wheel of one of our distributions."""
    (wheel,) = wheels.glob(f"{name}-*.whl")
    return str(wheel)


def run(command: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command from a folder that is not ours."""
    return subprocess.run([command, *words], cwd=cwd, capture_output=True, text=True)


def test_the_backend_of_the_page_does_what_the_page_says(root, page, wheels, new_venv, only_uv, tmp_path):
    """Built as a wheel, beside the core's wheel, it runs a task by name, and passes the conformance suite."""
    commands = new_venv(ours(wheels, "qrmi_core"), ours(wheels, "qrmi_testkit"), "pytest")
    place = tmp_path / "place"
    done = subprocess.run(
        [sys.executable, str(root / "docs" / "snippets.py"), str(page), str(place)],
        env={
            **{name: value for name, value in os.environ.items() if name != "UV_PYTHON"},  # nox names its own there
            "PATH": f"{commands}:{only_uv}:/usr/bin:/bin",
            "VIRTUAL_ENV": str(commands.parent),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert 1000 == sum(json.loads((place / "result.json").read_text())["counter"].values())


def test_a_backend_fits_one_screen(code):
    """The whole distribution of the page has 60 lines at most, and imports public names of the core only."""
    files = [code["qrmi-coin/pyproject.toml"], code["qrmi-coin/qrmi_coin.py"]]
    imports = [node for node in ast.walk(ast.parse(files[1])) if isinstance(node, ast.Import | ast.ImportFrom)]
    ours_ = [node for node in imports if isinstance(node, ast.ImportFrom) and "qrmi" in (node.module or "")]
    plain = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}

    assert 60 >= sum(bool(line.strip()) for file in files for line in file.splitlines())
    assert {"qrmi_core"} == {node.module for node in ours_}
    assert set() == {alias.name for node in ours_ for alias in node.names} - set(qrmi_core.__all__)
    assert plain <= sys.stdlib_module_names


def test_a_backend_that_raises_on_import_breaks_only_itself(code, coin, wheel_of, wheels, new_venv, tmp_path):
    """The other one works, and `qrmi doctor` names the distribution to mend."""
    project = code["qrmi-coin/pyproject.toml"].replace("qrmi-coin", "qrmi-dud").replace("qrmi_coin", "qrmi_dud")
    dud = wheel_of(project.replace("\ncoin =", "\ndud ="), "qrmi_dud", 'raise RuntimeError("no licence")\n')
    commands = new_venv(ours(wheels, "qrmi_core"), coin, dud)
    for name in ("qrmi_config.json", "toss.json"):
        (tmp_path / name).write_text(code[name])

    doctor = run(commands / "qrmi", "doctor", cwd=tmp_path)
    words = ["--config", "qrmi_config.json", "--qpu", "lucky", "--kind", "coin", "toss.json"]
    done = run(commands / "qrun", *words, cwd=tmp_path)

    assert 2 == doctor.returncode, doctor.stdout + doctor.stderr
    (wrong,) = (line for line in doctor.stdout.splitlines() if line.startswith("WRONG"))
    assert "qrmi-dud 1.0" in wrong
    assert "no licence" in wrong
    assert "[error-backend-broken]" in wrong
    assert 0 == done.returncode, done.stderr
    assert {"0", "1"} == set(json.loads(done.stdout)["counter"])


def test_two_backends_of_one_type_are_both_named(code, coin, wheel_of, wheels, new_venv, tmp_path):
    """Which of the two would run is not for chance to say."""
    project = code["qrmi-coin/pyproject.toml"].replace("qrmi-coin", "qrmi-penny").replace("qrmi_coin", "qrmi_penny")
    penny = wheel_of(project, "qrmi_penny", code["qrmi-coin/qrmi_coin.py"])
    commands = new_venv(ours(wheels, "qrmi_core"), coin, penny)
    for name in ("qrmi_config.json", "toss.json"):
        (tmp_path / name).write_text(code[name])

    words = ["--config", "qrmi_config.json", "--qpu", "lucky", "--kind", "coin", "toss.json"]
    done = run(commands / "qrun", *words, cwd=tmp_path)
    doctor = run(commands / "qrmi", "doctor", cwd=tmp_path)

    assert (2, "") == (done.returncode, done.stdout)
    assert 2 == doctor.returncode
    for said in (done.stderr, doctor.stdout):
        assert "qrmi-coin 1.0" in said
        assert "qrmi-penny 1.0" in said
        assert "[error-backend-conflict]" in said
