"""What each entry of a study costs: seconds and memory, against its quality and its distance to a reference entry. No Streamlit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from app.analysis import comparison, measures, parting, uncertainty
from app.analysis.reading import StudyView

IMAGES = "images"  # the family of entries whose images exist: nobody sampled them here
GB = 2**30  # bytes
SAME_MEMORY = 0.05
"""Share of the larger peak below which two count as the same: resident memory varies by 2 % from run to run."""
FRONT, UNDECIDED, DOMINATED, NOT_JUDGED = "front", "undecided", "dominated", "not judged"
SMALLER = f", or smaller by more than {100 * SAME_MEMORY:.0f} %"
MEMORY = {
    "allocator": "tensors on the GPU (CUDA allocator)",
    "process": "resident memory of the whole process, since the model was loaded",
    "lifetime": "resident memory of the whole process since it began, an entry before this one included",
}
"""What a peak counts, by its kind."""
COLUMNS = [
    "model_id", "model", "reference", "verdict", "dominated_by", "seconds", "seconds_low", "seconds_high", "batches",
    "memory_gb", "memory_kind", "score", "score_low", "score_high", "prompts", "distance", "distance_low", "distance_high",
    "parts", "parts_low", "parts_high", "rank", *parting.SHARES, "said",
]  # fmt: skip


def costs(
    view: StudyView, distance: str = "", threshold: float = 0.0, axis: str = "log_snr"
) -> pd.DataFrame:
    """Speed, memory and quality of each sampled entry shown, its distance to the reference entry, and who is on the Pareto front.

    Args:
        view: the study and its filters; quality is the chosen score.
        distance: name of a distance to a reference entry in commands; the study's first where it has none of that name.
        threshold: of `parting`, in the distance's unit; 0 = that of its kind.
        axis: of `parting`.

    Returns:
        model_id, model, reference (whether it is the reference entry); verdict: FRONT, UNDECIDED, DOMINATED, NOT_JUDGED without a score;
        dominated_by: labels; seconds per image, a mean over batches; batches; memory_gb: the highest peak of any work unit, memory_kind: a
        key of MEMORY, several joined, '' = not recorded; score: the chosen one, over prompts; distance: that of the final image, or of the last
        step; parts: as `parting` has it, with rank, shares and said. Limits are of 95 % t intervals.
    """
    entries = view.models[view.models["family"] != IMAGES]
    ids = [int(i) for i in entries["model_id"]]
    seconds = _seconds(view, ids)
    scores = comparison.by_prompt(comparison.scores(view, ids)) if ids else pd.DataFrame()
    chosen = parting.by_name(view, distance)
    table = pd.DataFrame({"model_id": ids}).merge(_speed(seconds), on="model_id")
    table = table.merge(_memory(view, ids), on="model_id", how="left")
    table = table.merge(_means(scores, "score", "prompts"), on="model_id", how="left")
    table = _with_distance(view, table, chosen, threshold, axis)
    table = view.labelled(table.assign(memory_kind=table["memory_kind"].fillna("")))
    return _with_verdicts(view, table, seconds, scores)[COLUMNS]


def compares_memory(table: pd.DataFrame) -> bool:
    """Whether the front is over memory too: every entry with a score has a peak, and all peaks count the same.

    Args:
        table: of `costs`.
    """
    known = table[table["score"].notna()]
    return bool(known["memory_gb"].notna().all() and known["memory_kind"].nunique() == 1)


def _seconds(view: StudyView, ids: Sequence[int]) -> pd.DataFrame:
    """Prompt x model seconds per image, seeds averaged: one row for the prompts of a batch, which have the same ones."""
    rows = view.ask_scope("review_seconds", models=list(ids))
    seconds = comparison.by_prompt(rows, "seconds")
    # Prompts of a batch follow each other: few rows are left for pandas, which takes 4 ms for 25,000.
    differs = (np.diff(seconds.to_numpy(), axis=0, prepend=np.nan) != 0).any(axis=1)
    return seconds[differs].drop_duplicates()


def _speed(seconds: pd.DataFrame) -> pd.DataFrame:
    """model_id, seconds and its limits over batches: the images of a batch share its time, so that they are one measurement."""
    batches = {model: seconds[model].dropna().drop_duplicates() for model in seconds}
    return _means(pd.DataFrame(batches), "seconds", "batches")


def _means(values: pd.DataFrame, name: str, count: str) -> pd.DataFrame:
    """One row per column: model_id, its mean with the limits of its t interval, and the number of values."""
    mean, n = values.mean(), values.count()
    low, high = uncertainty.t_limits(mean, values.std(ddof=1), n)
    columns = {"model_id": values.columns.astype(int), name: mean.to_numpy(float), f"{name}_low": low, f"{name}_high": high, count: n.to_numpy()}  # fmt: skip
    return pd.DataFrame(columns)


def _memory(view: StudyView, ids: Sequence[int]) -> pd.DataFrame:
    """model_id, memory_gb, memory_kind; of an entry whose work units counted differently, the highest and all kinds."""
    rows = view.ask("peak_memory", models=list(ids))
    table = rows.groupby("model_id").agg(memory_gb=("bytes", "max"), memory_kind=("kind", ", ".join)).reset_index()  # fmt: skip
    return table.assign(memory_gb=table["memory_gb"].astype(float) / GB)


def _with_distance(
    view: StudyView,
    table: pd.DataFrame,
    chosen: parting.Distance | None,
    threshold: float,
    axis: str,
) -> pd.DataFrame:
    """The rows with the distance to the reference entry, and where they part from it; NaN where there is none."""
    metric = chosen.measure.metric if chosen else ""
    ids = table["model_id"].tolist()
    values = comparison.scores(view, ids, metric) if metric and ids else None
    means = _means(comparison.by_prompt(values) if values is not None else pd.DataFrame(), "distance", "distance_prompts")  # fmt: skip
    parted = parting.parting(view, metric, threshold, axis).drop(columns=["model", "prompts"])
    parted = parted.rename(columns={"mean": "parts", "low": "parts_low", "high": "parts_high"})
    table = table.merge(means, on="model_id", how="left")
    table = table.merge(parted.astype({"model_id": int}), on="model_id", how="left")
    texts = {name: table[name].fillna("") for name in ("rank", "said")}
    reference = table["model_id"] == (chosen.reference if chosen else 0)
    return table.assign(**texts, reference=reference)


def _with_verdicts(
    view: StudyView, table: pd.DataFrame, seconds: pd.DataFrame, scores: pd.DataFrame
) -> pd.DataFrame:
    """The rows with their verdict and who dominates them."""
    known = table[table["score"].notna()]
    ids = known["model_id"].tolist()
    sign = measures.chosen_score(view).sign
    criteria = {"seconds": known["seconds"], "score": -sign * known["score"]}
    if compares_memory(table):
        criteria["memory"] = known["memory_gb"]
    separable = comparison.better_matrix(_speed_tests(seconds[ids]), ids, lower=True)
    separable |= comparison.better_matrix(
        comparison.pair_tests(scores[ids]) if ids else _no_pairs(), ids, lower=sign < 0
    )
    verdict, by = pareto({name: each.to_numpy(float) for name, each in criteria.items()}, separable)
    labels = known["model"].tolist()
    said = dict(zip(ids, verdict, strict=True))
    dominating = {model: ", ".join(labels[j] for j in others) for model, others in zip(ids, by, strict=True)}  # fmt: skip
    return table.assign(
        verdict=[said.get(model, NOT_JUDGED) for model in table["model_id"]],
        dominated_by=[dominating.get(model, "") for model in table["model_id"]],
    )


def pareto(
    criteria: Mapping[str, np.ndarray], separable: np.ndarray
) -> tuple[list[str], list[list[int]]]:
    """Which entries no other dominates.

    An entry is DOMINATED by another that is at least as good by every criterion's estimate and separably better by one. It is on the FRONT
    where it is separably better than each other entry by some criterion, or needs less memory. Else it is UNDECIDED: no difference that is
    separable dominates it, and none makes sure that nothing does.

    Args:
        criteria: one value per entry, lower is better; differences of `memory` up to SAME_MEMORY of the larger count as none.
        separable: n x n, whether entry j is separably better than entry i by some criterion that has a test.

    Returns: the verdict of each entry, and the entries that dominate it.
    """
    count = len(separable)
    as_good, smaller = np.ones((count, count), dtype=bool), np.zeros((count, count), dtype=bool)
    for name, values in criteria.items():
        here, other = values[:, None], values[None, :]
        slack = SAME_MEMORY * np.maximum(here, other) if name == "memory" else 0.0
        as_good &= other <= here + slack
        if name == "memory":
            smaller = here < other - slack
    dominated = as_good & separable & ~np.eye(count, dtype=bool)
    sure = (separable.T | smaller | np.eye(count, dtype=bool)).all(axis=1)
    verdicts = np.select([dominated.any(axis=1), sure], [DOMINATED, FRONT], UNDECIDED)
    return verdicts.tolist(), [np.flatnonzero(row).tolist() for row in dominated]


def _speed_tests(seconds: pd.DataFrame) -> pd.DataFrame:
    """The paired tests of seconds of every pair of models over the batches that both have, corrected by Holm over all pairs."""
    rows = []
    for first, second in combinations(seconds.columns, 2):
        batches = seconds[[first, second]].dropna().drop_duplicates()
        gap = batches[second] - batches[first]
        rows.append((first, second, gap.mean(), gap.std(ddof=1), len(gap)))
    pairs = pd.DataFrame(rows, columns=["first", "second", "difference", "sd", "prompts"])
    return comparison.judged(pairs) if rows else _no_pairs()


def _no_pairs() -> pd.DataFrame:
    return pd.DataFrame(columns=["first", "second", "difference", "verdict"])


def judged(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `costs` that the front is over: with seconds and a score."""
    return table[table["score"].notna() & table["seconds"].notna()]


def interval_texts(table: pd.DataFrame, name: str) -> list[str | None]:
    """Numbers of `costs` with their intervals; None where there is none.

    Args:
        table: of `costs`.
        name: seconds, score, distance or parts.
    """
    rows = table[[name, f"{name}_low", f"{name}_high"]].to_numpy(dtype=float)
    return [uncertainty.interval_text(*row) if pd.notna(row[0]) else None for row in rows]


def parts_texts(table: pd.DataFrame) -> list[str | None]:
    """Where each entry of `costs` parts from the reference: 'from the start', 'never' or a position with its interval; None = unknown."""
    return ["reference" if row["reference"] else _position(row) for row in table.to_dict("records")]


def _position(row: Mapping[Any, Any]) -> str | None:
    if row["said"] in (parting.START, parting.NEVER):
        return str(row["said"])
    if pd.isna(row["parts"]):
        return None
    return uncertainty.interval_text(row["parts"], row["parts_low"], row["parts_high"])


def front_text(table: pd.DataFrame) -> str:
    """What the front is over, and which rule it follows, for a caption."""
    over = "seconds, peak memory and the score" if compares_memory(table) else "seconds and the score"  # fmt: skip
    missing = judged(table)["memory_gb"].isna()
    left_out = ""
    if not compares_memory(table):
        left_out = " Peak memory is left out: " + (
            "it was not recorded for every entry." if missing.any() else "entries counted it differently."
        )  # fmt: skip
    return (
        f"Pareto front over {over}. Dominated: another entry is at least as good by every estimate and separably better by one (paired t tests of "
        f"seconds over batches and of the score over prompts, Holm over all pairs, at least {uncertainty.LEAST_PROMPTS} of each). Front: separably "
        f"better than each other entry by one of them{SMALLER if compares_memory(table) else ''}. Undecided: neither.{left_out}{_few_batches(table)}"
    )


def _few_batches(table: pd.DataFrame) -> str:
    """That seconds decide nothing, where that is so."""
    fewest = judged(table)["batches"].min()
    if not fewest < uncertainty.LEAST_PROMPTS:
        return ""
    return f" Seconds of entries with fewer than {uncertainty.LEAST_PROMPTS} batches (here {fewest:.0f}) decide nothing: choose a smaller run.batch_size."


def memory_text(table: pd.DataFrame) -> str:
    """What the peaks of a table count, for a caption; '' where none was recorded."""
    kinds = [kind for kinds in table["memory_kind"] for kind in kinds.split(", ") if kind in MEMORY]
    return "; ".join(MEMORY[kind] for kind in dict.fromkeys(kinds))
