"""A study with critical windows: planned, run twice with the same content, published."""

from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from pipeline.database.publish import publish
from pipeline.engine.work import work_unit_calls
from pipeline.errors import StudyError
from pipeline.study.plan import plan_study
from pipeline.study.reading import load_study
from pipeline.study.spec import Measures, ToolSpec
from tests.support.causes import causes, run_twice

pytestmark = pytest.mark.long

STEPS = 3
WINDOWS = ToolSpec(
    steps=(1, 2), prompts=1, options={"judge": "data/models/scenes-judge", "redraws": 2}
)


def study_of(windows=WINDOWS):
    return causes(Measures(critical_windows=windows), STEPS)


def test_run_twice_with_the_same_content_and_published(tmp_path):
    plan = plan_study(study_of())
    assert [work_unit_calls(plan, work_unit) for work_unit in plan] == [
        2 * STEPS + STEPS + 2 * (2 + 1)
    ]
    first = run_twice(study_of(), tmp_path)
    with duckdb.connect(str(publish(first).path), read_only=True) as db:
        rows = db.execute(
            "SELECT prompt_id, step, family, redraws, kept, judged FROM redraw ORDER BY ALL"
        ).fetchall()
    assert {row[0] for row in rows} == {1} and {row[1] for row in rows} == {1, 2}
    assert {row[2] for row in rows} >= {"object", "colour", "texture"}
    assert all(row[3] == 2 for row in rows)
    judged = {row[2]: row[5] for row in rows if row[1] == 2}
    assert judged["colour"] in (0, 1, 2) and judged.get("count") is None
    assert all(0 <= row[4] <= 2 for row in rows if row[4] is not None)


def test_units_without_windows_keep_their_id():
    assert plan_study(study_of(None))[0].unit_id != plan_study(study_of())[0].unit_id
    other = replace(WINDOWS, options={**WINDOWS.options, "redraws": 3})
    assert plan_study(study_of(other))[0].unit_id != plan_study(study_of())[0].unit_id


def test_two_judges_are_refused(tmp_path):
    text = Path("data/studies/causes.toml").read_text()
    (tmp_path / "other").mkdir()
    path = tmp_path / "study.toml"
    ours = "[measures.critical-windows]\n"
    assert ours in text
    before, after = text.split(ours)
    path.write_text(before + ours + after.replace("data/models/scenes-judge", "other", 1))
    with pytest.raises(StudyError, match="is another one than that of switch"):
        load_study(path)
