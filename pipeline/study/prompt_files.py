"""Readers of prompt files: each yields the entries of one kind of file, in order."""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import PromptError
from pipeline.study.benchmarks import compbench_prompts, folder_prompts
from pipeline.study.prompt_source import COLUMNS
from pipeline.study.settings import show
from pipeline.study.spec import MAX_COUNT, PromptSource
from pipeline.study.unpacking import refuse_bomb

PARTI = {"text": "Prompt", "category": "Category"}  # PartiPrompts has these columns

GUESSES = ("text", "prompt", "caption", "sentence", "description", "raw")

BASE = "base"  # of the columns that hold prompts to switch from: base, base_colour, ...

MAX_CELL = 2**24  # characters of one CSV cell

MAX_FILE = 2**32  # bytes of a text file, which is read whole


@dataclass(frozen=True, slots=True)
class Entry:
    """What a reader finds: a text, where it stands, and its optional columns."""

    text: str
    location: str
    columns: Mapping[str, str] = field(default_factory=dict)


def _read_table(source: PromptSource, delimiter: str) -> Iterator[Entry]:
    csv.field_size_limit(MAX_CELL)
    lines = _lines(source.path, keep_ends=True)
    first = next(lines, "")
    _refuse_other_separator(source, first, delimiter)
    lines = chain((first,), lines) if first else lines
    if delimiter == ",":
        rows = csv.reader(lines, strict=True)
    else:
        rows = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    header: list[str] | None = None
    columns: Mapping[str, str] = {}
    start = 0
    for line, row in _numbered_rows(rows, source.path):
        location = f"{source.path.name} line {line}"
        if header is None:
            header, start = [name.strip() for name in row], line
            columns = _match_columns(source, header, f"{source.path.name} line {start}")
        elif len(row) != len(header):
            raise PromptError(
                f"{location}: {len(row)} columns, where line {start} names {len(header)}. "
                "Put texts with separators or line breaks in double quotes."
            )
        else:
            cells = dict(zip(header, row, strict=True))
            yield _entry(cells, columns, f"{source.path.name}:{line}", location)


def _numbered_rows(rows: Any, path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the line on which it starts."""
    before = 0
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise PromptError(f"{path.name} line {before + 1}: not a CSV row: {error}.") from None
        if row:
            yield before + 1, row
        before = rows.line_num


def _match_columns(source: PromptSource, header: list[str], location: str) -> dict[str, str]:
    """Which column of the file plays which part."""
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise PromptError(f"{location}: column {show(twice[0])} is there twice. Rename one.")
    defaults = {name: name for name in COLUMNS}
    if "text" not in header and "Prompt" in header and "Category" in header:
        defaults |= PARTI
    for part, column in source.columns.items():
        if column not in header:
            raise PromptError(_no_column(column, part, header, location))
    columns = defaults | dict(source.columns)
    if columns["text"] not in header:
        raise PromptError(_no_column(columns["text"], "text", header, location))
    columns |= {name: name for name in header if is_base(name)}
    return {part: column for part, column in columns.items() if column in header}


def is_base(column: str) -> bool:
    """Whether a column of a prompt file holds prompts to switch from (measure `switch`)."""
    return column == BASE or column.startswith(f"{BASE}_")


SEPARATORS = {",": "','", ";": "';'", "\t": "a tab", "|": "'|'"}


def _refuse_other_separator(source: PromptSource, line: str, expected: str) -> None:
    """Raises where the first line of a table has the column of the texts only when it is cut at another character."""
    named = source.columns.get("text")
    wanted = {named.casefold()} if named else set(GUESSES)

    def cut(separator: str) -> set[str]:
        return {cell.strip(" \r\n\"'").casefold() for cell in line.split(separator)}

    matches = [separator for separator in SEPARATORS if wanted & cut(separator)]
    if not matches or expected in matches:
        return
    kinds = {",": "csv", "\t": "tsv"}
    advice = (
        f'Set prompts.format = "{kinds[matches[0]]}".'
        if matches[0] in kinds
        else 'Save it with commas, or with tabs and prompts.format = "tsv".'
    )
    raise PromptError(
        f"{source.path.name} line 1: the columns are separated by {SEPARATORS[matches[0]]}, not by "
        f"{SEPARATORS[expected]}. {advice}"
    )


def _no_column(column: str, part: str, header: list[str], location: str) -> str:
    folded = {name.casefold(): name for name in reversed(header)}
    likely = [folded[guess] for guess in GUESSES if guess in folded] if part == "text" else []
    best = (likely or [name for name in header if name] or ["..."])[0]
    names = ", ".join(header[:20])[:300]
    advice = f'Name it with prompts.columns.{part} = "{best}".'
    return f"{location}: no column {column!r} (found: {names}). {advice}"


def _entry(cells: Mapping[str, Any], columns: Mapping[str, str], mark: str, location: str) -> Entry:
    parts = {part: _cell(cells[column], part, location) for part, column in columns.items()}
    return Entry(parts.pop("text"), mark, parts)


def _read_text(source: PromptSource) -> Iterator[Entry]:
    """One prompt a line, blank lines left out; of a folder one prompt a file."""
    if source.path.is_dir():
        yield from (Entry(_storable(text), name) for name, text in folder_prompts(source.path))
        return
    for number, line in enumerate(_lines(source.path), start=1):
        if line.strip():
            yield Entry(line, f"{source.path.name}:{number}")


def _read_compbench(source: PromptSource) -> Iterator[Entry]:
    for mark, text, category in compbench_prompts(source.path):
        yield Entry(_storable(text), mark, {"category": category})


def _read_geneval2(source: PromptSource) -> Iterator[Entry]:
    """GenEval 2's records; the category is the number of atoms of the prompt, by which the benchmark groups prompts."""
    for number, line in enumerate(_lines(source.path), start=1):
        if line.strip():
            location = f"{source.path.name} line {number}"
            record = _from_json(line, location)
            atoms = _member(record, "atom_count", location)
            if isinstance(atoms, bool) or not isinstance(atoms, int) or not 0 <= atoms < 1000:
                raise PromptError(f"{location}: atom_count = {show(atoms)} is not a count.")
            text = _text(record, "prompt", location)
            yield Entry(text, f"{source.path.name}:{number}", {"category": f"{atoms} atoms"})


def _read_jsonl(source: PromptSource) -> Iterator[Entry]:
    for number, line in enumerate(_lines(source.path), start=1):
        if line.strip():
            location = f"{source.path.name} line {number}"
            record = _from_json(line, location)
            yield _json_entry(record, source, location, f"{source.path.name}:{number}")


def _json_entry(record: Any, source: PromptSource, location: str, mark: str) -> Entry:
    """An object with the text in a column, or the text itself."""
    if isinstance(record, str):
        return Entry(_storable(record), mark)
    if not isinstance(record, dict):
        raise PromptError(
            f'{location}: {show(record)} is not an object such as {{"text": "a cat"}}.'
        )
    columns = _match_columns(source, list(record), location)
    return _entry(record, columns, mark, location)


def _cell(value: Any, part: str, location: str) -> str:
    """A text, or a list of words as one text; a missing optional value is empty."""
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        value = ";".join(value)
    if isinstance(value, str):
        return _storable(value)
    if value is None and part != "text":
        return ""
    raise PromptError(f"{location}: {part} = {show(value)} is not text.")


def _read_parquet(source: PromptSource) -> Iterator[Entry]:
    location = source.path.name
    try:
        with source.path.open("rb") as start:
            _refuse_compressed(start.read(8), source.path)
        with pq.ParquetFile(source.path) as file:
            columns = _match_columns(source, file.schema_arrow.names, location)
            refuse_bomb(file, source.path, MAX_COUNT, columns=columns.values())
            row = 0
            names = list(columns.values())
            for batch in file.iter_batches(batch_size=4096, columns=names, use_threads=False):
                for cells in batch.to_pylist():
                    row += 1
                    yield _entry(cells, columns, f"{location}:{row}", f"{location} row {row}")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise PromptError(f"{location}: cannot be read as Parquet: {_one_line(error)}.") from None


def _read_json(source: PromptSource) -> Iterator[Entry]:
    """JSON whose shape tells its kind: COCO, Karpathy, Visual Genome, or records."""
    data = _load_json(source.path)
    return _SHAPES[_shape(data, source)](data, source)


def _read_as(kind: str) -> Callable[[PromptSource], Iterator[Entry]]:
    return lambda source: _SHAPES[kind](_load_json(source.path), source)


def _shape(data: Any, source: PromptSource) -> str:
    if isinstance(data, dict) and "annotations" in data:
        return "coco"
    if isinstance(data, dict) and "images" in data:
        return "karpathy"
    if not isinstance(data, list):
        raise PromptError(
            f"{source.path.name}: JSON of an unknown shape. Known: COCO captions (annotations), "
            "Karpathy splits (images), Visual Genome relationships, a list of texts or records."
        )
    first = data[0] if data else ""
    triples = isinstance(first, dict) and ("relationships" in first or "predicate" in first)
    return "genome" if triples or isinstance(first, list) else "records"


def _records(data: Any, source: PromptSource) -> Iterator[Entry]:
    for index, record in enumerate(_listed(data, source.path.name)):
        location = f"{source.path.name} entry {index}"
        yield _json_entry(record, source, location, location)


def _coco(data: Any, source: PromptSource) -> Iterator[Entry]:
    """{"annotations": [{"image_id": 1, "caption": "a cat"}, ...]}."""
    name = source.path.name
    notes = _listed(_member(data, "annotations", name), f"{name} annotations")
    for index, note in enumerate(notes):
        location = f"{name} annotations[{index}]"
        yield Entry(_text(note, "caption", location), location)


def _karpathy(data: Any, source: PromptSource) -> Iterator[Entry]:
    """{"images": [{"split": "test", "sentences": [{"raw": "a cat"}, ...]}, ...]}."""
    name, splits = source.path.name, set()
    for index, image in enumerate(_listed(_member(data, "images", name), f"{name} images")):
        location = f"{name} images[{index}]"
        split = _text(image, "split", location) if source.split else None
        splits.add(split)
        if split == source.split:
            sentences = _listed(_member(image, "sentences", location), f"{location}.sentences")
            for number, sentence in enumerate(sentences):
                mark = f"{location}.sentences[{number}]"
                yield Entry(_text(sentence, "raw", mark), mark)
    if source.split and source.split not in splits:
        names = ", ".join(sorted(map(str, splits)))[:300]
        problem = f"no split {source.split!r} (found: {names})"
        raise PromptError(f"{name}: {problem}. Change prompts.split.")


def _genome(data: Any, source: PromptSource) -> Iterator[Entry]:
    """Visual Genome's relationships of images, or bare triples as lists or objects.

    The first `images` entries are taken, one entry being one image in Visual Genome's file.
    """
    name = source.path.name
    for index, item in enumerate(_listed(data, name)[: source.images]):
        location = f"{name} entry {index}"
        if isinstance(item, dict) and "relationships" in item:
            inner = f"{location}.relationships"
            for number, triple in enumerate(_listed(item["relationships"], inner)):
                yield _triple(triple, f"{inner}[{number}]")
        else:
            yield _triple(item, location)


def _triple(triple: Any, location: str) -> Entry:
    if isinstance(triple, list):
        if len(triple) != 3 or not all(isinstance(word, str) for word in triple):
            raise PromptError(f"{location}: {show(triple)} is not [subject, predicate, object].")
        words = [_storable(word) for word in triple]
    else:
        older = isinstance(triple, dict) and "relation" in triple
        predicate = "relation" if older else "predicate"
        words = [
            _noun(triple, "subject", location),
            _text(triple, predicate, location),
            _noun(triple, "object", location),
        ]
    words = [" ".join(word.replace(";", " ").split()) for word in words]
    columns = dict(zip(("subject", "relation", "object"), words, strict=True))
    return Entry(" ".join(word for word in words if word), location, columns)


def _noun(triple: Any, key: str, location: str) -> str:
    """A name, {"name": "cat"} or {"names": ["cat"]}: Visual Genome has all three."""
    value = _member(triple, key, location)
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, dict) and isinstance(value.get("names"), list) and value["names"]:
        value = {"name": value["names"][0]}
    return _text(value, "name", f"{location}.{key}")


def _member(value: Any, key: str, location: str) -> Any:
    if not isinstance(value, dict):
        raise PromptError(f"{location}: {show(value)} is not an object with {key!r}.")
    if key not in value:
        raise PromptError(f"{location}: no {key!r} (found: {', '.join(map(str, value))[:300]}).")
    return value[key]


def _text(value: Any, key: str, location: str) -> str:
    text = _member(value, key, location)
    if not isinstance(text, str):
        raise PromptError(f"{location}: {key} = {show(text)} is not text.")
    return _storable(text)


def _listed(value: Any, location: str) -> list[Any]:
    if not isinstance(value, list):
        raise PromptError(f"{location}: {show(value)} is not a list.")
    return value


def _load_json(path: Path) -> Any:
    return _from_json(_decoded(path), path.name)


def _from_json(text: str, location: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise PromptError(f"{location}: not JSON: {error.msg} at {where}.") from None
    except (RecursionError, ValueError) as error:
        raise PromptError(f"{location}: not JSON that can be read: {_one_line(error)}.") from None


def _lines(path: Path, keep_ends: bool = False) -> Iterator[str]:
    r"""The lines of a text file, parted at \n and \r\n only."""
    for line in re.finditer(r"[^\n]*\n|[^\n]+", _decoded(path)):
        yield line.group() if keep_ends else line.group().removesuffix("\n").removesuffix("\r")


def _decoded(path: Path) -> str:
    """The text of a UTF-8 file, with or without a byte order mark."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except (OSError, MemoryError) as error:
        raise PromptError(f"{path}: cannot be read ({_one_line(error)}).") from None
    if len(data) > MAX_FILE:
        raise PromptError(f"{path}: over {MAX_FILE:,} bytes. Give a part of it, or Parquet.")
    _refuse_compressed(data, path)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise PromptError(f"{path.name}: is UTF-16. Save it as UTF-8.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        raise PromptError(
            f"{path.name} line {line}: byte 0x{byte:02x} is not UTF-8. Save the file as UTF-8."
        ) from None


COMPRESSED = {  # the first bytes of a file -> what it is, and what unpacks it
    b"\x1f\x8b": ("gzip", "gunzip -k"),
    b"BZh": ("bzip2", "bunzip2 -k"),
    b"\xfd7zXZ\x00": ("xz", "unxz -k"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"PK\x03\x04": ("zip", "unzip"),
}


def _refuse_compressed(data: bytes, path: Path) -> None:
    for start, (kind, unpack) in COMPRESSED.items():
        if data.startswith(start):
            raise PromptError(
                f"{path.name}: is {kind}-compressed. Unpack it (`{unpack} {path.name}`) and give the unpacked file as "
                "prompts.path."
            )


def _storable(text: str) -> str:
    r"""The text with lone surrogates (JSON can say "\ud800") replaced: nothing can store them."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")


_SHAPES: Mapping[str, Callable[[Any, PromptSource], Iterator[Entry]]] = {
    "coco": _coco,
    "karpathy": _karpathy,
    "genome": _genome,
    "records": _records,
}

READERS: Mapping[str, Callable[[PromptSource], Iterator[Entry]]] = {
    "csv": lambda source: _read_table(source, ","),
    "tsv": lambda source: _read_table(source, "\t"),
    "txt": _read_text,
    "compbench": _read_compbench,
    "geneval2": _read_geneval2,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
    "json": _read_json,
    "coco": _read_as("coco"),
    "karpathy": _read_as("karpathy"),
    "genome": _read_as("genome"),
}
