"""The main job, on a Slurm that is booted for it: sbatch --qpu, a queue for the lane, a histogram, what was used.

`make demo` runs it as root. Everything lies in a temporary folder; what stays is the result and its picture.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from broker.daemon import BIN, short_folder  # noqa: E402

from slurm import lanes  # noqa: E402
from slurm.cluster import Cluster, built, check_host, until  # noqa: E402

QPU = {"name": "bell_lab", "type": "local", "access": "broker", "lanes": 1, "description": "a simulator, as a QPU"}
SCRIPT = """\
#!/bin/bash
#SBATCH --qpu=bell_lab
#SBATCH --time=5
#SBATCH --output=job-%j.out
env | grep -E '^(bell_lab|QRMI|SLURM_JOB_QPU)_' | sort
qrun sample bell.qasm bell.json --shots 1000 2> qrun.log
qrmi result show bell.json
sleep 5  # the classical part of the work: the lane is the job's until its end
"""


def main() -> int:
    """Run it; 0 if it went as it should."""
    out = Path(sys.argv[1])
    check_host()
    with short_folder() as build, short_folder() as name:
        cluster = Cluster(Path(name), built(Path(build)), QPU, extra=f"Include {name}/etc/qrmi.conf")
        cluster.broker.write_config(cluster.resources, grant="licences")
        lanes.generate(cluster)
        try:
            cluster.start()
            _show(cluster)
            shutil.copy(cluster.work / "bell.json", out / "bell.json")
        finally:
            cluster.stop()
    return 0


def _show(cluster: Cluster) -> None:
    title("A Slurm of two nodes runs: the broker on n1, a relay on n2. The configuration of the broker")
    print(json.dumps({"resources": [QPU], "grant": "licences"}))
    (cluster.work / "bell.sh").write_text(SCRIPT)
    shutil.copy(TESTS.parent / "examples" / "bell.qasm", cluster.work)
    title("The job: bell.sh")
    print(SCRIPT, end="")
    title("Two of them, for one lane: the second waits in the queue")
    first, second = (typed(cluster, "sbatch", "--parsable", "bell.sh").strip() for _ in range(2))
    until(lambda: "Licenses" == cluster.facts(second).get("Reason"), "the second job waits for the lane")
    typed(cluster, "squeue", "-o", "%.6i %.10j %.9T %.10R %W")
    title(f"What job {first} printed: its environment has a token, and no credential; then its histogram")
    cluster.wait(first, within_s=120)
    print((cluster.work / f"job-{first}.out").read_text(), end="")
    cluster.wait(second, within_s=120)
    title("What was used, as the broker's ledger has it")
    socket = str(cluster.folder / "n1" / "run" / "admin.sock")
    typed(cluster, str(BIN / "qrmi"), "usage", "--socket", socket, "--by", "job")


def title(text: str) -> None:
    """Say what comes."""
    print(f"\n\033[1m# {text}\033[0m" if sys.stdout.isatty() else f"\n# {text}", flush=True)


def typed(cluster: Cluster, *words: str) -> str:
    """Run a command as a user would type it, and show both."""
    shown = " ".join(Path(word).name if index == 0 else word for index, word in enumerate(words))
    done: subprocess.CompletedProcess[str] = cluster.run(*words)
    print(f"$ {shown}\n{done.stdout}{done.stderr}", end="", flush=True)
    if done.returncode:
        raise SystemExit(f"{shown} ended with {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
