"""Presigned URLs of S3-compatible storage: AWS Signature Version 4 in the query, path style, body not signed.

Source: "Authenticating requests: using query parameters", Amazon S3 API reference. Why not boto3: decision 8. The tests
compare with it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from attrs import field, frozen

_ALGORITHM = "AWS4-HMAC-SHA256"
_PORTS = {"http": 80, "https": 443}


@frozen
class Signer:
    """Whose key it is, and where it is good."""

    region: str
    key_id: str = field(repr=False)
    secret: str = field(repr=False)

    def query(
        self, method: str, url: str, *, at_s: float, lifetime_s: int, query: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """The query that lets anybody do *method* on *url*, from *at_s* for *lifetime_s*.

        Args:
            method: in capitals.
            url: without a query; its path quoted.
            at_s: seconds since the epoch, on the storage's clock.
            lifetime_s: seconds, 604800 at most.
            query: what else the URL is to say.
        """
        at = datetime.fromtimestamp(at_s, UTC).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{at[:8]}/{self.region}/s3/aws4_request"
        facts = {
            **(query or {}),
            "X-Amz-Algorithm": _ALGORITHM,
            "X-Amz-Credential": f"{self.key_id}/{scope}",
            "X-Amz-Date": at,
            "X-Amz-Expires": str(lifetime_s),
            "X-Amz-SignedHeaders": "host",
        }
        parts = urlsplit(url)
        host = (parts.hostname or "") if parts.port in (None, _PORTS[parts.scheme]) else parts.netloc
        words = "&".join(sorted(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in facts.items()))
        request = "\n".join([method, parts.path or "/", words, f"host:{host}\n", "host", "UNSIGNED-PAYLOAD"])
        text = "\n".join([_ALGORITHM, at, scope, hashlib.sha256(request.encode()).hexdigest()])
        key = f"AWS4{self.secret}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return {**facts, "X-Amz-Signature": hmac.new(key, text.encode(), "sha256").hexdigest()}
