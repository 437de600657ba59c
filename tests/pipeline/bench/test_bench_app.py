"""The app's benchmark at small size: its study, what the server notes, and once in a real browser."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

from app.ui import timings
from tests import bench_app
from tests.support import big_study

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("big")
    assert big_study.build(path, 40) == 4 * 40 * 10 * 50
    return path


def test_the_study_has_something_to_find(folder: Path) -> None:
    assert big_study.build(folder, 40) == 80_000, "what is there is not made again"
    pointer = json.loads((folder / "current.json").read_text())
    assert pointer["number"] == 1
    with duckdb.connect(str(folder / pointer["snapshot"]), read_only=True) as con:
        answer = con.execute("SELECT count(*), avg((emergence_step > 0)::INT) FROM trajectory")
        rows, emerged = answer.fetchone() or (0, 0)
        scores = con.execute("SELECT avg(clip_score) FROM sample GROUP BY model_id").fetchall()
        roles = con.execute("SELECT min(json_array_length(roles, '$.attribute')) FROM prompt")
        assert roles.fetchone() == (2,)
    assert rows == 4 * 40 * 11 and emerged > 0.5
    assert len(set(scores)) == 4


def test_reruns_are_noted_where_a_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STEPSCOPE_TIMINGS", raising=False)
    with timings.noted("models"):
        pass
    notes = tmp_path / "notes.jsonl"
    monkeypatch.setenv("STEPSCOPE_TIMINGS", str(notes))
    with timings.noted("models"):
        pass
    with pytest.raises(ValueError), timings.noted("prompts"):
        raise ValueError
    first, second = (json.loads(line) for line in notes.read_text().splitlines())
    assert (first["view"], first["whole"]) == ("models", True)
    assert (second["view"], second["whole"]) == ("prompts", False)
    assert first["seconds"] >= 0 and first["cpu"] >= 0


def test_bars_are_of_all_changes_together() -> None:
    fast = bench_app.Waits(1.0, [0.5], [bench_app.Change("step", 0.1, 0.1)] * 39)
    slow = bench_app.Waits(1.0, [2.5], [bench_app.Change("step", 3.0, 1.0)])
    lines = bench_app.bars({"models": fast, "prompts": slow}, 1.0)
    assert [met for _, _, met in lines] == [False, True, True, True]
    assert (
        "| all |  | 1.50 s | 40 | 100 ms | 100 ms | 3000 ms | 100 ms | 100 ms |"
        in bench_app.table({"models": fast, "prompts": slow})
    )


@pytest.mark.browser
@pytest.mark.skipif(
    not (bench_app.CHROMIUM and bench_app.CHROMEDRIVER), reason="needs chromium and chromedriver"
)
def test_the_real_app_is_driven(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_app, "OPENED", 1)
    options = ["--prompts", "40", "--folder", str(folder), "--views", "prompts"]
    bench_app.main([*options, "--starts", "1", "--most", "1"])
    printed = capsys.readouterr().out
    assert "| prompts |" in printed
    assert "prompts: type search postcard" in printed
