"""Run the snippets of a built page, in order, as a reader would: `python docs/snippets.py PAGE.html FOLDER`.

A page is one session of bash in one folder, which is also the home directory. What is run depends on the fence:

- a block with a caption is a file of that name;
- in ``console``, lines after ``$ `` are commands, ``> `` continues one, and what follows is the expected output, in
  which ``...`` stands for anything. A command must succeed, unless the next one is ``echo $?``. Events (JSON lines on
  standard error) are not compared;
- ``python`` without a caption is a program; ``json`` and ``toml`` without a caption must be well-formed;
- everything else, and what is marked ``:class: not-run``, is for the eyes only.

Only the standard library is needed, so a page can be run in any environment whose commands are on PATH.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

_MARK = "\x1e"
_LIMIT_S = 300


@dataclass
class Block:
    """One fenced block of a page."""

    language: str
    is_run: bool
    caption: str = ""
    text: str = ""


@dataclass
class Step:
    """A command, and what should come of it."""

    command: str
    expected: list[str] = field(default_factory=list)


class Page(HTMLParser):
    """The blocks of a built page, in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.blocks: list[Block] = []
        self._caption = ""
        self._reading = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        classes = (dict(attrs).get("class") or "").split()
        if "code-block-caption" in classes:
            self._reading, self._caption = "caption", ""
        elif language := next((name for name in classes if name.startswith("highlight-")), None):
            is_run = "not-run" not in classes
            self.blocks.append(Block(language.removeprefix("highlight-"), is_run, self._caption))
            self._caption = ""
        elif tag == "pre" and self.blocks:
            self._reading = "text"

    def handle_endtag(self, tag: str) -> None:
        if tag == ("span" if self._reading == "caption" else "pre"):
            self._reading = ""

    def handle_data(self, data: str) -> None:
        if self._reading == "caption":
            self._caption += data
        elif self._reading == "text":
            self.blocks[-1].text += data


def steps(console: str) -> Iterator[Step]:
    """The commands of one ``console`` block."""
    step: Step | None = None
    for line in console.splitlines():
        if line.startswith("$ "):
            if step:
                yield step
            step = Step(line[2:])
        elif step and line.startswith("> ") and not step.expected:
            step.command += "\n" + line[2:]
        elif step:
            step.expected.append(line.rstrip())
    if step:
        yield step


def run(page: Path, folder: Path, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Run the snippets of *page* in *folder*; return what went wrong."""
    session: list[Step] = []
    for number, block in enumerate(Page(page.read_text(encoding="utf-8")).blocks):
        if block.caption:
            path = folder / block.caption
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif not block.is_run:
            continue
        elif block.language == "console":
            session += steps(block.text)
        elif block.language == "python":
            (folder / f".snippet-{number}.py").write_text(block.text, encoding="utf-8")
            session.append(Step(f"python .snippet-{number}.py"))
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "toml":
            tomllib.loads(block.text)
    return list(_faults(session, _execute(session, folder, environ)))


def _execute(session: list[Step], folder: Path, environ: Mapping[str, str]) -> list[tuple[str, int]]:
    """The output and the exit status of each command, all run by one bash."""
    script = folder / ".session.bash"
    lines = []
    for step in session:
        lines += [step.command, f"_s=$?; printf '{_MARK}%s{_MARK}' $_s; (exit $_s)"]
    script.write_text("\n".join(lines) + "\n", encoding="utf-8")
    env = {name: value for name, value in environ.items() if not name.startswith(("QRMI_", "SLURM_", "XDG_"))}
    env |= {"HOME": str(folder), "XDG_CACHE_HOME": str(Path.home() / ".cache"), "COLUMNS": "100"}
    done = subprocess.run(
        ["bash", str(script)],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=_LIMIT_S,
        check=False,
    )
    parts = done.stdout.split(_MARK)
    return [(text, int(status)) for text, status in zip(parts[0::2], parts[1::2], strict=False)]


def _faults(session: list[Step], outcomes: list[tuple[str, int]]) -> Iterator[str]:
    for number, step in enumerate(session):
        if number >= len(outcomes):
            yield f"$ {step.command}\nwas not reached"
            return
        text, status = outcomes[number]
        seen = [line.rstrip() for line in text.splitlines() if not re.match(r'\{.*"event": ', line)]
        is_looked_at = number + 1 < len(session) and session[number + 1].command == "echo $?"
        if status != 0 and not is_looked_at:
            yield f"$ {step.command}\nended with status {status} and said\n{text}"
        elif step.expected and not _matches("\n".join(step.expected), "\n".join(seen)):
            yield f"$ {step.command}\nshould say\n" + "\n".join(step.expected) + "\nbut said\n" + "\n".join(seen)


def _matches(expected: str, seen: str) -> bool:
    """Blanks and line breaks are all alike, so that a page may wrap a line."""
    parts = [re.escape(" ".join(part.split())).replace(r"\ ", r"\s+") for part in expected.split("...")]
    return re.fullmatch(r"\s*" + r"\s*.*?\s*".join(parts) + r"\s*", seen, re.DOTALL) is not None


def main() -> int:
    """Run one page; the exit status is the number of faults."""
    page, folder = map(Path, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    faults = run(page, folder)
    print("\n\n".join(faults) or f"{shlex.quote(str(page))}: all snippets do what they say")
    return len(faults)


if __name__ == "__main__":
    sys.exit(main())
