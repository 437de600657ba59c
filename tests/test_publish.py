"""Snapshots: every sample is counted, numbers equal what the shards say, and readers are never left without one."""

import json

import duckdb
import numpy as np
import pytest
from fake_worker import FakeWorker
from synthetic import build_results, plan_of, small_study

from pipeline import correlation, engine
from pipeline.database.publish import publish
from pipeline.errors import StoreError
from pipeline.shards import Results, read_shard


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    build_results(folder, models=2, prompts=8, seeds=2, steps=6)
    return folder


@pytest.fixture(scope="module")
def con(folder):
    pointer = json.loads((folder / "current.json").read_text())
    with duckdb.connect(folder / pointer["snapshot"], read_only=True) as con:
        yield con


def one(con, sql):
    return con.execute(sql).fetchone()[0]


def test_counts(con):
    concepts = one(con, "SELECT count(*) FROM concept")
    assert one(con, "SELECT count(*) FROM sample") == 2 * 8 * 2
    assert one(con, "SELECT count(*) FROM trajectory") == 2 * 8 * 2 * concepts
    assert one(con, "SELECT count(*) FROM rollup_prompt") == 2 * 8 * concepts
    assert one(con, "SELECT count(*) FROM step") == 2 * 6
    assert con.execute(
        "SELECT planned_samples, done_samples, failed_samples FROM study"
    ).fetchone() == (32, 32, 0)


def test_every_table_is_filled(con):
    tables = [
        row[0] for row in con.execute("SELECT table_name FROM information_schema.tables").fetchall()
    ]
    empty = [t for t in tables if one(con, f'SELECT count(*) FROM "{t}"') == 0]
    assert empty == ["failure"]


def test_similarities_are_those_of_the_shards(folder, con):
    for entry in Results(folder).read_ledger().entries.values():
        for row in read_shard(Results(folder).shard(entry.unit_id)).to_pylist():
            stored = con.execute(
                """SELECT similarity FROM trajectory JOIN model USING (model_id) JOIN prompt USING (prompt_id)
                WHERE model.name = ? AND prompt_key = ? AND seed = ? ORDER BY concept_id""",
                [row["model"], row["prompt_key"], row["seed"]],
            ).fetchall()
            expected = [row["prompt_similarity"], *(t["similarity"] for t in row["trajectories"])]
            assert np.array_equal([s[0] for s in stored], expected)


def test_rollups_average_seeds_within_a_prompt(con):
    rows = con.execute(
        "SELECT prompt_id, similarity FROM trajectory WHERE model_id = 1 AND concept_id = 3 ORDER BY prompt_id"
    ).fetchall()
    curves = np.array([row[1] for row in rows]).reshape(8, 2, 6).mean(1)
    mean, low, high, _ = correlation.interval(curves)
    stored = con.execute(
        """SELECT mean, low, high FROM rollup_step WHERE model_id = 1 AND concept_id = 3 AND category = '' ORDER BY step"""
    ).fetchall()
    assert np.allclose(stored, np.stack([mean, low, high], 1), atol=1e-5)


def test_trajectories_are_sorted(con):
    rows = con.execute("SELECT model_id, concept_id, prompt_id, seed FROM trajectory").fetchall()
    assert rows == sorted(rows)


def test_publishing_again_makes_a_new_version_with_the_same_content(folder):
    before = json.loads((folder / "current.json").read_text())
    publish(folder)
    after = json.loads((folder / "current.json").read_text())
    assert after["number"] == before["number"] + 1
    hashes = []
    for pointer in (before, after):
        with duckdb.connect(folder / pointer["snapshot"], read_only=True) as con:
            hashes.append(one(con, "SELECT content_hash FROM study"))
    assert hashes[0] == hashes[1]


def test_old_snapshots_go(tmp_path):
    build_results(tmp_path, models=1, prompts=4, seeds=1, steps=3)
    for _ in range(4):
        publish(tmp_path)
    assert len(list((tmp_path / "snapshots").glob("*.duckdb"))) == 3


def test_nothing_to_publish(tmp_path):
    with pytest.raises(StoreError, match="no study|run a study|STUDY"):
        publish(tmp_path)


def test_failed_and_missing_samples_are_counted(tmp_path):
    class Breaks(FakeWorker):
        def run(self, unit, on_step=None):
            if unit.seed == 1:
                raise MemoryError("no room")
            return super().run(unit, on_step)

    engine.run(plan_of(small_study(models=1)), tmp_path, "cpu", Breaks)
    path = publish(tmp_path).path
    with duckdb.connect(path, read_only=True) as con:
        assert con.execute("SELECT planned_samples, done_samples FROM study").fetchone() == (16, 8)
        assert one(con, "SELECT count(*) FROM failure") == 8
