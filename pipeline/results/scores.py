"""Scores that other programs gave a study's images, kept beside the shards: one Parquet file per metric, and a list of them.

A metric's file appears whole under a name that holds its sha256; only then does the list, which is replaced whole, name it.
A kill in between leaves the metrics as they were. Rows name the model, the prompt's key, the seed and the step, so that
they stay true when a study grows.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import StoreError
from pipeline.results import safe_files
from pipeline.results.folder import Results
from pipeline.results.lock import describe_owner, hold, owner_of, write_owner
from pipeline.results.storage import explain_os_error, write_whole
from pipeline.study.settings import show
from pipeline.study.unpacking import refuse_bomb

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")
LONGEST = {"title": 60, "source": 200, "preprocessing": 200}
MAX_ROWS = 20_000_000
MAX_STORED = 2**30  # bytes of a metric's file
MOST_METRICS = 100
PATIENCE = 10.0  # seconds to wait for another who adds or removes
SCHEMA = pa.schema(
    {
        "model": pa.string(),
        "prompt_key": pa.string(),
        "seed": pa.int64(),  # null = of the prompt, whatever the seed
        "step": pa.int32(),  # null = of the final image
        "value": pa.float64(),
    }
)
_FILE = re.compile(r"[a-z0-9._-]+-[0-9a-f]{16}\.parquet")


class Metric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A score of images that another program computed, as the list holds it.

    Attributes:
        name: what commands call it; links take the title.
        title: what a chart shows.
        lower_is_better: its direction.
        low, high: its range; None = not bounded, or not known.
        source: the scorer: program, model, version.
        preprocessing: how images and texts were prepared; '' = not stated.
        level: image, prompt (whatever the seed) or step.
        rows: values.
        sha256: of its file.
        added_at: UTC, ISO 8601.
    """

    name: str
    title: str
    lower_is_better: bool
    low: float | None
    high: float | None
    source: str
    preprocessing: str
    level: Literal["image", "prompt", "step"]
    rows: int
    sha256: str
    added_at: str

    @property
    def file(self) -> str:
        """The name of its file in the folder of scores."""
        return f"{self.name}-{self.sha256[:16]}.parquet"


def check_metric(metric: Metric) -> None:
    """Raises ValueError where a metric is not one that `scores add` writes: it names the field and what is allowed."""
    if not NAME.fullmatch(metric.name):
        raise ValueError(
            f"name = {show(metric.name)}: 1 to 40 of a-z, 0-9, '.', '_', '-', the first a letter or digit"
        )
    for field, most in LONGEST.items():
        text = getattr(metric, field)
        if len(text) > most or not text.isprintable():
            raise ValueError(f"{field} = {show(text)}: at most {most} printable characters")
    if not metric.title.strip() or not metric.source.strip():
        raise ValueError("title and source: not empty")
    limits = [x for x in (metric.low, metric.high) if x is not None]
    if not all(map(math.isfinite, limits)) or limits != sorted(limits):
        raise ValueError(
            f"range = {metric.low}, {metric.high}: two finite numbers, the lower first"
        )
    if not re.fullmatch("[0-9a-f]{64}", metric.sha256) or not 0 < metric.rows <= MAX_ROWS:
        raise ValueError(f"sha256 = {show(metric.sha256)}, rows = {metric.rows}")


def _check_metrics(metrics: Sequence[Metric]) -> None:
    for metric in metrics:
        check_metric(metric)
    names = [metric.name for metric in metrics]
    if len(names) > MOST_METRICS or len(set(names)) < len(names):
        raise ValueError(f"{len(names)} metrics, at most {MOST_METRICS}, each name once")


Entry = TypeVar("Entry")


def read_list(
    path: Path, kind: type[Entry], check: Callable[[Sequence[Entry]], None], advice: str
) -> tuple[Entry, ...]:
    """The entries of a JSON list of a results folder, none where there is no file.

    Args:
        path: of the file.
        kind: of an entry.
        check: raises ValueError where the entries are not what a command of ours writes.
        advice: what to do about a damaged file.

    Raises:
        StoreError: the file is damaged, or something else lies in its place.
    """
    try:
        entries = msgspec.json.decode(safe_files.read_capped(path), type=tuple[kind, ...])  # type: ignore[valid-type]
        check(entries)
        return entries
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, msgspec.DecodeError, RecursionError) as error:
        raise StoreError(
            f"{path}: damaged ({' '.join(str(error).split())[:200]}). {advice}"
        ) from None


class ScoreFiles:
    """The metrics of a results folder."""

    def __init__(self, results: Results) -> None:
        self.folder = results.folder / "scores"
        self.list = self.folder / "scores.json"
        self._results = results

    def metrics(self) -> tuple[Metric, ...]:
        """The metrics, in the order in which they were first added.

        Raises:
            StoreError: the list is damaged, or something else lies in its place.
        """
        return read_list(
            self.list,
            Metric,
            _check_metrics,
            f"Remove the folder {self.folder} and add the scores again.",
        )

    def table(self, metric: Metric) -> pa.Table:
        """The rows of a metric, of `SCHEMA`.

        Raises:
            StoreError: its file is missing, damaged, or not the one that was written.
        """
        path = self.folder / metric.file
        advice = f"Add the scores again: `python -m pipeline scores add {self._results.folder} FILE --metric {metric.name}`"
        try:
            data = safe_files.read_capped(path, MAX_STORED)
            if hashlib.sha256(data).hexdigest() != metric.sha256:
                raise ValueError("its bytes are not those that were written")
            with pq.ParquetFile(pa.BufferReader(data)) as file:
                refuse_bomb(file, data, MAX_ROWS)
                table = file.read(use_threads=False)
            if not table.schema.equals(SCHEMA) or len(table) != metric.rows:
                raise ValueError("other columns or rows than were written")
            _refuse_values(table, metric)
            return table
        except (pa.ArrowException, OSError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise StoreError(f"{path}: cannot be used ({reason}). {advice}.") from None

    def add(self, metric: Metric, table: pa.Table) -> Metric:
        """Stores a metric in place of one of the same name; on the disk afterwards.

        Args:
            metric: its description; rows and sha256 are filled in here.
            table: of `SCHEMA`.

        Returns: the metric as it is listed.

        Raises:
            StoreError: it cannot be written, another title is the same, or there are too many.
        """
        buffer = pa.BufferOutputStream()
        pq.write_table(table.cast(SCHEMA), buffer, compression="zstd", version="2.6")
        data = buffer.getvalue()
        sha256 = hashlib.sha256(data).hexdigest()
        stored = msgspec.structs.replace(metric, rows=len(table), sha256=sha256)
        with self.locked():
            before = self.metrics()
            names = [each.name for each in before]
            self._refuse_double(stored, before)
            after = list(before)
            if stored.name in names:
                after[names.index(stored.name)] = stored
            else:
                after.append(stored)
            write_whole(self.folder / stored.file, data)
            self._keep(after)
        return stored

    def remove(self, name: str) -> None:
        """Removes a metric.

        Raises:
            StoreError: there is none of that name, or it cannot be removed.
        """
        metrics = self.metrics()
        if name not in [metric.name for metric in metrics]:
            known = ", ".join(metric.name for metric in metrics) or "none"
            raise StoreError(f"{self._results.folder}: no metric {show(name)}. There are: {known}.")
        with self.locked():
            self._keep([metric for metric in self.metrics() if metric.name != name])

    def _refuse_double(self, metric: Metric, others: Sequence[Metric]) -> None:
        for other in others:
            if other.name != metric.name and other.title.casefold() == metric.title.casefold():
                raise StoreError(
                    f"--title {show(metric.title)}: the metric {other.name!r} has that title. Give another with --title."
                )
        if len({metric.name, *(other.name for other in others)}) > MOST_METRICS:
            raise StoreError(f"{self.list}: {MOST_METRICS} metrics are allowed. Remove one first.")

    def _keep(self, metrics: Sequence[Metric]) -> None:
        """Replaces the list, then removes files that it does not name."""
        write_whole(self.list, msgspec.json.format(msgspec.json.encode(list(metrics)), indent=1))
        named = {metric.file for metric in metrics}
        try:
            for pattern in (_FILE, safe_files.TEMPORARY):
                for path, _ in list(safe_files.regular_files(self.folder, pattern)):
                    if path.name not in named:
                        safe_files.remove(path)
        except OSError as error:
            raise StoreError(explain_os_error(self.folder, error)) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """While inside, no other process changes what lies in the folder of scores. Raises StoreError where one does."""
        path = self.folder / "lock"
        try:
            safe_files.make_folder(self.folder)
        except OSError as error:
            raise StoreError(explain_os_error(self.folder, error)) from error
        with ExitStack() as stack:
            file = hold(stack, self.folder, path, exclusive=True, patience=PATIENCE)
            if file is None:
                raise StoreError(
                    f"{self.folder}: in use ({describe_owner(owner_of(path))}). Wait for it, then run again."
                )
            write_owner(file)
            yield


def _refuse_values(table: pa.Table, metric: Metric) -> None:
    """Raises ValueError where rows contradict the metric."""
    required = ["model", "prompt_key", "value"]
    if metric.level != "prompt":
        required.append("seed")
    if metric.level == "step":
        required.append("step")
    for name in required:
        if table[name].null_count:
            raise ValueError(f"column {name}: empty in {table[name].null_count:,} rows")
    for name in {"seed", "step"} - set(required):
        if table[name].null_count < len(table):
            raise ValueError(f"column {name}: filled, though the metric is per {metric.level}")
    if not pc.all(pc.is_finite(table["value"])).as_py():
        raise ValueError("column value: not finite")
    keys = [name for name in SCHEMA.names if name != "value"]
    if len(table.group_by(keys).aggregate([])) < len(table):
        raise ValueError("rows of the same model, prompt, seed and step")


def check_scores(folder: Path) -> list[str]:
    """What is wrong with the scores of a results folder, one line each; empty when all is well."""
    files = ScoreFiles(Results(folder))
    problems = []
    try:
        for metric in files.metrics():
            try:
                files.table(metric)
            except StoreError as error:
                problems.append(str(error))
    except StoreError as error:
        problems.append(str(error))
    return problems


def merge_scores(results: Results, others: Sequence[Results]) -> list[str]:
    """Adds the metrics of other folders to a folder's own; what it has stays.

    Returns: what did not fit together, one line each.

    Raises:
        StoreError: a list or file is damaged, or cannot be written.
    """
    conflicts = []
    for other in others:
        if other.folder.resolve() == results.folder.resolve():
            continue
        source = ScoreFiles(other)
        for metric in source.metrics():
            problem = _join(ScoreFiles(results), metric, source.table(metric))
            if problem:
                conflicts.append(f"metric {metric.name!r} of {other.folder}: {problem}")
    return conflicts


def _join(files: ScoreFiles, metric: Metric, table: pa.Table) -> str:
    """Adds a metric's rows to those of the same name; says what did not fit, else ''."""
    present = {each.name: each for each in files.metrics()}
    known = present.get(metric.name)
    if known is None:
        if metric.title.casefold() in {each.title.casefold() for each in present.values()}:
            return f"another metric has the title {show(metric.title)}; left out"
        files.add(metric, table)
        return ""
    names = ("title", "lower_is_better", "low", "high", "source", "preprocessing", "level")
    others = [name for name in names if getattr(known, name) != getattr(metric, name)]
    if others:
        return f"another {', '.join(others)} than in the folder before; left out"
    first = {tuple(row.values())[:-1]: row["value"] for row in files.table(known).to_pylist()}
    second = {tuple(row.values())[:-1]: row["value"] for row in table.to_pylist()}
    contradicted = sum(first[key] != value for key, value in second.items() if key in first)
    joined = second | first
    if joined != first:
        rows = [(*key, value) for key, value in joined.items()]
        columns = [list(column) for column in zip(*rows, strict=True)]
        files.add(known, pa.table(columns, SCHEMA))
    return (
        f"{contradicted:,} values differ; those of the folder before count" if contradicted else ""
    )
