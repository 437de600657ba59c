"""Figures of the explanation tools: insertion and deletion, agreement, trust."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import altair as alt
import pandas as pd

from app.analysis import agreement as agreements
from app.analysis import baselines, faithfulness
from app.analysis import trust as trusted
from app.charts import paper
from app.figures.parts import (
    SEEDS_FIRST,
    interval_text,
    keyed,
    methods_frame,
    number_text,
    of_methods,
    sizes,
    span,
)
from app.figures.source import Figure, FigureError, FigureStudy, NotMeasured

NO_FAITHFULNESS = NotMeasured(
    "This study has no insertion or deletion curve within these filters.",
    "Add faithfulness = { steps = [15], prompts = 20 } and a tool such as df-cam or df-rise under "
    "[measures] of the study file, then run it again: finished work is kept.",
)
REMOVED = {
    "zero": "replaced by zero (deletion) or put back into a blurred copy (insertion)",
    "re-noised": "re-noised (deletion) or put back into re-noised latents (insertion)",
    "resampled": "resampled (deletion) or put back into resampled latents (insertion)",
}
SCORES = {
    "clip": "CLIP cosine",
    "structure": "SSIM structure",
    "inception": "distance of Inception features (FID at batch 1)",
    "fid": "squared distance of CLIP vectors",  # of older studies
}


def score_of(study: FigureStudy) -> str:
    """The score of insertion and deletion: the one that the author named, else CLIP where it was measured.

    Raises:
        NotMeasured: there is none.
        FigureError: the named one is not measured.
    """
    known = faithfulness.scores(study.ask_scope)
    if not known:
        raise NO_FAITHFULNESS
    if study.choice.score and study.choice.score not in known:
        raise FigureError(
            f"--score: {study.choice.score!r} is not measured. Allowed: {', '.join(known)}."
        )
    return study.choice.score or faithfulness.default_score(known)


def baseline_of(study: FigureStudy) -> str:
    """What stands in removed pixels: zero, or the first other baseline where zero was not measured."""
    return next(iter(baselines.measured(study.ask_scope)), faithfulness.ZERO)


def auc_curves(study: FigureStudy) -> Figure:
    """Insertion and deletion curves by method, a panel per model and game."""
    score = score_of(study)
    baseline = baseline_of(study)
    data = faithfulness.curves(study.ask_scope, score, baseline)
    if data.empty:
        raise NO_FAITHFULNESS
    data = of_methods(study, data)
    table = study.labelled(data).rename(columns={"model": "entry"})
    table = table.assign(model=table["method"])
    lines = methods_frame(list(dict.fromkeys(table["method"])))
    entries = list(table["entry"].unique()[: study.choice.rows or 3])
    shown = table[table["entry"].isin(entries)]
    parts = []
    for entry in entries:
        for i, game in enumerate(("deletion", "insertion")):
            panel = shown[(shown["entry"] == entry) & (shown["game"] == game)]
            title = _game_title(game, score, entry if len(entries) > 1 else "")
            parts.append(_auc_panel(panel, lines, title, SCORES[score] if i == 0 else None))
    caption = (
        f"Deletion and insertion curves, mean over the explained denoising steps: {SCORES[score]} to the "
        f"untouched prediction as pixels of the noisy latents are {REMOVED[baseline]}, most salient first. Lines: mean over prompts; bands: 95 % t interval. "
        f"{SEEDS_FIRST} {sizes(study, shown['prompts'])} {study.source_line()}"
    )
    kept = shown.drop(columns=["model", "model_id"]).rename(columns={"entry": "model"})
    return Figure(keyed(lines, parts, 2), kept, caption, 2)


def against_lime(study: FigureStudy) -> Figure:
    """The paper's figure 3: each tool's curves against those of LIME."""
    known = faithfulness.curves(study.ask_scope, score_of(study), baseline_of(study))
    methods = set(known["method"])
    if "lime" not in methods or len(methods) < 2:
        raise NotMeasured(
            "This study has no insertion and deletion curves of LIME beside another tool.",
            "Add lime = { steps = [15], prompts = 20 } and faithfulness = { steps = [15], prompts = "
            "20 } beside df-rise or df-cam under [measures], then run it again.",
        )
    return auc_curves(study)


def _game_title(game: str, score: str, entry: str) -> str:
    better = "higher is better" if faithfulness.higher_is_better(game, score) else "lower is better"
    return f"{entry}: {game}, {better}" if entry else f"{game.capitalize()}, {better}"


def _auc_panel(
    panel: pd.DataFrame, lines: pd.DataFrame, title: str, y: str | None
) -> Callable[[float], Any]:
    return lambda width: paper.line_panel(
        panel, lines, "fraction", "mean", title, "Share of pixels", y, width, min(width * 0.6, 105)
    )


def auc_table(study: FigureStudy) -> Figure:
    """Areas under the insertion and deletion curves, beside a random map's."""
    score = score_of(study)
    baseline = baseline_of(study)
    data = faithfulness.areas(study.ask_scope, score, baseline)
    data = of_methods(study, data[data["step"] == faithfulness.ALL_STEPS])
    if data.empty:
        raise NO_FAITHFULNESS
    table = study.labelled(data.drop(columns="step"))
    models = study.models[study.models["label"].isin(table["model"])]
    parts = []
    for game in ("deletion", "insertion"):
        rows = table[table["game"] == game]
        if len(rows):
            better = "→" if faithfulness.higher_is_better(game, score) else "←"
            parts.append(_auc_dots(rows, models, f"{game.capitalize()} area, better {better}"))
    caption = (
        f"Area under the {_directions(table, score)} curves, score "
        f"{score}, pixels {REMOVED[baseline]}, with 95 % t intervals over prompts. The table adds the area of the min-max scaled "
        "curve, of a random and of the inverse map, and the gain over the random map (positive is better) with its "
        "paired 95 % t interval and verdict (paired t test, Holm over the table, at least 6 prompts). "
        f"{SEEDS_FIRST} {sizes(study, table['prompts'])} {study.source_line()}"
    )
    draw = keyed(models, parts, len(parts), mark="point")
    columns = ["model", *[c for c in table if c not in {"model", "model_id"}]]
    return Figure(draw, table[columns], caption, len(parts), _printed_areas(table))


def _directions(table: pd.DataFrame, score: str) -> str:
    """The games drawn, each with the direction in which a tool is better."""
    ways = {True: "higher is better", False: "lower is better"}
    games = [game for game in ("deletion", "insertion") if game in set(table["game"])]
    return " and ".join(f"{g} ({ways[faithfulness.higher_is_better(g, score)]})" for g in games)


def _printed_areas(table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Model": table["model"],
            "Method": table["method"],
            "Game": table["game"],
            "AUC": [f"{v:.3f}" for v in table["auc"]],
            "95 % interval": _intervals(table, "auc_low", "auc_high", 3),
            "Scaled": [number_text(v) for v in table["auc_scaled"]],
            "Random": [number_text(v) for v in table["auc_random"]],
            "Inverse": [number_text(v) for v in table["auc_inverse"]],
            "Gain over random": _intervals(table, "low", "high", 3, "+"),
            "Verdict": table["verdict"],
            "n": [f"{v:d}" for v in table["prompts"]],
        }
    )


def _intervals(table: pd.DataFrame, low: str, high: str, digits: int, sign: str = "") -> list[str]:
    return [interval_text(a, b, digits, sign) for a, b in zip(table[low], table[high], strict=True)]


def _auc_dots(rows: pd.DataFrame, models: pd.DataFrame, title: str) -> Callable[[float], Any]:
    drawn = rows[["model", "method"]].assign(
        mean=rows["auc"], low=rows["auc_low"], high=rows["auc_high"]
    )
    return lambda width: paper.dots(drawn, models, "method", title, width)


def agreement(study: FigureStudy) -> Figure:
    """Agreement of the methods' maps: Spearman over pixels, a matrix per model."""
    data = agreements.pairs(study.ask_scope)
    data = data[data["step"] == agreements.ALL_STEPS]
    if data.empty:
        raise NotMeasured(
            "This study has no agreement between maps within these filters.",
            "Add agreement = true and at least two tools (df-cam, df-rise, lime, attention with maps) "
            "under [measures], then run it again.",
        )
    table = study.labelled(data.drop(columns="step"))
    shown = list(dict.fromkeys(table["model"]))[: study.choice.rows or 3]
    table = table[table["model"].isin(shown)]
    methods = sorted(set(table["method_a"]) | set(table["method_b"]))
    parts = [_matrix(table[table["model"] == model], methods, model) for model in shown]
    caption = (
        "Agreement of explanation methods: Spearman correlation over pixels of two methods' maps of "
        "the same sample and step (1: the same order), mean over the explained steps and over prompts; 95 % t intervals "
        f"are in the table. {SEEDS_FIRST} {sizes(study, table['prompts'])} {study.source_line()}"
    )
    printed = pd.DataFrame(
        {
            "Model": table["model"],
            "Methods": table["method_a"] + " / " + table["method_b"],
            "Spearman": [number_text(v) for v in table["spearman"]],
            "95 % interval": _intervals(table, "low", "high", 2),
            "IoU of top 20 %": [number_text(v) for v in table["iou"]],
            "n": [f"{v:d}" for v in table["prompts"]],
        }
    )

    def draw(width: float) -> alt.TopLevelMixin:
        drawn = [part(width) for part in parts]
        joined = alt.concat(*drawn, columns=len(drawn), spacing=10) if len(drawn) > 1 else drawn[0]
        return cast(alt.TopLevelMixin, joined)

    columns = ["model", *[c for c in table if c not in {"model", "model_id"}]]
    return Figure(draw, table[columns], caption, len(parts), printed)


def _matrix(rows: pd.DataFrame, methods: list[str], title: str) -> Callable[[float], Any]:
    pairs = [
        {"row": r, "column": c, "value": v}
        for a, b, v in zip(rows["method_a"], rows["method_b"], rows["spearman"], strict=True)
        for r, c in ((a, b), (b, a))
    ]
    present = set(rows["method_a"]) | set(rows["method_b"])
    same = [{"row": m, "column": m, "value": 1.0} for m in methods if m in present]
    data = pd.DataFrame(pairs + same)
    order = {m: i for i, m in enumerate(methods)}
    data = data.sort_values(["row", "column"], key=lambda s: s.map(order))
    low = min(0.0, float(data["value"].min()))
    return lambda width: paper.matrix(
        data, title, width, domain=(low, 1.0), legend="Spearman ρ", font=6.5
    )


def trust(study: FigureStudy) -> Figure:
    """Which method to believe: localisation on scenes whose objects' masks are known."""
    gains = trusted.scene_gains(study.ask_scope)
    shuffled = trusted.randomisation(study.ask_scope)
    if gains.empty:
        raise NotMeasured(
            "This study has no localisation against known masks.",
            "They exist for the bundled scene models: python -m pipeline demo trust, then publish again.",
        )
    data = trusted.summary(gains, shuffled).dropna(subset=["gain"])
    table = study.labelled(of_methods(study, data))
    order = table.groupby("method")["gain"].mean().sort_values(ascending=False).index.tolist()
    table["place"] = table["method"].map({name: i for i, name in enumerate(order)})
    table = table.sort_values(["place", "model_id"])
    models = study.models[study.models["label"].isin(table["model"])]
    caption = (
        "Localisation of each method on scenes whose object masks are known exactly: average precision over "
        "chance (the share of the image that the mask covers, a random map's value; dashed), mean over scenes with its "
        f"95 % t interval (higher is better). {_against(table)}The table adds {_randomised(table)}the verdict: paired t test, Holm over the "
        f"table, at least 6 scenes. n = {span(table['scenes'])} scenes. {study.source_line()}"
    )
    drawn = table.assign(mean=table["gain"])

    def part(width: float) -> Any:
        title = "Average precision over chance, higher is better →"
        return paper.dots(drawn, models, "method", title, width, rule=0.0)

    draw = keyed(models, [part], 1, mark="point")
    columns = ["model", *[c for c in table if c not in {"model", "model_id", "place"}]]
    return Figure(draw, table[columns], caption, 1, _printed_trust(table))


OF_WORDS = ("attention", "relevance", "concept-attention", "information")


def _against(table: pd.DataFrame) -> str:
    """What the maps of the tools drawn are held against, for the caption."""
    methods = list(dict.fromkeys(table["method"]))
    worded = [method for method in methods if method in OF_WORDS]
    if not worded:
        return "Maps of the whole image are held against all objects. "
    named = f"{', '.join(worded)}: maps of words against the object that the word names"
    rest = "; the others: the map of the whole image against all objects"
    return f"{named[0].upper()}{named[1:]}{rest if len(worded) < len(methods) else ''}. "


def _randomised(table: pd.DataFrame) -> str:
    """What the table says of randomised weights, where it does."""
    if table["kept"].isna().all():
        return ""
    return (
        "the Spearman correlation with the map of the model whose weights were shuffled (a method that explains the model has a "
        "low one) and "
    )


def _printed_trust(table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Model": table["model"],
            "Method": table["method"],
            "Average precision": [f"{v:.2f}" for v in table["average_precision"]],
            "Chance": [f"{v:.2f}" for v in table["chance"]],
            "Over chance": [f"{v:+.2f}" for v in table["gain"]],
            "95 % interval": _intervals(table, "low", "high", 2, "+"),
            "Verdict": table["verdict"],
            "Pointing": [f"{v:.2f}" for v in table["pointing"]],
            "IoU": [f"{v:.2f}" for v in table["iou"]],
            "IoU 95 % interval": _intervals(table, "iou_low", "iou_high", 2),
            "Randomised": [f"{v:.2f}" if pd.notna(v) else "–" for v in table["kept"]],
            "Scenes": [f"{v:.0f}" for v in table["scenes"]],
        }
    )
