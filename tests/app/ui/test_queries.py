"""Every SQL file against a real snapshot: runs, says what a row is, agrees with sums of publish and with numbers by hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from app.analysis import trajectories, uncertainty
from app.database import snapshots
from app.database.statements import SQL
from app.ui import queries
from app.ui.queries import Scope, Snapshot
from pipeline.database.publish import publish
from pipeline.engine import run
from tests.support.fake_worker import FakeWorker
from tests.support.synthetic import plan_of, small_study


@pytest.fixture(scope="module")
def other_steps(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """A study whose second model has half the steps of the first."""
    folder = tmp_path_factory.mktemp("other_steps")
    study = small_study(models=2, prompts=8, seeds=2, steps=12)
    shorter = (study.models[0], replace(study.models[1], steps=6))
    run.run(plan_of(replace(study, models=shorter)), folder, "cpu", FakeWorker)
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
    "ids": [1, 2, 3],
    "methods": ["df-cam"],
    "steps": [0, 4],
    "source": "attention",
    "prompt": 1,
    "seed": 0,
    "model": "scenes-unet",
    "keys": [],
    "progress": 0.5,
    "number": 4,
    "switched": "insert",
    "sort": "difference",
    "direction": -1,
    "size": 10,
    "start": 0,
    "search": [],
    "key": "no such key",
    "words": False,
    "word": "a",
    "most": 10,
    "layer_group": "all",
    "score": "clip",
    "text": "",
    "fewest": None,
    "roles": [],
    "tagged": None,
    "measure": "final",
    "low": None,
    "high": None,
    "top": 0,
    "x_low": None,
    "x_high": 0.5,
    "y_low": None,
    "y_high": None,
    "columns": 4,
    "rows": 3,
    "axis": "log_snr",
    "by_family": False,
    "distance": "ssim",
}
SLOWER = {
    "paired_grid": "paired_grid_seeds"
}  # the file that answers the same from trajectories, where its name differs
OF_SHARDS = {"finished_images"}  # asked of a Parquet file, not of a snapshot
SQL_FILES = sorted({path.stem for path in SQL.glob("*.sql")} - OF_SHARDS)
# The files that answer the question of another one from what publish has summed up.
FASTER = [f"cells/{path.stem}" for path in sorted((SQL / "cells").glob("*.sql"))]


@pytest.mark.parametrize("name", SQL_FILES)
def test_every_query_runs_says_what_a_row_is_and_survives_empty_filters(
    name: str, snapshot: Snapshot, scope: Scope
) -> None:
    text = (SQL / f"{name}.sql").read_text()
    assert text.startswith("-- One row")
    everything = EVERYTHING | ({"baseline": "zero"} if name.startswith("faithfulness") else {})
    rows = queries.ask(snapshot, name, **{**scope.parameters(), **everything})
    assert len(rows) or name in {
        "change_images",
        "change_texts",
        "distance_steps",
        "failures",
        "image_sets",
        "metrics",
        "notices",
        "prompt",
        "score_steps",
    }
    part = replace(scope, prompts=(1, 2))
    queries.ask(snapshot, name, **{**part.parameters(), **everything})
    nothing = Scope((), (), (), (), scope.total_categories, scope.total_seeds, ())
    asked = {**nothing.parameters(), **everything, "candidates": [], "prompts": [], "ids": []}
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
    question = name.split("/")[1]
    narrow = narrowed(scope)
    assert snapshots.source(question, narrow) == name
    plain = SLOWER.get(question, question)
    parameters = {**narrow.parameters(), **EVERYTHING, **asked}
    if plain in ("curves", "seed_correlation", "paired_grid_seeds"):
        parameters["concepts"] = [0, *narrow.concepts]
    sums, wanted = (
        queries.ask(snapshot, name, **parameters),
        queries.ask(snapshot, plain, **parameters),
    )
    assert len(wanted) or narrow.categories == ("no such category",)
    pd.testing.assert_frame_equal(sums, wanted, check_dtype=False, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("axis", ["log_snr", "progress"])
@pytest.mark.parametrize("name", ["cells/paired_grid", "paired_grid_seeds", "paired_grid_prompts"])
def test_models_with_other_numbers_of_steps_are_matched_at_the_same_noise(
    name: str, axis: str, other_steps: Snapshot, scope: Scope
) -> None:
    for baseline, candidate, last in ((1, 2, 11), (2, 1, 5)):
        parameters = {
            "baseline": baseline,
            "candidates": [candidate],
            "named": False,
            "axis": axis,
            "whole": True,
        }
        grid = queries.ask(other_steps, name, **{**scope.parameters(), **parameters})
        reached = last if axis == "progress" and "cells" not in name else last - 1  # levels of both
        assert reached <= grid["step"].max() <= last
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
    assert snapshots.source("curves", scope) == "cells/curves"
    assert snapshots.source("curves", replace(scope, prompts=(1,))) == "curves"
    assert snapshots.source("curves", replace(scope, seeds=(0,))) == "curves"
    assert snapshots.source("scores", scope) == "scores"


def test_filters_filter(snapshot: Snapshot, scope: Scope) -> None:
    one = Scope((2,), scope.concepts[:1], scope.categories[:1], scope.seeds[:1], 3, 2)
    assert set(queries.ask_scope(snapshot, "scores", one)["model_id"]) == {2}
    assert set(queries.ask_scope(snapshot, "scores", one)["category"]) == set(scope.categories[:1])
    assert queries.ask_scope(snapshot, "scores", one)["seeds"].max() == 1


def test_paired_moments_by_hand(snapshot: Snapshot, scope: Scope, direct: Any) -> None:
    grid = queries.ask_scope(
        snapshot, "paired_grid", scope, baseline=1, candidates=[2], named=False
    )
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
    prompts = queries.ask_scope(
        snapshot, "prompt_page", scope, **{**EVERYTHING, "search": [search], "size": 99}
    )
    texts = queries.ask_scope(snapshot, "prompt_options", scope)["text"]
    assert len(prompts) == sum(search.lower() in text.lower() for text in texts)


def test_a_prompt_is_found_by_several_words_and_phrases(snapshot: Snapshot, scope: Scope) -> None:
    texts = queries.ask_scope(snapshot, "prompt_options", scope)["text"]
    word, phrase = texts[0].split()[1], " ".join(texts[0].split()[-3:])
    for search in ([word.upper(), phrase], [phrase, word], [word, "no prompt has this"]):
        wanted = sum(all(term.lower() in text.lower() for term in search) for text in texts)
        rows = queries.ask_scope(
            snapshot, "prompt_page", scope, **{**EVERYTHING, "search": search, "size": 99}
        )
        count = queries.ask_scope(snapshot, "prompt_count", scope, search=search)["prompts"]
        assert len(rows) == count.iloc[0] == wanted
    assert wanted == 0 < len(texts)


@pytest.mark.parametrize("named", [False, True])
def test_emergence_by_hand(snapshot: Snapshot, scope: Scope, direct: Any, named: bool) -> None:
    """Prompt by prompt: the mean of min(emergence, last step), and the share of each outcome."""
    rows = queries.ask_scope(
        snapshot, "emergence", scope, named=named, axis="step", by_family=False
    )
    known = direct.execute(
        "SELECT concept_id, prompt_id, outcome, emergence_step FROM trajectory LEFT JOIN mention USING "
        "(prompt_id, concept_id) WHERE model_id = 1 AND outcome IS NOT NULL AND (NOT $named OR mention.prompt_id IS NOT NULL)",
        {"named": named},
    ).df()
    assert set(rows.query("model_id == 1")["concept_id"]) == set(known["concept_id"])
    last = int(queries.ask(snapshot, "steps", models=[1])["step"].max())
    steps = known["emergence_step"].astype(float)
    known["x"] = steps.where(known["outcome"] != "never", last)
    for row in rows.query("model_id == 1").itertuples():
        emerged = known[known["concept_id"] == row.concept_id]
        prompts = emerged.groupby("prompt_id")["x"].mean()
        interval = uncertainty.t_interval(prompts)
        assert (row.mean, row.n) == (pytest.approx(interval.estimate), interval.n)
        assert row.sd == pytest.approx(prompts.std(), nan_ok=True)
        assert row.median == pytest.approx(emerged["x"].median())
        for outcome in ("start", "emerges", "never"):
            share = (emerged["outcome"] == outcome).groupby(emerged["prompt_id"]).mean().mean()
            assert getattr(row, f"{outcome}_share") == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize("named", [False, True])
def test_emergence_of_families_by_hand(
    snapshot: Snapshot, scope: Scope, direct: Any, named: bool
) -> None:
    """A family is a row: its concepts and the seeds are averaged within a prompt, and prompts are the unit."""
    rows = queries.ask_scope(snapshot, "emergence", scope, named=named, axis="step", by_family=True)
    known = direct.execute(
        "SELECT model_id, family, prompt_id, coalesce(emergence_step, last) AS x FROM trajectory JOIN concept USING (concept_id) "
        "JOIN (SELECT model_id, max(step) AS last FROM step GROUP BY ALL) USING (model_id) LEFT JOIN mention USING (prompt_id, concept_id) "
        "WHERE outcome IS NOT NULL AND (NOT $named OR mention.prompt_id IS NOT NULL)",
        {"named": named},
    ).df()
    by_hand = known.groupby(["model_id", "family", "prompt_id"])["x"].mean()
    for row in rows.itertuples():
        prompts = by_hand.loc[row.model_id, row.family]
        assert row.concept_id == 0
        assert (row.mean, row.n) == (pytest.approx(prompts.mean()), len(prompts))
        assert row.sd == pytest.approx(prompts.std(), nan_ok=True)
    assert len(rows) == len(known.groupby(["model_id", "family"]))


@pytest.mark.parametrize("named", [False, True])
def test_emerged_shares_by_hand(snapshot: Snapshot, scope: Scope, direct: Any, named: bool) -> None:
    """Prompt by prompt, as the rollup-like sums of the query replace it."""
    rows = queries.ask_scope(snapshot, "emerged_share", scope, named=named)
    outcomes = direct.execute(
        "SELECT t.model_id, c.family, t.prompt_id, list(coalesce(t.emergence_step, 99)) AS steps FROM trajectory t "
        "JOIN concept c USING (concept_id) JOIN prompt p USING (prompt_id) WHERE t.outcome IS NOT NULL AND (NOT $named OR "
        "regexp_matches(lower(p.text), '\\b' || lower(c.name) || '\\b')) GROUP BY ALL",
        {"named": named},
    ).df()
    for row in rows.iloc[::7].itertuples():
        of_family = outcomes[
            (outcomes["model_id"] == row.model_id) & (outcomes["family"] == row.family)
        ]
        shares = [float(np.mean(np.asarray(steps) <= row.step)) for steps in of_family["steps"]]
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
    averaged = queries.curves(snapshot, some, [0, *scope.concepts], named=named)
    asked = queries.ask_scope(snapshot, "curves", some, concepts=[0, *scope.concepts], named=named)
    columns = list(asked.columns)
    pd.testing.assert_frame_equal(averaged[columns], asked, check_dtype=False, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("seeds", SOME_SEEDS.values(), ids=SOME_SEEDS)
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("axis", ["log_snr", "step"])
def test_pairs_that_publish_averaged_are_those_averaged_when_asked(
    snapshot: Snapshot, scope: Scope, seeds: tuple[int, ...], named: bool, axis: str
) -> None:
    some = replace(scope, seeds=seeds, prompts=tuple(range(1, 18)))
    averaged = queries.paired_grid(snapshot, some, 1, [2, 3], named=named, axis=axis)
    parameters = {"baseline": 1, "candidates": [2, 3], "named": named, "axis": axis}
    asked = queries.ask_scope(snapshot, "paired_grid_seeds", some, **parameters)
    pd.testing.assert_frame_equal(averaged, asked, check_dtype=False, rtol=1e-5, atol=1e-6)


def test_prompts_with_other_seeds_are_paired_seed_by_seed(
    altered: Callable[..., Path], scope: Scope
) -> None:
    """Where a sample is missing, the mean over a prompt's seeds is no longer one of shared seeds."""
    unfinished = queries.locate(altered("UPDATE study SET done_samples = done_samples - 1"))
    asked: list[str] = []

    def ask(name: str, scope: Scope, **parameters: Any) -> pd.DataFrame:
        asked.append(name)
        return queries.ask_scope(unfinished, name, scope, **parameters)

    for complete in (True, False):
        some = replace(scope, prompts=(1, 2, 3))
        trajectories.paired_grid(ask, some, 1, [2], complete=complete, named=True, axis="log_snr")
    assert asked == ["paired_grid_prompts", "paired_grid_seeds"]


@pytest.mark.parametrize("length", [0, 3, 1000])
def test_long_lists_of_ids_are_keys_and_lists_again(length: int) -> None:
    ids = list(range(5, 5 + length))
    assert queries._thawed(queries._frozen(ids)) == ids
    hash(queries._frozen(ids))


def test_emerged_shares_never_fall(snapshot: Snapshot, scope: Scope) -> None:
    rows = queries.ask_scope(snapshot, "emerged_share", scope, named=False)
    for _, shares in rows.sort_values("step").groupby(["model_id", "family"]):
        assert shares["mean"].is_monotonic_increasing
        assert shares["mean"].between(0, 1).all()


def test_named_prompts_are_those_whose_words_are_the_concepts(
    snapshot: Snapshot, scope: Scope
) -> None:
    concepts = queries.ask(snapshot, "concepts")
    texts = queries.ask_scope(snapshot, "prompt_options", scope)
    rows = queries.ask_scope(snapshot, "emergence", scope, named=True, axis="step", by_family=False)
    for row in rows.head(6).itertuples():
        name = concepts.set_index("concept_id")["name"][row.concept_id]
        pattern = rf"\b{re.escape(name)}\b"
        assert row.n <= sum(bool(re.search(pattern, text.lower())) for text in texts["text"])
