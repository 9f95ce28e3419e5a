"""IAM: an API key in, a token out."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import parse_qs

from aiohttp import web
from attrs import frozen

from qrmi_testkit.emulators.accounts import Accounts
from qrmi_testkit.emulators.misbehaviour import FAULT

_GRANT = "urn:ibm:params:oauth:grant-type:apikey"


@frozen
class Iam:
    """The one route of IAM that clients of quantum services use."""

    accounts: Accounts

    def routes(self) -> Iterable[web.RouteDef]:
        """Its routes."""
        yield web.post("/identity/token", self.token)

    async def token(self, request: web.Request) -> web.StreamResponse:
        """Exchange an API key for a token."""
        form = parse_qs((await request.text()), keep_blank_values=True)
        grant, key = (form.get(name, [""])[0] for name in ("grant_type", "apikey"))
        if grant != _GRANT:
            return _error("BXNIM0109E", "Property missing or empty.", f"grant_type is {grant!r}, not {_GRANT}")
        account = self.accounts.with_key(key)
        if account is None:
            return _error("BXNIM0415E", "Provided API key could not be found.", None)
        fault = request.get(FAULT)
        return web.json_response(self.accounts.issue(account, fault.skew_s if fault else 0.0))


def _error(code: str, message: str, details: str | None) -> web.Response:
    body = {"errorCode": code, "errorMessage": message, "errorDetails": details, "context": {"requestId": "emulated"}}
    return web.json_response(body, status=400)
