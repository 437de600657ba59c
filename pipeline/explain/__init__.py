"""Explanations: which regions, features and words each denoising step hangs on (see METHODS in the README)."""

from pipeline.explain.observer import Explainer
from pipeline.observe import Batch, Observer
from pipeline.study import Measures


def make_observers(measures: Measures, batch: Batch) -> list[Observer]:
    """The observers of a batch's explanations: one that runs all tools, or none if none is asked for.

    It is a context manager and is to be entered before the pipeline runs.
    """
    return [Explainer(measures, batch)] if measures.tools() or measures.spectrum else []
