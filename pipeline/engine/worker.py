"""Runs work units: diffusers' own pipeline on batches of prompts, watched, one row of the shard per sample."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.diffusion.generate import count_calls, generate, prompt_window
from pipeline.diffusion.observers import (
    ConceptObserver,
    Curves,
    FrameObserver,
    FurtherScorers,
    StepObserver,
    as_stored,
    encode_later,
    final_scores,
    gather,
)
from pipeline.diffusion.phrases import Phrases, encode_phrases
from pipeline.diffusion.timesteps import apply_schedule
from pipeline.diffusion.trial import Trial, check_trial, try_model
from pipeline.diffusion.watch import Batch, Observer, StepView, Watch
from pipeline.engine.memory import PeakMemory
from pipeline.explain import make_observers
from pipeline.explain.information import Information
from pipeline.explain.switching import Judge, Switching
from pipeline.explain.windows import CriticalWindows, Reader
from pipeline.models import loading
from pipeline.models.caches import images_at_once, refuse_measures
from pipeline.models.devices import choose_device, is_out_of_memory, probe_batch
from pipeline.models.inception import Inception
from pipeline.models.scorer import Scorer
from pipeline.models.words import with_vectors
from pipeline.results.rows import failed_row, sample_row
from pipeline.study.concepts import ConceptBank
from pipeline.study.definitions import STORED_IMAGE
from pipeline.study.pairs import judge_of
from pipeline.study.plan import WorkUnit
from pipeline.study.prompts import Prompt
from pipeline.study.spec import Measures, ModelSpec, Study

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
        self._memory = PeakMemory(self.device)
        self.pipeline = loading.open_pipeline(model, self.device)
        self.family = loading.family_of(self.pipeline)
        self._decoder = loading.open_decoder(model, self.pipeline)
        trial = self._trial()
        scheduler, self._schedule = apply_schedule(
            self.pipeline.scheduler, model.schedule, model.gamma, model.steps, type(self.pipeline)
        )
        loading.use_scheduler(self.pipeline, scheduler)
        self.total_steps = count_calls(self.pipeline.scheduler, model.steps, self._schedule)
        self.scorer, *self.further = (Scorer(spec, self.device) for spec in study.scorers)
        weights = study.measures.inception
        self.inception = Inception(weights, self.device) if weights else None
        alone = 1 if self.family.solo or trial.alone else None
        self._batch_size = alone or images_at_once(model) or study.run.batch_size
        self._bank = bank
        self._read: Phrases | None = None
        self._judge, self._reader = _open_judge(study, self.device)
        self._names = [f"{concept.family}/{concept.name}" for concept in bank.concepts]
        self._concepts, *self._further_concepts = (
            torch.stack([scorer.concept(c.phrasings) for c in bank.concepts])
            for scorer in (self.scorer, *self.further)
        )
        self.description = {
            **loading.describe(self.pipeline, model),
            "device": str(self.device),
            "total_steps": self.total_steps,
            "guided": model.guidance > self.family.off,
            "trial": trial.record(),
        }

    def _trial(self) -> Trial:
        """What two steps of the model show; refuses one of which wrong numbers would be recorded."""
        refuse_measures(self.model, self.study.measures.of(self.model.name).tools())
        trial = try_model(self.pipeline, self.model, batches=self.study.run.batch_size != 1)
        dtype = loading.dtype_of(self.pipeline)
        check_trial(trial, self.model, dtype, self.study.measures.of(self.model.name).tools())
        if trial.alone:
            LOG.warning(
                "%s: an image depends on the prompts beside it, so each prompt is sampled alone",
                self.model.name,
            )
        return trial

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        del self.pipeline, self.scorer, self.further

    def run(self, work_unit: WorkUnit, on_step: OnStep | None = None) -> list[dict[str, Any]]:
        """Sample, observe and explain a unit's prompts: one row each, in order, also for those that fail.

        A batch that raises is run again item by item, so that only the items at fault fail; one that is short of memory
        is run again in halves, and batches stay that small. A batch's noise comes from
        one generator per item, so its size changes an image by float rounding at most.
        """
        rows: list[dict[str, Any]] = []
        encoded = 0  # rows whose pictures are: those of a batch are encoded beside the next batch
        while len(rows) < len(work_unit.prompts):
            sampled = len(rows)
            prompts = work_unit.prompts[sampled : sampled + self._size(work_unit)]
            rows += self._rows(work_unit, prompts, on_step)
            wait_for_pictures(work_unit, rows, slice(encoded, sampled))
            encoded = sampled
        wait_for_pictures(work_unit, rows, slice(encoded, None))
        return rows

    def _size(self, work_unit: WorkUnit) -> int:
        """Images in a call: as the study says or as a probe finds, less where memory was short before."""
        if self._batch_size is None:
            self._batch_size = self._probe(work_unit)
        return self._batch_size

    def _probe(self, work_unit: WorkUnit) -> int:
        def attempt(images: int) -> float:
            started = time.perf_counter()
            prompts = [work_unit.prompts[0]] * images
            generate(self.pipeline, replace(self.model, steps=PROBE_STEPS), prompts, 0, {})
            return time.perf_counter() - started

        with self._memory.left_out():
            size = probe_batch(attempt, len(work_unit.prompts))
        LOG.warning("%s: %d images a batch, by a probe", self.model.name, size)
        return size

    def _rows(
        self, work_unit: WorkUnit, prompts: Sequence[Prompt], on_step: OnStep | None, tries: int = 1
    ) -> list[dict[str, Any]]:
        try:
            return self._sample(work_unit, prompts, on_step)
        except Exception as error:
            problem = error.with_traceback(None)  # whose frames would keep the memory
        short = is_out_of_memory(problem)
        if short and torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(prompts) == 1:
            if short and tries == 1:
                return self._rows(work_unit, prompts, on_step, tries=2)
            return [failed_row(work_unit, prompts[0], _describe_error(problem), "sample")]
        if short:
            self._batch_size = len(prompts) // 2
            LOG.warning(
                "%s: out of memory; continuing with %d images per batch",
                self.model.name,
                self._batch_size,
            )
        rows: list[dict[str, Any]] = []
        while len(rows) < len(prompts):
            size = (self._batch_size or 1) if short else 1
            rows += self._rows(work_unit, prompts[len(rows) : len(rows) + size], on_step)
        return rows

    def _sample(
        self, work_unit: WorkUnit, prompts: Sequence[Prompt], on_step: OnStep | None
    ) -> list[dict[str, Any]]:
        started = time.perf_counter()
        batch = self._batch(work_unit, prompts)
        texts = self.scorer.texts([prompt.text for prompt in prompts])
        further = self._further(prompts)
        information = self._information(batch)
        observers = gather([*self._observers(batch, texts), further, *information])
        if on_step is not None:
            observers.append(_Progress(on_step, len(prompts)))
        with ExitStack() as stack:
            for observer in observers:
                if isinstance(observer, AbstractContextManager):
                    stack.enter_context(observer)
            stack.enter_context(Watch(batch, observers))
            images = generate(self.pipeline, self.model, prompts, work_unit.seed, self._schedule)
        scored = as_stored(images) if work_unit.clip_score >= STORED_IMAGE else images
        scores = final_scores(self.scorer.images(scored), texts)
        pictures = encode_later(images)
        further.score(scored)
        afterwards = [each for each in (self._switches(batch), self._windows(batch)) if each]
        for each in information:
            each.measure(images)
        seconds = (time.perf_counter() - started) / len(prompts)
        return [
            sample_row(
                work_unit,
                prompt,
                notice=self._notice(prompt),
                seconds=seconds,
                **self._memory.columns(),
                width=images.shape[-1],
                height=images.shape[-2],
                clip_score=float(scores[i]),
                image=pictures[i],
                **{k: v for e in (*observers, *afterwards) for k, v in e.columns(i).items()},
            )
            for i, prompt in enumerate(prompts)
        ]

    def _batch(self, work_unit: WorkUnit, prompts: Sequence[Prompt]) -> Batch:
        return Batch(
            prompts=tuple(prompts),
            seed=work_unit.seed,
            pipeline=self.pipeline,
            family=self.family,
            scorer=self.scorer,
            total_steps=self.total_steps,
            guided=self.model.guidance > self.family.off,
            guidance=self.model.guidance,
            decoder=self._decoder,
            negative_prompt=self.model.negative_prompt,
            inception=self.inception,
            phrases=self._phrases(work_unit.seed),
        )

    def _phrases(self, seed: int) -> Phrases | None:
        """The concepts as the model's text encoders read them, once; None where no measure needs them."""
        asked = self._measures(seed).concept_attention is not None
        if not asked or "concept-attention" in self.family.missing():
            return None
        if self._read is None:
            self._read = encode_phrases(self.pipeline, self.family, self._bank.concepts)
        return self._read

    def _measures(self, seed: int) -> Measures:
        seeds = self.study.seeds
        index = seeds.index(seed) if seed in seeds else 0
        return self.study.measures.of(self.model.name, index)

    def _switches(self, batch: Batch) -> Switching | None:
        """The switches of a batch, measured; None where the study asks for none."""
        spec = self._measures(batch.seed).switch
        if spec is None:
            return None
        sample = self._plain(batch)
        most = self._batch_size or len(batch.prompts)
        bank = self._bank.concepts
        switches = Switching(batch, spec, bank, self._concepts, sample, most, self._judge)
        switches.measure()
        return switches

    def _windows(self, batch: Batch) -> CriticalWindows | None:
        """The redraws of a batch, measured; None where the study asks for none."""
        spec = self._measures(batch.seed).critical_windows
        if spec is None:
            return None
        bank = self._bank.concepts
        windows = CriticalWindows(
            batch, spec, bank, self._concepts, self._plain(batch), self._reader
        )
        windows.measure()
        return windows

    def _information(self, batch: Batch) -> list[Information]:
        """What measures the information of words, if the study asks for it."""
        spec = self._measures(batch.seed).information
        return [] if spec is None else [Information(batch, spec, self._plain(batch))]

    def _plain(self, batch: Batch) -> Callable[[Sequence[Prompt]], Tensor]:
        """The pipeline's own call for some prompts, with the batch's seed, unwatched."""
        return partial(
            generate, self.pipeline, self.model, seed=batch.seed, schedule=self._schedule
        )

    def _observers(self, batch: Batch, texts: Tensor) -> list[Observer]:
        measures = self._measures(batch.seed)
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
        text, _ = with_vectors(self.pipeline, tokenizer, prompt.text)
        tokens = len(tokenizer(text, truncation=False, verbose=False).input_ids)
        return f"prompt cut from {tokens} to {limit} tokens" if tokens > limit else ""


def _open_judge(study: Study, device: torch.device) -> tuple[Judge | None, Reader | None]:
    """The judge of the study's switches and the reader of its redraws, if it has one."""
    folder = judge_of(study.measures)
    if folder is None:
        return None, None
    # what trains the demo's models, which no other study needs
    from pipeline.demo.outcomes import SceneJudge

    judge = SceneJudge(Path(folder), device)
    return judge.says, judge.reads


def wait_for_pictures(work_unit: WorkUnit, rows: list[dict[str, Any]], part: slice) -> None:
    """Puts the encoded pictures of some rows where their futures are; a row with one that cannot be encoded is a failed one."""
    pairs = zip(work_unit.prompts[part], rows[part], strict=False)
    rows[part] = [_with_pictures(work_unit, prompt, row) for prompt, row in pairs]


def _with_pictures(work_unit: WorkUnit, prompt: Prompt, row: dict[str, Any]) -> dict[str, Any]:
    try:
        for record in (row, *row["frames"]):
            if isinstance(record["image"], Future):
                record["image"] = record["image"].result()
    except Exception as error:
        return failed_row(work_unit, prompt, _describe_error(error), "sample")
    return row


class _Progress:
    """Reports finished image steps."""

    def __init__(self, on_step: OnStep, images: int) -> None:
        self._on_step, self._images = on_step, images

    def on_step(self, view: StepView) -> None:
        self._on_step(self._images)

    def columns(self, item: int) -> dict[str, Any]:
        return {}


def _describe_error(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
