import json
from pathlib import Path

import duckdb
import numpy as np

from pipeline import bench_scale as bench
from pipeline.bench import table
from pipeline.database.publish import publish
from pipeline.progress import is_finished
from pipeline.shards import Results


def test_what_is_made_for_publishing_is_a_study_like_any_other(tmp_path):
    count = bench.write_similarities(tmp_path, 100_000)
    with duckdb.connect(publish(tmp_path).path, read_only=True) as con:
        found = con.execute(
            "SELECT sum(len(similarity)), count(DISTINCT concept_id) FROM trajectory"
        )
        assert found.fetchone() == (count, bench.CONCEPTS + 1)
        rising = con.execute("SELECT avg((rise > 0)::INT) FROM trajectory").fetchone()[0]
    assert count >= 100_000 and rising > 0.9


def test_planning_and_resuming_are_timed_on_the_whole_plan():
    (plan,), (resume,) = bench.bench_plan(2_000), bench.bench_resume(2_000)
    for result in (plan, resume):
        assert "2,000 units" in result.what and result.passed


def test_the_ledger_of_a_finished_study_is_believed(tmp_path):
    made = bench.million(300)
    bench.write_ledger(tmp_path, made)
    assert len(made) == 300
    lines = (tmp_path / "ledger.jsonl").read_text().splitlines()
    assert {json.loads(line)["unit_id"] for line in lines} == {unit.unit_id for unit in made}
    results = Results(tmp_path)
    assert all(is_finished(results, e) for e in results.read_ledger().entries.values())


def test_recording_is_told_as_a_ratio_and_shares():
    clock, plain = bench.Clock(), bench.Clock()
    clock.spent |= {
        "denoiser": 1.2,
        "attention": 0.05,
        "decoder": 0.3,
        "scorer": 0.2,
        "text encoder": 0.1,
        "storage": 0.1,
    }
    plain.spent |= {"denoiser": 1.0}
    ratio, outside = bench._recording_rows(2.0, 1.25, 2.0, clock, plain)
    assert ratio.ratio == "1.60x" and ratio.passed
    assert "denoiser 50%, attention 12%, decoder 15%, scorer 10%" in ratio.what
    assert outside.ours == "7.5%" and not outside.passed


def test_the_clock_counts_inner_work_once():
    clock = bench.Clock()
    inner = clock.wrap("inner", lambda: sum(range(200_000)))
    clock.wrap("outer", lambda: [inner() for _ in range(5)])()
    assert clock.spent["inner"] > 0 and clock.spent["outer"] < clock.spent["inner"]


def test_a_line_is_known_from_a_curve():
    sizes = (1, 2, 3, 4)
    straight = bench._line("prompts", sizes, [1 + 2.0 * n for n in sizes])
    bent = bench._line("prompts", sizes, list(np.exp(np.asarray(sizes, float))))
    assert straight.passed and not bent.passed
    assert straight.ours == "1.00 s + 2000.0 ms each"
    assert "| met |" in table([straight])


def test_big_folders_are_removed():
    with bench.big_folder() as folder:
        (folder / "x").write_text("x")
    assert not Path(folder).exists()
