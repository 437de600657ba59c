import json
import re
from pathlib import Path

import duckdb
import numpy as np
import pytest

from pipeline.bench import folders, imports, recording, scale, studies
from pipeline.bench.tools import table
from pipeline.database.publish import publish
from pipeline.engine.progress import is_finished
from pipeline.results.folder import Results
from tests.support import by_turns

pytestmark = pytest.mark.long


def test_what_is_made_for_publishing_is_a_study_like_any_other(tmp_path):
    count = folders.write_similarities(tmp_path, 100_000)
    with duckdb.connect(publish(tmp_path).path, read_only=True) as con:
        rows = con.execute(
            "SELECT sum(len(similarity)), count(DISTINCT concept_id) FROM trajectory"
        )
        assert rows.fetchone() == (count, studies.CONCEPTS + 1)
        rising = con.execute("SELECT avg((rise > 0)::INT) FROM trajectory").fetchone()[0]
    assert count >= 100_000 and rising > 0.9


def test_planning_and_resuming_are_timed_on_the_whole_plan():
    (plan,), (resume,) = scale.bench_plan(300), scale.bench_resume(300)
    for result in (plan, resume):
        assert "300 units" in result.what
        assert result.passed == (float(result.ours.removesuffix(" s")) <= 10)


def test_the_ledger_of_a_finished_study_is_believed(tmp_path):
    plan = scale.million(300)
    folders.write_ledger(tmp_path, plan)
    assert len(plan) == 300
    lines = (tmp_path / "ledger.jsonl").read_text().splitlines()
    assert {json.loads(line)["unit_id"] for line in lines} == {
        work_unit.unit_id for work_unit in plan
    }
    results = Results(tmp_path)
    assert all(is_finished(results, e) for e in results.read_ledger().entries.values())


def test_recording_is_told_as_a_ratio_and_shares():
    clock, plain = recording.Clock(), recording.Clock()
    clock.spent |= {
        "denoiser": 1.2,
        "attention": 0.05,
        "decoder": 0.3,
        "scorer": 0.2,
        "text encoder": 0.1,
        "storage": 0.1,
    }
    plain.spent |= {"denoiser": 1.0}
    ratio, outside = recording.recording_rows(2.0, 1.25, 2.0, clock, plain)
    assert ratio.ratio == "1.60x" and ratio.passed
    assert "denoiser 50%, attention 12%, decoder 15%, scorer 10%" in ratio.what
    assert outside.ours == "7.5%" and not outside.passed


def test_the_clock_counts_inner_work_once():
    clock = recording.Clock()
    inner = clock.wrap("inner", lambda: sum(range(200_000)))
    clock.wrap("outer", lambda: [inner() for _ in range(5)])()
    assert clock.spent["inner"] > 0 and clock.spent["outer"] < clock.spent["inner"]


def test_a_line_is_known_from_a_curve():
    sizes = (1, 2, 3, 4)
    straight = scale.fitted_line("prompts", sizes, [1 + 2.0 * n for n in sizes])
    bent = scale.fitted_line("prompts", sizes, list(np.exp(np.asarray(sizes, float))))
    assert straight.passed and not bent.passed
    assert straight.ours == "1.00 s + 2000.0 ms each"
    assert "| met |" in table([straight])


def test_big_folders_are_removed():
    with folders.big_folder() as folder:
        (folder / "x").write_text("x")
    assert not Path(folder).exists()


def test_an_import_is_told_against_plain_decoding(monkeypatch):
    monkeypatch.setattr(imports, "SIDE", 64)
    reading, complete, scored, *by_clock = imports.bench_imports(12)
    assert reading.what.startswith("12 JPEG of 64 px") and reading.wanted == "at least 0.8x"
    assert [row.what.endswith("by the clock") for row in by_clock] == [True, True]
    for row in (reading, complete, scored, *by_clock):
        ours, plain = (float(text.split()[0]) for text in (row.ours, row.plain))
        assert ours > 0 and plain > 0 and row.ratio.endswith("x")
    assert complete.wanted == "at least 0.6x" and scored.passed is None


def test_an_import_of_very_many_images_scores_a_part(monkeypatch):
    monkeypatch.setattr(imports, "SIDE", 64)
    monkeypatch.setattr(imports, "SCORED", 8)
    scored = imports.bench_imports(40)[2]
    assert "8 images" in scored.what and float(scored.ours.split()[0]) > 0


@pytest.mark.parametrize("what", ["plan", "resume"])
def test_two_checkouts_answer_by_turns(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each side is asked once a turn, and the first answer is not counted."""
    assert by_turns.main([str(by_turns.ROOT), what, "--units", "50", "--turns", "2"]) == 0
    assert re.fullmatch(
        r"before [\d.]+ s, after [\d.]+ s, ratio [\d.]+ \(standard error [\d.]+\), 2 turns\n",
        capsys.readouterr().out,
    )


def test_the_ratio_is_that_of_the_means() -> None:
    assert by_turns.compared([1.0, 3.0], [2.0, 3.0]) == (
        "before 2.00 s, after 2.50 s, ratio 1.250 (standard error 0.500), 2 turns"
    )
