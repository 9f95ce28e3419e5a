"""The relay: a job on another node is who it is, and what it sends goes and comes back whole."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qrmi_broker.voucher import HEADER, Voucher, digest
from qrmi_core import TaskStatus
from qrmi_core.client import Broker, open_brokered
from qrmi_core.errors import AuthorizationRefused

from .daemon import Daemon
from .site import LEASES, Site, script


class TestAJob:
    """What a job on another node does."""

    def test_is_granted_a_lease_and_runs_a_task(self, site, lease):
        """Nodes without a broker could run no task."""
        with open_brokered(site.relay.opening(lease, "fez")) as resource:
            task = resource.task_start(script(mark=1), key="key")

            assert TaskStatus.COMPLETED is resource.task_wait(task, 30).status
            assert {"runs_s": 0, "mark": 1} == json.loads(resource.task_result(task))

    def test_is_told_the_socket_of_its_own_node(self, site, lease):
        """It would look for the broker's socket, where there is none."""
        assert site.relay.public == lease["environment"]["fez_QRMI_BROKER"]
        assert site.relay.public != site.broker.public

    def test_is_the_user_that_it_runs_as(self, site, users):
        """The relay's user would own every task, or a user could see another's."""
        granted = site.relay.ask("fez", job=next(site.jobs), run={"uid": users[0].uid})
        token = granted["environment"]["fez_QRMI_JOB_ACQUISITION_TOKEN"]
        start = ("POST", "/v1/resources/fez/tasks", '{"runs_s": 0}', {"Qrmi-Payload-Kind": "script"})
        try:
            [started] = users[0].ask(site.relay.public, start, token=token)
            path = f"/v1/tasks/{started.facts['id']}"
            [own] = users[0].ask(site.relay.public, ("GET", path))
            stolen, seen = users[1].ask(site.relay.public, start, ("GET", path), token=token)

            assert [201, 200, 403, 404] == [one.status for one in (started, own, stolen, seen)]
        finally:
            site.relay.release(granted["id"])

    def test_cannot_say_itself_who_it_is(self, site, users):
        """A user could send the relay's header and be anybody, the administrator included."""
        task = self._task_of_root(site)
        claims = Voucher(uid=0, is_admin=True, request=digest("GET", task, 0), socket_path="/run/x.sock")
        own = site.there.encoded_by(users[1].uid, claims.to_bytes())
        root = site.credential("GET", task)
        asked = [
            ("GET", task, None, headers)
            for headers in (
                {HEADER: own},
                {HEADER: root},
                {HEADER.lower(): root},
                {HEADER: root, "Connection": f"keep-alive, {HEADER}"},
                {"Connection": "Content-Length"},
            )
        ]

        assert {404} == {one.status for one in users[1].ask(site.relay.public, *asked)}
        assert 401 == site.directly("GET", task, own)[0]
        assert 200 == site.directly("GET", task, root)[0]  # and it was not used up: it never went on

    @staticmethod
    def _task_of_root(site: Site) -> str:
        granted = site.relay.ask("fez", job=next(site.jobs))
        with open_brokered(site.relay.opening(granted, "fez")) as resource:
            task = resource.task_start(script(), key="of root")
            resource.task_wait(task, 30)
        site.relay.release(granted["id"])
        return f"/v1/tasks/{task}"

    def test_reaches_nothing_of_the_administrators(self, site, users):
        """A job could give itself a lease, or end another's."""
        for path in (LEASES, "/v1/health", "/v1/usage", "/metrics"):
            with pytest.raises(AuthorizationRefused, match=r"admin\.sock"):
                Broker(site.relay.public).ask("GET", path)
        [there] = users[0].ask(str(site.folder / "relay" / "run" / "admin.sock"), ("GET", LEASES))

        assert 0 == there.status
        assert 404 == site.directly("GET", LEASES, site.credential("GET", LEASES, is_admin=False))[0]

    def test_of_an_administrator_reaches_it(self, site):
        """Slurm's plugin on a compute node could ask for no lease."""
        assert isinstance(site.relay.leases(), list)
        assert 200 == site.directly("GET", LEASES, site.credential("GET", LEASES))[0]


class TestContent:
    """What is passed on."""

    def test_of_20_mb_goes_and_comes_back_whole_and_is_not_held_in_memory(self, site, lease):
        """A payload would be cut, changed or refused; or a hundred users would fill a node's memory."""
        sent = script(pad="x" * 20_000_000)
        with open_brokered(site.relay.opening(lease, "fez")) as resource:
            before_kb = self._peak_kb(site)
            task = resource.task_start(sent, key="large")
            resource.task_wait(task, 60)

            assert sent.read() == resource.task_result(task)
        assert self._peak_kb(site) - before_kb < 10_000

    @staticmethod
    def _peak_kb(site: Site) -> int:
        return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{site.relay.process.pid}/status").read_text())[1])

    def test_that_is_refused_unread_is_said_to_be_refused(self, site):
        """A job without a lease would read that the connection broke, and try for ever."""
        headers = {"Content-Length": "20000000", "Qrmi-Payload-Kind": "script"}
        for daemon in (site.relay, site.broker):
            with pytest.raises(AuthorizationRefused):
                Broker(daemon.public).ask("POST", "/v1/resources/fez/tasks", body=bytes(20_000_000), headers=headers)

    def test_of_unknown_length_is_passed_on(self, site, lease):
        """A client that sends in chunks would be refused."""
        token = lease["environment"]["fez_QRMI_JOB_ACQUISITION_TOKEN"]
        headers = {"Qrmi-Payload-Kind": "script", "Authorization": f"Bearer {token}"}
        connection = Broker(site.relay.public).connection()
        connection.request(
            "POST", "/v1/resources/fez/tasks", body=iter([b'{"runs_s"', b": 0}"]), headers=headers, encode_chunked=True
        )

        assert 201 == connection.getresponse().status
        connection.close()

    def test_that_is_compressed_goes_as_it_is(self, site, lease):
        """Its length would be another one than was announced."""
        token = lease["environment"]["fez_QRMI_JOB_ACQUISITION_TOKEN"]
        headers = {"Qrmi-Payload-Kind": "script", "Content-Encoding": "gzip", "Authorization": f"Bearer {token}"}
        content = gzip.compress(script(pad="x" * 10_000).read())

        assert b"id" in Broker(site.relay.public).ask("POST", "/v1/resources/fez/tasks", body=content, headers=headers)

    def test_that_breaks_off_is_no_trouble_of_the_brokers(self, site):
        """A user's mistake would be logged as a broker that is down."""
        connection = Broker(site.relay.public).connection()
        connection.putrequest("POST", "/v1/resources/fez/tasks")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders(b"5\r\nhello\r\nno number\r\n")

        assert connection.getresponse().status in (400, 403)
        connection.close()
        assert "broker.unreachable" not in [one["event"] for one in site.relay.events]

    def test_that_nobody_waits_for_any_more_is_not_waited_for(self, site, lease):
        """A user could hold any number of the broker's connections, by asking and going away."""
        with open_brokered(site.relay.opening(lease, "fez")) as resource:
            task = resource.task_start(script(runs_s=60), key="long")
            waiting = [Broker(site.relay.public).connection() for _ in range(30)]
            for one in waiting:
                one.request("GET", f"/v1/tasks/{task}?wait_s=30")
            _until(lambda: self._connections(site) >= 30)
            for one in waiting:
                one.close()
            _until(lambda: self._connections(site) < 10)
            resource.task_stop(task)

    @staticmethod
    def _connections(site: Site) -> int:
        """To the broker, from anywhere."""
        rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
        return sum(row.split()[2].endswith(f":{site.port:04X}") and row.split()[3] == "01" for row in rows)

    @pytest.mark.parametrize("method", ["HEAD", "PUT", "PATCH", "OPTIONS"])
    def test_has_the_same_status_for_every_method(self, site, method):
        """A method that only one of them knows could slip through."""
        here, there = (self._bare(daemon, "/v1/resources", method) for daemon in (site.broker, site.relay))

        assert here[0] == there[0]

    @pytest.mark.parametrize(
        "path", ["/v1/resources/a%2Fb?x=%20+%C3%A9", "/v1/resources/%E2%82%AC", "//x/../y?", "/?#"]
    )
    def test_has_the_same_answer_as_at_the_broker(self, site, path):
        """A path would be read differently on the way, and another resource be meant."""
        here, there = (self._bare(daemon, path) for daemon in (site.broker, site.relay))

        assert here == there

    @staticmethod
    def _bare(daemon: Daemon, path: str, method: str = "GET") -> tuple[int, bytes]:
        connection = Broker(daemon.public).connection()
        connection.request(method, path)
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found


def _until(is_so: Callable[[], bool], deadline_s: float = 10.0) -> None:
    deadline = time.monotonic() + deadline_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)
