"""An interpreter and our commands for every user: those of the tests may lie where only root can read."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

_LEFT_OUT = shutil.ignore_patterns(
    *("site-packages", "dist-packages", "__pycache__", "test", "tests", "idlelib", "tkinter", "ensurepip", "config-*")
)
_COMMAND = """\
#!/bin/sh
LD_LIBRARY_PATH={folder}/lib PYTHONHOME={folder} PYTHONPATH={folder}/packages \\
exec {folder}/python -P -c 'import sys; from {module} import {attr}; sys.exit({attr}())' "$@"
"""


def install(folder: Path, *distributions: str, also: Sequence[Path] = ()) -> Path:
    """Copy the interpreter, our *distributions*, what they need and the content of *also* into *folder*.

    Returns:
        The folder with their commands.
    """
    lib, packages, commands = folder / "lib", folder / "packages", folder / "bin"
    for one in (lib, packages, commands):
        one.mkdir(parents=True)
    stdlib = Path(sysconfig.get_path("stdlib"))
    _merge(stdlib, folder / sys.platlibdir / stdlib.name)
    shutil.copy(Path(sys.executable).resolve(), folder / "python")
    for one in Path(sysconfig.get_config_var("LIBDIR")).glob(f"libpython{sysconfig.get_python_version()}*.so*"):
        shutil.copy(one, lib)
    for name in sorted({other for one in distributions for other in _needed(one)}):
        found = metadata.distribution(name)
        _copy(found, packages)
        if name.startswith("qrmi-"):  # perhaps it is installed in place
            module = importlib.import_module(name.replace("-", "_"))
            shutil.copytree(
                Path(module.__file__).parent, packages / module.__name__, ignore=_LEFT_OUT, dirs_exist_ok=True
            )
            _write_commands(found, folder)
    for one in also:
        _merge(one, packages)
    subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True, timeout=60)
    return commands


def _merge(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=_LEFT_OUT, dirs_exist_ok=True)


def _write_commands(distribution: metadata.Distribution, folder: Path) -> None:
    for one in distribution.entry_points.select(group="console_scripts"):
        path = folder / "bin" / one.name
        path.write_text(_COMMAND.format(folder=folder, module=one.module, attr=one.attr))
        path.chmod(0o755)


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
