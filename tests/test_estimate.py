"""Costs are counted from the plan; without weights there are counts only."""

from dataclasses import replace

from synthetic import plan_of, small_study

from pipeline.estimate import Cost, denoiser_calls, estimate, latent_rows, show
from pipeline.plan import Plan
from pipeline.study import ToolSpec


def costed(model=None, **measures):
    """Calls of a study of 8 prompts, 2 seeds and 6 steps with some measures."""
    study = small_study(models=1)
    study = replace(study, measures=replace(study.measures, **measures))
    made = plan_of(study)
    return denoiser_calls(made, study.models[0]) - 8 * 2 * 6


def test_calls_of_sampling():
    made = plan_of(small_study(models=1))
    assert denoiser_calls(made, made.study.models[0]) == 8 * 2 * 6


def test_calls_of_tools():
    assert costed(attention=ToolSpec()) == 0
    assert costed(df_rise=ToolSpec(steps=(3,), options={"masks": 50})) == 16 * 50
    assert costed(df_rise=ToolSpec(steps=(3,), prompts=2, options={"masks": 50})) == 4 * 50
    assert costed(df_rise=ToolSpec(steps=(3,), seeds=1, options={"masks": 50})) == 8 * 50
    assert costed(df_rise=ToolSpec(steps=(3,), models=("other",))) == 0
    assert costed(lime=ToolSpec(stride=5)) == 16 * 2 * 1000
    assert costed(df_cam=ToolSpec()) == 16 * 6 * 3


def test_calls_of_insertion_and_deletion():
    options = {"methods": ("df-cam",), "games": ("deletion",)}
    rows = latent_rows(small_study().models[0])
    calls = costed(faithfulness=ToolSpec(steps=(2,), options=options))
    assert calls == 16 * 3 * (rows + 1)  # the map, its inverse, a random one


def test_without_weights_there_are_counts_only():
    made = plan_of(small_study())
    models = tuple(replace(model, source="owner/model") for model in made.study.models)
    made = Plan(replace(made.study, models=models), made.revisions, made.prompts, made.bank)
    costs = estimate(made)
    assert [cost.calls for cost in costs] == [96, 96]
    assert all(cost.seconds is None and cost.bytes is None for cost in costs)
    assert show(costs).count("unknown") == 4 and "counts only" in show(costs)


def test_the_table_shows_readable_sizes():
    table = show([Cost("m", 10, 1_000, 20_000, 7_200.0, 3_500_000_000)])
    assert "2.0 h" in table and "3.5 GB" in table and "20,000" in table
