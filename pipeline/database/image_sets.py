"""Per model, how diverse its images are and how far from those of a reference entry, by recorded CLIP vectors or by features."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy import ndarray

from pipeline.database.build import Build, insert
from pipeline.database.embeddings import final_vectors
from pipeline.database.features import read_features
from pipeline.errors import StoreError
from pipeline.metrics import image_sets, set_intervals
from pipeline.results.folder import Results
from pipeline.results.record import load_plan
from pipeline.results.saved_sets import (
    LOWER_IS_BETTER,
    Name,
    SavedSet,
    SetFile,
    content_of,
    contents,
)
from pipeline.results.shards import now
from pipeline.study.plan import Plan
from pipeline.study.settings import hint

Set = tuple[ndarray, list[str]]  # vectors and the prompt_key of each
_TABLE = pa.schema(
    {
        "model_id": pa.int32(),
        "measure": pa.string(),
        "lower_is_better": pa.bool_(),
        "value": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
        "images": pa.int32(),
        "prompts": pa.int32(),
        "reference_id": pa.int32(),
        "reference_images": pa.int32(),
        "extractor": pa.string(),
        "method": pa.string(),
        "computed_at": pa.string(),
        "outdated": pa.bool_(),
    }
)
MOST_IMAGES = 20_000  # of a model: every measure holds matrices of images x images


@dataclass(frozen=True)
class SetMeasure:
    """A measure of a model's images.

    Attributes:
        model: its label.
        measure: vendi, kid, cmmd or coverage; of features fid, kid or coverage.
        better: higher or lower.
        value, low, high: with its 95 % interval over prompts; NaN limits for fewer than 6 prompts.
        images: how many. prompts: of how many prompts.
        entry: its name in the study file.
        reference: name of the entry that it is held against; '' = none. reference_images: how many that has.
        extractor: of what vectors. method: how the interval was made.
    """

    model: str
    measure: Name
    better: str
    value: float
    low: float
    high: float
    images: int
    prompts: int
    entry: str = ""
    reference: str = ""
    reference_images: int = 0
    extractor: str = ""
    method: str = ""


def measure_sets(
    results: Results, reference: str = "", features: Path | None = None, extractor: str = ""
) -> list[SetMeasure]:
    """The measures of every model of a results folder that recorded embeddings.

    Args:
        results: the folder.
        reference: name or label of the entry that others are held against; '' = diversity alone.
        features: a file of another program's features, in place of the recorded embeddings; needs a reference.
        extractor: the program and model that computed the features.

    Raises:
        StoreError: no such entry, no embeddings, too few images, or more than MOST_IMAGES.
    """
    plan = load_plan(results)
    labels = {spec.name: spec.label for spec in plan.study.models}
    names = {label: name for name, label in labels.items()} | {name: name for name in labels}
    if reference and reference not in names:
        raise StoreError(
            f"--reference {reference!r}: not a model of this study. {hint(reference, list(labels))}"
        )
    sets = _sets_of(results, plan, names.get(reference), features)
    known = sets[names[reference]][0] if reference else None
    said = extractor or (str(features) if features else _of_scorer(plan))
    rows: list[SetMeasure] = []
    for name, (vectors, keys) in sets.items():
        others = None if reference and name == names[reference] else known
        if features is None or others is not None:
            measured = _of_model(labels[name], vectors, keys, others, features is not None)
            rows += [replace(row, entry=name, extractor=said) for row in measured]
    return [
        _referred(row, names.get(reference, ""), 0 if known is None else len(known)) for row in rows
    ]


def _of_scorer(plan: Plan) -> str:
    used = plan.study.scorer
    return f"CLIP vectors of {used.source}{f' ({used.pretrained})' if used.pretrained else ''}"


def _referred(row: SetMeasure, reference: str, images: int) -> SetMeasure:
    """The row with what it was held against; diversity is of the images alone."""
    return (
        row
        if row.measure == "vendi"
        else replace(row, reference=reference, reference_images=images)
    )


def save_sets(results: Results, rows: Sequence[SetMeasure]) -> None:
    """Keeps measures in the results folder, in place of those of the same measure, reference and extractor.

    Raises:
        StoreError: they cannot be written.
    """
    plan = load_plan(results)
    hashes = contents(plan, results.read_ledger().entries)
    names = ("measure", "images", "prompts", "reference", "reference_images", "method")
    SetFile(results).save(
        [
            SavedSet(
                model=row.entry,
                value=float(row.value),
                low=float(row.low) if math.isfinite(row.low) else None,
                high=float(row.high) if math.isfinite(row.high) else None,
                extractor=" ".join(row.extractor.split())[:200],
                content=content_of(hashes, row.entry, row.reference),
                computed_at=now(),
                **{name: getattr(row, name) for name in names},
            )
            for row in rows
        ]
    )


def insert_sets(build: Build) -> None:
    """Fills the table `image_set` with the saved measures of the study's entries.

    Raises:
        StoreError: their file is damaged.
    """
    ids = {spec.name: number for number, spec in enumerate(build.plan.study.models, start=1)}
    saved = [row for row in SetFile(build.results).rows() if row.model in ids and row.reference in {"", *ids}]  # fmt: skip
    hashes = contents(build.plan, build.entries) if saved else {}
    copied = [name for name in _TABLE.names if name in SavedSet.__struct_fields__]
    rows = [
        {
            **{name: getattr(row, name) for name in copied},
            "model_id": ids[row.model],
            "reference_id": ids.get(row.reference),
            "lower_is_better": LOWER_IS_BETTER[row.measure],
            "outdated": content_of(hashes, row.model, row.reference) != row.content,
        }
        for row in saved
    ]
    insert(build.db, "image_set", pa.Table.from_pylist(rows, _TABLE))


def _sets_of(
    results: Results, plan: Plan, reference: str | None, features: Path | None
) -> dict[str, Set]:
    """The vectors of each entry's images: recorded ones, or features."""
    if features is None:
        sets = {
            name: final_vectors(results, plan, name)
            for name in (spec.name for spec in plan.study.models)
        }
    else:
        sets = _of_features(read_features(features, plan), reference, features)
    for name, (vectors, _) in sets.items():
        if len(vectors) > MOST_IMAGES:
            raise StoreError(
                f"model {name!r}: {len(vectors):,} images; at most {MOST_IMAGES:,} are compared."
            )
    return sets


def _of_features(sets: dict[str, Set], reference: str | None, file: Path) -> dict[str, Set]:
    """The sets that have features, the reference among them."""
    known = {name: each for name, each in sets.items() if len(each[1])}
    if reference is None:
        raise StoreError("--features: needs --reference, the entry that the others are held against.")  # fmt: skip
    if reference not in known:
        raise StoreError(f"{file}: no features of the reference {reference!r}. Give those of its images too.")  # fmt: skip
    return known


def _of_model(
    label: str, vectors: ndarray, keys: list[str], reference: ndarray | None, features: bool
) -> list[SetMeasure]:
    prompts = np.unique(np.array(keys), return_inverse=True)[1]
    names: list[Name] = [] if features else ["vendi"]
    if reference is not None:
        names += ["kid", "fid" if features else "cmmd", "coverage"]
    rows = []
    for name in names:
        try:
            (value, low, high), method = interval(name, vectors, prompts, reference)
        except ValueError as error:
            raise StoreError(f"model {label!r}: {name} cannot be computed: {error}.") from None
        better = "lower" if LOWER_IS_BETTER[name] else "higher"
        counts = len(vectors), int(prompts.max()) + 1
        rows.append(SetMeasure(label, name, better, value, low, high, *counts, method=method))
    return rows


def interval(
    name: Name, vectors: ndarray, prompts: ndarray, reference: ndarray | None
) -> tuple[set_intervals.Interval, str]:
    """A measure with its 95 % interval over prompts, and how that was made.

    Coverage depends on which images there are, which no weight changes: its interval is a jackknife's.

    Args:
        name: of the measure.
        vectors: "n d", of the images.
        prompts: "n", the prompt of each image, numbered from 0.
        reference: "m d"; Vendi needs none.
    """
    others = () if reference is None or name == "vendi" else (reference,)
    if name == "coverage":
        return set_intervals.jackknife(
            lambda rows: image_sets.coverage(vectors[rows], *others), prompts
        ), set_intervals.JACKKNIFE
    plain, weighted = _WEIGHTED[name]
    value, count = plain(vectors, *others), int(prompts.max()) + 1
    if count < set_intervals.FEWEST:
        return (value, np.nan, np.nan), set_intervals.BOOTSTRAP
    measure = weighted(vectors, *others, prompts)
    return set_intervals.bootstrap(value, measure, count), set_intervals.BOOTSTRAP


_WEIGHTED: dict[str, tuple[Callable[..., float], Callable[..., set_intervals.Weighted]]] = {
    "vendi": (image_sets.vendi, set_intervals.weighted_vendi),
    "kid": (image_sets.kid, set_intervals.weighted_kid),
    "cmmd": (image_sets.cmmd, set_intervals.weighted_cmmd),
    "fid": (image_sets.fid, set_intervals.weighted_fid),
}
