"""What must be right before the broker starts, and what keeps its memory its own."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from .conftest import end
from .daemon import INSTALLED, KEY, Daemon
from .launch import command, launch, launch_as
from .users import User


def refusal(daemon: Daemon, before: Sequence[str] = ()) -> str:
    """What a start says that ends at once, with the exit status for what must be mended first."""
    done = subprocess.run(
        [*before, *command(daemon)], env={**os.environ, "PYTHONPATH": str(INSTALLED)}, capture_output=True, timeout=60
    )
    words = done.stderr.decode()
    assert (2, b"") == (done.returncode, done.stdout), words
    assert "Traceback" not in words
    return words


def remedy(words: str, program: str) -> list[str]:
    """The command that a message tells to run."""
    return shlex.split(words[words.index(f"{program} ") :].partition(" [")[0].splitlines()[0])


def test_a_user_namespace_is_refused(new_daemon):
    """The broker would see every user as one, and give the one's tasks to the other."""
    daemon = new_daemon()
    for options in (["-U", "-r"], ["-U"]):
        words = refusal(daemon, ["unshare", *options])

        assert "user namespace" in words
        assert "PrivateUsers" in words


def test_what_belongs_to_another_user_is_refused_with_its_remedy(new_daemon, users: tuple[User, User]):
    """A user could put a configuration, a ledger or sockets of his own in the place of ours."""
    daemon = new_daemon()
    for name in ("state", "run", "qrmi_config.json"):
        path = daemon.folder / name
        os.chown(path, users[0].uid, users[0].gid)
        words = refusal(daemon)

        assert ["chown", str(os.geteuid()), str(path)] == remedy(words, "chown")
        subprocess.run(remedy(words, "chown"), check=True, timeout=30)
    daemon.start()


def test_a_mode_that_lets_others_in_is_refused_with_the_chmod_that_mends_it(new_daemon):
    """Others could read the ledger and the key of all tokens, or change configuration and sockets."""
    daemon = new_daemon()
    wrong = [
        *(("state", 0o750), ("state", 0o701), ("run", 0o775), ("run", 0o757)),
        *(("qrmi_config.json", 0o660), ("qrmi_config.json", 0o602)),
    ]
    for name, mode in wrong:
        path = daemon.folder / name
        path.chmod(mode)
        words = refusal(daemon)

        assert ["chmod", str(path)] == remedy(words, "chmod")[::2]
        subprocess.run(remedy(words, "chmod"), check=True, timeout=30)
    daemon.start()


def test_what_is_not_there_is_said(new_daemon):
    """The broker would end with a traceback, or make a ledger where nobody looks for one."""
    daemon = new_daemon()
    for name in ("state", "run", "qrmi_config.json"):
        path = daemon.folder / name
        path.rename(daemon.folder / "elsewhere")

        assert f"{path}: cannot be used: No such file or directory" in refusal(daemon)
        (daemon.folder / "elsewhere").rename(path)


def test_a_second_broker_on_the_same_state_is_refused(new_daemon):
    """Two brokers would give every lane twice. The first must not suffer from the second."""
    daemon = new_daemon().start()
    granted = daemon.ask("fez")
    words = refusal(daemon)

    assert "held by another qrmid" in words
    assert str(daemon.folder / "state") in words
    assert [granted["id"]] == [one["id"] for one in daemon.leases()]
    daemon.ask("fez", job=2)


def test_a_damaged_key_is_refused_with_its_remedy(new_daemon):
    """A key that a crash cut would keep the broker from ever starting, without a word why."""
    daemon = new_daemon().start()
    daemon.stop()
    key = daemon.folder / "state" / "token.key"
    key.write_bytes(key.read_bytes()[:7])
    words = refusal(daemon)

    assert f"{key}: is damaged: it holds 7 bytes, not 32" in words
    assert "Remove it" in words
    key.unlink()
    daemon.start()


def test_its_memory_is_closed_to_other_users(daemon, users: tuple[User, User]):
    """A user could read the credentials from the memory or the environment of the broker, or make it write a core."""
    assert daemon.process is not None
    process = Path(f"/proc/{daemon.process.pid}")
    limits = next(line for line in (process / "limits").read_text().splitlines() if "core file" in line)

    assert ["0", "0"] == limits.split()[4:6]
    for user in users:
        assert [] == [name for name in ("environ", "mem", "maps", "io") if user.can_read(str(process / name))]
        assert user.can_read(str(process / "status"))  # what everybody may read, he can: the process is there


def test_it_runs_as_its_own_user_and_is_closed_even_to_him(new_daemon, users: tuple[User, User]):
    """The broker would need root; or whoever has its uid, a backend's helper say, could read its memory."""
    own, other = users
    daemon = new_daemon()
    launch_as(own, daemon)
    assert daemon.process is not None
    process = Path(f"/proc/{daemon.process.pid}")

    assert f"Uid:\t{own.uid}\t{own.uid}\t{own.uid}\t{own.uid}" in (process / "status").read_text()
    for user in users:
        assert [] == [name for name in ("environ", "mem", "maps") if user.can_read(str(process / name))]
    granted = daemon.ask("fez", run={"uid": other.uid})
    assert 0 == other.ask(daemon.admin().socket_path, ("GET", "/v1/leases"))[0].status
    assert 200 == own.ask(daemon.admin().socket_path, ("GET", "/v1/leases"))[0].status
    daemon.release(granted["id"])


def test_the_sockets_have_their_modes_whatever_the_umask(new_daemon):
    """Jobs could not reach the broker, or users could reach what is the administrator's."""
    for umask in (0, 0o077):
        daemon = launch(new_daemon(), umask=umask)
        run = daemon.folder / "run"

        assert (0o666, 0o600) == tuple((run / name).stat().st_mode & 0o777 for name in ("qrmi.sock", "admin.sock"))
        assert {0o600} == {one.stat().st_mode & 0o777 for one in (daemon.folder / "state").iterdir() if one.is_file()}
        end(daemon)


def test_a_broker_that_aborts_leaves_no_core(new_daemon, folder):
    """A crash would write the credentials to the disk. A process that is not sealed does leave a core here."""
    place = folder / "cores"
    place.mkdir()

    unlimited = ("prlimit", "--core=unlimited:unlimited")
    control = subprocess.Popen([*unlimited, "sleep", "60"], cwd=place)
    assert has_core(control, "sleep")
    for core in place.iterdir():
        core.unlink()
    daemon = launch(new_daemon(), *unlimited, cwd=place, env={"CANARY": KEY})
    assert daemon.process is not None

    assert not has_core(daemon.process, "python")
    assert [] == list(place.iterdir())


def has_core(process: subprocess.Popen, program: str) -> bool:
    """Whether the process, ended by SIGABRT, leaves a core: the kernel's own word, wherever cores go."""
    deadline = time.monotonic() + 10
    while not Path(f"/proc/{process.pid}/exe").resolve().name.startswith(program):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGABRT)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert -signal.SIGABRT == process.returncode
    return os.WCOREDUMP(status)
