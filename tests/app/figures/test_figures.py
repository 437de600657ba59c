"""Figures: every kind, every venue, the same bytes again, fonts inside, words that stay words."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from app.charts import lettering, saliency
from app.charts.style import DASHES, SHAPES
from app.figures import export, typeset
from app.figures.export import KINDS
from app.figures.source import Choice, FigureError, NotMeasured, open_study
from app.figures.typeset import VENUES

ROOT = Path(__file__).resolve().parents[3]


def exported(
    results: Path, name: str, venue: str = "neurips", columns: int = 1, **choice: Any
) -> export.Export:
    """The files of a figure, made once for all tests that look at them."""
    return _exported(results, name, venue, columns, Choice(**choice))


@cache  # which tells apart how arguments are given
def _exported(results: Path, name: str, venue: str, columns: int, choice: Choice) -> export.Export:
    return export.export(open_study(str(results), choice), KINDS[name], venue, columns)


@pytest.mark.long
@pytest.mark.parametrize("name", KINDS)
def test_every_figure_is_made_with_all_that_belongs_to_it(name: str, everything: Path) -> None:
    one = exported(everything, name, columns=KINDS[name].columns)
    assert abs(one.printed.width - 5.5) <= 0.01
    assert 0.3 < one.printed.height < 9
    for ending in ("pdf", "svg", "png", "csv", "vl.json", "caption.txt", "tex", "manifest.json"):
        assert one.files[f"{name}.{ending}"], ending
    caption = one.figure.caption
    assert "seed" in caption.lower() or name == "trust"
    assert "snapshot" in caption
    assert ("not a mean" in caption) or (re.search(r"n = \d", caption) and "95 %" in caption) or name in {
        "concept-heat-map", "agreement", "paths"
    }  # fmt: skip
    data = pd.read_csv(io.BytesIO(one.files[f"{name}.csv"]))
    assert len(data)
    assert not {"image", "map"} & set(data.columns)


@pytest.mark.parametrize("name", KINDS)
def test_every_word_is_inside_and_the_ends_of_an_axis_stand_at_their_ticks(
    name: str, everything: Path
) -> None:
    """By the SVG: no text reaches beyond the figure, and the first and the last number stand in the middle of their tick."""
    one = exported(everything, name, columns=KINDS[name].columns)
    root = ET.fromstring(one.files[f"{name}.svg"].decode())
    width, height = (float(each) for each in root.attrib["viewBox"].split()[2:])
    words = list(texts_of(root))
    assert words
    for word in words:
        assert word.left >= -1 and word.right <= width + 1, word
        assert -1 <= word.y <= height + 1, word
    for axis in axes_of(root):
        assert all(label.anchor == "middle" for label in axis), axis


@dataclass(frozen=True)
class Word:
    """A text of an SVG, as it is placed."""

    text: str
    left: float
    right: float
    y: float
    anchor: str


def texts_of(part: ET.Element, x: float = 0, y: float = 0, turned: bool = False) -> Iterator[Word]:
    """Every text that is visible, in the figure's own units."""
    transform = part.attrib.get("transform", "")
    if moved := re.match(r"translate\(([-\d.e]+)[, ]([-\d.e]+)\)", transform):
        x, y = x + float(moved[1]), y + float(moved[2])
    turned = turned or "rotate" in transform
    if part.tag.endswith("text") and float(part.attrib.get("opacity", 1)) > 0:
        words, size = "".join(part.itertext()), float(part.attrib["font-size"].removesuffix("px"))
        anchor = part.attrib.get("text-anchor", "start")
        wide = (
            0.0
            if turned
            else lettering.text_width(
                words, size, bold="bold" in part.attrib.get("font-weight", "")
            )
        )
        left = x - {"start": 0.0, "middle": wide / 2, "end": wide}[anchor]
        yield Word(words, left, left + wide, y, anchor)
    for child in part:
        yield from texts_of(child, x, y, turned)


def axes_of(root: ET.Element) -> list[list[Word]]:
    """The first and the last label of every horizontal axis of numbers."""
    ends = []
    for part in root.iter():
        if "role-axis-label" in part.attrib.get("class", ""):
            labels = list(texts_of(part))
            numbers = all(re.fullmatch(r"[−+-]?[\d.,]+[k%]?", each.text) for each in labels)
            if len(labels) > 1 and numbers and len({round(each.y) for each in labels}) == 1:
                ends.append([labels[0], labels[-1]])
    return ends


def widths() -> list[Any]:
    """Every width of every venue with a figure of curves, pictures or points in turn; all of them are `thorough`."""
    names = ("concept-curves", "film-strip", "paired-differences")
    pages = [(venue, columns) for columns in (1, 2) for venue in VENUES]
    return [
        pytest.param(
            *page, name, marks=[] if number % 3 == names.index(name) else pytest.mark.thorough
        )
        for number, page in enumerate(pages)
        for name in names
    ]


@pytest.mark.long
@pytest.mark.parametrize(("venue", "columns", "name"), widths())
def test_the_width_is_the_venues_to_a_hundredth_of_an_inch(
    venue: str, columns: int, name: str, everything: Path
) -> None:
    one = exported(everything, name, venue, columns)
    wanted = VENUES[venue].width(columns)
    assert abs(one.printed.width - wanted) <= 0.01
    svg = one.files[f"{name}.svg"].decode()
    written = re.search(r'<svg[^>]* width="([\d.]+)in"', svg)
    assert written and abs(float(written[1]) - wanted) <= 0.01
    box = re.search(rb"/MediaBox ?\[0 0 ([\d.]+)", one.files[f"{name}.pdf"])
    assert box and abs(float(box[1]) / 72 - wanted) <= 0.01
    with Image.open(io.BytesIO(one.files[f"{name}.png"])) as picture:
        assert abs(picture.width / 300 - wanted) <= 0.01
        assert abs(picture.info["dpi"][0] - 300) < 0.1


def test_type_is_the_bundled_font_inside_every_file(everything: Path) -> None:
    one = exported(everything, "concept-curves", "cvpr")
    pdf = one.files["concept-curves.pdf"]
    fonts = set(re.findall(rb"/BaseFont ?/[A-Z]{6}\+(\w+)", pdf))
    assert fonts <= {b"StepscopeSerif", b"StepscopeSerif-Regular", b"StepscopeSerif-Bold"}
    assert fonts
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    svg = one.files["concept-curves.svg"].decode()
    assert "@font-face" in svg
    assert "data:font/ttf;base64," in svg
    assert set(re.findall(r'font-family="([^"]+)"', svg)) == {typeset.FAMILY}
    ET.fromstring(svg)
    sizes = {float(s) for s in re.findall(r'font-size="([\d.]+)px"', svg)}
    assert sizes <= {7.0, 8.0}


def test_an_svg_asks_for_nothing_from_outside(everything: Path) -> None:
    for name in ("film-strip", "paper-7", "auc-curves"):
        svg = exported(everything, name).files[f"{name}.svg"].decode()
        links = re.findall(r'(?:href|src|url)\s*[=(]\s*"?([^")\s]+)', svg)
        assert all(link.startswith(("data:", "#")) for link in links)


def test_another_process_makes_the_same_bytes(everything: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    arguments = ("--figure", "emergence", "--venue", "cvpr", "--out")
    assert export.main([str(everything), *arguments, str(first)]) == 0
    done = run(*arguments, str(second), results=everything)
    assert done.returncode == 0, done.stderr
    for ending in ("svg", "png", "csv", "vl.json", "table.tex", "caption.txt"):
        name = f"emergence.{ending}"
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_the_manifests_command_makes_the_figure_again(everything: Path, tmp_path: Path) -> None:
    choice = ("--venue", "aaai", "--families", "colour", "--rows", "5")
    first = ("--figure", "concept-heat-map", *choice, "--out", str(tmp_path / "first"))
    assert export.main([str(everything), *first]) == 0
    manifest = json.loads((tmp_path / "first" / "concept-heat-map.manifest.json").read_text())
    command = shlex.split(manifest["command"])
    assert command[:3] == ["python", "-m", "app.figures"]
    again = subprocess.run(
        [sys.executable, *command[1:]],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    for ending in ("svg", "png", "csv"):
        name = f"concept-heat-map.{ending}"
        assert (tmp_path / "figures" / name).read_bytes() == (
            tmp_path / "first" / name
        ).read_bytes()
    assert len(manifest["snapshots"][0]["content_hash"]) == 64
    assert manifest["queries"]
    assert all(
        q["file"].startswith("app/database/sql/") and len(q["sha256"]) == 64
        for q in manifest["queries"]
    )


def test_a_figure_of_another_scorer_says_so(two_scorers: Path, tmp_path: Path) -> None:
    first = exported(two_scorers, "scores")
    scored = ("--figure", "scores", "--scorer", "ViT-B-32-openai")
    assert export.main([str(two_scorers), *scored, "--out", str(tmp_path)]) == 0
    caption = (tmp_path / "scores.caption.txt").read_text()
    manifest = json.loads((tmp_path / "scores.manifest.json").read_text())
    assert "Scored by ViT-B-32-openai." in caption and "Scored by" not in first.figure.caption
    assert manifest["snapshots"][0]["scorer"] == "ViT-B-32-openai"
    assert "--scorer ViT-B-32-openai" in manifest["command"]
    assert b"scorer" not in first.files["scores.manifest.json"]
    assert (tmp_path / "scores.csv").read_bytes() != first.files["scores.csv"]
    same = exported(two_scorers, "scores", scorer="scenes-clip")
    assert same.files["scores.csv"] == first.files["scores.csv"]
    spectra = exported(two_scorers, "spectra", scorer="ViT-B-32-openai")
    assert "Scored by" not in spectra.figure.caption  # nobody scores them


def test_a_scorer_that_the_study_does_not_have(two_scorers: Path, one_model: Path) -> None:
    with pytest.raises(FigureError, match="'x' is not in this study. Allowed: scenes-clip, ViT"):
        open_study(str(two_scorers), Choice(scorer="x"))
    with pytest.raises(FigureError, match="this study has one scorer. Leave --scorer out"):
        open_study(str(one_model), Choice(scorer="x"))


def run(*arguments: str, results: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app.figures", str(results), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


def test_figures_need_neither_streamlit_nor_torch() -> None:
    code = "import sys, app.figures.export; sys.exit(bool({'streamlit', 'torch', 'pipeline'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--figure", "scores", "--models", "none"), "no model 'none'. Allowed: UNet"),
        (("--figure", "concept-curves", "--concepts", "zebra"), "'zebra' is not in this study"),
        (("--figure", "film-strip", "--prompts", "999999"), "Prompts that have it"),
        (("--figure", "film-strip", "--steps", "77"), "'77' is not in this study"),
        (("--figure", "scores", "--seeds", "55"), "'55' is not in this study"),
        (("--figure", "auc-curves", "--score", "fid"), "'fid' is not measured"),
        (("--figure", "region-maps", "--methods", "magic"), "'magic' has no map"),
        (
            (
                "--figure",
                "paper-3",
            ),
            "Add lime =",
        ),
        (
            (
                "--figure",
                "paper-10",
            ),
            "gamma",
        ),
        (("--figure", "nonsense"), "invalid choice"),
        (("--figure", "scores", "--venue", "nips"), "invalid choice"),
        (("--figure", "scores", "--also", "x"), "nothing at this path"),
        ((), "required"),
    ],
)
def test_bad_input_is_one_clear_line(
    arguments: tuple[str, ...], expected: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = export.main([str(results), *arguments])
    except SystemExit as stop:
        code = int(stop.code or 0)
    message = capsys.readouterr().err
    assert code == 2
    assert expected in message
    assert "Traceback" not in message


def test_a_place_without_a_study_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export.main([str(tmp_path / "no"), "--figure", "scores"]) == 2
    assert "nothing at this path" in capsys.readouterr().err
    assert export.main([str(tmp_path), "--figure", "scores"]) == 2


def test_a_folder_that_cannot_be_written_is_one_clear_line(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    assert (
        export.main([str(results), "--figure", "scores", "--out", str(tmp_path / "file" / "x")])
        == 2
    )
    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("state", ["failed_only", "nothing_yet", "one_model"])
def test_what_a_study_lacks_is_said_with_what_to_do(
    name: str, state: str, request: pytest.FixtureRequest
) -> None:
    study = open_study(str(request.getfixturevalue(state)), Choice())
    try:
        export.export(study, KINDS[name], "neurips", 1)
    except NotMeasured as error:
        assert len(error.advice) > 20
    else:
        assert state == "one_model"


def test_hostile_texts_stay_text(hostile: Path) -> None:
    study = open_study(str(hostile), Choice(prompts=("1", "2", "3", "4", "5", "6", "7")))
    one = export.export(study, KINDS["film-strip"], "neurips", 2)
    svg = one.files["film-strip.svg"].decode()
    tree = ET.fromstring(svg)
    kinds = {element.tag.split("}")[1] for element in tree.iter()}
    assert kinds <= {
        "svg",
        "g",
        "path",
        "text",
        "image",
        "rect",
        "style",
        "defs",
        "clipPath",
        "line",
    }
    assert "&lt;script&gt;" in svg
    assert abs(one.printed.width - 5.5) <= 0.01
    tables = exported(hostile, "scores").files["scores.table.tex"].decode()
    assert r"\textless{}b\textgreater{}UNet" in tables
    assert typeset.tex(r"\input{/etc/passwd} 100% $x$ a_b & ~^#{}") == (
        r"\textbackslash{}input\{/etc/passwd\} 100\% \$x\$ a\_b \& "
        r"\textasciitilde{}\textasciicircum{}\#\{\}"
    )


def test_figures_can_be_read_in_grey() -> None:
    anchors = [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in saliency.VIRIDIS]
    light = np.array(anchors) @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(light) > 5).all()
    assert len({DASHES[i] for i in range(6)}) == 6
    assert len(set(SHAPES[:6])) == 6


def test_a_difference_says_its_sign_without_colour(everything: Path) -> None:
    spec = json.dumps(exported(everything, "difference-heat-map").printed.spec)
    assert "triangle-up" in spec
    assert "datum.mean > 0" in spec


def test_filters_and_seeds_narrow_the_data(everything: Path) -> None:
    labels = open_study(str(everything), Choice()).models["label"].tolist()
    one = exported(everything, "scores", models=(labels[0],), seeds=(1,))
    assert one.figure.data["model"].tolist() == [labels[0]]
    assert "1 seed (1)" in one.figure.caption


def test_numbers_are_those_of_the_database(everything: Path) -> None:
    study = open_study(str(everything), Choice())
    data = export.export(study, KINDS["scores"], "acl", 1).figure.data
    truth = study.ask_scope("scores").groupby("model_id")["score"].mean()
    assert data["mean"].tolist() == pytest.approx(sorted(truth, reverse=True))


def test_several_studies_make_figure_five(everything: Path, results: Path) -> None:
    first, second = (open_study(str(p), Choice()) for p in (everything, results))
    one = export.export(first, KINDS["paper-5"], "icml", 1, [second])
    assert "--also" in json.loads(one.files["paper-5.manifest.json"])["command"]
    with pytest.raises(FigureError, match="made from one study"):
        export.export(first, KINDS["scores"], "icml", 1, [second])


def test_the_gallery_lists_what_was_made_and_what_is_missing(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = open_study(str(results), Choice())
    names, missing = export.gallery(study, tmp_path, names=["scores", "paper-3"])
    assert names == ["scores"]
    assert set(missing) == {"paper-3"}
    index = (tmp_path / "README.md").read_text()
    assert "![CLIP scores with tied ranks](scores.screen.png)" in index
    assert (tmp_path / "scores.screen.png").stat().st_size < (
        tmp_path / "scores.png"
    ).stat().st_size
    assert "Not in this study" in index
    assert not list(tmp_path.glob(".*.part"))


def test_what_a_study_lacks_the_gallery_makes_of_another(
    results: Path, one_model: Path, tmp_path: Path
) -> None:
    studies = [open_study(str(folder), Choice()) for folder in (one_model, results)]
    names = ["paired-differences", "paper-3"]
    plan, missing = export.gallery(studies[0], tmp_path, names=names, others=studies[1:])
    assert plan == ["paired-differences"] and set(missing) == {"paper-3"}
    caption = (tmp_path / "paired-differences.caption.txt").read_text()
    assert studies[1].source_line() in caption and studies[0].source_line() not in caption


def test_text_is_cut_to_its_width() -> None:
    assert lettering.cut("short", 100, 8) == "short"
    long = lettering.cut("word " * 4000, 100, 8)
    assert long.endswith("…")
    assert lettering.text_width(long, 8) <= 100
