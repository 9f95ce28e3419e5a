"""The relay: whoever asks it is who he is, what it says is believed once, and a broker that is gone comes back."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from qrmi_broker.voucher import HEADER, Voucher, digest
from qrmi_core import BrokerUnavailable, Payload, TaskStatus
from qrmi_core.client import Broker, open_brokered
from qrmi_core.errors import AuthorizationRefused, UnexpectedReply

from .daemon import BIN, INSTALLED, KEY, Daemon, fake, short_folder
from .munged import Munged, running
from .site import Site

_LIST = "/v1/leases"
_JOBS = itertools.count(1)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A broker and a relay that no test stops."""
    with short_folder() as name:
        Path(name).chmod(0o755)
        site = Site(Path(name))
        with running(site.here, site.there):
            try:
                yield site.start()
            finally:
                site.stop()
                assert [] == [one for one in site.broker.events + site.relay.events if one["event"] == "request.failed"]


@pytest.fixture
def own_site(folder) -> Iterator[Site]:
    """The same for one test, which starts it."""
    site = Site(folder)
    with running(site.here, site.there):
        try:
            yield site
        finally:
            site.stop()


@pytest.fixture
def lease(site) -> Iterator[dict[str, Any]]:
    """A lease of root's job on `fez`, asked for through the relay."""
    granted = site.relay.ask("fez", job=next(_JOBS))
    yield granted
    site.relay.release(granted["id"])


def script(**facts: object) -> Payload:
    """What the fake vendor executes."""
    return Payload.from_json("script", {"runs_s": 0, **facts})


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
        granted = site.relay.ask("fez", job=next(_JOBS), run={"uid": users[0].uid})
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
        granted = site.relay.ask("fez", job=next(_JOBS))
        with open_brokered(site.relay.opening(granted, "fez")) as resource:
            task = resource.task_start(script(), key="of root")
            resource.task_wait(task, 30)
        site.relay.release(granted["id"])
        return f"/v1/tasks/{task}"

    def test_reaches_nothing_of_the_administrators(self, site, users):
        """A job could give itself a lease, or end another's."""
        for path in (_LIST, "/v1/health", "/v1/usage", "/metrics"):
            with pytest.raises(UnexpectedReply):
                Broker(site.relay.public).ask("GET", path)
        [there] = users[0].ask(str(site.folder / "relay" / "run" / "admin.sock"), ("GET", _LIST))

        assert 0 == there.status
        assert 404 == site.directly("GET", _LIST, site.credential("GET", _LIST, is_admin=False))[0]

    def test_of_an_administrator_reaches_it(self, site):
        """Slurm's plugin on a compute node could ask for no lease."""
        assert isinstance(site.relay.leases(), list)
        assert 200 == site.directly("GET", _LIST, site.credential("GET", _LIST))[0]


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


class TestACredential:
    """What the broker believes."""

    def test_is_believed_once(self, site):
        """Who recorded a request could send it again."""
        credential = site.credential("GET", _LIST)

        assert 200 == site.directly("GET", _LIST, credential)[0]
        status, document = site.directly("GET", _LIST, credential)
        assert 401 == status
        assert "Replayed credential" in document["message"]

    @pytest.mark.parametrize(("clock", "expected"), [("-30m", "Expired"), ("+30m", "Rewound")])
    def test_of_another_time_is_refused(self, site, clock, expected):
        """One that was kept, or made for later, would be believed."""
        other = Munged(site.folder / "munge", "other", clock=clock)
        with running(other):
            credential = site.credential("GET", _LIST, munge=other.socket)
        status, document = site.directly("GET", _LIST, credential)

        assert 401 == status
        assert f"{expected} credential" in document["message"]

    @pytest.mark.parametrize(
        ("method", "target", "body"),
        [
            ("GET", "/v1/leases?x=1", None),
            ("GET", "/v1/usage", None),
            ("POST", "/v1/leases", b""),
            ("GET", "/v1/leases", b"{}"),
            ("GET", "/v1/%6ceases", None),
        ],
    )
    def test_is_of_one_request(self, site, method, target, body):
        """It could be put on another path, method or content."""
        status, document = site.directly(method, target, site.credential("GET", _LIST), body=body)

        assert 401 == status
        assert "another request" in document["message"]

    def test_of_a_user_is_refused(self, site, users):
        """Every user of the cluster can make credentials, and could vouch for himself."""
        voucher = Voucher(uid=0, is_admin=True, request=digest("GET", _LIST, 0), socket_path="/run/x.sock")
        status, document = site.directly("GET", _LIST, site.there.encoded_by(users[0].uid, voucher.to_bytes()))

        assert 401 == status
        assert f"user {users[0].uid}, who is no relay" in document["message"]

    @pytest.mark.parametrize("payload", [b"", b"null", b"{}", b'{"qrmi_relay": {"uid": 0}}', b"\xff", b"[" * 5000])
    def test_of_root_about_something_else_is_refused(self, site, payload):
        """What root's other programs encode, Slurm's among them, could be taken for a voucher."""
        credential = site.there.encoded_by(0, payload)

        assert 401 == site.directly("GET", _LIST, credential)[0]

    @pytest.mark.parametrize("facts", [{"uid": -1}, {"socket_path": "run/x"}, {"socket_path": "/a\nb"}, {"version": 2}])
    def test_that_says_what_no_relay_says_is_refused(self, site, facts):
        """A job could be told a socket that is none."""
        assert 401 == site.directly("GET", _LIST, site.credential("GET", _LIST, **facts))[0]

    def test_is_needed_and_only_one(self, site):
        """Whoever reaches the port would be let in."""
        two = [site.credential("GET", _LIST) for _ in range(2)]

        assert 401 == site.directly("GET", _LIST)[0]
        assert 401 == site.directly("GET", _LIST, *two)[0]
        assert 401 == site.directly("GET", "/metrics", "MUNGE:AAAA:")[0]

    def test_and_a_token_are_in_no_log(self, own_site):
        """Who reads the log could use them."""
        own_site.broker.start(QRMI_LOG_LEVEL="debug")
        own_site.relay.start(QRMI_LOG_LEVEL="debug")
        credential = own_site.credential("GET", _LIST)
        granted = own_site.relay.ask("fez")
        token = granted["environment"]["fez_QRMI_JOB_ACQUISITION_TOKEN"]
        with open_brokered(own_site.relay.opening(granted, "fez")) as resource:
            resource.task_start(script(), key="key")
        for _ in range(2):
            own_site.directly("GET", _LIST, credential, headers={"Authorization": f"Bearer {token}"})
        for mistake in (f"Author ization: Bearer {token}", f"{HEADER}: {credential}\x01", f"{token}{credential}"):
            self._say(own_site, f"GET {_LIST} HTTP/1.1\r\n{mistake}\r\n\r\n".encode())
        own_site.stop()
        words = own_site.broker.words + own_site.relay.words

        assert "request.refused" in words
        assert [] == [one for one in (token, token.partition(".")[2], "MUNGE:", credential[6:46], KEY) if one in words]

    @staticmethod
    def _say(site: Site, words: bytes) -> None:
        """At every door."""
        tls = ssl.create_default_context(cafile=str(site.folder / "ca.pem"))
        bare = socket.create_connection(("localhost", site.port), timeout=20)
        doors = [tls.wrap_socket(bare, server_hostname="localhost")]
        for daemon in (site.broker, site.relay):
            doors.append(socket.socket(socket.AF_UNIX))
            doors[-1].connect(daemon.public)
        for door in doors:
            with door:
                door.sendall(words)
                assert b" 400 " in door.recv(1000)

    def test_of_the_relays_user_is_believed_where_it_is_named(self, own_site, users):
        """A site could not run its relays as a user of their own."""
        own_site.broker.start("--relay-user", users[0].name)
        voucher = Voucher(uid=0, is_admin=True, request=digest("GET", _LIST, 0), socket_path="/run/x.sock")
        statuses = [
            own_site.directly("GET", _LIST, own_site.there.encoded_by(uid, voucher.to_bytes()))[0]
            for uid in (users[0].uid, 0, users[1].uid)
        ]

        assert [200, 200, 401] == statuses


class TestTrouble:
    """What goes wrong between the two."""

    def test_of_a_broker_that_starts_again_is_over_then(self, own_site):
        """A relay would have to be restarted after its broker, on every node."""
        own_site.start()
        granted = own_site.relay.ask("fez")
        with open_brokered(own_site.relay.opening(granted, "fez")) as resource:
            first = resource.task_start(script(), key="one")
            for end in (own_site.broker.kill, own_site.broker.stop):
                end()
                own_site.broker.start()
                resource.task_start(script(), key=f"after {end.__name__}")
                assert TaskStatus.COMPLETED is resource.task_wait(first, 30).status
        assert [granted["id"]] == [one["id"] for one in own_site.relay.leases()]

    @pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
    def test_of_a_broker_that_is_gone_is_said_within_5_s(self, own_site, how):
        """A job would wait for ever, or read of something else."""
        own_site.broker.start()
        own_site.broker.process.send_signal(how)
        _start_unready(own_site.relay)
        started = time.monotonic()
        try:
            with pytest.raises(BrokerUnavailable, match="cannot be reached"):
                Broker(own_site.relay.public).ask("GET", "/v1/resources")
            assert time.monotonic() - started < 5
        finally:
            own_site.broker.process.send_signal(signal.SIGCONT)

    def test_of_a_broker_that_dies_in_the_middle_is_said_within_5_s(self, own_site):
        """Who waits for a task would go on waiting for a broker that is no more."""
        own_site.start()
        granted = own_site.relay.ask("fez")
        with open_brokered(own_site.relay.opening(granted, "fez")) as resource:
            task = resource.task_start(script(runs_s=60), key="long")
            with pytest.raises(BrokerUnavailable):
                _while_waiting(resource, task, own_site.broker.kill)
        assert "broker.unreachable" in [one["event"] for one in own_site.relay.events]

    def test_with_munge_on_the_node_is_said(self, own_site):
        """It would look like the broker's fault, and the wrong machine be searched."""
        own_site.start()
        own_site.there.stop()
        started = time.monotonic()
        with pytest.raises(BrokerUnavailable, match="munged on this node"):
            own_site.relay.admin().ask("GET", _LIST)
        assert time.monotonic() - started < 5

        own_site.there.start()
        assert [] == own_site.relay.leases()

    def test_with_a_munge_that_hangs_is_said_within_5_s(self, own_site):
        """Every job of the node would hang with it."""
        own_site.start()
        own_site.there.process.send_signal(signal.SIGSTOP)
        started = time.monotonic()
        try:
            with pytest.raises(BrokerUnavailable, match="munged on this node"):
                own_site.relay.admin().ask("GET", _LIST)
            assert time.monotonic() - started < 5
        finally:
            own_site.there.process.send_signal(signal.SIGCONT)

    def test_with_munge_at_the_broker_is_said(self, own_site):
        """The relay would be taken for an intruder."""
        own_site.start()
        own_site.here.stop()
        with pytest.raises(BrokerUnavailable, match="cannot ask munged on its host"):
            own_site.relay.admin().ask("GET", _LIST)

        own_site.here.start()
        assert [] == own_site.relay.leases()

    def test_with_the_clock_of_a_node_is_said(self, own_site):
        """The jobs of a node whose clock is wrong would be refused for no reason they can tell."""
        own_site.there = Munged(own_site.folder / "munge", "late", clock="-30m")
        own_site.relay.options["munge-socket"] = own_site.there.socket
        with running(own_site.there):
            own_site.broker.start()
            _start_unready(own_site.relay)
            with pytest.raises(BrokerUnavailable, match=r"does not accept this node's relay.*Expired credential"):
                own_site.relay.admin().ask("GET", _LIST)

    @pytest.mark.parametrize(("host", "authority"), [("localhost", "other.pem"), ("elsewhere.example.org", "ca.pem")])
    def test_with_the_certificate_ends_before_anything_is_sent(self, folder, host, authority):
        """Whoever takes the broker's address would be told the users' tokens."""
        site = Site(folder, host=host)
        site.relay.options["tls-ca"] = str(folder / authority)
        with running(site.here, site.there):
            try:
                site.broker.start()
                _start_unready(site.relay)
                with pytest.raises(BrokerUnavailable, match="its certificate"):
                    site.relay.admin().ask("GET", _LIST)
            finally:
                site.stop()


class TestTheDoor:
    """The broker's TCP port."""

    def test_cuts_off_who_says_nothing(self, site):
        """Strangers could hold so many connections that no relay finds one."""
        context = ssl.create_default_context(cafile=str(site.folder / "ca.pem"))
        bare = socket.create_connection(("localhost", site.port), timeout=20)
        with bare, context.wrap_socket(bare, server_hostname="localhost") as connection:
            assert b"" == _rest(connection)

    def test_speaks_nothing_but_tls(self, site):
        """Tokens would go over the network as they are."""
        with socket.create_connection(("localhost", site.port), timeout=20) as bare:
            bare.sendall(b"GET /v1/resources HTTP/1.1\r\nHost: x\r\n\r\n")

            assert b"HTTP" not in bare.recv(1000)

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (lambda site: (site.folder / "broker.key").chmod(0o640), r"broker\.key: is open to others\. chmod 600 "),
            (
                lambda site: (site.folder / "broker.pem").chmod(0o646),
                r"broker\.pem: can be changed by others\. chmod 644",
            ),
            (lambda site: (site.folder / "broker.key").write_text("no key"), r"broker\.pem: cannot be used with"),
            (lambda site: site.broker.options.pop("tls-key"), r"needs --tls-cert and --tls-key"),
            (lambda site: site.broker.options.update(listen="nothing"), r"'nothing' is no address"),
            (lambda site: site.broker.options.update({"relay-user": "nobody-here"}), r"no user 'nobody-here'"),
            (lambda site: site.broker.options.update({"relay": "a:1"}), r"--relay: cannot be given with --listen"),
        ],
    )
    def test_stays_shut_where_something_must_be_mended_first(self, folder, change, expected):
        """The broker would serve with a key that others can read, or nobody, and say nothing."""
        site = Site(folder)
        change(site)

        with pytest.raises(AssertionError, match=rf"ended with 2: (?s:.*){expected}"):
            site.broker.start()
        site.stop()
        assert not (folder / "broker" / "run" / "qrmi.sock").exists()

    def test_says_that_its_port_is_taken(self, site, folder):
        """The broker would end with a traceback."""
        second = Daemon(folder, [fake(folder / "service")], **{**site.broker.options})

        with pytest.raises(AssertionError, match=rf"ended with 2: (?s:.*)--listen: 127\.0\.0\.1:{site.port}: "):
            second.start()


def test_a_relay_needs_neither_configuration_nor_state(site):
    """Credentials would have to lie on every node."""
    words = [str(BIN / "qrmid"), "--relay", f"localhost:{site.port}", "--run-dir", "/nonexistent"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)

    assert 2 == done.returncode
    assert "/nonexistent: cannot be used: No such file or directory" in done.stderr


def test_one_run_folder_has_one_relay(site):
    """The second would take the first one's sockets away."""
    second = Daemon(site.folder / "relay", [], **site.relay.options)

    with pytest.raises(AssertionError, match="is held by another qrmid"):
        _start_and_end(second)
    assert "uptime_s" in site.relay.admin().ask_json("GET", "/v1/health")


def _start_and_end(daemon: Daemon) -> None:
    """Start what is expected to end; `Daemon.start` would believe the answers of the other one."""
    _start_unready(daemon, until_it_listens=False)
    status = daemon.process.wait(30)
    raise AssertionError(f"qrmid ended with {status}: {daemon.words[-2000:]}")


def _start_unready(daemon: Daemon, *, until_it_listens: bool = True) -> None:
    """Start a relay whose broker does not answer."""
    known = [word for name, value in daemon.options.items() for word in (f"--{name}", value)]
    with daemon.log.open("ab") as log:
        daemon.process = subprocess.Popen(
            [str(BIN / "qrmid"), "--run-dir", str(daemon.folder / "run"), *known],
            env={**os.environ, "PYTHONPATH": str(INSTALLED)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + 30
    while until_it_listens and not os.path.exists(daemon.public):
        assert daemon.process.poll() is None, daemon.words
        assert time.monotonic() < deadline, daemon.words
        time.sleep(0.01)


def _until(is_so: Callable[[], bool], deadline_s: float = 10.0) -> None:
    deadline = time.monotonic() + deadline_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _while_waiting(resource: Any, task: str, then: Any) -> None:
    """Do *then* while a long poll is under way; what it raises must come within 5 s of that."""
    import threading

    began: list[float] = []

    def soon() -> None:
        time.sleep(0.5)
        began.append(time.monotonic())
        then()

    worker = threading.Thread(target=soon)
    worker.start()
    try:
        resource.task_wait(task, 25)
    finally:
        worker.join()
        assert time.monotonic() - began[0] < 5


def _rest(connection: socket.socket) -> bytes:
    """What comes until the other side ends the connection, whether it says so or not."""
    with suppress(ConnectionError, ssl.SSLError):
        return connection.recv(1)
    return b""
