"""What changed between two snapshots of a study. Models, prompts and concepts are matched by name. No Streamlit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import uncertainty
from snapshots import numbered

MEASURES = ("final", "auc", "emergence")


def others(place: Path, shown: Path) -> list[Path]:
    """The snapshots of a results folder beside the one shown, the newest first."""
    return [each for each in numbered(place / "snapshots") if each.resolve() != shown.resolve()]


@dataclass(frozen=True)
class Changed:
    """Counts over both snapshots.

    Attributes:
        models, prompts: names that are only in the newer one, and only in the older one.
    """

    more_models: tuple[str, ...]
    fewer_models: tuple[str, ...]
    more_prompts: int
    fewer_prompts: int


def names(then: pd.DataFrame, now: pd.DataFrame) -> Changed:
    """Which models and prompts came and went.

    Args:
        then, now: the rows of change_scores.sql.
    """
    models = set(then["model"]), set(now["model"])
    prompts = set(then["prompt_key"]), set(now["prompt_key"])
    return Changed(
        tuple(sorted(models[1] - models[0])),
        tuple(sorted(models[0] - models[1])),
        len(prompts[1] - prompts[0]),
        len(prompts[0] - prompts[1]),
    )


def by_model(then: pd.DataFrame, now: pd.DataFrame) -> pd.DataFrame:
    """Per model: samples, CLIP scores, and their paired difference over the prompts of both snapshots.

    Args:
        then, now: the rows of change_scores.sql.

    Returns:
        model; done_then, done_now, failed_then, failed_now; score_then, score_now: means over all prompts;
        shared, altered: prompts of both, and those whose score differs; difference, low, high: now minus then over the
        shared prompts, percentile bootstrap.
    """
    both = then.merge(now, on=["model", "prompt_key"], how="outer", suffixes=("_then", "_now"))
    rows = []
    for model, own in both.groupby("model", sort=False):
        paired = uncertainty.compare(own["score_then"], own["score_now"])
        gap = (own["score_now"] - own["score_then"]).dropna()
        sums = own[["done_then", "done_now", "failed_then", "failed_now"]].sum().astype(int)
        rows.append(
            {
                "model": model,
                **sums.to_dict(),
                "score_then": own["score_then"].mean(),
                "score_now": own["score_now"].mean(),
                "shared": len(gap),
                "altered": int((gap != 0).sum()),
                "difference": paired.difference.estimate,
                "low": paired.difference.low,
                "high": paired.difference.high,
            }
        )
    return pd.DataFrame(rows)


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
