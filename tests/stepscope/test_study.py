"""The Python API against the database and the figures: the same numbers, filters, clear errors, nothing but reading."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

import stepscope
from app.figures import export
from app.figures.source import Choice, open_study
from stepscope.study import Study
from tests.support.database import asked_by_hand

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def study(results: Path) -> Iterator[Study]:
    with stepscope.open(results) as study:
        yield study


# Numbers


@pytest.mark.parametrize(
    ("kind", "choice", "rows"),
    [
        ("scores", {}, lambda s, f: s.scores(**f)),
        ("scores", {"seeds": (0,)}, lambda s, f: s.scores(**f)),
        ("scores", {"slice": ("text=cat",)}, lambda s, f: s.scores(slice={"text": "cat"})),
        ("concept-curves", {"concepts": ("cat",)}, lambda s, f: s.curves("cat")),
        ("concept-curves", {"concepts": ("cat",), "categories": ("one object",), "pairs": "all"},
         lambda s, f: s.curves("cat", categories="one object", pairs="all")),
        ("emergence", {}, lambda s, f: s.emergence(by="family")),
        ("emergence", {"concepts": ("cat", "red"), "axis": "progress"},
         lambda s, f: s.emergence(concepts=["cat", "red"], axis="progress")),
        ("paired-differences", {"axis": "step"},
         lambda s, f: pd.concat(s.compare("UNet", m, axis="step").assign(model=m) for m in ("UNet (quarter)", "Transformer"))),
        ("difference-heat-map", {}, lambda s, f: s.compare("UNet", "UNet (quarter)", by="step")),
    ],
)  # fmt: skip
def test_numbers_are_those_of_the_figures(
    kind: str, choice: dict[str, Any], rows: Callable[[Study, Any], pd.DataFrame], study: Study, results: Path
) -> None:  # fmt: skip
    """The figures' are those of the pages: tests/app/analysis/test_one_number.py."""
    figure = export.KINDS[kind].build(open_study(str(results), Choice(**choice))).data
    table = rows(study, choice)
    names = ("model", "concept", "family", "measure", "step")
    keys = [name for name in names if name in figure and name in table]
    both = figure.merge(table, on=keys, suffixes=("", " "), validate="one_to_one")
    assert len(both) == len(figure) > 0
    equal = [column for column in figure if f"{column} " in both]
    assert len(equal) >= 3
    for column in equal:
        pd.testing.assert_series_equal(both[column], both[f"{column} "], check_names=False, check_exact=True)  # fmt: skip


def test_numbers_are_those_of_the_database(study: Study, results: Path, tmp_path: Path) -> None:
    snapshot = study._snapshot.path
    mean = asked_by_hand(
        snapshot,
        tmp_path,
        "SELECT avg(score) AS mean FROM (SELECT avg(clip_score) AS score FROM sample WHERE model_id = 2 GROUP BY prompt_id)",
    )["mean"].iloc[0]
    scores = study.scores().set_index("model_id")
    assert scores.loc[2, "mean"] == pytest.approx(mean, rel=1e-8)
    assert len(study.scores(by="prompt")) == 3 * 24
    assert study.models["label"].tolist() == ["UNet", "UNet (quarter)", "Transformer"]
    assert len(study.prompts) == 24 and len(study.concepts) == 42


def test_naming_two_models_changes_no_correction(study: Study) -> None:
    """The family of tests is over all models shown; with two of three shown it is smaller."""
    among_three = study.compare("UNet", "Transformer").set_index("measure")["q"]
    among_two = study.compare("UNet", "Transformer", models=["UNet", "Transformer"]).set_index("measure")["q"]  # fmt: skip
    assert among_three["CLIP score"] >= among_two["CLIP score"]
    assert not among_three.equals(among_two)


def test_filters_of_a_study_are_those_of_its_methods(study: Study) -> None:
    chosen = study.where(models=["UNet", "Transformer"], seeds=1)
    pd.testing.assert_frame_equal(chosen.scores(), study.scores(models=["UNet", "Transformer"], seeds=[1]))  # fmt: skip
    assert len(chosen.scores(models="UNet")) == 1
    assert len(study.where(categories="one object").prompts) < 24
    assert set(chosen.images().table["seed"]) == {1}


def test_another_scorer_gives_its_own_numbers(two_scorers: Path) -> None:
    with stepscope.open(two_scorers) as study:
        second = list(study._view({}).scorers)[1]
        assert (study.scores()["mean"].to_numpy() != study.scores(scorer=second)["mean"].to_numpy()).all()  # fmt: skip
        sql = "SELECT avg(clip_score) AS mean FROM sample"
        assert study.sql(sql)["mean"][0] != study.where(scorer=second).sql(sql)["mean"][0]


# Types


def test_tables_are_taken_by_arrow_readers(study: Study) -> None:
    """Polars and others read `__arrow_c_stream__`."""
    table = pa.table(study.scores())
    assert table.column("mean").type == pa.float64() and len(table) == 3
    assert pa.RecordBatchReader.from_stream(study.curves("cat")).read_all().num_rows > 0
    rows = study.arrow(
        "SELECT similarity, sample_id, NULL::INTEGER AS none FROM trajectory LIMIT 3"
    )
    assert rows.schema.types == [pa.list_(pa.float32()), pa.int64(), pa.int32()]


def test_images_are_the_samples_own(study: Study, tmp_path: Path) -> None:
    images = study.images(prompts=[2], models="Transformer", seed=1)
    stored = asked_by_hand(study._snapshot.path, tmp_path, "SELECT image FROM sample WHERE model_id = 3 AND prompt_id = 2 AND seed = 1")  # fmt: skip
    with Image.open(io.BytesIO(bytes(stored["image"][0]))) as picture:
        expected = np.asarray(picture.convert("RGB"))
    assert len(images) == 1 and np.array_equal(np.asarray(images[0]), expected)
    assert images.table.loc[0, ["model", "prompt_id", "seed", "step"]].tolist() == ["Transformer", 2, 1, 11]  # fmt: skip
    assert images.arrow().column("image")[0].as_py() == images.encoded[0]


def test_frames_of_a_step_have_its_similarity(study: Study) -> None:
    images = study.images(prompts=1, step=4)
    curve = study.arrow("SELECT similarity FROM trajectory WHERE concept_id = 0 AND prompt_id = 1 AND seed = 0 AND model_id = 1")  # fmt: skip
    assert images.table["step"].tolist() == [4, 4, 4]
    assert images.table["score"][0] == pytest.approx(curve["similarity"][0].as_py()[4])
    assert len(images[:2]) == 2 and images[:2].table["model_id"].tolist() == [1, 2]


def test_maps_have_their_own_unit(study: Study) -> None:
    maps = study.maps(methods="df-cam", models="UNet", steps=4)
    stored = study.arrow(
        "SELECT map, low, high FROM explanation JOIN sample USING (sample_id) "
        "WHERE method = 'df-cam' AND word = '' AND model_id = 1 AND prompt_id = $p AND seed = 0 AND step = 4",
        {"p": int(maps.table["prompt_id"][0])},
    ).to_pylist()[0]
    scaled = np.frombuffer(stored["map"], np.float16).astype(float)
    expected = stored["low"] + scaled * (stored["high"] - stored["low"])
    assert len(maps) == 1 and np.allclose(maps[0].ravel(), expected)
    assert maps.picture(0).size == (128, 128)


def test_a_notebook_shows_pictures_as_one_sheet(study: Study) -> None:
    for shown in (study.images(), study.maps()):
        with Image.open(io.BytesIO(shown._repr_png_() or b"")) as sheet:
            assert sheet.width <= 8 * 140 and sheet.height > 128
        assert repr(shown).startswith(f"{len(shown)} ")


def test_a_figure_is_a_chart_of_the_figures_rows(study: Study, results: Path) -> None:
    chart = study.figure("emergence", models=["UNet"], width=500)
    assert isinstance(chart, alt.TopLevelMixin)
    spec = chart.to_dict()
    assert spec["description"].startswith("Emergence of each family") and spec["config"]["axis"]
    built = export.KINDS["emergence"].build(open_study(str(results), Choice(models=("UNet",))))
    pd.testing.assert_frame_equal(study.figure_data("emergence", models="UNet"), built.data.reset_index(drop=True))  # fmt: skip
    assert set(study.figures["name"]) == set(export.KINDS)


def test_an_exported_figure_is_that_of_the_command(
    study: Study, results: Path, tmp_path: Path
) -> None:
    paths = study.export("scores", tmp_path / "api", venue="icml", seeds=0)
    assert export.main([str(results), "--figure", "scores", "--venue", "icml", "--seeds", "0", "--out", str(tmp_path / "cli")]) == 0  # fmt: skip
    for path in paths:
        if path.suffix in (
            ".csv",
            ".txt",
            ".tex",
            ".png",
        ):  # others hold names that Altair numbers in a process
            assert path.read_bytes() == (tmp_path / "cli" / path.name).read_bytes(), path.name
    queries = [
        json_of(tmp_path / side / "scores.manifest.json")["queries"] for side in ("api", "cli")
    ]
    assert queries[0] == queries[1]


def json_of(path: Path) -> Any:
    import json

    return json.loads(path.read_text())


# Opening


def test_a_study_is_opened_by_folder_file_or_name(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "results").symlink_to(results.parent)
    monkeypatch.chdir(tmp_path)
    with stepscope.open(results) as folder, stepscope.open("demo", models="UNet") as named:
        file = folder._snapshot.path
        assert named._snapshot.path == file and len(named.scores()) == 1
        with stepscope.open(file) as by_file:
            assert by_file.name == folder.name


def test_the_summary_says_what_is_there(study: Study) -> None:
    text = repr(study.where(seeds=[0]))
    for part in ("3 models: UNet, UNet (quarter), Transformer", "24 prompts × 1 seed, 12 steps", "144 of 144 samples done",
                 "42 concepts in 6 families", "filters: seeds=[0]"):  # fmt: skip
        assert part in text
    assert study._repr_html_().startswith("<pre>Study &#x27;small&#x27;")


def test_a_summary_cannot_steer_a_page_or_a_terminal(altered: Callable[..., Path]) -> None:
    folder = altered("UPDATE study SET title = '<script>alert(1)</script>' || chr(27) || '[31m'", "UPDATE model SET label = '<b>x</b>' WHERE model_id = 1")  # fmt: skip
    with stepscope.open(folder) as study:
        assert "<script>" not in study._repr_html_() and "<b>" not in study._repr_html_()
        assert "\x1b" not in repr(study)


def test_reading_imports_no_torch_and_no_pipeline(results: Path) -> None:
    code = (
        "import sys, stepscope; s = stepscope.open(sys.argv[1]); repr(s); s.scores(); s.images(); s.maps(); s.figure('emergence');"
        "print([m for m in ('torch', 'pipeline', 'streamlit', 'diffusers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(results)], cwd=ROOT, capture_output=True, text=True)  # fmt: skip
    assert done.stdout.strip() == "[]", done.stderr


# Errors


@pytest.mark.parametrize(
    ("ask", "parts"),
    [
        (lambda s: stepscope.open("nothing-here"), ["'nothing-here'", "data/results"]),
        (lambda s: s.scores(models="XL"), ["models: no model 'XL'", "UNet (quarter)"]),
        (lambda s: s.scores(model="UNet"), ["Did you mean 'models'?"]),
        (lambda s: s.scores(steps=3), ["steps: there is no such filter", "seeds"]),
        (lambda s: s.scores(by="seed"), ["by: 'seed'", "model, prompt"]),
        (lambda s: s.scores(axis="time"), ["axis: 'time'", "log-snr"]),
        (lambda s: s.scores(seeds="one"), ["seeds: 'one' is not a whole number"]),
        (lambda s: s.scores(scorer="other"), ["scorer: 'other'", "one scorer"]),
        (lambda s: s.scores(slice={"txt": "cat"}), ["slice: 'txt=cat'", "text, fewest"]),
        (lambda s: s.where(categories="none"), ["categories: 'none'", "one object"]),
        (lambda s: s.curves("zebra"), ["concepts: 'zebra'", "(whole prompt), dog"]),
        (lambda s: s.compare("UNet", "XL"), ["no model 'XL'"]),
        (lambda s: s.compare("UNet", "UNet"), ["is the baseline too", "Transformer"]),
        (lambda s: s.compare("UNet", "Transformer", models="UNet"), ["left out by the filter models"]),
        (lambda s: s.images(prompts=999), ["prompts:", "999", "1, 2, 3"]),
        (lambda s: s.images(step=99), ["steps: '99'", "0, 1, 2"]),
        (lambda s: s.maps(methods="lime"), ["methods: 'lime' is not measured", "df-cam"]),
        (lambda s: s.maps(words=True), ["no maps of words", "attention = {", "[measures]"]),
        (lambda s: s.figure("pie"), ["name: 'pie'", "emergence"]),
        (lambda s: s.figure("word-heat-maps"), ["map_steps", "[measures]"]),
        (lambda s: s.export("scores", "x", venue="vogue"), ["venue: 'vogue'", "neurips"]),
        (lambda s: s.sql("SELECT * FROM smple"), ["sql:", "smple", 'Did you mean "sample']),
    ],
)  # fmt: skip
def test_an_error_is_one_line_that_says_what_is_allowed(
    ask: Callable[[Study], Any], parts: list[str], study: Study
) -> None:
    with pytest.raises(stepscope.StudyError) as caught:
        ask(study)
    text = str(caught.value)
    assert "\n" not in text and "--" not in text
    for part in parts:
        assert part in text, text


def test_what_was_not_recorded_is_said_with_the_line_that_records_it(altered: Callable[..., Path]) -> None:  # fmt: skip
    with stepscope.open(altered("DELETE FROM explanation", "DELETE FROM frame")) as study:
        with pytest.raises(stepscope.StudyError, match=r"df-cam = \{ steps.* under \[measures\]"):
            study.maps()
        with pytest.raises(stepscope.StudyError, match=r"frames = \{ stride = 2"):
            study.images(step=2)


def test_a_study_without_samples_is_said(nothing_yet: Path) -> None:
    with stepscope.open(nothing_yet) as study:
        for ask in (study.scores, study.curves, study.images):
            with pytest.raises(stepscope.StudyError, match="no finished"):
                ask()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE x AS SELECT 1", "DELETE FROM sample", "UPDATE study SET title = ''", "DROP TABLE sample",
        "COPY (SELECT 1) TO 'x.csv'", "SELECT * FROM read_csv('/etc/hosts')", "SELECT * FROM '/etc/hosts'",
        "ATTACH 'x.duckdb'", "INSTALL httpfs", "SET enable_external_access = true", "SELECT * FROM glob('/*')",
        "EXPORT DATABASE 'x'",
    ],
)  # fmt: skip
def test_sql_reads_this_snapshot_and_nothing_else(statement: str, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(stepscope.StudyError, match="sql:"):
        study.sql(statement)
    assert not list(tmp_path.iterdir())
    assert study.sql("SELECT count(*) AS n FROM sample")["n"][0] == 144


def test_sql_has_the_macros_and_parameters(study: Study) -> None:
    rows = study.sql("SELECT count(*) AS n FROM scoped_prompt($c, NULL)", {"c": ["one object"]})
    assert rows["n"][0] == len(study.where(categories="one object").prompts) > 0
