"""A real Slurm in a temporary folder: private munge, a controller, several nodes, our broker and relays.

Each virtual node has sockets of its own; n1 has the broker, the others relays. Everything is a child of ours and is
ended by its pid. Run as a script (`nox -s cluster`) it boots a cluster, says how to use it, and waits for Ctrl-C.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))

from broker.daemon import BIN, INSTALLED, Daemon, fake, short_folder, vendor_log  # noqa: E402
from broker.hooked.sitehooks import CLOSED  # noqa: E402
from broker.munged import Munged  # noqa: E402
from broker.site import certificates, free_port  # noqa: E402

from slurm import settings  # noqa: E402
from slurm.jobs import Jobs  # noqa: E402
from slurm.process import Child, adopt_orphans, end_orphans  # noqa: E402
from slurm.process import free_ports as ports_of  # noqa: E402
from slurm.seen import collect, write_programs  # noqa: E402

NEEDED = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "salloc", "cmake", "gcc", "clang")
HOW = "apt-get install -y slurm-wlm libslurm-dev munge cmake gcc clang, and run as root"


class Cluster(Jobs):
    """One cluster. A part is ended and started again by its own methods; `stop` ends all."""

    def __init__(self, folder: Path, plugin: Path, *resources: dict, nodes: int = 2, extra: str = "") -> None:
        """*resources*: by default `fez` with two lanes, `da-local`, and `other` at a second vendor."""
        self.folder, self.plugin = folder, folder / settings.PLUGIN
        shutil.copy(plugin, self.plugin)  # where every user can read it
        folder.chmod(0o755)
        for name in ("etc", "log", "pid", "spool", "spool/ctld", "munge", "bin"):
            (folder / name).mkdir()
        (folder / "work").mkdir(mode=0o777)
        (folder / "work").chmod(0o1777)
        self.names = [f"n{number}" for number in range(1, nodes + 1)]
        self.conf = folder / "etc" / "slurm.conf"
        self.conf.write_text(settings.slurm(folder, ports_of(nodes + 1), extra))
        self.plugstack = folder / "etc" / "plugstack.conf"
        self.use_plugin("timeout=20")
        self.environment = {
            "PATH": f"{folder}/bin:{BIN}:{os.environ['PATH']}",
            "SLURM_CONF": str(self.conf),
            "HOME": str(self.work),
        }
        self.service, self.closed = folder / "service", folder / "closed"
        self.munged = Munged(folder / "munge")
        self.controller = Child(["slurmctld", "-D"], folder / "log" / "ctld.out", self.environment)
        self.slurmds = {
            name: Child(["slurmd", "-D", "-N", name], folder / "log" / f"d.{name}.out", self.environment)
            for name in self.names
        }
        write_programs(folder)
        self.other = folder / "other"
        usual = [fake(self.service, lanes=2), fake(self.service, "da-local"), fake(self.other, "other", lanes=2)]
        self._make_daemons(list(resources) or usual)

    def _make_daemons(self, resources: list[dict]) -> None:
        port = free_port()
        for name, content in certificates("localhost").items():
            (self.folder / name).touch(mode=0o600)
            (self.folder / name).write_bytes(content)
        munge = {"munge-socket": self.munged.socket}
        broker = {"scheduler": "slurm", "reconcile-s": "2", "listen": f"127.0.0.1:{port}"}
        tls = {"tls-cert": str(self.folder / "broker.pem"), "tls-key": str(self.folder / "broker.key")}
        relay = {"relay": f"localhost:{port}", "tls-ca": str(self.folder / "ca.pem")}
        self.daemons: dict[str, Daemon] = {}
        for number, name in enumerate(self.names):
            (self.folder / name).mkdir()
            options = {**munge, **(relay if number else broker | tls)}
            self.daemons[name] = Daemon(self.folder / name, [] if number else resources, **options)
        self.resources = resources

    @property
    def broker(self) -> Daemon:
        """The broker, on n1."""
        return self.daemons["n1"]

    def use_plugin(self, *words: str, plugin: Path | None = None) -> None:
        """Write plugstack.conf; every step and command started from now on reads it."""
        self.plugstack.write_text(settings.plugstack(self.folder, plugin or self.plugin, *words))

    def configure(self, **others: Any) -> None:
        """Restart the broker with other keys of its configuration."""
        self.broker.stop()
        self.broker.write_config(self.resources, **others)
        self.start_daemon("n1")

    # -- starting and ending

    def start(self) -> Cluster:
        """Start everything, and wait until the nodes are idle and the daemons answer."""
        adopt_orphans()
        self.munged.start()
        with ThreadPoolExecutor() as pool:
            started = [pool.submit(self.start_daemon, name) for name in self.names]
            self.start_controller()
            for name in self.names:
                self.start_node(name)
            self.wait_until_idle()
            for one in started:
                one.result()
        return self

    def start_daemon(self, name: str) -> None:
        """Start the broker or the relay of a node."""
        plugins = os.pathsep.join(map(str, (INSTALLED, INSTALLED.with_name("hooked"))))
        self.daemons[name].start(**{"SLURM_CONF": str(self.conf), "PYTHONPATH": plugins, CLOSED: str(self.closed)})

    def start_controller(self) -> None:
        """Start slurmctld, and wait until it listens."""
        self.controller.start()
        port = int(self.conf.read_text().partition("SlurmctldPort=")[2].split()[0])

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        until(listens, "slurmctld listens", 10)

    def start_node(self, name: str) -> None:
        """Start a node's slurmd."""
        (self.folder / "spool" / name).mkdir(exist_ok=True)
        self.slurmds[name].start()

    def wait_until_idle(self) -> None:
        """Until every node can take work."""
        count = str(len(self.names))
        until(lambda: self.run("sinfo", "-h", "-t", "idle", "-o", "%D").stdout.strip() == count, "idle nodes", 20)

    def stop(self) -> None:
        """End everything: jobs first, then from the nodes to munge."""
        if self.controller.is_running:
            with suppress(AssertionError, subprocess.TimeoutExpired):
                self.end_jobs(5.0)
        for one in (*self.slurmds.values(), self.controller):
            one.stop()
        for daemon in reversed(self.daemons.values()):
            if daemon.process is not None and daemon.process.poll() is None:
                daemon.process.send_signal(signal.SIGCONT)
                daemon.stop()
        self.munged.stop()
        end_orphans(str(self.folder))

    def hang(self, verb: str, service: Path | None = None, how: str = "hang") -> None:
        """Let the vendor's *verb* hang, or ``fail``, from now on; `mend` ends that."""
        ((service or self.service) / f"{how}-{verb}").touch()

    def answer(self) -> None:
        """Let the vendors answer again, and the site give what it has."""
        self.closed.unlink(missing_ok=True)
        for pattern in ("hang-*", "fail-*", "crash-*", "lose-*"):
            for path in (*self.service.glob(pattern), *self.other.glob(pattern)):
                path.unlink()

    def mend(self) -> None:
        """Undo what a test has done: no job, every part up, the usual plugin, a vendor that answers."""
        self.answer()
        if not self.controller.is_running:
            self.start_controller()
        for name in self.names:
            if not self.slurmds[name].is_running:
                self.start_node(name)
            process = self.daemons[name].process
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGCONT)
            if process is None or process.poll() is not None:
                self.start_daemon(name)
        self.use_plugin("timeout=20")
        self.end_jobs()
        until(lambda: not self.leases(), "no lease is left")
        self.wait_until_idle()
        collect(self.folder)

    def end_jobs(self, within_s: float = 30.0) -> None:
        """Cancel every job, and wait until the queue is empty."""
        for who in ("root", self.user.name):
            self.run("scancel", f"--user={who}")
        until(lambda: not self.run("squeue", "-h").stdout.strip(), "an empty queue", within_s)

    # -- what happened

    def vendor(self, event: str | None = None, resource: str | None = None) -> list[dict[str, Any]]:
        """The fake vendor's own log: ``session.opened``, ``session.closed``, ``task.started``, ..."""
        return [
            one
            for one in sorted((*vendor_log(self.service), *vendor_log(self.other)), key=lambda one: one["at"])
            if event in (None, one["event"]) and resource in (None, one["resource"])
        ]

    def counts(self) -> tuple[int, int]:
        """Sessions opened and closed so far."""
        return len(self.vendor("session.opened")), len(self.vendor("session.closed"))

    def leases(self) -> list[str]:
        """The jobs that hold leases, or wait for them; refusals are remembered for a while, and are none."""
        return [one["job_id"] for one in self.broker.leases() if one["state"] != "failed"]

    def open_tasks(self) -> int:
        """How many tasks the broker has written down that have not ended."""
        return self.broker.admin().ask_json("GET", "/v1/health")["open_tasks"]

    def node_log(self, name: str = "n1") -> str:
        """What slurmd and its slurmstepds said."""
        return (self.folder / "log" / f"d.{name}.log").read_text(errors="replace")

    def drain_reasons(self) -> str:
        """Why nodes take no work, if any does not."""
        return self.run("sinfo", "-h", "-R", "-o", "%E %n").stdout.strip()

    def steps(self, job: str, step: str) -> list[int]:
        """The pids of the slurmstepds of a step, as ``batch`` or ``0``."""
        title = f"slurmstepd: [{job}.{step}]"
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if words.startswith(title):
                found.append(int(path.parent.name))
        return sorted(found)


def until(is_so: Callable[[], Any], what: str, within_s: float = 30.0) -> Any:
    """Wait until *is_so* says something true; what it said."""
    deadline = time.monotonic() + within_s
    while not (found := is_so()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        time.sleep(0.02)
    return found


def check_host() -> None:
    """Refuse to go on where a real cluster cannot be booted.

    Raises:
        AssertionError: what is missing, and how to get it.
    """
    missing = [name for name in NEEDED if shutil.which(name) is None]
    assert os.geteuid() == 0, f"these tests boot a real Slurm and need root: {HOW}"
    assert not missing, f"missing: {', '.join(missing)}. {HOW}"
    assert Path("/usr/include/slurm/spank.h").exists(), f"missing: slurm/spank.h. {HOW}"


def built(folder: Path, *words: str, source: Path = TESTS.parent / "spank") -> Path:
    """Build the plugin from the sources; where it lies."""
    for command in (
        ["cmake", "-S", str(source), "-B", str(folder), *words],
        ["cmake", "--build", str(folder), "--parallel", "2"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / settings.PLUGIN


@contextmanager
def running(plugin: Path, *resources: dict, **how: Any) -> Iterator[Cluster]:
    """A cluster in a folder of its own, started; ended and removed in the end."""
    with short_folder() as name:
        cluster = Cluster(Path(name), plugin, *resources, **how)
        try:
            yield cluster.start()
        finally:
            cluster.stop()


def main() -> None:
    """By hand: boot, say how to use it, wait for Ctrl-C."""
    check_host()

    def interrupt(*_: object) -> None:  # once: a second Ctrl-C must not interrupt the ending
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    with short_folder() as name, running(built(Path(name))) as cluster:
        print(f"# {len(cluster.names)} nodes are idle. In another terminal, as root:")
        print(f"export SLURM_CONF={cluster.conf}\ncd {cluster.folder}/work\nsrun --qpu=fez env | grep QRMI")
        print("# Ctrl-C ends the cluster.", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("ending", flush=True)


if __name__ == "__main__":
    main()
