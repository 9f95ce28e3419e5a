"""The door to a vendor's service, against one that misbehaves."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback
import tracemalloc
from contextlib import suppress
from email.utils import formatdate

import pytest
from broker.site import certificates
from core.service import Service, cut_off, cut_off_in_chunks, dripping, hanging_up, saying, silent

from qrmi_core import (
    AuthenticationFailed,
    OutcomeUnknown,
    Payload,
    RequestRefused,
    ResourceUnavailable,
    UnexpectedReply,
)
from qrmi_core.bearer import Bearer, Token
from qrmi_core.door import Body, Door

DRIPS = {
    "headers": dripping(b"HTTP/1.1 200 OK\r\nX-Slow: "),
    "body": dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
    "chunks": dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n"),
    "until closed": dripping(b"HTTP/1.1 200 OK\r\n\r\n"),
}
LOST = {"no answer": hanging_up, "cut off": cut_off, "cut off in chunks": cut_off_in_chunks}


@pytest.fixture
def service():
    """A server thread; its script is to be set."""
    with Service() as service:
        threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield service
        service.ended.set()
        service.shutdown()


@pytest.fixture
def door(service, clock):
    """To that service, on a clock that stands still while it pauses."""
    door = Door("fez", service.url, clock=clock)
    yield door
    door.close()


def paths(service):
    return [f"{one.method} {one.path}" for one in service.requests]


# -- what is asked, and answered


def test_a_question_is_sent_and_answered(service, door):
    """Method, path, query and headers arrive; status, headers and JSON come back."""
    service.script = [saying(200, b'{"jobs": []}', X_Trace="t-1")]
    reply = door.ask("GET", "/v1/jobs", query={"limit": "10", "q": "a b&c"}, headers={"X-One": "1"})

    assert (200, {"jobs": []}, "t-1") == (reply.status, reply.json(), reply.headers["x-trace"])
    assert ["GET /v1/jobs?limit=10&q=a+b%26c"] == paths(service)
    assert "1" == service.requests[0].headers["X-One"]


def test_a_connection_is_used_again(service, door):
    """A task that is asked for a hundred times costs one TLS handshake, not a hundred."""
    for _ in range(3):
        door.ask("GET", "/")

    assert 1 == len({one.client for one in service.requests})


def test_a_payload_in_a_file_is_sent_as_it_is(service, door, tmp_path):
    """A large payload goes out piece by piece, again from its start when it is sent again."""
    content = os.urandom(3_000_000)
    path = tmp_path / "payload"
    path.write_bytes(content)
    payload = Payload.from_file("x", path)
    service.script = [saying(503), saying(204)]
    door.ask("PUT", "/object", body=Body(payload.open, payload.size_bytes))

    assert [content, content] == [one.body for one in service.requests]


def test_a_large_answer_is_held_once(service, door):
    """A result of 100 MB must not take 300 MB of the broker's memory."""
    size = 20_000_000
    content = bytes(size)
    service.script = [saying(200, content)]
    door.ask("GET", "/warm")
    tracemalloc.start()
    try:
        assert size == len(door.ask("GET", "/result").content)
        assert tracemalloc.get_traced_memory()[1] < 1.5 * size
    finally:
        tracemalloc.stop()


def test_a_child_process_has_connections_of_its_own(service, door):
    """Two processes that speak on one connection read each other's answers."""
    door.ask("GET", "/parent")
    child = os.fork()
    if not child:
        status = 1
        try:
            door.ask("GET", "/child")
            status = 0
        finally:
            os._exit(status)

    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert 2 == len({one.client for one in service.requests})


def test_the_core_needs_no_http_library_until_a_request_is_sent():
    """A resource that is only configured, or listed, costs no import of urllib3."""
    code = "import sys; from qrmi_core.door import Door; Door('a', 'http://b'); sys.exit('urllib3' in sys.modules)"

    assert 0 == subprocess.run([sys.executable, "-c", code]).returncode


# -- what is sent again


@pytest.mark.parametrize("status", [408, 423, 429, 500, 502, 503, 504, 522])
def test_a_passing_trouble_passes(service, door, clock, status):
    """A status that says "not now" is not the end: it is asked again, later each time."""
    service.script = [saying(status), saying(status), saying(200, b"1")]
    began = clock.now

    assert 1 == door.ask("GET", "/").json()
    assert 0.75 <= clock.now - began <= 1.5


@pytest.mark.parametrize("trouble", LOST.values(), ids=LOST)
def test_an_answer_that_was_lost_is_asked_for_again(service, door, trouble):
    """A connection that breaks, or an answer that is cut off, is noticed and not taken for the answer."""
    service.script = [trouble, saying(200, b"1")]

    assert 1 == door.ask("GET", "/").json()


def test_tries_are_bounded(service, door):
    """A service that is down is left alone after some tries, and the error says what it said."""
    service.script = [saying(503, b'{"errors": [{"code": "1000", "message": "closed for lunch"}]}')]
    with pytest.raises(ResourceUnavailable) as info:
        door.ask("GET", "/v1/jobs")

    assert 4 == len(service.requests)
    assert "GET /v1/jobs: 503 closed for lunch (code 1000) (tried 4 times)" == info.value.detail


def test_pauses_differ(service, clock):
    """A thousand jobs that meet the same trouble do not come back at the same moment."""
    service.script = [saying(503)]
    ends = set()
    for _ in range(5):
        began = clock.now
        with pytest.raises(ResourceUnavailable):
            Door("fez", service.url, clock=clock).ask("GET", "/")
        ends.add(clock.now - began)

    assert 5 == len(ends)


@pytest.mark.parametrize("status", [423, 429, 503])
def test_retry_after_is_obeyed(service, door, clock, status):
    """A service that says when to come back is not asked before."""
    service.script = [saying(status, Retry_After="7"), saying(200)]
    began = clock.now
    door.ask("GET", "/")

    assert 7 == clock.now - began


def test_retry_after_may_be_a_date_of_the_services_own_clock(service, door, clock):
    """A date is a moment on the service's clock, which need not be ours."""
    theirs = time.time() + 86_400
    later = formatdate(theirs + 9, usegmt=True)
    service.script = [saying(503, Retry_After=later, Date=formatdate(theirs, usegmt=True)), saying(200)]
    began = clock.now
    door.ask("GET", "/")

    assert 9 == clock.now - began


def test_the_services_clock_is_known(service, door):
    """What is signed for a service has to carry the time there; a clock of ours that is wrong would sign in vain."""
    service.script = [saying(403, Date=formatdate(time.time() - 7200, usegmt=True))]
    with pytest.raises(RequestRefused):
        door.ask("GET", "/")

    assert -7203 < door.ahead_s < -7197


@pytest.mark.parametrize("words", ["soon", "-5", "9" * 400, "Thu, 99 Foo 2020", "1e9"])
def test_a_senseless_retry_after_does_no_harm(service, door, words):
    """It is not obeyed literally, and no exception of a library comes of it."""
    service.script = [saying(503, Retry_After=words), saying(200)]
    with suppress(ResourceUnavailable):
        door.ask("GET", "/")

    assert len(service.requests) <= 2


def test_whoever_is_sent_away_for_long_goes_at_once(service, door, clock):
    """Where Retry-After exceeds what the call may take, waiting for it in vain helps nobody."""
    service.script = [saying(429, Retry_After="3600")]
    began = clock.now
    with pytest.raises(ResourceUnavailable, match="asks to be left alone for 3600 s"):
        door.ask("GET", "/")

    assert (began, 1) == (clock.now, len(service.requests))


# -- what is never sent twice


@pytest.mark.parametrize(
    "trouble", [*LOST.values(), *map(saying, (408, 500, 502, 503, 504))], ids=[*LOST, 408, 500, 502, 503, 504]
)
def test_what_is_not_repeatable_is_never_sent_twice(service, door, trouble):
    """A job that was perhaps accepted is not submitted again: the error says that nobody knows."""
    service.script = [trouble, saying(200, b"{}")]
    with pytest.raises(OutcomeUnknown):
        door.ask("POST", "/jobs", body=Body.json({}))

    assert ["POST /jobs"] == paths(service)


def test_what_is_not_repeatable_is_not_lost_on_a_connection_that_had_ended(service, door):
    """A kept connection may have been closed by the service meanwhile: a submission does not go out on it."""

    def answers_and_forgets(handler):
        handler.answer(200, b"{}")
        handler.close_connection = True  # without a word in the headers

    service.script = [answers_and_forgets, saying(200, b"1")]
    door.ask("GET", "/")

    assert 1 == door.ask("POST", "/jobs", body=Body.json({})).json()


@pytest.mark.parametrize("status", [401, 423, 429])
def test_what_the_service_did_not_begin_is_sent_again(service, clock, status):
    """Too many requests, a lock, or a token that had expired: no job was made, so a second try makes the first one."""
    tokens = iter("ab")
    door = Door("fez", service.url, clock=clock, authorise=Bearer(lambda: Token(next(tokens), 3600), clock))
    service.script = [saying(status), saying(200, b"1")]

    assert 1 == door.ask("POST", "/jobs", body=Body.json({})).json()


def test_where_nobody_listens_nothing_was_done(clock):
    """A refused connection is no doubt: it is tried again, and the error does not speak of doubt."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        began = clock.now
        with pytest.raises(ResourceUnavailable) as info:
            Door("fez", url, clock=clock).ask("POST", "/jobs", body=Body.json({}))

    assert not isinstance(info.value, OutcomeUnknown)
    assert "POST /jobs: Connection refused (tried 4 times)" == info.value.detail
    assert clock.now > began


def test_a_name_that_nobody_knows_is_said(clock):
    """A misspelt endpoint is the commonest fault of a configuration."""
    with pytest.raises(ResourceUnavailable, match="GET /: "):
        Door("fez", "http://no-such-host.invalid", clock=clock).ask("GET", "/")


# -- the deadline


@pytest.mark.parametrize("drip", DRIPS.values(), ids=DRIPS)
def test_a_slow_drip_does_not_outlast_the_deadline(service, drip):
    """Each byte comes in time, and the answer never does."""
    service.script = [drip]
    began = time.monotonic()
    with pytest.raises(ResourceUnavailable, match=r"no whole answer within 0\.5 s"):
        Door("fez", service.url, deadline_s=0.5).ask("GET", "/")

    assert 0.5 <= time.monotonic() - began < 5
    assert 1 == len(service.requests)


def test_a_silent_service_is_asked_again_before_the_deadline(service):
    """One connection that hangs is not all there is."""
    service.script = [silent, saying(200, b"1")]

    assert 1 == Door("fez", service.url, silence_s=0.3).ask("GET", "/").json()


def test_a_service_that_does_not_read_does_not_keep_us(service):
    """An upload that gets stuck ends at the deadline, too."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            Door("fez", url, deadline_s=0.5).ask("POST", "/", body=Body.of(bytes(50_000_000)))

    assert time.monotonic() - began < 5


def test_tls_is_part_of_the_deadline():
    """Something that listens and is silent where TLS was expected does not hang us."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(ResourceUnavailable) as info:
            Door("fez", url, deadline_s=0.5).ask("POST", "/", body=Body.json({}))

    assert not isinstance(info.value, OutcomeUnknown)
    assert time.monotonic() - began < 5


@pytest.fixture
def tls_service(service, tmp_path):
    """The same behind TLS, for `localhost`, and the file of the authority that vouches for it."""
    for name, content in certificates("localhost").items():
        (tmp_path / name).write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "broker.pem", tmp_path / "broker.key")
    service.socket = context.wrap_socket(service.socket, server_side=True)
    return f"https://localhost:{service.server_address[1]}", tmp_path / "ca.pem"


def test_tls_is_spoken_with_an_authority_of_the_site(service, tls_service, monkeypatch):
    """A site's own authority is named as everywhere, by SSL_CERT_FILE; large bodies pass in both directions."""
    url, authority = tls_service
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    content = os.urandom(3_000_000)
    service.script = [saying(200, content)]
    reply = Door("fez", url).ask("POST", "/", body=Body.of(content))

    assert (content, content) == (reply.content, service.requests[0].body)


def test_a_slow_drip_behind_tls_does_not_outlast_the_deadline(service, tls_service, monkeypatch):
    """Encrypted bytes come in time, too, and the answer never does."""
    url, authority = tls_service
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    service.script = [DRIPS["body"]]
    began = time.monotonic()
    with pytest.raises(ResourceUnavailable, match=r"no whole answer within 1 s"):
        Door("fez", url, deadline_s=1.0).ask("GET", "/")

    assert time.monotonic() - began < 5


def test_a_certificate_that_nobody_vouches_for_is_said_at_once(service, tls_service, clock):
    """Trying again makes it no more trustworthy; nothing was sent."""
    url, _ = tls_service
    with pytest.raises(ResourceUnavailable, match=r"TLS: .*certificate") as info:
        Door("fez", url, clock=clock).ask("POST", "/", body=Body.json({}))

    assert not isinstance(info.value, OutcomeUnknown)
    assert [] == service.requests
    assert "tried" not in info.value.detail


def test_a_proxy_of_the_environment_is_used(service, monkeypatch, clock):
    """A login node reaches the vendor through its site's proxy only, and the proxy's refusal is said."""
    service.script = [saying(200, b"1")]
    monkeypatch.setenv("http_proxy", service.url)

    assert 1 == Door("fez", "http://vendor.invalid", clock=clock).ask("GET", "/v1").json()
    assert ["GET http://vendor.invalid/v1"] == paths(service)
    monkeypatch.setenv("no_proxy", "vendor.invalid")
    with pytest.raises(ResourceUnavailable):
        Door("fez", "http://vendor.invalid", clock=clock).ask("GET", "/v1")


def test_tries_and_pauses_together_keep_the_deadline(service, clock):
    """Four tries of 25 s each would be a call of two minutes."""
    service.script = [saying(503)]
    began = clock.now
    with pytest.raises(ResourceUnavailable):
        Door("fez", service.url, clock=clock, deadline_s=2, tries=100).ask("GET", "/")

    assert clock.now - began <= 2


# -- what the service refuses


@pytest.mark.parametrize(
    ("body", "detail", "code", "solution"),
    [
        (
            b'{"status_code": 409, "title": "t", "trace": "x", "errors": [{"code": "1231", "more_info": "u",'
            b' "message": "duplicate job id", "solution": "Take another id"}]}',
            "duplicate job id (code 1231)",
            "1231",
            "Take another id",
        ),
        (
            b'{"errorCode": "BXNIM0415E", "errorMessage": "Unknown key.", "errorDetails": "It was deleted."}',
            "Unknown key.: It was deleted. (code BXNIM0415E)",
            "BXNIM0415E",
            "",
        ),
        (b'{"error": {"message": "no", "code": 7}}', "no (code 7)", "7", ""),
        (b'{"errors": [{"message": "a", "code": "1"}, {"message": "b"}, 3]}', "a; b (code 1)", "1", ""),
        (
            b"<?xml?><Error><Code>NoSuchKey</Code><Message>no key</Message></Error>",
            "no key (code NoSuchKey)",
            "NoSuchKey",
            "",
        ),
        (b'{"detail": "not like this"}', "not like this", "", ""),
        (b'"just words"', "just words", "", ""),
        (b"plain\nwords", "plain words", "", ""),
        (b"", "Conflict", "", ""),
        (b"<html>a proxy</html>", "<html>a proxy</html>", "", ""),
        (b"\xff\xfe{", "\ufffd\ufffd{", "", ""),
        (b'{"errors": 1, "message": [], "code": {}}', '{"errors": 1, "message": [], "code": {}}', "", ""),
    ],
)
def test_a_refusal_shows_what_the_service_said(service, door, body, detail, code, solution):
    """The service's own code, words and remedy reach the user, whatever form they come in."""
    service.script = [saying(409, body)]
    with pytest.raises(RequestRefused) as info:
        door.ask("GET", "/v1/jobs")

    assert (409, f"GET /v1/jobs: 409 {detail}", code, solution) == (
        info.value.status,
        info.value.detail,
        info.value.code,
        info.value.solution,
    )


def test_a_caller_may_deal_with_a_status_itself(service, door, clock):
    """Where 429 means a queue, waiting for its end is the caller's business: it gets the status and Retry-After."""
    service.script = [saying(429, b"full", Retry_After="7")]
    with pytest.raises(RequestRefused) as info:
        door.ask("POST", "/jobs", own={429})

    assert (429, 7.0, 1) == (info.value.status, info.value.retry_after_s, len(service.requests))


@pytest.mark.parametrize(("first", "is_in_doubt"), [(saying(503), True), (saying(429), False), (hanging_up, True)])
def test_a_refusal_says_whether_an_earlier_try_may_have_been_done(service, door, first, is_in_doubt):
    """What was done, and whose repetition is refused, would be taken for what was never done."""
    service.script = [first, saying(403)]
    with pytest.raises(RequestRefused) as info:
        door.ask("POST", "/jobs", is_repeatable=True)

    assert is_in_doubt == info.value.is_in_doubt


def test_a_redirection_is_not_followed(service, door):
    """The credential goes to the service that was configured, and nowhere else."""
    service.script = [saying(307, Location="http://127.0.0.1:1/")]

    with pytest.raises(UnexpectedReply):
        door.ask("GET", "/")


def test_an_endless_answer_is_refused(service, door):
    """An answer that would fill the memory is not read."""
    service.script = [saying(200, bytes(1001))]

    with pytest.raises(UnexpectedReply, match="more than 1,000 bytes"):
        door.ask("GET", "/", most_bytes=1000)


def test_what_is_not_json_is_said(service, door):
    """A proxy's page in place of an answer is named as such."""
    service.script = [saying(200, b"<html>")]

    with pytest.raises(UnexpectedReply, match="GET / answered what is not JSON: '<html>'"):
        door.ask("GET", "/").json()


def test_no_secret_is_in_an_error(service, clock):
    """A service that repeats our token, or a query with a signature, cannot make us show it."""
    secret = "-".join(["canary", "7f3a"])
    door = Door("fez", service.url, clock=clock, authorise=lambda _: {"Authorization": f"Bearer {secret}"})
    service.script = [saying(400, f'{{"message": "Bearer {secret} is strange"}}'.encode())]
    with pytest.raises(RequestRefused) as info:
        door.ask("GET", "/object", query={"signature": secret})
    shown = "".join(traceback.format_exception(info.value)) + repr(vars(info.value)) + repr(door)

    assert secret not in shown
    assert "is strange" in shown


# -- tokens


@pytest.fixture
def tokens():
    """Counts what is fetched."""

    class Tokens:
        def __init__(self):
            self.fetched = 0
            self.error = None
            self.gate = threading.Event()
            self.gate.set()

        def __call__(self):
            self.fetched += 1
            self.gate.wait(10)
            if self.error:
                raise self.error
            return Token(f"t{self.fetched}", 100)

    return Tokens()


def test_a_token_is_fetched_once_for_all_threads(tokens):
    """Two hundred threads that start together ask for one token, not for two hundred."""
    bearer = Bearer(tokens)
    tokens.gate.clear()
    found = []
    threads = [threading.Thread(target=lambda: found.append(bearer())) for _ in range(20)]
    for one in threads:
        one.start()
    tokens.gate.set()
    for one in threads:
        one.join()

    assert [{"Authorization": "Bearer t1"}] * 20 == found
    assert 1 == tokens.fetched


def test_a_token_is_renewed_before_it_expires(tokens, clock):
    """No request goes out with a token that may expire on its way."""
    bearer = Bearer(tokens, clock)
    bearer()
    clock.now += 89
    bearer()
    assert 1 == tokens.fetched
    clock.now += 2

    assert "Bearer t2" == bearer()["Authorization"]


def test_a_refused_token_is_renewed_once_for_all_threads(tokens):
    """The threads whose requests were refused together share the next token."""
    bearer = Bearer(tokens)
    refused = bearer()

    assert {"Bearer t2"} == {bearer(refused)["Authorization"] for _ in range(5)}
    assert 2 == tokens.fetched


def test_an_error_is_everybodys_who_waited_for_the_token(tokens):
    """A hundred threads do not wait for a hundred failures, one after the other; the next to come tries again."""

    class Counting:
        lock, asked = threading.Lock(), 0

        def __enter__(self):
            self.asked += 1
            self.lock.acquire()

        def __exit__(self, *_):
            self.lock.release()

    bearer = Bearer(tokens)
    bearer._lock = counting = Counting()
    tokens.error = AuthenticationFailed("fez", "unknown key")
    tokens.gate.clear()
    errors = []

    def ask():
        try:
            bearer()
        except AuthenticationFailed as exc:
            errors.append(exc)

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for one in threads:
        one.start()
    while counting.asked < 10:
        time.sleep(0.01)
    tokens.gate.set()
    for one in threads:
        one.join()
    assert (10, 1) == (len(errors), tokens.fetched)
    tokens.error = None

    assert "Bearer t2" == bearer()["Authorization"]


def test_a_request_that_was_not_authorised_is_sent_again_once(service, clock, tokens):
    """A token that the service has forgotten is renewed; one that it will never accept is an error with its words."""
    door = Door("fez", service.url, clock=clock, authorise=Bearer(tokens, clock))
    service.script = [saying(401), saying(200, b"1"), saying(401, b'{"errors": [{"code": "1200", "message": "no"}]}')]

    assert 1 == door.ask("GET", "/").json()
    assert ["Bearer t1", "Bearer t2"] == [one.headers["Authorization"] for one in service.requests]
    with pytest.raises(AuthenticationFailed, match=r"GET /jobs: no \(code 1200\)"):
        door.ask("GET", "/jobs")
    assert 4 == len(service.requests)
