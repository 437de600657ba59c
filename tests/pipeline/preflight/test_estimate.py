"""Costs are counted from the plan; without weights there are counts only."""

from dataclasses import replace

from pipeline.engine.work import latent_rows
from pipeline.preflight.estimate import Cost, denoiser_calls, estimate, show
from pipeline.study.plan import Plan
from pipeline.study.spec import ToolSpec
from tests.support.synthetic import plan_of, small_study


def costed(model=None, **measures):
    """Calls of a study of 8 prompts, 2 seeds and 6 steps with some measures."""
    study = small_study(models=1)
    study = replace(study, measures=replace(study.measures, **measures))
    plan = plan_of(study)
    return denoiser_calls(plan, study.models[0]) - 8 * 2 * 6


def test_calls_of_sampling():
    plan = plan_of(small_study(models=1))
    assert denoiser_calls(plan, plan.study.models[0]) == 8 * 2 * 6


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
    drawn = {**options, "baselines": ("zero", "re-noised", "resampled")}
    assert costed(faithfulness=ToolSpec(steps=(2,), options=drawn)) == calls * (1 + 1 + 3)


def test_without_weights_there_are_counts_only():
    plan = plan_of(small_study())
    models = tuple(replace(model, source="owner/model") for model in plan.study.models)
    plan = Plan(replace(plan.study, models=models), plan.revisions, plan.prompts, plan.bank)
    costs = estimate(plan)
    assert [cost.calls for cost in costs] == [96, 96]
    assert all(cost.seconds is None and cost.bytes is None for cost in costs)
    assert show(costs).count("unknown") == 4 and "counts only" in show(costs)


def test_the_table_shows_readable_sizes():
    table = show([Cost("m", 10, 1_000, 20_000, 7_200.0, 3_500_000_000)])
    assert "2.0 h" in table and "3.5 GB" in table and "20,000" in table
