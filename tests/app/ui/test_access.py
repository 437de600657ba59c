"""Studies by the groups of the login: nothing is open that no rule opens."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from app.ui import access
from tests.support.pages import MAIN, at, shown

RULES = {
    "claim": "groups",
    "studies": {"alpha": ["red", "blue"], "beta": ["blue"], "*": ["admins"]},
}


@pytest.mark.parametrize(
    ("claims", "claim", "groups"),
    [
        ({"groups": ["a", "b", 7, ""]}, "groups", {"a", "b"}),
        ({"groups": "a, b"}, "groups", {"a", "b"}),
        ({"realm_access": {"roles": ["a"]}}, "realm_access.roles", {"a"}),
        ({"https://x.org/groups": ["a"]}, "https://x.org/groups", {"a"}),
        ({}, "groups", set()),
        ({"groups": {"a": 1}}, "groups", set()),
        ({"groups": "x"}, "groups.more", set()),
    ],
)
def test_groups_are_those_of_the_claim(
    claims: dict[str, Any], claim: str, groups: set[str]
) -> None:
    assert access.groups_of(claims, claim) == groups


@pytest.mark.parametrize(
    ("studies", "groups"),
    [
        (RULES["studies"], {"red", "blue", "admins"}),
        ({"alpha": []}, set()),
        ({"alpha": "red"}, set()),  # a text is no list: its letters are no groups
        ({"beta": ["blue"]}, set()),
        (None, set()),
        ("red", set()),
    ],
)
def test_only_listed_groups_are_admitted(studies: Any, groups: set[str]) -> None:
    assert access.admitted(studies, "alpha") == groups


@pytest.fixture
def studies(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("alpha", "beta"):
        shutil.copytree(results, tmp_path / name)
    monkeypatch.setattr("sys.argv", ["app/main.py", str(tmp_path)])
    return tmp_path


def opened(rules: object, groups: object, **parameters: str) -> tuple[list[str], str]:
    """The studies that a reader can choose from, or [] where there is no choice; and what the page says."""
    app = at(MAIN)
    app.user = {"is_logged_in": True, "name": "Ada"} | (
        {} if groups is None else {"groups": groups}
    )
    if rules is not None:
        app.secrets["access"] = rules
    for key, value in parameters.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception
    return [o for box in app.selectbox if box.key == "study" for o in box.options], shown(app)


def test_without_rules_all_studies_are_open(studies: Path) -> None:
    assert sorted(opened(None, None)[0]) == ["alpha", "beta"]


def test_a_reader_sees_the_studies_of_their_groups(studies: Path) -> None:
    assert sorted(opened(RULES, ["blue"])[0]) == ["alpha", "beta"]
    assert sorted(opened(RULES, ["admins"])[0]) == ["alpha", "beta"]
    choice, text = opened(RULES, ["red"], study="beta")
    assert choice == [] and "beta" not in text and "No study here is open to you" not in text


@pytest.mark.parametrize(
    ("rules", "groups"), [(RULES, ["green"]), (RULES, None), ({"claim": "groups"}, ["red"])]
)
def test_nothing_is_open_by_default(studies: Path, rules: object, groups: object) -> None:
    choice, text = opened(rules, groups)
    assert choice == [] and "No study here is open to you" in text
    assert "alpha" not in text and "beta" not in text
