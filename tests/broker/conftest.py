"""What every test of the broker may use: a short folder, a real `qrmid` in it, and two real users."""

from __future__ import annotations

import pwd
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .daemon import Daemon, fake, short_folder
from .munged import running
from .programs import Slurm, program, row
from .site import Site
from .users import User

FAULTS = ("broker.fault", "request.failed", "reconciler.failed")
"""Events that no test may cause: each is a fault of the broker's own."""
_NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket, and through which every user can reach it."""
    with short_folder() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def new_daemon(folder: Path) -> Iterator[Callable[..., Daemon]]:
    """Make a `qrmid` that is not started yet: `new_daemon(RESOURCE..., config={...}, OPTION=...)`.

    Its resources are by default one, `fez`, whose service is the folder `service`. When the test is over it is ended,
    and its log must tell of no fault of its own.
    """
    made: list[Daemon] = []

    def make(*resources: dict, config: dict[str, Any] | None = None, **options: str) -> Daemon:
        listed = list(resources) or [fake(folder / "service")]
        daemon = Daemon(folder, listed, **options)
        daemon.write_config(listed, **(config or {}))
        made.append(daemon)
        return daemon

    yield make
    for daemon in made:
        end(daemon)
    assert [] == [entry for daemon in made for entry in daemon.events if entry["event"] in FAULTS]


@pytest.fixture
def daemon(new_daemon: Callable[..., Daemon]) -> Daemon:
    """A started `qrmid` with one resource, `fez`, whose service is the folder `service`."""
    return new_daemon().start()


@pytest.fixture
def slurm(folder: Path) -> Slurm:
    """It lists one job, 1, of root."""
    (folder / "bin").mkdir()
    made = Slurm(folder / "bin")
    made.lists(row("1", uid="0"))
    program(folder / "bin" / "scontrol", "echo 'PrivateData = none'")
    return made


@pytest.fixture
def asking(new_daemon: Callable[..., Daemon], slurm: Slurm) -> Daemon:
    """A broker that asks the stand-ins ten times a second; it is not started yet."""
    commands = {name: str(slurm.folder / name) for name in ("squeue", "scontrol")}
    return new_daemon(scheduler="slurm", **commands, **{"reconcile-s": "0.1"})


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A broker and the relay of another node, that no test stops."""
    with short_folder() as name:
        Path(name).chmod(0o755)
        site = Site(Path(name))
        with running(site.here, site.there):
            try:
                yield site.start()
            finally:
                site.stop()
                assert [] == [one for one in site.broker.events + site.relay.events if one["event"] == "request.failed"]


@pytest.fixture
def own_site(folder: Path) -> Iterator[Site]:
    """The same for one test, which starts it."""
    site = Site(folder)
    with running(site.here, site.there):
        try:
            yield site
        finally:
            site.stop()


@pytest.fixture
def lease(site: Site) -> Iterator[dict[str, Any]]:
    """A lease of root's job on `fez`, asked for through the relay."""
    granted = site.relay.ask("fez", job=next(site.jobs))
    yield granted
    site.relay.release(granted["id"])


@pytest.fixture(scope="session")
def users() -> tuple[User, User]:
    """Two users of this machine, neither root nor nobody; where it has none they are made."""
    found = [one for one in pwd.getpwall() if one.pw_uid not in (0, _NOBODY)]
    for name in ("qrmi-ada", "qrmi-bob")[len(found) :]:
        subprocess.run(["useradd", "--no-create-home", name], check=True, timeout=30)
    found = [one for one in pwd.getpwall() if one.pw_uid not in (0, _NOBODY)]
    first, second = found[:2]
    return User(first.pw_name, first.pw_uid, first.pw_gid), User(second.pw_name, second.pw_uid, second.pw_gid)


def end(daemon: Daemon, within_s: float = 10.0) -> None:
    """End *daemon*, by its pid: as an administrator would, and if it does not end, by force."""
    process = daemon.process
    if process is None or process.poll() is not None:
        return
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        daemon.kill()
