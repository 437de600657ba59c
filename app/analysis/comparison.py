"""Which model is better, at what, and how sure that is. No Streamlit, no chart.

Each question has one family of tests, which is the same wherever the question is shown:

- *Which model has the better score?* All pairs of the models shown, corrected by Holm. Each score (CLIP score, and every
  score that another program computed) is a question of its own.
- *What else differs from the baseline?* Every other measure of every other model shown, corrected by Holm.
- *Where do two models differ?* The concept x step grid of one candidate, corrected by Benjamini and Hochberg.

A reader who picks some candidates sees fewer rows, never another correction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from app.analysis import measures, trajectories, uncertainty
from app.analysis.measures import CLIP, Measure
from app.analysis.questions import Question, runs
from app.analysis.reading import NO_CATEGORY, WHOLE, StudyView
from app.analysis.uncertainty import SEPARABLE

MOST_CATEGORIES = 16

SCORE = CLIP
FINAL = Measure("Final similarity", "final", False, ("higher", "lower"))
AREA = Measure("Area under the rising curve", "auc", False, ("larger", "smaller"))
LATER = ("later", "earlier")
EMERGENCE = {
    "log_snr": Measure("Emergence (log-SNR)", "emergence", True, LATER),
    "step": Measure("Emergence (step)", "emergence", True, LATER),
    "progress": Measure("Emergence (share of the steps)", "emergence", True, LATER),
}
ALL_PROMPTS = ", all prompts"
CONCEPT_TITLES = tuple(measure.title for measure in (FINAL, AREA, *EMERGENCE.values()))
WHY_LOG_SNR = (
    "Steps of models with different timesteps stand at different noise levels, so that the same trajectory differs in "
    "steps: compare such models in log-SNR, where an interval of emergence also covers what the distance between their steps leaves open."
)


def family_title(measure: Measure, family: str, *, named: bool) -> str:
    """The title of a family's measure: over the prompts that name its concepts, unless it says all prompts."""
    return f"{measure.title}{'' if named else ALL_PROMPTS}: {family}"


def scores(
    view: StudyView, models: Sequence[int] | None = None, metric: str | None = None
) -> pd.DataFrame:
    """One row per (model, prompt): a score of its final images, seeds averaged.

    Args:
        view: the study and its filters.
        models: model_id; None = those shown.
        metric: `Measure.metric` of a score, '' = the CLIP score; None = the chosen one.
    """
    chosen = view.scope.metric if metric is None else metric
    return view.ask_scope("scores", models=list(models or view.scope.models), metric=chosen)


def score_values(view: StudyView, models: Sequence[int]) -> dict[str, pd.DataFrame]:
    """Prompt x model values of every score of some models, by `Measure.metric`."""
    return {
        score.metric: by_prompt(scores(view, models, score.metric))
        for score in measures.every_score(view)
    }


def by_prompt(rows: pd.DataFrame, value: str = "score") -> pd.DataFrame:
    """Prompt x model values of rows with prompt_id, model_id and the value; in a fifth of the time of a pivot."""
    at, prompts = pd.factorize(rows["prompt_id"], sort=True)
    of, models = pd.factorize(rows["model_id"], sort=True)
    matrix = np.full((len(models), len(prompts)), np.nan)
    matrix[of, at] = rows[value].to_numpy(float)
    known = ~np.isnan(matrix).all(axis=1)
    names = pd.Index(prompts, name="prompt_id"), pd.Index(models[known], name="model_id")
    return pd.DataFrame(matrix[known].T, *names)


def pair_tests(values: pd.DataFrame) -> pd.DataFrame:
    """The paired test of every pair of columns over the rows that both have, corrected by Holm over all pairs.

    Args:
        values: one row per prompt; a column per model (or per concept), NaN where it has no value.

    Returns:
        first, second; difference, low, high: second minus first, mean and t interval; sd, prompts; win_rate: share of rows
        on which the second is higher, ties counting half; p; q: corrected; d_z; verdict.
    """
    parts = [_gaps(values, number) for number in range(values.shape[1] - 1)]
    columns = ["first", "second", "difference", "sd", "prompts", "win_rate"]
    table = pd.concat(parts) if parts else pd.DataFrame(columns=columns, dtype=float)
    return judged(table.reset_index(drop=True))


def _gaps(values: pd.DataFrame, number: int) -> pd.DataFrame:
    """Moments of the differences of each later column to one, over the rows that both have."""
    rows = values.to_numpy(float).T  # one per column: sums along it take a third of the time
    known = np.isfinite(rows[number])
    rows = rows if known.all() else rows[:, known]
    gap = rows[number + 1 :] - rows[number]
    there = np.isfinite(gap)
    count = there.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(there, gap, 0.0).sum(axis=1) / count
        apart = np.where(there, gap - mean[:, None], 0.0)
        sd = np.sqrt(np.einsum("ij,ij->i", apart, apart) / (count - 1))
        wins = ((gap > 0).sum(axis=1) + (gap == 0).sum(axis=1) / 2) / count
    return pd.DataFrame(
        {
            "first": values.columns[number],
            "second": values.columns[number + 1 :],
            "difference": mean,
            "sd": np.where(count > 1, sd, np.nan),
            "prompts": count,
            "win_rate": wins,
        }
    )


def judged(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of moments (difference, sd, prompts) with low, high, p, q, d_z and verdict; Holm over the table."""
    mean, sd, count = table["difference"], table["sd"], table["prompts"]
    low, high = uncertainty.t_limits(mean, sd, count)
    p = uncertainty.paired_t_p(mean, sd, count)
    q = uncertainty.holm(p)
    verdict = uncertainty.verdicts(q, count)
    return table.assign(low=low, high=high, p=p, q=q, d_z=mean / sd.where(sd > 0), verdict=verdict)


def against(pairs: pd.DataFrame, baseline: int) -> dict[int, float]:
    """Corrected p of each model against the baseline, by model_id, out of the tests of all pairs."""
    rows = pairs[(pairs["first"] == baseline) | (pairs["second"] == baseline)]
    other = rows["first"].where(rows["first"] != baseline, rows["second"])
    return dict(zip(other.astype(int), rows["q"].astype(float), strict=True))


def better_matrix(pairs: pd.DataFrame, names: Sequence[Any], *, lower: bool = False) -> np.ndarray:
    """Whether column j is separably better than row i, by the tests of all pairs; for `uncertainty.tied_ranks`."""
    position = {name: i for i, name in enumerate(names)}
    out = np.zeros((len(names), len(names)), dtype=bool)
    sure = pairs[pairs["verdict"] == SEPARABLE]
    for first, second, gap in zip(sure["first"], sure["second"], sure["difference"], strict=True):
        ahead, behind = (second, first) if (gap > 0) != lower else (first, second)
        out[position[behind], position[ahead]] = True
    return out


def means(view: StudyView, rows: pd.DataFrame) -> pd.DataFrame:
    """One row per model with a score, in the study's order: model, mean, low, high, sd, prompts.

    Args:
        view: the study and its filters.
        rows: of `scores`.
    """
    table = rows.groupby("model_id")["score"].agg(mean="mean", sd="std", prompts="count")
    low, high = uncertainty.t_limits(table["mean"], table["sd"], table["prompts"])
    return view.labelled(table.assign(low=low, high=high).reset_index())


def clearest(view: StudyView) -> pd.DataFrame:
    """The tests of all pairs of models by the chosen score, the largest effect first, each pair with its better model first.

    Returns:
        better, worse: model_id; difference, low, high: how much better, mean and t interval; win_rate; p, q; verdict; prompts.
    """
    sign = measures.chosen_score(view).sign
    values = by_prompt(scores(view))
    pairs = pair_tests(values)
    swap = ~(sign * pairs["difference"] > 0)
    better = pairs["first"].where(swap, pairs["second"])
    worse = pairs["second"].where(swap, pairs["first"])
    ahead = pairs["difference"] > 0  # the second has the higher value
    limits = np.sort(np.where(ahead, 1, -1) * pairs[["low", "high"]].to_numpy().T, axis=0)
    table = pairs.assign(
        better=better,
        worse=worse,
        difference=pairs["difference"].abs(),
        low=limits[0],
        high=limits[1],
        win_rate=pairs["win_rate"].where(ahead, 1 - pairs["win_rate"]),
    )
    unscaled = np.where(table["difference"] > 0, np.inf, 0.0)  # every prompt differs by the same
    effect = table["d_z"].abs().where(table["d_z"].notna(), unscaled)
    order = effect.sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def ranking(view: StudyView) -> pd.DataFrame:
    """The models by the chosen score, the best first; ranks by the paired tests of all pairs.

    Returns:
        model_id, rank, model; mean, low, high: over each model's own prompts, t interval; sd; prompts.
    """
    rows, lower = scores(view), measures.chosen_score(view).lower_is_better
    table = means(view, rows)
    better = better_matrix(pair_tests(by_prompt(rows)), table["model_id"].tolist(), lower=lower)
    table = table.assign(rank=uncertainty.tied_ranks(better))
    table = table.sort_values(["mean", "model_id"], ascending=[lower, True])
    names = ["model_id", "rank", "model", "mean", "low", "high", "sd", "prompts"]
    return table[names].reset_index(drop=True)


def score_pairs(rows: pd.DataFrame, baseline: int) -> pd.DataFrame:
    """One row per (other model, prompt) that the baseline has done too: baseline, candidate, difference, category.

    Args:
        rows: of `scores`.
        baseline: model_id.
    """
    scores = rows.loc[rows["model_id"] == baseline, ["prompt_id", "score"]]
    others = rows[rows["model_id"] != baseline].rename(columns={"score": "candidate"})
    both = others.merge(scores.rename(columns={"score": "baseline"}), on="prompt_id")
    return both.assign(difference=both["candidate"] - both["baseline"])


def score_tests(rows: pd.DataFrame, baseline: int, score: Measure = CLIP) -> pd.DataFrame:
    """One row per other model: its score against the baseline's, corrected over all pairs of models.

    Args:
        rows: of `scores`, of all models of the family.
        baseline: model_id.
        score: which score it is.
    """
    return _score_tests(by_prompt(rows), baseline, score)


def _score_tests(values: pd.DataFrame, baseline: int, score: Measure) -> pd.DataFrame:
    q = _score_q(values, baseline)
    tests = [
        _test(Question(other, score.title, score, *_both(values, baseline, other))) for other in q
    ]
    return _worded(pd.DataFrame(tests).assign(q=list(q.values()))) if tests else _none()


def _score_q(values: pd.DataFrame, baseline: int) -> dict[int, float]:
    return against(pair_tests(values), baseline) if baseline in values else {}


def what_differs(
    view: StudyView, baseline: int, *, named: bool = True, axis: str = "log_snr"
) -> pd.DataFrame:
    """Every score, and every headline measure, of every other model shown against the baseline; the chosen score first.

    Args:
        view: the study and its filters.
        baseline: model_id.
        named: concepts only in prompts that name them, where any prompt does.
        axis: of emergence: log_snr, step or progress.

    Returns:
        model_id, model, measure, better (which direction), said (better, worse, earlier ..., or the verdict), verdict,
        difference, low, high, p, q (corrected over the question's family), wilcoxon, d_z, cliffs_delta,
        win_rate (of prompts, in the measure's direction), needed (prompts), prompts.
    """
    models = shown_with(view, baseline)
    others = [i for i in models if i != baseline]
    chosen = measures.chosen_score(view)
    values = score_values(view, models)
    of_score = {score.metric: score for score in measures.every_score(view)}
    order = dict.fromkeys((chosen.metric, *of_score))
    first = [_score_tests(values[metric], baseline, of_score[metric]) for metric in order]
    families = family_values(view, baseline, others, named=view.counts_named(named), axis=axis)
    questions = _further_questions(view, baseline, values, families)
    tests = pd.DataFrame([_test(question) for question in questions])
    second = _worded(tests.assign(q=uncertainty.holm(tests["p"]))) if len(tests) else _none()
    table = pd.concat([part for part in (*first, second) if len(part)] or [_none()])
    position = {model: number for number, model in enumerate(others)}
    table = table.sort_values("model_id", key=lambda ids: ids.map(position), kind="stable")
    return view.labelled(table)[["model_id", "model", *COLUMNS[1:]]]


def corrected(
    view: StudyView,
    baseline: int,
    values: Mapping[str, pd.DataFrame],
    families: Sequence[Question],
) -> dict[tuple[int, str], float]:
    """The q of every row of `what_differs`, by model_id and measure, in a quarter of its time: only what decides it is computed.

    Args:
        view: the study and its filters.
        baseline: model_id.
        values: of `score_values`, of all models shown.
        families: of `family_values`, of all models shown; areas are no part of the question.
    """
    q: dict[tuple[int, str], float] = {}
    for score in measures.every_score(view):
        of_model = _score_q(values[score.metric], baseline)
        q |= {(model, score.title): each for model, each in of_model.items()}
    headline = [question for question in families if question.measure is not AREA]
    questions = _further_questions(view, baseline, values, headline)
    p = [uncertainty.paired_p(each.baseline, each.candidate, each.limits) for each in questions]
    return q | {(each.model_id, each.title): one for each, one in zip(questions, uncertainty.holm(p).tolist(), strict=True)}  # fmt: skip


def shown_with(view: StudyView, baseline: int) -> list[int]:
    """The models shown and the baseline, in the study's order."""
    ids = {*view.scope.models, baseline}
    return [int(i) for i in view.every_model["model_id"] if int(i) in ids]


COLUMNS = [
    "model_id", "measure", "better", "said", "verdict", "difference", "low", "high", "p", "q", "wilcoxon", "d_z",
    "cliffs_delta", "win_rate", "needed", "prompts",
]  # fmt: skip


def _none() -> pd.DataFrame:
    return pd.DataFrame(columns=COLUMNS)


def _further_questions(
    view: StudyView,
    baseline: int,
    values: Mapping[str, pd.DataFrame],
    families: Sequence[Question],
) -> list[Question]:
    """What else is asked beside the scores: the chosen score within each category, and the families; of shared prompts."""
    chosen = measures.chosen_score(view)
    others = [i for i in shown_with(view, baseline) if i != baseline]
    rows = scores(view, shown_with(view, baseline), chosen.metric)
    category = rows.drop_duplicates("prompt_id").set_index("prompt_id")["category"]
    within = _category_questions(category, values[chosen.metric], baseline, others, chosen)
    return [question for question in (*within, *families) if question.shares_prompts]


def _category_questions(
    category: pd.Series, values: pd.DataFrame, baseline: int, others: Sequence[int], score: Measure
) -> Iterator[Question]:
    """The chosen score within each category of prompts, where there are several."""
    codes, names = pd.factorize(category.reindex(values.index), sort=True)
    if not 1 < len(names) <= MOST_CATEGORIES:
        return
    for code, name in enumerate(names):
        for other in others:
            if {baseline, other} <= set(values.columns):
                both = _both(values[codes == code], baseline, other)
                yield Question(other, f"{score.title}: {name or NO_CATEGORY}", score, *both)


def _both(values: pd.DataFrame, baseline: int, other: int) -> tuple[Any, Any, Any]:
    return values.index, values[baseline].to_numpy(), values[other].to_numpy()


def family_values(
    view: StudyView,
    baseline: int,
    others: Sequence[int],
    *,
    named: bool,
    axis: str,
    area: bool = False,
) -> list[Question]:
    """Final similarity and emergence of each concept family, side by side with the baseline's.

    Args:
        view: the study and its filters.
        baseline: model_id.
        others: model_id of the candidates.
        named: concepts only in prompts that name them.
        axis: of emergence.
        area: whether the area under rising curves too.

    Returns:
        The measures one after the other, the families of each, the candidates of those.
    """
    rows = view.ask_scope(
        "paired_families", baseline=baseline, candidates=list(others), named=named, axis=axis
    )
    groups = runs(rows)
    of_families = (FINAL, EMERGENCE[axis], *((AREA,) if area else ()))
    return [
        Question(
            other,
            family_title(measure, family, named=named),
            measure,
            groups[other, family]["prompt_id"],
            groups[other, family][f"{measure.column}_baseline"].to_numpy(),
            groups[other, family][f"{measure.column}_candidate"].to_numpy(),
            _limits(groups[other, family]) if measure is EMERGENCE[axis] else None,
        )
        for measure, family, other in product(of_families, view.families, others)
        if (other, family) in groups
    ]


def _limits(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """What the steps leave open of each prompt's difference of emergence; the difference itself of models with the same steps."""
    return rows["lowest"].to_numpy(), rows["highest"].to_numpy()


def _test(question: Question) -> dict[str, Any]:
    measure = question.measure
    paired = uncertainty.compare(
        question.baseline, question.candidate, lower_is_better=measure.lower_is_better, limits=question.limits
    )  # fmt: skip
    gap = paired.difference
    return {
        "model_id": question.model_id, "measure": question.title, "better": measure.better,
        "said": measure.words[0] if gap.estimate > 0 else measure.words[1],
        "difference": gap.estimate, "low": gap.low, "high": gap.high, "p": paired.p, "wilcoxon": paired.wilcoxon,
        "d_z": paired.d_z, "cliffs_delta": paired.cliffs_delta, "win_rate": paired.win_rate, "needed": paired.needed,
        "prompts": gap.n,
    }  # fmt: skip


def _worded(table: pd.DataFrame) -> pd.DataFrame:
    """The tests with their verdict, and what is said of them: the direction only where it is separable."""
    verdict = uncertainty.verdicts(table["q"], table["prompts"])
    said = np.where(verdict == SEPARABLE, table["said"], verdict)
    return table.assign(verdict=verdict, said=said)[COLUMNS]


def difference_grid(
    view: StudyView,
    baseline: int,
    candidates: Sequence[int],
    *,
    named: bool = True,
    axis: str = "log_snr",
) -> pd.DataFrame:
    """Paired differences of similarity per (candidate, concept, step), with the whole prompt as concept 0.

    Args:
        view: the study and its filters.
        baseline: model_id.
        candidates: models.
        named: concepts only in prompts that name them, where any prompt does.
        axis: at what two models' steps are matched: log_snr (interpolated), step or progress.

    Returns:
        model_id, model, concept_id, step (of the baseline), prompts, mean, sd, low, high, d_z; p, and q corrected by Benjamini
        and Hochberg over the candidate's grid of concepts, and over the steps of the whole prompt; significant: separable.
    """
    scope = replace(view.scope, concepts=(0, *view.scope.concepts))
    table = trajectories.paired_grid(
        view.ask_scope,
        scope,
        baseline,
        candidates,
        complete=view.complete,
        named=view.counts_named(named),
        axis=axis,
    )
    low, high = uncertainty.t_limits(table["mean"], table["sd"], table["prompts"])
    p = uncertainty.paired_t_p(table["mean"], table["sd"], table["prompts"])
    d_z = table["mean"] / table["sd"].where(table["sd"] > 0)
    families = [table["model_id"], table["concept_id"] == 0]
    q = pd.Series(p, table.index).groupby(families).transform(uncertainty.benjamini_hochberg)
    table = table.assign(low=low, high=high, p=p, d_z=d_z, q=q)
    verdict = uncertainty.verdicts(table["q"], table["prompts"])
    return view.labelled(table.assign(significant=verdict == SEPARABLE))


def of_concepts(view: StudyView, grid: pd.DataFrame) -> pd.DataFrame:
    """The cells of `difference_grid` that belong to a concept, with its name and family."""
    return view.with_concepts(grid[grid["concept_id"] > 0])


def with_whole_prompt(grid: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """The cells of concepts with a row of the whole prompt, whose last step is the CLIP score, on top."""
    whole = grid[grid["concept_id"] == 0].assign(concept=WHOLE, family="")
    return pd.concat([whole[list(cells)], cells], ignore_index=True)


def difference_order(cells: pd.DataFrame) -> list[str]:
    """The concepts of one candidate's cells from top to bottom: by family, the largest mean difference first."""
    means = cells.groupby(["family", "concept"])["mean"].mean().reset_index()
    ordered = means.sort_values(["family", "mean"], ascending=[True, False])
    return list(ordered["concept"])


def most_different(cells: pd.DataFrame, most: int) -> list[str]:
    """The concepts with the largest difference at any step, the largest first."""
    largest = cells.groupby("concept")["mean"].apply(lambda gap: gap.abs().max())
    return list(largest.sort_values(ascending=False).index[:most])
