"""Runs work units: diffusers' own pipeline on batches of prompts, watched, one row of the shard per sample."""

from __future__ import annotations

import copy
import difflib
import inspect
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTokenizer

from pipeline import models
from pipeline.concepts import ConceptBank
from pipeline.devices import choose_device, is_out_of_memory, probe_batch
from pipeline.errors import ModelError
from pipeline.explain import make_observers
from pipeline.families import Family
from pipeline.observe import (
    Batch,
    ConceptObserver,
    Curves,
    FrameObserver,
    FurtherScorers,
    Observer,
    StepObserver,
    StepView,
    Watch,
    encode,
    final_scores,
    gather,
)
from pipeline.plan import WorkUnit
from pipeline.prompts import Prompt
from pipeline.scorer import Scorer
from pipeline.study import ModelSpec, Study
from pipeline.timesteps import apply_schedule

OnStep = Callable[[int], None]
LOG = logging.getLogger(__name__)
PROBE_STEPS = 2


class Worker:
    """One loaded model and the study's scorers, ready to run the work units of that model.

    Raises:
        ModelError: the model, its scheduler or a scorer cannot be loaded (before any sampling).
    """

    def __init__(
        self, study: Study, model: ModelSpec, bank: ConceptBank, device: str = "auto"
    ) -> None:
        self.study = study
        self.model = model
        self.device = choose_device(device)
        self.pipeline = models.open_pipeline(model, self.device)
        self.family = models.family_of(self.pipeline)
        self._decoder = models.open_decoder(model, self.pipeline)
        scheduler, self._schedule = apply_schedule(
            self.pipeline.scheduler, model.schedule, model.gamma, model.steps, type(self.pipeline)
        )
        models.use_scheduler(self.pipeline, scheduler)
        self.total_steps = count_calls(self.pipeline.scheduler, model.steps, self._schedule)
        self.scorer, *self.further = (Scorer(spec, self.device) for spec in study.scorers)
        self._batch_size = study.run.batch_size
        self._names = [f"{concept.family}/{concept.name}" for concept in bank.concepts]
        self._concepts, *self._further_concepts = (
            torch.stack([scorer.concept(c.phrasings) for c in bank.concepts])
            for scorer in (self.scorer, *self.further)
        )
        self.description = {
            **models.describe(self.pipeline, model),
            "device": str(self.device),
            "total_steps": self.total_steps,
        }

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        del self.pipeline, self.scorer, self.further

    def run(self, unit: WorkUnit, on_step: OnStep | None = None) -> list[dict[str, Any]]:
        """Sample, observe and explain a unit's prompts: one row each, in order, also for those that fail.

        A batch that raises is run again item by item, so that only the items at fault fail; one that is short of memory
        is run again in halves, and batches stay that small. A batch's noise comes from
        one generator per item, so its size changes an image by float rounding at most.
        """
        rows: list[dict[str, Any]] = []
        while len(rows) < len(unit.prompts):
            prompts = unit.prompts[len(rows) : len(rows) + self._size(unit)]
            rows += self._rows(unit, prompts, on_step)
        return rows

    def _size(self, unit: WorkUnit) -> int:
        """Images in a call: as the study says or as a probe finds, less where memory was short before."""
        if self._batch_size is None:
            self._batch_size = self._probe(unit)
        return self._batch_size

    def _probe(self, unit: WorkUnit) -> int:
        def attempt(images: int) -> float:
            started = time.perf_counter()
            prompts = [unit.prompts[0]] * images
            generate(self.pipeline, replace(self.model, steps=PROBE_STEPS), prompts, 0, {})
            return time.perf_counter() - started

        found = probe_batch(attempt, len(unit.prompts))
        LOG.warning("%s: %d images a batch, by a probe", self.model.name, found)
        return found

    def _rows(
        self, unit: WorkUnit, prompts: Sequence[Prompt], on_step: OnStep | None, tries: int = 1
    ) -> list[dict[str, Any]]:
        try:
            return self._sample(unit, prompts, on_step)
        except Exception as error:
            problem = error.with_traceback(None)  # whose frames would keep the memory
        short = is_out_of_memory(problem)
        if short and torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(prompts) == 1:
            if short and tries == 1:
                return self._rows(unit, prompts, on_step, tries=2)
            return [_row(unit, prompts[0], status="failed", error=_describe_error(problem))]
        if short:
            self._batch_size = len(prompts) // 2
            LOG.warning(
                "%s: out of memory, %d images a batch from here on",
                self.model.name,
                self._batch_size,
            )
        rows: list[dict[str, Any]] = []
        while len(rows) < len(prompts):
            size = (self._batch_size or 1) if short else 1
            rows += self._rows(unit, prompts[len(rows) : len(rows) + size], on_step)
        return rows

    def _sample(
        self, unit: WorkUnit, prompts: Sequence[Prompt], on_step: OnStep | None
    ) -> list[dict[str, Any]]:
        started = time.perf_counter()
        batch = self._batch(unit, prompts)
        texts = self.scorer.texts([prompt.text for prompt in prompts])
        further = self._further(prompts)
        observers = gather([*self._observers(batch, texts), further])
        if on_step is not None:
            observers.append(_Progress(on_step, len(prompts)))
        with ExitStack() as stack:
            for observer in observers:
                if isinstance(observer, AbstractContextManager):
                    stack.enter_context(observer)
            stack.enter_context(Watch(batch, observers))
            images = generate(self.pipeline, self.model, prompts, unit.seed, self._schedule)
        scores = final_scores(self.scorer.images(images), texts)
        further.score(images)
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
            guidance=self.model.guidance,
            decoder=self._decoder,
        )

    def _observers(self, batch: Batch, texts: Tensor) -> list[Observer]:
        seeds = self.study.seeds
        place = seeds.index(batch.seed) if batch.seed in seeds else 0
        measures = self.study.measures.of(self.model.name, place)
        concepts = ConceptObserver(self._names, self._concepts, texts, measures.embeddings)
        observers: list[Observer] = [StepObserver(), concepts]
        if measures.frames is not None:
            observers.append(FrameObserver(measures.frames))
        return [*observers, *make_observers(measures, batch)]

    def _further(self, prompts: Sequence[Prompt]) -> FurtherScorers:
        texts = [prompt.text for prompt in prompts]
        curves = [
            Curves(self._names, concepts, scorer.texts(texts))
            for scorer, concepts in zip(self.further, self._further_concepts, strict=True)
        ]
        return FurtherScorers(self.further, curves)

    def _notice(self, prompt: Prompt) -> str:
        """What a reader should know of how the prompt was taken: empty, or cut to the tokenizer's window."""
        if not prompt.text.strip():
            return "empty prompt"
        tokenizer, limit = prompt_window(self.pipeline, self.family)
        if tokenizer is None or limit is None:
            return ""
        tokens = len(tokenizer(prompt.text, truncation=False, verbose=False).input_ids)
        return f"prompt cut from {tokens} to {limit} tokens" if tokens > limit else ""


def prompt_window(pipeline: Any, family: Family) -> tuple[Any, int | None]:
    """The tokenizer that takes in most of a prompt, and how many tokens it keeps (None = no limit is known)."""
    named = (getattr(pipeline, name, None) for name in family.tokenizer)
    tokenizer = next((one for one in named if one is not None), None)
    limit = getattr(tokenizer, "model_max_length", None)
    longest = inspect.signature(pipeline.__call__).parameters.get("max_sequence_length")
    if longest is not None and not isinstance(tokenizer, CLIPTokenizer):
        limit = longest.default  # CLIP's window is its own, whatever the call says
    return tokenizer, limit if limit is not None and limit <= 100_000 else None


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
    family = models.family_of(pipeline)
    wanted: dict[str, Any] = {
        **_conditions(pipeline, family, model, prompts),
        "num_inference_steps": model.steps,
        "guidance_scale": model.guidance,
        "height": model.height,
        "width": model.width,
        "generator": [torch.Generator().manual_seed(seed) for _ in prompts],
        "output_type": family.output,
        **_fixed(pipeline, family),
        **schedule,
    }
    call = {k: v for k, v in wanted.items() if k in accepted and v is not None}
    logging.getLogger("diffusers").setLevel(logging.ERROR)  # cut prompts are reported per item
    with torch.no_grad(), _seeded(seed, pipeline._execution_device):
        images = pipeline(**call).images
    if not isinstance(images, Tensor):
        images = torch.from_numpy(images).permute(0, 3, 1, 2)
    return images.float()


def _conditions(
    pipeline: Any, family: Family, model: ModelSpec, prompts: Sequence[Prompt]
) -> dict[str, Any]:
    """What the images are to be of: prompts, labels, or only how many there are to be."""
    texts = [prompt.text for prompt in prompts]
    if family.takes == "label":
        return {"class_labels": label_ids(pipeline.labels, texts)}
    if family.takes == "nothing":
        return {"batch_size": len(prompts)}
    negative = [model.negative_prompt] * len(prompts) if model.negative_prompt else None
    return {"prompt": texts, "negative_prompt": negative}


def _fixed(pipeline: Any, family: Family) -> dict[str, Any]:
    """Arguments of the call without which the words, or a small model, would not be what they are taken for."""
    fixed: dict[str, Any] = {
        "clean_caption": False
    }  # cleaning would need packages, and change words
    if "text_encoder_3" in pipeline.components and pipeline.text_encoder_3 is None:
        # else 256 zero tokens stand for the missing T5 and are attended to
        fixed["max_sequence_length"] = 1
    config: Any = models.denoiser_of(pipeline).config
    if family.bins and config.get("sample_size") not in family.bins:
        fixed["use_resolution_binning"] = False
    return fixed


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """The global generator seeded, for pipelines that don't pass theirs to the scheduler (DiT)."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed % 2**63)
        yield


def label_ids(labels: Mapping[str, int], texts: Sequence[str]) -> list[int]:
    """The numbers of class labels; a label may be named or numbered.

    Args:
        labels: name -> number, as a class-conditional pipeline has them; empty = any number goes.
        texts: the prompts.

    Raises:
        ModelError: a text is no label; close ones are named.
    """
    known = {name.strip().lower(): int(number) for name, number in labels.items()}
    numbers = set(known.values())
    found = []
    for text in texts:
        name = text.strip().lower()
        if name.isdecimal() and (int(name) in numbers or not known):
            found.append(int(name))
        elif name in known:
            found.append(known[name])
        else:
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or list(known)[:3]
            raise ModelError(
                f"prompt {text[:80]!r} is no class label of this model, which takes one of {len(known)} labels or their "
                f"numbers, such as {', '.join(close)}."
            )
    return found


def count_calls(scheduler: Any, steps: int, schedule: dict[str, Any]) -> int:
    """How many denoiser calls a run makes: steps, or nearly twice that for second-order schedulers."""
    trial = copy.deepcopy(scheduler)
    options: dict[str, Any] = {k: v for k, v in schedule.items() if k in ("timesteps", "sigmas")}
    if getattr(scheduler.config, "use_dynamic_shifting", False):
        options["mu"] = 1.0
    if not options.keys() & {"timesteps", "sigmas"}:
        options["num_inference_steps"] = steps
    trial.set_timesteps(**options)
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
    "further_scorers",
)


def _describe_error(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
