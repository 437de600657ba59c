"""Figures of images: film strips and images under different timestep schedules."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from app.analysis import schedules
from app.charts.images import enlarged
from app.charts.saliency import TILE
from app.charts.sheets import Cell, Row
from app.figures.sheets import (
    image_cells,
    is_turned,
    no_maps,
    plain_words,
    prompts_of,
    sheet_of,
    without_images,
)
from app.figures.source import Figure, FigureStudy, NotMeasured


def film_strip(study: FigureStudy) -> Figure:
    """Predicted clean images over the steps: rows are models, for one or more prompts."""
    prompts = prompts_of(study, 1)
    seed = study.scope.seeds[0]
    frames = pd.concat(
        [
            study.ask_scope("prompt_frames", prompt=int(i), seed=seed).assign(prompt_id=int(i))
            for i in prompts["prompt_id"]
        ]
    )
    if frames.empty:
        raise no_maps("frames", "frames = { stride = 2, size = 128 }")
    steps = study.pick_steps(frames["step"].unique().tolist(), 9)
    shown = study.labelled(frames[frames["step"].isin(steps)])
    rows: list[Row] = []
    cells: list[Cell] = []
    for prompt_id, text in zip(prompts["prompt_id"], prompts["text"], strict=True):
        chosen = shown[shown["prompt_id"] == prompt_id]
        for position, model in enumerate(dict.fromkeys(chosen["model"])):
            cells += image_cells(chosen[chosen["model"] == model], len(rows), steps)
            rows.append(Row(model, plain_words(text) if position == 0 else ()))
    beside = "beside the rows" if is_turned(study) else "above the columns"
    caption = (
        f"Predicted clean image at several denoising steps (0 is the noisiest; {beside}), "
        f"seed {seed}; examples, not a mean. {study.source_line()}"
    )
    columns = [f"{step}" for step in steps]
    draw = sheet_of(cells, rows, columns, turned=is_turned(study))
    return Figure(draw, without_images(shown.drop(columns="sample_id")), caption)


def one_per_schedule(study: FigureStudy) -> pd.DataFrame:
    """One model entry per schedule: uniform, early, late.

    Raises:
        NotMeasured: the study has fewer than two.
    """
    three = schedules.one_per_kind(study.models)
    if len(three) < 2:
        raise NotMeasured(
            "This study has no model under several timestep schedules.",
            'Add the same [[model]] again with schedule = "uniform", "early" and "late" (gamma = 60) '
            "and a scheduler that takes custom timesteps, such as DPMSolverMultistepScheduler.",
        )
    return three


def schedule_images(study: FigureStudy) -> Figure:
    """The paper's figure 6: one prompt's image under uniform, early and late sampling."""
    three = one_per_schedule(study)
    titles = [str(kind).capitalize() for kind in three["kind"]]
    return _image_rows(study, three, titles, "under different timestep schedules")


def gammas(study: FigureStudy) -> Figure:
    """The paper's figure 10: exponential sampling with gamma varied."""
    chosen = schedules.entries(study.models)
    chosen = chosen[chosen["gamma"].notna() & chosen["kind"].isin(["early", "late"])]
    counted = chosen.groupby("kind")["gamma"].nunique()
    if chosen.empty or counted.max() < 2:
        raise NotMeasured(
            "This study has no exponential schedule with more than one gamma.",
            'Add the same [[model]] again with schedule = "late" and gamma = 0, 10, 60, 200 (each with '
            "a name and label of its own), then run it again.",
        )
    chosen = chosen.sort_values(["kind", "gamma"])
    titles = [
        f"{kind.capitalize()}, γ = {gamma:g}"
        for kind, gamma in zip(chosen["kind"], chosen["gamma"], strict=True)
    ]
    return _image_rows(study, chosen, titles, "under exponential timestep sampling with γ varied")


def _image_rows(
    study: FigureStudy, models: pd.DataFrame, titles: Sequence[str], what: str
) -> Figure:
    prompts = prompts_of(study, 3)
    seed = study.scope.seeds[0]
    ids = [int(i) for i in models["model_id"]]
    images = study.ask_scope(
        "figure_images", models=ids, prompts=[int(i) for i in prompts["prompt_id"]], seed=seed
    )
    column = {model: i for i, model in enumerate(ids)}
    rows: list[Row] = []
    cells: list[Cell] = []
    for row, (prompt_id, text) in enumerate(
        zip(prompts["prompt_id"], prompts["text"], strict=True)
    ):
        rows.append(Row(above=plain_words(text)))
        chosen = images[images["prompt_id"] == prompt_id]
        for model, image in zip(chosen["model_id"], chosen["image"], strict=True):
            cells.append(Cell(row, column[int(model)], enlarged(bytes(image), TILE)))
    steps = int(models["steps"].max())
    caption = (
        f"Final image of the same prompt and noise {what}, {steps} steps, seed {seed}; examples, not "
        f"a mean. {study.source_line()}"
    )
    return Figure(sheet_of(cells, rows, titles), without_images(study.labelled(images)), caption)
