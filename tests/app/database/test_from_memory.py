"""Sums of the curves in memory are those of the SQL files of the same names, whatever is chosen and whatever is missing."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from app.database import curve_arrays, from_memory, snapshots, sources
from app.database.curve_arrays import CurveArrays
from app.database.statements import SQL, macros, statement

SLICES: dict[str, list[int] | None] = {
    "none": None,
    "half": list(range(2, 24, 2)),
    "one": [3],
    "no such": [900],
}
NEAR = {"emerged_share": 1e-7}
"""Its deviation is the root of a difference of sums: where it is 0, either gives 0 or 1e-8."""
SEEDS = {"all": [0, 1], "one": [1], "two of three": [0, 2]}


@pytest.fixture(scope="module")
def three_seeds(study_folder: Callable[..., Path]) -> Path:
    """A study from which some of several seeds can be chosen."""
    return study_folder("seeded", models=3, prompts=24, seeds=3, steps=12)


@pytest.fixture
def connection(three_seeds: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with snapshots.connect(snapshots.locate(three_seeds).path) as opened:
        yield opened


def question(connection: duckdb.DuckDBPyConnection, **changed: Any) -> dict[str, Any]:
    """Parameters of any of the questions, of everything unless they are changed."""
    concepts = snapshots.answer(connection, "concepts", {})["concept_id"]
    categories = snapshots.answer(connection, "categories", {})["category"]
    return {
        "models": [1, 2, 3], "concepts": [0, *(int(each) for each in concepts)], "categories": [*categories],
        "seeds": [0, 1, 2], "slice": None, "named": True, "whole": True, "baseline": 2, "candidates": [1, 3], "axis": "log_snr",
        "by_family": False, "metric": "",
    } | changed  # fmt: skip


def by_sql(connection: duckdb.DuckDBPyConnection, name: str, asked: dict[str, Any]) -> pd.DataFrame:
    with connection.cursor() as cursor:
        for macro in macros(name):
            cursor.execute(statement(macro)[0])
        text, wanted = statement(name)
        return cursor.execute(text, {k: v for k, v in asked.items() if k in wanted}).df()


def assert_same(
    connection: duckdb.DuckDBPyConnection, names: Sequence[str] = (), **changed: Any
) -> dict[str, int]:
    """Compare the answers. Returns how many rows each has."""
    asked, rows = question(connection, **changed), {}
    for name in names or from_memory.SUMS:
        expected = by_sql(connection, name, asked)
        answer = snapshots.answer(connection, name, asked)
        typed = not expected.empty  # DuckDB gives an empty column of texts as one of objects
        answer, expected = lists_as_lines(answer), lists_as_lines(expected)
        pd.testing.assert_frame_equal(
            answer, expected, rtol=1e-9, atol=NEAR.get(name, 1e-10), check_dtype=typed
        )
        rows[name] = len(answer)
    kept = snapshots.CURVES[connection]
    assert kept._models, "nothing was answered from memory"
    return rows


def lists_as_lines(table: pd.DataFrame) -> pd.DataFrame:
    """A row per value where columns hold lists, as readers of `emergence` take them apart."""
    lists = [name for name in table if table[name].map(np.ndim).any()]
    if not lists:
        return table
    lines = table.explode(lists, ignore_index=True)
    numbers = [name for name in lists if name != "other_families"]
    lines[lists] = lines[lists].where(lines[lists].notna(), None)
    return lines.astype(dict.fromkeys(numbers, float)).astype({"other_families": "str"})


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("axis", ["log_snr", "step", "progress", "timestep"])
def test_of_all_prompts(connection: duckdb.DuckDBPyConnection, axis: str, named: bool) -> None:
    assert all(assert_same(connection, axis=axis, named=named).values())


def test_of_families(connection: duckdb.DuckDBPyConnection) -> None:
    rows = assert_same(connection, by_family=True, names=["emergence"])
    assert rows["emergence"] > 3


@pytest.mark.parametrize("ids", SLICES.values(), ids=SLICES)
@pytest.mark.parametrize("seeds", SEEDS.values(), ids=SEEDS)
def test_of_a_slice_and_some_seeds(
    connection: duckdb.DuckDBPyConnection, seeds: list[int], ids: list[int] | None
) -> None:
    rows = assert_same(connection, slice=ids, seeds=seeds, whole=False, named=False, names=["curves", "paired_grid_seeds"])  # fmt: skip
    assert all(rows.values()) == (ids != [900])
    if len(seeds) == 1:  # these take each prompt to have one curve
        assert_same(connection, slice=ids, seeds=seeds, whole=False, names=["curves_prompts", "paired_grid_prompts"])  # fmt: skip
    every = [
        *("family_curves", "emergence", "emerged_share", "paired_families", "seed_correlation"),
        *("scores", "review_seconds", "named_pairs", "any_trajectory"),
    ]
    assert_same(connection, slice=ids, seeds=seeds, whole=False, names=every)


def test_of_some_categories_models_and_concepts(connection: duckdb.DuckDBPyConnection) -> None:
    categories = question(connection)["categories"]
    assert_same(connection, categories=categories[:1], models=[3], concepts=[0, 2], candidates=[3])
    assert_same(connection, categories=["no such"], models=[1], concepts=[1])


def test_where_samples_are_missing(three_seeds: Path, tmp_path: Path) -> None:
    """A model without a prompt, another without a seed of one, and a third without a concept."""
    path = tmp_path / "less.duckdb"
    path.write_bytes(Path(snapshots.locate(three_seeds).path).read_bytes())
    with duckdb.connect(str(path)) as writer:
        for table in ("rollup_prompt", "trajectory"):
            writer.execute(f"DELETE FROM {table} WHERE model_id = 1 AND prompt_id IN (2, 5)")
            writer.execute(f"DELETE FROM {table} WHERE model_id = 3 AND concept_id = 2")
        writer.execute("DELETE FROM trajectory WHERE model_id = 2 AND prompt_id = 4 AND seed = 1")
        writer.execute(
            "UPDATE sample SET clip_score = NULL WHERE model_id = 2 AND prompt_id = 4 AND seed = 1"
        )
        writer.execute("UPDATE sample SET status = 'failed' WHERE model_id = 1 AND prompt_id = 2")
    with snapshots.connect(str(path)) as connection:
        assert_same(connection, named=False)
        several = [
            "curves",
            "paired_grid_seeds",
            "family_curves",
            "emergence",
            "emerged_share",
            "paired_families",
            "seed_correlation",
            "scores",
            "review_seconds",
        ]
        assert_same(connection, seeds=[0, 1], whole=False, named=False, names=several)


def test_of_scores_that_another_program_computed(three_seeds: Path, tmp_path: Path) -> None:
    """Of images, of which one has none, and of prompts, whatever the seed; one that is not there has no rows."""
    path = tmp_path / "scored.duckdb"
    path.write_bytes(Path(snapshots.locate(three_seeds).path).read_bytes())
    with duckdb.connect(str(path)) as writer:
        for number, name, seed in ((1, "sharp", "seed"), (2, "fid", "NULL")):
            row = [number, name, name, True, None, None, "", "", "image", "", "", 0]
            writer.execute(f"INSERT INTO metric VALUES ({', '.join('?' * len(row))})", row)
            writer.execute(
                "INSERT INTO score (metric_id, model_id, prompt_id, seed, value) "
                f"SELECT {number}, model_id, prompt_id, {seed}, model_id + prompt_id / 7.0 + max(seed) "
                f"FROM sample WHERE sample_id != 5 GROUP BY model_id, prompt_id, {seed}"
            )
    with snapshots.connect(str(path)) as connection:
        for metric, there in (("sharp", True), ("fid", True), ("none", False)):
            for seeds in SEEDS.values():
                rows = assert_same(
                    connection,
                    metric=metric,
                    seeds=seeds,
                    whole=False,
                    names=["scores", "any_trajectory"],
                )
                assert bool(rows["scores"]) == there


def test_of_curves_that_do_not_vary(three_seeds: Path, tmp_path: Path) -> None:
    path = tmp_path / "flat.duckdb"
    path.write_bytes(Path(snapshots.locate(three_seeds).path).read_bytes())
    with duckdb.connect(str(path)) as writer:
        writer.execute(
            "UPDATE rollup_prompt SET similarity = [0.3 FOR _ IN similarity], final = 0.3 WHERE model_id = 1"
        )
    with snapshots.connect(str(path)) as connection:
        assert_same(connection, names=["curves_prompts"])
        answer = snapshots.answer(connection, "curves_prompts", question(connection, models=[1]))
    assert (answer.loc[answer["prompts"] > 1, "sd"] == 0).all() and answer["r_final"].isna().all()


DAMAGES = {
    "of another length": "UPDATE rollup_prompt SET similarity = similarity[:3] WHERE model_id = 1 AND prompt_id = 2",
    "of another length in one model": "UPDATE rollup_prompt SET similarity = similarity[:3] WHERE model_id = 1",
    "with a gap": "UPDATE rollup_prompt SET similarity = [NULL FOR _ IN similarity] WHERE model_id = 1 AND prompt_id = 2",
    "of an unknown prompt": "UPDATE rollup_prompt SET prompt_id = 900 WHERE model_id = 1 AND prompt_id = 2",
    "twice": "UPDATE rollup_prompt SET prompt_id = 3 WHERE model_id = 1 AND prompt_id = 2",
    "of one seed shorter": "UPDATE trajectory SET similarity = similarity[:3] WHERE seed = 1",
    "with steps that no curve has": "UPDATE step SET step = 2000000000 WHERE model_id = 1 AND step = 11",
    "longer than the steps": "UPDATE rollup_prompt SET similarity = similarity || similarity WHERE model_id = 1",
    "of one seed longer than the steps": "UPDATE trajectory SET similarity = similarity || similarity WHERE seed = 1",
    "of no prompts": "DELETE FROM prompt",
}
EVERY = frozenset(from_memory.SUMS)
ONE_CURVE = {"curves_prompts", "paired_grid_prompts"}  # which take each prompt to have one curve


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_curves_are_left_to_sql(three_seeds: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "damaged.duckdb"
    path.write_bytes(Path(snapshots.locate(three_seeds).path).read_bytes())
    with duckdb.connect(str(path)) as writer:
        writer.execute(DAMAGES[damage])
    with snapshots.connect(str(path)) as connection:
        for changes, names in (
            ({}, EVERY),
            ({"whole": False, "seeds": [0, 1], "slice": [2, 3, 4]}, EVERY - ONE_CURVE),
        ):
            asked = question(connection, **changes)
            for name in sorted(names):
                answer = lists_as_lines(snapshots.answer(connection, name, asked))
                expected = lists_as_lines(by_sql(connection, name, asked))
                pd.testing.assert_frame_equal(
                    answer, expected, rtol=1e-6, atol=1e-7, check_dtype=False
                )


def test_a_study_that_is_too_large_is_left_to_sql(
    connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots.CURVES[connection] = CurveArrays(most=1_000)
    asked = question(connection, slice=[1, 2, 3])
    answer = snapshots.answer(connection, "curves_prompts", asked)
    assert not snapshots.CURVES[connection]._models
    pd.testing.assert_frame_equal(answer, by_sql(connection, "curves_prompts", asked))


def test_models_make_room_for_others(connection: duckdb.DuckDBPyConnection) -> None:
    """All curves of single seeds fit, or all of all seeds together, but not both."""
    snapshots.answer(connection, "curves", question(connection))
    seeds = snapshots.CURVES[connection]
    assert len(seeds._models) == 9
    bytes_of_seeds = sum(map(curve_arrays._size, seeds._models.values()))
    most = seeds._notes["size", 1, False]  # what the database says of them, before they are read
    assert 0 <= most - bytes_of_seeds < 0.5 * most
    snapshots.CURVES[connection] = CurveArrays(most)
    assert_same(connection, names=["curves", "curves_prompts", "curves", "emergence"])
    kept = snapshots.CURVES[connection]._models.values()
    assert sum(map(curve_arrays._size, kept)) <= most


def test_all_is_read_ahead_of_the_first_slice(
    connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots.answer(connection, "emergence", question(connection, models=[1]))
    snapshots.read_ahead()
    kept = set(snapshots.CURVES[connection]._models)
    curves = {("curves", 1, model, seed) for model in (1, 2, 3) for seed in (None, 0, 1, 2)}
    assert kept == curves | {
        ("outcomes", 1, model, seed) for model in (1, 2, 3) for seed in (0, 1, 2)
    }
    monkeypatch.setattr(curve_arrays, "_blocks", None)
    assert_same(connection, slice=[2, 3, 5], names=["curves_prompts", "curves"])


def test_what_does_not_fit_beside_the_rest_is_not_read_ahead(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    snapshots.answer(connection, "curves", question(connection))
    sizes = snapshots.CURVES[connection]._notes
    for most, seeds in ((sizes["size", 1, False], {None}), (1_000, set())):
        snapshots.CURVES[connection] = CurveArrays(most)
        snapshots.read_ahead()
        kept = snapshots.CURVES[connection]._models
        assert {seed for kind, _, _, seed in kept if kind == "curves"} == seeds


def test_nothing_of_what_is_read_ahead_stays_in_the_database_s_memory(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    snapshots.answer(connection, "named_pairs", question(connection))
    before = memory_of(connection)
    snapshots.read_ahead()
    assert memory_of(connection) == before
    connection.execute("SELECT sum(list_sum(similarity)) FROM trajectory").fetchall()
    assert memory_of(connection) > before


def memory_of(connection: duckdb.DuckDBPyConnection) -> int:
    """Bytes that a database holds of its tables."""
    asked = "SELECT memory_usage_bytes FROM duckdb_memory() WHERE tag = 'BASE_TABLE'"
    return int(connection.execute(asked).fetchall()[0][0])


def test_what_a_stranger_s_snapshot_reads_from_elsewhere_is_not_read_ahead(
    three_seeds: Path, tmp_path: Path
) -> None:
    path, secret = tmp_path / "views.duckdb", tmp_path / "secret.parquet"
    path.write_bytes(Path(snapshots.locate(three_seeds).path).read_bytes())
    with duckdb.connect(str(path)) as writer:
        writer.execute(f"COPY rollup_prompt TO '{secret}'")
        writer.execute("ALTER TABLE rollup_prompt RENAME TO away")
        writer.execute(f"CREATE VIEW rollup_prompt AS SELECT * FROM '{secret}'")
        assert writer.execute("SELECT count(*) FROM rollup_prompt").fetchall()[0][0] > 0
    with snapshots._beside(str(path)) as cursor:
        assert cursor.execute("SELECT count(*) FROM prompt").fetchall() == [(24,)]
        with pytest.raises(duckdb.PermissionException):
            cursor.execute("SELECT count(*) FROM rollup_prompt")
        with pytest.raises(duckdb.InvalidInputException, match="locked"):
            cursor.execute("SET enable_external_access = true")


def test_a_link_in_a_snapshot_s_place_is_not_read_ahead(three_seeds: Path, tmp_path: Path) -> None:
    original = Path(snapshots.locate(three_seeds).path)
    path = tmp_path / "moved.duckdb"
    path.write_bytes(original.read_bytes())
    with snapshots.connect(str(path)) as connection:
        snapshots.answer(connection, "emergence", question(connection, models=[1]))
        read = set(snapshots.CURVES[connection]._models)
        path.unlink()
        path.symlink_to(original)
        snapshots.read_ahead()
        assert set(snapshots.CURVES[connection]._models) == read
        path.unlink()
        path.write_bytes(original.read_bytes())
        snapshots.read_ahead()
        assert set(snapshots.CURVES[connection]._models) > read


def test_what_steps_at_other_noise_levels_leave_open(three_seeds: Path, tmp_path: Path) -> None:
    """Of models with the same steps nothing; of others an emergence is anywhere between the step before and the step at which it shows."""
    path = tmp_path / "levels.duckdb"
    path.write_bytes(Path(snapshots.locate(three_seeds).path).read_bytes())
    with duckdb.connect(str(path)) as writer:
        writer.execute("UPDATE step SET axis_log_snr = axis_log_snr * 0.8 + 0.3 WHERE model_id = 3")
    with snapshots.connect(str(path)) as connection:
        for named in (True, False):
            assert_same(connection, ["paired_families"], named=named)
            assert_same(connection, ["paired_families"], named=named, seeds=[1], whole=False)
        asked = question(connection, baseline=1, candidates=[2, 3], whole=False, seeds=[1])
        rows = snapshots.answer(connection, "paired_families", asked).dropna()
        step = connection.execute("SELECT axis_log_snr FROM step WHERE model_id IN (1, 3) ORDER BY model_id, step").df()  # fmt: skip
    gap = rows["emergence_candidate"] - rows["emergence_baseline"]
    alike = rows["model_id"] == 2
    assert alike.any() and not alike.all()
    assert (rows["lowest"] == gap)[alike].all() and (rows["highest"] == gap)[alike].all()
    assert (rows["lowest"] <= gap + 1e-5).all() and (rows["highest"] >= gap - 1e-5).all()
    other = (rows["highest"] - rows["lowest"])[~alike]
    longest = np.diff(step["axis_log_snr"].to_numpy().reshape(2, -1), axis=1).max(axis=1).sum()
    assert 0 < other.max() <= longest + 1e-5


def test_rows_of_one_family_share_its_text(connection: duckdb.DuckDBPyConnection) -> None:
    with pd.option_context("mode.string_storage", "python"):  # as the app sets it
        families = snapshots.answer(connection, "paired_families", question(connection))["family"]
        categories = snapshots.answer(connection, "scores", question(connection))["category"]
    for column in (families, categories):
        assert 1 < column.nunique() == len({id(each) for each in column}) < len(column)


def test_a_closed_database_is_not_read_ahead(three_seeds: Path) -> None:
    connection = snapshots.connect(snapshots.locate(three_seeds).path)
    snapshots.answer(connection, "emergence", question(connection))
    connection.close()
    snapshots.read_ahead()


def test_arrays_of_a_connection_go_with_it(three_seeds: Path) -> None:
    connection = snapshots.connect(snapshots.locate(three_seeds).path)
    snapshots.answer(connection, "curves_prompts", question(connection, slice=[1]))
    arrays = weakref.ref(snapshots.CURVES[connection])
    assert arrays() is not None
    connection.close()
    del connection
    assert arrays() is None


def test_moments_of_known_answer() -> None:
    values = np.array([[0.1, 0.5], [0.2, 0.5], [0.6, 0.5]], np.float32)
    last = np.array([-1.0, 0.0, 1.0])
    mean, sd, product = sources.moments(values, last)
    np.testing.assert_allclose(mean, values.astype(float).mean(axis=0))
    np.testing.assert_allclose(sd, [np.std(values[:, 0].astype(float), ddof=1), 0.0])
    np.testing.assert_allclose(product, [0.5, 0.0], atol=1e-7)


def test_each_question_has_its_sql() -> None:
    assert all((SQL / f"{name}.sql").is_file() for name in from_memory.SUMS)
    assert curve_arrays.MOST < 2**30  # beside the gigabyte that DuckDB may use
