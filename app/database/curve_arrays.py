"""A snapshot's curves in memory, as arrays: a slice of the prompts is then a choice of rows.

To fetch the curves of a slice took DuckDB more than half of the time of its means. The arrays are read once for all readers,
one per model, and per seed where some of several seeds are chosen.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, fields
from threading import Lock
from typing import Any, TypeVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute

from app.database.statements import Cursor


class CurvesError(ValueError):
    """Curves that are no array: SQL answers, whatever it makes of them."""


MOST = 384 * 2**20
"""Bytes of curves that are kept; curves of more are summed by SQL."""
MOST_NOTES = 256
"""Small answers that are kept beside them."""
Read = TypeVar("Read")


@dataclass(frozen=True)
class Block:
    """The curves of one model and one concept.

    Attributes:
        prompts: (n,), places of the prompts in `Prompts.ids`, ascending.
        seeds: (n,), number of seeds that a curve is the mean of.
        final: (n,), float32, its last similarity.
        similarity: (n, steps), float32, cosine.
    """

    prompts: np.ndarray
    seeds: np.ndarray
    final: np.ndarray
    similarity: np.ndarray

    def __getitem__(self, rows: slice | np.ndarray) -> Block:
        return Block(self.prompts[rows], self.seeds[rows], self.final[rows], self.similarity[rows])

    def take(self, rows: np.ndarray) -> Block:
        """Some curves; `take` needs a quarter of the time that indexing needs."""
        arrays = (getattr(self, each.name) for each in fields(self))
        return Block(*(each.take(rows, axis=0) for each in arrays))


@dataclass(frozen=True)
class Outcomes:
    """What the curves of one model, one seed and one concept come to.

    Attributes:
        prompts: (n,), places of the prompts in `Prompts.ids`, ascending.
        final: (n,), its last similarity.
        rise: (n,), the last less the first.
        auc: (n,), area under the scaled curve; NaN where it is constant.
        step: (n,), from which on the concept is present; NaN for never, or where it is not known.
        crossing: (n,), where it emerges between the step before (0) and that step (1); NaN where there is none.
        outcome: (n,), 0 start, 1 emerges, 2 never, -1 not known.
    """

    prompts: np.ndarray
    final: np.ndarray
    rise: np.ndarray
    auc: np.ndarray
    step: np.ndarray
    crossing: np.ndarray
    outcome: np.ndarray

    def __getitem__(self, rows: slice | np.ndarray) -> Outcomes:
        return Outcomes(*(getattr(self, each.name)[rows] for each in fields(self)))


@dataclass(frozen=True)
class Samples:
    """A value of every sample that has it, by model, prompt and seed.

    Attributes:
        models: (n,), model_id.
        prompts: (n,), places of the prompts in `Prompts.ids`.
        seeds: (n,); 0 where the value is that of all seeds.
        seedless: (n,), whether it is.
        values: (n,), float64.
    """

    models: np.ndarray
    prompts: np.ndarray
    seeds: np.ndarray
    seedless: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Prompts:
    """The study's prompts.

    Attributes:
        ids: (prompts,), prompt_id, ascending.
        categories: the study's categories, ascending.
        category: (prompts,), the place of each prompt's in them.
        mentions: concept_id -> (prompts,), whether the text names the concept; without those that no text names.
    """

    ids: np.ndarray
    categories: np.ndarray
    category: np.ndarray
    mentions: dict[int, np.ndarray]

    def chosen(self, categories: Sequence[str], ids: Sequence[int] | None) -> np.ndarray:
        """(prompts,), whether a prompt is of one of the categories, and one of the ids unless they are None."""
        wanted = set(categories)
        rows = np.array([each in wanted for each in self.categories], bool)[self.category]
        return rows if ids is None else rows & self.marked(np.asarray(ids, np.int64))

    def marked(self, ids: np.ndarray) -> np.ndarray:
        """(prompts,), whether a prompt is one of the ids."""
        marks = np.zeros(len(self.ids), bool)
        if len(self.ids):
            at = np.searchsorted(self.ids, ids).clip(max=len(self.ids) - 1)
            marks[at[self.ids[at] == ids]] = True
        return marks


class CurveArrays:
    """The curves of one connection's database.

    Args:
        most: bytes of curves that are kept; the least recently used ones make room.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._lock = Lock()
        self._notes: OrderedDict[Hashable, Any] = OrderedDict()
        self._models: OrderedDict[Hashable, Any] = OrderedDict()

    def prompts(self, cursor: Cursor) -> Prompts:
        """The study's prompts."""
        return self._noted("prompts", lambda: _prompts(cursor))

    def table(self, cursor: Cursor, name: str, **parameters: Any) -> pa.Table:
        """The rows of a small file of `app/database/sql/arrays`, which is asked once: such a question takes 5 ms."""
        key = (name, *((k, tuple(v) if isinstance(v, list) else v) for k, v in parameters.items()))
        return self._noted(key, lambda: cursor.table(name, **parameters))

    def size(self, cursor: Cursor, scorer: int, *, whole: bool) -> int:
        """Bytes that all of a scorer's curves take: those of each prompt's seeds together (whole), or of every seed."""

        def read() -> int:
            return int(cursor.table("size", whole=whole)["size"][0].as_py())

        return self._noted(("size", scorer, whole), read)

    def blocks(self, cursor: Cursor, scorer: int, model: int, seed: int | None) -> dict[int, Block]:
        """A model's curves by concept_id: of one seed, or (None) of each prompt's seeds together.

        Raises:
            CurvesError: a model's curves have gaps, not all the same number of steps, or two of a prompt.
        """
        prompts = self.prompts(cursor)
        return self._kept(
            ("curves", scorer, model, seed), lambda: _blocks(cursor, prompts, model, seed)
        )

    def outcomes(self, cursor: Cursor, scorer: int, model: int, seed: int) -> dict[int, Outcomes]:
        """What a model's curves of a seed come to, by concept_id.

        Raises:
            CurvesError: a prompt has two.
        """
        prompts = self.prompts(cursor)
        return self._kept(
            ("outcomes", scorer, model, seed), lambda: _outcomes(cursor, prompts, model, seed)
        )

    def samples(self, cursor: Cursor, scorer: int, name: str, **parameters: str) -> Samples:
        """The values that `app/database/sql/arrays/<name>.sql` gives, as an array.

        Raises:
            CurvesError: a value is of no prompt.
        """
        prompts = self.prompts(cursor)
        key = (name, scorer, *parameters.values())
        return self._kept(key, lambda: {0: _samples(cursor, prompts, name, **parameters)})[0]

    def _kept(self, key: Hashable, read: Callable[[], Read]) -> Read:
        with self._lock:  # a reader who asks for the same meanwhile waits for the first
            if key not in self._models:
                self._models[key] = read()
                self._make_room()
            self._models.move_to_end(key)
            return cast(Read, self._models[key])

    def _noted(self, key: Hashable, read: Callable[[], Read]) -> Read:
        with self._lock:
            if key not in self._notes:
                while len(self._notes) >= MOST_NOTES:
                    self._notes.popitem(last=False)
                self._notes[key] = read()
            return cast(Read, self._notes[key])

    def _make_room(self) -> None:
        while len(self._models) > 1 and sum(map(_size, self._models.values())) > self.most:
            self._models.popitem(last=False)


def _size(parts: dict[int, Block] | dict[int, Outcomes] | dict[int, Samples]) -> int:
    """Bytes of the arrays of a model, or of all samples."""
    arrays = [getattr(part, each.name) for part in parts.values() for each in fields(part)]
    return sum(array.nbytes for array in arrays)


def _prompts(cursor: Cursor) -> Prompts:
    rows, named = cursor.table("prompts"), cursor.table("mentions")
    ids = rows["prompt_id"].to_numpy()
    categories, category = np.unique(
        rows["category"].to_numpy().astype(object), return_inverse=True
    )
    prompts = Prompts(ids, categories, category, {})
    concepts, by = named["concept_id"].to_numpy(), named["prompt_id"].to_numpy()
    mentions = {int(each): prompts.marked(by[concepts == each]) for each in np.unique(concepts)}
    return Prompts(ids, categories, category, mentions)


def _blocks(cursor: Cursor, prompts: Prompts, model: int, seed: int | None) -> dict[int, Block]:
    if seed is None:
        reader = cursor.batches("curves_whole", model=model)
    else:
        reader = cursor.batches("curves_seed", model=model, seed=seed)
    # Batch by batch: of a table whole, the copy took three times as long as the query.
    parts, curves = [], []
    for batch in reader:
        curves.append(_curves(batch.column("similarity"), model))
        parts.append(batch.drop_columns(["similarity"]))
    if len({each.shape[1] for each in curves}) > 1:
        raise CurvesError(f"model {model}: curves of different numbers of steps")
    rows = pa.Table.from_batches(parts, reader.schema.remove(reader.schema.get_field_index("similarity")))  # fmt: skip
    if not len(rows):
        return {}
    at, of_concept = _sorted(prompts, rows, model)
    every = Block(at, rows["seeds"].to_numpy(), rows["final"].to_numpy(), np.concatenate(curves))
    return {concept: every[some] for concept, some in of_concept.items()}


def _outcomes(cursor: Cursor, prompts: Prompts, model: int, seed: int) -> dict[int, Outcomes]:
    rows = cursor.table("outcomes", model=model, seed=seed)
    if not len(rows):
        return {}
    at, of_concept = _sorted(prompts, rows, model)
    names = ("final", "rise", "auc", "emergence_step", "crossing", "outcome")
    every = Outcomes(at, *(rows[name].to_numpy() for name in names))
    return {concept: every[some] for concept, some in of_concept.items()}


def _samples(cursor: Cursor, prompts: Prompts, name: str, **parameters: str) -> Samples:
    rows = cursor.table(name, **parameters)
    ids, seeds = rows["prompt_id"].to_numpy(), rows["seed"]
    at = np.searchsorted(prompts.ids, ids).astype(np.int32)
    if len(ids) and (
        not len(prompts.ids) or (prompts.ids[at.clip(max=len(prompts.ids) - 1)] != ids).any()
    ):
        raise CurvesError(f"{name}: a value of no prompt")
    numbers, seedless = seeds.fill_null(0).to_numpy(), seeds.is_null().to_numpy()
    return Samples(rows["model_id"].to_numpy(), at, numbers, seedless, rows["value"].to_numpy())


def _sorted(
    prompts: Prompts, rows: pa.Table, model: int
) -> tuple[np.ndarray, dict[int, slice | np.ndarray]]:
    """The places of the rows' prompts, and the rows of each concept by their prompts."""
    concepts, ids = rows["concept_id"].to_numpy(), rows["prompt_id"].to_numpy()
    at = np.searchsorted(prompts.ids, ids).astype(np.int32)
    if not len(prompts.ids) or (prompts.ids[at.clip(max=len(prompts.ids) - 1)] != ids).any():
        raise CurvesError(f"model {model}: a curve of no prompt")
    key = concepts.astype(np.int64) * len(prompts.ids) + at
    order = None if (np.diff(key) > 0).all() else np.argsort(key, kind="stable")
    if order is not None:  # publish has sorted them
        key, concepts = key[order], concepts[order]
        if (np.diff(key) == 0).any():
            raise CurvesError(f"model {model}: two curves of a prompt")
    starts = np.flatnonzero(np.diff(concepts, prepend=concepts[0] - 1))
    of_concept: dict[int, slice | np.ndarray] = {}
    for a, b in zip(starts, [*starts[1:], len(concepts)], strict=True):
        of_concept[int(concepts[a])] = slice(a, b) if order is None else order[a:b]
    return at, of_concept


def _curves(column: pa.ListArray, model: int) -> np.ndarray:
    """(curves, steps), float32, of a column of lists."""
    lengths, values = pa.compute.list_value_length(column), pa.compute.list_flatten(column)
    if len(pa.compute.unique(lengths)) > 1 or column.null_count or values.null_count:
        raise CurvesError(f"model {model}: curves with gaps, or not of the same number of steps")
    return cast(np.ndarray, values.to_numpy().reshape(len(column), -1))
