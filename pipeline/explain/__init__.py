"""Explanations: which regions, features and words each denoising step depends on (see docs/methods.md)."""

from pipeline.diffusion.watch import Batch, Observer
from pipeline.explain.observer import Explainer, SpectrumObserver
from pipeline.study.spec import Measures


def make_observers(measures: Measures, batch: Batch) -> list[Observer]:
    """The observers of a batch's explanations: one that runs all tools and one for spectra, as far as asked for.

    The first is a context manager and is to be entered before the pipeline runs.
    """
    spectra: list[Observer] = [SpectrumObserver()] if measures.spectrum else []
    return [*spectra, Explainer(measures, batch)] if measures.tools() else spectra
