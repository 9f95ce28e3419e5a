"""Payloads, and the one parser of JSON from outside."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qrmi_core import Payload, PayloadError
from qrmi_core.payload import MOST_BYTES, parse_json, read_all

NUMBERS = st.integers(-(10**29), 10**29) | st.floats(allow_nan=False, allow_infinity=False)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)


def refusal(content: bytes) -> PayloadError:
    with pytest.raises(PayloadError) as info:
        parse_json(content, "p.json")
    assert ("p.json", "$") == (info.value.source, info.value.path)
    return info.value


@given(DOCUMENTS)
def test_what_is_json_comes_through_unchanged(document):
    """A payload would arrive at the vendor as another one."""
    assert document == parse_json(json.dumps(document).encode(), "p.json")
    assert document == Payload.from_json("kind", document).json()


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b"1" * 5000)
@example(b"1e999")
def test_no_bytes_get_anything_but_json_or_our_error_out_of_the_parser(outcome, content):
    """Somebody's broken file would end in a traceback."""
    assert isinstance(outcome(parse_json, content, "p.json"), (PayloadError, dict, list, str, int, float, type(None)))


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_a_number_that_is_not_finite_is_refused(token):
    """It is no JSON; the next parser would refuse it later and elsewhere, or compute with it."""
    assert token in refusal(f'{{"x": [{token}]}}'.encode()).problem


def test_a_member_that_is_there_twice_is_refused():
    """One of two numbers of shots would be taken, silently."""
    assert "'shots'" in refusal(b'{"shots": 1, "shots": 2}').problem


def test_a_number_too_long_to_be_meant_is_refused():
    """Python itself refuses to convert it, with an error that is not ours."""
    assert "5000 digits" in refusal(b"1" * 5000).problem


def test_a_byte_order_mark_is_no_fault():
    """Editors on some systems write one, and nobody sees it."""
    assert {"a": 1} == parse_json(b'\xef\xbb\xbf{"a": 1}', "p.json")


def test_a_fault_is_found_by_its_line_and_column():
    """A file of a thousand lines would have to be read."""
    assert "line 2 column 6" in refusal(b'{\n"a": x}').problem


@pytest.mark.parametrize("document", [math.nan, {"x": math.inf}, {"x": b"bytes"}, "\ud800"])
def test_what_json_has_no_form_for_is_refused(document):
    """It would be written as something that the other side cannot read."""
    with pytest.raises(PayloadError):
        Payload.from_json("kind", document)


def test_a_payload_that_is_nested_too_deeply_is_refused_when_it_is_made():
    """An encoder that runs out of stack is no error of ours."""
    deep: list = []
    for _ in range(200_000):
        deep = [deep]
    with pytest.raises(PayloadError):
        Payload.from_json("kind", deep)


def test_a_payload_is_read_as_often_as_one_likes(tmp_path):
    """A second attempt to send it would send nothing."""
    path = tmp_path / "p.json"
    path.write_bytes(b'{"a": 1}')
    for payload in (Payload.from_bytes("kind", b'{"a": 1}'), Payload.from_file("kind", path)):
        assert 8 == payload.size_bytes
        assert b'{"a": 1}' == payload.read() == payload.read()
        with payload.open() as first, payload.open() as second:
            assert b'{"a": 1}' == first.read() == second.read()
        assert {"a": 1} == payload.json()


def test_the_content_is_not_in_the_repr():
    """A log would hold megabytes of somebody's research."""
    assert "canary-content" not in repr(Payload.from_bytes("kind", b"canary-content"))


def test_a_stream_without_end_is_refused():
    """A device that was named by mistake would fill the memory."""
    with open("/dev/zero", "rb") as endless, pytest.raises(PayloadError, match=f"{MOST_BYTES:,}"):
        read_all(endless, "/dev/zero")
