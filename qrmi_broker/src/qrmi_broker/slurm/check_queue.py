"""What the controller must know: licences, the rules at submit, planning, and who may see which jobs."""

from __future__ import annotations

import pwd
import socket as network
from collections.abc import Iterator, Mapping
from pathlib import Path

from qrmi_broker.slurm import controller, drains, licences
from qrmi_broker.slurm.finding import Finding, note, ok, wrong
from qrmi_core.config import Config
from qrmi_core.errors import ResourceUnavailable

_GENERATE = "Run `qrmi slurm licenses --output-dir {}`"


def grant(config: Config) -> Iterator[Finding]:
    """With licences in the queue, the broker should believe nothing else."""
    if not licences.lanes(config):
        return
    if config.grant == "licences":
        yield ok("grant", "the broker gives what Slurm granted")
    else:
        text = "the broker gives lanes also to jobs without a licence, as a forged option or an srun in a bare salloc"
        yield note("grant", text, f'Set "grant": "licences" in {config.path}')


def planning(config: Config, settings: controller.Settings) -> Iterator[Finding]:
    """Without it an exclusive job waits until nobody else asks for a lane."""
    words = settings.words("SchedulerParameters")
    kind = settings.facts.get("SchedulerType", "")
    if not licences.lanes(config):
        return
    if kind != "sched/backfill":
        remedy = "Set SchedulerType=sched/backfill in slurm.conf, and restart slurmctld"
        yield wrong("planning", f"{kind} does not plan licences: an exclusive job may wait forever", remedy)
    elif licences.BACKFILL not in words:
        text = f"{licences.BACKFILL} is missing: jobs for all lanes of a resource may wait forever"
        remedy = f"Set SchedulerParameters={','.join([*words, licences.BACKFILL])} in slurm.conf; scontrol reconfigure"
        yield wrong("planning", text, remedy)
    else:
        yield ok("planning", licences.BACKFILL)


def rules(config: Config, settings: controller.Settings) -> Iterator[Finding]:
    """The scripts beside slurm.conf. Only the controller's host needs them."""
    if not licences.lanes(config):
        return
    plugins = settings.words("JobSubmitPlugins")
    if "lua" not in plugins:
        remedy = f"Set JobSubmitPlugins={','.join([*plugins, 'lua'])} in slurm.conf, and restart slurmctld"
        yield wrong("rules", "JobSubmitPlugins has no lua: --qpu brings no licence", remedy)
    here = network.gethostname()
    if not {here, here.partition(".")[0]} & set(settings.controllers):
        hosts = ", ".join(settings.controllers)
        yield note(
            "rules", f"slurmctld runs on {hosts}, not here: its scripts were not looked at", "Run this there too"
        )
        return
    path, site = settings.folder / licences.SCRIPT, settings.folder / licences.SITE_SCRIPT
    generate = _GENERATE.format(settings.folder)
    text, called = _text(path), _text(site)
    said, is_ = licences.digest_of(text or "")
    if called is None:
        yield wrong("rules", f"{site} is missing: --qpu brings no licence", generate)
    elif licences.SCRIPT not in called:
        remedy = f"Add the lines that stand in the header of {licences.SCRIPT}"
        yield wrong("rules", f"{site} does not call {licences.SCRIPT}: --qpu brings no licence", remedy)
    if text is None:
        yield wrong("rules", f"{path} is missing: no job can be submitted after a restart of slurmctld", generate)
    elif said != is_ or not said:
        yield wrong("rules", f"{path} was changed by hand", f"{generate}, and put rules of the site into {site.name}")
    elif said != licences.digest_of(licences.script(config))[0]:
        yield wrong("rules", f"{path} is not what {config.path} says", generate)
    elif called is not None and licences.SCRIPT in called:
        yield ok("rules", str(path))


def licences_of(config: Config, totals: Mapping[str, int]) -> Iterator[Finding]:
    """As many licences as lanes."""
    remedy = "Set the line Licenses of `qrmi slurm licenses` in slurm.conf; scontrol reconfigure"
    is_well = True
    for name, lanes in licences.lanes(config).items():
        if name not in totals:
            yield wrong(f"licence {name}", f"Slurm has none, {config.path} has {lanes} lanes", remedy)
        elif totals[name] != lanes:
            yield wrong(f"licence {name}", f"Slurm has {totals[name]}, {config.path} has {lanes} lanes", remedy)
        is_well = is_well and totals.get(name) == lanes
    for one in config.resources:
        if one.lanes is None and one.name in totals:
            is_well = False
            text = f"Slurm has {totals[one.name]}, {config.path} has no `lanes`: --qpu brings no licence"
            yield wrong(f"licence {one.name}", text, f'Set "lanes": {totals[one.name]}, or take the licence away')
    if is_well and licences.lanes(config):
        yield ok("licences", ", ".join(f"{name}:{count}" for name, count in licences.lanes(config).items()))


def drained(config: Config, totals: Mapping[str, int]) -> Iterator[Finding]:
    """What waits, and why."""
    for one in config.resources:
        for held in controller.reservations(f"{drains.PREFIX}{one.name}:"):
            count, total = held.licences.get(one.name, 0), totals.get(one.name, 0)
            what, why = f"licence {one.name}", drains.reason_of(held, one.name)
            if count < total:
                remedy = f"Run `qrmi slurm drain {one.name} --reason TEXT` again"
                yield wrong(what, f"drained ({why}), but only {count} of {total} lanes", remedy)
            else:
                yield note(what, f"drained: {why}", f"When it is back: `qrmi slurm resume {one.name}`")


def sight(settings: controller.Settings, socket: str) -> Iterator[Finding]:
    """Who cannot see a job takes it for ended: the broker's user must see all."""
    hidden = {"jobs", "all"} & set(settings.words("PrivateData"))
    try:
        owner = pwd.getpwuid(Path(socket).stat().st_uid).pw_name
    except (OSError, KeyError):
        return
    try:
        is_shown_all = not hidden or owner in ("root", settings.slurm_user) or _is_operator(owner, settings)
    except ResourceUnavailable as exc:
        yield wrong("sight", exc.detail, "Start slurmdbd, or run this on a host that reaches it")
        return
    if is_shown_all:
        yield ok("sight", f"{owner}, who runs the broker, sees all jobs")
    else:
        text = f"PrivateData hides other users' jobs from {owner}, who runs the broker: it cannot see which have ended"
        remedy = f"Run qrmid as {settings.slurm_user}, or take `jobs` out of PrivateData in slurm.conf"
        level = f", or: sacctmgr modify user {owner} set AdminLevel=Operator" if _has_levels(settings) else ""
        yield wrong("sight", text, remedy + level)


def _has_levels(settings: controller.Settings) -> bool:
    return settings.facts.get("AccountingStorageType") == "accounting_storage/slurmdbd"


def _is_operator(user: str, settings: controller.Settings) -> bool:
    if not _has_levels(settings):
        return False
    level = controller.ask("sacctmgr", "-nP", "show", "user", user, "format=AdminLevel")
    return level.strip() in ("Operator", "Administrator")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
