"""What changed between two snapshots of a study. Models, prompts and concepts are matched by name. No Streamlit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from app.analysis import uncertainty
from app.database.snapshots import numbered

MEASURES = ("final", "auc", "emergence")


def others(results: Path, shown: Path) -> list[Path]:
    """The snapshots of a results folder beside the one shown, the newest first."""
    return [each for each in numbered(results / "snapshots") if each.resolve() != shown.resolve()]


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


def by_model(then: pd.DataFrame, now: pd.DataFrame) -> pd.DataFrame:
    """Per model: samples, scores, and their paired difference over what both snapshots have.

    Only samples of both count for the difference: with another seed a prompt's mean moves, and no sample was made again.

    Args:
        then, now: the rows of change_scores.sql.

    Returns:
        model; done_then, done_now, failed_then, failed_now; score_then, score_now: means over all prompts;
        shared, altered: prompts of which both have a sample of the same seed, and those where such a sample's score
        differs; difference, low, high: now minus then over the shared prompts, their shared seeds averaged; p, and q
        corrected by Holm over the models; verdict.
    """
    both = then.merge(
        now, on=["model", "prompt_key", "seed"], how="outer", suffixes=("_then", "_now")
    )
    table = pd.DataFrame([_row(model, rows) for model, rows in both.groupby("model", sort=False)])
    if table.empty:
        return table
    q = uncertainty.holm(table["p"])
    return table.assign(q=q, verdict=uncertainty.verdicts(q, table["shared"]))


def _row(model: object, rows: pd.DataFrame) -> dict[str, object]:
    """One model's row of `by_model`, not corrected."""
    sides = ["score_then", "score_now"]
    means = rows.groupby("prompt_key")[sides].mean()
    shared = rows.dropna(subset=sides)
    differs = (shared["score_then"] != shared["score_now"]).groupby(shared["prompt_key"]).any()
    pairs = shared.groupby("prompt_key")[sides].mean()
    paired = uncertainty.compare(pairs["score_then"], pairs["score_now"])
    sums = rows[["done_then", "done_now", "failed_then", "failed_now"]].sum().astype(int)
    return {
        "model": model,
        **sums.to_dict(),
        **means.mean().to_dict(),
        "shared": len(pairs),
        "altered": int(differs.sum()),
        "difference": paired.difference.estimate,
        "low": paired.difference.low,
        "high": paired.difference.high,
        "p": paired.p,
    }


def by_concept(then: pd.DataFrame, now: pd.DataFrame) -> pd.DataFrame:
    """Per (model, concept) of both snapshots: each measure then, now and by how much, the largest change first.

    Args:
        then, now: the rows of change_concepts.sql.
    """
    both = then.merge(now, on=["model", "concept", "family"], suffixes=("_then", "_now"))
    for name in MEASURES:
        both[f"{name}_change"] = both[f"{name}_now"] - both[f"{name}_then"]
    order = both["final_change"].abs().sort_values(ascending=False, kind="stable").index
    return both.loc[order].reset_index(drop=True)
