"""Reads prompt files of every common kind into `Prompt` records, in order, duplicates removed.

Texts are kept exactly as they are, however odd: what a model makes of an empty prompt, of NUL or of
10,000 characters is reported per sample later. Only what cannot be stored is changed: a lone
surrogate becomes U+FFFD.
"""

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import PromptError
from pipeline.settings import show
from pipeline.study import COLUMNS, MAX_COUNT, PromptSource
from pipeline.unpacking import refuse_bomb

ROLES = ("subject", "relation", "object", "attribute")
PARTI = {"text": "Prompt", "category": "Category"}  # PartiPrompts has these columns
GUESSES = ("text", "prompt", "caption", "sentence", "description", "raw")
MAX_CELL = 2**24  # characters of one CSV cell
MAX_FILE = 2**32  # bytes of a text file, which is read whole

Roles = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt of a study."""

    prompt_key: str  # hash of the text, the same in every study
    text: str
    source: str  # file and line, or entry
    category: str
    roles: Roles  # role -> its words, as they stand in the text
    position: int  # place in the study's prompts, from 0


@dataclass(frozen=True)
class PromptSet:
    """The prompts of a study, and what was left out on the way."""

    prompts: tuple[Prompt, ...]
    duplicates: int = 0  # exact repeats that were dropped

    def __len__(self) -> int:
        return len(self.prompts)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a reader finds: a text, where it stands, and its optional columns."""

    text: str
    place: str
    columns: Mapping[str, str] = field(default_factory=dict)


def read_prompts(source: PromptSource) -> PromptSet:
    """Reads, cleans of duplicates, samples and limits the prompts of a study.

    The sample of size n is the n prompts whose hash with the seed is smallest: it does not depend
    on the order of the file, and grows with n.

    Raises:
        PromptError: says the file, the line or entry, what is wrong and what to do.
    """
    counted = _Counted(_unique(READERS[source.format](source), source))
    first = source.limit if source.sample is None else None
    prompts = [_prompt(entry, position) for position, entry in enumerate(islice(counted, first))]
    if source.sample is not None:
        prompts = _sample(prompts, source.sample, source.sample_seed)[: source.limit]
    if not prompts:
        raise PromptError(f"{source.path}: no prompts in it. {_what_is_read(source)}")
    return PromptSet(tuple(prompts), counted.duplicates)


def key_of(text: str) -> str:
    """The content hash of a text: 24 hex digits of its sha256."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _what_is_read(source: PromptSource) -> str:
    if source.split:
        return f"prompts.split = {source.split!r}: is there such a split in the file?"
    return f"It was read as {source.format}; prompts.format names another kind."


class _Counted:
    """An iterable of entries that counts the repeats it leaves out."""

    def __init__(self, entries: Iterable[Entry | None]) -> None:
        self.entries, self.duplicates = entries, 0

    def __iter__(self) -> Iterator[Entry]:
        for entry in self.entries:
            if entry is None:
                self.duplicates += 1
            else:
                yield entry


def _unique(entries: Iterable[Entry], source: PromptSource) -> Iterator[Entry | None]:
    """The entries; None for an exact repeat of an earlier text."""
    seen: dict[str, str] = {}
    for entry in entries:
        key = key_of(entry.text)
        if key in seen and source.duplicates == "error":
            raise PromptError(
                f"{entry.place}: the same prompt as {seen[key]}: {show(entry.text)}. Remove one, "
                'or set prompts.duplicates = "drop".'
            )
        yield None if key in seen else entry
        seen.setdefault(key, entry.place)


def _prompt(entry: Entry, position: int) -> Prompt:
    return Prompt(
        prompt_key=key_of(entry.text),
        text=entry.text,
        source=entry.place,
        category=entry.columns.get("category", "").strip(),
        roles=_roles(entry),
        position=position,
    )


_NO_ROLES: Roles = {}


def _roles(entry: Entry) -> Roles:
    """The words of each role; several are separated by ';'."""
    found = {}
    for role in ROLES:
        words = tuple(w.strip() for w in entry.columns.get(role, "").split(";") if w.strip())
        for word in words:
            _check_word(word, role, entry)
        if words:
            found[role] = words
    return found or _NO_ROLES


def _check_word(word: str, role: str, entry: Entry) -> None:
    if _folded(word) not in _folded(entry.text):
        raise PromptError(
            f"{entry.place}: the {role} {show(word)} is not in the prompt {show(entry.text)}. "
            "Write it as it stands in the prompt; several words are separated by ';'."
        )


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _sample(prompts: list[Prompt], count: int, seed: int) -> list[Prompt]:
    def rank(prompt: Prompt) -> bytes:
        return hashlib.sha256(f"{seed} {prompt.prompt_key}".encode()).digest()

    chosen = sorted(sorted(prompts, key=rank)[:count], key=lambda prompt: prompt.position)
    return [replace(prompt, position=index) for index, prompt in enumerate(chosen)]


# Readers: each yields the entries of one kind of file, in order.


def _read_table(source: PromptSource, delimiter: str) -> Iterator[Entry]:
    csv.field_size_limit(MAX_CELL)
    lines = _lines(source.path, keep_ends=True)
    if delimiter == ",":
        rows = csv.reader(lines, strict=True)
    else:
        rows = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    header: list[str] | None = None
    columns: Mapping[str, str] = {}
    start = 0
    for line, row in _numbered_rows(rows, source.path):
        place = f"{source.path.name} line {line}"
        if header is None:
            header, start = [name.strip() for name in row], line
            columns = _match_columns(source, header, f"{source.path.name} line {start}")
        elif len(row) != len(header):
            raise PromptError(
                f"{place}: {len(row)} columns, where line {start} names {len(header)}. "
                "Put texts with separators or line breaks in double quotes."
            )
        else:
            cells = dict(zip(header, row, strict=True))
            yield _entry(cells, columns, f"{source.path.name}:{line}", place)


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


def _match_columns(source: PromptSource, header: list[str], place: str) -> dict[str, str]:
    """Which column of the file plays which part."""
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise PromptError(f"{place}: column {show(twice[0])} is there twice. Rename one.")
    defaults = {name: name for name in COLUMNS}
    if "text" not in header and "Prompt" in header and "Category" in header:
        defaults |= PARTI
    for part, column in source.columns.items():
        if column not in header:
            raise PromptError(_no_column(column, part, header, place))
    columns = defaults | dict(source.columns)
    if columns["text"] not in header:
        raise PromptError(_no_column(columns["text"], "text", header, place))
    return {part: column for part, column in columns.items() if column in header}


def _no_column(column: str, part: str, header: list[str], place: str) -> str:
    folded = {name.casefold(): name for name in reversed(header)}
    likely = [folded[guess] for guess in GUESSES if guess in folded] if part == "text" else []
    best = (likely or [name for name in header if name] or ["..."])[0]
    found = ", ".join(header[:20])[:300]
    advice = f'Name it with prompts.columns.{part} = "{best}".'
    return f"{place}: no column {column!r} (found: {found}). {advice}"


def _entry(cells: Mapping[str, Any], columns: Mapping[str, str], mark: str, place: str) -> Entry:
    parts = {part: _cell(cells[column], part, place) for part, column in columns.items()}
    return Entry(parts.pop("text"), mark, parts)


def _read_text(source: PromptSource) -> Iterator[Entry]:
    """One prompt a line; blank lines separate and are no prompts."""
    for number, line in enumerate(_lines(source.path), start=1):
        if line.strip():
            yield Entry(line, f"{source.path.name}:{number}")


def _read_jsonl(source: PromptSource) -> Iterator[Entry]:
    for number, line in enumerate(_lines(source.path), start=1):
        if line.strip():
            place = f"{source.path.name} line {number}"
            record = _from_json(line, place)
            yield _json_entry(record, source, place, f"{source.path.name}:{number}")


def _json_entry(record: Any, source: PromptSource, place: str, mark: str) -> Entry:
    """An object with the text in a column, or the text itself."""
    if isinstance(record, str):
        return Entry(_storable(record), mark)
    if not isinstance(record, dict):
        raise PromptError(f'{place}: {show(record)} is not an object such as {{"text": "a cat"}}.')
    columns = _match_columns(source, list(record), place)
    return _entry(record, columns, mark, place)


def _cell(value: Any, part: str, place: str) -> str:
    """A text, or a list of words as one text; a missing optional value is empty."""
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        value = ";".join(value)
    if isinstance(value, str):
        return _storable(value)
    if value is None and part != "text":
        return ""
    raise PromptError(f"{place}: {part} = {show(value)} is not text.")


def _read_parquet(source: PromptSource) -> Iterator[Entry]:
    place = source.path.name
    try:
        with pq.ParquetFile(source.path) as file:
            columns = _match_columns(source, file.schema_arrow.names, place)
            refuse_bomb(file, source.path, MAX_COUNT, columns=columns.values())
            row = 0
            for batch in file.iter_batches(batch_size=4096, columns=list(columns.values())):
                for cells in batch.to_pylist():
                    row += 1
                    yield _entry(cells, columns, f"{place}:{row}", f"{place} row {row}")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise PromptError(f"{place}: cannot be read as Parquet: {_one_line(error)}.") from None


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
        place = f"{source.path.name} entry {index}"
        yield _json_entry(record, source, place, place)


def _coco(data: Any, source: PromptSource) -> Iterator[Entry]:
    """{"annotations": [{"image_id": 1, "caption": "a cat"}, ...]}."""
    name = source.path.name
    notes = _listed(_member(data, "annotations", name), f"{name} annotations")
    for index, note in enumerate(notes):
        place = f"{name} annotations[{index}]"
        yield Entry(_text(note, "caption", place), place)


def _karpathy(data: Any, source: PromptSource) -> Iterator[Entry]:
    """{"images": [{"split": "test", "sentences": [{"raw": "a cat"}, ...]}, ...]}."""
    name, splits = source.path.name, set()
    for index, image in enumerate(_listed(_member(data, "images", name), f"{name} images")):
        place = f"{name} images[{index}]"
        split = _text(image, "split", place) if source.split else None
        splits.add(split)
        if split == source.split:
            sentences = _listed(_member(image, "sentences", place), f"{place}.sentences")
            for number, sentence in enumerate(sentences):
                mark = f"{place}.sentences[{number}]"
                yield Entry(_text(sentence, "raw", mark), mark)
    if source.split and source.split not in splits:
        found = ", ".join(sorted(map(str, splits)))[:300]
        problem = f"no split {source.split!r} (found: {found})"
        raise PromptError(f"{name}: {problem}. Change prompts.split.")


def _genome(data: Any, source: PromptSource) -> Iterator[Entry]:
    """Visual Genome's relationships of images, or bare triples as lists or objects."""
    name = source.path.name
    for index, item in enumerate(_listed(data, name)):
        place = f"{name} entry {index}"
        if isinstance(item, dict) and "relationships" in item:
            inner = f"{place}.relationships"
            for number, triple in enumerate(_listed(item["relationships"], inner)):
                yield _triple(triple, f"{inner}[{number}]")
        else:
            yield _triple(item, place)


def _triple(triple: Any, place: str) -> Entry:
    if isinstance(triple, list):
        if len(triple) != 3 or not all(isinstance(word, str) for word in triple):
            raise PromptError(f"{place}: {show(triple)} is not [subject, predicate, object].")
        words = [_storable(word) for word in triple]
    else:
        older = isinstance(triple, dict) and "relation" in triple
        predicate = "relation" if older else "predicate"
        words = [
            _noun(triple, "subject", place),
            _text(triple, predicate, place),
            _noun(triple, "object", place),
        ]
    words = [" ".join(word.replace(";", " ").split()) for word in words]
    columns = dict(zip(("subject", "relation", "object"), words, strict=True))
    return Entry(" ".join(word for word in words if word), place, columns)


def _noun(triple: Any, key: str, place: str) -> str:
    """A name, {"name": "cat"} or {"names": ["cat"]}: Visual Genome has all three."""
    value = _member(triple, key, place)
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, dict) and isinstance(value.get("names"), list) and value["names"]:
        value = {"name": value["names"][0]}
    return _text(value, "name", f"{place}.{key}")


def _member(value: Any, key: str, place: str) -> Any:
    if not isinstance(value, dict):
        raise PromptError(f"{place}: {show(value)} is not an object with {key!r}.")
    if key not in value:
        raise PromptError(f"{place}: no {key!r} (found: {', '.join(map(str, value))[:300]}).")
    return value[key]


def _text(value: Any, key: str, place: str) -> str:
    text = _member(value, key, place)
    if not isinstance(text, str):
        raise PromptError(f"{place}: {key} = {show(text)} is not text.")
    return _storable(text)


def _listed(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise PromptError(f"{place}: {show(value)} is not a list.")
    return value


def _load_json(path: Path) -> Any:
    return _from_json(_decoded(path), path.name)


def _from_json(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise PromptError(f"{place}: not JSON: {error.msg} at {where}.") from None
    except (RecursionError, ValueError) as error:
        raise PromptError(f"{place}: not JSON that can be read: {_one_line(error)}.") from None


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
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
    "json": _read_json,
    "coco": _read_as("coco"),
    "karpathy": _read_as("karpathy"),
    "genome": _read_as("genome"),
}
