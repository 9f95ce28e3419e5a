"""Events on standard error."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

CANARY = "canary-51c0de"


def run(program: str, *, stderr: str | None = None, **environment: str) -> subprocess.CompletedProcess:
    """Run *program* in a process of its own: the configuration of events is the process's."""
    words = [sys.executable, "-c", program]
    if stderr is not None:
        with open(stderr, "w") as file:
            return subprocess.run(words, stdout=subprocess.PIPE, stderr=file, env=environment, text=True)
    return subprocess.run(words, capture_output=True, env=environment, text=True)


LOGGING = """
from qrmi_core import log, redaction
redaction.remember({canary!r})
log.configure({level})
logger = log.logger(resource="fez")
for level in ("debug", "info", "warning", "error"):
    getattr(logger.bind(said=level), level)("task.started", task_id="t1", api_key="x1", words="the key is {canary}")
print("out")
"""


def program(level: str | None = None) -> str:
    return LOGGING.format(canary=CANARY, level="" if level is None else repr(level))


def test_an_event_is_one_line_of_json_with_its_facts():
    """A tool would have to parse prose."""
    done = run(program("error"))
    event = json.loads(done.stderr)

    assert {
        "event": "task.started",
        "level": "error",
        "resource": "fez",
        "said": "error",
        "task_id": "t1",
        "api_key": "[redacted]",
        "words": "the key is [redacted]",
        "at": event["at"],
    } == event
    assert event["at"].endswith("Z")
    assert "out\n" == done.stdout


def test_an_event_does_not_import_what_draws_pictures(tmp_path):
    """A command would take longer wherever rich is installed, or a program lose its own."""
    (tmp_path / "rich").mkdir()
    for name in ("__init__", "traceback", "console"):
        (tmp_path / "rich" / f"{name}.py").write_text("import sys; print('imported', end=' ')\n")
    done = run(program("error") + "import rich\n", PYTHONPATH=str(tmp_path))

    assert ("out\nimported ", 0) == (done.stdout, done.returncode)


@pytest.mark.parametrize(
    ("word", "count"), [("debug", 4), ("INFO", 3), ("", 3), (None, 3), ("warning", 2), ("error", 1)]
)
def test_the_level_comes_from_the_environment(word, count):
    """Nobody could ask for more, or for silence."""
    done = run(program(), **({} if word is None else {"QRMI_LOG_LEVEL": word}))

    assert count == len(done.stderr.splitlines())


def test_a_level_that_is_none_is_refused_with_those_that_are(outcome, monkeypatch):
    """Somebody who asks for silence would get everything."""
    from qrmi_core import ConfigError, log

    monkeypatch.setenv("QRMI_LOG_LEVEL", "quiet\x1b")
    found = outcome(log.configure)

    assert isinstance(found, ConfigError)
    assert "debug, info, warning, error" in str(found)


def test_a_standard_error_that_is_full_harms_nobody():
    """A task would end because nobody could be told how it is."""
    assert "out\n" == run(program(), stderr="/dev/full").stdout


def test_no_event_holds_a_control_character():
    """A vendor's text could drive the user's terminal."""
    done = run("from qrmi_core import log\nlog.configure()\nlog.logger().info('x', reason='\\x1b]0;owned\\x07\\n')")

    assert 1 == len(done.stderr.splitlines())
    assert done.stderr.rstrip("\n").isprintable()


_SDK = """
import logging, threading
from qrmi_core import log, redaction
redaction.remember("s3cr3t/canary+42")
log.configure()
logging.getLogger("sdk").warning("signing with %s", "s3cr3t/canary+42")
def fail():
    raise RuntimeError("bad key s3cr3t/canary+42")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
"""


def test_a_secret_in_the_words_of_a_library_is_masked():
    """A vendor's library would log the key that we gave it."""
    done = subprocess.run([sys.executable, "-c", _SDK], capture_output=True, text=True, check=True)

    assert "signing with [redacted]" in done.stderr
    assert "bad key [redacted]" in done.stderr
    assert "s3cr3t" not in done.stderr
