"""A worker without a model: the rows of plausible samples, made by arithmetic alone, the same at every call."""

from __future__ import annotations

import hashlib
import io
import math
import os
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pipeline.shards import SCHEMA

ONSET = {
    "colour": 0.15,
    "relation": 0.3,
    "texture": 0.35,
    "size": 0.45,
    "count": 0.4,
    "object": 0.55,
}
COLOURS = {
    "red": (184, 58, 58),
    "green": (88, 168, 88),
    "blue": (74, 120, 220),
    "yellow": (236, 214, 88),
}
SIZE, GRID = 32, 8
METHODS = ("df-rise", "df-cam", "random")


class FakeWorker:
    """Implements `pipeline.engine.Worker`. Prompts with "fails" in them fail; a model named "worse" scores lower."""

    def __init__(self, study, model, bank, device="cpu"):
        self.study, self.model, self.bank = study, model, bank
        self.total_steps = model.steps
        self.description = {
            "pipeline": "StableDiffusionPipeline",
            "family": "unet",
            "prediction_type": "epsilon",
            "scheduler": "DDIMScheduler",
            "dtype": "float32",
            "parameters": 4_283_012,
            "device": device,
            "total_steps": model.steps,
        }

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self, unit, on_step=None):
        rows = []
        for prompt in unit.prompts:
            rows.append(self._row(unit, prompt))
            for _ in range(self.total_steps if on_step else 0):
                on_step(1)
        return rows

    def _row(self, unit, prompt):
        row = {name: [] for name in SCHEMA.names} | {
            "unit_id": unit.unit_id,
            "model": unit.model.name,
            "prompt_key": prompt.prompt_key,
            "prompt_position": prompt.position,
            "seed": unit.seed,
            "status": "done",
            "error": "",
            "notice": "" if prompt.text.strip() else "empty prompt",
            "stage": "sample",
            "seconds": 0.5,
            "width": SIZE,
            "height": SIZE,
            "clip_score": None,
            "image": None,
        }
        if "fails" in prompt.text:
            return row | {
                "status": "failed",
                "error": "RuntimeError: this one fails",
                "width": 0,
                "height": 0,
            }
        return row | self._done(unit, prompt)

    def _done(self, unit, prompt):
        rng = np.random.default_rng(_number(prompt.prompt_key, unit.seed, unit.model.name))
        skill = 0.7 if "short" in unit.model.name or "worse" in unit.model.name else 1.0
        curves = [
            self._curve(c.family, c.name, prompt.text, skill, rng) for c in self.bank.concepts
        ]
        whole = _sigmoid(self.total_steps, 0.4, 0.15, 0.12 * skill, rng)
        words = prompt.text.split()[:12]
        steps = list(range(self.total_steps))
        maps = {m: [_bump(rng, t / len(steps)) for t in steps[::4]] for m in METHODS}
        return {
            "clip_score": float(whole[-1]),
            "image": _webp(_picture(prompt.text, 1.0, rng), None),
            "steps": [_step(i, self.total_steps) for i in steps],
            "prompt_similarity": whole,
            "trajectories": [
                {"concept": f"{c.family}/{c.name}", "similarity": curve}
                for c, curve in zip(self.bank.concepts, curves, strict=True)
            ],
            "frames": [
                {"step": i, "image": _webp(_picture(prompt.text, (i + 1) / len(steps), rng), 80)}
                for i in steps
            ],
            "words": [_word(i, word, prompt, steps, rng) for i, word in enumerate(words)],
            "explanations": [
                _map(step, method, maps[method][i])
                for method in METHODS
                for i, step in enumerate(steps[::4])
            ],
            "faithfulness": [
                _curve(step, method, game)
                for step in steps[::4]
                for method in METHODS
                for game in ("insertion", "deletion")
            ],
            "agreement": [
                {
                    "step": s,
                    "method_a": "df-cam",
                    "method_b": "df-rise",
                    "spearman": 0.5,
                    "iou": 0.4,
                }
                for s in steps[::4]
            ],
            "spectrum": [
                {
                    "band": b,
                    "low": b / 8,
                    "high": (b + 1) / 8,
                    "power": np.linspace(-b, -2 * b, len(steps), dtype=np.float32),
                }
                for b in range(4)
            ],
            "embedding": [
                np.float32([t / len(steps), skill, *rng.normal(0, 0.05, 6)]) for t in steps
            ],
            "further_scorers": [
                self._further(unit, prompt, 1.7 - skill, place)
                for place in range(len(self.study.further_scorers))
            ],
        }

    def _further(self, unit, prompt, skill, place):
        """What a further scorer sees: it finds the better model worse."""
        rng = np.random.default_rng(_number(prompt.prompt_key, unit.seed, unit.model.name, place))
        whole = _sigmoid(self.total_steps, 0.4, 0.05, 0.12 * skill, rng)
        return {
            "clip_score": float(whole[-1]),
            "prompt_similarity": whole,
            "trajectories": [
                {
                    "concept": c.key,
                    "similarity": self._curve(c.family, c.name, prompt.text, skill, rng),
                }
                for c in self.bank.concepts
            ],
        }

    def _curve(self, family, name, text, skill, rng):
        named = name in text
        return _sigmoid(
            self.total_steps, ONSET.get(family, 0.4), 0.15, (0.1 if named else 0.01) * skill, rng
        )


class MeetingWorker(FakeWorker):
    """Notes its process and its device in a folder, and works only once all the processes expected have done so.

    It says of itself that it is on the CPU: the GPUs of its tests are not there.
    """

    def __init__(self, study, model, bank, device):
        super().__init__(study, model, bank, "cpu")
        self.folder = Path(os.environ["STEPSCOPE_TEST_MEETING"])
        (self.folder / str(os.getpid())).write_text(device)

    def run(self, unit, on_step=None):
        deadline = time.monotonic() + 60
        while len(list(self.folder.iterdir())) < int(os.environ["STEPSCOPE_TEST_PLACES"]):
            assert time.monotonic() < deadline, "the other workers did not come"
            time.sleep(0.01)
        return super().run(unit, on_step)


def _number(*parts):
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big")


def _sigmoid(steps, onset, base, rise, rng):
    t = np.arange(steps) / max(steps - 1, 1)
    onset = onset + rng.normal(0, 0.03)
    return (base + rise / (1 + np.exp(-14 * (t - onset))) + rng.normal(0, 0.002, steps)).astype(
        np.float32
    )


def _step(i, total):
    sigma = math.cos(i / total * math.pi / 2) * 0.99 + 0.005
    alpha = math.sqrt(1 - sigma**2)
    snr = 2 * math.log(alpha / sigma)
    return {
        "step": i,
        "timestep": 999 * (1 - i / total),
        "alpha": alpha,
        "sigma": sigma,
        "log_snr": snr,
        "call": 1,
    }


def _picture(text, clean, rng):
    colour = next((rgb for name, rgb in COLOURS.items() if name in text), (120, 120, 120))
    image = Image.new("RGB", (SIZE, SIZE), colour)
    radius = 4 + _number(text) % 6
    ImageDraw.Draw(image).ellipse(
        (16 - radius, 16 - radius, 16 + radius, 16 + radius), fill=(250, 180, 60)
    )
    noise = rng.normal(128, 60, (SIZE, SIZE, 3))
    return np.clip(clean * np.asarray(image) + (1 - clean) * noise, 0, 255).astype(np.uint8)


def _webp(pixels, quality):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=quality is None, quality=quality or 0)
    return buffer.getvalue()


def _word(i, word, prompt, steps, rng):
    role = next((role for role, words in prompt.roles.items() if word in words), "")
    n = len(steps)
    return {
        "word_index": i, "word": word, "role": role, "source": "attention", "layer_group": "all", "steps": steps,
        "mass": np.full(n, 0.1, np.float32), "scaled": None, "entropy": np.linspace(0.9, 0.5, n, dtype=np.float32),
    }  # fmt: skip


def _bump(rng, progress):
    y, x = np.mgrid[:GRID, :GRID]
    centre = 3.5 + rng.normal(0, 1 - progress, 2)
    field = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 6)
    return ((field - field.min()) / np.ptp(field)).astype(np.float16)


def _map(step, method, field):
    return {
        "step": step, "method": method, "word": "", "height": GRID, "width": GRID, "low": 0.0, "high": 1.0,
        "map": field.tobytes(),
    }  # fmt: skip


def _curve(step, method, game):
    points = np.linspace(0, 1, GRID + 1, dtype=np.float32)
    curve = points**0.5 if game == "insertion" else 1 - points**0.5
    area = float(np.trapezoid(curve, points))
    return {
        "step": step, "method": method, "game": game, "score": "clip", "curve": curve, "auc": area,
        "auc_scaled": area, "auc_random": 0.5, "auc_inverse": 1 - area,
    }  # fmt: skip


class SlowWorker(FakeWorker):
    """Takes a while for each unit, so that something can happen in between."""

    def run(self, unit, on_step=None):
        time.sleep(0.15)
        return super().run(unit, on_step)
