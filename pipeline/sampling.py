"""Runs work units: diffusers' own pipeline on batches of prompts, watched, one row of the shard per sample."""

from __future__ import annotations

import copy
import inspect
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from torch import Tensor

from pipeline import models
from pipeline.concepts import ConceptBank
from pipeline.explain import make_observers
from pipeline.observe import (
    Batch,
    ConceptObserver,
    FrameObserver,
    Observer,
    StepObserver,
    StepView,
    Watch,
    encode,
)
from pipeline.plan import WorkUnit
from pipeline.prompts import Prompt
from pipeline.scorer import Scorer
from pipeline.study import ModelSpec, Study
from pipeline.timesteps import apply_schedule

OnStep = Callable[[int], None]


class Worker:
    """One loaded model and scorer, ready to run the work units of that model.

    Raises:
        ModelError: the model, its scheduler or the scorer cannot be loaded (before any sampling).
    """

    def __init__(
        self, study: Study, model: ModelSpec, bank: ConceptBank, device: str = "auto"
    ) -> None:
        self.study = study
        self.model = model
        self.device = models.choose_device(device)
        self.pipeline = models.open_pipeline(model, self.device)
        self.family = models.family_of(self.pipeline)
        self.pipeline.scheduler, self._schedule = apply_schedule(
            self.pipeline.scheduler, model.schedule, model.gamma, model.steps, type(self.pipeline)
        )
        self.total_steps = count_calls(self.pipeline.scheduler, model.steps, self._schedule)
        self.scorer = Scorer(study.scorer, self.device)
        self._names = [f"{concept.family}/{concept.name}" for concept in bank.concepts]
        self._concepts = torch.stack([self.scorer.concept(c.phrasings) for c in bank.concepts])
        self.description = {
            **models.describe(self.pipeline, model),
            "device": str(self.device),
            "total_steps": self.total_steps,
        }

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        del self.pipeline, self.scorer

    def run(self, unit: WorkUnit, on_step: OnStep | None = None) -> list[dict[str, Any]]:
        """Sample, observe and explain a unit's prompts: one row each, in order, also for those that fail.

        A batch that raises is run again item by item, so that only the items at fault fail. A batch's noise comes from
        one generator per item, so its size changes an image by float rounding at most.
        """
        size = self.study.run.batch_size
        rows: list[dict[str, Any]] = []
        for start in range(0, len(unit.prompts), size):
            prompts = unit.prompts[start : start + size]
            rows += self._rows(unit, prompts, on_step)
        return rows

    def _rows(
        self, unit: WorkUnit, prompts: Sequence[Prompt], on_step: OnStep | None
    ) -> list[dict[str, Any]]:
        try:
            return self._sample(unit, prompts, on_step)
        except Exception as error:
            if len(prompts) > 1:
                return [row for prompt in prompts for row in self._rows(unit, [prompt], on_step)]
            return [_row(unit, prompts[0], status="failed", error=_describe_error(error))]

    def _sample(
        self, unit: WorkUnit, prompts: Sequence[Prompt], on_step: OnStep | None
    ) -> list[dict[str, Any]]:
        started = time.perf_counter()
        batch = self._batch(unit, prompts)
        observers = self._observers(batch)
        if on_step is not None:
            observers.append(_Progress(on_step, len(prompts)))
        with ExitStack() as stack:
            for observer in observers:
                if isinstance(observer, AbstractContextManager):
                    stack.enter_context(observer)
            stack.enter_context(Watch(batch, observers))
            images = generate(self.pipeline, self.model, prompts, unit.seed, self._schedule)
        scores = self._clip_scores(images, prompts)
        seconds = (time.perf_counter() - started) / len(prompts)
        return [
            _row(
                unit,
                prompt,
                notice=self._notice(prompt),
                seconds=seconds,
                width=images.shape[-1],
                height=images.shape[-2],
                clip_score=float(scores[i]),
                image=encode(images[i]),
                **{k: v for observer in observers for k, v in observer.columns(i).items()},
            )
            for i, prompt in enumerate(prompts)
        ]

    def _batch(self, unit: WorkUnit, prompts: Sequence[Prompt]) -> Batch:
        return Batch(
            prompts=tuple(prompts),
            seed=unit.seed,
            pipeline=self.pipeline,
            family=self.family,
            scorer=self.scorer,
            total_steps=self.total_steps,
            guided=self.model.guidance > 1,
        )

    def _observers(self, batch: Batch) -> list[Observer]:
        place = self.study.seeds.index(batch.seed)
        measures = self.study.measures.of(self.model.name, place)
        prompts = self.scorer.texts([prompt.text for prompt in batch.prompts])
        concepts = ConceptObserver(self._names, self._concepts, prompts, measures.embeddings)
        observers: list[Observer] = [StepObserver(), concepts]
        if measures.frames is not None:
            observers.append(FrameObserver(measures.frames))
        return [*observers, *make_observers(measures, batch)]

    def _clip_scores(self, images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        texts = self.scorer.texts([prompt.text for prompt in prompts])
        scores = (self.scorer.images(images) * texts).sum(-1).cpu()
        if not torch.isfinite(scores).all():
            raise FloatingPointError("the final image has NaN or infinite values")
        return scores

    def _notice(self, prompt: Prompt) -> str:
        """What a reader should know of how the prompt was taken: empty, or cut to the tokenizer's window."""
        if not prompt.text.strip():
            return "empty prompt"
        tokenizer = getattr(self.pipeline, "tokenizer", None)
        limit = getattr(tokenizer, "model_max_length", None)
        if tokenizer is None or limit is None or limit > 100_000:
            return ""
        tokens = len(tokenizer(prompt.text, truncation=False, verbose=False).input_ids)
        return f"prompt cut from {tokens} to {limit} tokens" if tokens > limit else ""


class _Progress:
    """Reports finished image steps."""

    def __init__(self, on_step: OnStep, images: int) -> None:
        self._on_step, self._images = on_step, images

    def on_step(self, view: StepView) -> None:
        self._on_step(self._images)

    def columns(self, item: int) -> dict[str, Any]:
        return {}


def generate(
    pipeline: Any,
    model: ModelSpec,
    prompts: Sequence[Prompt],
    seed: int,
    schedule: dict[str, Any],
) -> Tensor:
    """The final images of a batch, "b 3 H W" in [0, 1]: a plain call of diffusers' own pipeline.

    Each prompt has its own generator, `torch.Generator().manual_seed(seed)`: the image is the one that anybody gets from
    the same pipeline, prompt and seed.
    """
    accepted = inspect.signature(pipeline.__call__).parameters
    wanted: dict[str, Any] = {
        "prompt": [prompt.text for prompt in prompts],
        "num_inference_steps": model.steps,
        "guidance_scale": model.guidance,
        "negative_prompt": [model.negative_prompt] * len(prompts)
        if model.negative_prompt
        else None,
        "height": model.height,
        "width": model.width,
        "generator": [torch.Generator().manual_seed(seed) for _ in prompts],
        "output_type": "pt",
        **schedule,
    }
    if "text_encoder_3" in pipeline.components and pipeline.text_encoder_3 is None:
        wanted["max_sequence_length"] = (
            1  # else 256 zero tokens stand for the missing T5 and are attended to
        )
    call = {k: v for k, v in wanted.items() if k in accepted and v is not None}
    if "prompt" not in accepted:
        call["batch_size"] = len(prompts)
    logging.getLogger("diffusers").setLevel(logging.ERROR)  # cut prompts are reported per item
    with torch.no_grad():
        return pipeline(**call).images.float().cpu()


def count_calls(scheduler: Any, steps: int, schedule: dict[str, Any]) -> int:
    """How many denoiser calls a run makes: steps, or nearly twice that for second-order schedulers."""
    trial = copy.deepcopy(scheduler)
    options: dict[str, Any] = {k: v for k, v in schedule.items() if k in ("timesteps", "sigmas")}
    if getattr(scheduler.config, "use_dynamic_shifting", False):
        options["mu"] = 1.0
    trial.set_timesteps(**(options or {"num_inference_steps": steps}))
    return len(trial.timesteps)


def _row(unit: WorkUnit, prompt: Prompt, **columns: Any) -> dict[str, Any]:
    """A row of the shard; what is not given has the value of a failed item."""
    return {
        "unit_id": unit.unit_id,
        "model": unit.model.name,
        "prompt_key": prompt.prompt_key,
        "prompt_position": prompt.position,
        "seed": unit.seed,
        "status": "done",
        "error": "",
        "notice": "",
        "stage": "sample",
        "seconds": 0.0,
        "width": 0,
        "height": 0,
        "clip_score": None,
        "image": None,
        "prompt_similarity": [],
        **{name: [] for name in LISTS},
        **columns,
    }


LISTS = (
    "steps",
    "trajectories",
    "frames",
    "words",
    "explanations",
    "faithfulness",
    "agreement",
    "spectrum",
    "embedding",
)


def _describe_error(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
