"""ConceptAttention over a prompt set: what the concepts that a prompt names get of the image, beside those that it does not name."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from app.analysis import chance

Ask = Callable[..., pd.DataFrame]


def groups(ask: Ask) -> list[str]:
    """The groups of layers that were recorded, all layers together first; none where it was not measured."""
    return ask("concept_layers")["layer_group"].tolist()


def by_family(ask: Ask, group: str = "all") -> pd.DataFrame:
    """The share of the image of named concepts less that of unnamed ones of the same family, at each step.

    Args:
        ask: answers questions to the snapshot.
        group: of layers.

    Returns:
        model_id, family, step, prompts, named, unnamed (mean shares in [0, 1]), mean (their difference, positive where the
        attention outputs are those of the named concepts), sd, low, high (95 % t limits over prompts).
    """
    return chance.intervals(ask("concept_shares", layer_group=group), "mean", "sd", "prompts")
