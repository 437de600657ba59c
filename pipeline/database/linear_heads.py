"""Linear heads on a scorer's vectors, such as aesthetic predictors: a score at every step out of the recorded embeddings."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from numpy import ndarray
from safetensors import SafetensorError
from safetensors.numpy import load

from pipeline.database.embeddings import ADVICE, recorded
from pipeline.errors import ModelError, StoreError
from pipeline.results import safe_files
from pipeline.results.folder import Results
from pipeline.results.scores import MAX_ROWS, SCHEMA
from pipeline.study.plan import Plan

MAX_HEAD = 2**28  # bytes
LAYER = re.compile(r"(?:(.*)\.)?(weight|bias)")


@dataclass(frozen=True)
class Head:
    """A linear function of a unit vector.

    Attributes:
        weight: one number per dimension.
        bias: added to the product.
    """

    weight: Float[ndarray, " d"]
    bias: float

    def of(self, vectors: Float[ndarray, "*n d"]) -> Float[ndarray, "*n"]:
        """The score of each unit vector."""
        return np.asarray(vectors, np.float64) @ self.weight + self.bias


def read_head(path: Path) -> Head:
    """The head in a safetensors file: one linear layer, or several without an activation between them, as LAION's are.

    Layers are taken in the order of the numbers in their names (`layers.0.weight`, `layers.0.bias`, ...).

    Source: Schuhmann et al. 2022, LAION-5B (arXiv 2210.08402), appendix on aesthetic subsets.

    Raises:
        ModelError: it is no safetensors file, or holds something other than linear layers that end in one number.
    """
    try:
        # The folder may be reached through links, for its user named it; the file itself is none.
        file = Path(os.path.realpath(path.parent)) / path.name
        tensors = load(safe_files.read_capped(file, MAX_HEAD))
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path}: cannot be read as safetensors ({str(error)[:200]}). Convert the head to safetensors."
        ) from None
    try:
        return _joined(_layers(tensors))
    except ValueError as error:
        raise ModelError(
            f"{path}: no linear head ({error}). Allowed: layers of weight (out, in) and bias (out), one after the other without "
            "activation, the last with one output."
        ) from None


def _layers(tensors: Mapping[str, ndarray]) -> list[tuple[ndarray, ndarray]]:
    """Weight and bias of each layer, in order."""
    parts: dict[str, dict[str, ndarray]] = {}
    for name, tensor in tensors.items():
        match = LAYER.fullmatch(name)
        if match is None or not np.issubdtype(tensor.dtype, np.floating):
            raise ValueError(f"tensor {name[:80]!r} of type {tensor.dtype}")
        if not np.isfinite(tensor).all():
            raise ValueError(f"tensor {name[:80]!r} is not finite")
        parts.setdefault(match[1] or "", {})[match[2]] = np.asarray(tensor, np.float64)
    layers = []
    for name in sorted(parts, key=lambda name: [int(n) for n in re.findall(r"[0-9]{1,9}", name)]):
        weight = np.atleast_2d(parts[name].get("weight", np.zeros(0)))
        bias = parts[name].get("bias", np.zeros(len(weight))).reshape(-1)
        if weight.ndim != 2 or not weight.size or bias.shape != weight.shape[:1]:
            raise ValueError(f"layer {name[:80]!r}: weight {weight.shape}, bias {bias.shape}")
        layers.append((weight, bias))
    return layers


def _joined(layers: list[tuple[ndarray, ndarray]]) -> Head:
    """Several linear layers as one."""
    if not layers:
        raise ValueError("no tensors")
    weight, bias = layers[0]
    for after, shift in layers[1:]:
        if after.shape[1] != len(weight):
            raise ValueError(
                f"a layer of {after.shape[1]} inputs after one of {len(weight)} outputs"
            )
        weight, bias = after @ weight, after @ bias + shift
    if len(weight) != 1:
        raise ValueError(f"{len(weight)} outputs")
    return Head(weight[0], float(bias[0]))


def head_scores(results: Results, plan: Plan, head: Head) -> pa.Table:
    """The head's score of the predicted clean image at every step of every sample, as rows of `scores.SCHEMA`.

    Raises:
        StoreError: no embeddings were recorded, they are of another length than the head's, or there are too many.
    """
    tables = []
    for spec in plan.study.models:
        for part in recorded(results, plan, spec.name):
            if part.vectors.shape[2] != len(head.weight):
                raise StoreError(
                    f"the head takes vectors of {len(head.weight)} numbers, and the scorer of this study gives {part.vectors.shape[2]}. "
                    "Use the head of that scorer."
                )
            samples, steps = part.vectors.shape[:2]
            columns = {
                "model": pa.array([spec.name] * samples * steps, pa.string()),
                "prompt_key": pa.array(
                    np.repeat(np.array(part.prompt_keys, object), steps), pa.string()
                ),
                "seed": pa.array(np.repeat(part.seeds, steps), pa.int64()),
                "step": pa.array(np.tile(np.arange(steps), samples), pa.int32()),
                "value": pa.array(head.of(part.vectors).reshape(-1), pa.float64()),
            }
            tables.append(pa.table(columns, SCHEMA))
    if not tables:
        raise StoreError(f"{results.folder}: no recorded embeddings. {ADVICE}")
    table = pa.concat_tables(tables)
    if len(table) > MAX_ROWS:
        raise StoreError(f"{len(table):,} values; at most {MAX_ROWS:,} are kept for a metric.")
    return table
