"""The tables of `demo trust` as Markdown, with 95 % t intervals over scenes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

from pipeline.tables import markdown_table

Row = Mapping[str, Any]
ALL_LAYERS = "all"  # the mean over layers, in place of one


def localisation_table(rows: Sequence[Row]) -> str:
    """Average precision over a random map's, per model and method, overall and at each step.

    A method's maps of words (attention, relevance) are compared with the named object's mask, all others with the mask of all
    objects; chance is the share of the image that the mask covers.
    """
    rows = [row for row in rows if row["layer"] == ALL_LAYERS]
    steps = sorted({row["step"] for row in rows})
    head = ["model", "method", "map of", "average precision", "over chance", "pointing", "IoU"]
    lines = []
    for model, method, of_words in _groups(rows):
        chosen = [r for r in rows if (r["model"], r["method"]) == (model, method)]
        chosen = [r for r in chosen if (r["word"] != "") == of_words]
        means = [
            f"{np.mean([r[key] for r in chosen]):.2f}"
            for key in ("average_precision", "pointing", "iou")
        ]
        over = [gain_interval([r for r in chosen if r["step"] == step]) for step in steps]
        cells = [model, method, "word" if of_words else "all objects", means[0]]
        cells += [show(gain_interval(chosen)), *means[1:], *map(show, over)]
        lines.append(cells)
    return markdown_table([*head, *[f"step {step}, over chance" for step in steps]], lines)


def layer_table(rows: Sequence[Row]) -> str:
    """Average precision of maps of words over a random map's, layer by layer, per model and method."""
    lines = []
    for model in dict.fromkeys(row["model"] for row in rows):
        of_words = [row for row in rows if row["model"] == model and row["word"] != ""]
        layers = list(dict.fromkeys(r["layer"] for r in of_words if r["layer"] != ALL_LAYERS))
        for method in dict.fromkeys(r["method"] for r in of_words if r["layer"] in layers):
            chosen = [r for r in of_words if r["method"] == method]
            lines += [
                [
                    model,
                    method,
                    layer,
                    show(gain_interval([r for r in chosen if r["layer"] == layer])),
                ]
                for layer in [*layers, ALL_LAYERS]
            ]
    return markdown_table(["model", "method", "layer", "over chance"], lines)


def paired_table(rows: Sequence[Row], method: str, other: str) -> str:
    """Average precision per object of one method less that of another, paired by scene, per model."""
    lines = []
    for model in dict.fromkeys(row["model"] for row in rows):
        chosen = [r for r in rows if (r["model"], r["layer"]) == (model, ALL_LAYERS) and r["word"]]
        first, second = (
            _scene_means([r for r in chosen if r["method"] == name], _precision)
            for name in (method, other)
        )
        means = [f"{np.mean(values):.2f}" for values in (first, second)]
        lines.append([model, *means, show(t_interval(first - second)), len(first)])
    return markdown_table(["model", method, other, "difference, paired", "scenes"], lines)


def _precision(row: Row) -> float:
    return row["average_precision"]


def gain_interval(rows: Sequence[Row]) -> tuple[float, float, float]:
    """(mean, low, high) of average precision over chance; steps and words averaged within a scene."""
    return t_interval(_scene_means(rows, lambda r: r["average_precision"] - r["mask_share"]))


def _groups(rows: Sequence[Row]) -> list[tuple[str, str, bool]]:
    return list(dict.fromkeys((r["model"], r["method"], r["word"] != "") for r in rows))


def _scene_means(rows: Sequence[Row], value: Callable[[Row], float]) -> Float[np.ndarray, " scene"]:
    """Steps and words averaged within a scene: the scene is the unit."""
    scenes = sorted({row["scene"] for row in rows})
    return np.array([np.mean([value(r) for r in rows if r["scene"] == s]) for s in scenes])


def t_interval(values: Float[np.ndarray, " n"]) -> tuple[float, float, float]:
    """(mean, low, high), the 95 % t interval; infinite with fewer than two values, nan without any."""
    if len(values) == 0:
        return (float("nan"),) * 3
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, -np.inf, np.inf
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return mean, mean - half, mean + half


def randomisation_table(rows: Sequence[Row]) -> str:
    """Spearman with the trained model's map as layers are shuffled, per model and method, and the verdict."""
    tables = []
    for model in dict.fromkeys(row["model"] for row in rows):
        rows_of_model = [row for row in rows if row["model"] == model]
        stages = list(dict.fromkeys((row["layers"], row["share"]) for row in rows_of_model))
        named = [f"{label} ({share:.0%})" for label, share in stages]
        lines = []
        floor = similarity(rows_of_model, "copy", stages[-1][0])[1]
        for method in dict.fromkeys(row["method"] for row in rows_of_model):
            intervals = [similarity(rows_of_model, method, label) for label, _ in stages]
            count = sum(r["samples"] for r in _at(rows_of_model, method, stages[-1][0]))
            verdict = depends(intervals[-1], floor)
            lines.append([model, method, *map(show, intervals), count, verdict])
        head = ["model", "method", *named, "maps", "depends on the weights"]
        tables.append(markdown_table(head, lines))
    return "\n\n".join(tables)


def similarity(rows: Sequence[Row], method: str, layers: str) -> tuple[float, float, float]:
    """(mean, low, high) over maps of a method's similarity to the trained model's map."""
    correlations = [r["spearman"] for r in _at(rows, method, layers) if r["spearman"] is not None]
    return t_interval(np.array(correlations))


def _at(rows: Sequence[Row], method: str, layers: str) -> list[Row]:
    return [r for r in rows if (r["method"], r["layers"]) == (method, layers)]


def depends(interval: tuple[float, float, float], floor: float) -> str:
    """Whether a tool's maps depend on the weights: its interval lies below the floor (yes), begins at it or above (no), or holds it.

    The floor is the low end of the interval of the copy's own similarity, a map of the input alone, drawn with other masks:
    so alike are two maps that no weights decide.
    """
    if np.isnan(interval[0]) or np.isnan(floor):
        return "constant map"
    if interval[2] < floor:
        return "yes"
    return "no" if interval[1] >= floor else "not separable"


def area_table(rows: Sequence[Row]) -> str:
    """Spearman of LIME's map with the areas of its segments, per model, over scenes; near 0 is good."""
    lines = []
    for model in dict.fromkeys(row["model"] for row in rows):
        rows_of_model = [r for r in rows if r["model"] == model and r["spearman"] is not None]
        interval = t_interval(_scene_means(rows_of_model, lambda r: r["spearman"]))
        lines.append([model, show(interval)])
    return markdown_table(["model", "LIME against segment area"], lines)


def show(interval: tuple[float, float, float]) -> str:
    """A mean with its interval."""
    mean, low, high = interval
    return "" if np.isnan(mean) else f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"
