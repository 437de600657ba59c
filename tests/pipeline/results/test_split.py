"""Parts of a study: each work unit is in one part, whatever the order of the study, and costs are shared out."""

from dataclasses import replace

import pytest

from pipeline.errors import StoreError
from pipeline.results.split import Part, deal, parse_part, part_of_file, work_units_of
from pipeline.study.spec import ToolSpec
from tests.support.synthetic import plan_of, small_study


@pytest.fixture(scope="module")
def plan():
    return plan_of(small_study(models=3, prompts=24, seeds=3))


def ids(plan, of):
    return [{plan[position].unit_id for position in part} for part in deal(plan, of)]


@pytest.mark.parametrize("of", [1, 2, 5, 54, 60])
def test_each_work_unit_is_in_one_part_and_parts_are_as_long(plan, of):
    parts = deal(plan, of)
    assert sorted(position for part in parts for position in part) == list(range(len(plan)))
    sizes = [len(part) for part in parts]
    assert len(sizes) == of and max(sizes) - min(sizes) <= 1
    assert all(part == sorted(part) for part in parts), "a model is opened once"


def test_the_order_of_models_and_seeds_in_the_study_changes_no_part(plan):
    study = plan.study
    turned = replace(study, models=study.models[::-1], seeds=study.seeds[::-1])
    assert ids(plan, 7) == ids(plan_of(turned), 7)


def test_a_part_is_the_work_units_of_its_number(plan):
    parts = [work_units_of(plan, Part(4, number)) for number in (1, 2, 3, 4)]
    assert [{work_unit.unit_id for work_unit in part} for part in parts] == ids(plan, 4)


@pytest.mark.parametrize("of", [2, 3, 4])
def test_what_tools_look_at_is_shared_out(of):
    """One prompt block and one seed of each model is explained: dealt by position, one part would get all of it."""
    study = small_study(models=2, prompts=48, seeds=2, unit_prompts=2)
    tool = ToolSpec(steps=(0, 2), prompts=8, seeds=1)
    plan = plan_of(replace(study, measures=replace(study.measures, df_rise=tool)))
    explained = [
        sum(plan[i].seed == 0 and plan[i].prompts[0].position < 8 for i in part)
        for part in deal(plan, of)
    ]
    assert sum(explained) == 8 and max(explained) - min(explained) <= 1


@pytest.mark.parametrize("text", ["5/3", "0/3", "1/0", "3", "a/b", "-1/3", "1/3/5", "1/20000", "1 /3", "", "١/٣"])  # fmt: skip
def test_what_is_no_part_is_refused_in_one_line(text):
    with pytest.raises(
        StoreError, match=r"--part .*: no such part. Give I/N with 1 <= I <= N"
    ) as e:
        parse_part(text)
    assert "\n" not in str(e.value)


def test_names_of_files_tell_the_part():
    part = parse_part("3/16")
    assert (str(part), part.name) == ("3/16", "00003-of-00016")
    assert part_of_file(f"{part.name}.lock") == part
    assert part_of_file("starting.lock") is None
