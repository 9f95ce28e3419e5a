"""The second net."""

from __future__ import annotations

import base64
import json
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrmi_core import redaction
from qrmi_core.redaction import MASK, looks_secret, mask, processor, remember, spellings

CANARY = "canary-7f3a/b+c d?"
ODD = "canary-'ü\\tail"
"""With what Python and JSON write differently between quotes."""


@pytest.fixture(autouse=True)
def known(monkeypatch) -> None:
    """Each test remembers its own secrets."""
    monkeypatch.setattr(redaction, "_known", ())
    remember(CANARY)


@pytest.mark.parametrize(
    "spelt",
    [
        CANARY,
        CANARY.encode().hex(),
        CANARY.encode().hex().upper(),
        urllib.parse.quote(CANARY, safe=""),
        urllib.parse.quote_plus(CANARY),
        "canary-7f3a/b%2Bc%20d%3F",
        "canary-7f3a/b%2bc%20d%3f",
        "canary-7f3a%2fb%2bc%20d%3f",
        "canary-7f3a%2fb%2bc+d%3f",
        "canary-7f3a/b+c%20d%3F",
        "canary-7f3a\\/b+c d?",
        "canary-7f3a\\\\/b+c d?",
    ],
)
def test_a_secret_is_masked_however_it_is_spelt(spelt):
    """A log shows neither the secret nor what is decoded to it in a second."""
    assert f"a {MASK} b" == mask(f"a {spelt} b")


@pytest.mark.parametrize(
    "spelt",
    [
        repr(ODD),
        repr(ODD.encode()),
        ascii(ODD),
        repr(f'"{ODD}'),
        repr(f'"{ODD}'.encode()),
        json.dumps(ODD),
        repr(json.dumps(ODD)),
        json.dumps(repr(ODD.encode())),
        json.dumps(ODD).replace("\\u00fc", "\\u00FC"),
    ],
)
def test_a_secret_is_masked_also_between_quotes(spelt):
    """A body is quoted as bytes, a header as a text, and either once more by who quotes the message."""
    remember(ODD)
    masked = mask(spelt)

    assert MASK in masked
    assert "canary" not in masked
    assert "tail" not in masked


@given(
    before=st.binary(max_size=9),
    secret=st.text(min_size=6, max_size=40),
    after=st.binary(max_size=9),
    encode=st.sampled_from([base64.b64encode, base64.urlsafe_b64encode]),
)
def test_a_secret_is_found_inside_base64(before, secret, after, encode):
    """`Authorization: Basic` encodes user and password together, so the password never stands there by itself."""
    text = encode(before + secret.encode() + after).decode()

    assert any(spelling in text for spelling in spellings(secret))


def test_a_text_without_secrets_stays_as_it_is():
    """Masking too much makes a log useless."""
    assert "the canary sings" == mask("the canary sings")


def test_a_secret_that_is_hardly_one_is_not_searched_for():
    """Masking every `1` because somebody's password is `1` would leave nothing to read."""
    remember("1")

    assert "1 of 11" == mask("1 of 11")


@pytest.mark.parametrize("name", ["QRMI_ACME_API_KEY", "apikey", "token", "X-Secret", "PASSWORD", "aws_access_key_id"])
def test_a_thing_is_secret_by_its_name(name):
    """A secret that nobody declared is masked where its name gives it away."""
    assert looks_secret(name)
    assert MASK == processor(None, "info", {name: "whatever"})[name]


@pytest.mark.parametrize("name", ["QRMI_ACME_ENDPOINT", "TOKEN_URL", "secret_file", "resource", "task_id"])
def test_other_things_are_not(name):
    """Where a token is fetched from, and where it lies, may be read."""
    assert not looks_secret(name)


def test_an_event_is_masked_at_every_depth():
    """A header in a list in a dict is as readable as any other text, and so is an exception."""
    event = {"event": f"got {CANARY}", "a": [{"b": (CANARY, 7, None)}], "token": "t0p", "error": ValueError(CANARY)}
    cleaned = processor(None, "info", event)

    assert CANARY not in json.dumps(cleaned)
    assert "t0p" not in json.dumps(cleaned)
    assert [{"b": [MASK, 7, None]}] == cleaned["a"]


@pytest.mark.parametrize("secret", [" canary-blanks ", "canary-line-1\ncanary-line-2"])
def test_a_secret_is_masked_also_as_a_message_shows_it(secret):
    """Blanks around it, or its lines made one, would let it through."""
    redaction.remember(secret)

    assert "canary" not in redaction.mask(f"bad key {secret.strip()}")
    assert "canary" not in redaction.mask(f"bad key {' '.join(secret.split())}")
