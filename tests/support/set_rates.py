"""How often 95 % intervals of sets of images hold the truth, simulated: `python -m tests.support.set_rates` writes docs/benchmarks.md's table.

Images are vectors: a part of the prompt, a part of the seed. The truth is a measure's mean over many sets of the same size, against
one reference. Seeded: the table is the same on every run, but for rounding of linear algebra.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from pipeline.database.image_sets import interval
from pipeline.metrics import image_sets, set_intervals

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- set rates: begin -->\n", "<!-- set rates: end -->\n"
SEEDS, SIZE, SETS = 2, 8, 1500
RUNS = 400
MEASURES = ("vendi", "fid", "kid", "cmmd", "coverage")
PROMPTS = (12, 50)
SHIFTS = (0.0, 1.0)  # of a model's images from the reference
HEAD = "| measure | prompts | images are | this interval | jackknife | percentile bootstrap |\n|---|---|---|---|---|---|"
PLAIN: Mapping[str, Callable[..., float]] = {
    "vendi": lambda images, _: image_sets.vendi(images),
    "fid": image_sets.fid,
    "kid": image_sets.kid,
    "cmmd": image_sets.cmmd,
    "coverage": image_sets.coverage,
}


def images_of(rng: np.random.Generator, measure: str, prompts: int, shift: float) -> np.ndarray:
    """The vectors of a set, seeds of a prompt one after another; of length 1 but for FID."""
    x = rng.normal(0, 0.8, (prompts, 1, SIZE)) + rng.normal(0, 0.6, (prompts, SEEDS, SIZE))
    x[..., 0] += shift
    x = x.reshape(-1, SIZE)
    return x if measure == "fid" else x / np.linalg.norm(x, axis=1, keepdims=True)


def naive(measure: Callable[[np.ndarray], float], prompts: int, seed: int) -> tuple[float, float]:
    """The percentile bootstrap that draws prompts with replacement."""
    rng, values = np.random.default_rng(seed), []
    for _ in range(100):
        drawn = rng.integers(0, prompts, prompts)
        values.append(measure((drawn[:, None] * SEEDS + np.arange(SEEDS)).ravel()))
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def rates(measure: str, prompts: int, shift: float, runs: int, sets: int = SETS) -> dict[str, float]:  # fmt: skip
    """The share of runs whose interval holds the truth, by the way that it was made."""
    plain, known = PLAIN[measure], np.random.default_rng(99)
    reference = images_of(known, measure, prompts, 0)
    truth = np.mean([plain(images_of(known, measure, prompts, shift), reference) for _ in range(sets)])  # fmt: skip
    numbers, rng, held = np.repeat(np.arange(prompts), SEEDS), np.random.default_rng(0), []
    for run in range(runs):
        images = images_of(rng, measure, prompts, shift)

        def of_rows(rows: np.ndarray, images: np.ndarray = images) -> float:
            return plain(images[rows], reference)

        (_, low, high), _ = interval(measure, images, numbers, reference)
        limits = [
            (low, high),
            set_intervals.jackknife(of_rows, numbers)[1:],
            naive(of_rows, prompts, run),
        ]
        held.append([a <= truth <= b for a, b in limits])
    return dict(zip(("this", "jackknife", "naive"), np.mean(held, axis=0), strict=True))


def table() -> str:
    """The table of docs/benchmarks.md."""
    rows = [HEAD]
    for measure in MEASURES:
        for prompts in PROMPTS:
            for shift in SHIFTS[: 1 if measure == "vendi" else 2]:
                shares = rates(measure, prompts, shift, RUNS).values()
                cells = [f"{100 * share:.1f} %" for share in shares]
                where = "like the reference's" if shift == 0 else "others"
                rows.append(f"| {measure} | {prompts} | {'' if measure == 'vendi' else where} | {' | '.join(cells)} |")  # fmt: skip
    return "\n".join(rows) + "\n"


def written(document: str) -> str:
    """The document with the table in its place."""
    head, rest = document.split(BEGIN)
    return f"{head}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text()))
