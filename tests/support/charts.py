"""Every chart with a little data, for the tests of charts and of their specs."""

from __future__ import annotations

import io
from typing import Any

import pandas as pd
from PIL import Image

from app.charts.axes import AXES
from app.charts.causes import timeline
from app.charts.curves import curves, difference_curves, predictability
from app.charts.grids import difference_heat, heat
from app.charts.image_map import image_map
from app.charts.images import tiles
from app.charts.paths import paths
from app.charts.points import scatter
from app.charts.rows import bars, emergence, forest, score_strip
from app.charts.schedules import schedule_ticks
from app.charts.style import model_scales
from app.charts.tools import matrix, tool_curves, tool_forest
from app.charts.training import panel
from app.charts.variants import trade_off
from app.charts.words import role_bars, word_lines

MODELS = pd.DataFrame({"model_id": [1, 2, 3], "label": ["UNet", "UNet (quarter)", "DiT"]})
STEPS = range(6)


def webp(colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(out, "WEBP", lossless=True)
    return out.getvalue()


def by_step(models: pd.DataFrame = MODELS) -> pd.DataFrame:
    rows = [
        {
            "model": label,
            "step": step,
            "timestep": 999 - 150 * step,
            "log_snr": step - 3.0,
            "mean": 0.1 * step,
        }
        for label in models["label"]
        for step in STEPS
    ]
    data = pd.DataFrame(rows)
    return data.assign(low=data["mean"] - 0.05, high=data["mean"] + 0.05, prompts=12)


def by_concept(*, ids: tuple[str, ...] = ("cat", "red")) -> pd.DataFrame:
    rows = [
        {"concept": c, "family": "f", "step": s, "value": s / 10, "mean": s / 10 - 0.2}
        for c in ids
        for s in STEPS
    ]
    data = pd.DataFrame(rows)
    return data.assign(
        low=data["mean"] - 0.1,
        high=data["mean"] + 0.1,
        q=0.01,
        significant=data["step"] > 3,
        prompts=9,
    )


def by_row(row: str) -> pd.DataFrame:
    rows = [
        {"model": label, row: name, "mean": 2.0}
        for name in ("cat", "dog")
        for label in MODELS["label"]
    ]
    return pd.DataFrame(rows).assign(
        low=1.0,
        high=3.0,
        q1=0.5,
        q3=4.0,
        start_share=0.2,
        emerges_share=0.5,
        never_share=0.3,
        n=8,
        q=0.2,
        significant=[True, False] * 3,
        win_rate=0.6,
        d_z=0.3,
        prompts=8,
    )


def per_prompt() -> pd.DataFrame:
    rows = [
        {
            "model": label,
            "prompt_id": i,
            "prompt_key": f"k{i}",
            "text": f"<b>{i}</b>",
            "baseline": 0.2,
            "candidate": 0.25,
            "difference": 0.05,
            "score": 0.2 + i / 50,
            "image": webp(),
        }
        for label in MODELS["label"]
        for i in range(3)
    ]
    return pd.DataFrame(rows)


AXIS = AXES["Step"]
MEANS = pd.DataFrame(
    {"model": MODELS["label"], "mean": 0.25, "low": 0.2, "high": 0.3, "prompts": 9}
)
STATES = pd.DataFrame(
    [
        {"model": label, "state": s, "samples": 5, "place": i}
        for label in MODELS["label"]
        for i, s in enumerate(("done", "failed", "missing"))
    ]
)
CHECKPOINTS = pd.DataFrame(
    {"model_id": range(1, 21), "label": [f"run {i}" for i in range(20)], "shade": [i / 19 for i in range(20)], "run_number": 0}
)  # fmt: skip
CHECKPOINT_ROWS = pd.DataFrame(
    {"model": CHECKPOINTS["label"], "training_step": range(0, 2000, 100), "difference": 0.01, "low": -0.5, "high": 0.5, "prompts": 9}
)  # fmt: skip
COSTS = pd.DataFrame(
    {"model": MODELS["label"], "verdict": ["front", "undecided", "dominated"], "dominated_by": ["", "", "UNet"], "memory_gb": [1.0, 3.0, 9.0],
     "seconds": [0.5, 1.0, 8.0], "seconds_low": [0.4, 0.9, 7.0], "seconds_high": [0.6, 1.1, 9.0],
     "score": [0.2, 0.3, 0.1], "score_low": [0.1, 0.2, 0.0], "score_high": [0.3, 0.4, 0.2]}
)  # fmt: skip
ALL: dict[str, Any] = {
    "trade_off": lambda look: trade_off(COSTS, MODELS, "CLIP score ↑", memory=True),
    "curves": lambda look: curves(by_step(), MODELS, AXIS, "Similarity ↑", marker=2, look=look),
    "percent": lambda look: curves(
        by_step(), MODELS, AXIS, "Emerged", domain=(0, 1), format=".0%", look=look
    ),
    "predictability": lambda look: predictability(by_step(), MODELS, AXIS, marker=1, look=look),
    "difference_curves": lambda look: difference_curves(
        by_step(), MODELS, AXIS, "Difference", marker=1, look=look
    ),
    "heat": lambda look: heat(by_concept(), "Similarity", marker=2, look=look),
    "difference_heat": lambda look: difference_heat(
        by_concept(), "Difference", marker=2, look=look
    ),
    "emergence": lambda look: emergence(
        by_row("family"), MODELS, "family", limits=(0, 5), marker=2, look=look
    ),
    "timeline": lambda look: timeline(
        by_row("family").assign(kind="decided"), MODELS, AXES["Log-SNR"]
    ),
    "forest": lambda look: forest(by_row("concept"), MODELS, "concept", "Difference", look=look),
    "score_strip": lambda look: score_strip(
        per_prompt().drop(columns="image"), MEANS, MODELS, "CLIP score →"
    ),
    "scatter": lambda look: scatter(
        per_prompt().drop(columns="image"), MODELS, "Baseline →", "Candidate →", look=look
    ),
    "bars": lambda look: bars(STATES, MODELS),
    "training": lambda look: panel(
        CHECKPOINT_ROWS,
        CHECKPOINTS,
        "Difference",
        column="difference",
        zero=True,
        marker=200,
        look=look,
    ),
}
TWO_MODELS = pd.DataFrame({"model_id": [1, 2], "label": ["UNet", "Transformer"]})
WALK = pd.DataFrame(
    {
        "sample_id": [1, 1],
        "step": [0, 1],
        "nearest": [1, 1],
        "x": [0.0, 1.0],
        "y": [0.5, 0.2],
        "text": "a cat",
        "prompt_key": "k",
        "model": "UNet",
    }
)
BINS = pd.DataFrame(
    {
        "x_low": [0.0, 0.5],
        "x_high": [0.5, 1.0],
        "y_low": [0.0, 0.0],
        "y_high": [1.0, 1.0],
        "images": [3, 4],
        "prompts": [2, 4],
        "images_left": [0, 4],
        "shown": [0.25, 1.0],
        "text": "a cat",
        "model": "UNet",
        "url": ["data:", None],
    }
)
TOOL_CHARTS: dict[str, Any] = {
    "image_map": lambda: image_map(BINS, ("First", "Second"), {"x_low": 0.2, "y_high": 0.5}),
    "tiles": lambda: tiles(
        pd.DataFrame({"row": ["a"], "column": [3], "url": ["data:"], "note": [""], "step": [3], "range": [""]}),
        ["a"], bar="Saliency", marker=3, clickable=True,
    ),
    "matrix": lambda: matrix(
        pd.DataFrame({"first": ["DF-CAM"], "second": ["LIME"], "value": [0.3], "low": [0.1], "high": [0.5], "n": [4]}),
        "Spearman", domain=(-0.2, 1),
    ),
    "word_lines": lambda: word_lines(
        pd.DataFrame({"word": ["cat"], "role": ["subject"], "step": [1], "value": [0.2], "seeds": [2]}),
        ["cat"], "Share", marker=1,
    ),
    "tool_curves": lambda: tool_curves(
        pd.DataFrame({"method": ["lime"], "step": [1], "mean": [0.1], "low": [0.0], "high": [0.2], "n": [4]}),
        "step", "Step", "Gain", zero=True, marker=2,
    ),
    "tool_forest": lambda: tool_forest(
        pd.DataFrame({"method": ["lime"], "model": ["UNet"], "mean": [0.1], "low": [0.0], "high": [0.2], "n": [4]}),
        TWO_MODELS, "Gain",
    ),
    "role_bars": lambda: role_bars(
        pd.DataFrame({"role": ["object"], "model": ["UNet"], "mean": [0.1], "low": [0.0], "high": [0.2], "prompts": [4]}),
        TWO_MODELS, "Relevance",
    ),
    "schedule_ticks": lambda: schedule_ticks(
        pd.DataFrame({"model": ["UNet"], "step": [0], "timestep": [999.0], "log_snr": [-5.0]}),
        TWO_MODELS, AXES["Timestep"],
    ),
    "paths": lambda: paths(
        WALK, WALK[:1], "model", None, model_scales(TWO_MODELS)["color"], ("first", "second"), marker=1,
    ),
}  # fmt: skip
