"""The emulated services execute the samples for real, and bring their results where a client finds them."""

from __future__ import annotations

import json

import pytest
from system.physics import CHECKS

SAMPLES = [name for name in CHECKS if name.startswith(("sampler", "estimator"))]


@pytest.mark.parametrize("name", SAMPLES)
def test_direct_access_brings_the_result_to_the_storage(da, name):
    """A client would wait for a result that is nowhere, or is wrong."""
    job_id = da.start(name)

    assert "Completed" == da.ended(job_id)["status"]
    CHECKS[name](json.loads(da.object(f"results_{job_id}.json")))
    assert b"completed" in da.object(f"logs_{job_id}.json")


@pytest.mark.parametrize("name", SAMPLES)
def test_runtime_answers_with_the_result(qrs, name):
    """A client would wait for a result that is nowhere, or is wrong."""
    job_id = qrs.start(name)

    assert "Completed" == qrs.ended(job_id)["status"]
    reply = qrs("GET", f"/jobs/{job_id}/results")
    assert "text/plain; charset=utf-8" == reply.headers["Content-Type"]
    CHECKS[name](json.loads(reply.text))
    logs = qrs("GET", f"/jobs/{job_id}/logs")
    assert "text/plain; charset=utf-8" == logs.headers["Content-Type"]
    assert "completed" in logs.text
