"""`qrmi_config.json`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrmi_core import ConfigError
from qrmi_core.config import Allow, Config, ResourceConfig, load
from qrmi_core.job import locate
from qrmi_core.secret import SecretReference

CANARY = "canary-9d41b7"
FULL = {
    "resources": [
        {
            "name": "ibm_fez",
            "type": "direct-access",
            "environment": {
                "QRMI_ACME_ENDPOINT": "https://localhost",
                "QRMI_ACME_API_KEY": {"file": "/run/key"},
                "QRMI_ACME_PIN": {"env": "PIN"},
                "QRMI_ACME_SHOTS": 100,
                "QRMI_ACME_SCALE": 1.5,
                "QRMI_ACME_VERIFY": False,
            },
            "access": "job",
            "lanes": 2,
            "description": "the big one",
            "allow": {"users": ["ada"], "groups": ["q"], "accounts": ["a1"], "partitions": ["gpu"]},
            "public": True,
        },
        {"name": "sim", "type": "local"},
    ],
    "unknown": "refuse",
    "grant": "licences",
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
KEYS = st.sampled_from([*FULL["resources"][0], "bogus", "a @ b", "\x1b[0m"])
RESOURCES = st.dictionaries(KEYS, VALUES | st.sampled_from(["a-b", "a_b", "local"]))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """One for all examples of a property."""
    return tmp_path_factory.mktemp("config")


@pytest.fixture
def write(tmp_path):
    """Write a configuration that only its owner can read."""

    def write_(document: object) -> Path:
        path = tmp_path / "qrmi_config.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        path.chmod(0o600)
        return path

    return write_


def faults_of(path: Path) -> dict[str, tuple[str, str]]:
    """Path -> problem and remedy."""
    with pytest.raises(ConfigError) as info:
        load(path)
    assert str(path) == info.value.source
    assert all(remedy for _, _, remedy in info.value.faults)
    return {at: (problem, remedy) for at, problem, remedy in info.value.faults}


def of_resource(write, **facts: object) -> dict[str, tuple[str, str]]:
    return faults_of(write({"resources": [{"name": "sim", "type": "local", **facts}]}))


def test_every_key_is_read(write):
    """A site would write something that has no effect."""
    path = write(FULL)
    expected = ResourceConfig(
        name="ibm_fez",
        type="direct-access",
        environment={
            "QRMI_ACME_ENDPOINT": "https://localhost",
            "QRMI_ACME_API_KEY": SecretReference(file="/run/key"),
            "QRMI_ACME_PIN": SecretReference(env="PIN"),
            "QRMI_ACME_SHOTS": "100",
            "QRMI_ACME_SCALE": "1.5",
            "QRMI_ACME_VERIFY": "false",
        },
        access="job",
        lanes=2,
        description="the big one",
        allow=Allow(users=("ada",), groups=("q",), accounts=("a1",), partitions=("gpu",)),
        public=True,
    )

    assert (
        Config(
            path=path,
            resources=(expected, ResourceConfig(name="sim", type="local")),
            unknown="refuse",
            grant="licences",
        )
        == load(path)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "path", "problem"),
    [
        ({"name": 5}, "name", "is a number, not text"),
        ({"name": ""}, "name", "'' is not a name"),
        ({"name": ".."}, "name", "'..' is not a name"),
        ({"name": "-x"}, "name", "'-x' is not a name"),
        ({"name": "a/b"}, "name", "'a/b' is not a name"),
        ({"name": "a\x1b[0m"}, "name", r"'a\x1b[0m' is not a name"),
        ({"name": "n" * 129}, "name", repr("n" * 129) + " is not a name"),
        ({"type": " "}, "type", "is empty"),
        ({"environment": ["A=1"]}, "environment", "is a list, not an object"),
        ({"environment": {"A": None}}, "environment.A", 'is not text, a number, {"file": "/path"} or {"env": "NAME"}'),
        (
            {"environment": {"A": {"file": "/x", "env": "Y"}}},
            "environment.A",
            'is not text, a number, {"file": "/path"} or {"env": "NAME"}',
        ),
        ({"environment": {"A": {"file": 5}}}, "environment.A.file", "is a number, not text"),
        ({"access": "both"}, "access", "is 'both', not broker or job"),
        ({"lanes": 0}, "lanes", "is 0"),
        ({"lanes": True}, "lanes", "is true or false, not a whole number"),
        ({"description": 5}, "description", "is a number, not text"),
        ({"allow": {"users": "ada"}}, "allow.users", "is text, not a list"),
        ({"allow": {"user": []}}, "allow.user", "is not known here, did you mean users?"),
        ({"public": "yes"}, "public", "is text, not true or false"),
        ({"lane": 2}, "lane", "is not known here, did you mean lanes?"),
    ],
)
def test_a_fault_of_a_resource_is_named_by_its_path(write, facts, path, problem):
    """Somebody would look for it in a file of fifty resources."""
    assert problem == of_resource(write, **facts)[f"resources[0].{path}"][0]


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ([], ""),
        ({}, "resources"),
        ({"resources": {}}, "resources"),
        ({"resources": [[]]}, "resources[0]"),
        ({"resources": [], "unknown": "maybe"}, "unknown"),
        ({"resources": [], "grant": True}, "grant"),
        ({"resources": [], "resource": []}, "resource"),
        ("{", "$"),
        ("", "$"),
        ('{"resources": [], "resources": []}', "$"),
    ],
)
def test_a_fault_of_the_file_is_named_by_its_path(write, document, path):
    """A file that is another one, or half of one, would end in a traceback."""
    assert [path] == list(faults_of(write(document)))


def test_all_faults_come_at_once(write):
    """An administrator would mend a file as often as it has faults."""
    found = faults_of(write({"resources": [{"name": "a b", "type": ""}, {"nam": "x"}, 5], "grant": "some", "zzz": 1}))

    entries = {0: ("name", "type"), 1: ("name", "type", "nam")}
    expected = {f"resources[{index}].{key}" for index, keys in entries.items() for key in keys}
    assert expected | {"resources[2]", "grant", "zzz"} == set(found)


def test_two_resources_have_two_names(write):
    """A job would get the one or the other."""
    found = faults_of(write({"resources": [{"name": "a", "type": "local"}, {"name": "a", "type": "acme"}]}))

    assert "2 resources are named 'a'" == found["resources"][0]


def test_two_resources_have_two_names_in_a_shell(write):
    """The settings of one would be taken for those of the other."""
    found = faults_of(write({"resources": [{"name": "a-b", "type": "local"}, {"name": "a.b", "type": "local"}]}))

    assert "'a-b' and 'a.b' have the same name for shells, a_b" == found["resources"][0]


@pytest.mark.parametrize(("mode", "is_refused"), [(0o600, False), (0o640, False), (0o644, True), (0o604, True)])
def test_a_secret_in_a_file_that_everybody_can_read_is_refused_with_what_mends_it(write, mode, is_refused):
    """Every user of the machine could use the site's account."""
    path = write({"resources": [{"name": "fez", "type": "acme", "environment": {"QRMI_ACME_API_KEY": CANARY}}]})
    path.chmod(mode)
    if not is_refused:
        load(path)
        return
    with pytest.raises(ConfigError) as info:
        load(path)

    assert [f"chmod o-rwx {path}"] == [remedy for _, _, remedy in info.value.faults]
    assert CANARY not in str(info.value)
    os.system(info.value.faults[0][2])
    load(path)


def test_a_reference_to_a_secret_may_be_read_by_everybody(write):
    """Only the secret itself is one."""
    environment = {"QRMI_ACME_API_KEY": {"file": "/run/key"}, "QRMI_ACME_TOKEN": {"env": "T"}, "QRMI_ACME_PASSWORD": ""}
    path = write({"resources": [{"name": "fez", "type": "acme", "environment": environment}]})
    path.chmod(0o644)

    assert "fez" == load(path).resource("fez").name


def test_a_secret_is_in_no_repr(write):
    """A traceback or a log would show it."""
    path = write({"resources": [{"name": "fez", "type": "acme", "environment": {"QRMI_ACME_API_KEY": CANARY}}]})

    assert CANARY not in repr(load(path))


def test_a_secret_comes_from_its_file_or_variable(tmp_path, monkeypatch):
    """The line break that every editor adds would be sent as part of it."""
    (tmp_path / "key").write_text(f"{CANARY}\n")
    monkeypatch.setenv("ACME_KEY", CANARY)

    assert CANARY == SecretReference(file=str(tmp_path / "key")).resolve()
    assert CANARY == SecretReference(env="ACME_KEY").resolve()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff" + CANARY.encode(), "not UTF-8"),
        (CANARY.encode() * 10_000, "longer than"),
    ],
)
def test_a_file_that_holds_no_secret_is_refused_without_showing_it(tmp_path, content, says):
    """A request would go out with half a key, or a message would show it."""
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=says) as info:
        SecretReference(file=str(path)).resolve()

    assert str(path) in str(info.value)
    assert "canary" not in repr(info.value) + repr(info.value.__cause__)


@pytest.mark.parametrize("file", ["/nowhere/key", "/", "/dev/zero", "a\0b"])
def test_a_file_that_cannot_be_read_is_no_secret(file):
    """It would end in a traceback, or fill the memory."""
    with pytest.raises(ValueError, match=r"file|null"):
        SecretReference(file=file).resolve()


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_variable_that_is_not_set_is_no_secret(monkeypatch, value):
    """An empty key would be sent."""
    if value is not None:
        monkeypatch.setenv("ACME_KEY", value)
    with pytest.raises(ValueError, match="ACME_KEY"):
        SecretReference(env="ACME_KEY").resolve()


def test_an_unknown_resource_is_answered_with_its_neighbour(write):
    """A typo would be answered with no."""
    config = load(write(FULL))

    with pytest.raises(ConfigError, match=r"Did you mean ibm_fez\?"):
        config.resource("ibm_fes")
    with pytest.raises(ConfigError, match="There are: ibm_fez, sim"):
        config.resource("zzzzzz")


@pytest.mark.parametrize("path", ["/nowhere/c.json", "/", "/dev/zero"])
def test_a_file_that_cannot_be_read_is_a_fault(outcome, path):
    """A wrong path would end in a traceback."""
    assert isinstance(outcome(load, Path(path)), ConfigError)


def test_the_file_is_the_one_that_was_named_last(tmp_path):
    """A user could not try another file than the site's, nor a site set one."""
    user = tmp_path / "qrmi" / "qrmi_config.json"
    environ = {"XDG_CONFIG_HOME": str(tmp_path), "HOME": "/nowhere"}

    assert locate(None, environ) is None
    user.parent.mkdir()
    user.write_text("{}")
    assert user == locate(None, environ)
    assert user == locate(None, {"HOME": str(tmp_path), "XDG_CONFIG_HOME": "", **environ})
    assert Path("site.json") == locate(None, {**environ, "QRMI_CONFIG": "site.json"})
    assert Path("mine.json") == locate("mine.json", {**environ, "QRMI_CONFIG": "site.json"})


def test_the_users_file_is_in_the_home_by_default(tmp_path):
    """Somebody who follows the manual would not be heard."""
    user = tmp_path / ".config" / "qrmi" / "qrmi_config.json"
    user.parent.mkdir(parents=True)
    user.write_text("{}")

    assert user == locate(None, {"HOME": str(tmp_path)})
    assert locate(None, {}) is None
    assert locate(None, {"XDG_CONFIG_HOME": "x" * 5000}) is None


@given(
    st.binary()
    | st.builds(
        lambda resources, more: json.dumps({"resources": resources, **more}).encode(),
        st.lists(RESOURCES | VALUES, max_size=3) | VALUES,
        st.dictionaries(st.sampled_from(["unknown", "grant", "x"]), VALUES),
    )
)
def test_any_file_is_a_configuration_or_refused(outcome, folder, content):
    """A broken file would end in a traceback on every login node."""
    path = folder / "c.json"
    path.write_bytes(content)

    assert isinstance(outcome(load, path), (Config, ConfigError))
