"""The one definition of a sample's row, and the hashes of rows and work units.

`SCHEMA` names the columns; every row, of a sample that was made or of one that failed, comes from `sample_row`.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import StoreError
from pipeline.study.plan import WorkUnit
from pipeline.study.prompts import Prompt

# What a sample's peak memory counts, since its model was loaded or since the process began.
ALLOCATOR = "allocator"  # of CUDA: the tensors of the worker's process on its GPU, since the model was loaded
PROCESS = "process"  # resident memory of the worker's process, since the model was loaded
LIFETIME = "lifetime"  # the same since the process began, where the peak cannot be reset
MEMORY_KINDS = (ALLOCATOR, PROCESS, LIFETIME)

_F32, _F64, _I32 = pa.float32(), pa.float64(), pa.int32()
_CURVE = pa.list_(_F32)


def _records(**columns: pa.DataType) -> pa.DataType:
    return pa.list_(pa.struct(list(columns.items())))


SCHEMA = pa.schema(
    {
        "unit_id": pa.string(),
        "model": pa.string(),
        "prompt_key": pa.string(),
        "prompt_position": _I32,
        "seed": pa.int64(),
        "status": pa.string(),  # done | failed
        "error": pa.string(),
        "notice": pa.string(),
        "stage": pa.string(),
        "seconds": _F64,
        "peak_memory": pa.int64(),  # bytes, from the loading of the model on; null = not recorded
        "memory_kind": pa.string(),  # one of MEMORY_KINDS; "" = not recorded
        "width": _I32,
        "height": _I32,
        "clip_score": _F32,
        "image": pa.binary(),
        "steps": _records(
            step=_I32, timestep=_F64, alpha=_F64, sigma=_F64, log_snr=_F64, call=_I32
        ),
        "prompt_similarity": _CURVE,
        "trajectories": _records(concept=pa.string(), similarity=_CURVE),
        "frames": _records(step=_I32, image=pa.binary()),
        "words": _records(
            word_index=_I32,
            word=pa.string(),
            role=pa.string(),
            source=pa.string(),
            layer_group=pa.string(),
            steps=pa.list_(_I32),
            mass=_CURVE,
            scaled=_CURVE,
            entropy=_CURVE,
        ),
        "explanations": _records(
            step=_I32,
            method=pa.string(),
            word=pa.string(),
            height=_I32,
            width=_I32,
            low=_F32,
            high=_F32,
            map=pa.binary(),
        ),
        "faithfulness": _records(
            step=_I32,
            method=pa.string(),
            game=pa.string(),
            score=pa.string(),
            curve=_CURVE,
            auc=_F32,
            auc_scaled=_F32,
            auc_random=_F32,
            auc_inverse=_F32,
            baseline=pa.string(),  # re-noised | resampled; null = zero, as all were before
        ),
        "agreement": _records(
            step=_I32, method_a=pa.string(), method_b=pa.string(), spearman=_F32, iou=_F32
        ),
        "spectrum": _records(band=_I32, low=_F64, high=_F64, power=_CURVE),
        "embedding": pa.list_(_CURVE),
        "further_scorers": _records(  # one per scorer after the first, in the study's order
            clip_score=_F32,
            prompt_similarity=_CURVE,
            trajectories=_records(concept=pa.string(), similarity=_CURVE),
        ),
        "switches": _records(
            base=pa.string(),
            differs=pa.string(),
            concept=pa.string(),
            direction=pa.string(),  # insert | remove
            step=_I32,
            similarity=_F32,
            preference=_F32,
            judged=_F32,
        ),
        "switch_images": _records(
            base=pa.string(), direction=pa.string(), step=_I32, image=pa.binary()
        ),
        "concept_attention": _records(
            concept=pa.string(),  # family/name
            layer_group=pa.string(),
            steps=pa.list_(_I32),
            share=_CURVE,
            peak=_CURVE,
        ),
        "redraws": _records(step=_I32, family=pa.string(), redraws=_I32, kept=_I32, judged=_I32),
        "information": _records(
            word_index=_I32,
            word=pa.string(),
            role=pa.string(),
            steps=pa.list_(_I32),
            density=_CURVE,
            signed=_CURVE,
            nats=_F32,
            signed_nats=_F32,
            effect=_F32,
            change=_F32,
            height=_I32,
            width=_I32,
            low=_F32,
            high=_F32,
            map=pa.binary(),
        ),
    }
)
ROW_HASH = "content_sha256"
STORED = SCHEMA.append(pa.field(ROW_HASH, pa.string()))
# Not content: where, how long and in how much memory it ran, the place of the prompt, texts that may hold addresses.
NOT_CONTENT = (
    "unit_id",
    "prompt_position",
    "seconds",
    "peak_memory",
    "memory_kind",
    "error",
)
CONTENT = tuple(name for name in SCHEMA.names if name not in NOT_CONTENT)
LATER = (
    "further_scorers",
    "switches",
    "switch_images",
    "redraws",
    "concept_attention",
    "information",
)  # columns that count as content only in rows that fill them
LATER_FIELDS = ("baseline",)  # of records, likewise
_SHAPE = struct.Struct("<qq")
_ONE, _ONE_NULL = (
    _SHAPE.pack(1, 0),
    _SHAPE.pack(1, 1) + b"\1",
)  # the shape of one value, and of one null


def table_of(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """The rows as an Arrow table of `STORED`, each with the hash of its content.

    Raises:
        StoreError: a column is missing, unknown, or holds something of another type.
    """
    for row in rows:
        if row.keys() != set(SCHEMA.names):
            wrong = sorted(row.keys() ^ set(SCHEMA.names))
            raise StoreError(f"a row of a shard has wrong or missing columns: {', '.join(wrong)}")
    try:
        table = pa.table(
            {f.name: pa.array([row[f.name] for row in rows], f.type) for f in SCHEMA}, SCHEMA
        )
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise StoreError(f"a row of a shard does not fit its columns: {error}") from error
    return table.append_column(ROW_HASH, pa.array(row_hashes(table), pa.string()))


def empty_value(kind: pa.DataType) -> Any:
    """What a column holds where nothing was measured: an empty list or text, else nothing."""
    if pa.types.is_list(kind):
        return []
    return "" if pa.types.is_string(kind) else None


# Of tuples, which rows can share: twenty lists for each row set the garbage collector off, 0.4 ms a row.
_EMPTY = {
    field.name: () if pa.types.is_list(field.type) else empty_value(field.type) for field in SCHEMA
}


def sample_row(work_unit: WorkUnit, prompt: Prompt, **columns: Any) -> dict[str, Any]:
    """The row of one item of a work unit, as `table_of` takes it.

    Args:
        work_unit: the work unit.
        prompt: the item's prompt.
        columns: of `SCHEMA`; those left out say that nothing was measured.
    """
    return _EMPTY | {
        "unit_id": work_unit.unit_id,
        "model": work_unit.model.name,
        "prompt_key": prompt.prompt_key,
        "prompt_position": prompt.position,
        "seed": work_unit.seed,
        "status": "done",
        "stage": "sample",
        "seconds": 0.0,
        "width": 0,
        "height": 0,
        **columns,
    }


def failed_row(
    work_unit: WorkUnit, prompt: Prompt, error: str, stage: str, **columns: Any
) -> dict[str, Any]:
    """The row of an item that could not be sampled."""
    return sample_row(work_unit, prompt, status="failed", error=error, stage=stage, **columns)


def row_hashes(table: pa.Table, names: Sequence[str] = CONTENT) -> list[str]:
    """A sha256 per row over its content: independent of timing, place, compression and chunks."""
    digests = [hashlib.sha256() for _ in range(len(table))]
    shared = b""  # what every row has next
    for name in names:
        column, start, later = _joined(table.column(name)), name.encode() + b"\0", name in LATER
        same = _same_spelling(column, later)
        if same is not None:
            shared += start + same if same else b""
            continue
        for digest, spelling in zip(digests, _spellings(column, later), strict=True):
            parts = (shared, start, *spelling) if spelling else (shared,)
            digest.update(b"".join(parts))
        shared = b""
    for digest in digests:
        digest.update(shared)
    return [digest.hexdigest() for digest in digests]


def _same_spelling(column: Any, later: bool) -> bytes | None:
    """What is hashed of each row of a column that is the same in all of them; None where it is not.

    Most columns of an import are empty or repeat one value: 0.1 ms a row in place of 0.3.
    """
    if len(column) and column[1:].equals(column[:-1]):
        return b"".join(next(iter(_spellings(column[:1], later))))
    return None


def _joined(array: Any) -> Any:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _spellings(column: Any, later: bool) -> Iterator[Sequence[Any]]:
    """What is hashed of each row of a column: as `_spell` has it of a slice of one row, most of it without slices.

    Rows of an import, most columns of which are empty, take 0.3 ms in place of 1.3. Nothing is hashed of an empty list that
    came `later`: as the hash was before the column came, so that older shards keep theirs.
    """
    kind = column.type
    if pa.types.is_list(kind):
        yield from _list_spellings(column, later)
        return
    valid = np.asarray(column.is_valid())
    known = iter(_flat_spellings(column.drop_null()))
    for each in valid:
        yield (_ONE, *next(known)) if each else (_ONE_NULL,)


def _flat_spellings(column: Any) -> Iterator[Sequence[Any]]:
    """The bytes of each value of a column of numbers or texts without nulls."""
    if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
        lengths = _lengths(column)
        ends = np.cumsum(lengths, dtype=np.int64)
        data = _bytes(column)
        for length, end in zip(lengths, ends.tolist(), strict=True):
            yield length.tobytes(), data[end - int(length) : end]
    else:
        values = _numbers(column)
        for value in values:
            yield (value.tobytes(),)


def _list_spellings(column: Any, later: bool) -> Iterator[Sequence[Any]]:
    lengths = pc.list_value_length(column).to_pylist()
    empty: Sequence[Any] = () if later else _spell(pa.array([[]], column.type))
    for index, length in enumerate(lengths):
        if length == 0 or (later and length is None):
            yield empty
        else:
            yield _spell(column.slice(index, 1))


def _spell(array: Any) -> list[Any]:
    """An array in one spelling: shape, then values without what nulls hide."""
    array = _joined(array)
    parts: list[Any] = [_SHAPE.pack(len(array), array.null_count)]
    if array.null_count:
        parts.append(np.asarray(array.is_null()).tobytes())
        array = array.drop_null()
    kind = array.type
    if pa.types.is_list(kind):
        parts.append(_lengths(array).tobytes())
        parts += _spell(array.flatten())
    elif pa.types.is_struct(kind):
        for field, child in zip(array.type, array.flatten(), strict=True):
            if field.name not in LATER_FIELDS or child.null_count < len(child):
                parts += _spell(child)
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        parts += [_lengths(array).tobytes(), _bytes(array)]
    else:
        parts.append(_numbers(array).tobytes())
    return parts


def _lengths(array: pa.Array) -> np.ndarray:
    offsets = np.frombuffer(array.buffers()[1], np.int32) if len(array) else np.zeros(1, np.int32)
    starts = offsets[array.offset : array.offset + len(array) + 1]
    return (starts[1:] - starts[:-1]).astype("<i4", copy=False)


def _bytes(array: Any) -> memoryview:
    """The values of texts or bytes without nulls, one after another."""
    if not len(array):
        return memoryview(b"")
    offsets = np.frombuffer(array.buffers()[1], np.int32)
    start, stop = int(offsets[array.offset]), int(offsets[array.offset + len(array)])
    return memoryview(array.buffers()[2])[start:stop] if stop > start else memoryview(b"")


def _numbers(array: pa.Array) -> np.ndarray:
    values = array.to_numpy(zero_copy_only=False)
    if values.dtype.kind == "f":
        values = values + 0.0  # no -0.0
        values[np.isnan(values)] = np.nan  # one NaN
    return values.astype(values.dtype.newbyteorder("<"), copy=False)


def work_unit_hash(hashes: Iterable[str]) -> str:
    """The content hash of a work unit from those of its rows."""
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()
