"""Which lease opened which session, on disk: written before the service is asked, so that a crash hides nothing."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import asdict, field, frozen

from qrmi_core import ResourceUnavailable


@functools.cache
def _boot() -> str:
    """Which start of which machine this is: what its monotonic clock counts from."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # not a Linux
        return ""


def _texts(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


@frozen(kw_only=True)
class Record:
    """One session that a lease has opened, or may have."""

    lease_key: str
    mode: str
    """`dedicated`, `batch` or `job`."""
    max_ttl_s: int
    token: str | None = None
    """The session's id; None while the service has not answered, or if its answer was lost."""
    tags: tuple[str, ...] = field(default=(), converter=_texts)
    intended_at: float = field(factory=time.time)
    """By this machine's clock, seconds since the epoch."""
    boot: str = field(factory=_boot)
    noted_at: float = field(factory=time.monotonic)
    """By the clock that nobody sets, which starts anew with the machine."""

    @property
    def age_s(self) -> float:
        """How long ago it was written; infinite where nobody knows, because a clock was set back since."""
        if self.boot and self.boot == _boot():
            return time.monotonic() - self.noted_at
        age_s = time.time() - self.intended_at
        return age_s if age_s >= 0 else math.inf


@frozen
class Records:
    """The records of one resource: a folder with a file each, which other nodes may share."""

    resource: str
    folder: Path

    def find(self, lease_key: str) -> Record | None:
        """What is known of the session of *lease_key*."""
        return self._read(self._path(lease_key))

    def all(self) -> Iterator[Record]:
        """Every record."""
        if self.folder.is_dir():
            for path in sorted(self.folder.glob("*.json")):
                if record := self._read(path):
                    yield record

    def write(self, record: Record) -> None:
        """Keep *record* in place of what is known of its lease.

        Raises:
            ResourceUnavailable: it cannot be written.
        """
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self.folder, prefix=".", delete=False) as part:
                json.dump(asdict(record), part)
                part.flush()
                os.fsync(part.fileno())
            Path(part.name).replace(self._path(record.lease_key))
        except OSError as exc:
            detail = f"the session cannot be noted in {self.folder}: {exc.strerror}"
            raise ResourceUnavailable(self.resource, detail) from exc

    def remove(self, lease_key: str) -> None:
        """Forget the session of *lease_key*."""
        self._path(lease_key).unlink(missing_ok=True)

    def _path(self, lease_key: str) -> Path:
        return self.folder / f"{hashlib.sha256(lease_key.encode()).hexdigest()[:32]}.json"

    def _read(self, path: Path) -> Record | None:
        try:
            return Record(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):  # gone meanwhile, or none of ours
            return None
