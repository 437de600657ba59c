"""The figures about concepts, comparisons, faithfulness, trust, spectra and paths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import altair as alt
import charts
import charts_paper as paper
import numpy as np
import pandas as pd
import uncertainty
from figure_study import Figure, FigureError, FigureStudy, NotMeasured
from typeset import stack

SEEDS_FIRST = "Seeds are averaged within a prompt; the prompt is the unit."
STEP_AXIS = charts.AXES["Step"]


def span(values: pd.Series) -> str:
    """'12' or '3 to 12'."""
    low, high = int(values.min()), int(values.max())
    return f"{low}" if low == high else f"{low} to {high}"


def sizes(study: FigureStudy, prompts: pd.Series) -> str:
    """'n = 3 to 12 prompts × 2 seeds (0, 1).'"""
    seeds = ", ".join(str(s) for s in study.scope.seeds[:8])
    noun = "seed" if len(study.scope.seeds) == 1 else "seeds"
    return f"n = {span(prompts)} prompts × {len(study.scope.seeds)} {noun} ({seeds})."


def keyed(models: pd.DataFrame, parts: list[Any], columns: int, *, mark: str = "line") -> Any:
    """Draws panels below one key; returns a function of the panels' width."""

    def draw(width: float) -> alt.TopLevelMixin:
        drawn = [part(width) for part in parts]
        grid = paper.panels(drawn, columns) if len(drawn) > 1 else drawn[0]
        if len(models) < 2:
            return cast(alt.TopLevelMixin, grid)
        return stack([paper.key(models, width * columns + 24 * (columns - 1), 8, mark=mark), grid])

    return draw


def _no_trajectories() -> NotMeasured:
    return NotMeasured(
        "There is no finished sample within these filters.",
        "Leave a filter out, or run the study: python -m pipeline run STUDY.toml",
    )


def concept_curves(study: FigureStudy) -> Figure:
    """Similarity of single concepts over the steps, a panel per concept."""
    if study.concepts.empty:
        raise _no_trajectories()
    ids = study.concept_ids() if study.choice.concepts else list(study.scope.concepts)
    named = study.named
    data = study.curves(ids, named=named)
    if data.empty:
        raise _no_trajectories()
    if not study.choice.concepts:
        data = data[data["concept_id"].isin(_often_named(data))]
        data = data[data["concept_id"].isin(_risers(data, study.choice.rows or 4))]
    table = study.labelled(data).merge(
        study.every_concept.rename(columns={"name": "concept"}), on="concept_id"
    )
    names = list(dict.fromkeys(table["concept"]))
    parts = [_concept_panel(table, study, name, i % 2 == 0) for i, name in enumerate(names)]
    which = "the prompts that name the concept" if named else "all prompts"
    caption = (
        "Cosine similarity (CLIP) of the predicted clean image with a concept at each denoising "
        f"step; higher means that the concept is seen more. Lines: mean over {which}; bands: "
        f"95 % t interval over prompts. {charts.VAST} {SEEDS_FIRST} {sizes(study, table['prompts'])} "
        f"{study.source_line()}"
    )
    columns = min(len(parts), 2)
    kept = table[["model", "concept", "family", "step", "mean", "low", "high", "prompts"]]
    return Figure(keyed(study.models, parts, columns), kept, caption, columns)


def _often_named(data: pd.DataFrame, wanted: int = 4) -> list[int]:
    """Concepts that several prompts name, if there are enough: over one prompt there is no interval."""
    most = data.groupby("concept_id")["prompts"].max()
    for least in (5, 3, 2):
        if (most >= least).sum() >= wanted:
            return [int(i) for i in most[most >= least].index]
    return [int(i) for i in most.index]


def _risers(data: pd.DataFrame, most: int) -> list[int]:
    """The concepts that rise most, in the mean over the models."""
    first = data.sort_values("step").groupby(["model_id", "concept_id"])["mean"]
    rise = (first.last() - first.first()).groupby("concept_id").mean()
    top = rise.sort_values(ascending=False).head(most).index
    return sorted(int(i) for i in top)


def _concept_panel(
    table: pd.DataFrame, study: FigureStudy, name: str, first: bool
) -> Callable[[float], Any]:
    own = table[table["concept"] == name]
    title = "Similarity (cosine)" if first else None
    # Lower than the vertical title is long, a panel's own title would stand above its neighbour's.
    return lambda width: paper.curve_panel(
        own, study.models, STEP_AXIS, name, title, width, min(max(width * 0.55, 88), 110)
    )


def concept_heatmap(study: FigureStudy) -> Figure:
    """Concept x step heat map of the similarity of one model."""
    ids = study.concept_ids() if study.choice.concepts else list(study.scope.concepts)
    model = study.baseline()
    named = study.named
    data = study.curves(ids, named=named)
    data = data[data["model_id"] == model]
    if data.empty:
        raise _no_trajectories()
    keep = _risers(data, study.choice.rows or 24)
    table = data[data["concept_id"].isin(keep)].merge(
        study.every_concept.rename(columns={"name": "concept"}), on="concept_id"
    )
    table = table.assign(value=table["mean"] - table.groupby("concept_id")["mean"].transform("min"))
    half = table.assign(
        above=table["value"] >= table.groupby("concept")["value"].transform("max") / 2
    )
    first = half[half["above"]].groupby("concept")["step"].min()
    family_first = table.assign(first=table["concept"].map(first)).groupby("family")["first"].mean()
    order = (
        table.drop_duplicates("concept")
        .assign(
            first=lambda t: t["concept"].map(first), place=lambda t: t["family"].map(family_first)
        )
        .sort_values(["place", "family", "first", "concept"])["concept"]
        .tolist()
    )

    def draw(width: float) -> alt.TopLevelMixin:
        chart = paper.still(
            charts.heat(table, "Rise of similarity (cosine) since its lowest", order=order)
        )
        return cast(alt.TopLevelMixin, chart.properties(width=width, height=8.5 * len(order)))

    which = "the prompts that name it" if named else "all prompts"
    caption = (
        f"Rise of the similarity (CLIP cosine) of {study.label(model)}'s predicted clean image with "
        f"each concept over the denoising steps, above its lowest mean; mean over {which}. Families "
        f"and concepts are ordered by the step at which half of the rise is reached. The data has the 95 % interval of every cell. {SEEDS_FIRST} "
        f"{sizes(study, table['prompts'])} {study.source_line()}"
    )
    kept = table[["concept", "family", "step", "value", "mean", "low", "high", "prompts"]]
    return Figure(draw, kept, caption)


def emergence(study: FigureStudy) -> Figure:
    """When concept families (or named concepts) emerge, with tied ranks."""
    by_concept = bool(study.choice.concepts)
    row = "concept" if by_concept else "family"
    concepts = study.concept_ids() if by_concept else list(study.scope.concepts)
    name = "emergence" if by_concept else "emergence_family"
    data = study.ask_scope(name, concepts=concepts, named=study.named)
    data = data[data["n"] > 0]
    if data.empty:
        raise NotMeasured(
            "No concept emerges within these filters.",
            "Leave a filter out: a concept emerges when its similarity passes half of its rise.",
        )
    low, high = uncertainty.t_limits(data["mean"], data["sd"], data["n"])
    order = data.groupby(row)["mean"].mean().sort_values().index.tolist()
    table = study.labelled(data.assign(low=low, high=high))
    table["place"] = table[row].map({name: i for i, name in enumerate(order)})
    table = table.sort_values(["place", "model_id"])
    last = int(study.ask("steps", models=list(study.scope.models))["step"].max())

    def draw(width: float) -> alt.TopLevelMixin:
        chart = paper.still(charts.emergence(table, study.models, row, last_step=last))
        for layer in chart.layer:
            for channel in ("color", "shape"):
                each: Any = getattr(layer.encoding, channel, alt.Undefined)
                if each is not alt.Undefined and not isinstance(each, str):
                    each.legend = None
        height = max(18, 8 * len(study.models) + 6) * len(order)
        return stack(
            [
                *(
                    [paper.key(study.models, width, 8, mark="point")]
                    if len(study.models) > 1
                    else []
                ),
                chart.properties(width=width, height=height),
            ]
        )

    caption = (
        f"Step at which each {row} emerges: the first step after which a concept's similarity "
        "stays above half of its total rise (0 is the noisiest step; lower is earlier). Points: "
        "mean over the prompts that emerge, with their 95 % t interval (bar) and the quartiles over "
        f"samples (line). Ranks share a place where intervals overlap. {SEEDS_FIRST} "
        f"{sizes(study, table['n'])} {study.source_line()}"
    )
    kept = table[["model", row, "mean", "low", "high", "q1", "q3", "emerged_share", "n"]]
    return Figure(draw, kept, caption, table=_emergence_table(table, row))


def _emergence_table(table: pd.DataFrame, row: str) -> pd.DataFrame:
    parts = []
    for _, own in table.groupby("model_id", sort=False):
        ranks = uncertainty.tied_ranks(own.assign(estimate=own["mean"]))
        parts.append(own.assign(rank=ranks))
    ranked = pd.concat(parts)
    return pd.DataFrame(
        {
            "Model": ranked["model"],
            row.capitalize(): ranked[row],
            "Rank": ranked["rank"],
            "Mean step": [f"{v:.1f}" for v in ranked["mean"]],
            "95 % interval": [
                _limits(a, b, 1) for a, b in zip(ranked["low"], ranked["high"], strict=True)
            ],
            "Emerges": [f"{v:.0%}" for v in ranked["emerged_share"]],
            "n": [f"{v:d}" for v in ranked["n"]],
        }
    )


def _limits(low: float, high: float, digits: int, sign: str = "") -> str:
    if not (np.isfinite(low) and np.isfinite(high)):
        return "–"
    return f"[{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def _need_two(study: FigureStudy) -> tuple[int, list[int]]:
    baseline = study.baseline()
    others = [i for i in study.scope.models if i != baseline]
    if not others:
        raise NotMeasured(
            "A comparison needs two models; this choice has one.",
            "Leave --models out, or add another [[model]] to the study file and run it again.",
        )
    return baseline, others


def paired_measures(study: FigureStudy) -> pd.DataFrame:
    """One row per (candidate, measure): paired difference to the baseline, with its tests."""
    baseline, others = _need_two(study)
    scores = study.ask_scope("scores", models=[baseline, *others])
    sets = [("CLIP score", scores.pivot(index="prompt_id", columns="model_id", values="score"))]
    final = study.ask_scope("paired_final", baseline=baseline, candidates=others)
    final = final.merge(study.concepts[["concept_id", "family"]], on="concept_id")
    for value, title in (("final", "Final similarity"), ("emergence", "Emergence step")):
        for family, own in final.groupby("family", sort=False):
            wide = own.pivot_table(index="prompt_id", columns="model_id", values=value)
            sets.append((f"{title}: {family}", wide))
    rows = []
    for other in others:
        for name, wide in sets:
            if {baseline, other} <= set(wide.columns):
                found = uncertainty.compare(wide[baseline], wide[other])
                if found.difference.n:
                    rows.append(_measured(study, other, name, found))
    if not rows:
        raise _no_trajectories()
    table = pd.DataFrame(rows)
    table["q"] = uncertainty.holm(table["p"])
    table["significant"] = table["q"] < 0.05
    return table


def _measured(
    study: FigureStudy, model: int, name: str, found: uncertainty.Paired
) -> dict[str, Any]:
    gap = found.difference
    return {
        "model_id": model,
        "model": study.label(model),
        "measure": name,
        "mean": gap.estimate,
        "low": gap.low,
        "high": gap.high,
        "p": found.p,
        "d_z": found.d_z,
        "cliffs_delta": found.cliffs_delta,
        "win_rate": found.win_rate,
        "prompts": gap.n,
    }


def paired_differences(study: FigureStudy) -> Figure:
    """Paired differences of every headline measure to the baseline, with intervals and a table."""
    table = paired_measures(study)
    baseline, others = _need_two(study)
    shown = study.of(*others)
    late = table["measure"].str.startswith("Emergence")
    parts = []
    for own, title in (
        (table[~late], "Difference (cosine); right is better"),
        (table[late], "Difference (steps); left is earlier"),
    ):
        if len(own):
            parts.append(_forest(own, shown, title))
    caption = (
        f"Differences to {study.label(baseline)}, paired by prompt; interval: "
        f"{uncertainty.PAIRED}. Hollow points are not significant (Wilcoxon signed-rank, Holm over "
        f"the figure, 5 %). {SEEDS_FIRST} {sizes(study, table['prompts'])} {study.source_line()}"
    )
    printed = pd.DataFrame(
        {
            "Candidate": table["model"],
            "Measure": table["measure"],
            "Difference": [f"{v:+.3f}" for v in table["mean"]],
            "95 % interval": [
                _limits(a, b, 3, "+") for a, b in zip(table["low"], table["high"], strict=True)
            ],
            "p (Holm)": [_p(v) for v in table["q"]],
            "d_z": [f"{v:+.2f}" if np.isfinite(v) else "–" for v in table["d_z"]],
            "Wins": [f"{v:.0%}" for v in table["win_rate"]],
            "n": [f"{v:d}" for v in table["prompts"]],
        }
    )
    draw = keyed(shown, parts, 1, mark="point")
    return Figure(draw, table.drop(columns="model_id"), caption, 1, printed)


def _p(p: float) -> str:
    if not np.isfinite(p):
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _forest(own: pd.DataFrame, shown: pd.DataFrame, title: str) -> Callable[[float], Any]:
    def draw(width: float) -> Any:
        chart = paper.still(charts.forest(own, shown, "measure", title))
        for layer in chart.layer:
            for channel in ("color", "shape"):
                each: Any = getattr(layer.encoding, channel, alt.Undefined)
                if each is not alt.Undefined and not isinstance(each, str):
                    each.legend = None
        rows = own["measure"].nunique()
        return chart.properties(width=width, height=(7 * len(shown) + 6) * rows)

    return draw


def difference_heatmap(study: FigureStudy) -> Figure:
    """Where on the concept x step grid a candidate differs significantly from the baseline."""
    baseline, others = _need_two(study)
    candidate = others[0]
    data = study.paired_grid(baseline, [candidate])
    if data.empty:
        raise _no_trajectories()
    low, high = uncertainty.t_limits(data["mean"], data["sd"], data["prompts"])
    q = uncertainty.benjamini_hochberg(
        uncertainty.paired_t_p(data["mean"], data["sd"], data["prompts"])
    )
    table = data.assign(low=low, high=high, q=q, significant=q < 0.05).merge(
        study.every_concept.rename(columns={"name": "concept"}), on="concept_id"
    )
    strongest = table.groupby("concept")["mean"].apply(lambda g: g.abs().max())
    kept = strongest.sort_values(ascending=False).head(study.choice.rows or 24).index
    table = table[table["concept"].isin(kept)]
    means = table.groupby(["family", "concept"])["mean"].mean().reset_index()
    order = means.sort_values(["family", "mean"], ascending=[True, False])["concept"].tolist()

    def draw(width: float) -> alt.TopLevelMixin:
        title = f"Similarity, {study.label(candidate)} minus {study.label(baseline)}"
        chart = paper.still(charts.difference_heat(table, title, order=order))
        dots = chart.layer[1]
        dots.transform = [{"filter": "datum.significant"}]
        dots.mark = alt.MarkDef(type="point", filled=True, size=7, color="#111111", aria=False)
        dots.encoding.shape = alt.condition(
            "datum.mean > 0", alt.value("triangle-up"), alt.value("circle")
        )
        return cast(alt.TopLevelMixin, chart.properties(width=width, height=8.5 * len(order)))

    share = float(table["significant"].mean())
    caption = (
        f"Paired difference of similarity, {study.label(candidate)} minus {study.label(baseline)}, "
        f"per concept and step. Marked cells differ ({share:.0%} of those shown; paired t test, "
        "Benjamini-Hochberg over the study's whole grid, q < 0.05): triangles where the candidate is "
        f"higher, circles where it is lower. The data has the 95 % interval of every cell. {SEEDS_FIRST} {sizes(study, table['prompts'])} "
        f"{study.source_line()}"
    )
    columns = ["concept", "family", "step", "mean", "low", "high", "q", "significant", "prompts"]
    return Figure(draw, table[columns], caption)


def scores_table(study: FigureStudy) -> Figure:
    """CLIP score of every model with its interval, as points and as a table."""
    data = study.ask_scope("scores")
    if data.empty:
        raise _no_trajectories()
    rows = []
    for model_id, own in data.groupby("model_id"):
        found = uncertainty.t_interval(own["score"])
        rows.append(
            {
                "model_id": model_id,
                "mean": found.estimate,
                "low": found.low,
                "high": found.high,
                "prompts": found.n,
            }
        )
    table = study.labelled(pd.DataFrame(rows)).assign(measure="CLIP score")
    ranks = uncertainty.tied_ranks(table.assign(estimate=table["mean"]), ascending=False)
    printed = pd.DataFrame(
        {
            "Rank": ranks,
            "Model": table["model"],
            "CLIP score": [f"{v:.3f}" for v in table["mean"]],
            "95 % interval": [
                _limits(a, b, 3) for a, b in zip(table["low"], table["high"], strict=True)
            ],
            "n": [f"{v:d}" for v in table["prompts"]],
        }
    )
    caption = (
        "CLIP score (cosine of the final image and its prompt; higher is better): mean with its "
        f"95 % t interval over prompts. Ranks share a place where intervals overlap. {SEEDS_FIRST} "
        f"{sizes(study, table['prompts'])} {study.source_line()}"
    )

    def part(width: float) -> Any:
        return paper.dots(
            table, study.models, "measure", "CLIP score (cosine), higher is better →", width
        )

    return Figure(
        keyed(study.models, [part], 1, mark="point"),
        table[["model", "mean", "low", "high", "prompts"]],
        caption,
        1,
        printed,
    )


NO_FAITHFULNESS = NotMeasured(
    "This study has no insertion or deletion curve within these filters.",
    "Add faithfulness = { steps = [15], prompts = 20 } and a tool such as df-cam or df-rise under "
    "[measures] of the study file, then run it again: what is done is kept.",
)


def _score_of(study: FigureStudy, data: pd.DataFrame) -> str:
    known = list(dict.fromkeys(data["score"]))
    if study.choice.score and study.choice.score not in known:
        raise FigureError(
            f"--score: {study.choice.score!r} is not measured. Allowed: {', '.join(known)}."
        )
    return study.choice.score or ("clip" if "clip" in known else str(known[0]))


def of_methods(study: FigureStudy, data: pd.DataFrame) -> pd.DataFrame:
    """The rows of the methods that the author named; all where none was.

    Raises:
        FigureError: a method that the study does not have.
    """
    known = list(dict.fromkeys(data["method"]))
    for method in study.choice.methods:
        if method not in known:
            raise FigureError(
                f"--methods: {method!r} is not measured. Allowed: {', '.join(known)}."
            )
    return data[data["method"].isin(study.choice.methods)] if study.choice.methods else data


def methods_frame(methods: list[str]) -> pd.DataFrame:
    """Methods in the place of models, for colours, dashes and shapes."""
    return pd.DataFrame({"model_id": range(1, len(methods) + 1), "label": methods})


def auc_curves(study: FigureStudy) -> Figure:
    """Insertion and deletion curves by method, a panel per model and game."""
    return _auc_curves(study, study.choice.methods)


def against_lime(study: FigureStudy) -> Figure:
    """The paper's figure 3: each tool's curves against those of LIME."""
    data = study.ask_scope("figure_auc_curves")
    if "lime" not in set(data["method"]) or data["method"].nunique() < 2:
        raise NotMeasured(
            "This study has no insertion and deletion curves of LIME beside another tool.",
            "Add lime = { steps = [15], prompts = 20 } and faithfulness = { steps = [15], prompts = "
            "20 } beside df-rise or df-cam under [measures], then run it again.",
        )
    return _auc_curves(study, study.choice.methods)


def _auc_curves(study: FigureStudy, methods: tuple[str, ...]) -> Figure:
    data = study.ask_scope("figure_auc_curves")
    if data.empty:
        raise NO_FAITHFULNESS
    data = of_methods(study, data)
    score = _score_of(study, data)
    data = data[data["score"] == score]
    low, high = uncertainty.t_limits(data["mean"], data["sd"], data["prompts"])
    table = study.labelled(data.assign(low=low, high=high)).rename(columns={"model": "entry"})
    table = table.assign(model=table["method"])
    lines = methods_frame(list(dict.fromkeys(table["method"])))
    parts = []
    shown = table["entry"].unique()[: study.choice.rows or 3]
    for entry in shown:
        for i, game in enumerate(("deletion", "insertion")):
            own = table[(table["entry"] == entry) & (table["game"] == game)]
            better = (
                "lower is better"
                if (game == "deletion") != (score == "fid")
                else "higher is better"
            )
            title = (
                f"{entry}: {game}, {better}" if len(shown) > 1 else f"{game.capitalize()}, {better}"
            )
            parts.append(_auc_panel(own, lines, title, score, i == 0))
    means = {"clip": "CLIP cosine", "structure": "SSIM structure", "fid": "FID at batch 1"}[score]
    caption = (
        f"Deletion and insertion curves at one denoising step: {means} to the untouched prediction as "
        "pixels of the noisy latents are replaced by zero (deletion) or put back into a blurred copy "
        f"(insertion), most salient first. Lines: mean over prompts; bands: 95 % t interval. {charts.VAST} "
        f"{SEEDS_FIRST} {sizes(study, table['prompts'])} {study.source_line()}"
    )
    kept = table[table["entry"].isin(shown)].drop(columns=["model", "model_id"])
    return Figure(keyed(lines, parts, 2), kept.rename(columns={"entry": "model"}), caption, 2)


def _auc_panel(
    own: pd.DataFrame, lines: pd.DataFrame, title: str, score: str, first: bool
) -> Callable[[float], Any]:
    y = (
        {"clip": "CLIP cosine", "structure": "SSIM structure", "fid": "FID"}[score]
        if first
        else None
    )
    return lambda width: paper.line_panel(
        own, lines, "fraction", "mean", title, "Share of pixels", y, width, min(width * 0.6, 105)
    )


def auc_table(study: FigureStudy) -> Figure:
    """Areas under the insertion and deletion curves, beside a random map's."""
    data = study.ask_scope("figure_auc")
    if data.empty:
        raise NO_FAITHFULNESS
    data = of_methods(study, data)
    score = _score_of(study, data)
    rows = []
    for (model, method, game), own in data[data["score"] == score].groupby(
        ["model_id", "method", "game"], sort=False
    ):
        found = uncertainty.t_interval(own["auc"])
        gap = uncertainty.compare(own["random"], own["auc"])
        rows.append(
            {
                "model_id": model,
                "method": method,
                "game": game,
                "mean": found.estimate,
                "low": found.low,
                "high": found.high,
                "random": own["random"].mean(),
                "inverse": own["inverse"].mean(),
                "scaled": own["scaled"].mean(),
                "beyond_random": gap.difference.estimate,
                "beyond_low": gap.difference.low,
                "beyond_high": gap.difference.high,
                "prompts": found.n,
            }
        )
    table = study.labelled(pd.DataFrame(rows))
    models = study.models[study.models["label"].isin(table["model"])]
    parts = []
    for game in ("deletion", "insertion"):
        own = table[table["game"] == game]
        if len(own):
            better = "←" if (game == "deletion") != (score == "fid") else "→"
            parts.append(_auc_dots(own, models, f"{game.capitalize()} area, better {better}"))
    printed = pd.DataFrame(
        {
            "Model": table["model"],
            "Method": table["method"],
            "Game": table["game"],
            "AUC": [f"{v:.3f}" for v in table["mean"]],
            "95 % interval": [
                _limits(a, b, 3) for a, b in zip(table["low"], table["high"], strict=True)
            ],
            "Scaled": [_number(v) for v in table["scaled"]],
            "Random": [_number(v) for v in table["random"]],
            "Inverse": [_number(v) for v in table["inverse"]],
            "Beyond random": [
                _limits(a, b, 3, "+")
                for a, b in zip(table["beyond_low"], table["beyond_high"], strict=True)
            ],
            "n": [f"{v:d}" for v in table["prompts"]],
        }
    )
    caption = (
        f"Area under the deletion (lower is better) and insertion (higher is better) curves, score "
        f"{score}, with 95 % t intervals over prompts; beside it the area of the min-max scaled "
        "curve, of a random and of the inverse map, and the 95 % bootstrap interval of the paired "
        f"difference to the random map. {SEEDS_FIRST} {sizes(study, table['prompts'])} "
        f"{study.source_line()}"
    )
    draw = keyed(models, parts, len(parts), mark="point")
    return Figure(draw, table.drop(columns="model_id"), caption, len(parts), printed)


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "–"


def _auc_dots(own: pd.DataFrame, models: pd.DataFrame, title: str) -> Callable[[float], Any]:
    return lambda width: paper.dots(own, models, "method", title, width)


def agreement(study: FigureStudy) -> Figure:
    """Agreement of the methods' maps: Spearman over pixels, a matrix per model."""
    data = study.ask_scope("figure_agreement")
    if data.empty:
        raise NotMeasured(
            "This study has no agreement between maps within these filters.",
            "Add agreement = true and at least two tools (df-cam, df-rise, lime, attention with maps) "
            "under [measures], then run it again.",
        )
    rows = []
    for (model, a, b), own in data.groupby(["model_id", "method_a", "method_b"], sort=False):
        found, iou = uncertainty.t_interval(own["spearman"]), uncertainty.t_interval(own["iou"])
        rows.append(
            {
                "model_id": model,
                "a": a,
                "b": b,
                "spearman": found.estimate,
                "low": found.low,
                "high": found.high,
                "iou": iou.estimate,
                "prompts": found.n,
            }
        )
    table = study.labelled(pd.DataFrame(rows))
    shown = list(dict.fromkeys(table["model"]))[: study.choice.rows or 3]
    methods = sorted(set(table["a"]) | set(table["b"]))
    parts = []
    for place, model in enumerate(shown):
        parts.append(_matrix(table[table["model"] == model], methods, model, place == 0))
    caption = (
        "Agreement of explanation methods: Spearman correlation over pixels of two methods' maps of "
        f"the same sample and step (1: the same order), mean over prompts; 95 % t intervals are in the table. {SEEDS_FIRST} "
        f"{sizes(study, table['prompts'])} {study.source_line()}"
    )
    printed = pd.DataFrame(
        {
            "Model": table["model"],
            "Methods": table["a"] + " / " + table["b"],
            "Spearman": [_number(v) for v in table["spearman"]],
            "95 % interval": [
                _limits(a, b, 2) for a, b in zip(table["low"], table["high"], strict=True)
            ],
            "IoU of top 20 %": [_number(v) for v in table["iou"]],
            "n": [f"{v:d}" for v in table["prompts"]],
        }
    )

    def draw(width: float) -> alt.TopLevelMixin:
        drawn = [part(width) for part in parts]
        if len(drawn) == 1:
            return cast(alt.TopLevelMixin, drawn[0])
        joined = alt.concat(*drawn, columns=len(drawn), spacing=10)
        return cast(alt.TopLevelMixin, joined)

    return Figure(draw, table.drop(columns="model_id"), caption, len(parts), printed)


def _matrix(
    own: pd.DataFrame, methods: list[str], title: str, first: bool
) -> Callable[[float], Any]:
    pairs = [
        {"row": r, "column": c, "value": v}
        for a, b, v in zip(own["a"], own["b"], own["spearman"], strict=True)
        for r, c in ((a, b), (b, a))
    ]
    same = [{"row": m, "column": m, "value": 1.0} for m in methods]
    own_methods = set(own["a"]) | set(own["b"])
    same = [each for each in same if each["row"] in own_methods]
    data = pd.DataFrame(pairs + same)
    order = {m: i for i, m in enumerate(methods)}
    data = data.sort_values(["row", "column"], key=lambda s: s.map(order))
    low = min(0.0, float(data["value"].min()))
    return lambda width: paper.matrix(
        data, title, width, domain=(low, 1.0), legend="Spearman ρ", font=6.5
    )


def trust(study: FigureStudy) -> Figure:
    """Which method to believe: localisation on scenes whose objects' masks are known."""
    data = study.ask("figure_trust", models=list(study.scope.models))
    if data.empty:
        raise NotMeasured(
            "This study has no localisation against known masks.",
            "They exist for the bundled scene models: python -m pipeline demo trust, then publish again.",
        )
    data = of_methods(study, data)
    random = study.ask("figure_randomised", models=list(study.scope.models))
    data = data.merge(random, on=["model_id", "method"], how="left")
    low, high = uncertainty.t_limits(data["precision"], data["precision_sd"], data["scenes"])
    table = study.labelled(data.assign(mean=data["precision"], low=low, high=high))
    order = table.groupby("method")["mean"].mean().sort_values(ascending=False).index.tolist()
    table["place"] = table["method"].map({name: i for i, name in enumerate(order)})
    table = table.sort_values(["place", "model_id"])
    chance = float(table["chance"].mean())
    iou_low, iou_high = uncertainty.t_limits(table["iou"], table["iou_sd"], table["scenes"])
    printed = pd.DataFrame(
        {
            "Model": table["model"],
            "Method": table["method"],
            "Average precision": [f"{v:.2f}" for v in table["mean"]],
            "95 % interval": [
                _limits(a, b, 2) for a, b in zip(table["low"], table["high"], strict=True)
            ],
            "Chance": [f"{v:.2f}" for v in table["chance"]],
            "Pointing": [f"{v:.2f}" for v in table["pointing"]],
            "IoU": [f"{v:.2f}" for v in table["iou"]],
            "IoU 95 % interval": [_limits(a, b, 2) for a, b in zip(iou_low, iou_high, strict=True)],
            "Randomised": [f"{v:.2f}" if pd.notna(v) else "–" for v in table["randomised"]],
            "Scenes": [f"{v:d}" for v in table["scenes"]],
        }
    )
    caption = (
        "Localisation of each method on scenes whose object masks are known exactly: average "
        f"precision, mean over scenes with its 95 % t interval (higher is better; dashed: {chance:.2f}, "
        "the share of the image that the mask covers, a random map's value). Randomised: Spearman "
        "correlation with the map of the model whose weights were shuffled (a method that explains the "
        f"model has a low one). n = {span(table['scenes'])} scenes. {study.source_line()}"
    )

    def part(width: float) -> Any:
        return paper.dots(
            table,
            models,
            "method",
            "Average precision, higher is better →",
            width,
            rule=chance,
        )

    models = study.models[study.models["label"].isin(table["model"])]
    draw = keyed(models, [part], 1, mark="point")
    columns = [
        "model",
        "method",
        "mean",
        "low",
        "high",
        "chance",
        "pointing",
        "iou",
        "randomised",
        "scenes",
    ]
    return Figure(draw, table[columns], caption, 1, printed)


def spectra(study: FigureStudy) -> Figure:
    """Power of the predicted clean image by spatial frequency at a few steps, a panel per model."""
    data = study.ask_scope("figure_spectrum")
    if data.empty:
        raise NotMeasured(
            "This study has no power spectra within these filters.",
            "Add spectrum = true under [measures], then run it again: what is done is kept.",
        )
    steps = study.pick_steps(data["step"].unique().tolist(), 4)
    low, high = uncertainty.t_limits(data["mean"], data["sd"], data["prompts"])
    table = data.assign(frequency=(data["low"] + data["high"]) / 2, low=low, high=high)
    table = table[table["step"].isin(steps)].rename(columns={})
    table = study.labelled(table).rename(columns={"model": "entry"})
    table = table.assign(model="Step " + table["step"].astype(str))
    lines = methods_frame([f"Step {s}" for s in steps])
    shown = list(dict.fromkeys(table["entry"]))[: study.choice.rows or 3]
    domain = (float(table["mean"].min()) - 0.1, float(table["mean"].max()) + 0.1)
    parts = [
        _spectrum_panel(table[table["entry"] == e], lines, e, i == 0, domain)
        for i, e in enumerate(shown)
    ]
    caption = (
        "Radial power spectrum of the predicted clean image at several denoising steps: mean over "
        f"prompts of log10 power per band, with 95 % t intervals. {SEEDS_FIRST} "
        f"{sizes(study, table['prompts'])} {study.source_line()}"
    )
    kept = table[["entry", "step", "frequency", "mean", "low", "high", "prompts"]]
    return Figure(
        keyed(lines, parts, len(parts)),
        kept.rename(columns={"entry": "model"}),
        caption,
        len(parts),
    )


def _spectrum_panel(
    own: pd.DataFrame, lines: pd.DataFrame, title: str, first: bool, domain: tuple[float, float]
) -> Callable[[float], Any]:
    y = "Power (log10)" if first else None
    return lambda width: paper.line_panel(
        own,
        lines,
        "frequency",
        "mean",
        title,
        "Cycles per pixel",
        y,
        width,
        min(width * 0.7, 110),
        domain=domain,
    )


def paths(study: FigureStudy) -> Figure:
    """Mean path of the images' CLIP embeddings in the plane of two principal components."""
    data = study.ask_scope("figure_paths")
    if data.empty:
        raise NotMeasured(
            "This study has no embedding paths within these filters.",
            "Add embeddings = true under [measures], then run it again: what is done is kept.",
        )
    explained = study.ask("figure_projection")["explained"].tolist()
    titles = tuple(
        f"Component {i + 1}" + (f" ({v:.0%} of variance)" if i < len(explained) else "")
        for i, v in enumerate([*explained, 0.0, 0.0][:2])
    )
    table = study.labelled(data)

    def part(width: float) -> Any:
        return paper.trails(table, study.models, cast(tuple[str, str], titles), width)

    caption = (
        "Path of the predicted clean image's CLIP embedding over the denoising steps, from noise "
        "(hollow) to image (filled), on the study's two principal components; mean over prompts. "
        f"{SEEDS_FIRST} {sizes(study, table['prompts'])} {study.source_line()}"
    )
    kept = table[["model", "step", "x", "y", "x_sd", "y_sd", "prompts"]]
    return Figure(keyed(study.models, [part], 1, mark="both"), kept, caption)
