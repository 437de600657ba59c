"""STEPSCOPE_REVIEWS: reviews of all studies in one folder, where the studies themselves are read-only."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.analysis import reviews
from app.analysis.reviews import Criterion, Review
from app.database import backup, notebook

REVIEW = Review(
    "", "", "Ada", "May it?", "a", "b", "seeds=1", 1, "a" * 64, (Criterion("CLIP score", "higher", 0.005),)
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "kept"
    folder.mkdir()
    monkeypatch.setenv(notebook.FOLDER, str(folder))
    return folder


def test_reviews_are_kept_there_and_the_study_stays_as_it_is(folder: Path, tmp_path: Path) -> None:
    study = tmp_path / "demo"
    study.mkdir()
    store = notebook.store_of(study)
    kept = reviews.keep(store, REVIEW)
    assert reviews.all_reviews(notebook.store_of(study)) == [kept]
    assert list(folder.iterdir()) == [store] and store.name.startswith("demo-")
    assert not list(study.iterdir())
    assert backup.main([str(study), "--out", str(tmp_path / "copy.sqlite")]) == 0
    assert reviews.all_reviews(tmp_path / "copy.sqlite") == [kept]


def test_no_two_studies_share_a_file_and_none_leaves_the_folder(
    folder: Path, tmp_path: Path
) -> None:
    names = [
        "demo",
        "Demo",
        "a b",
        "a/b",
        "a-b",
        "x" * 200,
        "x" * 201,
        "..a",
        "é",
        "日本",
        "a\nb",
        "v1.0",
        "v1.1",
        "%2e%2e",
    ]
    studies = [tmp_path / "one" / name for name in names] + [
        tmp_path / "two" / name for name in names
    ]
    studies += [tmp_path / "one" / "demo.duckdb", tmp_path / "one" / "..", Path("/")]
    stores = [notebook.store_of(study) for study in studies]
    assert len({str(store).lower() for store in stores}) == len(studies)
    for store in stores:
        assert store.parent == folder and len(store.name) < 120 and store.name.isascii()


def test_one_study_has_one_file_by_whatever_path(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "link").symlink_to("demo")
    monkeypatch.chdir(tmp_path)
    paths = [tmp_path / "demo", Path("demo"), Path("demo/../demo"), tmp_path / "link"]
    assert len({notebook.store_of(path) for path in paths}) == 1


def test_a_folder_that_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(notebook.FOLDER, str(tmp_path / "unmounted"))
    store = notebook.store_of(tmp_path)
    assert reviews.all_reviews(store) == []
    with pytest.raises(notebook.ReviewError, match="Make the folder writable"):
        reviews.keep(store, REVIEW)


def test_without_it_they_stay_beside_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(notebook.FOLDER, "")
    assert notebook.store_of(tmp_path) == tmp_path / "reviews.sqlite"
