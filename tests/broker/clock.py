"""What time a process believes it is: libfaketime lies to it, except about the monotonic clock."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from attrs import frozen


@frozen
class Clock:
    """A file that says by how much it is wrong."""

    path: Path

    def says(self, offset: str) -> None:
        """From now on it is this much later than it is, as in ``+3600s`` or ``-86400``."""
        fresh = self.path.with_name(".clock")
        fresh.write_text(f"{offset}\n")
        fresh.replace(self.path)

    @property
    def environment(self) -> dict[str, str]:
        """Makes a process believe it."""
        return {
            "LD_PRELOAD": str(libfaketime()),
            "FAKETIME_TIMESTAMP_FILE": str(self.path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            "NO_FAKE_STAT": "1",
        }


def libfaketime() -> Path:
    """The library that lets a process see another time: that of the distribution `libfaketime`.

    Debian's 0.9.10 will not do: under it `clock_nanosleep` of the monotonic clock fails with EINVAL.
    """
    found = importlib.util.find_spec("libfaketime")
    assert found is not None, "the tests need the distribution libfaketime: pip install libfaketime"
    return next(Path(found.origin).parent.rglob("libfaketime.so.1"))
