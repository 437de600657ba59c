"""A study with prompt switching: planned, run, resumed with the same content, published."""

import shutil
from dataclasses import replace

import duckdb
import pytest

from pipeline.database.publish import publish
from pipeline.engine import run as engine
from pipeline.engine.work import work_unit_calls
from pipeline.errors import StudyError
from pipeline.preflight.estimate import denoiser_calls
from pipeline.preflight.prepare import check_pairs
from pipeline.results.folder import Results
from pipeline.results.record import load_plan
from pipeline.study.plan import JUDGE, plan_study
from pipeline.study.reading import load_study
from pipeline.study.spec import Measures, ToolSpec

pytestmark = pytest.mark.long

STEPS, SWITCH = 3, ToolSpec(steps=(1,), prompts=1, options={"judge": "data/models/scenes-judge"})


def study_of(switch=SWITCH, **prompts):
    study = load_study("data/studies/causes.toml")
    model = replace(study.models[0], steps=STEPS)
    return replace(
        study,
        models=(model,),
        prompts=replace(study.prompts, limit=2, **prompts),
        measures=Measures(switch=switch),
        run=replace(study.run, unit_prompts=1, batch_size=4),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("switch") / "run"
    engine.run(plan_study(study_of()), path, "cpu")
    return path


def test_only_what_is_switched_changes_a_unit():
    """The first of two units is switched: its id follows its bases and its judge, the other's does not."""
    plan = plan_study(study_of())
    other = replace(plan.prompts[0], bases={"colour": "another base"})
    changed = replace_prompts(plan, (other, plan.prompts[1]))
    assert changed[0].unit_id != plan[0].unit_id and changed[1].unit_id == plan[1].unit_id
    unswitched = plan_study(study_of(switch=None))
    without = replace_prompts(unswitched, tuple(replace(p, bases={}) for p in plan.prompts))
    assert [u.unit_id for u in without] == [u.unit_id for u in unswitched]
    judged = replace(plan.revisions, models={**plan.revisions.models, JUDGE: "sha256:x"})
    assert type(plan)(plan.study, judged, plan.prompts, plan.bank)[0].unit_id != plan[0].unit_id


def replace_prompts(plan, prompts):
    return type(plan)(plan.study, plan.revisions, prompts, plan.bank)


def test_the_price_is_that_of_the_steps():
    plan = plan_study(study_of())
    switched = 4 * (2 * STEPS + 2 * (STEPS - 1))  # four bases, both plain images, two branches each
    assert [work_unit_calls(plan, work_unit) for work_unit in plan] == [STEPS + switched, STEPS]
    assert denoiser_calls(plan, plan.study.models[0]) == 2 * STEPS + switched


def test_nothing_to_switch_is_refused():
    plan = plan_study(study_of(ToolSpec(options={"bases": ("size",)})))
    with pytest.raises(StudyError, match="measures.switch finds no prompt to switch from"):
        check_pairs(plan)
    check_pairs(plan_study(study_of()))


def test_published_and_resumed_with_the_same_content(folder, tmp_path):
    entries = Results(folder).read_ledger().entries
    stored = {key: entry.content_sha256 for key, entry in entries.items()}
    assert {entry.status for entry in entries.values()} == {"done"}
    loaded = load_plan(Results(folder))
    assert [u.unit_id for u in loaded] == list(stored) and loaded.prompts[0].bases
    path = publish(folder).path
    with duckdb.connect(str(path), read_only=True) as db:
        counts = db.execute(
            "SELECT direction, step, count(*), count(DISTINCT differs), count(judged) FROM switch GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        assert counts == [(d, s, 4, 4, 4) for d in ("insert", "remove") for s in (0, 1, STEPS)]
        pictures = db.execute("SELECT count(*) FROM switch_image").fetchone()
        assert pictures == (24,)
        concepts = db.execute(
            "SELECT count(*) FROM switch JOIN concept ON concept = family || '/' || name WHERE differs = family"
        ).fetchone()
        assert concepts == (18,)  # all but the relation, which the bank does not have by that name
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    first = next(iter(stored))
    (again / "shards" / f"{first}.parquet").unlink()  # as after a kill
    engine.run(plan_study(study_of()), again, "cpu")
    assert {k: e.content_sha256 for k, e in Results(again).read_ledger().entries.items()} == stored
