"""Images that exist: how fast an import reads them, beside plain decoding of the same files."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from operator import attrgetter
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.bench.folders import big_folder
from pipeline.bench.recording import bar
from pipeline.bench.studies import BATCH, plan_of, study_of
from pipeline.bench.tools import Result
from pipeline.engine.imported import THREADS, ImageWorker
from pipeline.results.shards import write_shard
from pipeline.results.storage import FolderStore
from pipeline.study.image_index import read_index
from pipeline.study.plan import Plan

SIDE = 512
READING, COMPLETE = 0.8, 0.6  # of the rate of plain decoding, at least
SCORER = "scenes-clip, 64 px"
DIFFERENT = 16  # images, whose files are written again and again
FILE = 150_000  # bytes of room for an image's file and its copy in a shard, at most
MANY = 20_000  # images; as many and more are run once, where fewer are run twice
SCORED = 4_096  # images that the scorer sees, at most
WORK_UNIT = 256  # images of a shard, at most


class NoScorer:
    """In place of a scorer: a vector that costs nothing."""

    def pixels(self, images: Sequence[np.ndarray] | list[str]) -> Tensor:
        """The same unit vector for each image or text."""
        return torch.eye(8)[:1].expand(len(images), 8)

    texts = pixels

    def concept(self, phrasings: tuple[str, ...]) -> Tensor:
        """That vector."""
        return torch.eye(8)[0]


@dataclass(frozen=True)
class Took:
    """Seconds of processor time, of all threads, which other programs hardly change; and by the clock."""

    processor: float
    clock: float


def bench_imports(images: int) -> list[Result]:
    """What an import does against decoding alone: up to decoding, to shards on the disk, and with a scorer."""
    with big_folder(images * FILE, on_disk=True) as folder:
        plan = _plan(folder, images)
        paths = sorted(folder.glob("*.jpg"))
        parts = (plan.study, plan.study.models[0], plan.bank, "cpu")
        tries = 1 if images >= MANY else 2
        with ImageWorker(*parts, [NoScorer()]) as worker:  # type: ignore[list-item]
            plain, reading = _in_turn(lambda: _decode(paths), lambda: _read(plan, worker), tries)
            again, complete = _in_turn(
                lambda: _decode(paths), lambda: _import(plan, worker, folder / "complete"), tries
            )
        few = min(images, SCORED)
        with ImageWorker(*parts) as worker:
            scored = took(lambda: _import(plan, worker, folder / "scored", few))
    alone = f"decoding by Pillow, {THREADS} threads"
    share = plain.processor * few / images
    return [
        _row(f"{images:,} JPEG of {SIDE} px read for an import: index, match, checks, decoding", alone, images, reading.processor, plain.processor, READING),
        _row("the whole import without a scorer: the same, metadata removed, shards written", alone, images, complete.processor, again.processor, COMPLETE),
        _row(f"the same with a scorer ({SCORER}), {few:,} images", "", few, scored.processor, share, 0),
        _row("images read, by the clock", alone, images, reading.clock, plain.clock, 0),
        _row("whole import without a scorer, by the clock", alone, images, complete.clock, again.clock, 0),
    ]  # fmt: skip


def took(call: Callable[[], None]) -> Took:
    """How long a call takes."""
    clock, processor = time.perf_counter(), time.process_time()
    call()
    return Took(time.process_time() - processor, time.perf_counter() - clock)


def _in_turn(plain: Callable[[], None], ours: Callable[[], None], tries: int) -> tuple[Took, Took]:
    """Both, in turn, and of each the try with the least processor time."""
    first, second = zip(*[(took(plain), took(ours)) for _ in range(tries)], strict=True)
    least = attrgetter("processor")
    return min(first, key=least), min(second, key=least)


def _row(what: str, against: str, images: int, ours: float, plain: float, least: float) -> Result:
    ratio = plain / ours
    rates = f"{images / ours:.0f} images/s", f"{images / plain:.0f} images/s"
    if least:
        return Result(what, against, *rates, f"{ratio:.2f}x", f"at least {least}x", ratio >= least)
    return replace(
        bar(what, rates[0], "", True, against), plain=rates[1], ratio=f"{ratio:.2f}x", passed=None
    )


def _plan(folder: Path, images: int) -> Plan:
    """A study of one model of images that exist, an image for each prompt, and the files."""
    study, prompts, bank = study_of(images, 1, unit_prompts=min(max(BATCH, images // 4), WORK_UNIT))
    files = [_jpeg(number) for number in range(DIFFERENT)]
    with (folder / "metadata.jsonl").open("w") as lines:
        for number, prompt in enumerate(prompts):
            name = f"{number:06d}.jpg"
            (folder / name).write_bytes(files[number % DIFFERENT])
            lines.write(json.dumps({"file_name": name, "prompt": prompt.text}) + "\n")
    model = replace(study.models[0], source=str(folder), layout="imagefolder", steps=1)
    return plan_of((replace(study, models=(model,)), prompts, bank))


def _jpeg(seed: int) -> bytes:
    """An image with edges and some noise, of about the size of a photograph's file."""
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.integers(0, 200, (16, 16, 3)), np.ones((SIDE // 16, SIDE // 16, 1)))
    pixels = blocks + rng.normal(20, 6, (SIDE, SIDE, 3))
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _decode(paths: Sequence[Path]) -> None:
    """Pillow alone."""

    def pixels(path: Path) -> int:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB")).shape[0]

    with ThreadPoolExecutor(THREADS) as pool:
        assert set(pool.map(pixels, paths)) == {SIDE}


def _read(plan: Plan, worker: ImageWorker) -> None:
    read_index(plan.study.models[0])  # the worker's is read when it starts, beside its scorers
    for work_unit in plan:
        prompts = work_unit.prompts
        batches = [prompts[first : first + BATCH] for first in range(0, len(prompts), BATCH)]
        for _, loaded in worker.load(batches, work_unit.seed):
            assert not any(isinstance(one, str) for one in loaded)


def _import(plan: Plan, worker: ImageWorker, folder: Path, most: int = sys.maxsize) -> None:
    store = FolderStore(folder)
    store.create()
    for work_unit in islice(plan, -(-most // len(plan[0]))):
        entry = write_shard(store, work_unit.unit_id, worker.run(work_unit))
        assert not entry.failed
