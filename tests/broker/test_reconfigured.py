"""Resources that are taken out of the configuration while a job has them."""

from __future__ import annotations

import pytest

from qrmi_core import ResourceUnavailable

from .daemon import fake
from .watch import held, sessions, until


def test_a_lease_on_a_resource_that_is_gone_is_not_said_to_be_released(new_daemon, folder):
    """Its session is open, and paid for, and nobody would look for it."""
    fez, other = fake(folder / "service"), fake(folder / "other", "other")
    daemon = new_daemon(fez, other).start()
    granted = daemon.ask("fez")
    daemon.stop()
    daemon.write_config([other])
    daemon.start()

    with pytest.raises(ResourceUnavailable, match="put it back"):
        daemon.release(granted["id"])
    assert [f"lease {granted['id']} on fez"] == daemon.admin().ask_json("GET", "/v1/health")["orphaned"]
    daemon.stop()
    daemon.write_config([fez, other])
    daemon.start()
    assert ["1"] == held(daemon)
    daemon.release(granted["id"])
    until(lambda: ["session.opened", "session.closed"] == sessions(daemon))
    assert [] == daemon.admin().ask_json("GET", "/v1/health")["orphaned"]
