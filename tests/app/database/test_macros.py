"""What several queries share stands once, in app/database/sql/macros."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from app.database import snapshots
from app.database.snapshots import Scope, Snapshot
from app.database.statements import SQL, macros

QUERIES = sorted(
    path for path in SQL.rglob("*.sql") if path.parent.name not in ("macros", "reviews")
)


def test_a_macro_comes_after_those_that_it_uses() -> None:
    assert macros("curves") == ("macros/scoped_prompt", "macros/counted_pair")
    assert macros("scores") == ("macros/scoped_prompt", "macros/scored_sample")
    assert macros("models") == ()


def test_no_query_repeats_the_filter_of_a_slice() -> None:
    assert not [path for path in QUERIES if "$slice::" in path.read_text()]


def test_no_two_files_have_a_part_in_common() -> None:
    """A common table expression of three lines or more that two files share is a macro's."""
    files: dict[str, set[str]] = {}
    for path in [*QUERIES, *(SQL / "macros").glob("*.sql")]:
        parts = re.findall(r" AS (?:MATERIALIZED )?\((.*?)\n\)", path.read_text(), re.DOTALL)
        for part in parts:
            lines = [line.strip() for line in part.splitlines() if line.strip()]
            if len(lines) >= 3:
                files.setdefault("\n".join(lines), set()).add(path.name)
    assert not [names for names in files.values() if len(names) > 1]


@pytest.mark.parametrize("prompts", [None, (), (2, 3, 1_000)])
def test_scoped_prompts_are_those_of_the_categories_and_the_slice(
    prompts: tuple[int, ...] | None,
    snapshot: Snapshot,
    scope: Scope,
    direct: duckdb.DuckDBPyConnection,
) -> None:
    kept = scope.categories[:1]
    rows = direct.execute("SELECT prompt_id, category FROM prompt").fetchall()
    expected = [i for i, category in rows if category in kept and (prompts is None or i in prompts)]
    parameters = {"categories": list(kept), "slice": None if prompts is None else list(prompts)}
    with snapshots.connect(snapshot.path) as connection:
        answer = snapshots.answer(connection, "prompt_options", parameters)
    assert answer["prompt_id"].tolist() == sorted(expected)


def test_a_file_is_read_by_its_macros_under_a_further_scorer(tmp_path: Path) -> None:
    """`SET schema` changes what a table's name means, not where a temporary macro is found."""
    from tests.support.synthetic import build_results

    path = build_results(tmp_path / "two", models=2, prompts=4, seeds=1, steps=6, scorers=2)
    parameters = {
        "categories": [""], "slice": None, "concepts": [0], "models": [1, 2], "seeds": [0], "named": False
    }  # fmt: skip
    with snapshots.connect(str(path)) as connection:
        parameters["categories"] = snapshots.answer(connection, "categories", {})[
            "category"
        ].tolist()
        first, second = (snapshots.answer(connection, "curves", parameters, n) for n in (1, 2))
    assert len(first) == len(second) == 12
    assert (first["mean"] != second["mean"]).any()
