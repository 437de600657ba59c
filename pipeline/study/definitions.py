"""Versions of what the measures are: a measure whose definition changed is measured anew, under unit ids of its own.

A version is part of the id of every work unit that measures it. Version 1 is what every measure began as; it is left out of
ids and records, so that results of that time keep theirs. The CLIP score alone is not measured anew: it would take every image
again, so that a results folder continues with the version it began with.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.study.spec import Measures

CLIP_SCORE = "clip-score"
STORED_IMAGE = (
    2  # its version from which on it is that of the image as stored, with 8 bits a channel
)

# Raise a version when the same settings give other numbers. "Changed" is what a user is told.
DEFINITIONS: Mapping[str, Mapping[str, int]] = {
    "ours": {CLIP_SCORE: STORED_IMAGE, "df-rise": 2, "df-cam": 2, "lime": 2, "relevance": 2},
    "park2024": {
        CLIP_SCORE: STORED_IMAGE,
        "df-rise": 3,
        "df-cam": 3,
        "lime": 3,
        "relevance": 3,
        "faithfulness": 3,
    },
}
CHANGES: Mapping[tuple[str, int], str] = {
    (
        CLIP_SCORE,
        STORED_IMAGE,
    ): "of the image as it is stored, with 8 bits a channel, in place of the one before it is rounded",
    (
        "df-rise",
        2,
    ): "one score for each mask, of clean latents, in place of one for each position, of predictions",
    ("df-cam", 2): "the conditional half alone, in place of guidance applied twice",
    ("lime", 2): "scored by clean latents, weights per area of a segment",
    ("relevance", 2): "free of the target's scale, which changed the order of words",
    (
        "df-rise",
        3,
    ): "SSIM with zero padding, L = 1 and twice the covariance, as in the paper's code",
    ("df-cam", 3): "the target is the raw sum of both halves, as in the paper's code",
    ("lime", 3): "scored as the paper's DF-RISE, by predictions against the next latents",
    (
        "relevance",
        3,
    ): "by the text encoder's own attention, on one grid, both halves averaged, as in the paper's code",
    (
        "faithfulness",
        3,
    ): "the next step by a copy of the scheduler with its history; by default CLIP's cosine, or Inception's distance",
}


def current_definitions(measures: Measures) -> dict[str, int]:
    """The versions above 1 of what a study measures."""
    versions = DEFINITIONS[measures.protocol]
    return {name: versions[name] for name in limits_of(measures) if name in versions}


def limits_of(measures: Measures) -> dict[str, tuple[int | None, ...]]:
    """The CLIP score and every tool that gives a map or scores, with how many of the first prompts it sees (None = all) on each account.

    Insertion and deletion need the maps of the methods that they judge, also where the study does not ask for them.
    """
    limits: dict[str, tuple[int | None, ...]] = {
        CLIP_SCORE: (None,),
        **{name: (tool.prompts,) for name, tool in measures.tools().items()},
    }
    games = measures.faithfulness
    if games is not None:
        named: Any = games.options.get("methods", ())
        for name in named:
            limits[name] = (*limits.get(name, ()), games.prompts)
    return limits


def describe_change(name: str, version: int) -> str:
    """What a version of a measure's definition changed."""
    return CHANGES.get((name, version), f"definition {version}")
