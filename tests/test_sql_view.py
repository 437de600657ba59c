"""The SQL view: what it answers, what it refuses, and 60 ways to get out that must not work."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import replace
from pathlib import Path

import console
import pytest
import queries
from console import ConsoleError
from test_views import Open, charts_of, open_view, shown  # noqa: F401

# {file} is a file outside the study, {folder} one in which nothing may appear.
ATTACKS = [
    # files
    "SELECT * FROM read_csv('{file}')",
    "SELECT * FROM read_csv_auto('{file}')",
    "SELECT * FROM '{file}'",
    "SELECT * FROM read_text('{file}')",
    "SELECT * FROM read_blob('{file}')",
    "SELECT * FROM read_parquet('{folder}/*')",
    "SELECT * FROM parquet_scan('{folder}/*')",
    "SELECT * FROM read_json('{file}')",
    "SELECT * FROM read_json_auto('{file}')",
    "SELECT * FROM read_ndjson('{file}')",
    "SELECT * FROM sniff_csv('{file}')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM parquet_metadata('{file}')",
    "SELECT * FROM read_duckdb('{file}')",
    "SELECT count(*) FROM read_text('/etc/passwd')",
    "SELECT * FROM read_text('/proc/self/environ')",
    "FROM '/etc/hostname'",
    "SELECT (SELECT content FROM read_text('{file}'))",
    "WITH x AS (SELECT * FROM read_text('{file}')) SELECT * FROM x",
    "SELECT * FROM query('SELECT * FROM read_text(''{file}'')')",
    "SELECT * FROM query_table('{file}')",
    "EXPLAIN ANALYZE SELECT * FROM read_text('{file}')",
    "SELECT * FROM sqlite_scan('{file}', 'note')",
    # writing
    "COPY (SELECT 1) TO '{folder}/out.csv'",
    "COPY sample TO '{folder}/out.parquet' (FORMAT parquet)",
    "COPY sample FROM '{file}'",
    "EXPORT DATABASE '{folder}/out'",
    "IMPORT DATABASE '{folder}'",
    "CREATE TABLE x AS SELECT 1",
    "CREATE TEMP TABLE x AS SELECT 1",
    "CREATE VIEW x AS SELECT 1",
    "CREATE MACRO f(a) AS a",
    "CREATE TYPE t AS ENUM ('a')",
    "CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "CREATE PERSISTENT SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "INSERT INTO study SELECT * FROM study",
    "UPDATE prompt SET text = 'x'",
    "DELETE FROM sample",
    "DROP TABLE sample",
    "TRUNCATE sample",
    "ALTER TABLE sample RENAME TO other",
    "MERGE INTO prompt USING prompt AS p ON false WHEN NOT MATCHED THEN INSERT BY NAME",
    "VACUUM",
    "CHECKPOINT",
    "FORCE CHECKPOINT",
    "BEGIN TRANSACTION",
    # other databases, extensions, network
    "ATTACH '{folder}/new.duckdb'",
    "ATTACH ':memory:' AS m",
    "ATTACH 'https://127.0.0.1/x.duckdb'",
    "DETACH demo",
    "USE memory",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{file}'",
    "FORCE INSTALL spatial FROM 'http://127.0.0.1'",
    "SELECT * FROM 'https://127.0.0.1/x.csv'",
    "SELECT * FROM read_parquet('s3://bucket/x.parquet')",
    # configuration and the program
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "SET GLOBAL memory_limit = '100GB'",
    "RESET max_execution_time",
    "SET temp_directory = '{folder}'",
    "PRAGMA enable_profiling",
    "PRAGMA threads = 64",
    "CALL pragma_version()",
    "SELECT getenv('HOME')",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_logs()",
    "SELECT write_log('x')",
    "SELECT set_config('enable_external_access', 'true')",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "SELECT * FROM connection",
    "SELECT * FROM statement",
    "SELECT * FROM rows",
    # several at once, and none
    "SELECT 1; DROP TABLE sample",
    "SELECT 1; SELECT 2",
    "; DELETE FROM sample; --",
    "/* */",
    "SELECT $1",
    "SELECT $name",
    # too much
    "SELECT repeat('x', 10_000_000_000)",
    "SELECT count(*) FROM range(1_000_000_000_000) a, range(1_000_000) b",
    "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r) SELECT max(i) FROM r",
    "SELECT list(i) FROM range(10_000_000_000) t(i)",
    "SELECT a.similarity FROM trajectory a, trajectory b, trajectory c, trajectory d ORDER BY random()",
]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.txt").write_text("key,value\ntop,SECRET-VALUE\n")
    return folder


def test_there_are_enough_attacks() -> None:
    assert len(set(ATTACKS)) >= 60


@pytest.mark.timeout(120)
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_or_harmless(attack: str, results: Path, outside: Path) -> None:
    snapshot = queries.locate(results)
    before, listing = _digest(snapshot.path), _listing(results, outside)
    sql = attack.replace("{file}", str(outside / "secret.txt")).replace("{folder}", str(outside))
    start = time.monotonic()
    with pytest.raises(ConsoleError) as refused:
        console.run(snapshot, sql, seconds=2)
    assert time.monotonic() - start < 15
    assert "SECRET-VALUE" not in str(refused.value)
    assert "root:" not in str(refused.value)
    assert _digest(snapshot.path) == before
    assert _listing(results, outside) == listing
    assert len(console.run(snapshot, "SELECT * FROM study").rows) == 1


def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _listing(*folders: Path) -> set[str]:
    return {str(p) for folder in folders for p in folder.rglob("*")} | set(os.listdir("."))


@pytest.mark.parametrize("example", console.EXAMPLES, ids=lambda e: e.title)
def test_every_example_is_answered(example: console.Example, results: Path) -> None:
    answer = console.run(queries.locate(results), example.sql)
    assert len(answer.rows.columns) >= 2
    assert len(answer.rows) or "failure" in example.sql


def test_the_answer_is_right_and_cut(results: Path) -> None:
    snapshot = queries.locate(results)
    assert console.run(snapshot, "SELECT 40 + 2 AS n").rows["n"].tolist() == [42]
    many = console.run(snapshot, "SELECT * FROM range(50_000)")
    assert many.cut
    assert len(many.rows) == console.ROWS
    twice = console.run(snapshot, "SELECT 1 AS a, 2 AS a, 'x'::BLOB AS b, repeat('y', 9999) AS t")
    assert list(twice.rows.columns) == ["a", "a (2)", "b", "t"]
    assert twice.rows["b"].tolist() == ["1 bytes"]
    assert len(twice.rows["t"][0]) == console.CELL + 1
    for fine in (
        "DESCRIBE sample",
        "SUMMARIZE prompt",
        "SHOW TABLES",
        "EXPLAIN SELECT 1",
        "FROM model",
    ):
        assert len(console.run(snapshot, fine).rows)


def test_errors_are_shown(results: Path) -> None:
    with pytest.raises(ConsoleError, match="nonsense"):
        console.run(queries.locate(results), "SELECT nonsense FROM sample")
    with pytest.raises(ConsoleError, match="signs"):
        console.run(queries.locate(results), "SELECT 1 -- " + "x" * 30_000)


def test_the_view_answers_from_its_link(open_view: Open, results: Path) -> None:  # noqa: F811
    app = open_view("sql", results, q="SELECT step, mean FROM rollup_step ORDER BY step LIMIT 30")
    assert not app.exception
    assert any(len(frame.value) == 30 for frame in app.dataframe)
    assert charts_of(app)


def test_the_link_holds_the_charts_axes(open_view: Open, results: Path) -> None:  # noqa: F811
    app = open_view("sql", results, chart_x="samples", chart_by="model")
    assert not app.exception
    picked = [app.selectbox(key=f"chart_{key}").value for key in ("x", "y", "by")]
    assert picked == ["samples", "clip_score", "model"]
    app.text_area(key="q").set_value(
        "SELECT step, similarity FROM step CROSS JOIN range(2) r(similarity)"
    )
    app.run()
    assert not app.exception
    picked = [app.selectbox(key=f"chart_{key}").value for key in ("x", "y", "by")]
    assert picked == ["step", "similarity", "(none)"], "the columns of another answer"


def test_the_view_shows_an_error_and_goes_on(open_view: Open, results: Path) -> None:  # noqa: F811
    app = open_view("sql", results, q="DROP TABLE sample")
    assert not app.exception
    assert "Only statements that read are run" in shown(app)
    app.button(key="example_1").click().run()
    assert not app.exception
    assert "rollup_step" in app.text_area(key="q").value
    assert len(app.dataframe) >= 2


def test_hostile_column_names_and_texts(open_view: Open, hostile: Path) -> None:  # noqa: F811
    app = open_view("sql", hostile, q='SELECT text, words AS "a.b[0] <b>*x*" FROM prompt')
    assert not app.exception
    assert charts_of(app)


def test_names_mean_the_scorer_chosen_and_the_sandbox_stays(
    two_scorers: Path,
    outside: Path,
    open_view: Open,  # noqa: F811
) -> None:
    first = queries.locate(two_scorers)
    second = replace(first, scorer=2)
    sql = (
        "SELECT (SELECT avg(clip_score) FROM {0}) AS score, (SELECT count(*) FROM frame) AS frames"
    )
    plain, main, other = (
        console.run(second, sql.format(name)).rows for name in ("sample", "main.sample", "scorer_2.sample")
    )  # fmt: skip
    assert plain.equals(other) and not plain.equals(main)
    assert console.run(first, sql.format("sample")).rows.equals(main)
    for attack in (
        f"SELECT * FROM read_text('{outside / 'secret.txt'}')",
        "SET schema = 'main'",
        "USE scorer_2",
        "DROP SCHEMA scorer_2",
        "SET lock_configuration = false",
        f"ATTACH '{outside / 'new.duckdb'}'",
    ):
        with pytest.raises(ConsoleError):
            console.run(second, attack)
    columns = queries.ask(second, "columns")
    assert columns.equals(queries.ask(first, "columns"))
    assert not columns.duplicated(["table_name", "column_name"]).any()
    app = open_view("sql", two_scorers, scorer="ViT-B-32-openai", q=sql.format("sample"))
    assert not app.exception and "scorer_2 = ViT-B-32-openai" in shown(app).replace("\\", "")
    assert any(frame.value.equals(plain) for frame in app.dataframe)
