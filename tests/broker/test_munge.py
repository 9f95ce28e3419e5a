"""MUNGE: what a credential says is what was encoded, by whom it was encoded, and it is believed once, in its time."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrmi_broker import munge
from qrmi_broker.munge import (
    CredentialExpired,
    CredentialRefused,
    CredentialReplayed,
    CredentialRewound,
    Munge,
    MungeError,
    MungeUnavailable,
)
from qrmi_core.errors import ConfigError

from .daemon import short_folder
from .munged import Munged, running


@pytest.fixture(scope="module")
def daemons() -> Iterator[dict[str, Munged]]:
    """Three nodes of a cluster, of which two have wrong clocks; and one with another key."""
    with short_folder() as name:
        folder = Path(name)
        folder.chmod(0o755)
        found = {
            "here": Munged(folder / "a"),
            "behind": Munged(folder / "a", "behind", clock="-30m"),
            "ahead": Munged(folder / "a", "ahead", clock="+30m"),
            "foreign": Munged(folder / "b"),
        }
        with running(*found.values()):
            yield found


@pytest.fixture
def here(daemons) -> Munge:
    """The library, on the node whose clock is right."""
    return Munge(daemons["here"].socket)


@settings(max_examples=50, deadline=None)
@given(payload=st.binary(max_size=5000))
def test_a_payload_is_told_as_it_was_encoded(daemons, payload):
    """A byte changes, is added or is lost between two nodes."""
    here = Munge(daemons["here"].socket)

    assert payload == here.decode(here.encode(payload)).payload


def test_the_user_who_encoded_is_told(daemons, here, users):
    """A user could pass for another one, or for root."""
    ours, theirs = here.decode(here.encode(b"")), here.decode(daemons["here"].encoded_by(users[0].uid, b"x"))

    assert (0, 0) == (ours.uid, ours.gid)
    assert users[0].uid == theirs.uid


def test_a_credential_is_taken_once(here):
    """Whoever saw one could use it again."""
    credential = here.encode(b"payload")
    here.decode(credential)

    with pytest.raises(CredentialReplayed, match="Replayed credential") as caught:
        here.decode(credential)
    assert 17 == caught.value.status


@pytest.mark.parametrize(("where", "expected"), [("behind", CredentialExpired), ("ahead", CredentialRewound)])
def test_a_credential_of_another_time_is_refused(daemons, here, where, expected):
    """One that was kept for half an hour, or made for half an hour later, would be believed."""
    credential = Munge(daemons[where].socket).encode(b"payload")

    with pytest.raises(expected):
        here.decode(credential)


def test_a_credential_lives_as_long_as_it_was_given(daemons, here):
    """`ttl_s` does nothing."""
    behind = Munge(daemons["behind"].socket)
    lasting, short = behind.encode(b"kept", ttl_s=3000), behind.encode(b"kept", ttl_s=600)

    assert b"kept" == here.decode(lasting).payload
    with pytest.raises(CredentialExpired):
        here.decode(short)


@pytest.mark.parametrize("credential", ["", "MUNGE:AAAA:", "no credential", "MUNGE:é:", "x" * 10_000])
def test_what_is_no_credential_is_refused(here, credential):
    """A text that anybody can write would be believed, or would end the process."""
    with pytest.raises(CredentialRefused):
        here.decode(credential)


def test_a_credential_of_another_key_is_refused(daemons, here):
    """A machine outside the cluster could vouch for users."""
    with pytest.raises(CredentialRefused, match="Invalid credential"):
        here.decode(Munge(daemons["foreign"].socket).encode(b"payload"))


def test_a_changed_credential_is_refused(here):
    """Its letters could be changed on the way."""
    credential = here.encode(b"payload")
    middle = len(credential) // 2
    other = "A" if credential[middle] != "A" else "B"

    with pytest.raises(CredentialRefused):
        here.decode(credential[:middle] + other + credential[middle + 1 :])


def test_a_munged_that_does_not_run_is_said_to_be_unavailable(folder):
    """It would look like a wrong credential, or the call would never return."""
    started = time.monotonic()
    with pytest.raises(MungeUnavailable, match="munged"):
        Munge(str(folder / "nothing.sock")).encode(b"")

    assert time.monotonic() - started < 5


@pytest.mark.parametrize("status", range(1, 19))
def test_every_error_of_the_library_has_a_class_and_words(status):
    """A status of munge.h would pass for success, or be a bare number in the log."""
    with munge._Context(None, 0) as context, pytest.raises(MungeError) as caught:
        context.check(status)

    assert status == caught.value.status
    assert caught.value.text not in ("", "unknown")
    assert isinstance(caught.value, MungeUnavailable) == (status in (1, 5, 6, 7))
    assert caught.value.args == pickle.loads(pickle.dumps(caught.value)).args


def test_without_the_library_the_package_is_named(monkeypatch):
    """An administrator would read of a missing shared object, and search."""
    monkeypatch.setattr(munge, "_LIBRARY", "libmunge.so.99")
    munge._library.cache_clear()
    try:
        with pytest.raises(ConfigError, match="libmunge2"):
            Munge()
    finally:
        munge._library.cache_clear()
