"""Training runs: what was planted is found, noise is not, and the intervals hold what they promise."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from app.analysis import comparison, training
from app.analysis.emergence import CONCEPT, FAMILY
from app.analysis.reading import WHOLE
from app.figures.source import Choice, FigureStudy, open_study
from tests.support.database import asked_by_hand
from tests.support.training import STEPS, plant, publish_run, run_study

PLANTED = {"texture": range(3, 9), "colour": range(1, 6), "size": range(1, 9)}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_run(tmp_path_factory.mktemp("training") / "run", run_study())


@pytest.fixture(scope="module")
def study(published: Path, tmp_path_factory: pytest.TempPathFactory) -> FigureStudy:
    """Texture is learned at the third checkpoint, colour forgotten at the sixth, size known throughout, the others never."""
    copy = Path(shutil.copy(published, tmp_path_factory.mktemp("planted") / "planted.duckdb"))
    plant(copy, PLANTED)
    return open_study(str(copy), Choice())


@pytest.mark.long
def test_the_run_is_found_in_order(study: FigureStudy) -> None:
    assert training.runs(study.models) == {"run": list(range(1, 9))}
    assert training.runs(study.models.head(1)) == {}
    assert training.runs(study.models.assign(run=None)) == {}


def test_learned_at_the_checkpoint_that_was_planted(study: FigureStudy) -> None:
    at = training.learned(study, "run").set_index("family")["learned_at"]
    assert at["texture"] == STEPS[2]
    assert at["size"] == STEPS[0]
    never = at.drop(["texture", "size"])
    assert len(never) and never.isna().all(), (
        "noise is not learned, and what is gone at the end is not"
    )


def test_concepts_are_learned_with_their_family(study: FigureStudy) -> None:
    at = training.learned(study, "run", CONCEPT).set_index("concept")
    families = study.concepts.set_index("name")["family"]
    enough = at[at["prompts"] >= 6]
    textures = enough[families.reindex(enough.index) == "texture"]
    assert len(textures) and (textures["learned_at"] == STEPS[2]).all()
    assert at.loc[at["prompts"] < 6, "learned_at"].isna().all(), "too few prompts to say"


def test_forgotten_at_the_checkpoint_that_was_planted(study: FigureStudy) -> None:
    gone = training.forgotten(study, "run").set_index("family")
    assert gone.index.tolist() == ["colour"]
    row = gone.loc["colour"]
    assert row["forgotten_at"] == STEPS[5] and row["peak"] in STEPS[:5]
    assert row["difference"] == pytest.approx(-0.1, abs=0.02) and row["high"] < 0


def test_forgotten_follows_the_chosen_score_and_its_direction(
    published: Path, tmp_path: Path
) -> None:
    """A metric that rises with the checkpoints is forgotten where lower is better, and there alone."""
    copy = Path(shutil.copy(published, tmp_path / "scored.duckdb"))
    plant(copy, PLANTED)
    for metric_id, (name, lower) in enumerate({"up": False, "error": True}.items(), start=1):
        add_metric(copy, metric_id, name, lower)
    whole = {}
    for metric in ("", "up", "error"):
        table = training.forgotten(open_study(str(copy), Choice(metric=metric)), "run")
        whole[metric] = table[table[FAMILY] == WHOLE]
        assert (table[FAMILY] == "colour").sum() == 1
    assert whole[""].empty and whole["up"].empty
    row = whole["error"].iloc[0]
    assert (row["peak"], row["forgotten_at"]) == (STEPS[0], STEPS[1]) and row["low"] > 0


def add_metric(snapshot: Path, metric_id: int, name: str, lower: bool) -> None:
    """A score of every image that rises all the way: the CLIP score, and the number of the checkpoint."""
    with duckdb.connect(str(snapshot)) as db:
        db.execute(
            "INSERT INTO metric BY NAME SELECT $i AS metric_id, $n AS name, $n AS title, $l AS lower_is_better, 'test' AS source, "
            "'' AS preprocessing, 'image' AS level, '' AS sha256, '' AS added_at, 0 AS unused",
            {"i": metric_id, "n": name, "l": lower},
        )
        db.execute(
            "INSERT INTO score SELECT $i, sample_id, model_id, prompt_id, seed, clip_score + 0.02 * model_id, NULL, NULL FROM sample",
            {"i": metric_id},
        )


def test_the_best_ties_with_those_that_no_test_separates(study: FigureStudy) -> None:
    table = training.scores(study, "run").set_index("training_step")
    assert set(table.index[table["choice"].isin(("best", "tied"))]) == set(STEPS[4:])
    assert (table.loc[list(STEPS[:4]), "choice"] == "worse").all()
    assert (table["choice"] == "best").sum() == 1
    best = table.index[table["choice"] == "best"][0]
    assert table["mean"].idxmax() == best
    values = comparison.by_prompt(comparison.scores(training.of_run(study, "run")))
    names = dict(zip(table.index, table["model_id"], strict=True))
    gap = values[names[best]] - values[names[STEPS[0]]]
    assert table.loc[STEPS[0], "difference"] == pytest.approx(gap.mean())
    low, high = stats.ttest_1samp(gap, 0).confidence_interval(0.95)
    assert (table.loc[STEPS[0], "diff_low"], table.loc[STEPS[0], "diff_high"]) == pytest.approx((low, high))  # fmt: skip


@pytest.mark.parametrize("which", training.REFERENCES)
def test_differences_are_those_of_the_models_page(study: FigureStudy, which: str) -> None:
    table = training.differences(study, "run", which)
    base = training.reference(study, "run", which)
    there = comparison.what_differs(study, base).set_index(["model_id", "measure"])
    tests = table[table["verdict"] != "reference"].set_index(["model_id", "measure"])
    columns = ["difference", "low", "high", "q", "prompts"]
    pd.testing.assert_frame_equal(tests[columns].sort_index(), there[columns].sort_index(), check_dtype=False)  # fmt: skip
    reference = table[table["verdict"] == "reference"]
    assert (reference["model_id"] == base).all() and (reference["difference"] == 0).all()
    assert table["training_step"].is_monotonic_increasing


def test_a_contrast_is_the_difference_of_two_means(study: FigureStudy, tmp_path: Path) -> None:
    rows = asked_by_hand(
        study.snapshot.path, tmp_path,
        "SELECT t.final, m.prompt_id IS NOT NULL AS named, c.name FROM trajectory t JOIN concept c USING (concept_id) "
        "LEFT JOIN mention m USING (prompt_id, concept_id) WHERE t.model_id = 4 AND c.family = 'colour'",
    )  # fmt: skip
    table = training.contrasts(study, "run", CONCEPT).query("model_id == 4").set_index("concept")
    for name, part in rows.groupby("name"):
        named, others = part[part["named"]]["final"], part[~part["named"]]["final"]
        if len(named) > 1 and len(others) >= 19:
            row = table.loc[name]
            assert row["mean"] == pytest.approx(named.mean() - others.mean(), abs=1e-6)
            error = named.std() * np.sqrt(1 / len(named) + 1 / len(others))
            half = stats.t.ppf(0.975, len(named) - 1) * error
            assert (row["low"], row["high"]) == pytest.approx((row["mean"] - half, row["mean"] + half), abs=1e-6)  # fmt: skip
            assert row["prompts"] == len(named) and row["unnamed"] == len(others)


def test_noise_is_seldom_learned_or_forgotten(published: Path, tmp_path: Path) -> None:
    """Of ten runs of noise at 8 checkpoints next to none has a finding: each of the two families of tests has one in 5 % of runs."""
    findings = 0
    for seed in range(10):
        copy = Path(shutil.copy(published, tmp_path / f"{seed}.duckdb"))
        plant(copy, {}, seed=100 + seed)
        noise = open_study(str(copy), Choice())
        there = training.contrasts(noise, "run")["there"].any()
        worse = training.forgotten(noise, "run")
        findings += bool(there) + bool((worse[FAMILY] != WHOLE).any())
        copy.unlink()
    assert (
        findings <= 3
    )  # of 20; 4 or more at 5 % each have a probability of 1.6 %; the seeds are fixed


def test_few_prompts_leave_every_checkpoint_undecided(study: FigureStudy) -> None:
    few = open_study(study.snapshot.path, Choice())
    ids = tuple(int(i) for i in few.ask("prompt_texts", ids=list(range(1, 6)))["prompt_id"])
    few = replace(few, scope=replace(few.scope, prompts=ids))
    table = training.scores(few, "run")
    assert set(table["choice"]) == {"best", "unknown"}
    assert training.forgotten(few, "run").empty
    assert training.learned(few, "run").empty, "too few prompts do not name a concept"


@pytest.mark.parametrize(("chosen", "most"), [(1, 8), (7, 8), (20, 8), (10, 3), (19, 5)])
def test_shown_checkpoints_hold_the_ends_and_the_chosen(chosen: int, most: int) -> None:
    shown = training.shown_checkpoints(list(range(1, 21)), chosen, most)
    assert len(shown) == most and {1, 20, chosen} <= set(shown) and shown == sorted(shown)
    assert training.shown_checkpoints([3, 4], 4, 8) == [3, 4]
