"""One thing that `qrmi slurm check` looked at."""

from __future__ import annotations

from attrs import frozen


@frozen
class Finding:
    """What was looked at, how it is, and what to do."""

    what: str
    verdict: str
    """``ok``, ``note`` or ``WRONG``, as `qrmi doctor` has them."""
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f". {self.remedy}" if self.remedy else ""
        return f"{self.verdict:<6}{self.what}: {self.text}{remedy}"


def ok(what: str, text: str) -> Finding:
    """All is well."""
    return Finding(what, "ok", text)


def note(what: str, text: str, remedy: str) -> Finding:
    """It works, and could be better."""
    return Finding(what, "note", text, remedy)


def wrong(what: str, text: str, remedy: str) -> Finding:
    """A person should act."""
    return Finding(what, "WRONG", text, remedy)
