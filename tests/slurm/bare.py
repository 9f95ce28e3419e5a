"""A host with a bare Slurm, for the lines of the administrator's guide: `unshare --mount python bare.py FOLDER LINES`.

In a mount namespace of its own what the lines change is a copy in a fresh folder: /etc, /opt, /run, /var/lib/qrmi, and
where plugins and units are installed. The lines run literally, one after the other, as root in the checkout. Only
systemd is not there: `systemctl` is done here, by the installed unit. What they printed goes to FOLDER/report.json.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from broker.munged import Munged  # noqa: E402

from slurm import settings  # noqa: E402
from slurm.process import Child, adopt_orphans, end_orphans, free_ports  # noqa: E402

UNITS = Path("/usr/local/lib/systemd/system")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LINE_S = 600


class Host:
    """The machine of an administrator who has Slurm and not us."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mount()
        for name in ("log", "pid", "spool/ctld", "spool/n1", "munge"):
            (folder / name).mkdir(parents=True)
        text = settings.slurm(folder, free_ports(2), "")
        bare = [line for line in text.splitlines() if not line.startswith(("PlugStackConfig", "SchedulerParameters"))]
        Path("/etc/slurm/slurm.conf").write_text("\n".join(bare) + "\n")
        Path("/etc/slurm/plugstack.conf").unlink(missing_ok=True)
        self.munged = Munged(folder / "munge")
        self.services = {
            "slurmctld": Child(["slurmctld", "-D", "-c"], folder / "log" / "ctld.out", dict(os.environ)),
            "slurmd": Child(["slurmd", "-D", "-N", "n1"], folder / "log" / "d.out", dict(os.environ)),
        }

    def _mount(self) -> None:
        plugins = next(Path("/usr/lib").glob("*/slurm-wlm/task_none.so")).parent
        for path in (Path("/etc"), plugins):
            copy = self.folder / path.name
            subprocess.run(["cp", "-a", path, copy], check=True)
            subprocess.run(["mount", "--bind", copy, path], check=True)
        for name in ("/opt", "/run", "/tmp/spank", "/var/lib/qrmi", "/usr/local/lib/systemd", "/usr/local/share/doc"):
            fresh = self.folder / name.strip("/").replace("/", "-")
            fresh.mkdir()
            Path(name).mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "--bind", fresh, name], check=True)
        Path("/etc/slurm").mkdir(exist_ok=True)

    def start(self) -> None:
        """Slurm as it was before."""
        self.munged.start()
        for one in self.services.values():
            one.start()
        self._wait_until_idle()

    def stop(self) -> None:
        """End everything."""
        for one in reversed(self.services.values()):
            one.stop()
        self.munged.stop()
        end_orphans(str(self.folder))

    def do(self, line: str) -> dict[str, object]:
        """Run one line of the guide."""
        started = time.monotonic()
        if line.startswith("systemctl "):
            self._systemctl(*line.split()[1:])
            return {"line": line, "status": 0, "took_s": time.monotonic() - started}
        done = subprocess.run(
            ["bash", "-ec", line], cwd=TESTS.parent, capture_output=True, text=True, timeout=_LINE_S, check=False
        )
        taken = {"line": line, "status": done.returncode, "took_s": time.monotonic() - started}
        return taken | {"stdout": done.stdout, "stderr": done.stderr}

    def _systemctl(self, verb: str, *names: str) -> None:
        if verb == "restart":
            for name in names:
                self.services[name].stop()
                self.services[name].start()
            self._wait_until_idle()
        else:
            self._enable(names[-1])

    def _enable(self, name: str) -> None:
        """What systemd does for the unit: its user, its folders, its command."""
        unit = dict(re.findall(r"^(\w+)=(.*)$", (UNITS / f"{name}.service").read_text(), re.MULTILINE))
        for folder in ("/run", "/var/lib"):
            place = Path(folder, unit["RuntimeDirectory"])
            place.mkdir(exist_ok=True)
            place.chmod(0o755 if folder == "/run" else int(unit["StateDirectoryMode"], 8))
            shutil.chown(place, unit["User"])
        words = ["runuser", "-u", unit["User"], "--", *unit["ExecStart"].split()]
        self.services[name] = Child(words, self.folder / "log" / f"{name}.out", dict(os.environ))
        self.services[name].start()
        deadline = time.monotonic() + 30
        while not Path("/run", unit["RuntimeDirectory"], "admin.sock").exists():
            assert time.monotonic() < deadline, (self.folder / "log" / f"{name}.out").read_text()
            time.sleep(0.05)

    def _wait_until_idle(self) -> None:
        deadline = time.monotonic() + 20
        while "idle" != subprocess.run(["sinfo", "-h", "-o", "%t"], capture_output=True, text=True).stdout.strip():
            assert time.monotonic() < deadline, "the node does not become idle"
            time.sleep(0.1)


def main() -> None:
    """Do the lines until one fails."""
    folder, lines = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    os.environ["PATH"] = PATH  # an administrator's, not ours
    adopt_orphans()
    host = Host(folder)
    report: list[dict[str, object]] = []
    try:
        host.start()
        for line in lines:
            report.append(host.do(line))
            if report[-1]["status"]:
                break
    finally:
        (folder / "report.json").write_text(json.dumps(report, indent=1))
        host.stop()


if __name__ == "__main__":
    main()
