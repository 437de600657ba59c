"""Figures of saliency maps: regions over steps, and where words look."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from app.analysis import words
from app.charts.sheets import Cell, Row
from app.figures.sheets import (
    MapScale,
    map_cells,
    no_maps,
    plain_words,
    scale_of,
    sheet_of,
    without_images,
)
from app.figures.source import Figure, FigureError, FigureStudy, NotMeasured
from app.figures.typeset import Draw
from app.figures.words import source_of, words_of

MOST_WORDS = 6


def region_maps(study: FigureStudy) -> Figure:
    """Which region is recovered when: every method's map over the image, by step."""
    explained = study.ask_scope("figure_explained")
    explained = explained[explained["whole"] > 0]
    if explained.empty:
        raise no_maps("region maps", "df-cam = { steps = [5, 15, 25], prompts = 8 }")
    return _region_maps(study, explained, 2, {})


def _region_maps(
    study: FigureStudy, explained: pd.DataFrame, most: int, red: dict[int, set[str]]
) -> Figure:
    methods = _methods(study, explained)
    model = study.baseline()
    chosen = explained[(explained["model_id"] == model) & explained["method"].isin(methods)]
    if chosen.empty:
        raise NotMeasured(
            f"There is no such map of {study.label(model)}.",
            f"Models with maps: {', '.join(study.label(i) for i in explained['model_id'].unique())} "
            "(--baseline chooses one).",
        )
    prompts = study.pick_prompts(chosen, most if len(methods) < 3 else 1)
    steps = study.pick_steps(_shared_steps(study, chosen), 4)
    seed = int(chosen["seed"].iloc[0])
    maps = study.ask_scope(
        "figure_maps",
        models=[model],
        prompts=[int(i) for i in prompts["prompt_id"]],
        seed=seed,
        methods=methods,
        steps=steps,
    )
    maps = maps[maps["word"] == ""]
    rows: list[Row] = []
    cells: list[Cell] = []
    scale = scale_of(study, maps)
    for prompt_id, text in zip(prompts["prompt_id"], prompts["text"], strict=True):
        for position, method in enumerate(methods):
            each = maps[(maps["prompt_id"] == prompt_id) & (maps["method"] == method)]
            if len(each):
                cells += map_cells(each, len(rows), _columns(each, steps), scale)
                words = _marked(text, red.get(int(prompt_id), set())) if position == 0 else ()
                rows.append(Row(method if len(methods) > 1 else "", words))
    caption = (
        f"Saliency over the predicted clean image of {study.label(model)} at several denoising steps, "
        f"by {', '.join(m for m in methods if m in set(maps['method']))}. {scale.sentence} Seed {seed}; examples, not a mean. {study.source_line()}"
    )
    data = without_images(maps.assign(model=study.label(model)))
    return Figure(
        _drawn(study, scale, cells, rows, [f"Step {step}" for step in steps]), data, caption
    )


def _drawn(
    study: FigureStudy,
    scale: MapScale,
    cells: Sequence[Cell],
    rows: Sequence[Row],
    columns: Sequence[str],
) -> Draw:
    """The sheet in the author's layout, with a colour bar where it is wanted."""
    bar = scale.ends if study.choice.bar == "below" else ()
    return sheet_of(cells, rows, columns, turned=scale.turned, bar=bar)


def _methods(study: FigureStudy, explained: pd.DataFrame) -> list[str]:
    """The methods that the author named; all but the random map where none was.

    Raises:
        FigureError: a method without a map.
    """
    known = list(dict.fromkeys(explained["method"]))
    for method in study.choice.methods:
        if method not in known:
            raise FigureError(f"--methods: {method!r} has no map. Allowed: {', '.join(known)}.")
    return [m for m in known if m in study.choice.methods] or [m for m in known if m != "random"]


def _shared_steps(study: FigureStudy, chosen: pd.DataFrame) -> list[int]:
    """The steps that most methods have a map of: others would leave holes; all, if the author names some."""
    methods = chosen.groupby("step")["method"].nunique()
    kept = methods if study.choice.steps else methods[methods == methods.max()]
    return [int(step) for step in kept.index]


def _columns(maps: pd.DataFrame, steps: Sequence[int]) -> list[int]:
    """The column of each map: that of its step."""
    return [list(steps).index(int(step)) for step in maps["step"]]


def _marked(text: str, red: set[str]) -> tuple[tuple[str, bool], ...]:
    """The words of a prompt, each with whether it is one of the red ones."""
    return tuple((word, word.strip(".,;:!?\"'").lower() in red) for word in text.split()[:200])


def over_steps(method: str, line: str) -> Callable[[FigureStudy], Figure]:
    """The paper's figures 7 and 8: one method over four steps, a row per prompt, attended words red."""

    def build(study: FigureStudy) -> Figure:
        explained = study.ask_scope("figure_explained")
        explained = explained[(explained["method"] == method) & (explained["whole"] > 0)]
        if explained.empty:
            raise no_maps(f"map of {method}", line)
        red = _attended(study, study.baseline(), explained)
        figure = _region_maps(study, explained, 3, red)
        note = " Words in bold red get more attention than the mean of the prompt's words with a role, over all steps."
        return Figure(figure.draw, figure.data, figure.caption + (note if red else ""))

    return build


def _attended(study: FigureStudy, model: int, explained: pd.DataFrame) -> dict[int, set[str]]:
    """Per prompt the words with a role that get more than the mean of such words."""
    source = source_of(study, must=False)
    if not source:
        return {}
    prompts = [int(i) for i in explained["prompt_id"].unique()[:50]]
    return words.attended(words_of(study, [model], prompts, source))


def word_heat_maps(study: FigureStudy) -> Figure:
    """Where each word of a prompt looks, by step."""
    explained = study.ask_scope("figure_explained")
    explained = explained[explained["words"] > 0]
    if study.choice.source:
        explained = explained[explained["method"] == study.choice.source]
    model = study.baseline()
    explained = explained[explained["model_id"] == model]
    if explained.empty:
        raise no_maps(
            f"word maps of {study.label(model)}",
            'attention = { steps = "all", maps = true, map_steps = [5, 15, 25] }',
        )
    method = str(explained["method"].iloc[0])
    chosen = explained[explained["method"] == method]
    prompts = study.pick_prompts(chosen, 1)
    steps = study.pick_steps(chosen["step"].unique().tolist(), 6)
    seed = int(chosen["seed"].iloc[0])
    ids = [int(i) for i in prompts["prompt_id"]]
    maps = study.ask_scope(
        "figure_maps", models=[model], prompts=ids, seed=seed, methods=[method], steps=steps
    )
    rows: list[Row] = []
    cells: list[Cell] = []
    scale = scale_of(study, maps[maps["word"] != ""])
    for prompt_id, text in zip(prompts["prompt_id"], prompts["text"], strict=True):
        each = maps[(maps["prompt_id"] == prompt_id) & (maps["word"] != "")]
        for position, word in enumerate(
            words.telling(words.in_prompt_order(text, each["word"]), MOST_WORDS)
        ):
            own_maps = each[each["word"] == word]
            cells += map_cells(own_maps, len(rows), _columns(own_maps, steps), scale)
            rows.append(Row(word, plain_words(text) if position == 0 else ()))
    caption = (
        f"Where each word looks in {study.label(model)} ({method}), over the predicted clean image, at "
        f"several denoising steps. {scale.sentence} Seed {seed}; examples, not a mean. {study.source_line()}"
    )
    data = without_images(maps.assign(model=study.label(model)))
    columns = [f"Step {s}" for s in steps]
    return Figure(_drawn(study, scale, cells, rows, columns), data, caption)
