"""The same question under the same filters has the same numbers on every page and in every figure.

To add a pair, add a row to PAIRS: a figure (or another page's card), the card that shows the same, the columns that
name a row, and the columns that must be equal, by either's name. Every kind of figure has a row.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from app.analysis.reading import WHOLE
from app.figures import export
from app.figures.export import KINDS
from app.figures.source import Choice, open_study
from pipeline.database.findings import findings
from tests.support.downloads import Downloads
from tests.support.map_sizes import sizes_and_ranges
from tests.support.pages import Open
from tests.support.variants import WITH_DISTANCES

UNET, QUARTER, DIT = "UNet", "UNet (quarter)", "Transformer"


@dataclass(frozen=True)
class Card:
    """A card of a page.

    Attributes:
        view: the page.
        key: the card's.
        link: parameters of the page.
        rows: which of its rows count.
        maps: whether its rows are the pixels of saliency maps, of which a figure's file has the size and the range.
    """

    view: str
    key: str
    link: dict[str, str | list[str]] = field(default_factory=dict)
    rows: str = ""
    maps: bool = False


@dataclass(frozen=True)
class Figure:
    """A figure with the author's choice, and which of its rows count."""

    kind: str
    choice: dict[str, Any] = field(default_factory=dict)
    rows: str = ""


@dataclass(frozen=True)
class Pair:
    """Two places that show the same numbers.

    Attributes:
        first: its rows must all be in the second's.
        second: the card.
        keys: columns that name a row in both.
        equal: column of the first -> column of the second.
        changes: SQL that gives the study what it lacks.
    """

    first: Figure | Card
    second: Card
    keys: tuple[str, ...]
    equal: dict[str, str]
    changes: tuple[str, ...] = ()


def same(*columns: str, **others: str) -> dict[str, str]:
    """Columns of one name in both, and columns of two names."""
    return {**{column: column for column in columns}, **others}


LIMITS = ("mean", "low", "high", "prompts")
TEST = ("difference", "low", "high", "p", "q", "wilcoxon", "d_z", "cliffs_delta", "win_rate")
AREAS = ("auc", "auc_low", "auc_high", "auc_scaled", "auc_random", "auc_inverse")
GAIN = ("gain", "low", "high", "p", "q")
MAP = same("height", "width", "low", "high")
FIRST = {"prompts": ("1",)}
FIRST_KEY = "(prompt_key of the first prompt)"
WITH_LIME = """
INSERT INTO faithfulness
SELECT * REPLACE ('lime' AS method, list_transform(curve, lambda v: v / 2) AS curve) FROM faithfulness WHERE method = 'df-cam'
"""
WITH_WORD_MAPS = """
INSERT INTO explanation
SELECT e.* REPLACE ('attention' AS method, t.word AS word)
FROM explanation AS e JOIN token_attention AS t USING (sample_id)
WHERE e.method = 'df-cam' AND t.source = 'attention' AND t.layer_group = 'all' AND t.role <> 'special'
"""
WITH_GAMMAS = "UPDATE model SET schedule = 'late', gamma = 10 * model_id"
WITH_RUN = "UPDATE model SET run = 'scenes', training_step = 1000 * model_id"
SLICED = {"seeds": "0", "baseline": QUARTER}
CHOSEN = {"seeds": (0,), "baseline": QUARTER}
PAIRS = {
    "scores": Pair(Figure("scores"), Card("models", "ranks"), ("model",), same("rank", *LIMITS)),
    "scores of a seed": Pair(Figure("scores", CHOSEN), Card("models", "ranks", SLICED), ("model",), same("rank", *LIMITS)),
    "costs": Pair(
        Figure("variants", rows="not reference"),
        Card("models", "costs"),
        ("model",),
        same("verdict", "seconds", "memory_gb", "score", "distance", "parts", "parts_low", "parts_high", "rank", "never_share"),
        WITH_DISTANCES,
    ),
    "differences": Pair(
        Figure("paired-differences"),
        Card("models", "measures"),
        ("model", "measure"),
        same("said", "verdict", "needed", "prompts", *TEST),
    ),
    "differences to another baseline": Pair(
        Figure("paired-differences", CHOSEN),
        Card("models", "measures", SLICED),
        ("model", "measure"),
        same("said", "verdict", "needed", "prompts", *TEST),
    ),
    "differences of one candidate": Pair(
        Card("models", "measures", {"candidate": QUARTER}),
        Card("models", "measures"),
        ("model", "measure"),
        same("said", "verdict", "needed", "prompts", *TEST),
    ),
    "where they differ": Pair(
        Figure("difference-heat-map"),
        Card("models", "difference", rows=f"model == '{QUARTER}'"),
        ("concept", "step"),
        same("q", "significant", *LIMITS),
    ),
    "a concept's curve": Pair(
        Figure("concept-curves", {"concepts": ("cat",)}),
        Card("timesteps", "curve0", {"concepts": "cat"}),
        ("model", "concept", "step"),
        same(*LIMITS),
    ),
    "heat map": Pair(
        Figure("concept-heat-map"),
        Card("timesteps", "heat", rows=f"model == '{UNET}'"),
        ("concept", "step"),
        same("rise", *LIMITS),
    ),
    "families emerge": Pair(
        Figure("emergence"),
        Card("overview", "emergence"),
        ("model", "family"),
        same("mean", "low", "high", "q1", "q3", "start_share", "emerges_share", "never_share", "n"),
    ),
    "concepts emerge": Pair(
        Figure("emergence", {"concepts": ("cat", "rocket", "red")}),
        Card("timesteps", "ranking"),
        ("model", "concept"),
        same("mean", "low", "high", "q1", "q3", "start_share", "emerges_share", "never_share", "n"),
    ),
    "a review": Pair(
        Card("review", "judged", {"baseline": UNET, "candidate": QUARTER}),
        Card("models", "measures", rows=f"model == '{QUARTER}'"),
        ("measure",),
        same("needed", "prompts", *TEST),
    ),
    "areas": Pair(
        Figure("auc-table"),
        Card("faithfulness", "auc"),
        ("model", "method", "game"),
        same(*AREAS, *GAIN, "verdict", "prompts"),
    ),
    "areas of a seed": Pair(
        Figure("auc-table", {"seeds": (0,)}),
        Card("faithfulness", "auc", {"seeds": "0"}),
        ("model", "method", "game"),
        same(*AREAS, *GAIN, "verdict", "prompts"),
    ),
    "insertion and deletion": Pair(
        Figure("auc-curves"),
        Card("faithfulness", "auc_curves"),
        ("model", "method", "game", "fraction"),
        same("score", *LIMITS),
    ),
    "gains by insertion": Pair(
        Card("faithfulness", "gain_insertion"),
        Card("faithfulness", "auc", rows="game == 'insertion'"),
        ("model", "method"),
        same(*AREAS, *GAIN, "verdict", "prompts"),
    ),
    "ranking of tools by baseline": Pair(
        Figure("baselines"),
        Card("faithfulness", "baseline_ranks"),
        ("model", "game", "baseline", "method"),
        same("gain", "low", "high", "prompts", "rank"),
    ),
    "areas are those of a baseline": Pair(
        Card("faithfulness", "auc", {"baseline_of_games": "Re-noised"}, "game == 'deletion'"),
        Card("faithfulness", "baseline_ranks", rows="baseline == 're-noised' and game == 'deletion'"),
        ("model", "method"),
        same("gain", "low", "high", "prompts"),
    ),
    "checkpoints of a training run": Pair(
        Figure("training", rows="verdict != 'reference'"),
        Card("training", "training_differences", rows="verdict != 'reference'"),
        ("training_step", "measure"),
        same("said", "verdict", "needed", "prompts", *TEST),
        (WITH_RUN,),
    ),
    "visible and decided": Pair(
        Figure("causes"),
        Card("causes", "causes"),
        ("model", "family", "kind"),
        same(*LIMITS),
    ),
    "irreversible in the timeline and in the windows": Pair(
        Card("causes", "causes", rows="kind == 'irreversible'"),
        Card("causes", "causes_windows"),
        ("model", "family"),
        same(*LIMITS),
    ),
    "decided in the timeline and in the order": Pair(
        Card("causes", "causes", rows="kind == 'decided'"),
        Card("causes", "causes_order"),
        ("model", "family"),
        same(*LIMITS),
    ),
    "trust": Pair(
        Figure("trust"),
        Card("trust", "trust"),
        ("model", "method"),
        same("average_precision", "chance", "pointing", "iou", "iou_low", "iou_high", "verdict", "kept", "depends", *GAIN),
    ),
    "agreement over all steps": Pair(
        Figure("agreement"),
        Card("regions", "agreement", rows="step == -1"),
        ("model", "method_a", "method_b"),
        same("spearman", "low", "high", "iou", "iou_low", "iou_high", "prompts"),
    ),
    "named concepts": Pair(
        Figure("concept-attention"),
        Card("words", "concept_shares"),
        ("model", "family", "step"),
        same("named", "unnamed", *LIMITS),
    ),
    "roles": Pair(Figure("word-roles"), Card("words", "roles"), ("model", "role", "step"), same(*LIMITS)),
    "roles of a seed": Pair(
        Figure("word-roles", {"seeds": (0,)}),
        Card("words", "roles", {"seeds": "0"}),
        ("model", "role", "step"),
        same(*LIMITS),
    ),
    "information": Pair(
        Figure("information"),
        Card("words", "information_roles"),
        ("model", "role", "step"),
        same(*LIMITS),
    ),
    "schedules": Pair(
        Card("schedules", "schedule_scores"),
        Card("models", "measures"),
        ("model", "measure"),
        same("said", "verdict", "needed", "prompts", *TEST),
    ),
    "roles under schedules": Pair(
        Card("schedules", "schedule_roles"),
        Card("words", "roles", {"role_value": "Sum"}),
        ("model", "role", "step"),
        same(*LIMITS),
    ),
    "spectra": Pair(Figure("spectra"), Card("paths", "spectra"), ("model", "frequency", "step"), same(*LIMITS)),
    "frames": Pair(
        Figure("film-strip"),
        Card("prompts", "strip", {"prompt": FIRST_KEY}),
        ("model", "step"),
        same("similarity"),
    ),
    "maps": Pair(
        Figure("region-maps", FIRST),
        Card("regions", "regions_steps", maps=True),
        ("model", "step", "method"),
        MAP,
    ),
    "maps of DF-RISE": Pair(
        Figure("paper-7", FIRST),
        Card("regions", "regions_steps", maps=True),
        ("model", "step", "method"),
        MAP,
    ),
    "maps of DF-CAM": Pair(
        Figure("paper-8", FIRST),
        Card("regions", "regions_steps", maps=True),
        ("model", "step", "method"),
        MAP,
    ),
    "maps of words": Pair(
        Figure("word-heat-maps", FIRST),
        Card("regions", "regions_words", maps=True),
        ("model", "step", "method", "word"),
        MAP,
        (WITH_WORD_MAPS,),
    ),
    "peaks of words": Pair(
        Figure("paper-9", FIRST),
        Card("words", "word_heat", {"seeds": "0"}),
        ("word", "step"),
        same("value"),
        (WITH_WORD_MAPS,),
    ),
    "words under schedules": Pair(
        Figure("paper-11", FIRST, rows="model_id == 1"),
        Card("words", "word_heat"),
        ("model_id", "word_index", "step"),
        same("value"),
    ),
    "images under schedules": Pair(
        Figure("paper-6", FIRST), Card("overview", "gallery"), ("model", "prompt_id"), same("score")
    ),
    "images under gammas": Pair(
        Figure("paper-10", FIRST),
        Card("overview", "gallery"),
        ("model", "prompt_id"),
        same("score"),
        (WITH_GAMMAS,),
    ),
    "against LIME": Pair(
        Figure("paper-3"),
        Card("faithfulness", "auc_curves"),
        ("model", "method", "game", "fraction"),
        same("score", *LIMITS),
        (WITH_LIME,),
    ),
    "areas of mean curves": Pair(
        Figure("paper-auc"),
        Card("faithfulness", "auc"),
        ("model", "method", "game"),
        same("prompts", raw="auc", low="auc_low", high="auc_high"),
    ),
    "DF-RISE by similarity": Pair(
        Figure("paper-5"),
        Card("faithfulness", "auc_curves"),
        ("model_id", "method", "game", "fraction"),
        same("score", *LIMITS),
    ),
    "localisation": Pair(
        Card("trust", "localisation"),
        Card("trust", "trust"),
        ("model", "method"),
        same("low", "high", mean="gain", n="scenes"),
    ),
    "paths": Pair(
        Figure("paths"),
        Card("paths", "paths"),
        ("model", "step"),
        same("x", "y", "x_sd", "y_sd", "prompts"),
    ),
}  # fmt: skip


def rows_of(
    source: Figure | Card, results: Path, open_view: Open, downloads: Downloads
) -> pd.DataFrame:
    if isinstance(source, Figure):
        figure = KINDS[source.kind].build(open_study(str(results), Choice(**source.choice)))
        table = pd.read_csv(io.BytesIO(export.csv(figure.data)))
    else:
        downloads.files.clear()
        link = {name: _value(value, results) for name, value in source.link.items()}
        app = open_view(source.view, results, **link)
        assert not app.exception
        table = downloads.table(source.key)
        table = sizes_and_ranges(table) if source.maps else table
    return table.query(source.rows) if source.rows else table


def _value(value: str | list[str], results: Path) -> str | list[str]:
    """A link's value, with the key of the first prompt where it stands for that."""
    if value != FIRST_KEY:
        return value
    prompts = open_study(str(results), Choice()).ask("prompt_texts", ids=[1])
    return str(prompts["prompt_key"].iloc[0])


def test_every_kind_of_figure_has_a_row() -> None:
    assert {pair.first.kind for pair in PAIRS.values() if isinstance(pair.first, Figure)} == set(
        KINDS
    )


@pytest.mark.parametrize("name", PAIRS)
def test_both_places_show_the_same_numbers(
    name: str,
    results: Path,
    altered: Callable[..., Path],
    open_view: Open,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair, downloads = PAIRS[name], Downloads(monkeypatch)
    results = altered(*pair.changes) if pair.changes else results
    first = rows_of(pair.first, results, open_view, downloads)
    second = rows_of(pair.second, results, open_view, downloads)
    keys = list(pair.keys)
    assert len(first) and not second.duplicated(keys).any()
    both = first.merge(second, on=keys, how="left", suffixes=("", " "), indicator="source")
    assert (both["source"] == "both").all(), both.loc[both["source"] != "both", keys]
    for left, right in pair.equal.items():
        _equal(both[left], both[f"{right} " if right in first else right], left)


def _equal(left: pd.Series, right: pd.Series, column: str) -> None:
    """Numbers to six digits: a figure's queries use one thread, so that sums are added in another order."""
    if pd.api.types.is_numeric_dtype(left) and left.dtype != bool:
        assert left.notna().any(), f"nothing is compared in {column}"
        np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-9, err_msg=column)
    else:
        assert left.tolist() == right.tolist(), column


def test_the_orders_of_the_heat_map_are_one(results: Path, open_view: Open) -> None:
    from tests.support.pages import charts_of

    chart = KINDS["concept-heat-map"].build(open_study(str(results), Choice())).draw(300)
    figure = _order(chart.to_dict())
    charts = charts_of(open_view("timesteps", results))
    page = next(order for chart in charts if len(order := _order(chart)) >= len(figure))
    assert [name for name in page if name in figure] == figure
    assert page[0] == figure[0] == WHOLE, "the whole prompt is on top"


@pytest.mark.parametrize("seeds", [(), (1,)])
def test_the_concepts_shown_by_default_are_chosen_by_one_rule(
    seeds: tuple[int, ...], results: Path, open_view: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page weighed a rise by its prompts, the figures did not, and only the page took one concept of each family."""
    downloads = Downloads(monkeypatch)

    def of_the_page(**link: str) -> list[str]:
        downloads.files.clear()
        open_view("timesteps", results, seeds=[str(seed) for seed in seeds], **link)
        cards = [name for name in downloads.files if name.startswith("stepscope-curve")]
        return [downloads.table(f"curve{i}")["concept"].iloc[0] for i in range(1, len(cards))]

    def of_the_figure(kind: str, rows: int, **choice: Any) -> set[str]:
        figure = Figure(kind, {"seeds": seeds, "rows": rows, **choice})
        return set(rows_of(figure, results, open_view, downloads)["concept"])

    names = of_the_page()
    assert len(names) > 3 and len(set(names)) == len(names)
    for rows in (1, 2, 4):
        assert of_the_figure("concept-curves", rows) == set(names[:rows])
    names = of_the_page(models=UNET)
    assert of_the_figure("concept-heat-map", 4, models=(UNET,)) == {WHOLE, *names[:4]}


def _order(spec: dict[str, Any]) -> list[str]:
    """The concepts of a heat map from top to bottom; none of another chart."""
    for layer in spec.get("layer", [spec]):
        y = layer.get("encoding", {}).get("y", {})
        if y.get("field") == "concept" and isinstance(y.get("sort"), list):
            return list(y["sort"])
    return []


def test_the_overview_says_the_p_of_the_models_page(
    results: Path, open_view: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every sentence that compares two models by their score, and the page to which it leads."""
    from app.analysis import findings as sentences
    from app.analysis import uncertainty
    from tests.support.pages import shown

    downloads = Downloads(monkeypatch)
    app = open_view("overview", results)
    text = "\n".join([shown(app), *(button.label for button in app.button)])
    text = " ".join(text.replace("\\", "").split())
    rows = sentences.findings(open_study(str(results), Choice()))
    rows = rows[rows["kind"].isin([sentences.BEST, sentences.TIE, sentences.WORSE])]
    assert len(rows) >= 2
    for row in rows.to_dict("records"):
        assert " ".join(row["sentence"].split()) in text
        baseline, candidate = row["filters"]["baseline"], row["filters"]["candidate"]
        open_view("models", results, baseline=baseline)
        scores = downloads.table("measures").query("measure == 'CLIP score'").set_index("model")
        assert f"({uncertainty.p_text(scores.loc[candidate, 'q'])})" in row["sentence"]


def test_the_findings_that_a_run_prints_are_those_of_the_pages(
    results: Path, tmp_path: Path, open_view: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads = Downloads(monkeypatch)
    open_view("models", results)
    file = next((results / "snapshots").glob("*.duckdb"))
    printed = findings(Path(shutil.copy(file, tmp_path)))  # the pages hold the file open, sandboxed
    for row in downloads.table("ranks").itertuples():
        line = next(each for each in printed.splitlines() if each.startswith(f"{row.model} "))
        assert f"{row.mean:.3f} [{row.low:.3f}, {row.high:.3f}] {row.prompts:8}" in line
