"""What Slurm's controller says and does, through `scontrol`."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from qrmi_core.errors import ResourceUnavailable, shown

ANSWER_S = 15.0
"""How long a command of Slurm's may take; its own limit for an answer is 10 s."""
_EMPTY = ("", "(null)", "none", "N/A")


@frozen
class Reservation:
    """One reservation of licences."""

    name: str
    licences: Mapping[str, int]


@frozen
class Settings:
    """The controller's configuration, as it stands now."""

    facts: Mapping[str, str] = field(factory=dict)

    def words(self, name: str) -> list[str]:
        """The list *name*; empty where it is not set."""
        value = self.facts.get(name, "")
        return [] if value in _EMPTY else [word.strip() for word in value.split(",") if word.strip()]

    @property
    def folder(self) -> Path:
        """Where slurm.conf is, and with it job_submit.lua."""
        return Path(self.facts.get("SLURM_CONF", "/etc/slurm/slurm.conf")).parent

    @property
    def plugstack(self) -> Path:
        """Where Slurm's plugins for jobs are named; by default beside slurm.conf."""
        found = self.words("PlugStackConfig")
        return Path(found[0]) if found else self.folder / "plugstack.conf"

    @property
    def version(self) -> str:
        """As ``22.05.8``."""
        return self.facts.get("SLURM_VERSION", "")

    @property
    def slurm_user(self) -> str:
        """Who runs slurmctld."""
        return self.facts.get("SlurmUser", "root").partition("(")[0]

    @property
    def controllers(self) -> list[str]:
        """The hosts that run slurmctld."""
        return [value.partition("(")[0] for name, value in self.facts.items() if name.startswith("SlurmctldHost")]


def settings() -> Settings:
    """The controller's configuration.

    Raises:
        ResourceUnavailable: the controller does not answer.
    """
    pairs = (line.partition("=") for line in ask("scontrol", "show", "config").splitlines() if "=" in line)
    facts = {name.strip(): value.strip() for name, _, value in pairs}
    if "SLURM_VERSION" not in facts:
        raise ResourceUnavailable("slurm", "scontrol printed no configuration")
    return Settings(facts)


def licences() -> dict[str, int]:
    """The total of each licence of this cluster."""
    found = re.finditer(r"LicenseName=(\S+)\s+Total=(\d+)", ask("scontrol", "--oneliner", "show", "licenses"))
    return {one[1]: int(one[2]) for one in found}


def reservations(prefix: str) -> list[Reservation]:
    """Those whose names begin with *prefix*."""
    lines = ask("scontrol", "--oneliner", "show", "reservation").splitlines()
    found = []
    for line in lines:
        named = re.match(r"ReservationName=(\S+) ", line)
        held = re.search(r" Licenses=(\S+)", line)
        if named and named[1].startswith(prefix):
            found.append(Reservation(named[1], counts(held[1] if held else "")))
    return found


def counts(text: str) -> dict[str, int]:
    """``a:2,b`` as numbers."""
    found: dict[str, int] = {}
    for word in re.split("[,;]", text):
        name, _, count = word.partition(":")
        if name and name not in _EMPTY:
            found[name] = found.get(name, 0) + (int(count) if count.isdecimal() else 1)
    return found


def ask(*words: str) -> str:
    """What a command of Slurm's prints.

    Raises:
        ResourceUnavailable: it failed; the message holds what it said.
    """
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            timeout=ANSWER_S,
            check=False,
        )
    except FileNotFoundError as exc:
        raise ResourceUnavailable(
            "slurm", f"there is no {words[0]} on PATH. Run this where Slurm is installed"
        ) from exc
    except OSError as exc:
        raise ResourceUnavailable("slurm", f"{words[0]}: {exc.strerror}") from exc
    except subprocess.TimeoutExpired as exc:
        raise ResourceUnavailable("slurm", f"{words[0]} has not answered within {ANSWER_S:g} s") from exc
    if done.returncode:
        raise ResourceUnavailable("slurm", f"{' '.join(words[:3])}: {shown(' '.join(done.stderr.split()))}")
    return done.stdout
