"""Work units: an id changes exactly when the content would."""

from dataclasses import replace

from synthetic import plan_of, small_study


def ids(study):
    return [unit.unit_id for unit in plan_of(study)]


def test_ids_are_stable_and_distinct():
    study = small_study()
    assert ids(study) == ids(study)
    assert len(set(ids(study))) == len(plan_of(study)) == 2 * 2 * 2


def test_every_prompt_is_planned_once_per_model_and_seed():
    made = plan_of(small_study())
    seen = [(u.model.name, p.prompt_key, u.seed) for u in made for p in u.prompts]
    assert len(seen) == len(set(seen)) == made.samples


def test_what_decides_the_content_changes_the_id():
    study = small_study()
    before = set(ids(study))
    model = study.models[0]
    for changed in (
        replace(study, run=replace(study.run, batch_size=3)),
        replace(study, models=tuple(replace(m, steps=7) for m in study.models)),
        replace(study, models=tuple(replace(m, guidance=2.0) for m in study.models)),
        replace(study, seeds=(7, 8)),
        replace(study, measures=replace(study.measures, spectrum=False)),
    ):
        assert before.isdisjoint(ids(changed))
    assert ids(replace(study, models=(replace(model, label="other"), *study.models[1:]))) == ids(study)
    assert ids(replace(study, title="other")) == ids(study)


def test_units_are_found_by_number():
    made = plan_of(small_study())
    assert [made[i].unit_id for i in range(len(made))] == [u.unit_id for u in made]
    assert made[-1].unit_id == list(made)[-1].unit_id
