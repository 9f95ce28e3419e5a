"""IAM hands out tokens for good keys, and the services take no others."""

from __future__ import annotations

import base64
import json
import time

import pytest
import requests

from qrmi_testkit import emulators

from .client import GRANT, Client


def claims(token: str) -> dict:
    """What a JWT says of itself."""
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def test_a_key_becomes_a_token_that_tells_its_times(qrs):
    """qiskit-ibm-runtime falls back to another scheme where it cannot read the token."""
    token = qrs.token
    told = claims(token["access_token"])

    assert {"access_token", "refresh_token", "token_type", "expires_in", "expiration", "scope"} == token.keys()
    assert ("Bearer", "not_supported", 3600) == (token["token_type"], token["refresh_token"], token["expires_in"])
    assert told["exp"] - told["iat"] == token["expires_in"]
    assert told["exp"] == token["expiration"]
    assert abs(told["iat"] - time.time()) < 60


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"grant_type": GRANT, "apikey": "canary-nobody"}, "BXNIM0415E"),
        ({"grant_type": GRANT}, "BXNIM0415E"),
        ({"apikey": "canary-nobody"}, "BXNIM0109E"),
        ({"grant_type": "password", "apikey": "canary-nobody"}, "BXNIM0109E"),
    ],
)
def test_a_bad_key_is_refused_with_the_code_of_iam(qrs, form, code):
    """A client would be tried with an error that IAM does not send."""
    reply = qrs.request_token(form)

    assert 400 == reply.status_code
    assert code == reply.json()["errorCode"]
    assert {"errorCode", "errorMessage", "errorDetails", "context"} == reply.json().keys()
    assert "canary-nobody" not in reply.text


def test_a_key_with_signs_of_a_form_arrives_whole(qrs):
    """A key with a plus sign or a percent sign would be another key."""
    account = qrs.service.add_account()
    odd = type(account)("canary+key %20&=/", account.crn)
    qrs.service.accounts.known.append(odd)

    assert 200 == qrs.request_token({"grant_type": GRANT, "apikey": odd.api_key}).status_code


@pytest.mark.parametrize("scheme", ["", "Bearer", "Bearer nonsense", "Bearer a.b.c", "Basic dXNlcjpwYXNz", "apikey x"])
def test_nothing_but_a_good_token_is_accepted(da, qrs, scheme):
    """A client that sends no token, or a broken one, would seem to work."""
    for client, path, shape in ((da, "/v1/backends", {"status_code", "title"}), (qrs, "/backends", set())):
        reply = client("GET", path, headers={"Authorization": scheme} if scheme else {"Authorization": None})

        assert 401 == reply.status_code
        assert {"trace", "errors"} | shape == reply.json().keys()
        assert "1201" == str(reply.json()["errors"][0]["code"])


def test_a_token_of_another_emulator_is_not_accepted(da, qrs):
    """A client that mixes up two services would seem to work."""
    headers = {"Authorization": da.http.headers["Authorization"], "Service-CRN": da.account.crn}

    assert 401 == qrs("GET", "/backends", headers=headers).status_code


def test_the_crn_must_be_there_and_the_accounts_own(da, qrs):
    """A client that forgets the instance, or names somebody else's, would seem to work."""
    for client, path in ((da, "/v1/backends"), (qrs, "/backends")):
        without = client("GET", path, headers={"Service-CRN": None})
        other = client("GET", path, headers={"Service-CRN": client.service.options.account.crn})

        assert (400, "Service-CRN") == (without.status_code, str(without.json()).split("header ")[1].split(" ")[0])
        assert (401, "1200") == (other.status_code, str(other.json()["errors"][0]["code"]))


def test_a_token_is_good_for_as_long_as_was_said():
    """Renewal before expiry could not be tried."""
    with emulators.runtime(token_ttl_s=100, devices=("line_5",)) as service:
        client = Client(service)
        assert 200 == client("GET", "/backends").status_code
        service.clock.advance(99)
        assert 200 == client("GET", "/backends").status_code
        service.clock.advance(1)
        assert 401 == client("GET", "/backends").status_code
        client.renew()
        assert 200 == client("GET", "/backends").status_code


def test_two_accounts_see_nothing_of_each_other(service_of_qrs, qrs):
    """Two accounts side by side in one process could share a job, and no test would notice."""
    other = type(qrs)(service_of_qrs, service_of_qrs.add_account())
    job_id, session_id = qrs.start(), qrs.session()

    assert 404 == other("GET", f"/jobs/{job_id}").status_code
    assert 404 == other("GET", f"/sessions/{session_id}").status_code
    assert 0 == other("GET", "/jobs").json()["count"]


def test_what_needs_no_token_needs_none(da):
    """Whether a service answers at all could not be asked without a credential."""
    assert "version" in requests.get(f"{da.service.url}/version").json()
    assert "versions" in requests.get(f"{da.service.url}/versions").json()
