"""Figure of a training run: every measure of its checkpoints against the first one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from app.analysis import training, uncertainty
from app.charts import paper
from app.charts.lettering import cut
from app.charts.training import panel
from app.figures.parts import SEEDS_FIRST, interval_text, no_trajectories, sizes
from app.figures.source import Figure, FigureStudy, NotMeasured

ACROSS = 3  # panels side by side
FONT = 7.5


def checkpoints(study: FigureStudy) -> Figure:
    """Paired differences of every measure from the first checkpoint, a small panel for each measure."""
    runs = training.runs(study.models)
    if not runs:
        raise NotMeasured(
            "This study has no training run of two checkpoints within these filters.",
            'Give it an entry with checkpoints = "out/checkpoint-*" (docs/bring-your-own.md), then run it.',
        )
    run = next(iter(runs))
    table = training.differences(study, run)
    table = table[~table["measure"].str.startswith(f"{study.score.title}: ")]
    if table["difference"].isna().all() or (table["verdict"] == "reference").all():
        raise no_trajectories()
    scores = training.scores(study, run)
    first = study.label(runs[run][0])
    tests = table[table["verdict"] != "reference"]
    caption = (
        f"Training run “{run}”: difference of each checkpoint from {first} against training step, paired by prompt; band: {uncertainty.PAIRED}. "
        f"{training.separable_text(table)} Paired t test, corrected by Holm: {study.score.title} over all pairs of the run, the other measures over all of "
        f"them. By the mean {study.score.title} over all prompts: {training.best_text(scores)} "
        f"{SEEDS_FIRST} {sizes(study, tests['prompts'])} {study.source_line()}"
    )
    parts = [_panel(study, title, part) for title, part in table.groupby("measure", sort=False)]

    def draw(width: float) -> Any:
        return paper.panels([part(width) for part in parts], ACROSS)

    return Figure(draw, table.drop(columns="model_id"), caption, ACROSS, _printed(tests))


def _panel(study: FigureStudy, title: object, part: pd.DataFrame) -> Callable[[float], Any]:
    def draw(width: float) -> Any:
        chart = panel(
            part, study.models, "Difference", column="difference", zero=True, reach=math.inf
        )
        lines = [cut(line, width + 20, FONT) for line in str(title).split(": ", 1)]
        size = {"width": width, "height": width * 0.6}
        return paper.still(chart).properties(title=lines, **size)

    return draw


def _printed(tests: pd.DataFrame) -> pd.DataFrame:
    limits = zip(tests["low"], tests["high"], strict=True)
    return pd.DataFrame(
        {
            "Training step": [f"{step:,}" for step in tests["training_step"]],
            "Measure": tests["measure"],
            "Difference": [f"{value:+.3f}" for value in tests["difference"]],
            "95 % interval": [interval_text(low, high, 3, "+") for low, high in limits],
            "p": [uncertainty.p_text(q) for q in tests["q"]],
            "n": [f"{int(n)}" for n in tests["prompts"]],
        }
    )
