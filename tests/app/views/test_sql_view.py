"""The SQL view: what it answers and refuses, and that a link alone runs nothing; tests/attacks has the statements."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app.database import console
from app.database.console import ConsoleError
from app.database.snapshots import Snapshot
from app.ui import queries
from tests.support.pages import Open, charts_of, shown


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.txt").write_text("key,value\ntop,SECRET-VALUE\n")
    return folder


def run(app: AppTest) -> AppTest:
    """The page once its reader has pressed Run."""
    app.button(key="run").click().run()
    assert not app.exception
    return app


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
    with pytest.raises(ConsoleError, match="characters"):
        console.run(queries.locate(results), "SELECT 1 -- " + "x" * 30_000)


def test_a_link_fills_the_editor_and_its_reader_runs_it(
    open_view: Open, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ask = console.run

    def note(snapshot: Snapshot, sql: str, **options: object) -> console.Answer:
        asked.append(sql)
        return ask(snapshot, sql, **options)

    monkeypatch.setattr(console, "run", note)
    sql = "SELECT step, mean FROM rollup_step ORDER BY step LIMIT 30"
    app = open_view("sql", results, q=sql)
    assert not app.exception and app.text_area(key="q").value == sql
    app.run()
    assert asked == [] and not charts_of(app) and "Press Run" in shown(app)
    run(app)
    assert asked == [sql]
    assert any(len(frame.value) == 30 for frame in app.dataframe)
    assert charts_of(app)


def test_the_link_holds_the_charts_axes(open_view: Open, results: Path) -> None:
    app = run(open_view("sql", results, chart_x="samples", chart_by="model"))
    picked = [app.selectbox(key=f"chart_{key}").value for key in ("x", "y", "by")]
    assert picked == ["samples", "clip_score", "model"]
    app.text_area(key="q").set_value(
        "SELECT step, similarity FROM step CROSS JOIN range(2) r(similarity)"
    )
    run(app)
    picked = [app.selectbox(key=f"chart_{key}").value for key in ("x", "y", "by")]
    assert picked == ["step", "similarity", "(none)"], "the columns of another answer"


def test_the_view_shows_an_error_and_goes_on(open_view: Open, results: Path) -> None:
    app = run(open_view("sql", results, q="DROP TABLE sample"))
    assert "Only statements that read are run" in shown(app)
    app.button(key="example_1").click().run()
    assert not app.exception
    assert "rollup_step" in app.text_area(key="q").value
    assert len(app.dataframe) >= 2


def test_hostile_column_names_and_texts(open_view: Open, hostile: Path) -> None:
    app = run(open_view("sql", hostile, q='SELECT text, words AS "a.b[0] <b>*x*" FROM prompt'))
    assert charts_of(app)


def test_names_mean_the_scorer_chosen_and_the_sandbox_stays(
    two_scorers: Path,
    outside: Path,
    open_view: Open,
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
    run(app)
    assert "scorer_2 = ViT-B-32-openai" in shown(app).replace("\\", "")
    assert any(frame.value.equals(plain) for frame in app.dataframe)


def test_an_answer_stays_while_the_statement_is_changed(open_view: Open, results: Path) -> None:
    app = run(open_view("sql", results, q="SELECT 41 AS n"))
    app.session_state["q"] = "SELECT 42 AS n"
    app.run()
    assert not app.exception
    assert any(frame.value.to_dict("list") == {"n": [41]} for frame in app.dataframe)
    assert "the statement run before" in shown(app)


def test_no_sql_turns_the_page_off(open_view: Open, results: Path) -> None:
    app = open_view("sql", "--no-sql", results, q="SELECT 1")
    assert not app.exception
    assert "started with --no-sql" in app.info[0].value
    assert not app.text_area and not app.dataframe
    assert not open_view("overview", "--no-sql", results).exception
