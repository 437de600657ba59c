"""What is said of a figure is what is drawn: captions by the CSV, legends by the marks, controls by what is read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from app.figures.kinds import KINDS, NEEDS
from app.figures.offers import offers
from app.figures.presence import missing
from app.figures.source import Choice, Figure, FigureError, NotMeasured, open_study
from tests.support.intervals import layers

COUNTS = ("prompts", "n", "scenes")


@pytest.fixture(scope="module")
def figure_of(everything: Path) -> Callable[[str], Figure]:
    """A figure of the study that has all, made once."""
    return cache(lambda name: KINDS[name].build(open_study(str(everything), Choice())))


@pytest.mark.parametrize("name", KINDS)
def test_the_captions_numbers_are_those_of_the_csv(
    name: str, figure_of: Callable[[str], Figure]
) -> None:
    figure = figure_of(name)
    data, caption = figure.data, figure.caption
    if counted := re.search(r"n = ([\d,]+)(?: to ([\d,]+))? (prompts|scenes)", caption):
        column = next(each for each in COUNTS if each in data)
        low = int(counted[1])
        counts = data[column].dropna()
        if "verdict" in data:
            counts = counts[data["verdict"] != "reference"]
        assert (low, int(counted[2] or low)) == (counts.min(), counts.max())
    if seed := re.search(r"[Ss]eed (\d+);", caption):
        assert "seed" not in data or set(data["seed"]) == {int(seed[1])}
    if marked := re.search(r"Marked cells differ \((\d+)%", caption):
        assert int(marked[1]) == round(100 * data["significant"].mean())


@pytest.mark.parametrize("name", KINDS)
def test_a_caption_names_only_what_is_drawn(
    name: str, figure_of: Callable[[str], Figure], everything: Path
) -> None:
    """Models and tools: each that the caption names is in the figure's rows."""
    figure, study = figure_of(name), open_study(str(everything), Choice())
    said = figure.caption.split(" Study “")[0]
    rows = {
        str(v)
        for c in figure.data
        for v in figure.data[c].unique()
        if figure.data[c].dtype.kind not in "fiub"
    }
    for label in study.models["label"]:
        named = re.search(rf"(?<![\w(]){re.escape(label)}(?![\w)]| \()", said)
        baseline = label == study.label(study.baseline()) and (
            KINDS[name].one_model or name in ("paired-differences", "training")
        )
        assert not named or label in rows or baseline or "minus" in said, label
    for method in ("df-rise", "df-cam", "lime", "relevance", "concept-attention", "information"):
        if re.search(rf"(?<![\w-]){method}(?![\w-])", said):
            assert method in rows or name == "paper-5", method
    assert ("separable" in said) <= (
        "verdict" in figure.data or "rank" in figure.data or "table" in said.lower()
    )


def scales_of(spec: Any) -> Iterator[tuple[str, str, Any, bool]]:
    """Channel, label and value of each entry of a scale of names, and whether a legend's symbol has it."""
    for part, data in layers(spec):
        encoding = part.get("encoding", {})
        for channel in ("color", "stroke", "fill", "shape", "strokeDash"):
            each = encoding.get(channel) or {}
            scale = each.get("scale") or {} if isinstance(each, dict) else {}
            if each.get("field") != "model" or "domain" not in scale or "range" not in scale:
                continue
            drawn = {row.get("model") for row in spec["datasets"][data["name"]]} if data else set()
            key = any("shown" in row for row in (spec["datasets"][data["name"]] if data else []))
            for label, value in zip(scale["domain"], scale["range"], strict=True):
                if label in drawn:
                    yield (
                        ("color" if channel in ("stroke", "fill") else channel),
                        label,
                        json.dumps(value),
                        key,
                    )


@pytest.mark.parametrize("name", KINDS)
def test_a_legend_has_the_colours_dashes_and_shapes_of_the_marks(
    name: str, figure_of: Callable[[str], Figure]
) -> None:
    spec = figure_of(name).draw(200).to_dict()
    if "datasets" not in spec:
        return
    entries = list(scales_of(spec))
    in_key = {(channel, label): value for channel, label, value, key in entries if key}
    marks = {(channel, label): value for channel, label, value, key in entries if not key}
    labels = {label for _, label in in_key}
    assert labels <= {label for _, label in marks}, "a legend names nothing that is not drawn"
    for entry, value in in_key.items():
        assert marks.get(entry, value) == value, entry
    if labels:
        assert {label for _, label in marks} <= labels, "and all that is drawn"


READ: set[str] = set()
NAMES = {each.name for each in fields(Choice)}
ALWAYS = {"slice"}
BUT = {  # read by what figures share, and without effect
    "paper-7": {"methods"}, "paper-8": {"methods"}, "paper-5": {"rows"}, "causes": {"pairs"}, "variants": {"pairs"},
}  # fmt: skip


class Watched(Choice):
    """A choice that notes what is read of it."""

    def __getattribute__(self, name: str) -> Any:
        if name in NAMES:
            READ.add(name)
        return super().__getattribute__(name)


@pytest.mark.parametrize("name", KINDS)
def test_a_figures_controls_are_the_choices_that_it_reads(name: str, everything: Path) -> None:
    kind, study = KINDS[name], open_study(str(everything), Watched())
    READ.clear()
    figure = kind.build(study)
    figure.draw(200)
    read = READ - ALWAYS - BUT.get(name, set())
    assert read == set(kind.controls)
    offered = offers(study, kind)
    assert set(offered) - {"models"} <= set(kind.controls)
    assert all(len(options) > 1 for options in offered.values())


@pytest.mark.parametrize(
    "name", ["film-strip", "region-maps", "paper-7", "spectra", "auc-curves", "trust"]
)
def test_what_is_offered_can_be_chosen(name: str, everything: Path) -> None:
    kind = KINDS[name]
    for field, options in offers(open_study(str(everything), Choice()), kind).items():
        for option in (options[0], options[-1]):
            value = str(option[0]) if field == "prompts" else option
            several = field in ("models", "methods", "steps", "prompts", "concepts")
            choice = Choice(**{field: (value,) if several else value})
            figure = kind.build(open_study(str(everything), choice))
            if field in ("methods", "steps"):
                assert set(figure.data[{"methods": "method", "steps": "step"}[field]]) == {value}


def agree(folders: Iterable[Path]) -> None:
    """One question says what making every figure says."""
    for folder in folders:
        study = open_study(str(folder), Choice())
        absent = missing(study)
        assert set(absent.values()) <= set(NEEDS)
        for name, kind in KINDS.items():
            try:
                kind.build(study)
            except (NotMeasured, FigureError):
                assert name in absent, (folder, name)
            else:
                assert name not in absent, (folder, name)


def test_a_study_has_the_figures_that_can_be_made(
    everything: Path, nothing_yet: Path, altered: Callable[..., Path]
) -> None:
    agree((everything, nothing_yet, altered("DELETE FROM explanation")))


LACKING = [
    *(f"DELETE FROM {t}" for t in ("faithfulness", "token_attention", "frame", "agreement", "localisation", "contrast")),
    "UPDATE trajectory SET outcome = NULL",
    "DELETE FROM explanation WHERE method = 'df-rise'",
]  # fmt: skip


@pytest.mark.thorough
def test_a_study_has_the_figures_that_can_be_made_whatever_it_lacks(
    results: Path, one_model: Path, two_prompts: Path, failed_only: Path, altered: Callable[..., Path]
) -> None:  # fmt: skip
    agree((results, one_model, two_prompts, failed_only, *map(altered, LACKING)))


def sheet_images(figure: Figure) -> pd.DataFrame:
    """Where the images of a sheet stand."""
    spec = figure.draw(400).to_dict()
    parts = [part for part, _ in layers(spec) if (part.get("mark") or {}).get("type") == "image"]
    return pd.DataFrame(spec["datasets"][parts[0]["data"]["name"]])


@pytest.mark.parametrize("name", ["film-strip", "region-maps", "word-heat-maps", "paper-7"])
def test_steps_can_run_down_the_page(name: str, everything: Path) -> None:
    across, down = (
        KINDS[name].build(open_study(str(everything), Choice(layout=each)))
        for each in ("", "steps-down")
    )
    first, second = sheet_images(across), sheet_images(down)
    assert sorted(first["url"]) == sorted(second["url"]), "the same pictures"
    assert first["x"].nunique() == second["y"].nunique() or name == "film-strip"
    assert (
        first.sort_values(["y", "x"])["url"].tolist()
        == second.sort_values(["x", "y"])["url"].tolist()
    )
    assert ("each column" in down.caption) == (name != "film-strip")


def test_the_colour_scale_and_its_bar_are_the_authors(altered: Callable[..., Path]) -> None:
    study = altered(
        "UPDATE explanation SET low = -step, high = 1 + step * CASE method WHEN 'df-cam' THEN 3 ELSE 1 END"
    )
    captions, pictures = {}, {}
    for scale in ("row", "map", "figure"):
        figure = KINDS["region-maps"].build(
            open_study(str(study), Choice(scale=scale, bar="below"))
        )
        captions[scale], pictures[scale] = figure.caption, tuple(sheet_images(figure)["url"])
        spec = json.dumps(figure.draw(400).to_dict(), ensure_ascii=False)
        words = {
            "row": "lowest of the row",
            "map": "lowest of the map",
            "figure": f"{figure.data['low'].min():.3g}",
        }
        assert words[scale] in spec and "#440154" in spec and "#fde725" in spec
    assert len(set(captions.values())) == len(set(pictures.values())) == 3
    data = figure.data
    assert (
        f"from dark ({data['low'].min():.3g}) to bright ({data['high'].max():.3g})"
        in captions["figure"]
    )
    plain = KINDS["region-maps"].build(open_study(str(study), Choice()))
    assert "lowest of the row" not in json.dumps(plain.draw(400).to_dict())
