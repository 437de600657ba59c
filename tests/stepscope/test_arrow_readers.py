"""The lines of docs/python.md that hand tables to polars and to Hugging Face `datasets`; skipped where those are not installed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import stepscope
from stepscope.study import Study

ROOT = Path(__file__).parents[2]
SQL = "SELECT sample_id, similarity FROM trajectory WHERE concept_id = 0 ORDER BY sample_id"


@pytest.fixture(scope="module")
def study(one_model: Path) -> Iterator[Study]:
    with stepscope.open(one_model) as study:
        yield study


def documented(library: str) -> list[str]:
    """The lines of code that use a library; each stands in the page as a line of its own."""
    page = (ROOT / "docs" / "python.md").read_text()
    return re.findall(rf"^{library}\..*(?:study|images)\..*$", page, re.MULTILINE)


def test_the_lines_are_there() -> None:
    assert len(documented("polars")) == 3 and len(documented("datasets")) == 3


def test_tables_go_to_polars(study: Study) -> None:
    polars = pytest.importorskip("polars", reason="polars is not installed: pip install polars")
    scope = {"polars": polars, "pyarrow": pa, "study": study, "images": study.images(), "SQL": SQL}
    scores, rows, images = (eval(line, scope) for line in documented("polars"))
    assert scores.to_dict(as_series=False) == study.scores().to_dict("list")
    assert rows.schema == {"sample_id": polars.Int64, "similarity": polars.List(polars.Float32)}
    assert rows.to_dicts() == study.arrow(SQL).to_pylist()
    assert images["image"].to_list() == list(study.images().encoded)


def test_tables_go_to_datasets(study: Study) -> None:
    datasets = pytest.importorskip(
        "datasets", reason="datasets is not installed: pip install datasets"
    )
    scope = {"datasets": datasets, "pyarrow": pa, "study": study, "images": study.images(), "SQL": SQL}  # fmt: skip
    scores, rows, images = (eval(line, scope) for line in documented("datasets"))
    assert list(scores["mean"]) == study.scores()["mean"].tolist()
    assert rows[:] == study.arrow(SQL).to_pydict()
    assert [each.size for each in images["image"]] == [image.size for image in study.images()]


def test_a_published_data_set_is_loaded_by_its_name(one_model: Path, tmp_path: Path) -> None:
    """Images are pictures there, without any line of ours."""
    datasets = pytest.importorskip(
        "datasets", reason="datasets is not installed: pip install datasets"
    )
    from pipeline.database.export import export

    folder = Path(shutil.copytree(one_model, tmp_path / "results"))
    export(folder, tmp_path / "data-set", "huggingface")
    loaded = datasets.load_dataset(str(tmp_path / "data-set"), "samples", split="train", cache_dir=str(tmp_path / "cache"))  # fmt: skip
    assert len(loaded) == 6 and loaded[0]["image"].size == (32, 32)
