"""The settings of each tool in a study file's [measures], and how they become a `ToolSpec`."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from pipeline.study.fields import take_record, written_values
from pipeline.study.settings import Table
from pipeline.study.spec import Option, ToolSpec

Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Calls = Annotated[int, Meta(ge=1, le=1_000_000)]  # masks or perturbations
Batch = Annotated[int, Meta(ge=1, le=65_536)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Step = Annotated[int, Meta(ge=0, le=9_999)]
Word = Annotated[str, Meta(pattern=r"\S")]
Similarity = Literal[
    "structure", "ssim", "contrast", "luminance", "cosine", "clip", "inception", "fid"
]
LatentSimilarity = Literal["structure", "ssim", "contrast", "luminance", "cosine"]
Design = Literal["independent", "antithetic", "hadamard", "shifted-hadamard"]
Estimator = Literal["effects", "mean"]
Segmentation = Literal["slic", "quickshift", "felzenszwalb", "grid"]
Method = Literal["df-rise", "df-cam", "lime", "attention", "relevance", "random"]
Game = Literal["insertion", "deletion"]
Baseline = Literal["zero", "re-noised", "resampled"]
Direction = Literal["insert", "remove"]
Among = Literal["family", "bank"]
Score = Literal["clip", "structure", "inception", "fid"]


class Stride(Struct, frozen=True, forbid_unknown_fields=True):
    """Every `stride`-th step, and the last."""

    stride: Annotated[int, Meta(ge=1, le=10_000)]


Steps = Annotated[
    Literal["all"] | Annotated[tuple[Step, ...], Meta(min_length=1)] | Stride,
    Meta(description='"all", [0, 10] or { stride = 5 }'),
]


class Tool(Struct, frozen=True, kw_only=True):
    """What every tool takes: at which steps, and on what part of the study it runs."""

    steps: Steps = "all"
    prompts: Count | UnsetType = UNSET
    models: tuple[Word, ...] | UnsetType = UNSET
    seeds: Count | UnsetType = UNSET


class Words(Tool, frozen=True, kw_only=True):
    """Of attention and relevance: which words, and whether their maps are stored."""

    maps: bool | UnsetType = UNSET
    map_steps: Steps | UnsetType = UNSET
    words: tuple[Word, ...] | UnsetType = UNSET


class Cam(Tool, frozen=True, kw_only=True):
    """Of DF-CAM: the layers, all if none."""

    layers: tuple[Word, ...] | UnsetType = UNSET


class Rise(Tool, frozen=True, kw_only=True):
    """Of DF-RISE; `pipeline.explain.rise.RiseOptions` has the defaults."""

    masks: Calls | UnsetType = UNSET
    similarity: Similarity | UnsetType = UNSET
    side: Annotated[int, Meta(ge=1, le=1024)] | UnsetType = UNSET
    probability: Annotated[float, Meta(ge=0.001, le=0.999)] | UnsetType = UNSET
    design: Design | UnsetType = UNSET
    estimator: Estimator | UnsetType = UNSET
    edges: bool | UnsetType = UNSET
    per_pixel: bool | UnsetType = UNSET
    divide: bool | UnsetType = UNSET
    against_next: bool | UnsetType = UNSET
    chunk: Batch | UnsetType = UNSET
    seed: Seed | UnsetType = UNSET


class Lime(Tool, frozen=True, kw_only=True):
    """Of LIME; `pipeline.explain.lime.LimeOptions` has the defaults."""

    perturbations: Calls | UnsetType = UNSET
    segmentation: Segmentation | UnsetType = UNSET
    segments: Annotated[int, Meta(ge=2, le=65_536)] | UnsetType = UNSET
    similarity: LatentSimilarity | UnsetType = UNSET
    chunk: Batch | UnsetType = UNSET
    seed: Seed | UnsetType = UNSET


class Faithfulness(Tool, frozen=True, kw_only=True):
    """Of insertion and deletion: which maps are judged, by which games, scores and baselines."""

    methods: tuple[Method, ...] | UnsetType = UNSET
    games: tuple[Game, ...] | UnsetType = UNSET
    scores: tuple[Score, ...] | UnsetType = UNSET
    baselines: Annotated[tuple[Baseline, ...], Meta(min_length=1)] | UnsetType = UNSET
    seed: Seed | UnsetType = UNSET


FIELD = re.compile(r"\{([^{}]*)\}")
FIELDS = ("prompt", "category", "subject", "relation", "object", "attribute")  # of a template


def unknown_fields(template: str) -> list[str]:
    """The {names} of a template that no prompt has."""
    return [name for name in FIELD.findall(template) if name not in FIELDS]


class Switch(Tool, frozen=True, kw_only=True):
    """Of prompt switching: which pairs of prompts, in which directions, who else judges the images."""

    template: Word | UnsetType = UNSET
    bases: Annotated[tuple[str, ...], Meta(min_length=1)] | UnsetType = UNSET
    directions: Annotated[tuple[Direction, ...], Meta(min_length=1)] | UnsetType = UNSET
    judge: Word | UnsetType = UNSET
    size: Annotated[int, Meta(ge=8, le=4096)] | UnsetType = UNSET


class Windows(Tool, frozen=True, kw_only=True):
    """Of critical windows: how often each image is drawn anew at a step, who else reads the images."""

    redraws: Annotated[int, Meta(ge=1, le=1000)] | UnsetType = UNSET
    judge: Word | UnsetType = UNSET


class Concepts(Tool, frozen=True, kw_only=True):
    """Of ConceptAttention: what concepts are compared with, and whose maps are stored."""

    among: Among | UnsetType = UNSET
    maps: bool | UnsetType = UNSET
    map_steps: Steps | UnsetType = UNSET
    concepts: Annotated[tuple[Word, ...], Meta(min_length=1)] | UnsetType = UNSET


class Information(Tool, frozen=True, kw_only=True):
    """Of information per word: draws of noise at each level, which words, and whether their maps are stored."""

    draws: Annotated[int, Meta(ge=1, le=1000)] | UnsetType = UNSET
    words: tuple[Word, ...] | UnsetType = UNSET
    maps: bool | UnsetType = UNSET


TOOL_SETTINGS: Mapping[str, type[Tool]] = {
    "attention": Words,
    "relevance": Words,
    "df-cam": Cam,
    "df-rise": Rise,
    "lime": Lime,
    "faithfulness": Faithfulness,
    "switch": Switch,
    "critical-windows": Windows,
    "concept-attention": Concepts,
    "information": Information,
}


def take_tool(table: Table, name: str) -> ToolSpec:
    """The settings of a tool.

    Raises:
        StepscopeError: of the table's class; names the key, its value and what is allowed.
    """
    values = written_values(take_record(table, TOOL_SETTINGS[name]))
    steps, stride = _steps(values.pop("steps"))
    prompts, models, seeds = (values.pop(key, None) for key in ("prompts", "models", "seeds"))
    options = {key: _option(value) for key, value in values.items()}
    return ToolSpec(steps, stride, prompts, models, seeds, options)


def _steps(value: str | tuple[int, ...] | Stride) -> tuple[tuple[int, ...] | None, int | None]:
    """A choice of steps as (steps, stride); (None, None) is every step."""
    if isinstance(value, tuple):
        return value, None
    return None, value.stride if isinstance(value, Stride) else None


def _option(value: Option | Stride) -> Option:
    """A setting as `ToolSpec` keeps it: a choice of steps that is no list is ("stride", n)."""
    if value == "all":
        return ("stride", 1)
    return ("stride", value.stride) if isinstance(value, Stride) else value
