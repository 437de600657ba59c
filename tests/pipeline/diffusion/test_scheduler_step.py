"""A step taken again by a copy of the scheduler is the step that was taken, to the bit, history and noise included."""

import diffusers
import pytest
import torch

from pipeline.diffusion.denoiser import Packing
from pipeline.diffusion.scheduler_step import remember_step
from pipeline.errors import ModelError
from tests.support.schedulers import FLOW, KARRAS, OTHERS, make

ACROSS_THE_BATCH = {"DPMSolverSDEScheduler", "CosineDPMSolverMultistepScheduler"}
NAMES = [(n, "epsilon") for n in KARRAS + OTHERS if n not in ACROSS_THE_BATCH]
NAMES += [(n, "flow") for n in FLOW]
NAMES += [("DPMSolverMultistepScheduler", "stochastic")]


def scheduler_of(name, prediction):
    if prediction == "stochastic":
        return diffusers.DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++")
    return make(name, prediction)


def steps_of(scheduler, steps=6):
    """Each step that was taken: (it again, x_t, prediction, what followed). Three samples, as many generators."""
    network = torch.Generator().manual_seed(1)
    scheduler.set_timesteps(steps)
    generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
    takes = "generator" in scheduler.step.__code__.co_varnames
    extra = {"generator": generators} if takes else {}
    x = torch.randn(3, 4, 8, 8, generator=network) * getattr(scheduler, "init_noise_sigma", 1.0)
    for t in scheduler.timesteps:
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(x, t)
        v = torch.randn(x.shape, generator=network)
        again = remember_step(scheduler, x, t, (), extra)(Packing())
        following = scheduler.step(v, t, x, **extra).prev_sample
        yield again, x, v, following
        x = following


@pytest.mark.parametrize(("name", "prediction"), NAMES)
def test_the_same_latents_lead_to_the_same_next_step(name, prediction):
    for again, x, v, following in steps_of(scheduler_of(name, prediction)):
        for item in range(3):
            two = again(x[item].expand(2, -1, -1, -1), v[item].expand(2, -1, -1, -1), item)
            assert torch.equal(two[0], following[item])
            assert torch.equal(two[1], following[item])


def test_the_history_is_part_of_the_step():
    """The third step of a multistep solver is not that of a solver that begins there."""
    again, x, v, following = list(steps_of(diffusers.DPMSolverMultistepScheduler()))[2]
    begun = diffusers.DPMSolverMultistepScheduler()
    begun.set_timesteps(6)
    alone = begun.step(v, again.timestep, x).prev_sample
    assert (alone - following).abs().max() > 0.05
    other = again(x[:1], v[1:2], 0)
    assert (other - again(x[:1], v[1:2], 1)).abs().max() > 0.05, "the history of another item"


def test_a_step_taken_again_leaves_scheduler_and_noise_as_they_were():
    plain = [f for _, _, _, f in steps_of(scheduler_of("", "stochastic"))]
    watched = []
    for again, x, v, following in steps_of(scheduler_of("", "stochastic")):
        state = torch.get_rng_state()
        again(x[:2], v[:2], 1)
        assert torch.equal(torch.get_rng_state(), state)
        watched.append(following)
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))


def test_noise_drawn_for_the_whole_batch_is_refused():
    (again, x, v, _), *_ = steps_of(make("DPMSolverSDEScheduler", "epsilon"), steps=2)
    with pytest.raises(ModelError, match="DPMSolverSDEScheduler draws its noise"):
        again(x[:1], v[:1], 0)
