"""What `--qpu` may name, and what it must not: aliases, hyphens, `:exclusive`, unknown names, forged requests."""

from __future__ import annotations

import pytest

from slurm.jobs import ours
from slurm.seen import TOKEN, collect

LONG = "x" * 300
EXTRA = f"Licenses=fez:2,{LONG}:1\n"

MISTAKES = {
    "": "qrmi: --qpu: a name is empty: write --qpu=[alias=]name[:exclusive],...",
    "fez,": "qrmi: --qpu: a name is empty: write --qpu=[alias=]name[:exclusive],...",
    "fez:exclusiv": "qrmi: --qpu: 'fez:exclusiv' has an unknown mode: there is only name:exclusive",
    "fez:2": "qrmi: --qpu: 'fez:2' has an unknown mode: there is only name:exclusive",
    "fez,fez": "qrmi: --qpu: 'fez' is named twice: name each resource once",
    "a-b=fez,a_b=other": "qrmi: --qpu: 'a_b' would stand for two resources: give one an alias",
    "-fez": "qrmi: --qpu: '-fez' is no name: use letters, digits, '_', '-' and '.', at most 128, the first one a "
    "letter, a digit or '_'",
    "=fez": "qrmi: --qpu: '' is no alias: use letters, digits, '_', '-' and '.', at most 128, the first one a "
    "letter, a digit or '_'",
    "fez/../x": "qrmi: --qpu: 'fez/../x' is no name: use letters, digits, '_', '-' and '.', at most 128, the first one "
    "a letter, a digit or '_'",
}


@pytest.mark.parametrize("command", ["sbatch --wrap true", "srun true", "salloc true"])
@pytest.mark.parametrize("value", MISTAKES)
def test_a_typo_fails_at_submit_with_one_line(value, command, cluster):
    """A misspelt option is noticed when the job starts, hours later, or in a heap of lines."""
    name, *words = command.split()
    done = cluster.run(name, f"--qpu={value}", *words)
    assert done.returncode == 1
    assert f"{MISTAKES[value]}\n" == done.stderr
    assert "" == cluster.run("squeue", "-h").stdout


def test_a_name_with_a_hyphen_is_there_in_both_spellings(cluster):
    """A shell script cannot read the variables of `da-local`, or Python code must know of the other spelling."""
    cluster.run("srun", "--qpu=da-local", "work", "step")
    (seen,) = collect(cluster.folder)
    assert "da-local" == seen.ours["QRMI_JOB_QPU_RESOURCES"]
    for name in ("da-local", "da_local"):
        assert TOKEN == seen.ours[f"{name}_QRMI_JOB_ACQUISITION_TOKEN"]
        assert str(cluster.service) == seen.ours[f"{name}_QRMI_FAKE_ENDPOINT"]


def test_an_application_knows_a_resource_by_its_alias(cluster):
    """Changing the processor means changing the program."""
    done = cluster.run("srun", "--qpu=first=fez,second=other", "work", "step")
    (seen,) = collect(cluster.folder)
    assert "first,second" == seen.ours["SLURM_JOB_QPU_RESOURCES"]
    assert {TOKEN} == {seen.ours[f"{one}_QRMI_JOB_ACQUISITION_TOKEN"] for one in ("first", "second")}
    assert str(cluster.other) == seen.ours["second_QRMI_FAKE_ENDPOINT"]
    assert [] == [name for name in seen.ours if name.startswith(("fez", "other"))]
    assert "task COMPLETED\ntask COMPLETED\n" == done.stdout


@pytest.mark.parametrize("mode", ["", ":exclusive"])
def test_exclusive_is_what_the_vendor_is_asked_for(mode, cluster):
    """`:exclusive` gets lost on its way, or every job is alone."""
    cluster.run("srun", f"--qpu=fez{mode}", "true")
    assert bool(mode) == cluster.vendor("session.opened")[-1]["exclusive"]


def test_unknown_names_are_left_out_with_one_warning(cluster):
    """A job whose second resource was renamed fails, or goes on without a word."""
    done = cluster.run("srun", "-n3", "--qpu=nope,fez", "show", "step")
    assert 0 == done.returncode
    assert ["qrmi: warning: nope: no such resource; the job goes on without it"] == ours(done.stderr)
    assert {"fez"} == {seen.ours["QRMI_JOB_QPU_RESOURCES"] for seen in collect(cluster.folder)}


def test_steps_of_a_job_with_an_unknown_name_run(cluster):
    """What the batch script was granted is not enough for the steps inside of it."""
    _, state, output = cluster.batch("--qpu=nope,fez", script="show batch; srun show step")
    assert "COMPLETED" == state, output
    assert ["batch", "step"] == [seen.name for seen in collect(cluster.folder)]


def test_unknown_names_are_refused_where_the_site_says_so(cluster):
    """`"unknown": "refuse"` lets a job start without one of its resources."""
    try:
        cluster.configure(unknown="refuse")
        done = cluster.run("srun", "--qpu=nope,fez", "echo", "RAN")
    finally:
        cluster.configure()
    assert "" == done.stdout
    assert ["qrmi: --qpu: there is no resource 'nope'. There are: da-local, fez, other"] == ours(done.stderr)


@pytest.fixture
def licensed(cluster):
    """The broker gives what the scheduler granted, and no more."""
    cluster.configure(grant="licences")
    yield cluster
    cluster.configure()


REFUSED = (
    "qrmi: fez: not authorised: the scheduler granted this job no licence for it. Ask the administrators of this site"
)


def test_a_licence_gives_its_resource(licensed):
    """A job with the licence is refused."""
    assert "RAN\n" == licensed.run("srun", "-L", "fez:1", "--qpu=fez", "echo", "RAN").stdout
    assert "RAN\n" == licensed.run("srun", "-L", "fez:2", "--qpu=fez:exclusive", "echo", "RAN").stdout


def test_a_licence_with_a_long_name_harms_no_other(licensed):
    """The licences that follow it are lost with it, and the request is refused."""
    done = licensed.run("srun", "-L", f"{LONG}:1,fez:1", "--qpu=fez", "echo", "RAN")
    assert "RAN\n" == done.stdout, done.stderr


@pytest.mark.parametrize(
    "words",
    ["--qpu=fez", "-L fez:1 --qpu=fez:exclusive", "-L fez:1 --qpu=q=fez,other"],
    ids=["no licence", "one lane for all", "another resource"],
)
def test_a_request_beyond_the_licences_is_refused(words, licensed):
    """A user writes a licence by hand, and takes what the scheduler gave to others."""
    done = licensed.run("srun", *words.split(), "echo", "RAN")
    assert "" == done.stdout
    assert [REFUSED.replace("fez", "other" if "other" in words else "fez")] == ours(done.stderr)


def test_a_forged_option_gets_no_more_than_the_licences(licensed):
    """The variable that job_submit does not see is as good as the option."""
    before = licensed.counts()
    job = licensed.sbatch(script="echo RAN", _SLURM_SPANK_OPTION_qrmi_qpu="fez")
    assert "FAILED" == licensed.wait(job)
    assert [REFUSED] == licensed.output(job).splitlines()
    assert before == licensed.counts()


def test_a_forged_option_is_read_as_carefully_as_a_true_one(cluster):
    """What nobody checked at submit goes into requests and paths."""
    job = cluster.sbatch(script="echo RAN", _SLURM_SPANK_OPTION_qrmi_qpu='../x","own":true')
    assert "FAILED" == cluster.wait(job)
    assert 1 == len(ours(cluster.output(job)))
    assert "RAN" not in cluster.output(job)
