"""Every task of a developer, each in an environment of its own: `nox -l` lists them, `nox -s NAME` runs one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "typecheck", "test"]

ROOT = Path(__file__).parent
CONSTRAINTS = ROOT / ".ci" / "constraints.txt"
DISTRIBUTIONS = ["qrmi_core", "qrmi_local", "qrmi_ibm_da", "qrmi_ibm_qrs", "qrmi_broker", "qrmi_testkit"]
EXTRAS = {"qrmi_core": "[plot]", "qrmi_testkit": "[emulators]"}
TEST_TOOLS = ["pytest", "hypothesis", "jsonschema", "uv", "qiskit-ibm-runtime", "requests"]
BROKER_TEST_TOOLS = ["schemathesis", "cryptography", "libfaketime", "lupa"]
DOCS_TOOLS = ["sphinx", "myst-parser", "furo"]


def install(session: nox.Session, *what: str) -> None:
    """Install *what* with the pinned versions."""
    session.install("-c", str(CONSTRAINTS), *what)


def install_ours(session: nox.Session, *extra: str) -> None:
    """Install our distributions in place, and *extra* beside them."""
    ours = [word for folder in DISTRIBUTIONS for word in ("-e", f"./{folder}{EXTRAS.get(folder, '')}")]
    install(session, *ours, *extra)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, and the arrows between the distributions."""
    install_ours(session, "ruff", "import-linter")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def typecheck(session: nox.Session) -> None:
    """mypy, strict."""
    install_ours(session, "mypy")
    session.run("mypy", *(f"{folder}/src" for folder in DISTRIBUTIONS))


@nox.session
def test(session: nox.Session) -> None:
    """The tests, from outside the sources so that only what is installed is imported."""
    install_ours(session, *TEST_TOOLS, *BROKER_TEST_TOOLS, *DOCS_TOOLS)
    session.run("pytest", "--ignore=tests/slurm", *session.posargs, env={"PYTHONSAFEPATH": "1"})


SLURM_PACKAGES = ["slurm-wlm", "libslurm-dev", "munge", "cmake", "gcc", "clang", "python3-venv"]


@nox.session
def test_slurm(session: nox.Session) -> None:
    """The plugin on a real Slurm, booted on loopback; it fails where that cannot be done, and never skips."""
    _need_slurm(session)
    install_ours(session, *TEST_TOOLS, *BROKER_TEST_TOOLS)
    names_some = any(Path(word.partition("::")[0]).exists() for word in session.posargs)
    session.run("pytest", *["tests/slurm"] * (not names_some), *session.posargs, env={"PYTHONSAFEPATH": "1"})


@nox.session
def cluster(session: nox.Session) -> None:
    """Boot that Slurm for your own hands, and say how to use it; Ctrl-C ends it."""
    _need_slurm(session)
    install_ours(session, *TEST_TOOLS, *BROKER_TEST_TOOLS)
    session.run("python", "tests/slurm/cluster.py", *session.posargs)


def _lacks() -> list[str]:
    commands = ["slurmctld", "slurmd", "munged", "cmake", "gcc", "clang"]
    lacks = [name for name in commands if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    headers = ["slurm/spank.h"] * (not Path("/usr/include/slurm/spank.h").exists())
    return ["root"] * (os.geteuid() != 0) + lacks + headers


def _need_slurm(session: nox.Session) -> None:
    if lacks := _lacks():
        how = f"as root: apt-get install -y {' '.join(SLURM_PACKAGES)}"
        session.error(f"this boots a real Slurm and lacks {', '.join(lacks)}; {how}")


@nox.session
def bench(session: nox.Session) -> None:
    """The budgets of the design as ratios measured in one run; writes docs/benchmarks.md."""
    install_ours(session, "uv", "cryptography", "qrmi-testkit[emulators]")
    session.run("python", "tests/bench/run.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, into docs/_build/html."""
    install_ours(session, *DOCS_TOOLS)
    session.run("sphinx-build", "-W", "--keep-going", "-q", "docs", "docs/_build/html")
    session.log("open docs/_build/html/index.html")


@nox.session
def demo(session: nox.Session) -> None:
    """A Bell pair through a real `sbatch --qpu=`, or without root on the simulator alone: text bars and a picture."""
    out = ROOT / "demo-out"
    out.mkdir(exist_ok=True)
    result, picture = os.path.relpath(out / "bell.json"), os.path.relpath(out / "bell.png")
    if lacks := _lacks():
        session.log(f"no Slurm can be booted here (lacks {', '.join(lacks)}): this is the embedded simulator alone")
        install(session, "-e", "./qrmi_core[plot]", "-e", "./qrmi_local")
        session.run("qrun", "sample", "examples/bell.qasm", result, "--shots", "1000")
        session.run("qrmi", "result", "show", result)
    else:
        install_ours(session, "cryptography")
        session.run("python", "tests/slurm/demo.py", str(out))
    session.run("qrmi", "result", "plot", result, "-o", picture)
    session.log(f"the picture is in {picture}, the result in {result}")


@nox.session
def build(session: nox.Session) -> None:
    """Wheels and source distributions of everything, into dist/."""
    install(session, "uv")
    session.run("uv", "build", "--all-packages", "--out-dir", "dist")


@nox.session
def constraints(session: nox.Session) -> None:
    """Pin anew: the newest versions that work together, as name==version lines."""
    session.install("uv")
    every = [f"{folder}/pyproject.toml" for folder in DISTRIBUTIONS]
    wanted = ROOT / ".nox" / "tools.in"
    tools = [*TEST_TOOLS, *BROKER_TEST_TOOLS, *DOCS_TOOLS, "nox", "ruff", "mypy", "import-linter", "hatchling"]
    wanted.write_text("\n".join(tools) + "\n")
    session.run(
        "uv", "pip", "compile", "--universal", "--python-version", "3.11", "--all-extras", "--no-header",
        "--no-annotate", "--upgrade", "-q",
        *(f"--no-emit-package={folder.replace('_', '-')}" for folder in DISTRIBUTIONS),
        *every, str(wanted), "-o", str(CONSTRAINTS),
    )  # fmt: skip
