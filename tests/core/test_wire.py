"""Models out of parsed JSON, strictly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import pytest
from attrs import Factory, frozen
from hypothesis import given
from hypothesis import strategies as st

from qrmi_core import wire


@frozen(kw_only=True)
class Inner:
    words: tuple[str, ...] = ()


@frozen(kw_only=True)
class Model:
    text: str
    count: int = 0
    flag: bool = False
    choice: Literal["fast", "exact"] = "fast"
    names: Mapping[str, str] = Factory(dict)
    inner: Inner = Factory(Inner)
    many: list[int] = Factory(list)
    maybe: int | None = None


for _cls in (Inner, Model):
    wire.forbid_extra_keys(_cls)

GOOD = {
    "text": "t",
    "count": 3,
    "flag": True,
    "choice": "exact",
    "names": {"a": "b"},
    "inner": {"words": ["x", "y"]},
    "many": [1, 2],
    "maybe": None,
}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(list(GOOD)), inner),
)


def faults_of(document: object) -> dict[str, str]:
    made, faults = wire.structure(document, Model)
    assert made is None
    return dict(faults)


def test_a_right_document_becomes_the_model():
    """Nobody could configure anything."""
    made, faults = wire.structure(GOOD, Model)

    assert [] == faults
    assert (
        Model(
            text="t", count=3, flag=True, choice="exact", names={"a": "b"}, inner=Inner(words=("x", "y")), many=[1, 2]
        )
        == made
    )


@pytest.mark.parametrize(
    ("member", "value", "path", "problem"),
    [
        ("text", 5, "text", "is a number, not text"),
        ("text", None, "text", "is null, not text"),
        ("count", "3", "count", "is text, not a whole number"),
        ("count", True, "count", "is true or false, not a whole number"),
        ("count", 3.0, "count", "is a number, not a whole number"),
        ("flag", "no", "flag", "is text, not true or false"),
        ("flag", 1, "flag", "is a number, not true or false"),
        ("choice", "slow", "choice", "is 'slow', not fast or exact"),
        ("choice", [], "choice", "is a list, not fast or exact"),
        ("names", [], "names", "is a list, not an object"),
        ("names", {"a": 5}, "names.a", "is a number, not text"),
        ("inner", [], "inner", "is a list, not an object"),
        ("inner", {"words": "xy"}, "inner.words", "is text, not a list"),
        ("inner", {"words": {"x": 1}}, "inner.words", "is an object, not a list"),
        ("inner", {"words": ["x", 5]}, "inner.words[1]", "is a number, not text"),
        ("inner", {"word": []}, "inner.word", "is not known here, did you mean words?"),
        ("many", {"0": 1}, "many", "is an object, not a list"),
        ("maybe", "3", "maybe", "is text, not a whole number"),
        ("nonsense", 1, "nonsense", "is not known here"),
    ],
)
def test_a_wrong_member_is_named_by_its_path_and_in_words_of_json(member, value, path, problem):
    """It would become something else, as plain cattrs does it, or be told in words of Python."""
    assert {path: problem} == faults_of({**GOOD, member: value})


def test_all_faults_come_at_once():
    """Somebody would mend a file as often as it has faults."""
    assert {"text", "count", "inner.words[0]", "zzz"} == set(
        faults_of({"count": "x", "inner": {"words": [1]}, "zzz": 1})
    )


@given(ANYTHING)
def test_any_document_becomes_the_model_or_faults(document):
    """A file that nobody foresaw would end in a traceback."""
    made, faults = wire.structure(document, Model)

    assert (made is None) == bool(faults)
