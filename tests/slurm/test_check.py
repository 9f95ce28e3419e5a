"""`qrmi slurm check` on a real Slurm: silent where all is well, and each fault found, in one line, with its remedy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import frozen

from slurm import lanes
from slurm.cluster import Cluster


@pytest.fixture(scope="module")
def booted(plugin: Path) -> Iterator[Cluster]:
    """A cluster with licences."""
    with lanes.running(plugin) as made:
        yield made


def check(cluster: Cluster) -> tuple[int, list[dict[str, str]]]:
    """The exit status, and the findings."""
    socket = str(cluster.folder / "n1" / "run" / "admin.sock")
    done = lanes.qrmi(cluster, "check", "--config", str(cluster.broker.config), "--socket", socket, "--json")
    assert "" == done.stderr
    return done.returncode, json.loads(done.stdout)


def set_conf(cluster: Cluster, name: str, value: str) -> None:
    """Change one of the lines that `qrmi slurm licenses` wrote."""
    path = cluster.folder / "etc" / "qrmi.conf"
    path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines() if not line.startswith(f"{name}=")))
    with path.open("a") as file:
        file.write(f"{name}={value}\n")
    assert 0 == cluster.run("scontrol", "reconfigure").returncode


@pytest.fixture
def cluster(cluster: Cluster) -> Iterator[Cluster]:
    """The same, and afterwards as `qrmi slurm licenses` leaves it."""
    config = cluster.broker.config.read_text()
    kept = (cluster.folder / "etc" / "qrmi.conf").read_text()
    yield cluster
    cluster.broker.config.write_text(config)
    cluster.broker.config.chmod(0o600)
    lanes.generate(cluster)
    (cluster.folder / "etc" / "qrmi.conf").write_text(kept)
    cluster.plugin.chmod(0o755)
    (cluster.folder / "n1" / "run").chmod(0o755)
    public = cluster.folder / "n1" / "run" / "qrmi.sock"
    if public.exists():
        public.chmod(0o666)
    cluster.run("scontrol", "reconfigure")
    for name in lanes.NAMES:
        lanes.qrmi(cluster, "resume", name)


def test_nothing_is_wrong_with_a_cluster_that_is_set_up_as_the_guide_says(cluster):
    """An administrator would look for a fault that is none."""
    status, findings = check(cluster)

    assert [] == [one for one in findings if one["verdict"] != "ok"]
    assert 0 == status
    assert {"slurm", "plugin", "broker", "configuration", "grant", "planning", "rules", "licences", "sight"} <= {
        one["what"] for one in findings
    }


@frozen
class Fault:
    """Something that an administrator has wrong."""

    break_: Callable[[Cluster], object]
    what: str
    says: str
    remedy: str


def script(cluster: Cluster, name: str = "qrmi_job_submit.lua") -> Path:
    """A script beside slurm.conf."""
    return cluster.folder / "etc" / name


def other_lanes(cluster: Cluster) -> None:
    """The administrator changed the configuration, and forgot Slurm."""
    text = json.loads(cluster.broker.config.read_text())
    text["resources"][0]["lanes"] = 7
    cluster.broker.config.write_text(json.dumps(text))


def of_another_version(cluster: Cluster) -> None:
    """Slurm was updated, and the plugin was not."""
    source, folder = cluster.folder / "old.c", cluster.folder / "old"
    folder.mkdir(exist_ok=True)
    source.write_text("const unsigned int plugin_version = (23 << 16) + (11 << 8) + 1;\n")
    built = ["gcc", "-shared", "-fPIC", "-o", str(folder / "spank_qrmi.so"), str(source)]
    assert 0 == cluster.run(*built).returncode
    cluster.use_plugin(plugin=folder / "spank_qrmi.so")


FAULTS = {
    "no plugin in plugstack": Fault(
        lambda cluster: cluster.plugstack.write_text("# nothing\n"), "plugin", "does not name", "optional spank_qrmi.so"
    ),
    "required": Fault(
        lambda cluster: cluster.plugstack.write_text(cluster.plugstack.read_text().replace("optional", "required")),
        "plugin",
        "no job of anybody runs",
        "Write optional",
    ),
    "no file": Fault(
        lambda cluster: cluster.use_plugin(plugin=Path("/nowhere/spank_qrmi.so")), "plugin", "is missing", "Install it"
    ),
    "no plugin at all": Fault(
        lambda cluster: (
            script(cluster, "spank_qrmi.so").write_text("no ELF"),
            script(cluster, "spank_qrmi.so").chmod(0o644),
            cluster.use_plugin(plugin=script(cluster, "spank_qrmi.so")),
        ),
        "plugin",
        "cannot be loaded",
        "Build it again",
    ),
    "of another version": Fault(
        of_another_version,
        "plugin",
        "is built for Slurm 23.11",
        "Build it with the headers of 22.05",
    ),
    "closed to users": Fault(lambda cluster: cluster.plugin.chmod(0o700), "plugin", "closed to users", "chmod go+rX"),
    "open to all": Fault(lambda cluster: cluster.plugin.chmod(0o777), "plugin", "changed by others", "chmod go-w"),
    "configuration open": Fault(
        lambda cluster: cluster.broker.config.chmod(0o620), "configuration", "changed by others", "chmod 600"
    ),
    "configuration broken": Fault(
        lambda cluster: cluster.broker.config.write_text("{"), "configuration", "qrmi_config.json", ""
    ),
    "sockets' folder open": Fault(
        lambda cluster: (cluster.folder / "n1" / "run").chmod(0o777), "folder", "changed by others", "chmod 755"
    ),
    "broker down": Fault(lambda cluster: cluster.broker.stop(), "socket", "No such file", "Start qrmid"),
    "broker killed": Fault(lambda cluster: cluster.broker.kill(), "broker", "nobody answers", "Start qrmid"),
    "socket closed": Fault(
        lambda cluster: (cluster.folder / "n1" / "run" / "qrmi.sock").chmod(0o600), "socket", "must have 0666", "again"
    ),
    "licences gone": Fault(
        lambda cluster: set_conf(cluster, "Licenses", "fez:4,one:1"),
        "licence 0.da-local_X",
        "Slurm has none",
        "slurm.conf",
    ),
    "licences of last month": Fault(other_lanes, "licence fez", "Slurm has 4", "slurm.conf"),
    "rules of last month": Fault(other_lanes, "rules", "is not what", "qrmi slurm licenses --output-dir"),
    "licence without lanes": Fault(
        lambda cluster: set_conf(cluster, "Licenses", "fez:4,one:1,0.da-local_X:2,free:3"),
        "licence free",
        "no `lanes`",
        '"lanes": 3',
    ),
    "script gone": Fault(lambda cluster: script(cluster).unlink(), "rules", "is missing", "qrmi slurm licenses"),
    "script edited": Fault(
        lambda cluster: script(cluster).write_text(script(cluster).read_text() + "\n"), "rules", "by hand", "put rules"
    ),
    "script not called": Fault(
        lambda cluster: script(cluster, "job_submit.lua").write_text(
            "function slurm_job_submit() return 0 end\nfunction slurm_job_modify() return 0 end\nreturn 0\n"
        ),
        "rules",
        "does not call",
        "Add the lines",
    ),
    "no planning": Fault(
        lambda cluster: set_conf(cluster, "SchedulerParameters", "bf_interval=1"),
        "planning",
        "bf_licenses is missing",
        "SchedulerParameters=bf_interval=1,bf_licenses",
    ),
    "controller down": Fault(lambda cluster: cluster.controller.stop(), "slurm", "scontrol", "Start slurmctld"),
    "no Slurm here": Fault(
        lambda cluster: cluster.environment.update(PATH="/nowhere"), "slurm", "no scontrol on PATH", "Start slurmctld"
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(cluster, name):
    """It would show as jobs that fail, wait forever, or share a lane."""
    fault, path = FAULTS[name], cluster.environment["PATH"]
    fault.break_(cluster)
    try:
        status, findings = check(cluster)
    finally:
        cluster.environment["PATH"] = path
        if script(cluster, "job_submit.lua").read_text().startswith("function"):
            script(cluster, "job_submit.lua").unlink()
            lanes.generate(cluster)
        if not cluster.controller.is_running:
            cluster.start_controller()

    assert 1 == status, findings
    found = [one for one in findings if one["verdict"] == "WRONG" and one["what"].startswith(fault.what)]
    assert any(fault.says in one["text"] and fault.remedy in one["remedy"] for one in found), findings


def test_what_is_drained_or_merely_not_best_is_a_note(cluster):
    """A script that watches a site would wake somebody for a calibration."""
    lanes.qrmi(cluster, "drain", "fez", "--reason", "calibration")
    cluster.broker.config.write_text(json.dumps({"resources": cluster.resources, "grant": "any"}))
    status, findings = check(cluster)

    assert 0 == status
    assert [("grant", True), ("licence fez", True)] == [
        (one["what"], bool(one["remedy"])) for one in findings if one["verdict"] == "note"
    ]


def test_people_read_one_line_for_each(cluster):
    """They would have to read JSON."""
    socket = str(cluster.folder / "n1" / "run" / "admin.sock")
    done = lanes.qrmi(cluster, "check", "--config", str(cluster.broker.config), "--socket", socket)

    assert 0 == done.returncode
    assert "nothing wrong" == done.stdout.splitlines()[-1]
    assert all(line.startswith("ok    ") for line in done.stdout.splitlines()[:-1])
