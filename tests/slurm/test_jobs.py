"""Every way to run a job: each task has the right variables and can use the resource; one session per run, closed."""

from __future__ import annotations

import re

import pytest
from attrs import frozen

from slurm.cluster import Cluster, until
from slurm.seen import TOKEN, Seen, collect

EXTRA = """\
LaunchParameters=use_interactive_step
InteractiveStepOptions="--interactive --preserve-env bash -s"
"""


@frozen
class Case:
    """How a job is run, and what is expected of it."""

    words: str
    """What the user types; ``work NAME`` keeps the task's environment and runs a task on the resource."""
    tasks: tuple[str, ...]
    """``NAME.RANK`` of every task that must have seen the lease."""
    stdin: str = ""
    runs: int = 1
    """How many executions of jobs with a lease there are, and so sessions at the vendor."""


CASES = {
    "sbatch": Case("sbatch --qpu=fez", ("batch.0",), "work batch"),
    "srun": Case("srun --qpu=fez work alone", ("alone.0",)),
    "srun with an environment of its own": Case("srun --qpu=fez --export=PATH work alone", ("alone.0",)),
    "salloc with two sruns": Case(
        "salloc -n2 --qpu=fez bash -c 'srun -n1 work one; srun work two'", ("one.0", "two.0", "two.1")
    ),
    "salloc with an interactive step": Case(
        "salloc --qpu=fez",
        ("shell.0", "one.0", "two.0"),
        "work shell < /dev/null; srun --overlap work one < /dev/null; srun --overlap work two < /dev/null",
    ),
    "srun inside sbatch": Case("sbatch -n2 --qpu=fez", ("batch.0", "step.0", "step.1"), "work batch; srun work step"),
    "array": Case("sbatch --array=0-2 --qpu=fez", ("batch.0",) * 3, "work batch", runs=3),
    "srun of two tasks": Case("srun -n2 --qpu=fez work step", ("step.0", "step.1")),
    "two nodes by sbatch": Case(
        "sbatch -N2 -n2 --qpu=fez", ("batch.0", "step.0", "step.1"), "work batch; srun work step"
    ),
    "two nodes by srun": Case("srun -N2 -n3 --qpu=fez work step", ("step.0", "step.1", "step.2")),
    "heterogeneous job": Case(
        "sbatch --qpu=fez -n1 : -n2",
        ("batch.0", "both.0", "both.1", "both.2", "later.0"),
        "work batch; srun --het-group=0,1 work both; srun -n1 --het-group=1 work later",
    ),
    "heterogeneous srun": Case(
        "srun --qpu=fez -n1 work step : -n1 work step",
        ("step.0", "step.1"),
    ),
    "requeue": Case(
        "sbatch --requeue --qpu=fez",
        ("first.0", "second.0"),
        "if [ $SLURM_RESTART_COUNT ]; then work second; else work first; scontrol requeue $SLURM_JOB_ID; sleep 60; fi",
        runs=2,
    ),
    "sbatch without an environment": Case(
        "sbatch -n2 --export=NONE --qpu=fez", ("batch.0", "step.0", "step.1"), "{bin}/work batch; srun {bin}/work step"
    ),
}


def expected(seen: Seen, cluster: Cluster, job: str) -> dict[str, str]:
    """The variables of a task in a job with `--qpu=fez` and no time limit."""
    return {
        "SLURM_JOB_QPU_RESOURCES": "fez",
        "SLURM_JOB_QPU_TYPES": "fake",
        "QRMI_JOB_QPU_RESOURCES": "fez",
        "QRMI_JOB_QPU_TYPES": "fake",
        "QRMI_JOB_ID": job,
        "QRMI_JOB_UID": "0",
        "fez_QRMI_FAKE_ENDPOINT": str(cluster.service),
        "fez_QRMI_BROKER": f"{cluster.folder}/{seen.node}/run/qrmi.sock",
        "fez_QRMI_JOB_ACQUISITION_TOKEN": TOKEN,
        "fez_QRMI_JOB_TIMEOUT_SECONDS": "31536000",
    }


def is_over(cluster: Cluster) -> bool:
    """Whether no job and no lease is left."""
    return not cluster.run("squeue", "-h").stdout.strip() and not cluster.leases()


@pytest.mark.parametrize("name", CASES)
def test_every_task_has_the_lease_of_its_run(name, cluster):
    """A job was started without its lease, with half of it, with another one's; or a session was left open."""
    case = CASES[name]
    before, tasks_before = cluster.counts(), len(cluster.vendor("task.started"))
    script = case.stdin.replace("{bin}", f"{cluster.folder}/bin")
    words = case.words.replace("sbatch", "sbatch -o out", 1) if case.words.startswith("sbatch") else case.words
    shebang = "#!/bin/bash\n" if words != case.words else ""
    done = cluster.run("bash", "-c", words, stdin=f"{shebang}{script}\n")
    assert done.returncode == 0, done.stderr
    until(lambda: is_over(cluster), "the end of the job")

    seen = collect(cluster.folder)
    assert sorted(case.tasks) == sorted(f"{one.name}.{one.rank}" for one in seen)
    for one in seen:
        leader = one.environment.get("SLURM_JOB_ID_HET_GROUP_0", one.job)
        assert expected(one, cluster, leader) == {
            name: value for name, value in one.ours.items() if "SPANK_OPTION" not in name
        }
    assert case.runs == len({token for one in seen for token in one.tokens})
    assert (case.runs, case.runs) == tuple(now - then for now, then in zip(cluster.counts(), before, strict=True))
    assert len(case.tasks) == len(cluster.vendor("task.started")) - tasks_before


def test_a_nested_job_inherits_neither_the_option_nor_the_lease(cluster):
    """A job that a job with `--qpu` submits takes a lane that nobody asked for, or holds the other's token."""
    before = cluster.counts()
    script = "work outer; sbatch -o nested --wrap 'show nested'; srun sbatch --wrap 'show again'"
    cluster.run("sbatch", "-o", "outer", "--qpu=fez", stdin=f"#!/bin/bash\n{script}\n")
    until(lambda: is_over(cluster), "the end of both")

    seen = {one.name: one for one in collect(cluster.folder)}
    assert {"outer", "nested", "again"} == set(seen)
    assert "fez" == seen["outer"].ours["QRMI_JOB_QPU_RESOURCES"]
    assert {} == seen["nested"].ours
    assert {} == seen["again"].ours
    assert (before[0] + 1, before[1] + 1) == cluster.counts()


def test_a_nested_job_with_its_own_option_has_its_own_lease(cluster):
    """What the outer job left in the environment is taken for settings of the user's own, or for a lease."""
    before = cluster.counts()
    script = "sbatch -o nested --qpu=fez --wrap 'work nested'; show outer"
    cluster.run("sbatch", "-o", "outer", "--qpu=fez", stdin=f"#!/bin/bash\n{script}\n")
    until(lambda: is_over(cluster), "the end of both")

    outer, nested = sorted(collect(cluster.folder), key=lambda one: one.name, reverse=True)
    assert nested.job == nested.ours["QRMI_JOB_ID"] != outer.ours["QRMI_JOB_ID"]
    assert not nested.tokens & outer.tokens
    assert (before[0] + 2, before[1] + 2) == cluster.counts()


def test_a_job_submitted_from_salloc_inherits_nothing(cluster):
    """The shell that salloc starts has the option in its environment, and each sbatch in it asks for a lane."""
    before = cluster.counts()
    cluster.run("salloc", "--qpu=fez", "bash", "-c", "srun show step; sbatch -o nested --wrap 'show nested'")
    until(lambda: is_over(cluster), "the end of both")

    seen = {one.name: one for one in collect(cluster.folder)}
    assert "fez" == seen["step"].ours["QRMI_JOB_QPU_RESOURCES"]
    assert {} == seen["nested"].ours
    assert (before[0] + 1, before[1] + 1) == cluster.counts()


def test_an_ordinary_user_gets_his_own_lease(cluster):
    """Only root's jobs work, or a user's job is root's to the broker."""
    job = cluster.sbatch("-t", "3", "--qpu=fez", script="show batch; srun show step", user=cluster.user)
    cluster.wait(job)

    seen = collect(cluster.folder)
    assert [("batch", "0"), ("step", "0")] == [(one.name, one.rank) for one in seen]
    for one in seen:
        assert str(cluster.user.uid) == one.ours["QRMI_JOB_UID"]
        assert "180" == one.ours["fez_QRMI_JOB_TIMEOUT_SECONDS"]


def test_a_step_cannot_widen_its_jobs_lease(cluster):
    """`srun --qpu=other` inside of a job is taken for the job's own resource, in silence."""
    job, state, output = cluster.batch("--qpu=fez", script="srun --qpu=da-local echo RAN")
    assert "FAILED" == state
    assert "RAN" not in output
    found = re.findall(r"^qrmi: (.*)", output, re.M)
    assert ["da-local: this job's lease is on fez: name all resources in the --qpu of sbatch or salloc"] == found
    assert cluster.facts(job)["ExitCode"] == "3:0"


@pytest.mark.parametrize("qpu", ["fez:exclusive", "fez=other", "fez,other"])
def test_a_step_is_told_what_its_jobs_lease_does_not_cover(qpu, cluster):
    """A step runs on another processor than it named, or among others on one it wanted alone."""
    before = cluster.counts()
    _, state, output = cluster.batch("--qpu=fez", script=f"srun --qpu={qpu} echo RAN; srun --qpu=fez work after")
    assert "COMPLETED" == state
    assert "RAN" not in output
    (line,) = re.findall(r"^qrmi: (.*)", output, re.M)
    assert line.endswith(": this job's lease is on fez: name all resources in the --qpu of sbatch or salloc")
    assert ["after"] == [one.name for one in collect(cluster.folder)]
    assert "task COMPLETED" in output
    assert (before[0] + 1, before[1] + 1) == cluster.counts()


def test_a_step_that_names_what_its_job_has_asks_nobody(cluster):
    """Every step of a job fails while the broker is restarted, or waits for it."""
    script = "touch ready; until [ -e go ]; do sleep 0.05; done; srun --qpu=q=fez show one; srun show two"
    job = cluster.sbatch("--qpu=q=fez:exclusive,other", script=script)
    until((cluster.work / "ready").exists, "the batch script runs")
    cluster.broker.stop()
    (cluster.work / "go").touch()
    cluster.wait(job, "COMPLETED", "FAILED", "COMPLETING")
    (cluster.work / "go").unlink()
    (cluster.work / "ready").unlink()
    assert ["one", "two"] == [one.name for one in collect(cluster.folder)]
    assert "" == cluster.output(job)


@pytest.mark.parametrize("unset", ["SLURM_JOB_ID SLURM_JOBID", "${!SLURM_JOB*} ${!SLURM_SPANK*}"])
def test_an_srun_that_makes_a_job_of_its_own_inherits_nothing(unset, cluster):
    """Where a script forgets its job's variables, srun asks for a lane that nobody wanted, and has the outer token."""
    before = cluster.counts()
    _, state, output = cluster.batch("--qpu=fez", script=f"unset {unset}; srun -n1 show alone")
    assert "COMPLETED" == state, output
    (seen,) = collect(cluster.folder)
    assert {} == seen.ours
    assert (before[0] + 1, before[1] + 1) == cluster.counts()


@pytest.mark.parametrize("delimiter", [";", " : "])
def test_lists_are_separated_as_the_user_wishes(delimiter, cluster):
    """QRMI_LIST_DELIMITER, which readers honour, makes `first,second` one name; or nodes mix."""
    script = "srun work step; sbatch -o nested --wrap 'show nested'"
    options = ("-N2", "-n2", "--qpu=first=fez,second=other")
    _, state, output = cluster.batch(*options, script=script, QRMI_LIST_DELIMITER=delimiter)
    assert "COMPLETED" == state, output
    assert 4 == output.count("task COMPLETED")
    until(lambda: is_over(cluster), "the end of both")

    nested, *steps = sorted(collect(cluster.folder), key=lambda one: one.name)
    assert {"QRMI_LIST_DELIMITER": delimiter} == nested.ours
    assert {"n1", "n2"} == {one.node for one in steps}
    for one in steps:
        for list_ in ("SLURM_JOB_QPU_RESOURCES", "QRMI_JOB_QPU_RESOURCES"):
            assert f"first{delimiter}second" == one.ours[list_]
        for list_ in ("SLURM_JOB_QPU_TYPES", "QRMI_JOB_QPU_TYPES"):
            assert f"fake{delimiter}fake" == one.ours[list_]
        assert f"{cluster.folder}/{one.node}/run/qrmi.sock" == one.ours["second_QRMI_BROKER"]


def test_a_batch_script_has_a_lease_whatever_its_environment_says(cluster):
    """Who brings the variables of a lease is believed, and his job runs without one."""
    before = cluster.counts()
    brought = "ALL,QRMI_JOB_QPU_RESOURCES=fez,QRMI_JOB_ID"
    last = cluster.sbatch(script="true")
    job = cluster.sbatch("--qpu=fez", f"--export={brought}={int(last) + 1}", script="work batch")
    assert int(last) + 1 == int(job)
    assert "COMPLETED" == cluster.wait(job)
    assert "task COMPLETED\n" == cluster.output(job)
    assert (before[0] + 1, before[1] + 1) == cluster.counts()


def test_the_environment_has_no_secret(cluster):
    """The vendor's key is in the environment of a job, or in what a node logs."""
    cluster.run("srun", "--qpu=fez", "show", "step")
    (seen,) = collect(cluster.folder)
    assert "fez" == seen.ours["QRMI_JOB_QPU_RESOURCES"]
    assert "canary-4b1d90c7a2" not in str(seen.environment)
    assert "canary-4b1d90c7a2" not in cluster.node_log("n1") + cluster.node_log("n2")
