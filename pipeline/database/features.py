"""Features of images that another program computed, such as Inception's: a safetensors file of sample_id and features."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy import ndarray
from safetensors import SafetensorError
from safetensors.numpy import load

from pipeline.errors import StoreError
from pipeline.results import safe_files
from pipeline.study.plan import Plan

MAX_BYTES = 2**32
ADVICE = "Give the tensors sample_id (n whole numbers, as the export has them) and features (n x d numbers)."


def read_features(path: Path, plan: Plan) -> dict[str, tuple[ndarray, list[str]]]:
    """The features of each model's images: name -> vectors (n, d), and the prompt_key of each; models without any too.

    Args:
        path: the file.
        plan: of the study whose samples they are.

    Raises:
        StoreError: it is no such file, or names a sample twice or one that the study does not have.
    """
    ids, features = _read(path)
    study, prompts = plan.study, plan.prompts
    if len(np.unique(ids)) < len(ids):
        raise StoreError(f"{path}: a sample_id is there twice. Give one row for each image.")
    if len(ids) and not (ids.min() > 0 and ids.max() <= plan.samples):
        raise StoreError(f"{path}: sample_id is not in the study (1 to {plan.samples:,}). Export the study again.")  # fmt: skip
    blocks = (ids - 1) // len(study.seeds)
    models, positions = np.divmod(blocks, len(prompts))
    return {
        spec.name: (
            features[models == index],
            [prompts[position].prompt_key for position in positions[models == index]],
        )
        for index, spec in enumerate(study.models)
    }


def _read(path: Path) -> tuple[ndarray, ndarray]:
    try:
        # The folder may be reached through links, for its user named it; the file itself is none.
        file = Path(os.path.realpath(path.parent)) / path.name
        tensors = load(safe_files.read_capped(file, MAX_BYTES))
        ids, features = tensors["sample_id"], tensors["features"]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: no features ({' '.join(str(error).split())[:200]}). {ADVICE}") from None  # fmt: skip
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise StoreError(f"{path}: sample_id is {ids.dtype} of shape {ids.shape}. {ADVICE}")
    if features.ndim != 2 or len(features) != len(ids) or not features.shape[1]:
        raise StoreError(f"{path}: features is of shape {features.shape} for {len(ids):,} samples. {ADVICE}")  # fmt: skip
    if not np.issubdtype(features.dtype, np.floating) or not np.isfinite(features).all():
        raise StoreError(f"{path}: features are no finite numbers. {ADVICE}")
    return ids.astype(np.int64), features.astype(np.float64)
