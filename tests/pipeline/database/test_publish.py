"""Snapshots: every sample is counted, numbers equal what the shards say, and readers are never left without one."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.database.publish import publish
from pipeline.database.snapshots import SQL
from pipeline.engine import run as engine
from pipeline.errors import StoreError
from pipeline.metrics import trajectories
from pipeline.results.folder import Results
from pipeline.results.shards import read_shard
from tests.support.fake_worker import FakeWorker
from tests.support.synthetic import SECOND, build_results, plan_of, small_study, with_scorers


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


def test_a_snapshot_says_what_defines_its_measures(con):
    environment = json.loads(con.execute("SELECT environment FROM study").fetchone()[0])
    scorer = con.execute("SELECT scorer FROM study").fetchone()[0]
    plan = plan_of(small_study())
    assert environment["scorer_revisions"] == {scorer: plan.revisions.scorer}
    assert environment["definitions"] == plan.definitions
    assert environment["device"], "beside where it was measured"


def test_every_table_is_filled(con):
    tables = [
        row[0] for row in con.execute("SELECT table_name FROM information_schema.tables").fetchall()
    ]
    empty = [t for t in tables if one(con, f'SELECT count(*) FROM "{t}"') == 0]
    assert empty == [
        "failure",
        "image_set",
        "metric",
        "score",
    ]  # the last three are filled by `scores`


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
    mean, low, high, _ = trajectories.interval(curves)
    stored = con.execute(
        """SELECT mean, low, high FROM rollup_step WHERE model_id = 1 AND concept_id = 3 AND category = '' ORDER BY step"""
    ).fetchall()
    assert np.allclose(stored, np.stack([mean, low, high], 1), atol=1e-5)


def test_prompts_that_name_a_concept_have_its_words_one_after_the_other(tmp_path):
    """Whatever stands between the words, and wherever they stand; not as a part of a longer word."""
    texts = [
        "A CAT, left of: a dog!",
        "cats left of",
        "of a cat left",
        "hot-dog CAT cat",
        "!!!",
        "left  OF",
    ]
    with duckdb.connect() as db:
        db.execute((SQL / "schema.sql").read_text())
        for number, text in enumerate(texts, start=1):
            db.execute(
                "INSERT INTO prompt VALUES (?, ?, ?, '', '', '{}', 1)", [number, str(number), text]
            )
        for number, name in enumerate(["(whole prompt)", "cat", "left of", "dog", "?!"]):
            db.execute("INSERT INTO concept VALUES (?, ?, '', [])", [number, name])
        db.execute((SQL / "mention.sql").read_text())
        rows = db.execute("FROM mention ORDER BY ALL").fetchall()
    assert rows == [(1, 1), (1, 2), (1, 3), (2, 2), (3, 1), (4, 1), (4, 3), (6, 2)]


def test_cells_are_the_moments_of_their_prompts(con):
    """Of each category, of all its prompts and of those that name the concept, seeds averaged first."""
    rows = con.execute(
        "SELECT model_id, concept_id, category, named, prompts, samples, mean, sd, covariance FROM cell_curve"
    ).fetchall()
    assert {row[3] for row in rows} == {False, True} and len({row[2] for row in rows}) > 1
    for model, concept, category, named, prompts, samples, *stored in rows:
        sampled = con.execute(
            "SELECT prompt_id, similarity FROM trajectory JOIN prompt USING (prompt_id) LEFT JOIN mention "
            "USING (prompt_id, concept_id) WHERE model_id = ? AND concept_id = ? AND category = ? "
            "AND (NOT ? OR mention.prompt_id IS NOT NULL) ORDER BY prompt_id",
            [model, concept, category, named],
        ).fetchall()
        curves = np.array([row[1] for row in sampled], float).reshape(prompts, -1, 6).mean(1)
        assert samples == len(sampled)
        expected = [curves.mean(0), np.zeros(6), np.zeros(6)]
        if prompts > 1:
            covariance = np.cov(curves.T)
            expected[1:] = [np.sqrt(np.diag(covariance)), covariance[-1]]
        assert np.allclose(stored, expected, atol=1e-6)


def test_pair_cells_are_differences_of_shared_seeds_at_the_same_noise(tmp_path):
    """The second model has half the steps; one of its samples failed."""

    class Breaks(FakeWorker):
        def run(self, work_unit, on_step=None):
            if work_unit.seed == 1 and work_unit.model.name == study.models[1].name:
                raise MemoryError("no room")
            return super().run(work_unit, on_step)

    plan = small_study(models=2, prompts=6, steps=6)
    study = replace(plan, models=(plan.models[0], replace(plan.models[1], steps=3)))
    engine.run(plan_of(study), tmp_path, "cpu", Breaks)
    with duckdb.connect(publish(tmp_path).path, read_only=True) as con:
        curves = {
            model: {
                prompt: np.array(similarity)
                for prompt, similarity in con.execute(
                    "SELECT prompt_id, similarity FROM trajectory WHERE model_id = ? AND concept_id = 2 AND seed = 0",
                    [model],
                ).fetchall()
            }
            for model in (1, 2)
        }
        rows = con.execute(
            "SELECT model_a, model_b, category, named, prompts, mean, sd, win_rate FROM cell_pair WHERE concept_id = 2"
        ).fetchall()
        levels = dict(
            con.execute(
                "SELECT model_id, list(axis_log_snr ORDER BY step) FROM step GROUP BY model_id"
            ).fetchall()
        )
        naming = con.execute("SELECT prompt_id FROM mention WHERE concept_id = 2").fetchall()
        categories = dict(con.execute("SELECT prompt_id, category FROM prompt").fetchall())
    assert {row[:2] for row in rows} == {(1, 2), (2, 1)}
    assert {row[3] for row in rows} == {False, True}
    for a, b, category, named, prompts, *stored in rows:
        shared = [prompt for prompt in curves[b] if categories[prompt] == category]
        shared = [prompt for prompt in shared if not named or (prompt,) in naming]
        x, y = (np.array(levels[model]) for model in (a, b))
        inside = (x >= y[0] - 1e-6) & (x <= y[-1] + 1e-6)
        gap = np.array(
            [np.interp(x, y, curves[b][prompt]) - curves[a][prompt] for prompt in shared]
        )[:, inside]
        assert prompts == len(shared)
        sd = gap.std(0, ddof=1) if len(shared) > 1 else np.zeros(inside.sum())
        assert all([v is None for v in each] == (~inside).tolist() for each in stored)
        stored = [[v for v in each if v is not None] for each in stored]
        assert np.allclose(stored, [gap.mean(0), sd, (1 + np.sign(gap).mean(0)) / 2], atol=1e-6)


def test_many_models_are_compared_in_little_memory(tmp_path):
    """Rows of 28 pairs, concept by concept, were given to DuckDB in as many pieces: it ran out of 80 MB, and of 1 GB with 18 models."""
    first = small_study(models=1, prompts=6, seeds=1).models[0]
    late = {"scheduler": "DPMSolverMultistepScheduler", "schedule": "late"}
    others = (replace(first, name=f"late{n}", label=f"L{n}", gamma=10.0 + n, **late) for n in range(7))  # fmt: skip
    study = small_study(prompts=6, seeds=1)
    engine.run(plan_of(replace(study, models=(first, *others))), tmp_path, "cpu", FakeWorker)
    with duckdb.connect(publish(tmp_path, memory="80MB").path, read_only=True) as con:
        pairs = "SELECT count(DISTINCT (model_a, model_b)) FROM cell_pair"
        assert one(con, pairs) == 8 * 7 // 2  # FakeWorker has one set of noise levels


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
        def run(self, work_unit, on_step=None):
            if work_unit.seed == 1:
                raise MemoryError("no room")
            return super().run(work_unit, on_step)

    engine.run(plan_of(small_study(models=1)), tmp_path, "cpu", Breaks)
    path = publish(tmp_path).path
    with duckdb.connect(path, read_only=True) as con:
        assert con.execute("SELECT planned_samples, done_samples FROM study").fetchone() == (16, 8)
        assert one(con, "SELECT count(*) FROM failure") == 8


def test_seed_noise_is_that_of_the_measure(con):
    rows = con.execute(
        "SELECT prompt_id, similarity FROM trajectory WHERE model_id = 1 AND concept_id = 2 ORDER BY prompt_id, seed"
    ).fetchall()
    curves = np.array([row[1] for row in rows], np.float32)
    noise = trajectories.seed_noise(curves[:, -1].astype(float), np.array([row[0] for row in rows]))
    assert one(
        con,
        "SELECT seed_noise FROM rollup_trajectory WHERE model_id = 1 AND concept_id = 2 AND category = ''",
    ) == pytest.approx(noise, rel=1e-5)


def test_models_are_correlated_over_shared_prompts_and_seeds(con):
    curves = [
        np.array(
            con.execute(
                f"SELECT similarity FROM trajectory WHERE model_id = {model} AND concept_id = 1 ORDER BY prompt_id, seed"
            ).fetchall()
        ).reshape(16, 6)
        for model in (1, 2)
    ]
    stored = con.execute(
        "SELECT pearson, pairs FROM correlation_model WHERE concept_id = 1 ORDER BY step"
    ).fetchall()
    assert {pairs for _, pairs in stored} == {16}
    for step, (pearson, _) in enumerate(stored):
        expected = np.corrcoef(curves[0][:, step], curves[1][:, step])[0, 1]
        assert pearson == pytest.approx(expected, abs=1e-4)


def test_paths_are_the_embeddings_on_two_components(folder, con):
    directions = np.array(
        con.execute("SELECT direction FROM projection ORDER BY component").fetchall()
    )[:, 0]
    mean = np.array(con.execute("SELECT mean FROM projection").fetchone()[0])
    assert np.allclose(directions @ directions.T, np.eye(2), atol=1e-5)
    entry = next(iter(Results(folder).read_ledger().entries.values()))
    row = read_shard(Results(folder).shard(entry.unit_id)).to_pylist()[0]
    x = con.execute(
        """SELECT x FROM path JOIN model USING (model_id) JOIN prompt USING (prompt_id)
        WHERE model.name = ? AND prompt_key = ? AND seed = ?""",
        [row["model"], row["prompt_key"], row["seed"]],
    ).fetchone()[0]
    assert np.allclose(x, (np.array(row["embedding"]) - mean) @ directions[0], atol=1e-5)


@pytest.mark.parametrize("harm", ["flip", "delete", "swap"])
def test_a_damaged_shard_is_left_out_reported_and_made_again(tmp_path, harm):
    plan = plan_of(small_study(models=1))
    engine.run(plan, tmp_path, "cpu", FakeWorker)
    undisturbed = publish(tmp_path)
    first, second = (Results(tmp_path).shard(work_unit.unit_id) for work_unit in plan[:2])
    if harm == "delete":
        first.unlink()
    elif harm == "swap":
        first.write_bytes(second.read_bytes())
    else:
        stat, data = first.stat(), bytearray(first.read_bytes())
        data[len(data) // 2] ^= 1
        first.write_bytes(bytes(data))
        os.utime(first, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as a bad disk would
    published = publish(tmp_path)
    assert list(published.damaged) == [plan[0].unit_id]
    assert (published.done, published.missing) == (12, 4)
    assert engine.run(plan, tmp_path, "cpu", FakeWorker).work_units == 1
    again = publish(tmp_path)
    assert again.missing == 0 and _content(again.path) == _content(undisturbed.path)


def _content(path):
    with duckdb.connect(path, read_only=True) as con:
        return one(con, "SELECT content_hash FROM study")


def test_extra_tables_with_missing_columns_are_refused(tmp_path):
    build_results(tmp_path, models=1, prompts=4, seeds=1, steps=3)
    pq.write_table(
        pa.table({"model": ["x"], "scene": [1]}), tmp_path / "extra/localisation.parquet"
    )
    with pytest.raises(StoreError, match=r"localisation.parquet: no column step, method"):
        publish(tmp_path)
    assert not list((tmp_path / "snapshots").glob(".*"))


def test_two_publishers_at_once_are_refused(folder):
    locked = Results(folder).locked("publish.lock", "a publisher")
    with locked, pytest.raises(StoreError, match="in use by a publisher"):
        publish(folder)


CHILD = """
import sys
from pathlib import Path
from pipeline.database.publish import SQL, publish
print("ready", flush=True)
publish(Path(sys.argv[1]))
"""


def test_a_killed_publisher_leaves_the_last_good_snapshot(tmp_path):
    build_results(tmp_path, models=1, prompts=8, seeds=2, steps=6)
    before = (tmp_path / "current.json").read_text()
    for delay in (0.02, 0.1, 0.2):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, cwd="."
        )
        child.stdout.readline()
        time.sleep(delay)
        child.kill()
        child.communicate()
        pointer = json.loads((tmp_path / "current.json").read_text())
        with duckdb.connect(tmp_path / pointer["snapshot"], read_only=True) as con:
            assert one(con, "SELECT count(*) FROM sample") == 16
    number = publish(tmp_path).number
    assert number > json.loads(before)["number"]
    assert not list((tmp_path / "snapshots").glob(".*"))


class AsIfAlone(FakeWorker):
    """What the second scorer sees, as the only one of its study."""

    def run(self, work_unit, on_step=None):
        both = FakeWorker(with_scorers(self.study), self.model, self.bank).run(work_unit)
        return [row | row["further_scorers"][0] | {"further_scorers": []} for row in both]


@pytest.fixture(scope="module")
def both_and_alone(tmp_path_factory):
    """Snapshots: of a study with two scorers, and of the same with the first and with the second alone."""
    study = small_study(prompts=4, steps=4)
    folders = [tmp_path_factory.mktemp(name) for name in ("both", "first", "second")]
    engine.run(plan_of(with_scorers(study)), folders[0], "cpu", FakeWorker)
    engine.run(plan_of(study), folders[1], "cpu", FakeWorker)
    engine.run(plan_of(replace(study, scorer=SECOND)), folders[2], "cpu", AsIfAlone)
    return [publish(folder).path for folder in folders]


SCORED = (
    "trajectory",
    "rollup_prompt",
    "rollup_step",
    "rollup_trajectory",
    "contrast",
    "cell_curve",
    "cell_pair",
    "correlation_concept",
    "correlation_model",
    "sample",
)


def rounded(value):
    """Rows without the last digits of their numbers, which depend on the order in which threads add."""
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return f"{value:.9g}" if isinstance(value, float) else value


def test_each_scorer_has_in_its_schema_what_it_has_alone(both_and_alone):
    both, *alone = both_and_alone
    sources = ("data/models/scenes-clip", "ViT-B-32 (openai)")
    for schema, other, source in zip(("main", "scorer_2"), alone, sources, strict=True):
        with duckdb.connect(both, read_only=True) as db:
            db.execute(f"SET schema = '{schema}'")
            rows = {table: rounded(db.execute(f"FROM {table}").fetchall()) for table in SCORED}
            assert one(db, "SELECT scorer FROM study") == source
            assert one(db, "SELECT count(*) FROM frame") > 0  # main's, whoever scored
        with duckdb.connect(other, read_only=True) as db:
            for table in SCORED:
                alone_rows = rounded(db.execute(f"FROM {table}").fetchall())
                assert alone_rows == rows[table] != [], table


def test_failed_samples_have_no_score_of_any_scorer(tmp_path):
    class Breaks(FakeWorker):
        def run(self, work_unit, on_step=None):
            if work_unit.seed == 1:
                raise MemoryError("no room")
            return super().run(work_unit, on_step)

    study = with_scorers(small_study(models=1, prompts=4, steps=3))
    engine.run(plan_of(study), tmp_path, "cpu", Breaks)
    with duckdb.connect(publish(tmp_path).path, read_only=True) as db:
        assert one(db, "SELECT count(clip_score) FROM scorer_2.sample") == 4
        assert one(db, "SELECT count(*) FROM scorer_2.sample") == 8


def test_shards_of_another_number_of_scorers_are_refused(tmp_path):
    class Forgets(FakeWorker):
        def run(self, work_unit, on_step=None):
            return [row | {"further_scorers": []} for row in super().run(work_unit, on_step)]

    study = with_scorers(small_study(models=1, prompts=4, seeds=1, steps=3))
    engine.run(plan_of(study), tmp_path, "cpu", Forgets)
    with pytest.raises(StoreError, match="1 scorers, the study has 2. Run the study again"):
        publish(tmp_path)


@pytest.mark.long
def test_the_same_shards_give_the_same_rows_whatever_the_threads(tmp_path):
    """To the last bit and in the same order, of every table but the one line that tells when it was published."""
    engine.run(plan_of(small_study(2, 64, 3, 4, unit_prompts=32)), tmp_path, "cpu", FakeWorker)
    first = None
    for threads in (1, 4, 3):
        with duckdb.connect(publish(tmp_path, threads=threads).path, read_only=True) as con:
            tables = con.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()
            # Each row as its text, in which floats stand to the last bit: in Python it is ten times the work.
            rows = {
                name: con.execute(f'SELECT md5(each::VARCHAR) FROM "{name}" AS each').fetchall()
                for (name,) in tables
                if name != "study"
            }
        first = first or rows
        differing = [name for name in rows if rows[name] != first[name]]
        assert differing == []
