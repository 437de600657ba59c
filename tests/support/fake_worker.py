"""A worker without a model: the rows of plausible samples, made by arithmetic alone, the same at every call."""

from __future__ import annotations

import hashlib
import io
import math
import os
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pipeline.results.rows import failed_row, sample_row
from pipeline.study.pairs import named_concepts

ONSET = {
    "colour": 0.15,
    "relation": 0.3,
    "texture": 0.35,
    "size": 0.45,
    "count": 0.4,
    "object": 0.55,
}
INFORMED = {"subject": 2.0, "object": 1.5, "attribute": 1.0, "relation": 0.5}
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

    def run(self, work_unit, on_step=None):
        rows = []
        for prompt in work_unit.prompts:
            rows.append(self._row(work_unit, prompt))
            for _ in range(self.total_steps if on_step else 0):
                on_step(1)
        return rows

    def _row(self, work_unit, prompt):
        common = {**self._cost(prompt), "notice": "" if prompt.text.strip() else "empty prompt"}
        if "fails" in prompt.text:
            return failed_row(work_unit, prompt, "RuntimeError: this one fails", "sample", **common)
        picture = {"width": SIZE, "height": SIZE}
        return sample_row(
            work_unit, prompt, **common, **picture, **self._measured(work_unit, prompt)
        )

    def _cost(self, prompt):
        """Planted: each image is a batch; the short model takes half again as long, the transformer three times the memory of the first."""
        slow = 1.5 if "short" in self.model.name else 1.0
        size = 3 if "dit" in self.model.name else 1
        return {
            "seconds": slow * 0.5 + 0.1 * _share(prompt.prompt_key, self.model.name),
            "peak_memory": size * 2**30 + prompt.position * 2**20,
            "memory_kind": "process",
        }

    def _measured(self, work_unit, prompt):
        rng = np.random.default_rng(
            _number(prompt.prompt_key, work_unit.seed, work_unit.model.name)
        )
        skill = 0.7 if "short" in work_unit.model.name or "worse" in work_unit.model.name else 1.0
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
                _curve(step, method, game, baseline)
                for step in steps[::4]
                for method in METHODS
                for game in ("insertion", "deletion")
                for baseline in (None, "re-noised")
            ],
            "agreement": [
                {
                    "step": s,
                    "method_a": "df-cam",
                    "method_b": "df-rise",
                    "spearman": 0.4 + 0.2 * close,
                    "iou": 0.3 + 0.2 * close,
                }
                for s in steps[::4]
                for close in [_share(prompt.prompt_key, work_unit.seed, work_unit.model.name, s)]
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
            **self._switches(prompt),
            "concept_attention": self._concepts(prompt, rng),
            "redraws": self._redraws(),
            "information": self._information(prompt, words),
            "further_scorers": [
                self._further(work_unit, prompt, 1.7 - skill, number)
                for number in range(len(self.study.further_scorers))
            ],
        }

    def _switches(self, prompt):
        """Switches whose deciding step is planted: colour a quarter of the way, object at three quarters, worse models a step later."""
        total, late = self.total_steps, "short" in self.model.name
        jitter = _number(prompt.prompt_key) % 2
        rows, images = [], []
        for family, share in (("colour", 0.25), ("object", 0.75)):
            named = [c for c in self.bank.concepts if c.family == family and c.name in prompt.text]
            concept = f"{family}/{named[0].name}" if named else ""
            last = round(share * total) - jitter + late
            for direction in ("insert", "remove"):
                for step in (*range(0, total, 2), total):
                    there = (total > 0 and step <= last) == (direction == "insert")
                    where = {"base": f"another {family}", "direction": direction, "step": step}
                    rows.append(
                        {**where, "differs": family, "concept": concept, "judged": float(there),
                         "similarity": 0.25 if there else 0.14, "preference": 0.1 if there else -0.1}
                    )  # fmt: skip
                    images.append({**where, "image": DOTS[there]})
        return {"switches": rows, "switch_images": images}

    def _concepts(self, prompt, rng):
        """Every concept of a family alike, those that the prompt names a little more as the image forms."""
        n = self.total_steps
        named = {concept.key for concept in named_concepts(prompt.text, self.bank.concepts)}
        sizes = Counter(concept.family for concept in self.bank.concepts)
        return [
            {
                "concept": c.key, "layer_group": group, "steps": list(range(n)),
                "share": (1 / sizes[c.family] + (0.1 * rng.random() + 0.2 * np.linspace(0, 1, n)) * (c.key in named)).astype(np.float32),
                "peak": np.full(n, 0.9, np.float32),
            }
            for c in self.bank.concepts
            for group in ("all", "up")
        ]  # fmt: skip

    def _redraws(self):
        """Redraws whose window is planted: half keep a colour up to step 2, three in four an object up to step 6, all after it; worse
        models two steps later. The scorer reads what the judge does, but for objects, of which it says nothing."""
        total, late = self.total_steps, 2 * ("short" in self.model.name)
        planted = {"colour": (2 + late, 2), "object": (6 + late, 3)}
        return [
            {"step": step, "family": family, "redraws": 4, "judged": kept, "kept": None if family == "object" else kept}
            for step in range(1, total)
            for family, (last, open_share) in planted.items()
            for kept in [4 if step > last else open_share]
        ]  # fmt: skip

    def _information(self, prompt, words):
        """Information that is planted: a word's strength by its role, at every level alike, a quarter of it for others; an image changes most
        without the word that tells most, of the short model without the one that tells least."""
        roles = [_role(word, prompt) for word in words]
        steps = list(range(self.total_steps))
        strength = [INFORMED.get(role, 0.25) + 0.01 * i for i, role in enumerate(roles)]
        sign = -1 if "short" in self.model.name else 1
        values = np.linspace(0, 1, 16 * 16, dtype=np.float16)
        return [
            {"word_index": i, "word": word, "role": role, "steps": steps,
             "density": [each] * len(steps), "signed": [-each] * len(steps), "nats": 10 * each, "signed_nats": -10 * each,
             "effect": sign * each / 10, "change": each / 10,
             "height": 16, "width": 16, "low": 0.0, "high": each, "map": values.tobytes()}
            for i, (word, role, each) in enumerate(zip(words, roles, strength, strict=True))
        ]  # fmt: skip

    def _further(self, work_unit, prompt, skill, number):
        """What a further scorer sees: it finds the better model worse."""
        rng = np.random.default_rng(
            _number(prompt.prompt_key, work_unit.seed, work_unit.model.name, number)
        )
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

    def run(self, work_unit, on_step=None):
        deadline = time.monotonic() + 600
        while len(list(self.folder.iterdir())) < int(os.environ["STEPSCOPE_TEST_PLACES"]):
            assert time.monotonic() < deadline, "the other workers did not come"
            time.sleep(0.01)
        return super().run(work_unit, on_step)


def _number(*parts):
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big")


def _share(*parts):
    """A number of its own from 0 to 1."""
    return _number(*parts) / 2**64


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


def _role(word, prompt):
    return next((role for role, words in prompt.roles.items() if word in words), "")


def _word(i, word, prompt, steps, rng):
    role = _role(word, prompt)
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


def _curve(step, method, game, baseline):
    """All tools alike under zeros, which the shard spells null; re-noised, one better than the other."""
    points = np.linspace(0, 1, GRID + 1, dtype=np.float32)
    power = 0.5 + 0.1 * METHODS.index(method) * (baseline is not None)
    curve = points**power if game == "insertion" else 1 - points**power
    area = float(np.trapezoid(curve, points))
    return {
        "step": step, "method": method, "game": game, "score": "clip", "curve": curve, "auc": area,
        "auc_scaled": area, "auc_random": 0.5, "auc_inverse": 1 - area, "baseline": baseline,
    }  # fmt: skip


DOTS = {
    seen: _webp(np.full((8, 8, 3), 200 if seen else 40, np.uint8), 80) for seen in (True, False)
}


class SlowWorker(FakeWorker):
    """Takes a while for each unit, so that something can happen in between."""

    def run(self, work_unit, on_step=None):
        time.sleep(0.15)
        return super().run(work_unit, on_step)
