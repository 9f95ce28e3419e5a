"""Who may use which resource: what the configuration says, and what the scheduler granted."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Mapping

from attrs import frozen

from qrmi_broker.lease import Grant, Wanted
from qrmi_broker.vendor import Vendor
from qrmi_core.config import Allow, Config, ResourceConfig
from qrmi_core.errors import AuthorizationRefused, ConfigError, ResourceUnavailable
from qrmi_core.variables import NAME, NAME_RULE, shell_name


@frozen
class Permission:
    """The rules of one configuration."""

    config: Config

    def check(self, grant: Grant, vendors: Mapping[str, Vendor]) -> set[str]:
        """The names of *grant* that can be given; names that the configuration lacks are left out or refused.

        Raises:
            ConfigError, AuthorizationRefused, ResourceUnavailable: nothing is given.
        """
        who = (grant.run.uid, grant.facts.account, grant.facts.partition)
        names = [one.name for one in grant.wanted]
        _check_names(grant.wanted)
        unknown = [name for name in names if name not in vendors]
        if unknown and (self.config.unknown == "refuse" or len(unknown) == len(names)):
            seen = sorted(name for name, one in vendors.items() if self.shows(one.entry, *who))
            remedy = f"There are: {', '.join(seen) or 'none'}"
            raise ConfigError.one("--qpu", "", f"there is no resource {unknown[0]!r}", remedy)
        for name in names:
            if name in vendors and not self.allows(vendors[name].entry, *who):
                raise AuthorizationRefused(name, "its `allow` list has none of what this job is")
        self.check_drains(grant, vendors)
        if self.config.grant == "licences":
            self._licensed(grant, vendors)
        return {name for name in names if name in vendors}

    @staticmethod
    def is_plain(grant: Grant, vendors: Mapping[str, Vendor]) -> bool:
        """Whether `check` asks nobody, and so does not block: no resource of *grant* has an `allow` list."""
        return all(one.name in vendors and vendors[one.name].entry.allow == Allow() for one in grant.wanted)

    @staticmethod
    def check_drains(grant: Grant, vendors: Mapping[str, Vendor]) -> None:
        """Refuse what is drained.

        Raises:
            ResourceUnavailable: with the reason of whoever drained it.
        """
        for one in grant.wanted:
            if one.name in vendors and (reason := vendors[one.name].drained) is not None:
                raise ResourceUnavailable(one.name, f"drained: {reason}")

    @classmethod
    def shows(cls, entry: ResourceConfig, uid: int, account: str | None = None, partition: str | None = None) -> bool:
        """Whether somebody is told of a resource: everybody is, or he may use it. Blocks as `allows` does."""
        return entry.public or cls.allows(entry, uid, account, partition)

    @staticmethod
    def allows(entry: ResourceConfig, uid: int, account: str | None = None, partition: str | None = None) -> bool:
        """Whether its `allow` list has the user, one of the user's groups, the account or the partition.

        Blocks while the host asks its directory of users: not for the thread of the event loop.
        """
        allow = entry.allow
        if not (allow.users or allow.groups or allow.accounts or allow.partitions):
            return True
        if account in allow.accounts or partition in allow.partitions:
            return True
        try:
            user = pwd.getpwuid(uid)
        except KeyError:
            return False
        if user.pw_name in allow.users:
            return True
        return bool(allow.groups) and not set(allow.groups).isdisjoint(_groups(user))

    @staticmethod
    def _licensed(grant: Grant, vendors: Mapping[str, Vendor]) -> None:
        """What has no `lanes` has no licence either, and anybody may have it."""
        counted = [one for one in grant.wanted if one.name in vendors and vendors[one.name].entry.lanes is not None]
        if counted and grant.facts.licences is None:
            raise AuthorizationRefused(counted[0].name, "the scheduler's licences of this job are not known")
        granted = dict(_licence(text) for text in grant.facts.licences or ())
        for one in counted:
            if granted.get(one.name, 0) < _needed(one, vendors[one.name].entry):
                raise AuthorizationRefused(one.name, "the scheduler granted this job no licence for it")


def _check_names(wanted: tuple[Wanted, ...]) -> None:
    """Each resource once, and each alias a name of its own: it becomes the beginning of variables' names."""
    names = [one.name for one in wanted]
    shells: dict[str, str] = {}
    for one in wanted:
        if names.count(one.name) > 1:
            raise ConfigError.one("--qpu", "", f"lists {one.name!r} twice", "List each resource once")
        alias = one.alias or one.name
        if one.alias is not None and not NAME.fullmatch(alias):
            raise ConfigError.one("--qpu", "", f"the alias {alias!r} is not a name", NAME_RULE)
        other = shells.setdefault(shell_name(alias), one.name)
        if other != one.name:
            raise ConfigError.one("--qpu", "", f"{other!r} and {one.name!r} are both called {alias!r}", "Rename one")


def _groups(user: pwd.struct_passwd) -> set[str]:
    found = set()
    for gid in os.getgrouplist(user.pw_name, user.pw_gid):
        try:
            found.add(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue
    return found


def _licence(text: str) -> tuple[str, int]:
    """``name``, ``name:count``, ``name@server:count``; a count that is no number grants nothing."""
    name, colon, count = text.partition(":")
    return name.partition("@")[0], int(count) if count.isdecimal() else int(not colon)


def _needed(one: Wanted, entry: ResourceConfig) -> int:
    return (entry.lanes or 1) if one.exclusive else 1
