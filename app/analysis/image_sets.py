"""Measures of all final images of a model: how diverse they are, and how far from those of a reference entry. No Streamlit.

They are one number per model, not one per prompt: no paired test compares two models by them, so that neither Review nor the gate
takes them as criteria.
"""

from __future__ import annotations

import pandas as pd

from app.analysis.reading import StudyView

TITLES = {
    "vendi": "Diversity (Vendi)",
    "kid": "KID",
    "cmmd": "CMMD",
    "fid": "FID",
    "coverage": "Coverage",
}
COLUMNS = ["model_id", "model", "measure", "better", "value", "low", "high", "images", "prompts", "reference",
           "reference_images", "extractor", "method", "computed_at", "outdated"]  # fmt: skip


def table(view: StudyView) -> pd.DataFrame:
    """The saved measures of the models shown; of all their prompts and seeds, whatever the other filters.

    Returns:
        model_id, model; measure: its title; better: higher or lower; value, low, high: 95 % interval over prompts, NaN limits
        for fewer than 6; images, prompts; reference: label of the entry that they are held against, '' = none;
        reference_images; extractor; method: of the interval; computed_at; outdated: whether images were added or changed since.
    """
    rows = view.labelled(view.ask("image_sets", models=list(view.scope.models)))
    return rows.assign(
        measure=rows["measure"].map(TITLES).fillna("unknown"),
        better=rows["lower_is_better"].map({True: "lower", False: "higher"}),
        reference=rows["reference_id"].map(view.labels).fillna(""),
    )[COLUMNS]
