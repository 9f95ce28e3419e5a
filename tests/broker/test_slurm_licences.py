"""`qrmi slurm licenses`: what it prints, what it writes, and what its script decides."""

from __future__ import annotations

import importlib
import json
import os
import time
from pathlib import Path

import pytest

from qrmi_broker.slurm import controller, licences
from qrmi_core.config import Config, ResourceConfig, load
from qrmi_core.errors import ConfigError
from qrmi_core.variables import NAME

CONTROLLER = """
slurm = {
    SUCCESS = 0,
    ESLURM_INVALID_LICENSES = 2048,
    log_user = function(format, ...) say(string.format(format, ...)) end,
}
"""
"""The part of slurmctld that the script sees."""
OPTION = "_SLURM_SPANK_OPTION_qrmi_qpu"
THERE_ARE = "There are: da-local.x, ibm_fez, sim"


def config(unknown: str = "warn") -> Config:
    """Two resources with lanes, one without."""
    entries = [("ibm_fez", 4), ("da-local.x", 2), ("sim", None)]
    made = tuple(ResourceConfig(name=name, type="fake", lanes=lanes) for name, lanes in entries)
    return Config(path=Path("qrmi_config.json"), resources=made, unknown=unknown)


@pytest.fixture(params=["lua51", "lua54"])
def decide(request):
    """What the generated script decides of cases: ``(is accepted, licences, what the user reads)`` of each.

    Slurm is built with one Lua or another; 5.1 is the oldest that it takes.
    """
    lua = importlib.import_module(f"lupa.{request.param}").LuaRuntime(unpack_returned_tuples=True)
    said: list[str] = []
    lua.globals().say = said.append
    lua.execute(CONTROLLER)

    def run(*cases: str, unknown: str = "warn") -> list[tuple[bool, str | None, str]]:
        qrmi, found = lua.execute(licences.script(config(unknown))), []
        for case in cases:
            said.clear()
            facts = lua.eval(case)
            lua.globals().slurm.reservations = facts.drains
            uid = 1000 if facts.uid is None else facts.uid
            changes = facts.verb == "modify"
            status = qrmi.modify(facts.job, facts.record, uid) if changes else qrmi.submit(facts.job, uid)
            found.append((status == 0, facts.job.licenses, " / ".join(said)))
        return found

    return run


def job(qpu: str | None, **facts: str) -> str:
    """A job that is submitted with ``--qpu``, as a case; *facts* are Lua."""
    spank = f'{{[0] = "{OPTION}={qpu}"}}' if qpu is not None else "nil"
    more = "".join(f", {name} = {value}" for name, value in facts.items())
    return f"{{ job = {{ spank_job_env = {spank}{more} }} }}"


@pytest.mark.parametrize(
    ("qpu", "facts", "expected"),
    [
        ("ibm_fez", {}, "ibm_fez:1"),
        ("dev=ibm_fez", {}, "ibm_fez:1"),
        ("ibm_fez:exclusive", {}, "ibm_fez:4"),
        ("a.b=da-local.x:exclusive,ibm_fez", {}, "da-local.x:2,ibm_fez:1"),
        ("ibm_fez", {"licenses": '"matlab:2;ansys"'}, "ibm_fez:1,matlab:2;ansys"),
        ("ibm_fez", {"licenses": '"ibm_fez@other:3,matlab"'}, "ibm_fez:1,ibm_fez@other:3,matlab"),
        ("ibm_fez", {"array_inx": '"0-9%2"'}, "ibm_fez:1"),
        ("sim", {}, None),
        ("sim:exclusive", {"licenses": '"a|b"'}, "a|b"),
        (None, {"licenses": '"matlab"'}, "matlab"),
        (None, {}, None),
        ("ibm_fez", {"het_job_offset": "0"}, "ibm_fez:1"),
        ("ibm_fez", {"script": '"#!"', "environment": f'{{ {OPTION} = "ibm_fez" }}'}, "ibm_fez:1"),
    ],
)
def test_a_job_gets_the_licences_of_what_it_asked_for(decide, qpu, facts, expected):
    """A lane would have two users, or a job wait for lanes that it does not need."""
    assert [(True, expected, "")] == decide(job(qpu, **facts))


@pytest.mark.parametrize("unknown", ["warn", "refuse"])
@pytest.mark.parametrize(
    ("qpu", "facts", "says"),
    [
        ("", {}, f"--qpu: '' is no [alias=]name[:exclusive]. {THERE_ARE}"),
        ("ibm_fez,,sim", {}, f"--qpu: '' is no [alias=]name[:exclusive]. {THERE_ARE}"),
        ("ibm_fez,", {}, f"--qpu: '' is no [alias=]name[:exclusive]. {THERE_ARE}"),
        ("ibm fez", {}, f"--qpu: 'ibm fez' is no [alias=]name[:exclusive]. {THERE_ARE}"),
        ("../x", {}, f"--qpu: '../x' is no [alias=]name[:exclusive]. {THERE_ARE}"),
        ("a=b=ibm_fez", {}, f"--qpu: 'a=b=ibm_fez' is no [alias=]name[:exclusive]. {THERE_ARE}"),
        ("=ibm_fez", {}, f"--qpu: '=ibm_fez' is no [alias=]name[:exclusive]. {THERE_ARE}"),
        ("ibm_fez:exclusiv", {}, "ibm_fez: 'exclusiv' cannot stand after its name. Write ibm_fez or ibm_fez:exclusive"),
        ("ibm_fez:", {}, "ibm_fez: '' cannot stand after its name. Write ibm_fez or ibm_fez:exclusive"),
        ("ibm_fez:2", {}, "ibm_fez: '2' cannot stand after its name. Write ibm_fez or ibm_fez:exclusive"),
        ("ibm_fez,b=ibm_fez", {}, "ibm_fez: --qpu lists it twice. List each resource once"),
        (
            "a-b=ibm_fez,a.b=sim",
            {},
            "sim: its variables would be called as those of ibm_fez. Give it another alias",
        ),
        ("nope", {}, f"'nope': there is no such resource. {THERE_ARE}"),
        ("nope,nada", {}, f"'nope': there is no such resource. {THERE_ARE}"),
        (
            "ibm_fez",
            {"licenses": '"matlab;ibm_fez:4"'},
            "ibm_fez: -L asks for its lanes. Take it out of -L: --qpu=ibm_fez brings the licence with it",
        ),
        (
            None,
            {"licenses": '"ibm_fez"'},
            "ibm_fez: -L asks for its lanes. Take it out of -L: --qpu=ibm_fez brings the licence with it",
        ),
        (
            None,
            {"licenses": '"matlab|da-local.x"'},
            "da-local.x: -L asks for its lanes. Take it out of -L: --qpu=da-local.x brings the licence with it",
        ),
        ("ibm_fez", {"licenses": '"a|b"'}, "-L 'a|b': '|' cannot stand beside --qpu. Name the licences with ','"),
        (
            None,
            {"script": '"#!"', "environment": f'{{ {OPTION} = "ibm_fez" }}'},
            f"{OPTION}: is set in the environment of this job. Unset it, and say what you want with --qpu",
        ),
        (
            "sim",
            {"script": '"#!"', "environment": f'{{ {OPTION} = "ibm_fez" }}'},
            f"{OPTION}: is set in the environment of this job. Unset it, and say what you want with --qpu",
        ),
        (
            "ibm_fez",
            {"het_job_offset": "1"},
            "--qpu: stands in a later component of a heterogeneous job. Give it to the first one, which leases for all",
        ),
    ],
)
def test_what_is_wrong_is_said_at_submit(decide, qpu, facts, says, unknown):
    """A job would wait for hours and fail on its node."""
    [(is_accepted, _, said)] = decide(job(qpu, **facts), unknown=unknown)

    assert (False, f"qrmi: {says}") == (is_accepted, said)


def test_an_unknown_name_beside_a_known_one_follows_the_policy(decide):
    """The configuration's `unknown` would hold on the node only."""
    assert [
        (True, "ibm_fez:1", f"qrmi: 'nope': there is no such resource; the job goes on without it. {THERE_ARE}")
    ] == decide(job("ibm_fez,nope"))
    assert [(False, None, f"qrmi: 'nope': there is no such resource. {THERE_ARE}")] == decide(
        job("ibm_fez,nope"), unknown="refuse"
    )


def test_only_the_leader_of_a_heterogeneous_job_pays(decide):
    """Each component would wait for a lane, and only one of them be used."""
    outcomes = decide(
        job("ibm_fez", het_job_offset="0"),
        job("ibm_fez", het_job_offset="1"),
        job(None, het_job_offset="2"),
        job("sim", het_job_offset="3"),
        job(None, het_job_offset="0"),
        job("ibm_fez", het_job_offset="1"),
    )

    assert [True, True, True, False, True, False] == [is_accepted for is_accepted, _, _ in outcomes]
    assert ["ibm_fez:1", None, None] == [found for _, found, _ in outcomes[:3]]


@pytest.mark.parametrize(
    ("before", "after", "uid", "is_accepted"),
    [
        ('"ibm_fez:1"', '""', 1000, False),
        ('"ibm_fez:2"', '"ibm_fez:1"', 1000, False),
        ('"ibm_fez:1"', '"ibm_fez:4"', 1000, False),
        ('"ibm_fez:1"', '"ibm_fez:1,ibm_fez:1"', 1000, False),
        ('"ibm_fez:1"', '"ibm_fez:0x1"', 1000, False),
        ("nil", '"ibm_fez"', 1000, False),
        ('"ibm_fez:1,matlab"', '"ansys:2;ibm_fez"', 1000, True),
        ('"ibm_fez:1"', "nil", 1000, True),
        ('"ibm_fez:1"', '""', 0, True),
    ],
)
def test_a_user_cannot_change_the_licences_of_lanes(decide, before, after, uid, is_accepted):
    """A running job would hold a lane that another is given too."""
    case = f'{{ verb = "modify", uid = {uid}, job = {{ licenses = {after} }}, record = {{ licenses = {before} }} }}'
    [(found, _, said)] = decide(case)

    assert is_accepted == found
    assert is_accepted or said.startswith("qrmi: ibm_fez: its licence belongs to --qpu and stays as it is.")


def test_who_submits_to_a_drained_resource_is_told_why(decide):
    """The job would wait without a reason."""
    case = job("ibm_fez,da-local.x").replace(
        "{ job", '{ drains = { ["qrmi_drain:ibm_fez:until_14:00"] = 1, maintenance = 1 }, job', 1
    )

    assert [
        (
            True,
            "ibm_fez:1,da-local.x:1",
            "qrmi: ibm_fez: drained: until 14:00. The job waits in the queue until it is resumed",
        )
    ] == decide(case)


def test_no_line_is_longer_than_a_terminal_bears(decide):
    """A user's own text would fill the screen, or drive it."""
    [(_, _, said)] = decide(job("\\27[31m" + "x" * 5000))

    assert len(said) <= 200
    assert said.isprintable()


def test_the_lines_for_slurm_conf_keep_what_is_there():
    """The site's licences would vanish: of each name Slurm takes the last line."""
    facts = {"Licenses": "matlab:3,ibm_fez:1", "JobSubmitPlugins": "throttle", "SchedulerParameters": "bf_interval=1"}

    assert (
        "Licenses=matlab:3,ibm_fez:4,da-local.x:2\n"
        "JobSubmitPlugins=throttle,lua\n"
        "SchedulerParameters=bf_interval=1,bf_licenses\n"
    ) == licences.conf_lines(config(), controller.Settings(facts))
    assert (
        "Licenses=ibm_fez:4,da-local.x:2\nJobSubmitPlugins=lua\nSchedulerParameters=bf_licenses\n"
    ) == licences.conf_lines(config(), controller.Settings({"Licenses": "(null)", "JobSubmitPlugins": "(null)"}))


def test_no_name_that_the_configuration_allows_is_punctuation_in_a_licence():
    """A name would be read as two licences, or as a count."""
    assert [] == [char for char in ":,;@|=*+ \t\n" if NAME.fullmatch(f"a{char}b")]


def test_the_script_is_written_whole_and_slurm_reads_it_again(tmp_path):
    """Slurm looks at the time of job_submit.lua only: new rules would wait for a restart."""
    assert [tmp_path / licences.SCRIPT, tmp_path / licences.SITE_SCRIPT] == licences.write(config(), tmp_path)
    site = tmp_path / licences.SITE_SCRIPT
    site.write_text(site.read_text() + "-- the site's\n")
    os.utime(site, (1, 1))

    assert [tmp_path / licences.SCRIPT] == licences.write(config("refuse"), tmp_path)
    first = int(site.stat().st_mtime)
    assert first > time.time()
    licences.write(config("warn"), tmp_path)  # within the same second
    assert int(site.stat().st_mtime) > first
    assert site.read_text().endswith("-- the site's\n")
    assert 0o644 == (tmp_path / licences.SCRIPT).stat().st_mode & 0o777
    assert {licences.SCRIPT, licences.SITE_SCRIPT} == {path.name for path in tmp_path.iterdir()}


def test_the_digest_tells_old_rules_and_edited_ones(tmp_path):
    """A script by hand would be taken for ours."""
    one, other = licences.script(config()), licences.script(config("refuse"))

    assert licences.digest_of(one)[0] == licences.digest_of(one)[1] != licences.digest_of(other)[0]
    assert len(set(licences.digest_of(one.replace("2048", "0")))) == 2
    assert ("", "") == licences.digest_of("return slurm.SUCCESS\n")


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    """A traceback would be all there is."""
    with pytest.raises(ConfigError) as caught:
        licences.write(config(), tmp_path / "none")

    assert "No such file" in caught.value.faults[0][1]


def test_the_command_needs_no_slurm(tmp_path, monkeypatch, capfd):
    """A configuration could not be made elsewhere than on the controller."""
    path = tmp_path / "qrmi_config.json"
    path.write_text(json.dumps({"resources": [{"name": "fez", "type": "fake", "lanes": 3}]}))
    monkeypatch.setenv("PATH", str(tmp_path))

    assert {"fez": 3} == licences.lanes(load(path))
    assert 0 == licences.run(str(path), str(tmp_path))
    out, err = capfd.readouterr()
    assert "Licenses=fez:3\nJobSubmitPlugins=lua\nSchedulerParameters=bf_licenses\n" == out
    assert "Slurm was not asked" in err
