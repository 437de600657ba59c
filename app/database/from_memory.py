"""Questions that are answered from arrays in memory, with the rows that their SQL files give.

Which of the two answers depends on the size of the study alone (`CurveArrays.size`); tests compare them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pandas as pd

from app.database import curve_sums, outcome_sums, sample_means
from app.database.curve_arrays import CurveArrays, CurvesError
from app.database.sources import Source
from app.database.statements import Cursor

SUMS: dict[str, Callable[[Source], pd.DataFrame]] = {
    "curves": curve_sums.curves,
    "curves_prompts": curve_sums.curves,
    "family_curves": curve_sums.family_curves,
    "seed_correlation": curve_sums.seed_correlation,
    "paired_grid_prompts": curve_sums.paired_grid,
    "paired_grid_seeds": curve_sums.paired_grid,
    "emergence": outcome_sums.emergence,
    "emerged_share": outcome_sums.emerged_share,
    "paired_families": outcome_sums.paired_families,
    "scores": sample_means.scores,
    "review_seconds": sample_means.review_seconds,
    "named_pairs": sample_means.named_pairs,
    "any_trajectory": sample_means.any_trajectory,
}
AVERAGED = frozenset({"curves_prompts", "family_curves", "paired_grid_prompts"})
"""Those that read the curves of all seeds together where all seeds are asked for."""


def answer(
    arrays: CurveArrays, cursor: Cursor, name: str, parameters: Mapping[str, Any], scorer: int
) -> pd.DataFrame | None:
    """What `app/database/sql/<name>.sql` would give; None where only that can.

    The curves of the study take more memory than they may, or a damaged one has curves that are no array.
    """
    whole = name in AVERAGED and bool(parameters["whole"])
    if arrays.size(cursor, scorer, whole=whole) > arrays.most:
        return None
    try:
        return SUMS[name](Source(arrays, cursor, scorer, parameters, whole))
    except CurvesError:
        return None


def read_ahead(arrays: CurveArrays, cursor: Cursor, scorer: int = 1) -> None:
    """Read what any question may need, as far as all of it fits: outcomes, curves of all seeds together, and of each seed."""
    entries = cursor.table("entries")
    models, seeds = (sorted(set(entries[name].to_pylist())) for name in ("model_id", "seed"))
    together, by_seed = (arrays.size(cursor, scorer, whole=whole) for whole in (True, False))
    if together > arrays.most:
        return
    wanted = [None, *seeds] if len(seeds) > 1 and together + by_seed <= arrays.most else [None]
    with suppress(CurvesError):
        for model in models:
            for seed in seeds:
                arrays.outcomes(cursor, scorer, model, seed)
            for each in wanted:
                arrays.blocks(cursor, scorer, model, each)
