"""How images move through CLIP space, and how their spatial frequencies fill up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from app.analysis import chance

Ask = Callable[..., pd.DataFrame]


def means(ask: Ask) -> pd.DataFrame:
    """The mean position per (model, step) on the study's two principal components, seeds averaged first.

    Returns:
        model_id, step, prompts, x, y, x_sd, y_sd, spread (root mean squared distance of prompts from the mean).
    """
    return ask("path_means")


def explained(ask: Ask) -> list[float]:
    """The share of the variance of all embeddings that each principal component explains, 0..1."""
    return [float(share) for share in ask("projection")["explained_variance"]]


def image_map(ask: Ask, columns: int, rows: int) -> pd.DataFrame:
    """Bins of the plane of both components by where images end: the last step of their paths.

    Args:
        ask: answers questions to the snapshot.
        columns: of bins across the plane's extent, whatever the slice.
        rows: of bins up it.

    Returns:
        per bin that holds an image: x_low, x_high, y_low, y_high, images, prompts, images_left (of prompts that the slice leaves), and
        of the image nearest to the bin's centre prompt_id, prompt_key, text, model_id, seed, image (bytes).
    """
    return ask("image_map", columns=columns, rows=rows)


def spectrum(ask: Ask, *, change: bool = False) -> pd.DataFrame:
    """Mean log10 power per (model, band of spatial frequencies, step) with 95 % t limits over prompts.

    Args:
        ask: answers questions to the snapshot.
        change: the change against the step before, in place of the power.

    Returns:
        model_id, band, from and to (cycles per pixel), frequency (the band's middle), step, prompts, mean, sd,
        low, high.
    """
    rows = ask("spectrum").rename(columns={"low": "from", "high": "to"})
    rows = rows.assign(frequency=(rows["from"] + rows["to"]) / 2)
    if change:
        rows = rows.assign(mean=rows["change"], sd=rows["change_sd"]).dropna(subset=["mean"])
    rows = rows.drop(columns=["change", "change_sd"])
    return chance.intervals(rows, "mean", "sd", "prompts")


def grouped(group: pd.Series, most: int, rest: str = "(other)") -> tuple[pd.Series, list[str]]:
    """The groups with all but the most common ones joined, and the names of those that are left in order.

    Args:
        group: name of each row's group.
        most: how many groups keep their name.
        rest: name of the joined ones.
    """
    common = [str(name) for name in group.value_counts().index[:most]]
    joined = group.where(group.isin(common), rest)
    return joined, [*common, rest] if (joined == rest).any() else common


def first_named(text: str, names: Sequence[str]) -> str:
    """The first of the concepts that a prompt names; '(none)' where it names none."""
    words = f" {' '.join(text.lower().split())} "
    return next((name for name in names if f" {name.lower()} " in words), "(none)")
