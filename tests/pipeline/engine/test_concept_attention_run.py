"""A study with ConceptAttention: planned, priced, run twice with the same content, published; the images stay the same."""

from dataclasses import replace

import duckdb
import numpy as np
import pytest

from pipeline.database.publish import publish
from pipeline.engine import run as engine
from pipeline.engine.work import work_unit_calls
from pipeline.errors import StudyError
from pipeline.preflight.prepare import check_listed_concepts
from pipeline.results.folder import Results
from pipeline.results.shards import read_shard
from pipeline.study.plan import plan_study
from pipeline.study.spec import Measures, ToolSpec
from tests.support.causes import causes, run_twice

pytestmark = pytest.mark.long

STEPS = 2
ASKED = ToolSpec(steps=(1,), prompts=1, options={"maps": True})


def study_of(spec=ASKED):
    return causes(Measures(concept_attention=spec), STEPS, model="scenes-dit", batch_size=2)


def test_run_twice_with_the_same_content_and_published(tmp_path):
    plan = plan_study(study_of())
    assert [work_unit_calls(plan, work_unit) for work_unit in plan] == [2 * STEPS + 1]
    first, plain = run_twice(study_of(), tmp_path), tmp_path / "plain"
    engine.run(plan_study(study_of(None)), plain, "cpu")
    ids = {out: list(Results(out).read_ledger().entries) for out in (first, plain)}
    assert ids[first] != ids[plain]
    images = [
        read_shard(Results(out).shard(unit_id), ["image"])["image"].to_pylist()
        for out, (unit_id,) in ids.items()
    ]
    assert images[0] == images[1]  # to the bit, with and without
    with duckdb.connect(str(publish(first).path), read_only=True) as db:
        rows = db.execute(
            "SELECT prompt_id, split_part(concept, '/', 1), layer_group, steps, sum(share[1]), max(peak[1]) "
            "FROM concept_attention GROUP BY ALL"
        ).fetchall()
        maps = db.execute(
            "SELECT word FROM explanation WHERE method = 'concept-attention' ORDER BY word"
        ).fetchall()
        named = db.execute(
            "SELECT family || '/' || name FROM mention JOIN concept USING (concept_id) WHERE prompt_id = 1 ORDER BY ALL"
        ).fetchall()
    assert {row[0] for row in rows} == {1} and all(row[3] == [1] for row in rows)
    assert {row[2] for row in rows} == {"all", "blocks 0-1", "blocks 2-3", "blocks 4-5"}
    assert np.allclose([row[4] for row in rows], 1, atol=1e-4)
    assert maps == named and len(maps) >= 2  # what the prompt names, unless concepts are listed


def test_a_concept_that_the_bank_lacks_is_refused():
    listed = replace(ASKED, options={"maps": True, "concepts": ("dog", "unicorn")})
    with pytest.raises(StudyError, match="concepts holds 'unicorn', which is not in the bank"):
        check_listed_concepts(plan_study(study_of(listed)))
    check_listed_concepts(
        plan_study(study_of(replace(ASKED, options={"concepts": ("dog", "colour/red")})))
    )
