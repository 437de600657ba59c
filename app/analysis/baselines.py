"""Does the ranking of tools depend on what stands in a removed region? Insertion and deletion under each baseline.

The unit is the prompt: steps and seeds are averaged within it first. Tools are ranked by their gain over a random map, from
paired tests of all pairs of tools (Holm within a model, game and baseline); two rankings are compared by Spearman's
correlation over tools within a prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from app.analysis import chance, comparison, uncertainty
from app.analysis.faithfulness import higher_is_better
from app.analysis.uncertainty import SEPARABLE

Ask = Callable[..., pd.DataFrame]  # answers (name, **parameters) within the filters
LEAST_TOOLS = 3  # of a rank correlation
RANKED = ["model_id", "game", "baseline", "method", "prompts", "gain", "low", "high", "rank"]
COMPARED = [
    "model_id", "game", "first", "second", "tools", "of_means", "rho", "low", "high", "prompts", "reversed",
]  # fmt: skip


def measured(ask: Ask) -> list[str]:
    """The baselines that insertion and deletion were measured with, `zero` first."""
    return [str(baseline) for baseline in ask("faithfulness_baselines")["baseline"]]


def prompt_gains(ask: Ask, score: str) -> pd.DataFrame:
    """The gain over a random map per (model, game, baseline, method, prompt); positive is better.

    Args:
        ask: answers questions to the snapshot.
        score: one of `faithfulness.scores`.
    """
    rows = ask("figure_auc")
    rows = rows[rows["score"] == score]
    up = rows["game"].map(lambda game: 1.0 if higher_is_better(str(game), score) else -1.0)
    return rows[["model_id", "game", "baseline", "method", "prompt_id"]].assign(
        gain=(rows["auc"] - rows["random"]) * up.astype(float)
    )


def rankings(gains: pd.DataFrame) -> pd.DataFrame:
    """Tools by gain under each baseline, with 95 % t limits over prompts and tied ranks.

    Args:
        gains: of `prompt_gains`.

    Returns:
        RANKED; rank '1', or '=2' where other tools are not separably different.
    """
    keys = ["model_id", "game", "baseline"]
    parts = [_ranked(part).assign(**_named(keys, key)) for key, part in gains.groupby(keys)]
    return pd.concat(parts, ignore_index=True)[RANKED] if parts else pd.DataFrame(columns=RANKED)


def _ranked(part: pd.DataFrame) -> pd.DataFrame:
    table = part.groupby("method", as_index=False).agg(
        prompts=("gain", "count"), mean=("gain", "mean"), sd=("gain", "std")
    )
    better = comparison.better_matrix(_pairs(part), list(table["method"]))
    table = table.assign(rank=uncertainty.tied_ranks(better))
    limits = chance.intervals(table, "mean", "sd", "prompts").rename(columns={"mean": "gain"})
    return limits.sort_values("gain", ascending=False)


def _pairs(part: pd.DataFrame) -> pd.DataFrame:
    return comparison.pair_tests(part.pivot(index="prompt_id", columns="method", values="gain"))


def compared(gains: pd.DataFrame) -> pd.DataFrame:
    """How alike two baselines rank the tools, per (model, game, pair of baselines).

    Args:
        gains: of `prompt_gains`.

    Returns:
        COMPARED; of_means: Spearman over tools of their mean gains; rho: the mean over prompts of Spearman within a prompt, with
        95 % t limits; both NaN for fewer than 3 tools; reversed: the pairs of tools that are separable under both baselines, in
        opposite order, as (better under the first, better under the second).
    """
    rows = [
        {**_named(["model_id", "game"], key), **row}
        for key, part in gains.groupby(["model_id", "game"])
        for row in _compared(part)
    ]
    return pd.DataFrame(rows, columns=COMPARED)


def _compared(part: pd.DataFrame) -> Iterator[dict[str, Any]]:
    names = [b for b in ("zero", "re-noised", "resampled") if b in set(part["baseline"])]
    values = {
        name: part[part["baseline"] == name].pivot(
            index="prompt_id", columns="method", values="gain"
        )
        for name in names
    }
    orders = {name: _separable(comparison.pair_tests(values[name])) for name in names}
    for first, second in combinations(names, 2):
        one, other = values[first].align(values[second], join="inner")
        within = uncertainty.t_interval(
            [_spearman(one.loc[prompt], other.loc[prompt]) for prompt in one.index]
        )
        yield {
            "first": first,
            "second": second,
            "tools": one.shape[1],
            "of_means": _spearman(one.mean(), other.mean()),
            "rho": within.estimate,
            "low": within.low,
            "high": within.high,
            "prompts": within.n,
            "reversed": sorted((a, b) for a, b in orders[first] if (b, a) in orders[second]),
        }


def _separable(pairs: pd.DataFrame) -> set[tuple[str, str]]:
    """(better, worse) of every separable pair of tools."""
    sure = pairs[pairs["verdict"] == SEPARABLE]
    rows = zip(sure["first"], sure["second"], sure["difference"], strict=True)
    return {(second, first) if gap > 0 else (first, second) for first, second, gap in rows}


def _spearman(first: pd.Series, second: pd.Series) -> float:
    """NaN for fewer than 3 tools with both values, and where all of them are equal."""
    both = np.isfinite(first) & np.isfinite(second)
    one, other = first[both].rank(), second[both].rank()
    if len(one) < LEAST_TOOLS or one.nunique() < 2 or other.nunique() < 2:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])


def dependence(row: pd.Series, title: Callable[[str], str]) -> str:
    """One sentence about two baselines: whether the ranking depends on which of them is used.

    Args:
        row: of `compared`.
        title: what a tool is called.
    """
    between = f"{row['game'].capitalize()}, {row['first']} and {row['second']}"
    if row["reversed"]:
        said = ", ".join(f"{title(a)} and {title(b)}" for a, b in row["reversed"])
        return (
            f"{between}: the ranking depends on the baseline. In opposite order, separably: {said}."
        )
    if row["prompts"] < uncertainty.LEAST_PROMPTS:
        return f"{between}: too few prompts to compare the rankings."
    return f"{between}: no two tools are separably in opposite order."


def _named(keys: list[str], values: Any) -> dict[str, Any]:
    return dict(zip(keys, values, strict=True))
