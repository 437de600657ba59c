"""Two principal components of a study's CLIP embeddings: the plane on which paths are drawn."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from numpy import ndarray

from pipeline.database.tables import Chunk, lists_of

COMPONENTS = 2
VECTORS = 20_000  # of a random subset of the samples; enough for two stable components


@dataclass(frozen=True)
class Projection:
    """A plane through embedding space."""

    mean: Float[ndarray, " d"]
    directions: Float[ndarray, "2 d"]
    explained: Float[ndarray, " 2"]  # share of the variance along each direction, 0..1

    def rows(self) -> pa.Table:
        """Rows of `projection`."""
        return pa.table(
            {
                "component": pa.array(range(COMPONENTS), pa.int32()),
                "explained_variance": pa.array(self.explained, pa.float32()),
                "direction": lists_of(self.directions),
                "mean": lists_of(np.tile(self.mean, (COMPONENTS, 1))),
            }
        )

    def paths(self, chunk: Chunk, embeddings: Float[ndarray, "n s d"]) -> pa.Table:
        """Rows of `path` for the samples of a chunk."""
        points = (embeddings - self.mean) @ self.directions.T
        n = len(embeddings)
        return pa.table(
            {
                "sample_id": pa.array(chunk.sample_id, pa.int64()),
                "model_id": pa.array(np.full(n, chunk.model_id), pa.int32()),
                "prompt_id": pa.array(chunk.prompt_id, pa.int32()),
                "seed": pa.array(chunk.seed, pa.int64()),
                "x": lists_of(np.ascontiguousarray(points[:, :, 0])),
                "y": lists_of(np.ascontiguousarray(points[:, :, 1])),
            }
        )


def fit(vectors: Float[ndarray, "n d"]) -> Projection:
    """The two directions of largest variance; the largest entry of each is positive."""
    vectors = np.asarray(vectors, np.float64)
    mean = vectors.mean(0)
    values, axes = np.linalg.eigh(
        np.cov(vectors - mean, rowvar=False, bias=True).reshape(vectors.shape[1], -1)
    )
    order = np.argsort(values)[::-1][:COMPONENTS]
    directions = np.zeros((COMPONENTS, vectors.shape[1]))
    directions[: len(order)] = axes[:, order].T
    largest = np.abs(directions).argmax(1)
    signs = np.sign(directions[np.arange(COMPONENTS), largest])
    directions *= np.where(signs == 0, 1, signs)[:, None]
    explained = np.zeros(COMPONENTS)
    explained[: len(order)] = values[order].clip(0) / max(values.clip(0).sum(), 1e-300)
    return Projection(mean, directions, explained)


def embeddings_of(chunk: Chunk) -> tuple[Chunk, Float[ndarray, "n s d"]]:
    """The samples of a chunk that have embeddings, and these."""
    lists = chunk.table["embedding"].combine_chunks()
    has = np.flatnonzero(np.asarray(lists.value_lengths()) > 0)
    if not len(has):
        return chunk.take(has), np.zeros((0, 0, 0))
    part = chunk.take(has)
    vectors = part.table["embedding"].combine_chunks().flatten()
    values = vectors.flatten().to_numpy(zero_copy_only=False)
    return part, values.reshape(len(has), len(vectors) // len(has), -1)
