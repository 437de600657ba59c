"""Every SQL file against a real snapshot; the sandbox; pointers; databases that can't be shown."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
import queries
import snapshots
import uncertainty
from fake_worker import FakeWorker
from queries import Scope, Snapshot, SnapshotError
from synthetic import plan_of, small_study

from pipeline import engine
from pipeline.database.publish import publish

APP = Path(queries.__file__).parent


@pytest.fixture(scope="module")
def snapshot(results: Path) -> Snapshot:
    return queries.locate(results)


@pytest.fixture(scope="module")
def direct(snapshot: Snapshot) -> duckdb.DuckDBPyConnection:
    """The same file, read without the app's queries."""
    copy = Path(snapshot.path).with_suffix(".copy.duckdb")
    shutil.copyfile(snapshot.path, copy)
    return duckdb.connect(str(copy), read_only=True)


@pytest.fixture(scope="module")
def scope(snapshot: Snapshot) -> Scope:
    categories = tuple(queries.ask(snapshot, "categories")["category"])
    seeds = tuple(int(s) for s in queries.ask(snapshot, "study")["seeds"].iloc[0])
    return Scope(
        tuple(queries.ask(snapshot, "models")["model_id"].tolist()),
        tuple(queries.ask(snapshot, "concepts").query("concept_id > 0")["concept_id"].tolist()),
        categories,
        seeds,
        len(categories),
        len(seeds),
    )


@pytest.fixture(scope="module")
def other_steps(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """A study whose second model has half the steps of the first."""
    folder = tmp_path_factory.mktemp("other_steps")
    study = small_study(models=2, prompts=8, seeds=2, steps=12)
    shorter = (study.models[0], replace(study.models[1], steps=6))
    engine.run(plan_of(replace(study, models=shorter)), folder, "cpu", FakeWorker)
    publish(folder)
    return queries.locate(folder)


EVERYTHING: dict[str, Any] = {
    "whole": True,
    "named": False,
    "baseline": 1,
    "candidate": 2,
    "candidates": [2, 3],
    "concept": 0,
    "prompts": [1, 2, 3],
    "methods": ["df-cam"],
    "steps": [0, 4],
    "source": "attention",
    "prompt": 1,
    "seed": 0,
    "progress": 0.5,
    "number": 4,
    "sort": "difference",
    "direction": -1,
    "size": 10,
    "start": 0,
    "search": "",
    "key": "no such key",
    "words": False,
    "most": 10,
    "layer_group": "all",
    "score": "clip",
    "text": "",
    "fewest": None,
    "roles": [],
    "measure": "final",
    "low": None,
    "high": None,
    "top": 0,
}
SQL_FILES = sorted(path.stem for path in queries.SQL.glob("*.sql"))
FASTER = (
    sorted(  # the files that answer the question of another one from what publish has summed up
        path.relative_to(queries.SQL).with_suffix("").as_posix()
        for folder in ("cells", "means")
        for path in (queries.SQL / folder).glob("*.sql")
    )
)


@pytest.mark.parametrize("name", SQL_FILES)
def test_every_query_runs_says_what_a_row_is_and_survives_empty_filters(
    name: str, snapshot: Snapshot, scope: Scope
) -> None:
    text = (queries.SQL / f"{name}.sql").read_text()
    assert text.startswith("-- One row")
    rows = queries.ask(snapshot, name, **{**scope.parameters(), **EVERYTHING})
    assert len(rows) or name in {"failures", "notices", "prompt"}
    part = replace(scope, prompts=(1, 2))
    queries.ask(snapshot, name, **{**part.parameters(), **EVERYTHING})
    nothing = Scope((), (), (), (), scope.total_categories, scope.total_seeds, ())
    asked = {**nothing.parameters(), **EVERYTHING, "candidates": [], "prompts": []}
    queries.ask(snapshot, name, **asked)


SCOPES: dict[str, Callable[[Scope], Scope]] = {
    "everything": lambda scope: scope,
    "a category": lambda scope: replace(scope, categories=scope.categories[:1]),
    "categories": lambda scope: replace(scope, categories=scope.categories[1:]),
    "a model": lambda scope: replace(scope, models=scope.models[1:2]),
    "nothing": lambda scope: replace(scope, categories=("no such category",)),
}
ASKED = {
    "backwards": {"named": False, "baseline": 3, "candidates": [1, 2]},
    "named": {"named": True, "baseline": 2, "candidates": [1, 3]},
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
@pytest.mark.parametrize("narrowed", SCOPES.values(), ids=SCOPES)
@pytest.mark.parametrize("name", FASTER)
def test_sums_of_publish_answer_like_the_trajectories(
    name: str,
    narrowed: Callable[[Scope], Scope],
    asked: dict[str, Any],
    snapshot: Snapshot,
    scope: Scope,
) -> None:
    plain = name.split("/")[1]
    own = narrowed(scope)
    assert snapshots.source(plain, own) == name
    given = {**own.parameters(), **EVERYTHING, **asked}
    if plain == "curves":
        given["concepts"] = [0, *own.concepts]
    found, wanted = queries.ask(snapshot, name, **given), queries.ask(snapshot, plain, **given)
    assert len(wanted) or own.categories == ("no such category",)
    pd.testing.assert_frame_equal(found, wanted, check_dtype=False, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", ["cells/paired_grid", "paired_grid"])
def test_models_with_other_numbers_of_steps_are_matched_by_progress(
    name: str, other_steps: Snapshot, scope: Scope
) -> None:
    for baseline, candidate, last in ((1, 2, 11), (2, 1, 5)):
        given = {"baseline": baseline, "candidates": [candidate]}
        grid = queries.ask(other_steps, name, **{**scope.parameters(), **given})
        assert grid["step"].max() == last
        assert grid["mean"].notna().all()


def test_a_curve_by_hand(snapshot: Snapshot, scope: Scope, direct: Any) -> None:
    rows = direct.execute(
        "SELECT prompt_id, avg(similarity[4]) FROM trajectory WHERE model_id = 2 AND "
        "concept_id = 3 GROUP BY 1"
    ).fetchall()
    values = [value for _, value in rows]
    curve = queries.curves(snapshot, scope, [3]).query("model_id == 2 and step == 3").iloc[0]
    interval = uncertainty.t_interval(values)
    assert curve["mean"] == pytest.approx(interval.estimate)
    assert (curve["low"], curve["high"]) == pytest.approx((interval.low, interval.high))


def test_sums_answer_for_all_seeds_and_whole_categories(scope: Scope) -> None:
    assert snapshots.source("emergence", scope) == "cells/emergence"
    assert snapshots.source("emergence", replace(scope, prompts=(1,))) == "emergence"
    assert snapshots.source("emergence", replace(scope, seeds=(0,))) == "emergence"
    assert (
        snapshots.source("paired_families", replace(scope, prompts=(1,))) == "means/paired_families"
    )
    assert snapshots.source("paired_families", replace(scope, seeds=(0,))) == "paired_families"
    assert snapshots.source("scores", scope) == "scores"


def test_filters_filter(snapshot: Snapshot, scope: Scope) -> None:
    one = Scope((2,), scope.concepts[:1], scope.categories[:1], scope.seeds[:1], 3, 2)
    assert set(queries.ask_scope(snapshot, "scores", one)["model_id"]) == {2}
    assert set(queries.ask_scope(snapshot, "scores", one)["category"]) == set(scope.categories[:1])
    assert queries.ask_scope(snapshot, "scores", one)["seeds"].max() == 1


def test_paired_moments_by_hand(snapshot: Snapshot, scope: Scope, direct: Any) -> None:
    grid = queries.ask_scope(snapshot, "paired_grid", scope, baseline=1, candidates=[2])
    gaps = [
        gap
        for (gap,) in direct.execute(
            "SELECT avg(b.similarity[6] - a.similarity[6]) FROM trajectory a JOIN trajectory b "
            "USING (concept_id, prompt_id, seed) WHERE a.model_id = 1 AND b.model_id = "
            "2 AND concept_id = 2 "
            "GROUP BY prompt_id"
        ).fetchall()
    ]
    cell = grid.query("concept_id == 2 and step == 5").iloc[0]
    assert cell["prompts"] == len(gaps)
    assert cell["mean"] == pytest.approx(np.mean(gaps))
    assert cell["sd"] == pytest.approx(np.std(gaps, ddof=1))
    curve = queries.ask_scope(
        snapshot, "paired_curve", scope, baseline=1, candidates=[2], concept=2
    )
    assert np.stack(curve["difference"])[:, 5].mean() == pytest.approx(np.mean(gaps))


def test_pages_of_the_table_cover_every_prompt_once_in_order(
    snapshot: Snapshot, scope: Scope
) -> None:
    question = {**EVERYTHING, "sort": "score", "direction": 1, "size": 5}
    pages = [
        queries.ask_scope(snapshot, "prompt_page", scope, **{**question, "start": start})
        for start in range(0, 30, 5)
    ]
    ids = [i for page in pages for i in page["prompt_id"]]
    scores = [s for page in pages for s in page["score"].dropna()]
    assert sorted(ids) == list(range(1, 25))
    assert scores == sorted(scores)


@pytest.mark.parametrize(
    "search", ["%", "_", "'; DROP TABLE prompt; --", "\\", "CAT", "\x00", "🦊"]
)
def test_searches_are_taken_literally(search: str, snapshot: Snapshot, scope: Scope) -> None:
    found = queries.ask_scope(
        snapshot, "prompt_page", scope, **{**EVERYTHING, "search": search, "size": 99}
    )
    texts = queries.ask_scope(snapshot, "prompt_options", scope)["text"]
    assert len(found) == sum(search.lower() in text.lower() for text in texts)


def test_emergence_by_hand(snapshot: Snapshot, scope: Scope, direct: Any) -> None:
    rows = queries.ask_scope(snapshot, "emergence", scope, named=False)
    median, share = direct.execute(
        "SELECT median(emergence_step), count(emergence_step) / count(*) FROM trajectory "
        "WHERE model_id = 1 AND concept_id = 1"
    ).fetchone()
    row = rows.query("model_id == 1 and concept_id == 1").iloc[0]
    assert row["emerged_share"] == pytest.approx(share)
    assert row["median"] == pytest.approx(median) if median is not None else np.isnan(row["median"])


@pytest.mark.parametrize("named", [False, True])
def test_emerged_shares_by_hand(snapshot: Snapshot, scope: Scope, direct: Any, named: bool) -> None:
    """Prompt by prompt, as the rollup-like sums of the query replace it."""
    rows = queries.ask_scope(snapshot, "emerged_share", scope, named=named)
    units = direct.execute(
        "SELECT t.model_id, c.family, t.prompt_id, list(coalesce(t.emergence_step, 99)) AS steps FROM trajectory t "
        "JOIN concept c USING (concept_id) JOIN prompt p USING (prompt_id) WHERE c.concept_id > 0 AND (NOT $named OR "
        "regexp_matches(lower(p.text), '\\b' || lower(c.name) || '\\b')) GROUP BY ALL",
        {"named": named},
    ).df()
    for row in rows.iloc[::7].itertuples():
        own = units[(units["model_id"] == row.model_id) & (units["family"] == row.family)]
        shares = [float(np.mean(np.asarray(steps) <= row.step)) for steps in own["steps"]]
        assert row.prompts == len(shares)
        assert row.mean == pytest.approx(np.mean(shares))
        if len(shares) > 1:
            assert row.sd == pytest.approx(np.std(shares, ddof=1), abs=1e-7)


SOME_SEEDS = {"all": (0, 1), "one": (1,)}


@pytest.mark.parametrize("seeds", SOME_SEEDS.values(), ids=SOME_SEEDS)
@pytest.mark.parametrize("named", [False, True])
def test_curves_that_publish_averaged_are_those_averaged_when_asked(
    snapshot: Snapshot, scope: Scope, seeds: tuple[int, ...], named: bool
) -> None:
    some = replace(scope, seeds=seeds, prompts=tuple(range(1, 18)))
    assert some.one_curve
    found = queries.curves(snapshot, some, [0, *scope.concepts], named=named)
    asked = queries.ask_scope(snapshot, "curves", some, concepts=[0, *scope.concepts], named=named)
    columns = list(asked.columns)
    pd.testing.assert_frame_equal(found[columns], asked, check_dtype=False, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("seeds", SOME_SEEDS.values(), ids=SOME_SEEDS)
def test_pairs_that_publish_averaged_are_those_averaged_when_asked(
    snapshot: Snapshot, scope: Scope, seeds: tuple[int, ...]
) -> None:
    some = replace(scope, seeds=seeds, prompts=tuple(range(1, 18)))
    found = queries.paired_grid(snapshot, some, 1, [2, 3])
    asked = queries.ask_scope(snapshot, "paired_grid", some, baseline=1, candidates=[2, 3])
    pd.testing.assert_frame_equal(found, asked, check_dtype=False, rtol=1e-5, atol=1e-6)


def test_prompts_with_other_seeds_are_paired_seed_by_seed(
    altered: Callable[..., Path], scope: Scope
) -> None:
    """Where a sample is missing, the mean over a prompt's seeds is no longer one of shared seeds."""
    place = queries.locate(altered("UPDATE study SET done_samples = done_samples - 1"))
    asked: list[str] = []

    def ask(name: str, scope: Scope, **given: Any) -> pd.DataFrame:
        asked.append(name)
        return queries.ask_scope(place, name, scope, **given)

    for complete in (True, False):
        some = replace(scope, prompts=(1, 2, 3))
        snapshots.paired_grid(ask, some, 1, [2], complete=complete)
    assert asked == ["paired_grid_prompts", "paired_grid"]


@pytest.mark.parametrize("length", [0, 3, 1000])
def test_long_lists_of_ids_are_keys_and_lists_again(length: int) -> None:
    ids = list(range(5, 5 + length))
    assert queries._thawed(queries._frozen(ids)) == ids
    hash(queries._frozen(ids))


def test_emerged_shares_never_fall(snapshot: Snapshot, scope: Scope) -> None:
    rows = queries.ask_scope(snapshot, "emerged_share", scope, named=False)
    for _, own in rows.sort_values("step").groupby(["model_id", "family"]):
        assert own["mean"].is_monotonic_increasing
        assert own["mean"].between(0, 1).all()


def test_named_prompts_are_those_whose_words_are_the_concepts(
    snapshot: Snapshot, scope: Scope
) -> None:
    concepts = queries.ask(snapshot, "concepts")
    texts = queries.ask_scope(snapshot, "prompt_options", scope)
    rows = queries.ask_scope(snapshot, "emergence", scope, named=True)
    for row in rows.head(6).itertuples():
        name = concepts.set_index("concept_id")["name"][row.concept_id]
        pattern = rf"\b{re.escape(name)}\b"
        assert row.prompts <= sum(bool(re.search(pattern, text.lower())) for text in texts["text"])


FORBIDDEN = (
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM glob('/*')",
    "COPY (SELECT 1) TO '/tmp/out.csv'",
    "ATTACH '/tmp/other.duckdb'",
    "INSTALL httpfs",
    "SET enable_external_access = true",
    "SET memory_limit = '64GB'",
    "SELECT * FROM scores_in_python",
    "UPDATE study SET name = 'mine'",
    "DROP TABLE sample",
)


@pytest.mark.parametrize("sql", FORBIDDEN)
def test_the_connection_reads_the_snapshot_and_nothing_else(sql: str, snapshot: Snapshot) -> None:
    scores_in_python = queries.ask(snapshot, "study")
    assert len(scores_in_python)
    connection, _ = queries._connect(snapshot.path)
    with pytest.raises(duckdb.Error):
        connection.cursor().execute(sql).fetchall()


def test_a_new_snapshot_is_followed(results: Path, tmp_path: Path) -> None:
    pointer = json.loads((results / "current.json").read_text())
    folder = tmp_path / "demo"
    (folder / "snapshots").mkdir(parents=True)
    for number in (1, 2):
        file = folder / "snapshots" / f"demo-{number:06d}.duckdb"
        shutil.copyfile(results / pointer["snapshot"], file)
        with duckdb.connect(str(file)) as connection:
            connection.execute("UPDATE study SET snapshot = ?", [number])
        (folder / "next.json").write_text(json.dumps({"snapshot": f"snapshots/{file.name}"}))
        os.replace(folder / "next.json", folder / "current.json")
        found = queries.locate(folder)
        assert queries.ask(found, "study")["snapshot"].iloc[0] == number


def test_a_file_replaced_in_place_is_read_anew(results: Path, tmp_path: Path) -> None:
    file = tmp_path / "study.duckdb"
    for number in (1, 2):
        beside = tmp_path / "beside.duckdb"
        shutil.copyfile(queries.locate(results).path, beside)
        with duckdb.connect(str(beside)) as connection:
            connection.execute("UPDATE study SET snapshot = ?", [number])
        os.replace(beside, file)
        assert queries.ask(queries.locate(file), "study")["snapshot"].iloc[0] == number


def test_studies_to_choose_from(results: Path, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="No study has been published"):
        queries.find_studies([], tmp_path)
    assert queries.find_studies([str(results)]) == (results,)
    assert queries.find_studies([str(results.parent)]) == (results,)
    published = tmp_path / "data" / "results"
    for age, name in enumerate(("new", "old")):
        (published / name).mkdir(parents=True)
        (published / name / "current.json").write_text("{}")
        os.utime(published / name / "current.json", (1e9 - age, 1e9 - age))
    assert [place.name for place in queries.find_studies([], tmp_path)] == ["new", "old"]


def bad_pointer(folder: Path) -> Path:
    (folder / "current.json").write_text("{not json")
    return folder


def list_pointer(folder: Path) -> Path:
    (folder / "current.json").write_text("[1]")
    return folder


def lost_snapshot(folder: Path) -> Path:
    (folder / "current.json").write_text('{"snapshot": "snapshots/gone.duckdb"}')
    return folder


def garbage(folder: Path) -> Path:
    (folder / "garbage.duckdb").write_bytes(b"no database at all" * 1000)
    return folder / "garbage.duckdb"


def empty_file(folder: Path) -> Path:
    (folder / "empty.duckdb").touch()
    return folder / "empty.duckdb"


def other_database(folder: Path) -> Path:
    with duckdb.connect(str(folder / "other.duckdb")) as connection:
        connection.execute("CREATE TABLE cats (name VARCHAR)")
    return folder / "other.duckdb"


BROKEN: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "nowhere", "nothing at this path"),
    "unpublished": (lambda folder: folder, "no published snapshot"),
    "bad pointer": (bad_pointer, "pointer"),
    "list as pointer": (list_pointer, "pointer"),
    "lost snapshot": (lost_snapshot, "is gone"),
    "garbage": (garbage, "not a readable DuckDB database"),
    "empty file": (empty_file, "not a"),
    "other database": (other_database, "not a Stepscope study"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_can_not_be_shown_says_why_and_what_to_do(kind: str, tmp_path: Path) -> None:
    make, words = BROKEN[kind]
    with pytest.raises(SnapshotError, match=words) as raised:
        queries.check(queries.locate(make(tmp_path)))
    assert raised.value.advice
    assert str(tmp_path) in raised.value.detail


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (("UPDATE study SET schema_version = 0",), "older"),
        (("UPDATE study SET schema_version = 999",), "newer"),
        (("DROP TABLE rollup_step",), "rollup_step"),
        (("DELETE FROM study",), "empty"),
    ],
)
def test_other_schemas(
    statements: tuple[str, ...], words: str, altered: Callable[..., Path]
) -> None:
    with pytest.raises(SnapshotError, match=words):
        queries.check(queries.locate(altered(*statements)))


def test_a_database_that_is_being_written_is_locked(
    altered: Callable[..., Path], tmp_path: Path
) -> None:
    import subprocess
    import sys

    path = queries.locate(altered("SELECT 1")).path
    writer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import duckdb, sys\n"
            "with duckdb.connect(sys.argv[1]) as c:\n    print('open', flush=True)\n   "
            " sys.stdin.read()",
            path,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert writer.stdout is not None and writer.stdout.readline() == "open\n"
        with pytest.raises(SnapshotError, match="Another program is writing"):
            queries.check(queries.locate(Path(path)))
    finally:
        writer.communicate()


def test_a_query_that_takes_too_long_is_stopped(snapshot: Snapshot) -> None:
    assert queries.SANDBOX["max_execution_time"] == "20000"


def imported(path: Path) -> set[str]:
    """Top-level names that a file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {
        alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    return found | {
        (node.module or "").split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
    }


def test_the_app_shares_nothing_with_the_pipeline_but_the_database() -> None:
    heavy = {"pipeline", "torch", "diffusers", "transformers", "open_clip", "ray"}
    for path in APP.rglob("*.py"):
        assert not imported(path) & heavy, path


def test_sql_is_never_put_together_and_nothing_from_outside_is_run() -> None:
    for path in APP.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"unsafe_allow_html|allow_javascript|\beval\(|\bexec\(|pickle|st\.html\(", text
        ), path
        # Whole files of app/sql, a constant, and in console.py the reader's own parsed SELECT.
        executed = re.findall(r"\.execute\(([^)]*)", text)
        allowed = ("text", 'statement("', '"PRAGMA foreign_keys = ON"')
        allowed += ("statement",) if path.name == "console.py" else ()
        assert all(call.lstrip().startswith(allowed) for call in executed), path
