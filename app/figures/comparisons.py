"""The figures that compare models: scores, paired differences, where two models differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import altair as alt
import numpy as np
import pandas as pd

from app.analysis import comparison, uncertainty
from app.analysis.measures import Measure, every_score
from app.analysis.reading import WHOLE
from app.charts import axes as axes_charts
from app.charts import grids as grids_charts
from app.charts import paper
from app.charts import rows as rows_charts
from app.figures.parts import (
    SEEDS_FIRST,
    interval_text,
    keyed,
    no_trajectories,
    sizes,
    which_pairs,
    without_legends,
)
from app.figures.source import Figure, FigureStudy, NotMeasured

MOST_CONCEPTS = 24
SIDES = {False: "right", True: "left"}  # where the better values are, by whether lower is better
UNITS = {"log_snr": "log-SNR", "step": "steps", "progress": "share of the steps"}
OPEN_STEPS = ", whose interval also covers what steps at other noise levels leave open"


def _need_two(study: FigureStudy) -> tuple[int, list[int]]:
    baseline = study.baseline()
    others = [i for i in study.scope.models if i != baseline]
    if not others:
        raise NotMeasured(
            "A comparison needs two models; this choice has one.",
            "Leave --models out, or add another [[model]] to the study file and run it again.",
        )
    return baseline, others


def paired_differences(study: FigureStudy) -> Figure:
    """Paired differences of every headline measure to the baseline, with intervals and a table."""
    baseline, others = _need_two(study)
    named, axis = study.basis()
    table = comparison.what_differs(study, baseline, named=named, axis=axis)
    table = table[~table["measure"].str.startswith(f"{study.score.title}: ")]
    if table.empty:
        raise no_trajectories()
    shown = study.of(*others)
    drawn = table.assign(
        mean=table["difference"], significant=table["verdict"] == uncertainty.SEPARABLE
    )
    late = drawn["measure"].str.startswith(comparison.EMERGENCE[axis].title)
    added = {score.title: score for score in every_score(study) if score.metric}
    other = drawn["measure"].isin(added)
    panels = [(drawn[~late & ~other], "Difference (cosine); right is better")]
    panels += [
        (
            drawn[drawn["measure"] == title],
            f"Difference ({title}); {SIDES[score.lower_is_better]} is better",
        )
        for title, score in added.items()
    ]
    panels.append((drawn[late], f"Difference ({UNITS[axis]}); left is earlier"))
    parts = [_forest(rows, shown, title) for rows, title in panels if len(rows)]
    caption = (
        f"Differences to {study.label(baseline)}, paired by prompt: mean and {uncertainty.PAIRED}. Concepts "
        f"{which_pairs(named)}; emergence: restricted mean, in {UNITS[axis]}{OPEN_STEPS if axis == 'log_snr' else ''}. Hollow points are "
        f"not separable (paired t test, p corrected by Holm: {'each' if added else 'the CLIP'} score over all pairs of models, the other measures "
        f"over measures and models; at least {uncertainty.LEAST_PROMPTS} prompts). {SEEDS_FIRST} "
        f"{''.join(score.credit + ' ' for score in added.values())}{sizes(study, table['prompts'])} {study.source_line()}"
    )
    draw = keyed(shown, parts, 1, mark="point")
    return Figure(draw, table.drop(columns="model_id"), caption, 1, _paired_table(table))


def _what(score: Measure) -> str:
    """A score, its direction and where it comes from, for a caption."""
    if not score.metric:
        return "CLIP score (cosine of the final image and its prompt; higher is better)"
    return f"{score.credit[:-1]}; {score.better} is better"


def _paired_table(table: pd.DataFrame) -> pd.DataFrame:
    """The paired differences as they are printed."""
    limits = zip(table["low"], table["high"], strict=True)
    return pd.DataFrame(
        {
            "Candidate": table["model"],
            "Measure": table["measure"],
            "Difference": [f"{v:+.3f}" for v in table["difference"]],
            "95 % interval": [interval_text(low, high, 3, "+") for low, high in limits],
            "p (Holm)": [_p(v) for v in table["q"]],
            "Verdict": table["said"],
            "d_z": [f"{v:+.2f}" if np.isfinite(v) else "–" for v in table["d_z"]],
            "Wins": [f"{v:.0%}" for v in table["win_rate"]],
            "n": [f"{v:d}" for v in table["prompts"]],
        }
    )


def _p(p: float) -> str:
    if not np.isfinite(p):
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _forest(rows: pd.DataFrame, shown: pd.DataFrame, title: str) -> Callable[[float], Any]:
    def draw(width: float) -> Any:
        chart = without_legends(paper.still(rows_charts.forest(rows, shown, "measure", title)))
        height = (7 * len(shown) + 6) * rows["measure"].nunique()
        return chart.properties(width=width, height=height)

    return draw


def difference_heatmap(study: FigureStudy) -> Figure:
    """Where on the concept x step grid a candidate differs significantly from the baseline."""
    baseline, others = _need_two(study)
    candidate = others[0]
    named, axis = study.basis()
    grid = comparison.difference_grid(
        study, baseline=baseline, candidates=(candidate,), named=named, axis=axis
    )
    cells = comparison.of_concepts(study, grid)
    if cells.empty:
        raise no_trajectories()
    kept = comparison.most_different(cells, study.choice.rows or MOST_CONCEPTS)
    table = cells[cells["concept"].isin(kept)]
    pair = f"{study.label(candidate)} minus {study.label(baseline)}"
    whole = comparison.with_whole_prompt(grid, table)
    caption = (
        f"Paired difference of similarity, {pair}, per concept, {which_pairs(named)}, and step, the whole prompt on top; two "
        f"models' curves are compared at the same {UNITS[axis]}. {_marked(whole)} (paired t test, Benjamini-Hochberg over "
        f"the study's whole grid, q < 0.05, at least {uncertainty.LEAST_PROMPTS} prompts). The data has the 95 % interval "
        f"of every cell. {SEEDS_FIRST} {sizes(study, whole['prompts'])} {study.source_line()}"
    )
    columns = ["concept", "family", "step", "mean", "low", "high", "q", "significant", "prompts"]
    order = [WHOLE, *comparison.difference_order(table)]
    steps = study.ask("steps", models=[baseline])
    levels = axes_charts.levels(steps, baseline, axis)
    draw = _difference_chart(whole, f"Similarity, {pair}", order, levels)
    return Figure(draw, whole[columns], caption)


def _marked(cells: pd.DataFrame) -> str:
    """What the marks say, of which there are none where no cell differs."""
    if not cells["significant"].any():
        return "No cell shown differs"
    share = float(cells["significant"].mean())
    return f"Marked cells differ, {share:.0%} of those shown: triangles where the candidate is higher, circles where it is lower"


def _difference_chart(
    table: pd.DataFrame, title: str, order: list[str], levels: dict[int, float] | None
) -> Callable[[float], alt.TopLevelMixin]:
    """Draws the cells; marks of two shapes tell the sign without colour."""

    def draw(width: float) -> alt.TopLevelMixin:
        chart = paper.still(grids_charts.difference_heat(table, title, order=order, levels=levels))
        for dots in chart.layer[1:]:  # none where no cell is significant
            dots.transform = [{"filter": "datum.significant"}]
            dots.mark = alt.MarkDef(type="point", filled=True, size=7, color="#111111", aria=False)
            dots.encoding.shape = alt.condition(
                "datum.mean > 0", alt.value("triangle-up"), alt.value("circle")
            )
        return cast(alt.TopLevelMixin, chart.properties(width=width, height=8.5 * len(order)))

    return draw


def scores_table(study: FigureStudy) -> Figure:
    """The chosen score of every model with its interval, as points and as a table, the best first."""
    table, score = comparison.ranking(study), study.score
    if table.empty:
        raise no_trajectories()
    limits = zip(table["low"], table["high"], strict=True)
    printed = pd.DataFrame(
        {
            "Rank": table["rank"],
            "Model": table["model"],
            score.title: [f"{v:.3f}" for v in table["mean"]],
            "95 % interval": [interval_text(low, high, 3) for low, high in limits],
            "n": [f"{v:d}" for v in table["prompts"]],
        }
    )
    caption = (
        f"{_what(score)}: mean with its "
        "95 % t interval over prompts. A rank is one plus the number of models that are separably better (paired t test "
        f"over shared prompts, Holm over all pairs of models). {SEEDS_FIRST} {sizes(study, table['prompts'])} "
        f"{study.source_line()}"
    )
    drawn = table.assign(measure=score.title).sort_values("model_id")
    axis = (
        f"{score.title}, {score.better} is better"
        if score.metric
        else "CLIP score (cosine), higher is better →"
    )

    def part(width: float) -> Any:
        return paper.dots(drawn, study.models, "measure", axis, width)

    kept = table[["rank", "model", "mean", "low", "high", "prompts"]]
    return Figure(keyed(study.models, [part], 1, mark="point"), kept, caption, 1, printed)
