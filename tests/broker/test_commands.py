"""The commands of a job whose resource is behind the broker: nothing of the broker shows."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest

from .daemon import BIN, INSTALLED, KEY, fake, vendor_log


@pytest.fixture
def granted(daemon):
    """What a job was given."""
    return daemon.ask("fez")


@pytest.fixture
def command(granted, tmp_path):
    """Run a command as the job would: it has the job's variables, and no backend."""

    def run(*words: str, **others: str) -> subprocess.CompletedProcess:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("QRMI_", "SLURM_"))}
        environment = {**kept, "HOME": str(tmp_path), **granted["environment"], **others}
        return subprocess.run(
            [str(BIN / words[0]), *words[1:]], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )

    return run


def script(tmp_path, **facts: object) -> str:
    """A payload file."""
    path = tmp_path / "script.json"
    path.write_text(json.dumps(facts))
    return str(path)


def test_qrun_does_not_know_the_difference(command, tmp_path):
    """A job script would have to be rewritten for another site."""
    done = command("qrun", script(tmp_path, runs_s=0.1), "--kind", "script")

    assert (0, '{"runs_s": 0.1}\n') == (done.returncode, done.stdout), done.stderr


@pytest.mark.parametrize(
    ("facts", "status", "says"),
    [
        ({"runs_s": 0.1, "ends": "FAILED"}, 1, "as its script says"),
        ({"nonsense": 1}, 2, "script.json: $.runs_s: is missing"),
    ],
)
def test_the_exit_status_is_that_of_the_task(command, tmp_path, facts, status, says):
    """A script could not tell what happened."""
    done = command("qrun", script(tmp_path, **facts), "--kind", "script")

    assert (status, "") == (done.returncode, done.stdout)
    assert says in done.stderr.splitlines()[-1]


def test_a_time_limit_cancels_at_the_vendor(command, tmp_path, daemon):
    """The vendor would go on, and its bill grow."""
    done = command("qrun", script(tmp_path, runs_s=300), "--kind", "script", "--timeout", "0.3")

    assert 124 == done.returncode, done.stderr
    assert ["task.started", "task.stopped"] == [
        entry["event"] for entry in vendor_log(daemon.folder / "service") if entry["event"].startswith("task")
    ]


def test_a_task_can_be_left_and_looked_after_by_its_id(command, tmp_path):
    """A job could run one task at a time only."""
    path = script(tmp_path, runs_s=0.5)
    one, other = (command("qrun", path, "--kind", "script", "--no-wait").stdout.strip() for _ in range(2))
    long = command("qrun", script(tmp_path, runs_s=300), "--kind", "script", "--no-wait").stdout.strip()

    assert command("qrmi", "task", "status", long).stdout.startswith("RUNNING")
    assert 0 == command("qrmi", "task", "cancel", long).returncode
    deadline = time.monotonic() + 20
    while "COMPLETED\n" != command("qrmi", "task", "status", other).stdout and time.monotonic() < deadline:
        pass
    assert '{"runs_s": 0.5}\n' == command("qrmi", "task", "result", one).stdout
    assert 0 == command("qrmi", "task", "result", other, "out.json").returncode
    assert {"runs_s": 0.5} == json.loads((tmp_path / "out.json").read_text())
    assert "the script of task-" in command("qrmi", "task", "logs", one).stdout
    ended = json.loads(command("qrmi", "task", "status", "--json", long).stdout)
    assert "CANCELLED" == ended["status"]
    unknown = command("qrmi", "task", "status", "0" * 32)
    assert (1, "") == (unknown.returncode, unknown.stdout)
    assert "no task" in unknown.stderr


def test_results_outlive_the_lease(command, daemon, granted, tmp_path):
    """What was paid for would be lost with the job."""
    task = command("qrun", script(tmp_path, runs_s=0), "--kind", "script", "--no-wait").stdout.strip()
    deadline = time.monotonic() + 20
    while "COMPLETED\n" != command("qrmi", "task", "status", task).stdout and time.monotonic() < deadline:
        pass
    daemon.release(granted["id"])

    assert '{"runs_s": 0}\n' == command("qrmi", "task", "result", task).stdout
    refused = command("qrun", script(tmp_path, runs_s=0), "--kind", "script")
    assert 4 == refused.returncode
    assert "its lease has ended" in refused.stderr.splitlines()[-1]


def test_a_broker_that_is_down_is_said_in_one_line(command, daemon, tmp_path):
    """The user would read a traceback, or wait."""
    daemon.stop()
    done = command("qrun", script(tmp_path, runs_s=0), "--kind", "script")

    assert (3, "") == (done.returncode, done.stdout)
    assert "nobody answers on" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_resource_that_the_broker_no_longer_has_is_said_in_one_line(command, tmp_path, daemon):
    """The user would be sent to the maintainers of a backend that has nothing to do with it."""
    daemon.stop()
    daemon.write_config([fake(daemon.folder / "service", "other")])
    daemon.start()
    done = command("qrun", script(tmp_path, runs_s=0), "--kind", "script")

    assert (3, "") == (done.returncode, done.stdout)
    (line,) = done.stderr.splitlines()
    assert "fez: the service refused it: the broker has no resource 'fez', or no longer. See what there is" in line
    assert "`qrmi resources`" in line
    assert line.endswith("[error-request-refused]")


def test_who_overrides_only_an_endpoint_is_told_of_the_missing_credential(command, tmp_path, daemon):
    """The site's key would go where the user says, or the user be left with a riddle."""
    elsewhere = tmp_path / "elsewhere"
    done = command(
        "qrun",
        script(tmp_path, runs_s=0),
        *("--kind", "script"),
        fez_QRMI_FAKE_ENDPOINT=str(elsewhere),
        PYTHONPATH=str(INSTALLED),
    )

    assert 2 == done.returncode
    assert "QRMI_FAKE_API_KEY" in done.stderr.splitlines()[-1]
    assert "is missing" in done.stderr.splitlines()[-1]
    assert KEY not in done.stderr + done.stdout
    assert not elsewhere.exists()
    assert [] == [entry for entry in vendor_log(daemon.folder / "service") if entry["event"] == "task.started"]


def test_a_job_finds_a_broker_that_was_started_with_relative_paths(new_daemon, folder, monkeypatch):
    """Who tries the broker in a folder of his own is told in every other folder that nobody answers."""
    monkeypatch.chdir(folder)
    daemon = new_daemon().start("--config", "qrmi_config.json", "--state-dir", "state", "--run-dir", "run")

    assert daemon.public == daemon.ask("fez")["environment"]["fez_QRMI_BROKER"]


def test_usage_is_counted_by_job_user_and_account(command, daemon, granted, tmp_path):
    """A site could not say who used what."""
    command("qrun", script(tmp_path, runs_s=0.5), "--kind", "script")
    daemon.release(granted["id"])
    other = daemon.ask("fez", job=2, facts={"account": "phys", "user": "ada"})
    daemon.release(other["id"])
    socket = str(daemon.folder / "run" / "admin.sock")

    table = command("qrmi", "usage", "--socket", socket).stdout.splitlines()
    by_user = json.loads(command("qrmi", "usage", "--by", "user", "--json", "--socket", socket).stdout)
    by_account = json.loads(command("qrmi", "usage", "--by", "account", "--json", "--socket", socket).stdout)

    assert ["CLUSTER", "JOB_ID", "USER", "ACCOUNT", "RESOURCE", "END_REASON"] == table[0].split()[:6]
    assert 3 == len(table)
    assert [(0, 1, 0.5), ("ada", 0, 0)] == [(row["user"], row["tasks"], row["qpu_s"]) for row in by_user]
    assert [(None, 1), ("phys", 1)] == [(row["account"], row["leases"]) for row in by_account]


@pytest.mark.parametrize("days", ["nan", "-1"])
def test_usage_refuses_days_that_are_no_number_of_days(command, days):
    """Who asks what was used would read that nothing was submitted."""
    done = command("qrmi", "usage", "--days", days)

    assert (2, "") == (done.returncode, done.stdout)
    assert f"--days: is {days}. " in done.stderr
    assert "submitted" not in done.stderr


@pytest.mark.parametrize("days", ["0", "1e9", "inf"])
def test_usage_takes_any_number_of_days(command, daemon, days):
    """More days than there were would be refused, without a word about the option."""
    assert 0 == command("qrmi", "usage", "--days", days, "--socket", daemon.admin().socket_path).returncode


def test_usage_says_which_socket_it_needs(command, daemon):
    """An administrator would write to a backend's maintainers because he named the wrong socket."""
    done = command("qrmi", "usage", "--socket", daemon.public)

    assert (2, "") == (done.returncode, done.stdout)
    assert daemon.public in done.stderr
    assert "administrators' socket, for root and the broker's own user" in done.stderr
    assert "maintainers" not in done.stderr


def test_a_result_that_is_not_there_yet_is_waited_for_with_a_command_that_exists(command, tmp_path):
    """A user of the command line would look for a command of the Python interface."""
    task = command("qrun", script(tmp_path, runs_s=300), "--kind", "script", "--no-wait").stdout.strip()
    early = command("qrmi", "task", "result", task)
    misplaced = command("qrmi", "task", "result", task, "nowhere/out.json")

    assert (1, "") == (early.returncode, early.stdout)
    assert f"`qrmi task status {task}`" in early.stderr
    assert (2, "") == (misplaced.returncode, misplaced.stdout)
    assert "nowhere/out.json" in misplaced.stderr
    assert "submitted" not in misplaced.stderr


def test_doctor_and_resources_see_what_is_leased(command):
    """A user would be told to install a backend that he does not need."""
    assert "leased" in command("qrmi", "resources").stdout
    assert "accessible" in command("qrmi", "resources", "--check").stdout
    assert "ok    resource fez: type fake, through the broker at" in command("qrmi", "doctor").stdout
