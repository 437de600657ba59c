"""How a training run gets on: measures against training step, what is learned when, what is forgotten, the best checkpoint.

Each question has one family of tests, within one training run and the filters:

- *Which checkpoint is the best?* The scores of all pairs of checkpoints, corrected by Holm.
- *What differs from a checkpoint?* As *What differs from the baseline?* of `comparison`, over the run's checkpoints.
- *When is a concept learned?* The grid of concepts (or families) and checkpoints, corrected by Benjamini and Hochberg.
- *What is forgotten?* Every pair of an earlier and a later checkpoint of every row, corrected by Benjamini and Hochberg.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from app.analysis import comparison, measures, uncertainty
from app.analysis.emergence import FAMILY, LEAST_UNNAMED
from app.analysis.reading import WHOLE, StudyView, View
from app.analysis.uncertainty import SEPARABLE

FIRST, BEST = "first", "best"
REFERENCES = (FIRST, BEST)
LEARNED = (
    "A concept is there where images of prompts that name it are closer to it than images of prompts that do not, separably; it is "
    "learned at the first checkpoint from which it is there at every later one."
)
FORGOTTEN = "Forgotten at the first checkpoint from which every later one is separably worse than the best checkpoint before it."
BEST_RULE = (
    "The best checkpoint has the best mean score; those that no paired test separates from it tie with it. The best of "
    "several means is too good on average: measure the chosen checkpoint again on other prompts."
)


def runs(models: pd.DataFrame) -> dict[str, list[int]]:
    """The training runs of which two checkpoints or more are shown: name -> model_id, by training step.

    Args:
        models: model_id, run and training_step.
    """
    known = models[models["run"].notna()].sort_values(["run", "training_step"])
    groups = known.groupby("run", sort=False)["model_id"]
    named = {str(run): [int(i) for i in ids] for run, ids in groups}
    return {run: ids for run, ids in named.items() if len(ids) > 1}


def of_run(view: View, run: str) -> View:
    """The view narrowed to the checkpoints of a run: what is asked is asked of these alone."""
    ids = runs(view.models).get(run, [])
    return replace(view, scope=replace(view.scope, models=tuple(ids)))


def with_steps(view: StudyView, table: pd.DataFrame) -> pd.DataFrame:
    """The rows with their model's training_step, by it."""
    steps = dict(zip(view.every_model["model_id"], view.every_model["training_step"], strict=True))
    out = table.assign(training_step=table["model_id"].map(steps).astype("Int64"))
    return out.sort_values("training_step", kind="stable").reset_index(drop=True)


def scores(view: StudyView, run: str) -> pd.DataFrame:
    """The CLIP score, or the chosen one, of each checkpoint, and which are the best.

    Returns:
        model_id, model, training_step; mean, low, high, sd, prompts: over its own prompts, t interval; difference, diff_low,
        diff_high, q, verdict: the best checkpoint's score less this one's, paired, Holm over all pairs of the run; choice: best,
        tied (no test separates it from the best), worse, or unknown (too few shared prompts).
    """
    view = of_run(view, run)
    rows = comparison.scores(view)
    table = with_steps(view, comparison.means(view, rows))
    if table.empty:
        return table.assign(choice="")
    pairs = comparison.pair_tests(comparison.by_prompt(rows))
    lower = measures.chosen_score(view).lower_is_better
    best = int(table.loc[(-table["mean"] if lower else table["mean"]).idxmax(), "model_id"])
    return _chosen(table, _less(pairs, best), best)


def _less(pairs: pd.DataFrame, best: int) -> pd.DataFrame:
    """The tests of pairs that have a checkpoint, by the other one: the checkpoint less the other."""
    rows = pairs[(pairs["first"] == best) | (pairs["second"] == best)]
    sign = np.where(rows["second"] == best, 1, -1)
    limits = np.sort(sign * rows[["low", "high"]].to_numpy().T, axis=0)
    other = rows["first"].where(rows["first"] != best, rows["second"]).astype(int)
    out = rows.assign(difference=sign * rows["difference"], diff_low=limits[0], diff_high=limits[1])
    return out.set_index(other)[["difference", "diff_low", "diff_high", "q", "verdict"]]


def _chosen(table: pd.DataFrame, tests: pd.DataFrame, best: int) -> pd.DataFrame:
    out = table.join(tests, on="model_id")
    said = {SEPARABLE: "worse", uncertainty.NOT_SEPARABLE: "tied"}
    choice = out["verdict"].map(said).fillna("unknown")
    return out.assign(choice=choice.where(out["model_id"] != best, "best"))


def reference(view: StudyView, run: str, which: str) -> int:
    """The checkpoint that others are compared with: the first one of the run, or the best.

    Args:
        view: the study and its filters.
        run: of `runs`.
        which: FIRST or BEST.
    """
    table = scores(view, run)
    best = table.loc[table["choice"] == "best", "model_id"]
    return int(best.iloc[0]) if which == BEST and len(best) else runs(view.models)[run][0]


def differences(
    view: StudyView, run: str, which: str = FIRST, *, named: bool = True, axis: str = "log_snr"
) -> pd.DataFrame:
    """Every measure of every checkpoint against the first or the best one.

    Returns:
        what `comparison.what_differs` gives, with training_step; the reference itself has rows of difference 0 without limits.
    """
    base, narrowed = reference(view, run, which), of_run(view, run)
    table = comparison.what_differs(narrowed, base, named=named, axis=axis)
    known = table.drop_duplicates("measure")[["measure", "better"]]
    zero = known.assign(model_id=base, difference=0.0, said="reference", verdict="reference")
    both = pd.concat([table, view.labelled(zero)], ignore_index=True) if len(known) else table
    return with_steps(view, both)


def _values(view: StudyView, row: str) -> pd.DataFrame:
    """One row per (checkpoint, row, prompt): final similarity and contrast, the mean over the concepts that the prompt names.

    Returns:
        model_id, the row's column, prompt_id, final, contrast (final less the mean of prompts that do not name the concept).
    """
    rows = view.with_concepts(view.ask_scope("training_values"))
    rows = rows.assign(contrast=rows["final"] - rows["unnamed_mean"])
    keys = ["model_id", row, "prompt_id"]
    return rows.groupby(keys, sort=False)[["final", "contrast"]].mean().reset_index()


def _inflation(view: StudyView, row: str) -> pd.DataFrame:
    """How much wider the variance of a mean contrast is than that of its prompts, because the baselines are means too.

    With n prompts of which N_c (of one that names k concepts, 1/k) stand for concept c, whose baseline is over m_c prompts:
    1 + sum over c of N_c^2 / (n m_c). For one concept that is the variance of a difference of two means.

    Returns:
        model_id, the row's column, inflation, unnamed (the least m_c).
    """
    rows = view.with_concepts(view.ask_scope("training_values"))
    named = rows.groupby(["model_id", row, "prompt_id"])["concept_id"].transform("count")
    rows = rows.assign(weight=1 / named)
    parts = rows.groupby(["model_id", row, "concept_id"]).agg(
        weight=("weight", "sum"), unnamed=("unnamed", "first")
    )
    parts["share"] = parts["weight"] ** 2 / parts["unnamed"].where(parts["unnamed"] > 0)
    out = parts.groupby(["model_id", row]).agg(
        n=("weight", "sum"), share=("share", "sum"), unnamed=("unnamed", "min")
    )
    return out.assign(inflation=1 + out["share"] / out["n"]).reset_index()


def contrasts(view: StudyView, run: str, row: str = FAMILY) -> pd.DataFrame:
    """Whether each concept (or family) is there at each checkpoint.

    Args:
        view: the study and its filters.
        run: of `runs`.
        row: CONCEPT or FAMILY.

    Returns:
        model_id, model, training_step, the row's column; mean, low, high: contrast of the final similarity over the prompts
        that name it, t interval with the baseline's own error; prompts, unnamed; p; q: Benjamini and Hochberg over the grid;
        verdict; there: separably above 0. Rows with under 19 prompts that do not name a concept are left out.
    """
    view = of_run(view, run)
    values = _values(view, row).groupby(["model_id", row])["contrast"]
    table = values.agg(mean="mean", sd="std", prompts="count").reset_index()
    table = table.merge(_inflation(view, row), on=["model_id", row])
    table = table[table["unnamed"] >= LEAST_UNNAMED]
    sd = table["sd"] * np.sqrt(table["inflation"])
    low, high = uncertainty.t_limits(table["mean"], sd, table["prompts"])
    p = uncertainty.paired_t_p(table["mean"], sd, table["prompts"])
    q = uncertainty.benjamini_hochberg(p)
    verdict = uncertainty.verdicts(q, table["prompts"])
    there = (verdict == SEPARABLE) & (table["mean"] > 0)
    out = table.assign(low=low, high=high, p=p, q=q, verdict=verdict, there=there)
    return with_steps(view, view.labelled(out.drop(columns=["sd", "n", "share", "inflation"])))


def learned(view: StudyView, run: str, row: str = FAMILY) -> pd.DataFrame:
    """From which checkpoint on each concept (or family) is there.

    Returns:
        the row's column, learned_at: training step, or NA where it is not there at the end; contrast, low, high, q, prompts: at
        the last checkpoint; by learned_at, then by name.
    """
    table = contrasts(view, run, row)
    rows = [_learned(str(name), part, row) for name, part in table.groupby(row)]
    columns = [row, "learned_at", "contrast", "low", "high", "q", "prompts"]
    out = pd.DataFrame(rows, columns=columns).astype({"learned_at": "Int64"})
    return out.sort_values(["learned_at", row], na_position="last").reset_index(drop=True)


def _learned(name: str, part: pd.DataFrame, row: str) -> dict[str, object]:
    part = part.sort_values("training_step")
    last = part.iloc[-1]
    return {
        row: name,
        "learned_at": _stays_from(part["training_step"], part["there"]),
        "contrast": last["mean"],
        **{key: last[key] for key in ("low", "high", "q", "prompts")},
    }


def _stays_from(steps: pd.Series, holds: pd.Series) -> int | None:
    """The first step from which something holds at all later ones; None where it does not at the last."""
    broken = np.flatnonzero(~holds.to_numpy(bool))
    first = int(broken[-1]) + 1 if len(broken) else 0
    return int(steps.iloc[first]) if first < len(steps) else None


def forgotten(view: StudyView, run: str, row: str = FAMILY) -> pd.DataFrame:
    """What became separably worse, and when: final similarity of each concept (or family), and the chosen score.

    Returns:
        the row's column (WHOLE: the CLIP score, or the chosen one), peak: training step of the best checkpoint before;
        forgotten_at: training step; difference, low, high, q, prompts: the last checkpoint less the peak, paired; by
        forgotten_at. Rows that stayed are left out.
    """
    view = of_run(view, run)
    tests = _later_pairs(view, row)
    falls = [_forgotten(str(name), part, row) for name, part in tests.groupby(row)]
    rows = [each for each in falls if each is not None]
    columns = [row, "peak", "forgotten_at", "difference", "low", "high", "q", "prompts"]
    out = pd.DataFrame(rows, columns=columns)
    return out.sort_values(["forgotten_at", row]).reset_index(drop=True)


def _later_pairs(view: StudyView, row: str) -> pd.DataFrame:
    """The test of every earlier and later checkpoint of every row, corrected over all of them; gain: above 0 = better."""
    scores_ = comparison.scores(view)[["model_id", "prompt_id", "score"]]
    whole = scores_.rename(columns={"score": "final"}).assign(**{row: WHOLE})
    values = pd.concat([whole, _values(view, row)[["model_id", row, "prompt_id", "final"]]])
    steps = with_steps(view, view.models[["model_id"]])
    parts = []
    for name, part in values.groupby(row, sort=False):
        table = comparison.by_prompt(part, "final")
        ordered = [i for i in steps["model_id"] if i in table]
        parts.append(comparison.pair_tests(table[ordered]).assign(**{row: name}))
    tests = pd.concat(parts, ignore_index=True)
    q = uncertainty.benjamini_hochberg(tests["p"])
    step_of = dict(zip(steps["model_id"], steps["training_step"], strict=True))
    sign = np.where(tests[row] == WHOLE, measures.chosen_score(view).sign, 1)
    return tests.assign(
        q=q,
        gain=sign * tests["difference"],
        verdict=uncertainty.verdicts(q, tests["prompts"]),
        earlier=tests["first"].map(step_of),
        later=tests["second"].map(step_of),
    )


def _forgotten(name: str, tests: pd.DataFrame, row: str) -> dict[str, object] | None:
    """The peak that the last checkpoint lies furthest below, separably; None where there is none."""
    last = tests[tests["later"] == tests["later"].max()]
    worse = last[(last["verdict"] == SEPARABLE) & (last["gain"] < 0)]
    if worse.empty:
        return None
    end = worse.loc[worse["gain"].idxmin()]
    after = tests[tests["earlier"] == end["earlier"]].sort_values("later")
    below = (after["verdict"] == SEPARABLE) & (after["gain"] < 0)
    return {
        row: name,
        "peak": int(end["earlier"]),
        "forgotten_at": _stays_from(after["later"], below),
        **{key: end[key] for key in ("difference", "low", "high", "q", "prompts")},
    }


def shown_checkpoints(ids: list[int], chosen: int, most: int) -> list[int]:
    """At most so many checkpoints, evenly over a run, the first, the last and the chosen one among them."""
    if len(ids) <= most:
        return ids
    indices = {round(i * (len(ids) - 1) / (most - 1)) for i in range(most)}
    at = ids.index(chosen) if chosen in ids else 0
    if at not in indices:
        inner = [index for index in indices if 0 < index < len(ids) - 1]
        indices.discard(min(inner, key=lambda index: abs(index - at)))
        indices.add(at)
    return [ids[index] for index in sorted(indices)]


def best_text(table: pd.DataFrame) -> str:
    """Which checkpoint is the best, and which tie with it."""
    best = table[table["choice"] == "best"]
    tied = table.loc[table["choice"].isin(("tied", "unknown")), "training_step"]
    steps = ", ".join(f"{int(step):,}" for step in tied)
    with_it = f"no test separates it from {steps}" if steps else "every other is separably worse"
    return f"Best: {int(best['training_step'].iloc[0]):,}; {with_it} (paired t test, Holm over all pairs of the run)."


def separable_text(table: pd.DataFrame) -> str:
    """How many of the differences are separable."""
    tests = table[table["verdict"] != "reference"]
    return (
        f"{int((tests['verdict'] == SEPARABLE).sum())} of {len(tests)} differences are separable."
    )
