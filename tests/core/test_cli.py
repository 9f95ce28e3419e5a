"""The commands, in this process and in their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from qrmi_core import cli, config, job, protocol, registry
from qrmi_core.cli import doctor

BIN = Path(sys.executable).parent
WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    [
        "--qpu",
        "--config",
        "--shots",
        "show",
        "plot",
        "check",
        "sample",
        "-",
        "--",
        "--help",
        "-o",
        "\x1b[2J\n",
        "--top=-1",
    ]
)


def command(line: str, **environment: str) -> subprocess.CompletedProcess:
    """Run a line of a shell that finds our commands."""
    path = f"{BIN}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def write(tmp_path):
    """Write a file that only its owner can read, and return its path as text."""

    def write_(document: object, name: str = "file.json") -> str:
        path = tmp_path / name
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        path.chmod(0o600)
        return str(path)

    return write_


@pytest.fixture
def ended(capsys):
    """Run a command in this process: its status, and what it wrote to standard output and error."""

    def ended_(main, *words: str) -> tuple[int, str, str]:
        try:
            status = main(list(words))
        except SystemExit as exc:
            status = exc.code
        return status, *capsys.readouterr()

    return ended_


@pytest.mark.parametrize("main", [cli.main, cli.qrun, cli.task_runner])
def test_help_is_on_standard_output_and_ends_with_0(ended, main):
    """Somebody who asks for help would get an error."""
    status, out, err = ended(main, "--help")

    assert (0, "") == (status, err)
    assert "usage: " in out


def test_a_bare_command_shows_what_there_is(ended):
    """A newcomer's first word would be answered with nothing."""
    status, out, err = ended(cli.main)

    assert (2, "") == (status, out)
    assert all(word in err for word in cli.COMMANDS)


def test_the_version_is_that_of_the_distribution(ended):
    """A report of a fault would name another one."""
    from importlib.metadata import version

    assert (0, f"qrmi-core {version('qrmi-core')}\n", "") == ended(cli.main, "--version")


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (cli.main, ["bogus"]),
        (cli.main, ["resources", "--nonsense"]),
        (cli.main, ["result"]),
        (cli.main, ["result", "show"]),
        (cli.main, ["result", "show", "--top", "x\n\x1b[2J", "r.json"]),
        (cli.main, ["config", "mend"]),
        (cli.qrun, []),
        (cli.qrun, ["--shots"]),
        (cli.task_runner, ["fez"]),
    ],
)
def test_a_wrong_command_line_is_answered_in_one_line_with_help(ended, main, words):
    """A typo would be answered with a page, or drive the terminal."""
    status, out, err = ended(main, *words)

    assert (2, "") == (status, out)
    assert 1 == err.count("\n")
    assert err.rstrip("\n").isprintable()
    assert "--help" in err


@pytest.mark.parametrize(("defaults", "status"), [(("local",), 1), ((), 3)])
def test_who_asks_for_a_task_is_told_that_no_broker_was_found(ended, monkeypatch, tmp_path, defaults, status):
    """On a node without a broker a task that lives would be said to be forgotten."""
    for name in [name for name in os.environ if "QRMI_" in name]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("QRMI_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(protocol, "SOCKET", str(tmp_path / "none.sock"))
    monkeypatch.setattr(registry, "default_types", lambda: defaults)
    found, out, err = ended(cli.main, "task", "status", "task-17")

    assert (status, "") == (found, out)
    assert str(tmp_path / "none.sock") in err


@given(st.sampled_from([cli.main, cli.qrun, cli.task_runner]), st.lists(WORDS, max_size=5))
def test_any_command_line_ends_with_a_status(main, words):
    """Strange arguments would end in a traceback."""
    words = [word for word in words if word not in ("-", "--config")]  # it would read our own standard input
    try:
        status = main(["doctor" if word == "show" and main is cli.qrun else word for word in words])
    except SystemExit as exc:
        status = exc.code

    assert status in (0, 1, 2)


def test_an_error_of_ours_is_one_line_and_its_status(ended):
    """A script could not tell it from a crash."""
    status, out, err = ended(cli.qrun, "--config", "/nowhere.json", "p.json")

    assert (2, "") == (status, out)
    assert err.startswith("qrun: /nowhere.json: cannot be read: No such file")
    assert err.endswith("[error-config-error]\n")


def test_a_secret_is_masked_in_an_error(ended, write):
    """A key that a message happens to hold would be in the job's log for ever."""
    from qrmi_core import redaction

    redaction.remember("canary-73ab0e")
    _, _, err = ended(cli.qrun, "--config", "/canary-73ab0e.json", "p.json")

    assert "canary" not in err
    assert redaction.MASK in err


@pytest.mark.usefixtures("pretend")
def test_a_payload_runs_and_only_its_result_is_on_standard_output(ended, write):
    """A pipe would carry more than the result."""
    path = write({"a": 1})

    assert (0, '{"a": 1}\n') == ended(cli.qrun, path, "--kind", "pretend")[:2]
    assert (0, '{"a": 1}\n') == ended(cli.task_runner, "fez", path, "--kind", "pretend")[:2]


_CHATTY = """
import os
from qrmi_pretend import *

import atexit
print("imported")
atexit.register(print, "at the end")

class Chatty(Pretend):
    def task_start(self, payload, *, key):
        print("starting")
        os.system("echo a child")
        return super().task_start(payload, key=key)

BACKEND = Backend(contract=1, settings=Settings, payloads={"pretend"}, open=Chatty)
"""


@pytest.mark.usefixtures("pretend")
def test_what_a_plugin_prints_is_not_in_the_result(install, monkeypatch, write):
    """A pipe would carry what some library likes to say, and its reader fail."""
    site = install("qrmi-chatty", group="qrmi.backends", points={"chatty": "qrmi_chatty:BACKEND"}, source=_CHATTY)
    done = command(
        f"qrun {write('x')} --kind pretend | cat",
        PYTHONPATH=f"{site}:{os.environ['PYTHONPATH']}",
        QRMI_JOB_QPU_TYPES="chatty",
    )

    assert "x\n" == done.stdout
    assert ["imported", "starting", "a child", "at the end"] == [
        line for line in done.stderr.splitlines() if not line.startswith("{")
    ]


def test_a_backend_whose_import_hangs_is_named_by_doctor(ended, install, monkeypatch):
    """An administrator would look at a doctor that says nothing."""
    monkeypatch.setattr(doctor, "IMPORT_S", 0.2)
    source = "import threading; threading.Event().wait(3)"
    install("qrmi-tarpit", group="qrmi.backends", points={"tarpit": "qrmi_tarpit:BACKEND"}, source=source)
    status, out, _ = ended(cli.main, "doctor")

    assert 2 == status
    assert "WRONG type tarpit: type 'tarpit': its import has not ended after 0.2 s" in out


@pytest.mark.usefixtures("pretend")
def test_a_dry_run_submits_nothing(ended, write, monkeypatch):
    """Somebody who only asks would pay."""
    status, out, _ = ended(cli.qrun, write("x"), "--kind", "pretend", "--dry-run")

    assert 0 == status
    assert "fez (type pretend)" in out
    assert [] == list(Path(os.environ["QRMI_STATE_DIR"]).glob("resources/fez/*"))


@pytest.mark.usefixtures("pretend")
def test_what_a_credential_reaches_is_listed_the_least_busy_first(ended):
    """Who configures a site sees each processor, and a program that wants the least busy one takes the first."""
    status, out, _ = ended(cli.main, "resources", "--discover")
    rows = json.loads(ended(cli.main, "resources", "--discover", "--json")[1])

    assert 0 == status
    assert ["free", "busy", "odd", "off"] == [line.split()[0] for line in out.splitlines()[1:]]
    assert ["DEVICE", "STATUS", "QUBITS", "QUEUE", "RESOURCE", "NOTE"] == out.splitlines()[0].split()
    assert "\x1b" not in out
    assert ("free", 3, 1, "fez") == tuple(rows[0][key] for key in ("device", "qubits", "queue", "resource"))
    assert rows[2]["queue"] is None


@pytest.mark.usefixtures("pretend")
def test_a_credential_that_reaches_nothing_is_said(ended, monkeypatch):
    """A listing that lacks a whole account must not look like a complete one."""
    monkeypatch.setenv("fez_QRMI_PRETEND_SPEED", "0")
    status, out, err = ended(cli.main, "resources", "--discover")

    assert (3, "") == (status, out)
    assert "fez: unavailable: it stands still" in err


@pytest.mark.usefixtures("pretend")
def test_resources_are_listed_with_their_state(ended, write):
    """A user could not find out what there is."""
    status, out, _ = ended(cli.main, "resources")
    rows = json.loads(ended(cli.main, "resources", "--json", "--check")[1])

    assert 0 == status
    assert ["NAME", "TYPE", "STATUS", "SOURCE"] == out.splitlines()[0].split()
    assert [{"name": "fez", "type": "pretend", "status": "accessible", "source": "the environment"}] == rows


def test_no_resource_is_answered_with_what_to_do(ended, write):
    """An empty list would be a riddle."""
    status, out, _ = ended(cli.main, "resources", "--config", write({"resources": []}))

    assert 0 == status
    assert "pip install" in out


@pytest.mark.usefixtures("pretend")
def test_doctor_says_what_is_wrong_and_ends_with_2(ended, write):
    """An administrator's script could not watch an installation."""
    environment = {"QRMI_PRETEND_SPEED": "fast", "QRMI_PRETEND_TOKEN": "canary-1f77aa"}
    path = write({"resources": [{"name": "fez", "type": "pretend", "environment": environment}]})
    status, out, err = ended(cli.main, "doctor", "--config", path)

    assert 2 == status
    assert [f"WRONG resource fez: {path}: resources[0].environment.QRMI_PRETEND_SPEED: 'fast' is not number"] == [
        line.partition(". ")[0] for line in out.splitlines() if line.startswith("WRONG")
    ]
    assert "canary" not in out + err
    assert "nothing wrong" not in out


@pytest.mark.usefixtures("pretend")
def test_a_secret_is_what_its_backend_declares_not_what_it_is_called(ended, write, monkeypatch):
    """A password whose variable has an innocent name could be read by everybody."""
    monkeypatch.setattr(config, "looks_secret", lambda name: False)
    environment = {"QRMI_PRETEND_TOKEN": "canary-0a61be"}
    path = write({"resources": [{"name": "fez", "type": "pretend", "environment": environment}]})
    Path(path).chmod(0o644)
    status, _, err = ended(cli.main, "config", "check", path)

    assert 2 == status
    assert f"chmod o-rwx {path}" in err
    assert "canary" not in err
    monkeypatch.setenv("fez_QRMI_PRETEND_TOKEN", "mine")  # which stands in no file
    assert [frozenset()] == [opening.exposed for opening in job.available(path)]


@pytest.mark.usefixtures("pretend")
def test_a_configuration_is_checked_with_the_settings_of_its_backends(ended, write):
    """A typo would be found by the first job."""
    right = {"name": "a", "type": "pretend", "environment": {"QRMI_PRETEND_SPEED": 2}}
    wrong = {"name": "b", "type": "pretend", "environment": {"QRMI_PRETEND_SPED": 2, "QRMI_PRETEND_SPEED": "x"}}

    status, out, _ = ended(cli.main, "config", "check", write({"resources": [right]}))
    assert (0, "in order (a)") == (status, out.rpartition(": ")[2].rstrip("\n"))
    status, out, err = ended(cli.main, "config", "check", write({"resources": [right, wrong]}))
    assert (2, "") == (status, out)
    assert ["QRMI_PRETEND_SPEED", "QRMI_PRETEND_SPED"] == [
        line.partition("resources[1].environment.")[2].partition(":")[0] for line in err.splitlines()
    ]
    assert "Did you mean QRMI_PRETEND_SPEED?" in err


@pytest.mark.usefixtures("pretend")
def test_the_schema_takes_what_we_take(ended):
    """An editor would mark right files as wrong."""
    schema = json.loads(ended(cli.main, "config", "schema")[1])
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    entry = {"name": "a", "type": "pretend", "environment": {"QRMI_PRETEND_SPEED": 2}}

    assert validator.is_valid({"resources": [entry], "unknown": "refuse"})
    for change in (
        {"name": ".."},
        {"lanes": 0},
        {"bogus": 1},
        {"access": "x"},
        {"environment": {"QRMI_PRETEND_SPEED": []}},
    ):
        assert not validator.is_valid({"resources": [{**entry, **change}]}), change


@pytest.mark.parametrize("form", ["plain", "qiskit"])
def test_a_result_is_shown_as_bars(ended, data, form):
    """A user would need a program to look at two numbers."""
    status, out, err = ended(cli.main, "result", "show", str(data / f"result_sampler_bell_{form}.json"))
    title, *lines = out.splitlines()

    assert (0, "", "pub 0, meas: 4096 shots") == (status, err, title)
    assert ["11", "00"] == [line.split()[0] for line in lines]
    assert ["2051", "2045"] == [line.split()[2] for line in lines]


def test_the_bars_that_are_left_out_are_counted(ended, write):
    """What is shown would be taken for all."""
    path = write({"counter": {format(n, "05b"): n + 1 for n in range(20)}})
    out = ended(cli.main, "result", "show", path, "--top", "3")[1]

    assert "and 17 more, 153 shots together" in out
    assert 2 == ended(cli.main, "result", "show", path, "--top", "0")[0]


def test_a_result_cannot_drive_the_terminal(ended, write):
    """A file from elsewhere could rename the window, or worse."""
    document = {"counter": {"\x1b]0;owned\x07": 1}}
    register = {"results": [{"data": {"\x1b[2J": {"samples": ["0x0"], "num_bits": 1}}}]}
    for one in (document, register):
        status, out, _ = ended(cli.main, "result", "show", write(one))
        assert 0 == status
        assert all(line.isprintable() for line in out.splitlines())


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_result_becomes_a_picture(ended, data, tmp_path, ending):
    """A user would need a program to show two numbers to others."""
    for sample in ("result_sampler_bell_plain.json", "result_estimator_broadcast_plain.json"):
        picture = tmp_path / f"{sample}.{ending}"
        assert 0 == ended(cli.main, "result", "plot", str(data / sample), "-o", str(picture))[0]
        assert picture.read_bytes().startswith(b"\x89PNG" if ending == "png" else b"<?xml")


@pytest.mark.parametrize("picture", ["/nowhere/x.png", "x.nonsense", "/"])
def test_a_picture_that_cannot_be_written_is_a_fault(ended, data, picture):
    """A wrong ending would end in a traceback."""
    status, out, err = ended(
        cli.main, "result", "plot", str(data / "result_sampler_bell_plain.json"), "-o", picture
    )  # fmt: skip

    assert (2, "") == (status, out)
    assert 1 == err.count("\n")


def test_a_reader_that_has_had_enough_is_no_fault():
    """`qrmi config schema | head -1` would end with a traceback."""
    done = command("qrmi config schema | head -1")

    assert ("{\n", "") == (done.stdout, done.stderr)


def test_a_full_disk_behind_standard_output_is_said_in_one_line():
    """A list that was cut short would be taken for the whole one."""
    done = command("qrmi config schema > /dev/full")

    assert 1 == done.returncode
    assert "standard output cannot be written: No space left on device. Redirect it elsewhere\n" == done.stderr


def test_a_full_disk_behind_standard_error_leaves_the_status_as_it_is():
    """A script would see another failure than the one that was."""
    assert 2 == command("qrun nowhere.json 2> /dev/full").returncode
    assert 2 == command("qrun nowhere.json 2>&-").returncode


def test_a_closed_standard_output_is_not_the_next_file(tmp_path, data):
    """What we print would be written into whatever file was opened next."""
    sample = data / "result_sampler_bell_plain.json"
    before = sample.read_bytes()
    done = command(f"qrmi result show {sample} >&-")

    assert (0, "") == (done.returncode, done.stderr)
    assert before == sample.read_bytes()


def test_a_terminal_of_eight_bit_letters_shows_bars_all_the_same(data):
    """Old terminals would show a traceback."""
    done = command(f"qrmi result show {data / 'result_sampler_bell_plain.json'}", PYTHONIOENCODING="latin-1")

    assert 0 == done.returncode
    assert "2051" in done.stdout


def test_file_names_of_any_bytes_are_named_in_messages(tmp_path):
    """A name of an old system would end in a traceback."""
    done = command("qrun $'no\\xff\\x1bwhere.json'")

    assert 2 == done.returncode
    assert r"qrun: no\udcff\x1bwhere.json: cannot be read" in done.stderr
