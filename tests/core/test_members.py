"""The members of a payload, and their bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrmi_core import Payload, PayloadError
from qrmi_core.door import Body
from qrmi_core.intake import Options, read
from qrmi_core.members import call_of, members

KIND = "qiskit-primitive"
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def content(body: Body) -> bytes:
    with body.open() as stream:
        return stream.read()


@given(
    st.dictionaries(st.text(), VALUES, min_size=1),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.sampled_from(["", "\ufeff", " \n"]),
)
def test_the_bytes_of_a_member_are_the_member(document, indent, ascii_only, before):
    """Whatever the letters and blanks around it: what is sent is what stands in the payload, with its right size."""
    try:
        raw = (before + json.dumps(document, indent=indent, ensure_ascii=ascii_only)).encode()
    except UnicodeEncodeError:
        return
    found = members(Payload.from_bytes(KIND, raw))

    assert document == {name: json.loads(content(one.body)) for name, one in found.items()}
    assert document == {name: one.value for name, one in found.items()}
    assert all(one.body.size_bytes == len(content(one.body)) for one in found.values())


@pytest.mark.parametrize(
    "raw",
    [b"", b"0", b"[]", b"{}", b"{", b'{"a"', b'{"a" 1}', b'{"a": 1 "b": 2}', b'{"a": 1,}', b'{"a": 1} x', b'{a: 1}',
     b'{"a": 1, "a": 2}', b'{"a": NaN}', b'{"a": ' + b"[" * 100_000, b'{"a": "\xff"}', b'{"a": 1'],
)  # fmt: skip
def test_what_is_no_object_is_refused(raw):
    """The same words as wherever else a payload is read, and no exception of the parser's."""
    with pytest.raises(PayloadError) as info:
        members(Payload.from_bytes(KIND, raw, source="bad.json"))

    assert "bad.json" == info.value.source


def test_a_call_is_its_program_and_its_parameters(data, tmp_path):
    """What a vendor gets as parameters is the user's object, also out of a file, also if it is sent twice."""
    path = data / "sampler_bell.json"
    for payload in (Payload.from_file(KIND, path), Payload.from_bytes(KIND, path.read_bytes())):
        program, parameters = call_of(payload)

        assert "sampler" == program
        assert json.loads(path.read_bytes())["parameters"] == json.loads(content(parameters))
        assert content(parameters) == content(parameters)


def test_what_the_command_read_is_not_parsed_again(data, monkeypatch):
    """Twenty megabytes would be read twice before anything is sent."""
    payload = read(str(data / "sampler_bell.json"), Options())
    monkeypatch.setattr("qrmi_core.members.members", None)
    program, parameters = call_of(payload)

    assert "sampler" == program
    assert json.loads(payload.read())["parameters"] == json.loads(content(parameters))


def test_a_call_is_checked(data):
    """What no service would run is not sent."""
    with pytest.raises(PayloadError) as info:
        call_of(Payload.from_json(KIND, {"program_id": "sampler", "parameters": {"pubs": [[7]]}}))

    assert "$.parameters.pubs[0][0]" == info.value.path


def test_bodies_are_joined_in_their_order():
    """A request around a large member is not put together in memory."""
    body = Body.joined(Body.of(b'{"a":'), Body.of(b""), Body.of(b"x" * 100_000), Body.of(b"}"))

    assert b'{"a":' + b"x" * 100_000 + b"}" == content(body)
    assert 100_006 == body.size_bytes
