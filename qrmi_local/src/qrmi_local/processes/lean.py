"""An import of Pulser without what no check needs: a user waits for it before a wrong sequence is refused.

Two thirds of the time it takes are drawing, which these processes never do, and splines, which few sequences have.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_DRAWING = ("matplotlib", "mpl_toolkits", "pulser.sequence._seq_drawer")
_SPLINES = "scipy.interpolate"


def import_pulser_lean() -> None:
    """From now on, let this process import Pulser without drawing, and SciPy's splines when they are used."""
    if "pulser" not in sys.modules:
        sys.meta_path.insert(0, _Undrawn())
        sys.modules.setdefault(_SPLINES, _Later(_SPLINES))


class _Nothing:
    """In place of every class and function that draws."""


class _Blank(ModuleType):
    """A module that has whatever is asked for, so that it can be named in annotations and base classes."""

    __version__ = "3.10"

    def __getattr__(self, name: str) -> type[_Nothing]:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing


class _Later(ModuleType):
    """A module that is imported when the first of its members is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


class _Undrawn(MetaPathFinder, Loader):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        draws = any(name == module or name.startswith(f"{module}.") for module in _DRAWING)
        return ModuleSpec(name, self, is_package=True) if draws else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Blank(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing in it."""
