"""A study with information per word: planned, priced, run twice with the same content, published."""

from dataclasses import replace

import duckdb
import pytest

from pipeline.database.publish import publish
from pipeline.engine.work import work_unit_calls
from pipeline.errors import StudyError
from pipeline.preflight.measures import check_measures, read_facts
from pipeline.study.plan import plan_study
from pipeline.study.spec import Measures, ToolSpec
from tests.support.causes import causes, run_twice

pytestmark = pytest.mark.long

STEPS = 3
INFORMATION = ToolSpec(prompts=1, options={"maps": True, "words": ("red", "of")})


def study_of(information=INFORMATION):
    return causes(Measures(information=information), STEPS)


def test_run_twice_with_the_same_content_and_published(tmp_path):
    plan = plan_study(study_of())
    (work_unit,) = plan
    assert work_unit.prompts[0].text.split().count("of") == 1
    assert work_unit_calls(plan, work_unit) == 2 * STEPS + 2 * STEPS + STEPS * (1 + 2)
    first = run_twice(study_of(), tmp_path)
    with duckdb.connect(str(publish(first).path), read_only=True) as db:
        rows = db.execute(
            "SELECT prompt_id, word, role, steps, density, nats, effect, change, octet_length(map) = 2 * height * width "
            "FROM information ORDER BY word"
        ).fetchall()
    assert [row[:3] for row in rows] == [(1, "of", "relation"), (1, "red", "attribute")]
    for _, _, _, steps, density, nats, effect, change, whole in rows:
        assert steps == [0, 1, 2] and min(density) >= 0 and nats > 0 and whole
        assert -2 <= effect <= 2 and 0 <= change <= 2


def test_units_with_other_information_have_another_id():
    assert plan_study(study_of(None))[0].unit_id != plan_study(study_of())[0].unit_id
    other = replace(INFORMATION, options={**INFORMATION.options, "draws": 2})
    assert plan_study(study_of(other))[0].unit_id != plan_study(study_of())[0].unit_id


def test_one_level_is_no_integral():
    study = study_of(ToolSpec(steps=(1,)))
    facts = read_facts(study.models[0])
    with pytest.raises(StudyError, match=r"measures.information.steps holds 1 of the 3 steps"):
        check_measures(study.measures, facts)
    assert check_measures(study_of().measures, facts) == []
