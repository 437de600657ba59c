"""Figures of words: role curves, relevance peaks, word values under different timestep schedules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import altair as alt
import pandas as pd

from app.analysis import words as analysis
from app.analysis.schedules import KINDS
from app.charts import paper
from app.charts.sheets import Row, sheet
from app.figures.images import one_per_schedule
from app.figures.parts import SEEDS_FIRST, keyed, methods_frame, sizes
from app.figures.sheets import FONT, MapScale, map_cells, no_maps, plain_words
from app.figures.source import Figure, FigureError, FigureStudy, NotMeasured
from app.figures.typeset import stack

NO_WORDS = NotMeasured(
    "This study has no word values within these filters.",
    'Add attention = { steps = "all" } or relevance = { steps = { stride = 2 }, prompts = 20 } under '
    "[measures] of the study file, then run it again: finished work is kept.",
)


def source_of(study: FigureStudy, *, must: bool = True) -> str:
    """The source of word values: the one that the author named, else relevance where it is measured.

    Raises:
        FigureError: the named source is not measured.
        NotMeasured: no word value is measured and one must be.
    """
    known = analysis.known_sources(study.ask_scope("figure_word_sources")["source"])
    wanted = study.choice.source
    if wanted and wanted not in known:
        allowed = ", ".join(known) or "none is measured"
        raise FigureError(f"--source: {wanted!r} is not measured. Allowed: {allowed}.")
    if not known and must:
        raise NO_WORDS
    return wanted or (analysis.default_source(known) if known else "")


def word_roles(study: FigureStudy) -> Figure:
    """Word values by role over the steps, a panel per model or schedule."""
    source = source_of(study)
    data = analysis.role_curves(study.ask_scope, source)
    data = data[data["role"] != "other"]
    if data.empty:
        raise NotMeasured(
            "The prompts of this study have no roles (subject, relation, object, attribute).",
            "Name their columns under prompts.columns, as data/prompts/scenes.csv does.",
        )
    table = study.labelled(data).rename(columns={"model": "entry"})
    table = table.assign(model=table["role"])
    lines = methods_frame([role for role in analysis.ROLES if role in set(table["role"])])
    shown = list(dict.fromkeys(table["entry"]))[: study.choice.rows or 6]
    table = table[table["entry"].isin(shown)]
    domain = paper.limits(table)
    columns = min(len(shown), 3)
    parts = [
        _line_part(
            table[table["entry"] == entry], lines, "mean", entry, domain,
            y_title=_value_title(source) if i % columns == 0 else None,
        )
        for i, entry in enumerate(shown)
    ]  # fmt: skip
    caption = (
        f"{_value_caption(source)} by the role of the words, over the denoising steps, for each model and "
        "timestep schedule. Lines: mean over prompts; bands: 95 % t interval. "
        f"Words of a role are averaged first. {SEEDS_FIRST} "
        f"{sizes(study, table['prompts'])} {study.source_line()}"
    )
    kept = table[["entry", "role", "step", "mean", "low", "high", "prompts"]]
    return Figure(
        keyed(lines, parts, columns), kept.rename(columns={"entry": "model"}), caption, columns
    )


def _value_title(source: str) -> str:
    return "Relevance (scaled)" if source == "relevance" else "Share of attention"


def _value_caption(source: str) -> str:
    if source == "relevance":
        return "Relevance (Chefer et al. 2021, scaled over the prompt's words within a step)"
    return "Share of cross-attention among the prompt's words"


def _line_part(
    rows: pd.DataFrame,
    lines: pd.DataFrame,
    value: str,
    title: str,
    domain: tuple[float, float],
    *,
    x_title: str = "Step",
    y_title: str | None = None,
    peaks: pd.DataFrame | None = None,
    most: float = 100.0,
) -> Callable[[float], Any]:
    """Draws a panel of lines over the steps; returns a function of its width."""
    return lambda width: paper.line_panel(
        rows,
        lines,
        "step",
        value,
        title,
        x_title,
        y_title,
        width,
        min(width * 0.75, most),
        domain=domain,
        peaks=peaks,
    )


def words_of(
    study: FigureStudy, models: Sequence[int], prompts: Sequence[int], source: str, **filters: Any
) -> pd.DataFrame:
    """What the words of some prompts get, without the special tokens (start, end, padding).

    Args:
        study: the data and the author's choice.
        models: model_id.
        prompts: prompt_id.
        source: attention or relevance.
        filters: that override the study's, such as seeds.
    """

    def ask(name: str, **parameters: Any) -> pd.DataFrame:
        return study.ask_scope(name, models=list(models), **filters, **parameters)

    rows = analysis.of_prompts(ask, prompts, source)
    names = ["model_id", "prompt_id", "word_index", "word", "role", "step", "value"]
    return rows.loc[rows["role"] != "special", names]


def relevance_peaks(study: FigureStudy) -> Figure:
    """The paper's figure 9: relevance curves with their peaks marked, beside the maps at the peaks."""
    source = source_of(study)
    model = study.baseline()
    mapped = _mapped_prompts(study, model, source)
    prompt = study.pick_prompts(mapped, 1).iloc[0]
    text, prompt_id, seed = (
        str(prompt["text"]),
        int(prompt["prompt_id"]),
        int(mapped["seed"].iloc[0]),
    )
    words = words_of(study, [model], [prompt_id], source, seeds=[seed])
    maps = study.ask_scope(
        "figure_maps",
        models=[model],
        prompts=[prompt_id],
        seed=seed,
        methods=[source],
        steps=[int(s) for s in mapped["step"].unique()],
    )
    order = analysis.telling(analysis.in_prompt_order(text, maps["word"]), study.choice.rows or 4)
    table = words[words["word"].isin(order)].assign(model=lambda t: t["word"])
    peaks = table.loc[table.groupby("word")["value"].idxmax()]
    order = [word for word in order if word in set(peaks["word"])]
    at = dict(zip(peaks["word"], peaks["step"], strict=True))
    nearest = pd.concat([_nearest(maps[maps["word"] == word], at[word]) for word in order])
    cells = map_cells(nearest, 0, range(len(order)))
    titles = [f"{word}: {step}" for word, step in zip(order, nearest["step"], strict=True)]
    lines = methods_frame(order)
    line = _line_part(
        table, lines, "value", "", paper.limits(table, "value"), x_title="Step  (noise → image)",
        y_title=_value_title(source), peaks=peaks, most=120.0,
    )  # fmt: skip

    def draw(width: float) -> alt.TopLevelMixin:
        drawn = sheet(cells, [Row(above=plain_words(text))], titles, width, FONT, largest=110)
        return stack([paper.key(lines, width, FONT), line(width), drawn])

    caption = (
        f"{_value_caption(source)} of single words over the denoising steps in {study.label(model)}, "
        "peaks marked; below, where each word looks at the mapped step nearest to its peak (word: "
        f"step). {MapScale().sentence} One prompt, seed {seed}; an example, not a mean. {study.source_line()}"
    )
    kept = table.assign(model=study.label(model), peak=table.index.isin(peaks.index))
    return Figure(draw, kept, caption)


def _mapped_prompts(study: FigureStudy, model: int, source: str) -> pd.DataFrame:
    """The prompts of a model that have word values and word maps of a source.

    Raises:
        NotMeasured: there is none.
    """
    known = study.ask_scope("figure_word_sources", models=[model])
    known = known[known["source"] == source]
    explained = study.ask_scope("figure_explained", models=[model])
    mapped = explained[(explained["method"] == source) & (explained["words"] > 0)]
    both = mapped[mapped["prompt_id"].isin(known["prompt_id"])]
    if both.empty:
        raise no_maps(
            f"word maps of {source}",
            f"{source} = {{ steps = {{ stride = 2 }}, maps = true, map_steps = [2, 6, 10, 15] }}",
        )
    return both


def _nearest(rows: pd.DataFrame, step: int) -> pd.DataFrame:
    """The row of the step nearest to one; the first of two that are equally near."""
    return rows.loc[(rows["step"] - step).abs().sort_values(kind="stable").index].head(1)


def words_by_schedule(study: FigureStudy) -> Figure:
    """The paper's figure 11: word values under the three samplings, and their sums as bars."""
    three = one_per_schedule(study)
    source = source_of(study)
    ids = [int(i) for i in three["model_id"]]
    prompt = _shared_prompt(study, ids, source)
    text = str(prompt["text"])
    words = words_of(study, ids, [int(prompt["prompt_id"])], source)
    order = analysis.telling(analysis.in_prompt_order(text, words["word"]), study.choice.rows or 5)
    kinds = dict(zip(three["model_id"].astype(int), three["kind"], strict=True))
    table = words[words["word"].isin(order)].assign(schedule=words["model_id"].map(kinds))
    table = table.assign(model=table["word"])
    lines, domain = methods_frame(order), paper.limits(table, "value")
    shown = [kind for kind in KINDS if kind in set(table["schedule"])]
    parts = [
        _line_part(
            table[table["schedule"] == kind], lines, "value", kind.capitalize(), domain,
            y_title=_value_title(source) if i == 0 else None,
        )
        for i, kind in enumerate(shown)
    ]  # fmt: skip
    sums = analysis.sums_over_steps(table, ["schedule"], order)
    bars = methods_frame(shown)

    def draw(width: float) -> alt.TopLevelMixin:
        whole = width * len(parts) + 24 * (len(parts) - 1)
        height = 7.0 * len(shown) * len(order)
        drawn = sums.assign(model=sums["schedule"])
        return stack(
            [
                sheet([], [Row(above=plain_words(text))], [], whole, FONT, largest=0),
                paper.key(lines, whole, FONT),
                paper.panels([part(width) for part in parts], len(parts)),
                paper.key(bars, whole, FONT, mark="bar"),
                paper.word_bars(drawn, bars, "Sum over the steps", whole, height),
            ]
        )

    caption = (
        f"{_value_caption(source)} of single words over the denoising steps under "
        f"{', '.join(shown)} timestep sampling, and its sum over the steps. One prompt, seeds averaged "
        f"(n = {len(study.scope.seeds)}); an example, not a mean. {study.source_line()}"
    )
    return Figure(draw, table.drop(columns="model"), caption, len(parts))


def _shared_prompt(study: FigureStudy, models: Sequence[int], source: str) -> pd.Series:
    """The first prompt, or the one that the author named, whose words every model has values of.

    Raises:
        NotMeasured: there is none.
    """
    known = study.ask_scope("figure_word_sources", models=list(models))
    known = known[(known["source"] == source) & (known["models"] == len(models))]
    texts = study.ask_scope("figure_prompts", models=list(models))
    prompts = study.pick_prompts(texts[texts["prompt_id"].isin(known["prompt_id"])], 1)
    if prompts.empty:
        raise NO_WORDS
    return prompts.iloc[0]
