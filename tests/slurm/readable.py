"""An interpreter with `qrun` that every user can run: the one of the tests may lie where only root can read."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import qrmi_core

_LEFT_OUT = shutil.ignore_patterns(
    *("site-packages", "dist-packages", "__pycache__", "test", "tests", "idlelib", "tkinter", "ensurepip", "config-*")
)
_QRUN = """\
#!/bin/sh
LD_LIBRARY_PATH={lib} PYTHONHOME={home} PYTHONPATH={packages} \\
exec {python} -P -c 'import sys; from qrmi_core.cli import qrun; sys.exit(qrun())' "$@"
"""


def install(folder: Path) -> Path:
    """Copy the interpreter, the core and what it needs into *folder*; where `qrun` lies then, and nothing else."""
    lib, packages, commands = folder / "lib", folder / "packages", folder / "bin"
    for one in (lib, packages, commands):
        one.mkdir(parents=True)
    stdlib = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(stdlib, folder / sys.platlibdir / stdlib.name, ignore=_LEFT_OUT, dirs_exist_ok=True)
    shutil.copy(Path(sys.executable).resolve(), folder / "python")
    for one in Path(sysconfig.get_config_var("LIBDIR")).glob(f"libpython{sysconfig.get_python_version()}*.so*"):
        shutil.copy(one, lib)
    for name in _needed("qrmi-core"):
        _copy(metadata.distribution(name), packages)
    shutil.copytree(Path(qrmi_core.__file__).parent, packages / "qrmi_core", ignore=_LEFT_OUT, dirs_exist_ok=True)
    qrun = commands / "qrun"
    qrun.write_text(_QRUN.format(lib=lib, home=folder, packages=packages, python=folder / "python"))
    qrun.chmod(0o755)
    subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True, timeout=60)
    return commands


def _needed(name: str, known: frozenset[str] = frozenset()) -> Iterator[str]:
    """The distribution *name* and all that it needs here, extras apart."""
    yield name
    for line in metadata.requires(name) or []:
        other = re.match(r"[\w.-]+", line)[0]
        if "extra ==" not in line and other not in known and _is_installed(other):
            yield from _needed(other, known | {name, other})


def _is_installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:  # for another system, or another Python
        return False


def _copy(distribution: metadata.Distribution, to: Path) -> None:
    """Its modules and what it says of itself; of one that is installed in place only the latter, and no path to it."""
    for one in distribution.files or []:
        if ".." not in one.parts and one.suffix not in (".pth", ".pyc"):
            target = to / one
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(one.locate(), target)
