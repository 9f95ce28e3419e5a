"""A lease that is asked for with ``watch=1`` ends with the process that asked, and by nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from qrmi_core import QrmiError

from .daemon import vendor_log
from .munged import running
from .site import Site
from .watch import until

_ASK = """
import sys, http.client, socket
path, target, body = sys.argv[1:]
class Local(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
asked = Local("qrmid")
asked.request("POST", target, body=body.encode(), headers={"Accept": "text/plain"})
print(asked.getresponse().read().decode().partition(chr(10))[0], flush=True)
asked.close()
sys.stdin.read()
"""


@contextmanager
def asking(daemon, target: str, job: int = 1, program: str = _ASK):
    """A process that asks for a lease of *job*, closes its connection, and lives until it is killed."""
    run = {"uid": os.getuid(), "cluster": "c", "job_id": str(job), "start_time": 1}
    body = json.dumps({"run": run, "resources": [{"name": "fez"}]})
    words = [sys.executable, "-c", program, str(daemon.folder / "run" / "admin.sock"), target, body]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline().startswith("lease ")
            yield process
        finally:
            process.kill()


def closed(folder, within_s: float = 5.0) -> int:
    """How many sessions the vendor has closed, once there is one or *within_s* is over."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if found := [one for one in vendor_log(folder) if one["event"] == "session.closed"]:
            return len(found)
        time.sleep(0.02)
    return 0


def until_forgotten(daemon) -> None:
    """What was told is not told again at each start."""
    deadline = time.monotonic() + 5.0
    while any((daemon.folder / "run" / "watched").iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_lease_ends_with_the_process_that_asked_for_it(daemon, folder):
    """A batch step that was killed holds its lane until somebody notices, a minute later."""
    with asking(daemon, "/v1/leases?watch=1") as process:
        process.kill()
        process.wait()

        assert 1 == closed(folder / "service")
    daemon.stop()  # and so it has said all that it has to say
    reasons = [one["reason"] for one in daemon.events if one["event"] == "lease.released"]
    assert ["its batch step died"] == reasons


_CHILD = """
import os, subprocess, sys
path, target, body = sys.argv[1:]
child = "import os, sys; target = sys.argv[3].format(own=os.getpid(), parent=os.getppid());"
child += "sys.argv[1:] = [sys.argv[2], target, sys.argv[4]]; sys.stdin = open(os.devnull); exec(%r)"
subprocess.run([sys.executable, "-c", child % ASK, "-", path, target, body])
sys.stdin.read()
"""


@pytest.mark.parametrize("words", ["{own}:{parent}", "1:{parent}"], ids=["told", "of another namespace"])
def test_a_lease_ends_with_the_parent_of_who_asked_for_it(daemon, folder, words):
    """The plugin asks by a child: its end ended the lease; or a number that means another process here did."""
    with asking(daemon, f"/v1/leases?watch={words}", program=f"ASK = {_ASK!r}\n{_CHILD}") as process:
        assert 0 == closed(folder / "service", within_s=1.0)
        process.kill()
        process.wait()

        assert ("own" in words) == closed(folder / "service", within_s=2.0)


def test_a_process_that_cannot_be_meant_is_refused(daemon):
    """Who errs in it would have a lease that nobody watches, and not know."""
    with pytest.raises(QrmiError, match="neither 1 nor PID:PARENT"):
        daemon.admin().ask("POST", "/v1/leases?watch=me", body=b"{}")


def test_without_the_flag_the_process_may_go(daemon, folder):
    """A lease that the first step of an interactive job took ends with that step."""
    with asking(daemon, "/v1/leases") as process:
        process.kill()
        process.wait()

        assert 0 == closed(folder / "service", within_s=1.0)


def test_a_process_that_lives_keeps_its_lease(daemon, folder):
    """Watching ends leases of the living."""
    with asking(daemon, "/v1/leases?watch=1"):
        assert 0 == closed(folder / "service", within_s=1.0)


def test_a_daemon_that_starts_again_watches_on(daemon, folder):
    """A crash of the broker between a job's start and its slurmstepd's death costs the lane half a minute."""
    with asking(daemon, "/v1/leases?watch=1") as process:
        daemon.kill()
        daemon.start()
        assert 0 == closed(folder / "service", within_s=1.0)
        process.kill()
        process.wait()

        assert 1 == closed(folder / "service")
    until_forgotten(daemon)


def test_a_death_that_nobody_saw_is_noticed_at_the_next_start(daemon, folder):
    """Whatever dies while the broker is restarted keeps its lane."""
    with asking(daemon, "/v1/leases?watch=1") as process:
        daemon.stop()
        process.kill()
        process.wait()
    daemon.start()

    assert 1 == closed(folder / "service")
    until_forgotten(daemon)


@pytest.mark.parametrize(
    ("what", "by", "count"),
    [
        (r" \d+ ", " 1 ", 1),
        (r" \d+ ", " hidden ", 0),
        (r" \d+$", " 1", 0),
        (r"^\d+", "999999999999999999999", 0),
        (r".*", "", 0),
    ],
    ids=["used again", "not shown", "another namespace", "no number", "full disk"],
)
def test_only_a_process_that_has_ended_ends_a_lease(daemon, folder, what, by, count):
    """A job that lives loses its lease at a restart; or a stranger with the number of a dead one keeps it."""
    with asking(daemon, "/v1/leases?watch=1"):
        daemon.stop()
        (path,) = (daemon.folder / "run" / "watched").iterdir()
        path.write_text(re.sub(what, by, path.read_text(), count=1, flags=re.MULTILINE))
        daemon.start()

        assert count == closed(folder / "service", within_s=5.0 if count else 1.0)


@pytest.fixture
def site(folder):
    """A broker and a relay that run."""
    site = Site(folder)
    with running(site.here, site.there):
        try:
            yield site.start()
        finally:
            site.stop()


def test_a_relay_watches_for_the_broker(site):
    """The broker cannot see the processes of other nodes, so their leases outlive them."""
    with asking(site.relay, "/v1/leases?watch=1") as process:
        process.kill()
        process.wait()

        assert 1 == closed(site.service)


def test_a_relay_that_starts_again_watches_on(site):
    """The leases of a node outlive their processes as soon as its relay was restarted."""
    with asking(site.relay, "/v1/leases?watch=1") as process:
        site.relay.kill()
        site.relay.start()
        process.kill()
        process.wait()

        assert 1 == closed(site.service)


_IN_VAIN = _ASK.replace("print(asked.getresponse", "print('lease of nobody', flush=True)\nprint(asked.getresponse")


def test_who_dies_before_the_answer_holds_no_lease(site):
    """A relay forgot whom it asked for, and the broker gave a lease to the dead."""
    holder = site.broker.ask({"name": "fez", "exclusive": True}, job=7)
    with asking(site.relay, "/v1/leases?watch=1", program=_IN_VAIN) as process:
        until(lambda: 2 == len(site.broker.leases()))
        process.kill()
        process.wait()
        until(lambda: 1 == len(site.broker.leases()))
    site.broker.release(holder["id"])
