"""The pages build, hold together, and name only what exists."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
READMES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *ROOT.glob("qrmi_*/README.md")]
NOT_RUN = ("make ", "python3 -m venv ", ". .venv/bin/activate", "pip install ")
"""What a snippet may begin with that is not run: it needs a network, or changes the environment."""


def test_the_pages_build_without_a_warning(build):
    """Sphinx has nothing to say about them."""
    assert "" == build[1]


def test_every_link_leads_somewhere(site):
    """A link from a page to a page reaches a file, and the anchor it names."""
    broken = []
    for path in site.folder.rglob("*.html"):
        for link in site.page(str(path.relative_to(site.folder))).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.is_file() or (anchor and anchor not in site.page(str(target.relative_to(site.folder))).ids):
                broken.append(f"{path.name} -> {link}")
    assert [] == broken


def test_every_test_that_a_page_names_exists(root):
    """The promises are linked to tests by name; a test that was renamed takes its page with it."""
    named = {
        name for page in (root / "docs").rglob("*.md") for name in re.findall(r"[\w/]+\.py(?:::\w+)+", page.read_text())
    }

    assert named
    for name in named:
        file, *classes, function = name.split("::")
        text = (root / file).read_text()
        assert f"def {function}(" in text, name
        assert all(f"class {one}" in text for one in classes), name


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_readme_leads_to_a_file(readme):
    """What the front pages link to is in the repository."""
    links = re.findall(r"\]\(([^)#]+)", readme.read_text())

    assert [] == [link for link in links if "://" not in link and not (readme.parent / link).exists()]


def test_only_installing_is_not_run(root, site, monkeypatch):
    """A snippet that is shown and not run is one that installs something."""
    monkeypatch.syspath_prepend(str(root / "docs"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import snippets

    blocks = [
        block
        for path in site.folder.rglob("*.html")
        for block in snippets.Page(path.read_text()).blocks
        if block.language == "console" and not block.is_run
    ]
    commands = [step.command for block in blocks for step in snippets.steps(block.text)]

    assert commands
    assert [] == [command for command in commands if not f"{command} ".startswith(NOT_RUN)]
