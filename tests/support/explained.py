"""Runs of the bundled models with tools looking on, for the tests of the tools."""

from __future__ import annotations

from contextlib import ExitStack

from pipeline.diffusion.generate import count_calls, generate
from pipeline.diffusion.watch import Batch, Watch
from pipeline.explain import make_observers
from pipeline.models import loading
from pipeline.study.prompts import Prompt
from pipeline.study.spec import ModelSpec, ToolSpec

NAMES = ["scenes-unet", "scenes-dit"]
TEXTS = ("a dog on a plain red background", "a cat left of a rocket on a plain red background")
ROLES = {"subject": ("cat",), "relation": ("left of",), "object": ("rocket",)}
PROMPTS = tuple(Prompt(f"k{i}", text, "test", "", ROLES, i) for i, text in enumerate(TEXTS))
LAST = ToolSpec(steps=(2,))
FIRST = ToolSpec(steps=(1,), prompts=1)


def spec(name, **options):
    return ModelSpec(name, name, f"data/models/{name}", **{"steps": 3, "guidance": 3.0} | options)


def explained(pipeline, scorer, measures, model, prompts=PROMPTS):
    total = count_calls(pipeline.scheduler, model.steps, {})
    family = loading.family_of(pipeline)
    guided, scale = model.guidance > 1, model.guidance
    batch = Batch(prompts, 0, pipeline, family, scorer, total, guided, scale)
    observers = make_observers(measures, batch)
    with ExitStack() as stack:
        for observer in observers:
            if hasattr(observer, "__enter__"):
                stack.enter_context(observer)
        stack.enter_context(Watch(batch, observers))
        image = generate(pipeline, model, prompts, 0, {})
    columns = [
        {k: v for o in observers for k, v in o.columns(i).items()} for i in range(len(prompts))
    ]
    return image, columns


class AtStep:
    """Observer that calls a function at one step."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def on_step(self, view):
        if view.step == self.step:
            self.act(view)

    def columns(self, item):
        return {}


def at_step(pipeline, scorer, model, act, step=1):
    total = count_calls(pipeline.scheduler, model.steps, {})
    batch = Batch(PROMPTS, 0, pipeline, loading.family_of(pipeline), scorer, total, True)
    with Watch(batch, [AtStep(step, act)]):
        generate(pipeline, model, PROMPTS, 0, {})
