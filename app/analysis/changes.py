"""What changed between two snapshots of a study. Models, prompts and concepts are matched by name. No Streamlit.

Only what both snapshots have is compared: pairs of one model, prompt and seed, seeds averaged within a prompt. A mean over the
prompts of one snapshot is never held against a mean over those of the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from app.analysis import uncertainty
from app.analysis.measures import CLIP, Measure
from app.database.snapshots import numbered

MEASURES = ("final", "auc", "emergence")
PAIR = ["model", "prompt_key", "seed"]
SIDES = ["score_then", "score_now"]
WORSE, BETTER, UNALTERED = "worse", "better", "unaltered"
THRESHOLD = 0.0001
"""A sample's score that differs by more than this is altered: sampling on another machine moves a cosine by less."""


def others(results: Path, shown: Path) -> list[Path]:
    """The snapshots of a results folder that were published before the one shown, the newest first."""
    numbers = {each: int(each.stem.rpartition("-")[2]) for each in numbered(results / "snapshots")}
    number = next((n for each, n in numbers.items() if each.resolve() == shown.resolve()), None)
    return [each for each, n in numbers.items() if number is None or n < number]


@dataclass(frozen=True)
class Changed:
    """Counts over both snapshots.

    Attributes:
        models, prompts, seeds: those that are only in the newer one, and only in the older one.
    """

    more_models: tuple[str, ...]
    fewer_models: tuple[str, ...]
    more_prompts: int
    fewer_prompts: int
    more_seeds: tuple[int, ...]
    fewer_seeds: tuple[int, ...]


def names(then: pd.DataFrame, now: pd.DataFrame) -> Changed:
    """Which models, prompts and seeds came and went.

    Args:
        then, now: the rows of change_scores.sql.
    """
    models = set(then["model"]), set(now["model"])
    prompts = set(then["prompt_key"]), set(now["prompt_key"])
    seeds = set(then["seed"].astype(int)), set(now["seed"].astype(int))
    return Changed(
        tuple(sorted(models[1] - models[0])),
        tuple(sorted(models[0] - models[1])),
        len(prompts[1] - prompts[0]),
        len(prompts[0] - prompts[1]),
        tuple(sorted(seeds[1] - seeds[0])),
        tuple(sorted(seeds[0] - seeds[1])),
    )


def shared(then: pd.DataFrame, now: pd.DataFrame) -> pd.DataFrame:
    """The samples that both snapshots have a value of.

    Args:
        then, now: model, prompt_key, seed, score; one row per sample.

    Returns:
        model, prompt_key, seed, score_then, score_now.
    """
    values = [each[[*PAIR, "score"]].dropna(subset="score") for each in (then, now)]
    return values[0].merge(values[1], on=PAIR, suffixes=("_then", "_now"))


def prompts(
    then: pd.DataFrame, now: pd.DataFrame, measure: Measure = CLIP, threshold: float = THRESHOLD
) -> pd.DataFrame:
    """Per model and prompt of both snapshots: its value then and now, over the seeds that both have; the worst change first.

    Args:
        then, now: as of `shared`.
        measure: which value it is, for its direction.
        threshold: a prompt whose value changed by no more is unaltered; in the measure's unit, 0 or more.

    Returns:
        model, prompt_key; then, now, difference: now minus then; gain: the difference in the measure's own direction, so that
        below 0 is worse; seeds: that both have; seeds_worse, seeds_altered: whose own value got worse, or changed either
        way, by more than the threshold; seed: the one that changed most in the direction of the mean, with its values seed_then
        and seed_now; state: worse, better or unaltered.
    """
    pairs = shared(then, now)
    pairs["difference"] = pairs["score_now"] - pairs["score_then"]
    pairs["gain"] = measure.sign * pairs["difference"]
    pairs["worse"] = pairs["gain"] < -threshold
    pairs["altered"] = pairs["difference"].abs() > threshold
    pairs = pairs.sort_values(["gain", "seed"], kind="stable")
    table = pairs.groupby(["model", "prompt_key"], sort=False, as_index=False).agg(
        then=("score_then", "mean"), now=("score_now", "mean"), difference=("difference", "mean"), gain=("gain", "mean"),
        seeds=("seed", "size"), seeds_worse=("worse", "sum"), seeds_altered=("altered", "sum"), seed=("seed", "first"), seed_then=("score_then", "first"), seed_now=("score_now", "first"),
        last=("seed", "last"), last_then=("score_then", "last"), last_now=("score_now", "last"),
    )  # fmt: skip
    states = [table["gain"] < -threshold, table["gain"] > threshold]
    table["state"] = np.select(states, [WORSE, BETTER], UNALTERED)
    for name, end in (("seed", "last"), ("seed_then", "last_then"), ("seed_now", "last_now")):
        table[name] = table[name].where(table["gain"] <= 0, table.pop(end))
    return table.sort_values(["gain", "prompt_key"], kind="stable").reset_index(drop=True)


def by_model(
    then: pd.DataFrame, now: pd.DataFrame, measure: Measure = CLIP, threshold: float = THRESHOLD
) -> pd.DataFrame:
    """Per model: samples, and the paired difference over what both snapshots have.

    Only samples of both count: with another seed a prompt's mean moves, and no sample was made again.

    Args:
        then, now: the rows of change_scores.sql.
        measure, threshold: as of `prompts`.

    Returns:
        model; done_then, done_now, failed_then, failed_now; score_then, score_now: means over the shared prompts; shared,
        altered: prompts of which both have a sample of the same seed, and those with such a sample that is altered; worse,
        better: those whose mean over these seeds is; difference, low, high: now minus then over the shared prompts, with the
        t interval; p, and q corrected by Holm over the models; verdict; said: the verdict, or the direction where separable.
    """
    counts = ["done", "failed"]
    both = then.merge(now, on=PAIR, how="outer", suffixes=("_then", "_now"))
    sums = both.groupby("model", sort=False)[[f"{c}_{w}" for c in counts for w in ("then", "now")]]
    compared = dict(list(prompts(then, now, measure, threshold).groupby("model")))
    none = prompts(then[:0], now[:0], measure)
    rows = [
        {"model": model, **row, **_test(compared.get(model, none))}
        for model, row in sums.sum().astype(int).to_dict("index").items()
    ]
    return _judged(pd.DataFrame(rows), measure, uncertainty.holm)


def _test(rows: pd.DataFrame) -> dict[str, float]:
    """The paired test of one model's prompts."""
    paired = uncertainty.compare(rows["then"], rows["now"])
    return {
        "score_then": rows["then"].mean(), "score_now": rows["now"].mean(), "shared": len(rows),
        "altered": int((rows["seeds_altered"] > 0).sum()), "worse": int((rows["state"] == WORSE).sum()),
        "better": int((rows["state"] == BETTER).sum()), "difference": paired.difference.estimate,
        "low": paired.difference.low, "high": paired.difference.high, "p": paired.p,
    }  # fmt: skip


def _judged(
    table: pd.DataFrame, measure: Measure, corrected: Callable[[pd.Series], np.ndarray]
) -> pd.DataFrame:
    """The rows with q, verdict and said."""
    if table.empty:
        return table
    q = corrected(table["p"])
    verdict = uncertainty.verdicts(q, table["shared"])
    words = np.where(table["difference"] > 0, *measure.words)
    said = np.where(verdict == uncertainty.SEPARABLE, words, verdict)
    return table.assign(q=q, verdict=verdict, said=said)


def concept_pairs(then: pd.DataFrame, now: pd.DataFrame, column: str) -> pd.DataFrame:
    """The samples and concepts of which both snapshots have a measure.

    Args:
        then, now: the rows of change_concepts.sql.
        column: one of MEASURES.

    Returns:
        model, family, concept, prompt_key, seed, score_then, score_now.
    """
    keys = ["model", "family", "concept", "prompt_key", "seed"]
    values = [each[[*keys, column]].dropna(subset=column) for each in (then, now)]
    both = values[0].merge(values[1], on=keys, suffixes=("_then", "_now"))
    return both.rename(columns={f"{column}_then": SIDES[0], f"{column}_now": SIDES[1]})


def family_rows(
    then: pd.DataFrame, now: pd.DataFrame, column: str, family: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A family's measure then and now as rows of `prompts`: the mean over the concepts that both have of a sample."""
    pairs = concept_pairs(then, now, column)
    means = pairs[pairs["family"] == family].groupby(PAIR, as_index=False)[SIDES].mean()
    first, second = (means[PAIR].assign(score=means[side]) for side in SIDES)
    return first, second


def by_concept(then: pd.DataFrame, now: pd.DataFrame, measures: Sequence[Measure]) -> pd.DataFrame:
    """Per model, concept and measure: the paired difference over the prompts that both snapshots have, the surest first.

    Args:
        then, now: the rows of change_concepts.sql.
        measures: whose `column` is one of MEASURES.

    Returns:
        model, family, concept, measure; shared: prompts; then, now: means over them; difference, low, high; p; q: corrected
        over the table by Benjamini and Hochberg; verdict; said.
    """
    parts = [_concept_rows(concept_pairs(then, now, each.column), each) for each in measures]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if table.empty:
        return table
    table = table.assign(q=uncertainty.benjamini_hochberg(table["p"]))
    table = table.assign(verdict=uncertainty.verdicts(table["q"], table["shared"]))
    sure = table["verdict"] == uncertainty.SEPARABLE
    table = table.assign(said=table["word"].where(sure, table["verdict"])).drop(columns="word")
    effect = (table["difference"] / table.pop("sd").replace(0, np.nan)).abs().fillna(0)
    order = pd.DataFrame({"q": table["q"].fillna(2), "effect": -effect})
    return table.loc[order.sort_values(["q", "effect"], kind="stable").index].reset_index(drop=True)


def _concept_rows(pairs: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """The paired tests of one measure, not corrected; word: of a separable difference."""
    keys = ["model", "family", "concept", "prompt_key"]
    rows = pairs.groupby(keys, sort=False)[SIDES].mean().reset_index()
    rows["gap"] = rows["score_now"] - rows["score_then"]
    table = rows.groupby(keys[:3], sort=False, as_index=False).agg(
        shared=("gap", "size"), then=("score_then", "mean"), now=("score_now", "mean"), difference=("gap", "mean"), sd=("gap", "std"),
    )  # fmt: skip
    low, high = uncertainty.t_limits(table["difference"], table["sd"], table["shared"])
    p = uncertainty.paired_t_p(table["difference"], table["sd"], table["shared"])
    word = np.where(table["difference"] > 0, *measure.words)
    return table.assign(measure=measure.title, low=low, high=high, p=p, word=word)
