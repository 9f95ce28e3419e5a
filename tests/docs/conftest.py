"""The documentation, built once, and how to look into it."""

from __future__ import annotations

import pytest

from .site import Site


@pytest.fixture(scope="session")
def site(build) -> Site:
    """The built pages."""
    return Site(build[0])
