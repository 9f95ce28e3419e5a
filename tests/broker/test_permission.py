"""Who may use which resource: what the configuration says, what the scheduler granted, what is drained."""

from __future__ import annotations

import grp
import json
import os
from typing import Any

from qrmi_broker.permission import Permission
from qrmi_core.config import Allow, ResourceConfig

from .daemon import Daemon, fake, vendor_log
from .users import User


def refusal(daemon: Daemon, *wanted: Any, **facts: Any) -> tuple[str, str]:
    """Which error a run gets, and its sentence."""
    answer = daemon.ask(*wanted, until=None, **facts)
    assert "failed" == answer["state"], answer
    return answer["detail"]["error"], answer["error"]


def drain(daemon: Daemon, name: str, reason: str | None) -> None:
    """As an administrator does; None resumes."""
    if reason is None:
        daemon.admin().ask("POST", f"/v1/resources/{name}/resume")
    else:
        daemon.admin().ask("POST", f"/v1/resources/{name}/drain", body=json.dumps({"reason": reason}).encode())


def test_an_allow_list_admits_whom_it_names(new_daemon, folder, users: tuple[User, User]):
    """A user, a group, an account or a partition would be kept out, or a stranger let in."""
    ada, bob = users
    lists = {
        "by-user": {"users": [ada.name]},
        "by-group": {"groups": [grp.getgrgid(ada.gid).gr_name]},
        "by-account": {"accounts": ["physics"]},
        "by-partition": {"partitions": ["gpu"]},
        "by-either": {"users": [ada.name], "accounts": ["physics"]},
    }
    daemon = new_daemon(*(fake(folder / name, name, allow=allow) for name, allow in lists.items())).start()
    physics, chemistry = {"account": "physics"}, {"account": "chemistry", "partition": "cpu"}
    asked = [
        *(("by-user", ada, {}, True), ("by-user", bob, {}, False), ("by-user", bob, {"user": ada.name}, False)),
        *(("by-group", ada, {}, True), ("by-group", bob, {}, False)),
        *(("by-account", bob, physics, True), ("by-account", ada, {}, False), ("by-account", ada, chemistry, False)),
        *(("by-partition", bob, {"partition": "gpu"}, True), ("by-partition", bob, chemistry, False)),
        *(("by-either", ada, {}, True), ("by-either", bob, physics, True), ("by-either", bob, chemistry, False)),
    ]
    found = []
    for job, (name, user, facts, _) in enumerate(asked):
        answer = daemon.ask(name, job=job, run={"uid": user.uid}, facts=facts, until=None)
        found.append((name, user, facts, "granted" == answer["state"]))

    assert asked == found
    assert "AuthorizationRefused" == refusal(daemon, "by-user", job=99, run={"uid": bob.uid})[0]


def test_a_user_whom_the_system_does_not_know_is_in_no_list():
    """A uid without an entry would raise, or pass."""
    entry = ResourceConfig(name="fez", type="fake", allow=Allow(users=("ada",), groups=("q",), accounts=("a",)))

    assert not Permission.allows(entry, 4_000_000)
    assert Permission.allows(entry, 4_000_000, account="a")
    assert Permission.allows(ResourceConfig(name="fez", type="fake"), 4_000_000)


def test_every_group_of_a_user_counts(users, monkeypatch):
    """A user would be kept out by whichever group is his first."""
    ada, _ = users
    other = next(one for one in grp.getgrall() if one.gr_gid != ada.gid)
    entry = ResourceConfig(name="fez", type="fake", allow=Allow(groups=(other.gr_name,)))
    assert not Permission.allows(entry, ada.uid)

    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, 4_000_000, other.gr_gid])

    assert Permission.allows(entry, ada.uid)


def test_users_see_what_they_may_use_or_what_is_public(new_daemon, folder, users: tuple[User, User]):
    """A resource would be hidden from who may use it, or shown to who may not."""
    ada, bob = users
    mine = {"users": [ada.name]}
    resources = [
        *(fake(folder / "1", "open"), fake(folder / "2", "hers", allow=mine)),
        fake(folder / "3", "shown", allow=mine, public=True),
    ]
    daemon = new_daemon(*resources).start()

    def seen(user: User) -> list[str]:
        (answer,) = user.ask(daemon.public, ("GET", "/v1/resources"))
        return [one["name"] for one in answer.facts["resources"]]

    assert ["open", "hers", "shown"] == seen(ada)
    assert ["open", "shown"] == seen(bob)


def test_an_unknown_resource_is_left_out_with_a_warning(daemon):
    """A job that names one more resource than the site has would not start, or not be told."""
    answer = daemon.ask("fez", "fes")

    assert "fez" == answer["environment"]["QRMI_JOB_QPU_RESOURCES"]
    assert [True] == ["fes" in warning for warning in answer["warnings"]]


def test_only_unknown_resources_are_refused(daemon):
    """A job would start without any of the resources it asked for."""
    error, sentence = refusal(daemon, "fes", "fec")

    assert "ConfigError" == error
    assert "'fes'" in sentence
    assert "There are: fez" in sentence


def test_who_mistypes_a_name_is_told_of_what_he_may_see_only(new_daemon, folder, users: tuple[User, User]):
    """A user would learn from a typing error what a site hides from him, or not be told what he meant."""
    ada, bob = users
    mine = {"users": [ada.name], "accounts": ["physics"]}
    resources = [
        *(fake(folder / "1", "open"), fake(folder / "2", "hers", allow=mine)),
        fake(folder / "3", "shown", allow=mine, public=True),
    ]
    daemon = new_daemon(*resources).start()
    asked = [(ada, {}), (bob, {}), (bob, {"account": "physics"})]
    told = [
        refusal(daemon, "fes", job=job, run={"uid": user.uid}, facts=facts)[1].partition("There are: ")[2]
        for job, (user, facts) in enumerate(asked)
    ]

    for words, expected in zip(told, ("hers, open, shown", "open, shown", "hers, open, shown"), strict=True):
        assert words.startswith(expected)


def test_an_unknown_resource_is_refused_where_the_site_says_so(new_daemon, folder):
    """`unknown: refuse` would do nothing, or leave a lease behind."""
    daemon = new_daemon(config={"unknown": "refuse"}).start()

    assert "ConfigError" == refusal(daemon, "fez", "fes")[0]
    assert [] == [one for one in daemon.leases() if one["state"] != "failed"]
    assert [] == vendor_log(folder / "service")
    daemon.ask("fez", job=2)


def test_names_that_would_collide_in_the_environment_are_refused(new_daemon, folder):
    """One resource's variables would overwrite another's, or a user write lines of the answer to root's plugin."""
    daemon = new_daemon(fake(folder / "service"), fake(folder / "kyiv", "kyiv")).start()
    asked = [
        *(("twice", ("fez", "a"), ("fez", "b")), ("both called", ("fez", "a"), ("kyiv", "a"))),
        *(("both called", ("fez", "kyiv"), ("kyiv", None)), ("both called", ("fez", "a-b"), ("kyiv", "a_b"))),
        *(("is not a name", ("fez", "a\nLD_PRELOAD=/tmp/x.so\nb")), ("is not a name", ("fez", "LD_PRELOAD=/tmp/x.so"))),
        *(("is not a name", ("fez", "a,b")), ("is not a name", ("fez", "--x"))),
    ]
    for job, (words, *wanted) in enumerate(asked):
        error, sentence = refusal(daemon, *({"name": name, "alias": alias} for name, alias in wanted), job=job)

        assert "ConfigError" == error
        assert words in sentence
        assert "\n" not in sentence
    daemon.ask({"name": "fez", "alias": "kyiv"}, {"name": "kyiv", "alias": "fez"}, job=99)


def test_no_more_is_given_than_the_scheduler_granted(new_daemon, folder):
    """A user could take a lane that the scheduler gave to another job by asking for it."""
    resources = [fake(folder / "service", lanes=2), fake(folder / "kyiv", "kyiv", lanes=1), fake(folder / "sim", "sim")]
    daemon = new_daemon(*resources, config={"grant": "licences"}).start()
    all_of_it = {"name": "fez", "exclusive": True}
    asked = [
        *((["fez"], ["fez:1"], True), (["fez"], ["fez"], True), (["fez"], ["fez@slurmdb:1"], True)),
        *((["fez"], None, False), (["fez"], [], False), (["fez"], ["kyiv:1"], False), (["fez"], ["fez:0"], False)),
        *((["fez"], ["fez:x"], False), (["fez", "kyiv"], ["fez:1"], False)),
        *(
            (["fez", "kyiv"], ["fez:1", "kyiv:1"], True),
            ([all_of_it], ["fez:1"], False),
            ([all_of_it], ["fez:2"], True),
        ),
        *((["sim"], None, True), (["sim"], [], True), (["fez", "sim"], ["fez"], True), (["fez", "sim"], [], False)),
    ]
    found = []
    for job, (names, licences, _) in enumerate(asked):
        answer = daemon.ask(*names, job=job, facts={"licences": licences}, until=None)
        found.append((names, licences, "granted" == answer["state"]))
        if "granted" == answer["state"]:
            daemon.release(answer["id"])

    assert asked == found
    assert "AuthorizationRefused" == refusal(daemon, "fez", job=99, facts={"licences": []})[0]


def test_a_drained_resource_is_refused_with_its_reason_until_it_is_resumed(daemon):
    """Jobs would go to a QPU that is being calibrated, or not be told why they cannot; or holders lose their leases."""
    before = daemon.ask("fez", job=1)
    drain(daemon, "fez", "calibration until noon")
    error, sentence = refusal(daemon, "fez", job=2)

    assert "ResourceUnavailable" == error
    assert "drained: calibration until noon" in sentence
    assert {"fez": "calibration until noon"} == daemon.admin().ask_json("GET", "/v1/health")["drained"]
    assert ["granted"] == [one["state"] for one in daemon.leases() if one["id"] == before["id"]]

    drain(daemon, "fez", None)
    daemon.ask("fez", job=3)


def test_a_drain_survives_a_restart(daemon):
    """A restart of the broker would send jobs to a QPU that an administrator took out of service."""
    drain(daemon, "fez", "calibration")
    daemon.kill()
    daemon.start()
    assert "drained: calibration" in refusal(daemon, "fez")[1]

    drain(daemon, "fez", None)
    daemon.kill()
    daemon.start()
    daemon.ask("fez", job=2)


def test_a_run_that_waits_is_told_of_a_drain(new_daemon, folder):
    """A run that waited for a lane would get one on a resource that was drained meanwhile."""
    daemon = new_daemon(fake(folder / "service", lanes=1)).start()
    holder = daemon.ask("fez", job=1)
    waiting = daemon.ask("fez", job=2, until=None)
    assert "pending" == waiting["state"]
    drain(daemon, "fez", "calibration")
    daemon.release(holder["id"])
    answer = daemon.ask("fez", job=2, until="failed")

    assert "drained: calibration" in answer["error"]
    assert ["session.opened", "session.closed"] == [entry["event"] for entry in vendor_log(folder / "service")]


def test_a_drain_needs_a_reason(daemon):
    """Those who wait would not be told why."""
    for body in (b"", b"{}", b'{"reason": " "}', b'{"reason": 1}', b"[]"):
        connection = daemon.admin().connection()
        connection.request("POST", "/v1/resources/fez/drain", body=body)

        assert 422 == connection.getresponse().status
        connection.close()
    daemon.ask("fez")


def test_a_step_gets_what_its_run_has_and_no_more(new_daemon, folder):
    """A step that names another resource by a known alias, or all lanes, would run on what it did not ask for."""
    daemon = new_daemon(fake(folder / "fez"), fake(folder / "other", "other")).start()
    granted = daemon.ask({"name": "fez", "alias": "q"}, "nowhere")
    covered = [{"name": "fez", "alias": "q"}, "elsewhere"]
    answer = daemon.ask(*covered)
    assert granted["id"] == answer["id"]
    assert {"nowhere", "elsewhere"} == {text.partition(":")[0] for text in answer["warnings"]}
    for wanted, name in [
        ({"name": "other", "alias": "q"}, "q=other"),
        ({"name": "fez", "alias": "q", "exclusive": True}, "q=fez:exclusive"),
        ("fez", "fez"),
        ("other", "other"),
    ]:
        remedy = "name all resources in the --qpu of sbatch or salloc"
        refused = daemon.post(
            {
                "run": {"uid": os.getuid(), "cluster": "c", "job_id": "1", "restart_count": 0, "start_time": 1001},
                "resources": [{"name": wanted} if isinstance(wanted, str) else wanted],
            }
        )
        assert f"{name}: this job's lease is on q=fez: {remedy}" == refused["message"]
    assert [granted["id"]] == [one["id"] for one in daemon.leases()]
