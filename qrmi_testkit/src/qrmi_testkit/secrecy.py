"""Secrets: none of the settings' canaries is in anything that the backend shows, logs or raises, however spelt."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from qrmi_core import Hosted, Opening, Payload, open_resource
from qrmi_core.declarations import declaration
from qrmi_core.redaction import spellings
from qrmi_core.secret import SecretReference
from qrmi_testkit.errors import Provoking
from qrmi_testkit.process import fresh
from qrmi_testkit.subject import Start

_SHORTEST_CANARY = 8
"""A shorter one may occur by chance."""


class Secrecy(Provoking):
    """Plain, base64, hex and URL-encoded; the masking that `qrmi_core.log` adds is left out of these tests."""

    @pytest.fixture
    def secrets(self, resource: Hosted, opening: Opening) -> list[str]:
        """The values of the secret settings."""
        names = declaration(resource.backend.settings).secrets(dict.fromkeys(opening.environment, ""))
        values = [opening.environment[name] for name in names]
        return [value.resolve() if isinstance(value, SecretReference) else value for value in values]

    @pytest.fixture
    def written(
        self, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> Iterator[Callable[[], str]]:
        """All that was logged or printed since the test began, by us and by our children."""
        caplog.set_level(0)
        events: list[Any]
        with capture_logs() as events:
            yield lambda: "\n".join((repr(events), caplog.text, *capfd.readouterr()))

    def _leaks(self, text: str, secrets: list[str]) -> list[str]:
        return [spelling for secret in secrets for spelling in spellings(secret) if spelling in text]

    def test_every_test_of_secrecy_has_a_canary(self, resource: Hosted, secrets: list[str]) -> None:
        """Where the backend declares a secret, `environment` plants one; else the tests below would prove nothing."""
        declared = [one for one in declaration(resource.backend.settings) if one.secret]

        assert bool(declared) == bool(secrets)
        assert all(len(secret) >= _SHORTEST_CANARY for secret in secrets)

    def test_no_secret_is_in_a_repr(self, resource: Hosted, secrets: list[str]) -> None:
        """Whatever a debugger, an assertion or a log shows of these objects, it is not the secret."""
        things = (resource, resource.inner, resource.backend, resource.ctx, resource.ctx.settings)

        assert [] == self._leaks("\n".join(f"{thing!r} {thing}" for thing in things), secrets)

    def test_no_secret_is_in_an_error(self, raised: list[Exception], secrets: list[str]) -> None:
        """Neither an error's words nor its fields, causes or traceback hold the secret."""
        for exc in raised:
            text = "".join(traceback.format_exception(exc)) + repr(exc) + repr(vars(exc))

            assert [] == self._leaks(text, secrets)

    @pytest.mark.usefixtures("raised")
    def test_no_secret_is_logged(
        self,
        written: Callable[[], str],
        opening: Opening,
        secrets: list[str],
        start: Start,
        payload: Payload,
    ) -> None:
        """Nothing that is logged or printed in the whole life of a resource and its tasks holds the secret."""
        with open_resource(opening) as resource:
            self.end_of(resource, start(payload))
        fresh(opening, "is_accessible")

        assert [] == self._leaks(written(), secrets)
