"""Images that exist: how fast an import reads them, beside plain decoding of the same files."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.bench.folders import big_folder
from pipeline.bench.recording import bar
from pipeline.bench.studies import BATCH, plan_of, study_of
from pipeline.bench.tools import Result, seconds
from pipeline.engine.imported import THREADS, ImageWorker
from pipeline.study.image_index import read_index
from pipeline.study.plan import Plan

SIDE = 512
DIFFERENT = 16  # images, whose files are written again and again


def bench_imports(images: int) -> list[Result]:
    """Matching, reading and decoding as an import does it, then all that a run does, against decoding alone."""
    with big_folder() as folder:
        plan = _plan(folder, images)
        paths = sorted(folder.glob("*.jpg"))
        plain = seconds(lambda: _decode(paths))
        with ImageWorker(plan.study, plan.study.models[0], plan.bank, "cpu") as worker:
            reading = seconds(lambda: _read(plan, worker))
            complete = seconds(lambda: _import(plan, worker))
    ratio = plain / reading
    return [
        Result(
            f"{images:,} JPEG of {SIDE} px read for an import: index, match, checks, decoding",
            f"decoding by Pillow, {THREADS} threads",
            f"{images / reading:.0f} images/s",
            f"{images / plain:.0f} images/s",
            f"{ratio:.2f}x",
            "at least 0.8x",
            ratio >= 0.8,
        ),
        replace(
            bar("the same with a scorer and the lossless copy of each image", f"{images / complete:.0f} images/s", "", True),
            plain=f"{images / plain:.0f} images/s", ratio=f"{plain / complete:.2f}x", passed=None,
        ),
    ]  # fmt: skip


def _plan(folder: Path, images: int) -> Plan:
    """A study of one model of images that exist, an image for each prompt, and the files."""
    study, prompts, bank = study_of(images, 1, unit_prompts=max(BATCH, images // 4))
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
        for first in range(0, len(work_unit.prompts), BATCH):
            loaded = worker.load(work_unit.prompts[first : first + BATCH], work_unit.seed)
            assert not any(isinstance(one, str) for one in loaded)


def _import(plan: Plan, worker: ImageWorker) -> None:
    for work_unit in plan:
        assert all(row["status"] == "done" for row in worker.run(work_unit))
