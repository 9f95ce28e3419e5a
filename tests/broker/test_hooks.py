"""What a site plugs in has a say in who gets a lease, and no power over those who have one."""

from __future__ import annotations

import os
import time

import pytest

from .daemon import INSTALLED, Daemon, fake, vendor_log
from .hooked.sitehooks import DEAF, HANGING, RAISING, REFUSED

HOOKED = INSTALLED.with_name("hooked")
AT_ONCE_S = 2.0


@pytest.fixture
def daemon(tmp_path):
    """A broker of a site with hooks."""
    one = Daemon(tmp_path, [fake(tmp_path / "service", lanes=8)])
    one.start(PYTHONPATH=os.pathsep.join(map(str, (INSTALLED, HOOKED))))
    yield one
    one.stop()


def test_a_hook_that_refuses_says_why(daemon):
    """A site's own rule is not asked, or its reason does not reach the user; or a session was opened before."""
    refused = daemon.ask("fez", job=REFUSED, until="failed")

    assert "project closed, and no more of fez" in refused["error"]
    assert "session.opened" not in str(vendor_log(daemon.folder / "service"))


def test_a_hook_that_raises_is_a_refusal(daemon):
    """A rule that cannot be asked lets everybody pass."""
    assert "qrmi_authorize hook raised RuntimeError" in daemon.ask("fez", job=RAISING, until="failed")["error"]


def test_a_hook_that_hangs_is_a_refusal_and_delays_nobody_else(daemon):
    """One question that is never answered stops every job of the cluster, or lets its own pass."""
    pending = daemon.ask("fez", job=HANGING, until=None)
    started = time.monotonic()
    daemon.ask("fez", job=1)

    assert "pending" == pending["state"]
    assert AT_ONCE_S > time.monotonic() - started
    assert "did not answer within 10 s" in daemon.ask("fez", job=HANGING, until="failed")["error"]


def test_a_listener_that_raises_or_hangs_harms_no_lease(daemon):
    """A plugin that counts jobs stops them; or a broker cannot be stopped because a plugin hangs."""
    first = daemon.ask("fez", job=DEAF)
    daemon.release(first["id"])
    started = time.monotonic()
    daemon.release(daemon.ask("fez", job=2)["id"])

    assert AT_ONCE_S > time.monotonic() - started
    assert ["qrmi_lease_acquired"] == [one["hook"] for one in daemon.events if one["event"] == "hook.failed"]
    assert 0 == daemon.stop()
    assert AT_ONCE_S > time.monotonic() - started
