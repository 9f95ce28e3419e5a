"""Jobs without `--qpu` are as if there were no plugin, whatever is broken; those with it get their one line."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time

import pytest

from slurm.cluster import Cluster, until
from slurm.jobs import ours

WAYS = {
    "sbatch": "sbatch {qpu} --parsable -o out --wrap 'show batch && echo RAN'",
    "srun": "srun {qpu} bash -c 'show step && echo RAN'",
    "salloc": "salloc {qpu} srun bash -c 'show step && echo RAN'",
}
"""Each prints RAN, if it runs, to standard output or to the file `out`."""
LONGEST_S = 30.0
_PROBE = """\
const char plugin_name[] = "qrmi", plugin_type[] = "spank";
const unsigned int plugin_version = 0x150802, spank_plugin_version = 1;
int slurm_spank_init(void *sp, int argc, char **argv) { (void) sp; (void) argc; (void) argv; return 0; }
"""


def stop_broker(cluster: Cluster) -> None:
    """Nobody listens."""
    for daemon in cluster.daemons.values():
        daemon.stop()


def remove_socket(cluster: Cluster) -> None:
    """The path in plugstack.conf does not exist."""
    cluster.plugstack.write_text(f"optional {cluster.plugin} socket=/nonexistent/%n/admin.sock\n")


def hang(cluster: Cluster) -> None:
    """Somebody accepts connections, and never answers."""
    cluster.use_plugin("timeout=3")
    for daemon in cluster.daemons.values():
        daemon.process.send_signal(signal.SIGSTOP)


def break_configuration(cluster: Cluster) -> None:
    """The broker refuses to start."""
    stop_broker(cluster)
    cluster.broker.config.write_text("{")
    folder = cluster.broker.folder
    words = ["--config", cluster.broker.config, "--state-dir", folder / "state", "--run-dir", folder / "run"]
    done = subprocess.run(["qrmid", *words], env={**os.environ, **cluster.environment}, capture_output=True, timeout=30)
    assert 0 != done.returncode


def misspell(cluster: Cluster) -> None:
    """plugstack.conf has words that nobody knows, and a socket that cannot be."""
    cluster.plugstack.write_text(f"optional {cluster.plugin} sockett=x timeout=never socket=nowhere /etc/q.json\n")


def remove_plugin(cluster: Cluster) -> None:
    """The plugin's file is gone."""
    cluster.plugstack.write_text("optional /nonexistent/spank_qrmi.so\n")


def age_plugin(cluster: Cluster) -> None:
    """The plugin was built for another Slurm."""
    source, old = cluster.folder / "old.c", cluster.folder / "old.so"
    source.write_text(_PROBE)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", old, source], check=True, timeout=60)
    cluster.plugstack.write_text(f"optional {old}\n")


FAULTS = {
    "broker stopped": stop_broker,
    "socket missing": remove_socket,
    "socket accepting and hanging": hang,
    "configuration broken": break_configuration,
    "plugstack misspelt": misspell,
    "plugin file missing": remove_plugin,
    "plugin of another Slurm": age_plugin,
}
WITHOUT_OPTION = ("plugin file missing", "plugin of another Slurm")
"""There Slurm itself says that it does not know `--qpu`."""


@pytest.fixture(params=FAULTS)
def broken(request, cluster):
    """The cluster with one thing broken, and which one; mended afterwards."""
    config = cluster.broker.config.read_text()
    FAULTS[request.param](cluster)
    yield cluster, request.param
    cluster.broker.config.write_text(config)
    cluster.mend()


def run(cluster: Cluster, way: str, qpu: str) -> tuple[bool, str, float]:
    """Run a job; whether it went well, what it printed, how long it took."""
    (cluster.work / "out").unlink(missing_ok=True)
    started = time.monotonic()
    done = cluster.run("bash", "-c", WAYS[way].format(qpu=qpu))
    is_well, output = done.returncode == 0, done.stdout + done.stderr
    if way == "sbatch" and is_well:
        is_well = cluster.wait(done.stdout.strip()) == "COMPLETED"
        output += (cluster.work / "out").read_text()
    return is_well, output, time.monotonic() - started


@pytest.mark.parametrize("way", WAYS)
def test_a_job_without_the_option_does_not_notice(broken, way):
    """Who does not use a quantum processor suffers when one of our parts is missing, down, hanging or broken."""
    cluster, fault = broken
    is_well, output, _ = run(cluster, way, "")
    assert is_well, output
    assert "RAN" in output
    assert [] == ours(output)
    assert "" == cluster.drain_reasons()
    (seen,) = (cluster.folder / "seen").iterdir()
    assert "QRMI" not in seen.read_text()
    seen.unlink()
    if fault not in WITHOUT_OPTION:
        assert "plugin" not in output.lower()


@pytest.mark.parametrize("way", WAYS)
def test_a_job_with_the_option_gets_its_line(broken, way):
    """The user's program runs without its resource, or he waits and reads nothing."""
    cluster, fault = broken
    is_well, output, took_s = run(cluster, way, "--qpu=fez")
    assert not is_well
    assert "RAN" not in output
    assert took_s < LONGEST_S
    if fault in WITHOUT_OPTION:
        assert "unrecognized option '--qpu=fez'" in output
    else:
        assert 1 == len(ours(output)), output
        assert all(len(line) <= 200 for line in ours(output))
    assert "" == cluster.drain_reasons()


def test_a_job_without_the_option_may_have_any_variable(cluster):
    """What was inherited from a job with a lease fails one without, where our line in plugstack.conf is wrong."""
    misspell(cluster)
    done = cluster.run("srun", "--export=ALL,QRMI_JOB_ID=1,QRMI_JOB_QPU_RESOURCES=fez", "echo", "RAN")
    assert (0, "RAN\n", []) == (done.returncode, done.stdout, ours(done.stderr))


def test_no_request_is_made_for_a_job_without_the_option(cluster):
    """Each job asks the broker, or waits for something that listens on its socket."""
    run_dir = cluster.folder / "n1" / "quiet"
    run_dir.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(run_dir / "admin.sock"))
        listener.listen()
        listener.settimeout(0.2)
        cluster.plugstack.write_text(f"optional {cluster.plugin} socket={run_dir}/admin.sock\n")
        for way in WAYS:
            assert run(cluster, way, "")[0]
        with pytest.raises(TimeoutError):
            listener.accept()


def test_what_nobody_uses_in_plugstack_is_said_in_the_log(cluster):
    """A misspelt word is ignored, and no administrator learns of it; an existing line no longer works."""
    cluster.use_plugin("/etc/slurm/qrmi_config.json", "--env:FOO=bar", "env:BAZ=quux", "tiemout=3")
    cluster.slurmds["n1"].stop()
    cluster.start_node("n1")
    cluster.wait_until_idle()
    for line in (
        "qrmi: plugstack.conf: /etc/slurm/qrmi_config.json: is not used here: the broker reads it",
        "qrmi: plugstack.conf: tiemout=3: is unknown and ignored",
    ):
        until(lambda line=line: line in cluster.node_log(), line, 10)

    shown = cluster.run("srun", "--qpu=fez", "env").stdout.splitlines()
    assert {"FOO=bar", "BAZ=quux"} <= set(shown)
    assert "FOO=bar" not in cluster.run("srun", "env").stdout.splitlines()
