"""What changed between two snapshots: counted by hand, and shown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from app.analysis import changes
from pipeline.cli.main import main
from pipeline.database.publish import publish
from tests.support.pages import Open, shown


def rows(**scores: float | None) -> pd.DataFrame:
    return pd.DataFrame(
        {"model": "m", "prompt_key": key, "seed": 0, "done": int(score is not None), "failed": int(score is None), "score": score}
        for key, score in scores.items()
    )  # fmt: skip


def test_by_model_by_hand():
    then, now = rows(a=0.1, b=0.2, c=0.3, d=None), rows(b=0.2, c=0.5, d=0.4, e=0.6)
    (change,) = changes.by_model(then, now).to_dict("records")
    assert (change["done_then"], change["done_now"], change["failed_then"]) == (3, 4, 1)
    assert (change["shared"], change["altered"]) == (2, 1)
    assert change["difference"] == pytest.approx(0.1)
    assert change["score_then"] == pytest.approx(0.2)
    names = changes.names(then, now)
    assert (names.more_prompts, names.fewer_prompts) == (1, 1)


def test_another_seed_alters_nothing():
    then = rows(a=0.1, b=0.2)
    now = pd.concat([then, rows(a=0.5, b=0.7).assign(seed=1)])
    (change,) = changes.by_model(then, now).to_dict("records")
    assert (change["shared"], change["altered"], change["difference"]) == (2, 0, 0)
    assert change["score_now"] == pytest.approx(0.375)
    names = changes.names(then, now)
    assert (names.more_seeds, names.fewer_seeds) == ((1,), ())


def test_the_largest_change_comes_first():
    base = {"model": "m", "family": "f", "prompts": 3, "auc": 0.5, "emergence": 4.0}
    then = pd.DataFrame([{**base, "concept": c, "final": 0.2} for c in "ab"])
    now = then.assign(final=[0.21, 0.1])
    assert changes.by_concept(then, now)["concept"].tolist() == ["b", "a"]


@pytest.fixture
def twice(tmp_path, results):
    """A study published twice, whose older snapshot is another: one model and half of the prompts less."""
    folder = tmp_path / "demo"
    shutil.copytree(results, folder, ignore=shutil.ignore_patterns("*.copy.duckdb"))
    old = folder / json.loads((folder / "current.json").read_text())["snapshot"]
    with duckdb.connect(str(old)) as db:
        db.execute("DELETE FROM sample WHERE model_id = 3 OR prompt_id > 12")
        db.execute("UPDATE sample SET clip_score = clip_score - 0.1 WHERE model_id = 1")
        db.execute("UPDATE study SET done_samples = 48, content_hash = 'other'")
    publish(folder)
    return folder


def test_the_view_tells_what_changed(twice, open_view: Open):
    app = open_view("changes", twice)
    assert not app.exception
    assert "content hashes differ" in shown(app)
    assert "12 prompts" in shown(app)
    table = app.dataframe[0].value.set_index("model")
    assert table["shared"].to_dict() == {
        "scenes-unet": 12,
        "scenes-unet-short": 12,
        "scenes-dit": 0,
    }
    assert table["altered"].to_dict() == {
        "scenes-unet": 12,
        "scenes-unet-short": 0,
        "scenes-dit": 0,
    }
    assert table.loc["scenes-unet", "difference"] == pytest.approx(0.1, abs=1e-6)


def test_snapshots_are_compared_by_the_scorer_chosen(two_scorers, tmp_path, open_view: Open):
    folder = shutil.copytree(two_scorers, tmp_path / "scored")
    old = folder / json.loads((folder / "current.json").read_text())["snapshot"]
    publish(folder)
    with duckdb.connect(str(old)) as db:
        db.execute("UPDATE scorer_2.clip_score SET clip_score = clip_score - 0.1")
    without = shutil.copytree(folder, tmp_path / "without")
    with duckdb.connect(str(without / "snapshots" / old.name)) as db:
        db.execute("DROP SCHEMA scorer_2 CASCADE")
    tables = [
        open_view("changes", folder, scorer=name).dataframe[0].value
        for name in ("scenes-clip", "ViT-B-32-openai")
    ]
    assert [table["altered"].sum() for table in tables] == [0, 24]
    app = open_view("changes", without, scorer="ViT-B-32-openai")
    assert not app.exception and "no numbers of this scorer" in shown(app)


@pytest.mark.parametrize("seeds", [True, False])
def test_snapshots_are_compared_by_the_score_chosen(seeds, results, tmp_path, open_view: Open):
    """A score of another program, per image or per prompt, of which one model's values rose by 1 between two snapshots."""
    folder = tmp_path / "demo"
    shutil.copytree(results, folder, ignore=shutil.ignore_patterns("*.copy.duckdb"))
    pointer = json.loads((folder / "current.json").read_text())["snapshot"]
    columns = "m.name AS model, prompt_key" + (", seed" if seeds else "")
    with duckdb.connect(str(folder / pointer), read_only=True) as db:
        rows = db.execute(f"SELECT DISTINCT {columns}, prompt_id::DOUBLE AS value FROM sample JOIN model m USING (model_id) JOIN prompt USING (prompt_id)").df()  # fmt: skip
    for rise in (0, 1):
        rows.assign(value=rows["value"] + rise * (rows["model"] == "scenes-unet")).to_csv(
            tmp_path / "judged.csv", index=False
        )
        add = ["scores", "add", str(folder), str(tmp_path / "judged.csv"), "--metric", "judged"]
        assert main([*add, "--title", "Judged", "--source", "test"]) == 0
        publish(folder)
    chosen, plain = (open_view("changes", folder, metric=title) for title in ("Judged", ""))
    table = chosen.dataframe[0].value.set_index("model")
    assert not chosen.exception and "older snapshot has no" not in shown(chosen)
    assert table["difference"].round(9).to_dict() == {"scenes-unet": 1, "scenes-unet-short": 0, "scenes-dit": 0}  # fmt: skip
    assert table.loc["scenes-unet", "altered"] == table.loc["scenes-unet", "shared"] == 24
    assert plain.dataframe[0].value["altered"].sum() == 0
    oldest = open_view("changes", folder, metric="Judged", since=Path(pointer).stem)
    assert not oldest.exception and "The older snapshot has no Judged" in shown(oldest)


def test_one_snapshot_has_nothing_to_compare_with(results, open_view: Open):
    app = open_view("changes", results)
    assert not app.exception
    assert "no other snapshot" in shown(app)


def test_an_older_snapshot_that_cannot_be_read_is_said(twice, open_view: Open):
    old = min((twice / "snapshots").glob("*.duckdb"))
    old.write_bytes(b"nothing")
    app = open_view("changes", twice)
    assert not app.exception
    assert "not a readable DuckDB database" in shown(app)
