"""The resources of a job or of a user."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrmi_core import BackendNotInstalled, ConfigError
from qrmi_core.host import Opening
from qrmi_core.job import available, find

JOB = {"QRMI_JOB_QPU_RESOURCES": "fez,sim", "QRMI_JOB_QPU_TYPES": "acme,local"}
NAMES = st.sampled_from(["fez", "a-b", "a_b", "..", "", "x y", "\x1b", "a.b"])
VARIABLES = st.sampled_from(
    [
        "QRMI_JOB_QPU_RESOURCES",
        "QRMI_JOB_QPU_TYPES",
        "SLURM_JOB_QPU_RESOURCES",
        "SLURM_JOB_QPU_TYPES",
        "QRMI_LIST_DELIMITER",
        "fez_QRMI_JOB_TIMEOUT_SECONDS",
        "a_b_QRMI_JOB_TIMEOUT_SECONDS",
        "a-b_QRMI_LOCAL_SEED",
        "QRMI_CONFIG",
        "HOME",
    ]
)


@pytest.fixture
def write(tmp_path):
    """Write a configuration of resources of type local."""

    def write_(name: str, *resources: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        entries = [{"name": one, "type": "local", "environment": {"QRMI_LOCAL_SEED": "1"}} for one in resources]
        path.write_text(json.dumps({"resources": entries}))
        return path

    return write_


@pytest.fixture
def _no_default(install):
    """Whatever is installed, the type `pretend` is a default."""
    install("qrmi-pretend", group="qrmi.default", points={"pretend": "qrmi_pretend:BACKEND"})


def names(found: list[Opening]) -> list[tuple[str, str]]:
    return [(opening.name, opening.type) for opening in found]


def test_a_jobs_resources_come_from_its_variables_in_their_order():
    """A job would get other resources than it was granted."""
    assert [("fez", "acme"), ("sim", "local")] == names(available(None, JOB))


def test_the_variables_of_existing_programs_are_read_where_ours_are_not_set():
    """A job under another launcher would have no resources."""
    slurm = {"SLURM_JOB_QPU_RESOURCES": "old", "SLURM_JOB_QPU_TYPES": "acme"}

    assert [("old", "acme")] == names(available(None, slurm))
    assert [("fez", "acme"), ("sim", "local")] == names(available(None, {**slurm, **JOB}))


@pytest.mark.parametrize(
    ("delimiter", "text"), [(":", "fez:sim"), (" ", "fez sim"), ("::", "fez::sim"), ("", "fez, sim")]
)
def test_a_list_is_separated_as_its_launcher_says(delimiter, text):
    """Two resources would be one with a strange name."""
    environ = {
        "QRMI_JOB_QPU_RESOURCES": text,
        "QRMI_JOB_QPU_TYPES": delimiter.join(["acme", "local"]) if delimiter else "acme,local",
        "QRMI_LIST_DELIMITER": delimiter,
    }

    assert [("fez", "acme"), ("sim", "local")] == names(available(None, environ))


def test_a_resource_has_its_own_settings():
    """The settings, or the secrets, of one would go to another."""
    environ = {
        **JOB,
        "fez_QRMI_ACME_API_KEY": "canary-1",
        "sim_QRMI_LOCAL_SEED": "2",
        "fez_OTHER": "x",
        "QRMI_ACME_API_KEY": "canary-2",
    }
    fez, sim = available(None, environ)

    assert {"QRMI_ACME_API_KEY": "canary-1"} == fez.environment
    assert {"QRMI_LOCAL_SEED": "2"} == sim.environment


def test_a_name_with_a_hyphen_is_read_verbatim_and_as_shells_can_write_it():
    """A user of bash could set nothing for it; and what the launcher wrote must win over what a shell inherited."""
    environ = {
        "QRMI_JOB_QPU_RESOURCES": "da-local",
        "QRMI_JOB_QPU_TYPES": "acme",
        "da_local_QRMI_ACME_SHOTS": "1",
        "da_local_QRMI_ACME_SCALE": "2",
        "da-local_QRMI_ACME_SHOTS": "3",
        "da_local_QRMI_JOB_ACQUISITION_TOKEN": "token-1",
        "da_local_QRMI_JOB_TIMEOUT_SECONDS": "60",
    }
    (found,) = available(None, environ)

    assert {"QRMI_ACME_SHOTS": "3", "QRMI_ACME_SCALE": "2"} == found.environment
    assert ("token-1", 60.0) == (found.acquisition_token, found.timeout_s)


def test_the_session_of_a_job_is_no_setting():
    """A backend would refuse a variable that it does not declare."""
    environ = {**JOB, "fez_QRMI_JOB_ACQUISITION_TOKEN": "token-1", "fez_QRMI_JOB_TIMEOUT_SECONDS": "0600"}
    fez, sim = available(None, environ)

    assert ({}, "token-1", 600.0) == (fez.environment, fez.acquisition_token, fez.timeout_s)
    assert ({}, None, None) == (sim.environment, sim.acquisition_token, sim.timeout_s)


@pytest.mark.parametrize("text", ["soon", "-5", "0", "000", "1.5", " 5", "1e3", "9" * 10, "9" * 5000, "٣", "5\x1b[0m"])
def test_a_time_limit_that_is_no_number_of_seconds_is_refused(outcome, text):
    """A task would run without a limit, or the clock would overflow."""
    found = outcome(available, None, {**JOB, "fez_QRMI_JOB_TIMEOUT_SECONDS": text})

    assert isinstance(found, ConfigError)
    assert "fez_QRMI_JOB_TIMEOUT_SECONDS" == found.source


@pytest.mark.parametrize(
    ("resources", "types", "faults"),
    [
        ("a,b", "local", ["lists 2 resources, but QRMI_JOB_QPU_TYPES lists 1 types"]),
        ("", "local", ["lists 0 resources, but QRMI_JOB_QPU_TYPES lists 1 types"]),
        ("a,a", "local,local", ["lists 'a' 2 times"]),
        ("../x", "local", ["'../x' is not a name"]),
        ("..,a b,c", "local", [
            "lists 3 resources, but QRMI_JOB_QPU_TYPES lists 1 types", "'..' is not a name", "'a b' is not a name",
        ]),
    ],
)  # fmt: skip
def test_lists_that_are_wrong_are_refused_with_all_their_faults(resources, types, faults):
    """A resource would be opened with the type of another, or keep its state in somebody else's folder."""
    with pytest.raises(ConfigError) as info:
        available(None, {"QRMI_JOB_QPU_RESOURCES": resources, "QRMI_JOB_QPU_TYPES": types})

    assert "QRMI_JOB_QPU_RESOURCES" == info.value.source
    assert faults == [problem for _, problem, _ in info.value.faults]


@pytest.mark.usefixtures("_no_default")
def test_what_is_nearer_to_the_command_wins(write, tmp_path):
    """An option would lose against a variable, or a job's grant against a forgotten file."""
    option, site = write("option.json", "of_option"), write("site.json", "of_site")
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}

    assert ("pretend", "pretend") in names(available(None, environ)), "nobody configured anything"
    write("qrmi/qrmi_config.json", "of_user")
    assert [("of_user", "local")] == names(available(None, environ))
    environ["QRMI_CONFIG"] = str(site)
    assert [("of_site", "local")] == names(available(None, environ))
    environ |= JOB
    assert [("fez", "acme"), ("sim", "local")] == names(available(None, environ))
    assert [("of_option", "local")] == names(available(str(option), environ))


def test_a_variable_replaces_what_the_file_says(write):
    """A user could not try another setting without another file."""
    path = write("c.json", "sim", "other")
    sim, other = available(str(path), {"sim_QRMI_LOCAL_SEED": "7", "sim_QRMI_LOCAL_NOISE": "no"})

    assert {"QRMI_LOCAL_SEED": "7", "QRMI_LOCAL_NOISE": "no"} == sim.environment
    assert {"QRMI_LOCAL_SEED": "1"} == other.environment
    assert (str(path), "resources[0].environment") == (sim.source, sim.path)


def test_the_only_resource_needs_no_name():
    """Every command of a job would have to repeat what the job asked for."""
    environ = {"QRMI_JOB_QPU_RESOURCES": "fez", "QRMI_JOB_QPU_TYPES": "acme"}

    assert "fez" == find(environ=environ).name
    assert "sim" == find("sim", environ=JOB).name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (None, r"there are 2: fez, sim\. Choose one with --qpu"),
        ("fes", "Did you mean fez"),
        ("zzz", "There are: fez, sim"),
    ],
)
def test_a_resource_that_is_not_there_is_answered_with_those_that_are(name, says):
    """A typo would be answered with no."""
    with pytest.raises(ConfigError, match=says):
        find(name, environ=JOB)


def test_where_there_is_nothing_a_type_is_answered_with_its_distribution(write):
    """A newcomer would not know what to install."""
    path = str(write("c.json"))

    with pytest.raises(BackendNotInstalled, match="pip install"):
        find("pasqal-cloud", config_path=path, environ={})
    with pytest.raises(ConfigError, match="none is configured"):
        find(None, config_path=path, environ={})


@given(
    st.dictionaries(
        VARIABLES | st.text().map("fez_QRMI_{}".format),
        st.lists(NAMES, max_size=3).map(",".join) | st.text() | st.sampled_from(["5", "-1", "/"]),
    )
)
def test_any_environment_gives_resources_or_is_refused(outcome, environ):
    """A job would end in a traceback before it began."""
    found = outcome(available, None, environ)

    assert isinstance(found, ConfigError) or all(isinstance(one, Opening) for one in found)
