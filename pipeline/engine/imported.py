"""Runs work units of images that exist: decoded a batch at a time, scored as final images of sampled models are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor

from pipeline.diffusion.observers import Curves, final_scores
from pipeline.errors import PromptError
from pipeline.models.devices import choose_device
from pipeline.models.pictures import PictureError, encode_picture, load_picture
from pipeline.models.scorer import Scorer
from pipeline.results.rows import failed_row, sample_row
from pipeline.study.concepts import ConceptBank
from pipeline.study.image_files import MAX_IMAGE, describe, read_below
from pipeline.study.image_index import read_index
from pipeline.study.image_layouts import Picture
from pipeline.study.image_tables import TableImages
from pipeline.study.plan import WorkUnit
from pipeline.study.prompts import Prompt, read_prompts
from pipeline.study.spec import ModelSpec, Study

BATCH = 8  # images at a time where the study leaves it to a probe
THREADS = 4  # decode, and encode what cannot be kept as it is; Pillow does both without the interpreter's lock
FAMILY = "images"
NAMED = 100  # unmatched images that the results folder names
# Such a model has one step, at which the image is clean.
STEP = {"step": 0, "timestep": 0.0, "alpha": 1.0, "sigma": 0.0, "log_snr": 60.0, "call": 1}


@dataclass(frozen=True)
class Encoded:
    """The bytes of one image file."""

    picture: Picture
    data: bytes


@dataclass(frozen=True)
class Loaded:
    """One decoded image of a batch, what a reader should know of it, and the file that the shard keeps: of the same pixels."""

    prompt: Prompt
    pixels: UInt8[ndarray, "h w 3"]
    notice: str
    file: bytes


class ImageWorker:
    """The images of one model and the study's scorers.

    Args:
        study: the study.
        model: its entry.
        bank: the concepts.
        device: of the scorers.
        scorers: those of the study, loaded; None loads them.

    Raises:
        ModelError: the images or a scorer cannot be read.
    """

    total_steps = 1

    def __init__(
        self,
        study: Study,
        model: ModelSpec,
        bank: ConceptBank,
        device: str = "auto",
        scorers: Sequence[Scorer] | None = None,
    ) -> None:
        self.study, self.model = study, model
        self.device = choose_device(device)
        self.index = read_index(model)
        self._tables = TableImages(self.index.root)
        self.scorers = scorers or [Scorer(spec, self.device) for spec in study.scorers]
        self._names = [f"{concept.family}/{concept.name}" for concept in bank.concepts]
        self._concepts = [
            torch.stack([scorer.concept(c.phrasings) for c in bank.concepts])
            for scorer in self.scorers
        ]
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="images")
        unmatched = self._unmatched()
        more = f", {len(unmatched):,} unmatched" if unmatched else ""
        self.description: dict[str, Any] = {
            "pipeline": f"images ({self.index.layout}){more}",
            "family": FAMILY,
            "prediction_type": "",
            "scheduler": "",
            "dtype": "",
            "parameters": 0,
            "images": len(self.index.pictures),
            "unmatched": len(unmatched),
            "unmatched_names": list(unmatched[:NAMED]),
            "device": str(self.device),
            "total_steps": self.total_steps,
        }

    def _unmatched(self) -> tuple[str, ...]:
        """Images that no prompt and seed takes; none where the prompt file is not on this machine."""
        try:
            prompts = read_prompts(self.study.prompts).prompts
        except PromptError:
            return ()
        return self.index.report(prompts, self.study.seeds).unmatched

    def __enter__(self) -> ImageWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        self._tables.close()

    def run(
        self, work_unit: WorkUnit, on_step: Callable[[int], None] | None = None
    ) -> list[dict[str, Any]]:
        """One row per prompt, in order; a prompt without an image, or with one that cannot be read, has a failed row."""
        rows: list[dict[str, Any]] = []
        size = self.study.run.batch_size or BATCH
        batches = [
            work_unit.prompts[first : first + size]
            for first in range(0, len(work_unit.prompts), size)
        ]
        started = time.perf_counter()
        for prompts, loaded in self.load(batches, work_unit.seed):
            scored = self._batch(work_unit, prompts, loaded)
            now = time.perf_counter()
            seconds = {"seconds": (now - started) / len(prompts)}
            rows += [row | seconds if row["status"] == "done" else row for row in scored]
            started = now
            if on_step is not None:
                on_step(len(prompts))
        return rows

    def load(
        self, batches: Sequence[Sequence[Prompt]], seed: int
    ) -> Iterator[tuple[Sequence[Prompt], list[Loaded | str]]]:
        """The decoded image of each prompt of each batch, or what is wrong with it; the next batch is decoded meanwhile."""
        ahead: list[tuple[Sequence[Prompt], list[Future[Loaded | str]]]] = []
        for prompts in batches:
            read = [(prompt, self._read(prompt, seed)) for prompt in prompts]
            ahead.append((prompts, [self._pool.submit(_decoded, *each) for each in read]))
            if len(ahead) == 2:
                yield _finished(*ahead.pop(0))
        for each in ahead:
            yield _finished(*each)

    def _batch(
        self, work_unit: WorkUnit, prompts: Sequence[Prompt], loaded: Sequence[Loaded | str]
    ) -> list[dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = {}
        readable = [one for one in loaded if isinstance(one, Loaded)]
        # Images of one size are scored in one call, in their order, as those of a sampled batch are.
        for _, group in groupby(sorted(readable, key=_size), key=_size):
            rows |= self._score(work_unit, list(group))
        return [
            rows[prompt.prompt_key]
            if isinstance(one, Loaded)
            else failed_row(work_unit, prompt, one, "load")
            for prompt, one in zip(prompts, loaded, strict=True)
        ]

    def _read(self, prompt: Prompt, seed: int) -> Encoded | str:
        """The bytes of a prompt's image, or what is wrong with it."""
        picture = self.index.find(prompt, seed, self.study.seeds)
        if picture is None:
            return self.index.describe_missing(prompt, seed)
        try:
            if picture.row is not None:
                return Encoded(picture, self._tables.read(picture.name, picture.row))
            return Encoded(picture, read_below(self.index.root, picture.name, MAX_IMAGE))
        except OSError as error:
            return f"{picture.title}: {describe(error)}"

    def _score(self, work_unit: WorkUnit, loaded: list[Loaded]) -> dict[str, dict[str, Any]]:
        """The rows of images of one size, by prompt key."""
        images = [one.pixels for one in loaded]
        texts = [one.prompt.text for one in loaded]
        vectors = [scorer.pixels(images) for scorer in self.scorers]
        first, *further = (
            self._curves(number, embeddings, texts) for number, embeddings in enumerate(vectors)
        )
        recorded = vectors[0].cpu().numpy() if self.study.measures.embeddings else None
        height, width = images[0].shape[:2]
        return {
            one.prompt.prompt_key: sample_row(
                work_unit,
                one.prompt,
                notice=one.notice,
                width=width,
                height=height,
                image=one.file,
                steps=[STEP],
                embedding=[] if recorded is None else [recorded[item]],
                **first[item],
                further_scorers=[of[item] for of in further],
            )
            for item, one in enumerate(loaded)
        }

    def _curves(self, number: int, embeddings: Tensor, texts: list[str]) -> list[dict[str, Any]]:
        """What one scorer says of each image: its score, and its similarities as curves of one step."""
        prompts = self.scorers[number].texts(texts)
        curves = Curves(self._names, self._concepts[number], prompts)
        curves.add(embeddings)
        scores = final_scores(embeddings, curves.prompts)
        return [
            {"clip_score": float(scores[item]), **curves.of(item)} for item in range(len(texts))
        ]


def _finished(
    prompts: Sequence[Prompt], futures: Sequence[Future[Loaded | str]]
) -> tuple[Sequence[Prompt], list[Loaded | str]]:
    return prompts, [future.result() for future in futures]


def _decoded(prompt: Prompt, encoded: Encoded | str) -> Loaded | str:
    """A prompt's image, or what is wrong with it."""
    if isinstance(encoded, str):
        return encoded
    picture = encoded.picture
    try:
        read = load_picture(encoded.data, picture.tile, picture.tiles)
    except PictureError as error:
        return f"{picture.title}: {error}"
    empty = "" if prompt.text.strip() else "empty prompt"
    file = encode_picture(read.pixels) if read.file is None else read.file
    return Loaded(prompt, read.pixels, read.notice or empty, file)


def _size(one: Loaded) -> tuple[int, ...]:
    return one.pixels.shape
