"""Presigned URLs: what AWS's own library would have written."""

from __future__ import annotations

import datetime
import time
from unittest import mock
from urllib.parse import parse_qsl, urlsplit

import boto3
import pytest
from botocore.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st

from qrmi_ibm_da._signature import Signer

NAMES = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=20)
KEYS = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=20).filter(
    lambda key: key.strip("./ ") == key
)
SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
VERBS = {"GET": "get_object", "PUT": "put_object", "DELETE": "delete_object"}
ENDPOINTS = ["https://s3.example.org", "http://127.0.0.1:9000", "https://s3.example.org:443", "http://h.example:80"]


def query_of_boto3(endpoint, region, key_id, secret, verb, bucket, key, lifetime_s, at_s):
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    now = datetime.datetime.fromtimestamp(at_s, datetime.UTC)
    with mock.patch("botocore.auth.get_current_datetime", return_value=now):
        return client.generate_presigned_url(VERBS[verb], Params={"Bucket": bucket, "Key": key}, ExpiresIn=lifetime_s)


@given(
    st.sampled_from(ENDPOINTS),
    st.sampled_from(["us-east-1", "eu-de"]),
    NAMES,
    SECRETS,
    st.sampled_from(list(VERBS)),
    KEYS,
    st.integers(1, 604_800),
    st.integers(0, 4_000_000_000),
)
@settings(max_examples=30, deadline=None)
def test_a_signature_is_that_of_the_vendors_library(endpoint, region, key_id, secret, verb, key, lifetime_s, at_s):
    """Whatever the key, the secret, the moment and the object: a storage that takes boto3's URLs takes ours."""
    theirs = urlsplit(query_of_boto3(endpoint, region, key_id, secret, verb, "bucket-1", key, lifetime_s, at_s))
    query = dict(parse_qsl(theirs.query))
    signature = query.pop("X-Amz-Signature")
    own = {name: value for name, value in query.items() if not name.startswith("X-Amz-")}  # x-id
    ours = Signer(region, key_id, secret).query(
        verb, f"{endpoint}{theirs.path}", at_s=at_s, lifetime_s=lifetime_s, query=own
    )

    assert query | {"X-Amz-Signature": signature} == ours


def test_no_secret_is_in_a_repr():
    """A debugger shows the signer, not its key."""
    assert "canary" not in repr(Signer("us-east-1", "id", "canary-1"))


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
def test_a_signature_says_how_long_it_is_good(method):
    """The storage refuses what has expired; so the length must be what was asked for."""
    query = Signer("us-east-1", "id", "secret").query(method, "http://h/b/k", at_s=time.time(), lifetime_s=604_800)

    assert "604800" == query["X-Amz-Expires"]
