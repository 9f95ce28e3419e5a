"""What the pages tell a reader to do, done."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
ELSEWHERE = {"how-to/publish-a-backend"}
"""Run by tests/system/test_third_party.py, in an environment of its own: it installs something."""
FENCES = ("```{code-block} console", "```{code-block} python", "```{code-block} json", "```{code-block} toml")


def pages_with_snippets() -> list[str]:
    """The pages that have something to run."""
    found = [path for path in sorted(DOCS.rglob("*.md")) if any(fence in path.read_text() for fence in FENCES)]
    return [name for path in found if (name := str(path.relative_to(DOCS).with_suffix(""))) not in ELSEWHERE]


@pytest.fixture(scope="module")
def followed(site, root, tmp_path_factory) -> Iterator[dict[str, Future[subprocess.CompletedProcess[str]]]]:
    """Every page, being followed in a folder of its own; as many at a time as there are processors."""

    def follow(page: str, folder: Path) -> subprocess.CompletedProcess[str]:
        shutil.copytree(root / "examples", folder / "examples")
        return subprocess.run(
            [sys.executable, str(root / "docs" / "snippets.py"), str(site.folder / f"{page}.html"), str(folder)],
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
        )

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        yield {page: pool.submit(follow, page, tmp_path_factory.mktemp("page")) for page in pages_with_snippets()}


@pytest.mark.parametrize("page", pages_with_snippets())
def test_a_reader_who_follows_the_page_sees_what_it_says(followed, page):
    """Every file, command and program of the page works in the order in which it stands there."""
    done = followed[page].result()

    assert done.returncode == 0, done.stdout + done.stderr
