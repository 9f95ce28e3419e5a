"""The scheduler knows the lanes: jobs wait for them in the queue, and what is wrong is said at submit."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm import lanes
from slurm.cluster import Cluster, until
from slurm.jobs import ours

FORGED = "_SLURM_SPANK_OPTION_qrmi_qpu"
HELD = "echo $SLURM_JOB_ID >> order; until [ -e go ]; do sleep 0.05; done"
"""A script that tells that it has started, and ends when it may."""
REACHED = {
    "acquire": lambda cluster, job: job in cluster.leases(),
    "task_start": lambda cluster, job: cluster.open_tasks(),
    "release": lambda cluster, job: "task COMPLETED" in cluster.output(job),
}
"""How it shows that the next thing to happen to a job is the verb."""
STUCK_S = 3.0
"""How long a vendor does not answer: the scheduler looks for work several times."""


@pytest.fixture(scope="module")
def booted(plugin: Path) -> Iterator[Cluster]:
    """A cluster with licences."""
    with lanes.running(plugin) as made:
        yield made


@pytest.fixture
def cluster(cluster: Cluster) -> Iterator[Cluster]:
    """The same, with nothing drained and nothing of the test before."""
    for name in ("go", "order"):
        (cluster.work / name).unlink(missing_ok=True)
    yield cluster
    for name in lanes.NAMES:
        lanes.qrmi(cluster, "resume", name)


def started(cluster: Cluster) -> list[str]:
    """The jobs whose scripts have started, in that order."""
    path = cluster.work / "order"
    return path.read_text().split() if path.exists() else []


def go(cluster: Cluster) -> None:
    """Let the scripts end."""
    (cluster.work / "go").touch()


def waits(cluster: Cluster, job: str) -> None:
    """Until the job is pending for want of licences."""
    until(lambda: ("PENDING", "Licenses") == (cluster.state(job), cluster.facts(job).get("Reason")), "Licenses")


def refused(cluster: Cluster, *words: str, user: bool = False, **environment: str) -> str:
    """What a submission says that must fail, without Slurm's own last line."""
    done = cluster.run(*words, user=cluster.user if user else None, **environment)
    assert 0 != done.returncode, done.stdout
    assert "" == cluster.run("squeue", "-h").stdout
    [line] = [line for line in done.stderr.splitlines() if "qrmi:" in line]
    assert len(line) <= 230
    return line.partition("qrmi: ")[2]


def test_two_jobs_on_one_lane_run_one_after_the_other(cluster):
    """The second would hold its nodes and wait there, or fail."""
    before = cluster.counts()[0]
    first = cluster.sbatch("--qpu=one", script=HELD)
    until(lambda: started(cluster), "the first job")
    second = cluster.sbatch("--qpu=one", script=HELD)
    waits(cluster, second)
    go(cluster)

    assert ["COMPLETED", "COMPLETED"] == [cluster.wait(first), cluster.wait(second)]
    assert [first, second] == started(cluster)
    sessions = [one["event"] for one in cluster.vendor(resource="one") if one["event"].startswith("session")]
    assert ["session.opened", "session.closed"] * 2 == sessions[-4:]
    assert before + 2 == cluster.counts()[0]


@pytest.mark.parametrize("verb", ["acquire", "task_start", "release"])
def test_a_lane_is_not_given_on_before_its_session_is_closed(cluster, verb):
    """The next job shares the device with a request of a cancelled one that is still under way at the vendor."""
    before = len(cluster.vendor(resource="one"))
    cluster.hang(verb)
    first = cluster.sbatch("--qpu=one", script="work first; sleep 600")
    until(lambda: REACHED[verb](cluster, first), "the first job is at the vendor")
    cluster.run("scancel", first)
    second = cluster.sbatch("--qpu=one", script="work second")
    waits(cluster, second)
    time.sleep(STUCK_S)
    assert "PENDING" == cluster.state(second)
    cluster.answer()

    assert "COMPLETED" == cluster.wait(second), cluster.output(second)
    events = [(one["event"], one.get("token")) for one in cluster.vendor(resource="one")[before:]]
    (_, one), (_, other) = [event for event in events if event[0] == "session.opened"]
    task = ("task.started", None)
    assert [
        *(("session.opened", one), *[task] * (verb != "acquire"), ("session.closed", one)),
        *(("session.opened", other), task, ("session.closed", other)),
    ] == [event for event in events if event[0] != "task.stopped"]


def test_an_exclusive_job_is_not_starved(cluster):
    """Jobs for one lane would pass it for as long as there are any."""
    filling = [cluster.sbatch("-t1", "--qpu=fez", script=HELD) for _ in range(4)]
    until(lambda: 4 == len(started(cluster)), "four jobs")
    alone = cluster.sbatch("-t1", "--qpu=fez:exclusive", script="echo $SLURM_JOB_ID >> order")
    later = [cluster.sbatch("-t1", "--qpu=fez", script="echo $SLURM_JOB_ID >> order; sleep 0.3") for _ in range(10)]
    waits(cluster, alone)
    go(cluster)
    for job in (*filling, alone, *later):
        assert "COMPLETED" == cluster.wait(job)

    order = started(cluster)
    assert {"fez:4"} == {cluster.facts(alone)["Licenses"]}
    assert sum(order.index(job) > order.index(alone) for job in later) >= 5, order


def test_a_drained_resource_keeps_its_jobs_in_the_queue(cluster):
    """They would fail on their nodes, after hours of waiting; or what runs would be ended."""
    running = cluster.sbatch("--qpu=fez", script=HELD + "; work still")
    until(lambda: started(cluster), "the running job")
    drained = [lanes.qrmi(cluster, "drain", "fez", "--reason", "calibration until 14:00") for _ in range(2)]
    done = cluster.run("sbatch", "--parsable", "-t1", "-oout-%j", "--qpu=fez", "--wrap", "true", user=cluster.user)
    waiting = done.stdout.strip()
    other = cluster.sbatch("--qpu=one", script="true")

    assert [0, 0] == [one.returncode for one in drained]
    assert ["fez: drained", "fez: is drained already"] == [
        one.stdout.partition(",")[0].partition(": calibration")[0] for one in drained
    ]
    assert "qrmi: fez: drained: calibration until 14:00. The job waits in the queue" in done.stderr
    assert "COMPLETED" == cluster.wait(other)
    waits(cluster, waiting)
    go(cluster)
    assert "COMPLETED" == cluster.wait(running), cluster.output(running)
    assert "PENDING" == cluster.state(waiting)
    assert "fez: resumed\n" == lanes.qrmi(cluster, "resume", "fez").stdout
    assert "COMPLETED" == cluster.wait(waiting), cluster.output(waiting)
    assert "fez: was not drained\n" == lanes.qrmi(cluster, "resume", "fez").stdout


def test_a_drain_without_licences_is_the_brokers(cluster):
    """A resource without lanes could not be drained at all."""
    done = lanes.qrmi(cluster, "drain", "free", "--reason", "calibration")

    assert 0 == done.returncode, done.stderr
    _, state, output = cluster.batch("--qpu=free", script="true")
    assert "FAILED" == state
    assert ["drained: calibration" in line for line in ours(output)] == [True]
    assert 0 == lanes.qrmi(cluster, "resume", "free").returncode
    assert "COMPLETED" == cluster.batch("--qpu=free", script="true")[1]
    nobody = lanes.qrmi(cluster, "drain", "nope", "--reason", "x")
    assert (2, True) == (nobody.returncode, "neither Slurm nor the broker knows 'nope'" in nobody.stderr)


@pytest.mark.parametrize("unknown", ["warn", "refuse"])
def test_an_unknown_name_is_said_at_submit(cluster, unknown):
    """A misspelt name would be found when the job's turn has come."""
    config = cluster.folder / f"{unknown}.json"
    config.write_text(json.dumps({"resources": cluster.resources, "unknown": unknown}))
    config.chmod(0o600)
    lanes.generate(cluster, config)
    try:
        for words in (["sbatch", "--wrap", "true"], ["srun", "true"], ["salloc", "true"]):
            said = refused(cluster, words[0], "-t1", "--qpu=fezz", *words[1:])
            assert "'fezz': there is no such resource. There are: 0.da-local_X, fez, free, one" == said
        both = cluster.run("sbatch", "-H", "-t1", "--qpu=fez,fezz", "--wrap", "true")
        assert {"warn": 0, "refuse": 1}[unknown] == both.returncode
        assert "'fezz': there is no such resource" in both.stderr
    finally:
        lanes.generate(cluster)


def test_a_name_may_hold_whatever_the_configuration_allows(cluster):
    """Slurm would read a part of a name as a count."""
    job, state, output = cluster.batch("--qpu=a=0.da-local_X:exclusive,fez", script="true")

    assert "COMPLETED" == state, output
    assert "0.da-local_X:2,fez:1" == cluster.facts(job)["Licenses"]


def test_every_way_to_submit_brings_the_licence(cluster):
    """A lane would be used that the scheduler gives to another."""
    option = {"SLURM_SPANK_" + FORGED: "fez"}
    shown = "scontrol show job -o $SLURM_JOB_ID | grep -o 'Licenses=[^ ]*'"

    assert "Licenses=fez:1" in cluster.run("srun", "-t1", "--qpu=fez", "bash", "-c", shown).stdout
    assert "Licenses=fez:4" in cluster.run("salloc", "-t1", "--qpu=fez:exclusive", "bash", "-c", shown).stdout
    assert "Licenses=fez:1" in cluster.batch("-t1", script=shown, **option)[2]
    array = cluster.sbatch("-t1", "--array=0-2", "--qpu=one", script="echo $SLURM_ARRAY_TASK_ID >> order")
    until(lambda: 3 == len(started(cluster)), "three tasks, one after the other")
    until(lambda: not cluster.run("squeue", "-h").stdout, "an empty queue")
    assert "one:1" == cluster.facts(array)["Licenses"]


def test_only_the_leader_of_a_heterogeneous_job_takes_lanes(cluster):
    """It would wait for a lane that none of its components uses, or forever."""
    job = cluster.sbatch("-H", "--qpu=one", "-n1", ":", "-n1", script="true")
    shown = cluster.run("scontrol", "show", "job", "-o", job).stdout.splitlines()

    assert ["Licenses=one:1", "Licenses=(null)"] == [
        next(word for word in line.split() if word.startswith("Licenses=")) for line in shown
    ]
    cluster.run("scancel", job)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--qpu=fez", "-L", "fez:4"], "fez: -L asks for its lanes."),
        (["-L", "fez"], "fez: -L asks for its lanes."),
        (["-L", "fez:1"], "fez: -L asks for its lanes."),
        (["-L", "one;fez:2"], "fez: -L asks for its lanes."),
    ],
)
def test_licences_are_not_taken_without_the_option(cluster, words, says):
    """A lane would be held that nobody uses, or more than were asked for."""
    said = refused(cluster, "sbatch", "-t1", *words, "--wrap", "true", user=True)

    assert said.partition(":")[2].startswith(says.partition(":")[2])


def test_a_forged_option_is_refused(cluster):
    """A user would hold a lane that the scheduler has given to another."""
    said = refused(cluster, "sbatch", "-t1", "--wrap", "true", user=True, **{FORGED: "fez"})
    step = cluster.run("srun", "-t1", "echo", "ran", user=cluster.user, **{FORGED: "fez"})

    assert f"{FORGED}: is set in the environment of this job." in said
    assert 0 != step.returncode
    assert "" == step.stdout
    assert ["no licence" in line for line in ours(step.stderr)] == [True]


def test_a_step_gets_no_more_than_its_job_was_granted(cluster):
    """A job for one lane would take all of them."""
    more = cluster.run("salloc", "-t1", "--qpu=fez", "srun", "--qpu=one", "echo", "ran", user=cluster.user)
    all_ = cluster.run("salloc", "-t1", "--qpu=fez", "srun", "--qpu=fez:exclusive", "echo", "ran", user=cluster.user)
    none = cluster.run("salloc", "-t1", "srun", "--qpu=fez", "echo", "ran", user=cluster.user)

    for done in (more, all_, none):
        assert 0 != done.returncode
        assert "" == done.stdout
        assert 1 == len(ours(done.stderr)), done.stderr


@pytest.mark.parametrize("licences", ["", "fez:2", "one:1"])
def test_a_user_cannot_change_the_licences_afterwards(cluster, licences):
    """A running job would hold a lane that another is given too."""
    job = cluster.sbatch("-H", "-t2", "--qpu=fez", script="true", user=cluster.user)
    done = cluster.run("scontrol", "update", f"job={job}", f"licenses={licences}", user=cluster.user)
    limit = cluster.run("scontrol", "update", f"job={job}", "timelimit=1", user=cluster.user)

    assert 0 != done.returncode
    assert 0 == limit.returncode, limit.stderr
    assert "fez:1" == cluster.facts(job)["Licenses"]
