import math
from itertools import pairwise

import pytest
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.diffusion.timesteps import (
    SCHEDULES,
    apply_schedule,
    check_timesteps,
    early_timesteps,
    late_timesteps,
    uniform_timesteps,
)
from pipeline.errors import ModelError


def test_late_is_the_papers_formula():
    delta = math.exp(math.log(1000) / (30 + 60))
    expected = [math.floor(delta ** (j + 60)) for j in range(29, 0, -1)]
    assert late_timesteps(30, 60) == [999, *expected]


def test_early_is_the_papers_formula():
    delta = math.exp(math.log(1000) / (30 + 60))
    expected = [1000 - math.floor(delta ** (j + 60)) for j in range(1, 30)]
    assert early_timesteps(30, 60) == [999, *expected]


def test_gamma_zero_means_uniform():
    assert early_timesteps(20, 0) == late_timesteps(20, 0) == uniform_timesteps(20)
    assert uniform_timesteps(20) == [999, *range(950, 0, -50)]


@given(steps=st.integers(1, 100), gamma=st.floats(30, 500))
@settings(max_examples=60, deadline=None)
def test_timesteps_decrease_within_range_or_are_refused(steps, gamma):
    for sample in (early_timesteps, late_timesteps):
        try:
            timesteps = sample(steps, gamma)
        except ModelError:
            continue
        assert len(timesteps) == steps
        assert timesteps[0] == 999
        assert all(a > b >= 0 for a, b in pairwise(timesteps))


def test_early_and_late_are_dense_where_they_say():
    early, late = early_timesteps(30, 60), late_timesteps(30, 60)
    assert sum(t > 500 for t in early) > sum(t > 500 for t in uniform_timesteps(30))
    assert sum(t < 500 for t in late) > sum(t < 500 for t in uniform_timesteps(30))


def test_coinciding_timesteps_are_refused():
    with pytest.raises(ModelError, match="larger gamma"):
        late_timesteps(50, 1)


@pytest.mark.parametrize(("steps", "gamma"), [(0, 60), (2000, 60), (10, -1)])
def test_impossible_numbers_are_refused(steps, gamma):
    with pytest.raises(ModelError):
        late_timesteps(steps, gamma)


@pytest.mark.parametrize("scheduler", [DPMSolverMultistepScheduler, EulerDiscreteScheduler])
@pytest.mark.parametrize("schedule", ["uniform", "early", "late"])
def test_the_scheduler_uses_the_custom_timesteps(scheduler, schedule):
    original = scheduler(use_karras_sigmas=True)
    chosen, call = apply_schedule(original, schedule, 60, 20, StableDiffusionPipeline)
    chosen.set_timesteps(timesteps=call["timesteps"])
    check_timesteps(chosen, call)
    assert [int(t) for t in chosen.timesteps] == call["timesteps"]
    assert original.config.use_karras_sigmas


def test_flow_matching_uses_the_custom_sigmas_unshifted():
    original = FlowMatchEulerDiscreteScheduler(shift=3.0)
    chosen, call = apply_schedule(original, "early", 60, 12, StableDiffusion3Pipeline)
    chosen.set_timesteps(sigmas=call["sigmas"])
    check_timesteps(chosen, call)
    assert float(chosen.timesteps[1]) == pytest.approx(early_timesteps(12, 60)[1])


def test_a_scheduler_that_used_others_is_found_out():
    scheduler = DPMSolverMultistepScheduler()
    scheduler.set_timesteps(20)
    with pytest.raises(ModelError, match="in place of"):
        check_timesteps(scheduler, {"timesteps": early_timesteps(20, 60)})


def test_a_scheduler_without_custom_timesteps_is_refused_by_name():
    with pytest.raises(ModelError, match="DDIMScheduler does not take custom timesteps"):
        apply_schedule(DDIMScheduler(), "late", 60, 20)


def test_a_pipeline_without_custom_timesteps_is_refused_by_name():
    with pytest.raises(ModelError, match="StableDiffusion3Pipeline does not take custom timesteps"):
        apply_schedule(DPMSolverMultistepScheduler(), "late", 60, 20, StableDiffusion3Pipeline)


@pytest.mark.parametrize("schedule", ["karras", "exponential", "beta"])
def test_sigma_schedules_switch_one_setting_on(schedule):
    scheduler = EulerDiscreteScheduler(use_karras_sigmas=schedule != "karras")
    chosen, call = apply_schedule(scheduler, schedule, None, 10)
    flags = [chosen.config[f"use_{name}_sigmas"] for name in ("karras", "exponential", "beta")]
    assert sum(flags) == 1
    assert chosen.config[f"use_{schedule}_sigmas"]
    chosen.set_timesteps(call["num_inference_steps"])
    assert len(chosen.timesteps) == 10


@pytest.mark.parametrize("schedule", ["trailing", "leading", "linspace"])
def test_spacings_reach_the_scheduler(schedule):
    chosen, _ = apply_schedule(DDIMScheduler(), schedule, None, 10)
    assert chosen.config.timestep_spacing == schedule


def test_default_leaves_everything_alone():
    scheduler = DDIMScheduler()
    assert apply_schedule(scheduler, "default", None, 7) == (scheduler, {"num_inference_steps": 7})


def test_what_a_scheduler_lacks_is_named():
    with pytest.raises(ModelError, match="use_karras_sigmas"):
        apply_schedule(DDIMScheduler(), "karras", None, 10)
    with pytest.raises(ModelError, match="timestep_spacing"):
        apply_schedule(FlowMatchEulerDiscreteScheduler(), "trailing", None, 10)


def test_an_unknown_schedule_lists_the_known_ones():
    with pytest.raises(ModelError, match="trailing"):
        apply_schedule(DDIMScheduler(), "sideways", None, 10)
    assert "sideways" not in SCHEDULES
