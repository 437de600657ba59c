"""Every scheduler that diffusers lists for a family: x0 derived and checked, and really run where it can be."""

import diffusers
import pytest
import torch

from pipeline.__main__ import main
from pipeline.diffusion.observers import StepObserver
from pipeline.errors import ModelError
from pipeline.models import loading
from pipeline.preflight.models import inspect_model
from pipeline.preflight.schedulers import (
    STEPS,
    check_named,
    compatible,
    drive,
    table,
    try_all,
    try_one,
)
from pipeline.study.spec import Measures
from tests.support.families import KNOWN, prompts_of, spec, watch
from tests.support.tiny_pipelines import folder_of

pytestmark = pytest.mark.long

SECOND_ORDER = {
    "DPMSolverSDEScheduler", "HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler",
}  # fmt: skip
RETURN_THEIR_OWN = {
    "DDIMScheduler", "DDPMScheduler", "LMSDiscreteScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler",
    "EDMEulerScheduler", "SCMScheduler", *SECOND_ORDER,
}  # fmt: skip

REASONS = (
    "needs noise scaled",
    "was trained for",
    "cannot be set up",
    "must match the size of tensor",  # DPMSolver takes a learned variance for pixels only
)


# Their schedulers, kinds of prediction and latents are those of a family that is tried at every run.
ALIKE = {"sd-turbo", "lcm", "sd3-no-t5", "sd35", "flux-schnell", "pixart-sigma"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.thorough if n in ALIKE else []) for n in KNOWN],
)
def test_every_listed_scheduler_is_usable_and_right_or_refused(root, name):
    model = inspect_model(spec(name))
    rows = {row.name: row for row in try_all(model)}
    assert list(rows) == compatible(model)
    assert rows[model.index["scheduler"][1]].is_own
    for row in rows.values():
        if row.reason:
            assert [why for why in REASONS if why in row.reason], row.reason
            continue
        assert row.derived, row
        second = row.name in SECOND_ORDER
        most = 21 if row.name == "PNDMScheduler" else STEPS  # PNDM may start with Runge-Kutta steps
        assert row.calls == 2 * STEPS - 1 if second else STEPS <= row.calls <= most
        assert (row.order == 2) == second
        assert (row.x0_gap is not None) == (row.name in RETURN_THEIR_OWN)
    usable = [row for row in rows.values() if not row.reason]
    assert usable and rows[model.index["scheduler"][1]] in usable


def runs():
    """Every scheduler with one model, and by turns with two others; with all of them under the marker `thorough`."""
    karras = sorted({kind.name for kind in diffusers.schedulers.KarrasDiffusionSchedulers})
    yield from (("sd-epsilon", kind) for kind in karras)
    for number, kind in enumerate(karras):
        for turn, name in enumerate(("dit", "sana")):
            marks = [] if number % 2 == turn else pytest.mark.thorough
            yield pytest.param(name, kind, marks=marks)
    yield from (("kandinsky22", kind) for kind in ("DDIMScheduler", "DDPMScheduler"))
    yield from (("flux-dev", kind) for kind in ("FlowMatchEulerDiscreteScheduler",))


@pytest.mark.parametrize(("name", "kind"), list(runs()))
def test_a_run_with_it_is_watched_whole(root, name, kind):
    row = try_one(inspect_model(spec(name)), kind)
    model = spec(name, scheduler=kind, steps=4)
    if row.reason:
        return
    pipeline = loading.open_pipeline(model, torch.device("cpu"))
    assert type(loading.stage_of(pipeline).scheduler).__name__ == kind
    run = watch(name, pipeline, model, prompts_of(name)[:1], Measures())
    assert torch.equal(run.plain, run.watched)
    assert len(run.views) == run.views[0].total_steps
    calls = [view.call for view in run.views]
    assert calls == ([1, 2, 1, 2, 1, 2, 1] if kind in SECOND_ORDER else [1] * len(calls))
    for view, replay in zip(run.views, run.replays, strict=True):
        assert torch.equal(replay, view.prediction)


def test_second_order_steps_are_recorded_as_what_they_are(root):
    steps, model = StepObserver(), spec("sd-epsilon", scheduler="HeunDiscreteScheduler", steps=3)
    pipeline = loading.open_pipeline(model, torch.device("cpu"))
    run = watch("sd-epsilon", pipeline, model, prompts_of("sd-epsilon")[:1], Measures())
    for view in run.views:
        steps.on_step(view)
    assert [(row["step"], row["call"]) for row in steps.columns(0)["steps"]] == [
        (0, 1),
        (1, 2),
        (2, 1),
        (3, 2),
        (4, 1),
    ]


def test_a_wrong_noise_level_would_be_seen(root, monkeypatch):
    from pipeline.diffusion.noise import NoiseLevel
    from pipeline.preflight import schedulers

    right = schedulers.noise_level

    def wrong(scheduler, timestep):
        level = right(scheduler, timestep)
        return NoiseLevel(level.alpha * 0.98, level.sigma, level.kind)

    monkeypatch.setattr(schedulers, "noise_level", wrong)
    row = try_one(inspect_model(spec("sd-epsilon")), "DDIMScheduler")
    assert not row.derived
    assert "**off by" in table([row])


def test_a_drive_is_the_same_twice(root):
    scheduler = diffusers.DDPMScheduler()
    first, second = (
        list(drive(scheduler, lambda _, x: torch.zeros_like(x), 3))[-1][3].prev_sample
        for _ in range(2)
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", ["sd-epsilon", "sd3", "kandinsky22"])
def test_the_command_prints_the_table(root, capsys, name):
    assert main(["schedulers", str(folder_of(name, root))]) == 0
    shown = capsys.readouterr().out
    assert "(its own)" in shown and "custom timesteps" in shown
    assert shown.count("Scheduler") >= len(compatible(inspect_model(spec(name))))


def test_the_command_says_what_is_wrong(root, tmp_path, capsys):
    assert main(["schedulers", str(tmp_path)]) == 2
    assert "no model_index.json" in capsys.readouterr().err
    assert main(["schedulers", "./absent"]) == 2
    assert "no folder" in capsys.readouterr().err


def test_a_scheduler_that_fails_by_itself_is_refused(root):
    check_named(inspect_model(spec("kandinsky22", scheduler="DDIMScheduler")))
    with pytest.raises(
        ModelError, match="DPMSolverMultistepScheduler' cannot be used: .* lists those"
    ):
        check_named(inspect_model(spec("kandinsky22", scheduler="DPMSolverMultistepScheduler")))
    with pytest.raises(ModelError, match="cannot be set up"):
        check_named(inspect_model(spec("sdxl", scheduler="EDMEulerScheduler")))


def test_a_model_without_a_scheduler(root):
    from dataclasses import replace

    model = inspect_model(spec("sd-epsilon"))
    bare = {name: config for name, config in model.configs.items() if name != "scheduler"}
    with pytest.raises(ModelError, match="no scheduler of its own"):
        compatible(replace(model, configs=bare))
