"""The paper's figure 5: DF-RISE under different similarity functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from app.analysis import faithfulness
from app.charts import paper
from app.charts.sheets import Cell, Row, sheet
from app.figures.parts import SEEDS_FIRST, methods_frame, sizes
from app.figures.sheets import FONT, map_cells
from app.figures.source import Figure, FigureStudy, NotMeasured, spec_of
from app.figures.typeset import stack


def similarities(study: FigureStudy) -> Figure:
    """The paper's figure 5: DF-RISE under each similarity function, its map and its curves."""
    return similarities_of([study])


def similarities_of(studies: Sequence[FigureStudy]) -> Figure:
    """The same over several studies that differ in df-rise.similarity, a row each."""
    variants = [
        _variant(study, method, name) for study in studies for method, name in _rise_methods(study)
    ]
    rows = [variant for variant in variants if variant is not None]
    if not rows:
        raise NotMeasured(
            "This study has no DF-RISE map with insertion and deletion curves.",
            'Add df-rise = { steps = [15], prompts = 8, similarity = "structure" } and faithfulness = '
            "{ steps = [15], prompts = 8 } under [measures]; give one results folder per similarity "
            "(structure, ssim, contrast, luminance, cosine, clip).",
        )
    table = pd.concat([variant.curves for variant in rows])
    domain = paper.limits(table)

    def draw(width: float) -> alt.TopLevelMixin:
        lines = [_drawn(variant, width, domain, last=variant is rows[-1]) for variant in rows]
        return stack(lines) if len(lines) > 1 else lines[0]

    caption = (
        "DF-RISE under different similarity functions: map of one sample over the predicted clean "
        "image, and deletion (lower is better) and insertion (higher is better) curves with 95 % t "
        f"intervals over prompts. {SEEDS_FIRST} "
        f"{sizes(studies[0], table['prompts'])} {' '.join(s.source_line() for s in studies)}"
        f"{MORE if len(rows) < 2 else ''}"
    )
    return Figure(draw, table.drop(columns="model"), caption, 2)


MORE = (
    " Further similarity functions appear as rows when the results folders of studies that use "
    "them are given too."
)


@dataclass(frozen=True)
class _Variant:
    """DF-RISE under one similarity function.

    Attributes:
        name: of the function.
        picture: the map of one sample over its image, PNG.
        curves: game, fraction, mean, low, high, prompts.
    """

    name: str
    picture: bytes
    curves: pd.DataFrame


def _drawn(variant: _Variant, width: float, domain: tuple[float, float], *, last: bool) -> Any:
    """The map beside its deletion and its insertion curve."""
    side = min(width, 84.0)
    image = sheet([Cell(0, 0, variant.picture)], [Row()], [variant.name], side, FONT, largest=side)
    games = [
        _game_panel(variant.curves, game, last, domain, width, side - FONT)
        for game in ("deletion", "insertion")
    ]
    return alt.hconcat(image, *games, spacing=10)


def _rise_methods(study: FigureStudy) -> list[tuple[str, str]]:
    """The study's DF-RISE methods with insertion and deletion curves, and the similarity that each uses."""
    known = faithfulness.scores(study.ask_scope)
    if not known:
        return []
    curves = faithfulness.curves(study.ask_scope, faithfulness.default_score(known))
    measures = spec_of(study).get("measures", {})
    options = measures.get("df-rise") if isinstance(measures, dict) else None
    similarity = str((options or {}).get("similarity", "structure"))
    methods = [m for m in dict.fromkeys(curves["method"]) if str(m).startswith("df-rise")]
    return [
        (m, similarity if m == "df-rise" else m.removeprefix("df-rise").strip("-:/ "))
        for m in methods
    ]


def _variant(study: FigureStudy, method: str, name: str) -> _Variant | None:
    """The curves of a method and one of its maps; None where one is missing."""
    score = faithfulness.default_score(faithfulness.scores(study.ask_scope))
    curves = faithfulness.curves(study.ask_scope, score)
    model = study.baseline()
    curves = curves[(curves["method"] == method) & (curves["model_id"] == model)]
    explained = study.ask_scope("figure_explained", models=[model])
    explained = explained[explained["method"] == method]
    if curves.empty or explained.empty:
        return None
    sample = study.pick_prompts(explained, 1).iloc[0]
    step = study.pick_steps(explained["step"].unique().tolist(), 99)[-1]
    maps = study.ask_scope(
        "figure_maps",
        models=[model],
        prompts=[int(sample["prompt_id"])],
        seed=int(explained["seed"].iloc[0]),
        methods=[method],
        steps=[step],
    )
    if maps.empty:
        return None
    picture = map_cells(maps.head(1), 0, [0])[0].image
    return _Variant(name, picture, curves.assign(model="curve", similarity=name))


def _game_panel(
    curves: pd.DataFrame,
    game: str,
    last: bool,
    domain: tuple[float, float],
    width: float,
    height: float,
) -> Any:
    return paper.line_panel(
        curves[curves["game"] == game],
        methods_frame(["curve"]),
        "fraction",
        "mean",
        game.capitalize(),
        "Share of pixels" if last else "",
        None,
        width,
        max(height - 26, 30),
        domain=domain,
    )
