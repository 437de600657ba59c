"""The [prompts] table of a study file: which prompts, and how their file is read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pipeline.study.benchmarks import BENCHMARKS, Benchmark
from pipeline.study.settings import Table, hint, show
from pipeline.study.spec import MAX_COUNT, MAX_SEED, PromptSource

FORMATS = ("csv", "tsv", "jsonl", "parquet", "txt", "json", "coco", "karpathy", "genome")
PACKED = ("gz", "bz2", "xz", "zst", "zip")  # endings of compressed files
BENCHMARK_NAMES = tuple(BENCHMARKS)
DUPLICATES = ("drop", "error")
COLUMNS = ("text", "category", "subject", "relation", "object", "attribute")


def resolve(name: str, study: Path) -> Path:
    """The file that a study means: from the current folder, the project's root, or beside it."""
    path = Path(name)
    folders = (
        Path.cwd(),
        Path(__file__).resolve().parents[2],
        Path(os.path.realpath(study)).parent,
    )
    if path.is_absolute():
        return path
    if path.exists():
        return path  # as written, so that messages and records stay short
    return next((folder / path for folder in folders if (folder / path).exists()), path)


def take_file(
    table: Table, key: str, study: Path, check: bool, advice: str, *, folder: bool = False
) -> Path:
    """The file that a key names, or the folder where one is allowed.

    Raises:
        StudyError: it does not exist, or is of the other kind.
    """
    name = table.take_place(key)
    if not check:
        return Path(name)
    path = resolve(name, study)
    if not path.is_file() and not (folder and path.is_dir()):
        problem = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise table.fail(key, f"= {show(name)} {problem}. {advice}")
    return path


def take_prompts(table: Table, study: Path, check: bool) -> PromptSource:
    """The table as a record.

    Raises:
        StudyError: a key is unknown, missing or out of range, or the file does not exist.
    """
    obtain = table.take_text("obtain", "")
    advice = obtain or "Paths start at the project's root, or at the study file's folder."
    name = table.take_choice("benchmark", BENCHMARK_NAMES) if table.has("benchmark") else None
    benchmark = BENCHMARKS[name] if name else None
    path = take_file(table, "path", study, check, advice, folder=_may_be_folder(table, benchmark))
    source = PromptSource(
        path=path,
        format=_benchmark_format(table, path, benchmark) if benchmark else _format(table, path),
        columns={
            **((benchmark and benchmark.columns) or {}),
            **_columns(table.take_table("columns", {})),
        },
        split=_split(table, benchmark),
        images=table.take_optional_whole("images", 1, MAX_COUNT),
        shuffle=table.take_optional_whole("shuffle", 0, MAX_SEED),
        limit=table.take_optional_whole("limit", 1, MAX_COUNT),
        sample=table.take_optional_whole("sample", 1, MAX_COUNT),
        sample_seed=table.take_whole("sample_seed", 0, 0, MAX_SEED),
        duplicates=table.take_choice("duplicates", DUPLICATES, "drop"),
        obtain=obtain,
        benchmark=name,
    )
    if source.split and source.format != "karpathy":
        raise table.fail("split", f'needs format = "karpathy", not {source.format!r}.')
    if source.images and source.format != "genome":
        raise table.fail("images", f'needs format = "genome", not {source.format!r}.')
    if check and source.limit and source.sample:
        raise table.fail("sample", "and prompts.limit exclude each other. Keep one.")
    table.finish()
    return source


def _may_be_folder(table: Table, benchmark: Benchmark | None) -> bool:
    """A benchmark with a folder of prompts, or a folder of .txt files, one prompt each."""
    written = table.values.get("format", "txt")
    return benchmark.folder if benchmark else written == "txt"


def _split(table: Table, benchmark: Benchmark | None) -> str | None:
    if table.has("split"):
        return table.take_text("split", empty=False)
    return benchmark.split if benchmark else None


def _benchmark_format(table: Table, path: Path, benchmark: Benchmark) -> str:
    """How a benchmark's file is read: its own way, or as the ending says where it is a table of texts."""
    ending = path.suffix.lower().lstrip(".")
    tables = ("csv", "tsv", "jsonl", "parquet")
    default = benchmark.format
    allowed = tables if default in tables else (default,)
    value = table.take_text("format", ending if ending in allowed else default)
    if value not in allowed:
        raise table.fail(
            "format", f"= {show(value)} is not the benchmark's. {hint(value, allowed)}"
        )
    return value


def _format(table: Table, path: Path) -> str:
    if path.is_dir():
        return table.take_choice("format", FORMATS, "txt")
    endings = {"ndjson": "jsonl", "text": "txt", "pq": "parquet"}
    ending = path.suffix.lower().lstrip(".")
    ending = endings.get(ending, ending)
    if not table.has("format") and ending in PACKED:
        raise table.fail(
            "path",
            f"= {show(path.name)} is compressed. Unpack it and give the unpacked file.",
        )
    if not table.has("format") and ending not in FORMATS:
        raise table.fail(
            "format",
            f"is missing and {show(path.name)} does not tell. Allowed: {', '.join(FORMATS)}.",
        )
    return table.take_choice("format", FORMATS, ending)


def _columns(table: Table) -> Mapping[str, str]:
    columns = {role: table.take_text(role, empty=False) for role in COLUMNS if table.has(role)}
    table.finish()
    return columns
