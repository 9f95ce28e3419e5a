"""Who may use an emulated service: API keys, the instances they are for, and the tokens that stand for them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import uuid
from collections.abc import Mapping
from typing import Any

from attrs import define, field, frozen

from qrmi_testkit.emulators.clock import Clock


@frozen
class Account:
    """One API key and the instance that it is for."""

    api_key: str = field(repr=False)
    crn: str

    @classmethod
    def new(cls, number: int = 0) -> Account:
        """An account that nobody else has; its CRN has the form of a real one."""
        crn = f"crn:v1:bluemix:public:quantum-computing:us-east:a/{number:032x}:{uuid.uuid4()}::"
        return cls(f"canary-emulated-key-{uuid.uuid4().hex}", crn)


@define
class Accounts:
    """The accounts of one emulator, and the tokens issued to them: JWT, signed with HS256, checked in full."""

    clock: Clock
    token_ttl_s: int
    known: list[Account]
    issued_count: int = 0
    _secret: bytes = field(factory=lambda: os.urandom(32), repr=False)
    _not_before: int = 0
    """Tokens with a lower serial number are no longer accepted."""

    def with_key(self, api_key: str) -> Account | None:
        """The account of *api_key*."""
        return next((one for one in self.known if one.api_key == api_key), None)

    def issue(self, account: Account, skew_s: float = 0.0) -> dict[str, Any]:
        """What IAM answers: a token and its times, which are *skew_s* seconds off."""
        now = int(self.clock.now() + skew_s)
        self.issued_count += 1
        claims = {
            "sub": account.crn,
            "iat": now,
            "exp": now + self.token_ttl_s,
            "jti": self.issued_count,
            "skew": skew_s,
        }
        return {
            "access_token": self._signed(claims),
            "refresh_token": "not_supported",
            "token_type": "Bearer",
            "expires_in": self.token_ttl_s,
            "expiration": now + self.token_ttl_s,
            "scope": "ibm openid",
        }

    def expire(self) -> None:
        """Accept no token any longer that was issued so far."""
        self._not_before = self.issued_count + 1

    def of_token(self, token: str) -> Account | None:
        """The account that *token* was issued to, if it is still good."""
        body, _, signature = token.rpartition(".")
        if not hmac.compare_digest(self._signature(body), signature):
            return None
        claims = json.loads(_decoded(body.split(".")[1]))
        if claims["jti"] < self._not_before or claims["exp"] - claims["skew"] <= self.clock.now():
            return None
        return next((one for one in self.known if one.crn == claims["sub"]), None)

    def _signed(self, claims: Mapping[str, Any]) -> str:
        body = ".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
        return f"{body}.{self._signature(body)}"

    def _signature(self, body: str) -> str:
        return _encoded(hmac.digest(self._secret, body.encode(), hashlib.sha256))


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
