"""Training: how the checkpoints of a training run differ, what is learned when, and which is the best."""

from __future__ import annotations

from app.analysis import training
from app.ui import cards, training_panels
from app.ui.page import Page, current, header


def show(page: Page) -> None:
    """The whole view."""
    header("Training", "What does a training run learn and forget, and which checkpoint is best?")
    runs = training.runs(page.models)
    if not runs:
        cards.empty(
            "No training run with two checkpoints within these filters.",
            'Give the study an entry with checkpoints = "out/checkpoint-*", or entries with run and training_step '
            "(docs/bring-your-own.md).",
            icon=":material/model_training:",
        )
        return
    panels = training_panels.choose(page, runs)
    if not panels.scores():
        return
    panels.differences()
    panels.learned()
    panels.forgotten()
    panels.pictures()


show(current())
