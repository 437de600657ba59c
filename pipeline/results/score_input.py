"""Reads a file of scores that another program wrote, and finds the sample of each row."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StoreError
from pipeline.results import safe_files
from pipeline.results.benchmark_scores import benchmark_rows
from pipeline.results.scores import MAX_ROWS, SCHEMA
from pipeline.study.plan import Plan
from pipeline.study.settings import show
from pipeline.study.unpacking import refuse_bomb

MAX_FILE = 2**31  # bytes of a file of scores
MAX_CELL = 2**20  # characters of a cell
MAX_UNPACKED = 2**32
KEYS = ("sample_id", "model", "prompt_key", "prompt", "seed", "step")
NAMED = 5  # rows left out that a message names
MOST_STEP = 2**31 - 1
Row = tuple[str, Mapping[str, Any]]  # where it stands, and its cells by column


@dataclass(frozen=True)
class Matched:
    """The rows of a file that belong to samples of the study.

    Attributes:
        table: of `scores.SCHEMA`.
        level: image, prompt or step.
        unmatched: how many rows belong to no planned sample.
        empty: how many rows have no value.
        examples: why the first rows were left out, a line each.
    """

    table: pa.Table
    level: str
    unmatched: int
    empty: int
    examples: tuple[str, ...]


def read_scores(
    path: Path,
    plan: Plan,
    value: str = "",
    metric: str = "",
    limits: tuple[float | None, float | None] = (None, None),
    benchmark: str = "",
    model: str = "",
) -> Matched:
    """The scores of a CSV, JSONL or Parquet file, by the study's models, prompts, seeds and steps.

    With a benchmark it is the file of one model's results that the benchmark's own evaluator wrote.

    A row belongs to a sample by `sample_id`, or by `model` (name or label; may be left out where the study has one) with
    `prompt_key` or `prompt` (the text) and `seed`. Without a seed in any row the scores are of the prompt. Where there are
    several of these columns, all of them must agree. `step` makes it a score of a denoising step.

    Args:
        path: the file; its name ends in .csv, .jsonl or .parquet.
        plan: the study's work units.
        value: the column that holds the value; '' = that of the metric's name where there is one, else `value`.
        metric: the metric's name.
        limits: the range that values must keep; None = no limit.
        benchmark: a name of `benchmark_scores.READERS`; '' = a table of scores.
        model: the model whose results a benchmark's file holds.

    Raises:
        StoreError: the file cannot be read or has no such column; a value is no number or beyond the range; two rows are of
            the same sample and step; no row matches.
    """
    rows = iter(benchmark_rows(path, benchmark, plan, model)) if benchmark else _rows(path)
    matcher = _Matcher(plan, value, limits, path.name)
    for number, (where, cells) in enumerate(rows):
        matcher.value = matcher.value or (metric if metric in cells else "value")
        if number >= MAX_ROWS:
            raise StoreError(
                f"{path}: more than {MAX_ROWS:,} rows. Split the file, or score fewer steps."
            )
        matcher.take(where, cells)
    return matcher.matched()


@dataclass
class _Matcher:
    """Takes rows one by one; keeps those of the study."""

    plan: Plan
    value: str
    limits: tuple[float | None, float | None]
    file: str
    columns: dict[str, list[Any]] = field(default_factory=lambda: {n: [] for n in SCHEMA.names})
    seen: dict[tuple[Any, ...], str] = field(default_factory=dict)
    unmatched: int = 0
    empty: int = 0
    examples: list[str] = field(default_factory=list)

    @cached_property
    def models(self) -> dict[str, str]:
        """A model's name by name and label; a label that two share names none."""
        specs = self.plan.study.models
        labels = [spec.label for spec in specs]
        alone = {spec.label: spec.name for spec in specs if labels.count(spec.label) == 1}
        return alone | {spec.name: spec.name for spec in specs}

    @cached_property
    def keys(self) -> dict[str, str]:
        """A prompt's key by its text."""
        return {prompt.text: prompt.prompt_key for prompt in self.plan.prompts}

    @cached_property
    def known_keys(self) -> frozenset[str]:
        """The prompts' keys."""
        return frozenset(prompt.prompt_key for prompt in self.plan.prompts)

    @cached_property
    def steps(self) -> dict[str, int]:
        """Denoising steps by model; a second-order scheduler calls the denoiser up to twice a step."""
        return {spec.name: 2 * spec.steps for spec in self.plan.study.models}

    def take(self, where: str, cells: Mapping[str, Any]) -> None:
        """Takes a row. Raises StoreError where its value cannot stand."""
        if self.value not in cells:
            names = ", ".join(show(name) for name in list(cells)[:20])
            raise StoreError(
                f"{where}: no column {self.value!r} (found: {names}). Name the column with --value COLUMN."
            )
        number = self._number(where, cells[self.value])
        if number is None:
            self.empty += 1
            self._leave_out(f"{where}: no value")
            return
        try:
            key = self._key(cells)
        except LookupError as reason:
            self.unmatched += 1
            self._leave_out(f"{where}: {reason.args[0]}")
            return
        if key in self.seen:
            raise StoreError(
                f"{where}: the same {'sample' if key[2] is not None else 'model and prompt'}"
                f"{' and step' if key[3] is not None else ''} as {self.seen[key]}. Give one value for each."
            )
        self.seen[key] = where
        for name, cell in zip(SCHEMA.names, (*key, number), strict=True):
            self.columns[name].append(cell)

    def _leave_out(self, line: str) -> None:
        if len(self.examples) < NAMED:
            self.examples.append(line)

    def _number(self, where: str, cell: Any) -> float | None:
        """The value; None where the cell is empty or NaN."""
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            return None
        try:
            number = float(cell) if isinstance(cell, str | int | float) else math.inf
        except (ValueError, OverflowError):
            number = math.inf
        if math.isnan(number):
            return None
        if not math.isfinite(number):
            raise StoreError(f"{where}: {self.value} = {show(cell)} is no finite number.")
        low, high = self.limits
        if (low is not None and number < low) or (high is not None and number > high):
            raise StoreError(
                f"{where}: {self.value} = {number:g} is outside the range {low} to {high} that --range gives."
            )
        return number

    def _key(self, cells: Mapping[str, Any]) -> tuple[str, str, int | None, int | None]:
        """Model, prompt_key, seed and step of a row. Raises LookupError that says why there is none."""
        asked = {name: cells[name] for name in KEYS if cells.get(name) not in (None, "")}
        model, prompt_key = self._model(asked), self._prompt(asked)
        seed = _whole(asked, "seed")
        if "sample_id" in asked:
            sample = self._sample(asked)
            for name, mine, said in (
                ("model", model, sample[0]), ("prompt", prompt_key, sample[1]), ("seed", seed, sample[2]),
            ):  # fmt: skip
                if mine is not None and mine != said:
                    raise LookupError(
                        f"sample_id {show(asked['sample_id'])} has another {name} in this study"
                    )
            model, prompt_key, seed = sample
        if model is None:
            raise LookupError("no sample_id and no model")
        if prompt_key is None:
            raise LookupError("no sample_id, prompt_key or prompt")
        if seed is not None and seed not in self.plan.study.seeds:
            raise LookupError(f"seed {seed} is not in the study")
        step = _whole(asked, "step")
        if step is not None and not 0 <= step < self.steps[model]:
            raise LookupError(f"step {step} is not one of model {model!r}")
        return model, prompt_key, seed, step

    def _model(self, asked: Mapping[str, Any]) -> str | None:
        if "model" in asked:
            name = self.models.get(str(asked["model"]))
            if name is None:
                raise LookupError(
                    f"model {show(asked['model'])} is not in the study, or two have that label"
                )
            return name
        specs = self.plan.study.models
        return specs[0].name if len(specs) == 1 and "sample_id" not in asked else None

    def _prompt(self, asked: Mapping[str, Any]) -> str | None:
        key = None
        if "prompt_key" in asked:
            key = str(asked["prompt_key"])
            if key not in self.known_keys:
                raise LookupError(f"prompt_key {show(key)} is not in the study")
        if "prompt" in asked:
            by_text = self.keys.get(str(asked["prompt"]))
            if by_text is None:
                raise LookupError(f"prompt {show(asked['prompt'], 60)} is not in the study")
            if key is not None and key != by_text:
                raise LookupError("prompt and prompt_key name two prompts")
            key = by_text
        return key

    def _sample(self, asked: Mapping[str, Any]) -> tuple[str, str, int]:
        """Model, prompt_key and seed of a sample_id."""
        number = _whole(asked, "sample_id")
        study, prompts = self.plan.study, self.plan.prompts
        if number is None or not 0 < number <= self.plan.samples:
            raise LookupError(
                f"sample_id {show(asked['sample_id'])} is not in the study (1 to {self.plan.samples:,})"
            )
        block, seed = divmod(number - 1, len(study.seeds))
        model, position = divmod(block, len(prompts))
        return study.models[model].name, prompts[position].prompt_key, study.seeds[seed]

    def matched(self) -> Matched:
        """All rows taken. Raises StoreError where none matches, or levels are mixed."""
        count = len(self.columns["value"])
        if not count:
            why = "; ".join(self.examples) or "it has no rows"
            raise StoreError(
                f"{self.file}: no row belongs to a sample of this study ({why}). Give the columns sample_id, or model, "
                "prompt_key or prompt, and seed."
            )
        seeds = sum(seed is not None for seed in self.columns["seed"])
        steps = sum(step is not None for step in self.columns["step"])
        for name, some in (("seed", seeds), ("step", steps)):
            if some not in (0, count):
                raise StoreError(
                    f"{self.file}: {some:,} of {count:,} rows have a {name}. Give it in all rows, or in none."
                )
        if steps and not seeds:
            raise StoreError(f"{self.file}: rows have a step and no seed. Give the seed of each.")
        level = "step" if steps else "image" if seeds else "prompt"
        return Matched(
            pa.table(self.columns, SCHEMA), level, self.unmatched, self.empty, tuple(self.examples)
        )


def _whole(asked: Mapping[str, Any], name: str) -> int | None:
    """A whole number of a cell; None where there is none. Raises LookupError where it is another thing."""
    if name not in asked:
        return None
    cell = asked[name]
    try:
        number = int(cell) if not isinstance(cell, bool) and len(str(cell)) <= 20 else None
    except (ValueError, OverflowError, TypeError):
        number = None
    if (
        number is None
        or not -(2**63) <= number < 2**63
        or (isinstance(cell, float) and number != cell)
    ):
        raise LookupError(f"{name} = {show(cell)} is no whole number")
    return number


def _rows(path: Path) -> Iterator[Row]:
    """The rows of a file, each with its place. Raises StoreError."""
    readers = {".csv": _csv_rows, ".jsonl": _jsonl_rows, ".parquet": _parquet_rows}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise StoreError(
            f"{path}: not a kind of file that is read here. Allowed: {', '.join(readers)}."
        )
    try:
        # The folder may be reached through links, for its user named it; the file itself is none.
        file = Path(os.path.realpath(path.parent)) / path.name
        data = safe_files.read_capped(file, MAX_FILE)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be read ({error.strerror or error}). Give a file of scores."
        ) from None
    return reader(path, data)


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StoreError(f"{path}: not UTF-8 at byte {error.start}. Save it as UTF-8.") from None


def _csv_rows(path: Path, data: bytes) -> Iterator[Row]:
    csv.field_size_limit(MAX_CELL)
    rows = csv.reader(io.StringIO(_text(path, data), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        if len(set(header)) < len(header):
            raise StoreError(f"{path.name} line 1: a column is named twice. Rename one.")
        for row in rows:
            if not row:
                continue
            where = f"{path.name} line {rows.line_num}"
            if len(row) != len(header):
                raise StoreError(
                    f"{where}: {len(row)} columns, where line 1 names {len(header)}. Put texts with commas in double quotes."
                )
            yield where, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise StoreError(f"{path.name} line {rows.line_num}: not a CSV row: {error}.") from None


def _jsonl_rows(path: Path, data: bytes) -> Iterator[Row]:
    for number, line in enumerate(io.StringIO(_text(path, data)), start=1):
        if not line.strip():
            continue
        where = f"{path.name} line {number}"
        try:
            cells = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise StoreError(f"{where}: not JSON ({str(error)[:100]}).") from None
        if not isinstance(cells, dict):
            raise StoreError(f"{where}: {show(cells)} is no object. Write one object a line.")
        yield where, cells


def _parquet_rows(path: Path, data: bytes) -> Iterator[Row]:
    try:
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            simple = [field.name for field in file.schema_arrow if _is_simple(field.type)]
            refuse_bomb(file, data, MAX_ROWS, MAX_UNPACKED, simple)
            number = 0
            for batch in file.iter_batches(65_536, columns=simple, use_threads=False):
                columns = [column.to_pylist() for column in batch.columns]
                for cells in zip(*columns, strict=True):
                    number += 1
                    yield (
                        f"{path.name} row {number}",
                        dict(zip(batch.schema.names, cells, strict=True)),
                    )
    except (pa.ArrowException, OSError, ValueError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise StoreError(f"{path}: not a Parquet file that can be read ({reason}).") from None


def _is_simple(kind: pa.DataType) -> bool:
    """Whether a column can hold keys or values: numbers and texts, neither images nor lists."""
    return (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_dictionary(kind)
    )
