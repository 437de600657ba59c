"""The layouts in which images and their prompts lie on a disk, each read into `Picture` records in order.

Each reader is a function from a folder's file names to pictures, and names where the layout is written down. No image is decoded.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.errors import ModelError
from pipeline.study.image_files import (
    ENDINGS,
    MAX_LIST,
    check_name,
    describe,
    names_below,
    read_below,
)
from pipeline.study.image_tables import table_records
from pipeline.study.settings import show
from pipeline.study.spec import MAX_SEED, ModelSpec

PATHS = ("file_name", "path", "file", "image", "image_path", "filename")
TEXTS = ("prompt", "text", "caption")
KEYS = ("prompt_key", "key")
LISTS = ("metadata.jsonl", "metadata.csv")
MAX_CELL = 2**20  # characters


@dataclass(frozen=True, slots=True)
class Picture:
    """One image: its file, and what it is matched by.

    Attributes:
        name: its file, relative to the folder.
        text: its prompt. key: of its prompt, or the name of its prompt's file. number: of its prompt in the prompt file.
        seed: where it is known.
        row: in a Parquet file.
        tile: its number in a grid of `tiles` images, row by row.
    """

    name: str
    text: str | None = None
    key: str | None = None
    number: int | None = None
    seed: int | None = None
    row: int | None = None
    tile: int | None = None
    tiles: int = 1

    @property
    def belongs(self) -> tuple[str, str | int]:
        """What it is matched by: its kind and its value."""
        if self.key is not None:
            return "key", self.key
        if self.text is not None:
            return "text", " ".join(self.text.split())
        return "number", -1 if self.number is None else self.number

    @property
    def title(self) -> str:
        """As messages call it."""
        row = "" if self.row is None else f" row {self.row}"
        return self.name + row + ("" if self.tile is None else f" tile {self.tile}")


@dataclass(frozen=True)
class Listing:
    """What a layout holds."""

    root: Path
    layout: str
    pictures: tuple[Picture, ...]
    ignored: tuple[str, ...] = ()  # files that are no pictures of it


@dataclass(frozen=True)
class Source:
    """A folder that is read: its files by name, and how messages call it."""

    root: Path
    names: tuple[str, ...]
    title: str
    tiles: int | None = None
    checkpoint: int | None = None

    def fail(self, problem: str) -> ModelError:
        """The error about it, to be raised."""
        return ModelError(f"{self.title}: images = {show(str(self.root))} {problem}")

    @property
    def images(self) -> list[str]:
        """Its files that are images by their ending."""
        return [name for name in self.names if is_image(name)]


Reader = Callable[[Source], Iterable[Picture]]


def is_image(name: str) -> bool:
    """Whether a file is an image by its ending."""
    return name.lower().endswith(ENDINGS)


def read_layout(spec: ModelSpec) -> Listing:
    """The pictures of a model whose images exist: of a folder, or of a CSV, JSON Lines or Parquet file.

    Raises:
        ModelError: it cannot be read, or is of no known layout.
    """
    path, title = Path(spec.source), f"model {spec.name}"
    layout = spec.layout or "auto"
    try:
        if path.is_file():
            return _read_file(path, title)
        source = Source(path, tuple(names_below(path)), title, spec.tiles, spec.checkpoint)
    except OSError as error:
        raise ModelError(f"{title}: images = {show(str(path))}: {describe(error)}.") from None
    name = _recognise(source) if layout == "auto" else layout
    pictures = tuple(READERS[name](source))
    return Listing(path, name, pictures, _ignored(source, pictures))


def _read_file(path: Path, title: str) -> Listing:
    """The pictures that a list names, which lie in its folder or below."""
    source = Source(path.parent, (path.name,), title)
    readers: Mapping[str, Reader] = {".csv": _listed, ".jsonl": _listed, ".parquet": _tables}
    ending = path.suffix.lower()
    if ending not in readers:
        raise ModelError(
            f"{title}: images = {show(str(path))} is not a list of images. Allowed: a folder, or a file "
            f"ending in {', '.join(readers)}."
        )
    name = "parquet" if ending == ".parquet" else "csv"
    return Listing(path.parent, name, tuple(readers[ending](source)))


def _recognise(source: Source) -> str:
    """The layout of a folder."""
    for name, known in SIGNS.items():
        if known(source):
            return name
    raise source.fail(
        f"is of no known layout. Add metadata.jsonl or metadata.csv with the columns file_name and prompt, or set layout to one "
        f"of {', '.join(READERS)}."
    )


def _ignored(source: Source, pictures: Iterable[Picture]) -> tuple[str, ...]:
    """Files that no picture names, lists and notes left out."""
    named = {picture.name for picture in pictures}
    notes = (".txt", ".md", ".json", ".jsonl", ".csv", ".parquet")
    return tuple(n for n in source.names if n not in named and not n.lower().endswith(notes))


def _imagefolder(source: Source) -> Iterator[Picture]:
    """Hugging Face's ImageFolder: a list named metadata, in the folder or in folders of it, beside the images."""
    lists = [name for name in source.names if PurePosixPath(name).name in LISTS]
    if not lists:
        raise source.fail("has no metadata.jsonl or metadata.csv.")
    for name in lists:
        yield from read_list(source, name)


def _listed(source: Source) -> Iterator[Picture]:
    return read_list(source, source.names[0])


def read_list(source: Source, name: str) -> Iterator[Picture]:
    """The pictures of a list, in its order: a path and a prompt or key each, and a seed where there is one."""
    folder = PurePosixPath(name).parent
    for where, record in records(source, name):
        file = check_name(taken(record, PATHS, where, source), f"{source.title}: {where}")
        key = optional(record, KEYS, where, source)
        text = None if key is not None else taken(record, TEXTS, where, source)
        yield Picture((folder / file).as_posix(), text, key, seed=_seed(record, where, source))


def records(source: Source, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The records of a CSV or JSON Lines file, each with where it stands.

    Raises:
        ModelError: the file cannot be read.
    """
    try:
        text = read_below(source.root, name, MAX_LIST).decode("utf-8-sig")
        if not name.lower().endswith(".csv"):
            yield from _json_lines(source, name, text)
            return
        csv.field_size_limit(MAX_CELL)
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        for row in rows:
            yield f"{name} line {rows.line_num}", row
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise source.fail(f": {name} cannot be read: {describe(error)}.") from None


def _json_lines(source: Source, name: str, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{name} line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            raise source.fail(f": {where} is not JSON.") from None
        if not isinstance(record, dict):
            raise source.fail(f": {where} is not an object with file_name and prompt.")
        yield where, record


def taken(record: Mapping[str, Any], names: Iterable[str], where: str, source: Source) -> str:
    """The first of some columns that a record has. Raises ModelError where it has none."""
    value = optional(record, names, where, source)
    if value is None:
        columns = ", ".join(map(str, list(record)[:20]))[:300]
        raise source.fail(f": {where} has no {' or '.join(names)} (found: {columns}).")
    return value


def optional(
    record: Mapping[str, Any], names: Iterable[str], where: str, source: Source
) -> str | None:
    """The first of some columns that a record has, None without one."""
    for name in names:
        value = record.get(name)
        if value is None:
            continue
        if not isinstance(value, str) or len(value) > MAX_CELL:
            raise source.fail(f": {where}: {name} = {show(value)} is not text.")
        return value.encode(errors="replace").decode()  # a lone surrogate could not be stored
    return None


def _seed(record: Mapping[str, Any], where: str, source: Source) -> int | None:
    value = record.get("seed")
    if value is None or value == "":
        return None
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_SEED:
        raise source.fail(
            f": {where}: seed = {show(value)} is not a whole number from 0 to {MAX_SEED}."
        )
    return value


def _tables(source: Source) -> Iterator[Picture]:
    """Hugging Face's data sets as Parquet: a column of images with their bytes, one of texts."""
    for name in sorted(name for name in source.names if name.lower().endswith(".parquet")):
        for row, record in enumerate(table_records(source.root, name, source.title)):
            where = f"{name} row {row}"
            key = optional(record, KEYS, where, source)
            text = None if key is not None else taken(record, TEXTS, where, source)
            yield Picture(name, text, key, seed=_seed(record, where, source), row=row)


def _geneval(source: Source) -> Iterator[Picture]:
    """GenEval's folders `00000/samples/0000.png`; the prompt is in the folder's metadata.jsonl.

    Source: the README of github.com/djghosh13/geneval, "Image generation".
    """
    prompts: dict[str, str] = {}
    for name in source.images:
        match = GENEVAL.fullmatch(name)
        if match is None:
            continue
        folder = match[1]
        if folder not in prompts:
            where, record = next(iter(records(source, f"{folder}/metadata.jsonl")), ("", {}))
            prompts[folder] = taken(
                record, ("prompt",), where or f"{folder}/metadata.jsonl", source
            )
        yield Picture(name, prompts[folder])


def _compbench(source: Source) -> Iterator[Picture]:
    """T2I-CompBench's files `samples/PROMPT_000000.png`, in the order of their numbers.

    Source: GORS_finetune/inference_eval.py of github.com/Karine-Huang/T2I-CompBench.
    """
    matches = [match for name in source.images if (match := COMPBENCH.fullmatch(name))]
    for match in sorted(matches, key=lambda each: int(each[2])):
        yield Picture(match[0], match[1])


def _dpg(source: Source) -> Iterator[Picture]:
    """DPG-Bench's files `ITEM.png`, each a grid of two by two images; ITEM is the name of the prompt's .txt file.

    Source: dpg_bench/compute_dpg_bench.py of github.com/TencentQQGYLab/ELLA, which cuts the grid row by row.
    """
    tiles = source.tiles or 4
    for name in source.images:
        key = PurePosixPath(name).stem
        for tile in range(tiles):
            yield Picture(name, key=key, tile=tile if tiles > 1 else None, tiles=tiles)


def _sd_scripts(source: Source) -> Iterator[Picture]:
    """Samples of sd-scripts: `NAME_e000010_00_20260101120000_42.png` with epoch or step, prompt number, time and seed."""
    matches = [match for name in source.images if (match := SD_SCRIPTS.fullmatch(name))]
    for match in _of_checkpoint(source, matches):
        seed = match["seed"]
        yield Picture(match[0], number=int(match["number"]), seed=int(seed) if seed else None)


def _ai_toolkit(source: Source) -> Iterator[Picture]:
    """Samples of ai-toolkit: `1700000000000__000000500_0.jpg` with time, step and prompt number."""
    matches = [match for name in source.images if (match := AI_TOOLKIT.fullmatch(name))]
    for match in _of_checkpoint(source, matches):
        yield Picture(match[0], number=int(match["number"]))


def _of_checkpoint(source: Source, matches: list[re.Match[str]]) -> list[re.Match[str]]:
    """The samples of the wanted checkpoint, the newest without one; of a prompt and seed sampled again, the last."""
    steps = sorted({int(match["checkpoint"]) for match in matches})
    if not steps:
        return []
    wanted = steps[-1] if source.checkpoint is None else source.checkpoint
    if wanted not in steps:
        some = ", ".join(map(str, steps[:10]))
        raise source.fail(f"has no samples of checkpoint = {wanted} (found: {some}).")
    chosen: dict[tuple[str | None, ...], re.Match[str]] = {}
    for match in sorted(matches, key=lambda each: each["time"]):
        if int(match["checkpoint"]) == wanted:
            chosen[match["number"], match.groupdict().get("seed")] = match
    return sorted(chosen.values(), key=lambda each: int(each["number"]))


GENEVAL = re.compile(r"((?:[^/]+/)*\d{5,8})/samples/\d{1,8}\.png", re.IGNORECASE)
COMPBENCH = re.compile(r"(?:[^/]+/)*samples/([^/]+)_(\d{6,9})\.png")
SD_SCRIPTS = re.compile(
    r"(?:.*[_/])?e?(?P<checkpoint>\d{6,9})_(?P<number>\d{2,6})_(?P<time>\d{14})(?:_(?P<seed>\d{1,19}))?\.png",
    re.ASCII,
)
AI_TOOLKIT = re.compile(
    r"(?:.*/)?(?P<time>\d{8,16})__(?P<checkpoint>\d{9,12})_(?P<number>\d{1,6})\.(?:jpg|jpeg|png|webp)",
    re.ASCII,
)


def _any(pattern: re.Pattern[str]) -> Callable[[Source], bool]:
    return lambda source: any(pattern.fullmatch(name) for name in source.names)


READERS: Mapping[str, Reader] = {
    "imagefolder": _imagefolder,
    "parquet": _tables,
    "geneval": _geneval,
    "t2i-compbench": _compbench,
    "dpg-bench": _dpg,
    "sd-scripts": _sd_scripts,
    "ai-toolkit": _ai_toolkit,
}
# How "auto" knows a layout, the first that fits; DPG-Bench's files have names as any others.
SIGNS: Mapping[str, Callable[[Source], bool]] = {
    "geneval": _any(GENEVAL),
    "imagefolder": lambda source: any(PurePosixPath(name).name in LISTS for name in source.names),
    "parquet": lambda source: any(name.lower().endswith(".parquet") for name in source.names),
    "t2i-compbench": _any(COMPBENCH),
    "ai-toolkit": _any(AI_TOOLKIT),
    "sd-scripts": _any(SD_SCRIPTS),
}
