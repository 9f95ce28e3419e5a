"""Where a result goes. As root, no mode forbids anything: what a test needs forbidden is forbidden in other ways."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from qrmi_core import ConfigError, ResultNotSaved
from qrmi_core.cli.output import Output

CONTENT = b'{"counter": {"00": 1}}'


def to(path: Path | str | None, **environ: str) -> Output:
    made = Output.of(None if path is None else str(path), each_task=False, environ=environ)
    assert made is not None
    return made


@pytest.fixture
def umask():
    """One that is not the default, for this test."""
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def kept() -> Path:
    """Where a result goes that its output does not take."""
    return Path(os.environ["QRMI_STATE_DIR"]) / "results" / "result-t1.json"


def test_a_result_is_there_as_a_whole_and_nothing_else_is(tmp_path):
    """A reader would find half of it, or a folder full of parts."""
    to(tmp_path / "r.json").save(CONTENT, "t1")

    assert ["r.json"] == os.listdir(tmp_path)
    assert CONTENT == (tmp_path / "r.json").read_bytes()


def test_an_older_result_is_replaced_and_keeps_its_mode(tmp_path):
    """What was private would become public by a second run; readers of the old one would see it change."""
    path = tmp_path / "r.json"
    path.write_text("old and longer than the new one, by far")
    path.chmod(0o600)
    with path.open() as reader:
        to(path).save(CONTENT, "t1")
        assert reader.read().startswith("old")

    assert CONTENT == path.read_bytes()
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_a_new_result_is_as_readable_as_any_other_new_file(tmp_path, umask):
    """The group could not read it, or everybody could."""
    to(tmp_path / "r.json").save(CONTENT, "t1")

    assert 0o666 & ~umask == stat.S_IMODE((tmp_path / "r.json").stat().st_mode)


def test_a_symbolic_link_stays_one(tmp_path):
    """The result would not be where the user's link leads."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link.json").symlink_to(tmp_path / "real" / "r.json")
    output = to(tmp_path / "link.json")
    for _ in range(2):  # the target is not there yet, and then it is
        output.check()
        output.save(CONTENT, "t1")

    assert (tmp_path / "link.json").is_symlink()
    assert CONTENT == (tmp_path / "real" / "r.json").read_bytes()


def test_a_device_is_written_to_and_not_replaced():
    """As root, `qrun p.json /dev/null` would leave the machine without one."""
    output = to("/dev/null")
    output.check()
    output.save(CONTENT, "t1")

    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    """Whoever reads at the other end would wait for ever."""
    os.mkfifo(tmp_path / "fifo")
    reader = subprocess.Popen(["cat", str(tmp_path / "fifo")], stdout=subprocess.PIPE)
    output = to(tmp_path / "fifo")
    output.check()
    output.save(CONTENT, "t1")

    assert CONTENT == reader.communicate(timeout=30)[0]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("r-%j.json", "r-17.json"),
        ("r-%t.json", "r-0.json"),
        ("100%%-%j-%t", "100%-17-0"),
        ("r.json", "r.json"),
    ],
)
def test_a_name_is_filled_in(text, name):
    """The tasks of a job, or the jobs of an array, would write one file."""
    assert Path(name) == to(text, SLURM_JOB_ID="17").path


def test_outside_a_job_the_numbers_are_0():
    """A script could not be tried outside a job."""
    assert Path("r-0-0.json") == to("r-%j-%t.json").path


@pytest.mark.parametrize("text", ["%", "r%x", "%J.json", "100%", "%\n"])
def test_an_unknown_sign_is_refused(text):
    """A file of a strange name would be written somewhere."""
    with pytest.raises(ConfigError, match="There are %j, %t and %%"):
        to(text)


def test_only_the_first_task_of_a_step_submits(capsys):
    """Every task would pay for the same result."""
    environ = {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4"}

    assert Output.of("r.json", each_task=False, environ=environ) is None
    assert "task 3 of 4" in capsys.readouterr().err
    assert to("r.json", **{**environ, "SLURM_PROCID": "0"}).path == Path("r.json")


@pytest.mark.parametrize("tasks", [{"SLURM_STEP_NUM_TASKS": "4"}, {"SLURM_NTASKS": "4"}])
@pytest.mark.parametrize("text", [None, "r.json", "r-%j.json"])
def test_every_task_needs_a_file_of_its_own(tasks, text):
    """All but one result would be lost."""
    with pytest.raises(ConfigError, match="%t"):
        Output.of(text, each_task=True, environ=tasks)
    made = Output.of("r-%t.json", each_task=True, environ={**tasks, "SLURM_PROCID": "3"})

    assert made == Output(Path("r-3.json"))


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("/", "is a folder"),
        ("/nowhere/r.json", "No such file or directory"),
        ("/dev/null/r.json", "Not a directory"),
        ("x" * 300, "File name too long"),
        ("/proc/r.json", "cannot be written"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_submitted(path, cause):
    """Hours of a quantum processor would be paid for before somebody learns it."""
    with pytest.raises(ConfigError, match=cause) as info:
        to(path).check()

    assert "Nothing was submitted" in str(info.value)


def test_a_check_leaves_nothing_behind(tmp_path):
    """A folder would fill with traces of tasks that never ran."""
    to(tmp_path / "r.json").check()

    assert [] == os.listdir(tmp_path)


@pytest.mark.parametrize("task_id", ["t1", "../t1", "a/b\0c"])
def test_a_result_that_cannot_be_written_is_kept(tmp_path, task_id):
    """Hours of a quantum processor would be lost because a folder went away meanwhile."""
    folder = tmp_path / "gone"
    folder.mkdir()
    output = to(folder / "r.json")
    output.check()
    folder.rmdir()
    with pytest.raises(ResultNotSaved) as info:
        output.save(CONTENT, task_id)

    assert (str(folder / "r.json"), "No such file or directory") == (info.value.output, info.value.cause)
    assert CONTENT == Path(info.value.kept_at).read_bytes()
    assert kept().parent == Path(info.value.kept_at).parent
    assert 0o600 == stat.S_IMODE(Path(info.value.kept_at).stat().st_mode)


def test_a_result_is_kept_in_the_temporary_folder_where_there_is_no_state(tmp_path, monkeypatch):
    """A full home would lose it."""
    monkeypatch.setenv("QRMI_STATE_DIR", "/dev/null")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ResultNotSaved) as info:
        to("/nowhere/r.json").save(CONTENT, "t1")

    assert str(tmp_path / "result-t1.json") == info.value.kept_at
    assert CONTENT == (tmp_path / "result-t1.json").read_bytes()


_LIMITED = """
import resource, sys
from pathlib import Path
from qrmi_core import ResultNotSaved
from qrmi_core.cli.output import Output
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    Output(Path(sys.argv[1])).save(bytes(1000), "t1")
except ResultNotSaved as exc:
    print(exc)
"""


def test_a_result_that_no_file_may_hold_is_left_with_its_resource(tmp_path):
    """A job with a limit of file sizes would end in a traceback, and nobody would know the task's id."""
    done = subprocess.run([sys.executable, "-c", _LIMITED, str(tmp_path / "r")], capture_output=True, text=True)

    assert "" == done.stderr
    assert "File too large" in done.stdout
    assert "kept in the resource alone, as task t1" in done.stdout
    assert [] == os.listdir(tmp_path), "no part of it is left"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100


_PRINTING = "import sys; from qrmi_core.cli.output import Output; Output(None).save(b'{}', 't1')"


def test_a_result_without_an_output_is_one_line_on_standard_output():
    """Two results in a row could not be told apart."""
    done = subprocess.run([sys.executable, "-c", _PRINTING], stdout=subprocess.PIPE)

    assert (0, b"{}\n") == (done.returncode, done.stdout)


@pytest.mark.parametrize("where", ["/dev/full", "closed pipe"])
def test_a_standard_output_that_takes_nothing_leaves_the_result_kept(where):
    """The shell's redirection failed, and the result would be gone."""
    if where == "closed pipe":
        reading, writing = os.pipe()
        os.close(reading)
    else:
        writing = os.open(where, os.O_WRONLY)
    done = subprocess.run([sys.executable, "-c", _PRINTING], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)

    assert 1 == done.returncode
    assert "ResultNotSaved" in done.stderr.splitlines()[-1]
    assert str(kept()) in done.stderr
    assert b"{}" == kept().read_bytes()
    assert "Exception ignored" not in done.stderr


def test_standard_output_by_its_name_in_dev_is_standard_output():
    """A log that standard output is appended to would be replaced by the result."""
    assert Output.of("/dev/stdout", each_task=False) == Output.of(None, each_task=False)


@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}", "/dev//fd/./{}", "{link}"])
@pytest.mark.parametrize("mode", ["ab", "wb"])
def test_a_file_that_is_open_is_added_to_and_not_replaced(tmp_path, name, mode):
    """A log that the shell opened for us would lose its lines, and its readers the file."""
    log = tmp_path / "log"
    log.write_bytes(b"precious\n")
    with log.open(mode) as file:
        (tmp_path / "link").symlink_to(f"/dev/fd/{file.fileno()}")
        before = log.stat().st_ino, log.read_bytes()
        output = to(name.format(file.fileno(), link=tmp_path / "link"))
        output.check()
        output.save(CONTENT, "t1")

    assert (before[0], before[1] + CONTENT) == (log.stat().st_ino, log.read_bytes())


def test_a_pipe_by_its_number_gets_the_result():
    """The shell's `>(command)` would get nothing, and the user an error after the run."""
    reader, writer = os.pipe()
    output = to(f"/dev/fd/{writer}")
    output.check()
    output.save(CONTENT, "t1")
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert CONTENT == file.read()


def test_a_descriptor_that_cannot_be_written_is_refused_before_anything_is_submitted(tmp_path):
    """The task would run, and its result have no place."""
    (tmp_path / "f").touch()
    with (tmp_path / "f").open() as file, pytest.raises(ConfigError, match="for reading only"):
        to(f"/dev/fd/{file.fileno()}").check()
    with pytest.raises(ConfigError, match="Bad file descriptor"):
        to("/dev/fd/9999").check()


def test_the_payload_is_not_overwritten_with_the_result(tmp_path):
    """A word too many would cost the circuit."""
    path = tmp_path / "bell.qasm"
    path.touch()
    (tmp_path / "link").symlink_to(path)
    for output in (path, tmp_path / "link"):
        with pytest.raises(ConfigError, match="is the payload itself"):
            to(output).check(str(path))
