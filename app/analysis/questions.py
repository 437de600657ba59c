"""What is asked of two models' values, and the rows of a table that ask it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from app.analysis.measures import Measure


@dataclass(frozen=True)
class Question:
    """Whether a model differs from the baseline by a measure.

    Attributes:
        model_id: of the candidate.
        title: of the measure.
        measure: by which they are compared.
        prompts: (n,), prompt_id.
        baseline: (n,), the baseline's value of each prompt; NaN where it has none.
        candidate: (n,), the candidate's.
        limits: (n,) each, the lowest and highest difference of each prompt where values are known between two steps alone; None =
            the values are known.
    """

    model_id: int
    title: str
    measure: Measure
    prompts: Any
    baseline: np.ndarray
    candidate: np.ndarray
    limits: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def shares_prompts(self) -> bool:
        """Whether both have a value of any prompt."""
        return bool((np.isfinite(self.baseline) & np.isfinite(self.candidate)).any())

    def values(self, baseline: int) -> pd.DataFrame:
        """Prompt x model values."""
        both = {baseline: self.baseline, self.model_id: self.candidate}
        return pd.DataFrame(both, index=pd.Index(self.prompts, name="prompt_id"))


def runs(rows: pd.DataFrame) -> dict[tuple[int, str], pd.DataFrame]:
    """The rows of each (model_id, family), which follow each other; pandas' groups take three times as long."""
    family, names = pd.factorize(rows["family"])
    model = rows["model_id"].to_numpy()
    differs = (np.diff(family, prepend=-1) != 0) | (np.diff(model, prepend=-1) != 0)
    edges = [*np.flatnonzero(differs).tolist(), len(rows)]
    return {
        (int(model[start]), str(names[family[start]])): rows.iloc[start:stop]
        for start, stop in pairwise(edges)
    }
