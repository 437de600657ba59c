"""Harms to a results folder: what lies where a file is expected, what records say, what shards hold.

`HARMS` has each by its name; `tests/attacks/test_results_folders.py` does them one after the other to copies of a folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.results.folder import Results
from pipeline.results.rows import STORED

FILES = (
    "study.json", "prompts.parquet", "workers.json", "ledger.jsonl", "current.json", "shards.json", "lock",
    "publish.lock", "logs/run-99999999T000000Z-abcdef.jsonl", "snapshots/SNAPSHOT", "shards/UNIT",
    "extra/localisation.parquet", "extra/randomisation.parquet", "scores/scores.json", "scores/lock", "scores/METRIC",
)  # fmt: skip
FOLDERS = ("shards", "snapshots", "extra", "logs", "scores")
ESCAPES = (
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x9b31m",
    "\u202egnp.exe",
    "a\rb",
    "\x08\x08\x08",
    "\x7f",
)


@dataclass(frozen=True)
class Ground:
    """Where a case takes place.

    Attributes:
        folder: the copy that is harmed.
        canary: a folder that nothing may touch.
        whole: the folder as it was made.
    """

    folder: Path
    canary: Path
    whole: Path

    def path(self, name: str) -> Path:
        """A file of the harmed folder; SNAPSHOT, UNIT and METRIC stand for names that a hash or a number decides."""
        if name.endswith("UNIT"):
            return sorted((self.folder / "shards").glob("*.parquet"))[0]
        if name.endswith("SNAPSHOT"):
            return sorted((self.folder / "snapshots").glob("*.duckdb"))[-1]
        if name.endswith("METRIC"):
            return next((self.folder / "scores").glob("*.parquet"))
        return self.folder / name


Harm = Callable[[Ground], None]
HARMS: dict[str, Harm] = {}


def case(name: str) -> Callable[[Harm], Harm]:
    """Adds a harm to the table."""

    def add(harm: Harm) -> Harm:
        assert name not in HARMS, name
        HARMS[name] = harm
        return harm

    return add


def clear(path: Path) -> Path:
    """Makes way for something else of that name."""
    path.parent.mkdir(exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return path


# What may lie where a file is expected.


def linked(target: str) -> Callable[[Path, Ground], None]:
    return lambda path, ground: clear(path).symlink_to(target.replace("CANARY", str(ground.canary)))


def moved_out(path: Path, ground: Ground) -> None:
    """The real file, at another place, and a link to it."""
    data = path.read_bytes() if path.is_file() else b"{}\n"
    target = ground.canary / "moved"
    target.write_bytes(data)
    clear(path).symlink_to(target)


def hard_linked(path: Path, ground: Ground) -> None:
    clear(path).hardlink_to(ground.canary / "note.txt")


def fifo(path: Path, ground: Ground) -> None:
    os.mkfifo(clear(path))


def folder_instead(path: Path, ground: Ground) -> None:
    (clear(path) / "inner").mkdir(parents=True)


def filled(data: bytes) -> Callable[[Path, Ground], None]:
    return lambda path, ground: clear(path).write_bytes(data) and None


def halved(path: Path, ground: Ground) -> None:
    data = path.read_bytes() if path.is_file() else b'{"pid": 1, "host"'
    path.write_bytes(data[: len(data) // 2])


def endless(path: Path, ground: Ground) -> None:
    """What is there, and a terabyte of nothing after it."""
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as file:
        file.truncate(2**40)


def closed(path: Path, ground: Ground) -> None:
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    path.chmod(0)


INSTEAD: dict[str, Callable[[Path, Ground], None]] = {
    "a link to a file": linked("CANARY/note.txt"),
    "a link to a file that is not there": linked("CANARY/new"),
    "a link to a folder": linked("CANARY"),
    "a link to itself": lambda path, ground: clear(path).symlink_to(path.name),
    "a link to /dev/zero": linked("/dev/zero"),
    "a link to /dev/full": linked("/dev/full"),
    "a link to /proc/self/mem": linked("/proc/self/mem"),
    "a link to the real file": moved_out,
    "a hard link": hard_linked,
    "a FIFO": fifo,
    "a folder": folder_instead,
    "nothing": lambda path, ground: clear(path) and None,
    "an empty file": filled(b""),
    "noise": filled(random.Random(1).randbytes(4000)),
    "a list in a list in a list": filled(b"[" * 100_000),
    "half of it": halved,
    "a terabyte": endless,
    "a file without permissions": closed,
}
for _file in FILES:
    for _what, _put in INSTEAD.items():
        case(f"{_file} is {_what}")(lambda g, f=_file, put=_put: put(g.path(f), g))

FOLDERS_INSTEAD: dict[str, Callable[[Path, Ground], None]] = {
    "a link to a folder": linked("CANARY"),
    "a link to shards of another study": linked("CANARY/shards"),
    "a link to a folder that is not there": linked("CANARY/new"),
    "a link to itself": lambda path, ground: clear(path).symlink_to(path.name),
    "a link to the folder above": linked(".."),
    "a link to /dev": linked("/dev"),
    "a file": filled(b"x"),
    "a FIFO": fifo,
    "a folder without permissions": lambda path, ground: path.chmod(0),
}
for _folder in FOLDERS:
    for _what, _put in FOLDERS_INSTEAD.items():
        case(f"{_folder} is {_what}")(lambda g, f=_folder, put=_put: put(g.folder / f, g))


# Names that a temporary file has, or had in an older version.

TEMPORARY = (
    "snapshots/.x.tmp", "snapshots/.small-000002.duckdb.tmp", "snapshots/.small-000002.duckdb.tmp.wal",
    "snapshots/.small-000002.duckdb.tmp.spill.tmp", "snapshots/small-000002.duckdb", "snapshots/small-000002.duckdb.wal",
    "shards/.x.tmp", ".x.tmp", ".ledger.jsonl.tmp", ".current.json.0.tmp", ".study.json.tmp", "extra/.localisation.parquet.tmp",
)  # fmt: skip


def folder_of_links(path: Path, ground: Ground) -> None:
    clear(path).mkdir()
    (path / "a").symlink_to(ground.canary / "note.txt")
    (path / "b").symlink_to(ground.canary)
    (path / "c" / "d").mkdir(parents=True)


for _name in TEMPORARY:
    for _what, _put in {
        "a link to a file": linked("CANARY/note.txt"),
        "a link to a file that is not there": linked("CANARY/new"),
        "a link to a folder": linked("CANARY"),
        "a folder of links": folder_of_links,
        "a FIFO": fifo,
    }.items():
        case(f"{_name} is {_what}")(lambda g, f=_name, put=_put: put(g.folder / f, g))


# What the ledger says.


def add_entry(ground: Ground, **changed: object) -> None:
    lines = (ground.folder / "ledger.jsonl").read_text().splitlines()
    entry = json.loads(lines[0]) | changed
    with (ground.folder / "ledger.jsonl").open("a") as file:
        file.write(json.dumps(entry) + "\n")


IDS = (
    "../../canary/note.txt", "../../canary/shards/" + "0" * 32, "/etc/passwd", "..", ".", "", "/", "a/b", "a" * 5000, "\x00",
    "\ud800", "0" * 32, "FOREIGN", "CON", *ESCAPES,
)  # fmt: skip
for _number, _id in enumerate(IDS):
    for _status in ("done", "damaged"):
        case(f"ledger of unit {_number} {_status}")(
            lambda g, i=_id, s=_status: add_entry(
                g,
                unit_id=next((g.canary / "shards").iterdir()).stem if i == "FOREIGN" else i,
                status=s,
            )
        )
for _key, _values in {
    "bytes": (-1, 0, 2**62, 2**70),
    "mtime_ns": (-1, 2**62),
    "rows": (-(2**62), 2**62),
    "failed": (2**62,),
    "tries": (-(2**62), 2**62),
    "status": ("", "done ", "error", "failed", *ESCAPES[:2]),
    "sha256": ("", "0" * 64, *ESCAPES[:2]),
    "content_sha256": ("", *ESCAPES[:2]),
    "error": ("x" * 100_000, *ESCAPES),
    "stage": ESCAPES[:2],
    "finished_at": ("never", *ESCAPES[:2]),
}.items():
    for _number, _value in enumerate(_values):
        case(f"ledger {_key} {_number}")(lambda g, k=_key, v=_value: add_entry(g, **{k: v}))


@case("ledger of a line without an end")
def _(ground: Ground) -> None:
    with (ground.folder / "ledger.jsonl").open("ab") as file:
        file.write(b'{"unit_id": "' + b"a" * 30_000_000)


@case("ledger of a million empty lines")
def _(ground: Ground) -> None:
    with (ground.folder / "ledger.jsonl").open("ab") as file:
        file.write(b"\n" * 1_000_000)


# Where the shards are, and which snapshot is shown.

for _number, _entry in enumerate(
    ("CANARY/shards", "../canary/shards", "CANARY", "CANARY/new", "file://CANARY/shards", "ftp://host/x", "s3://", "s3://bucket/x", "gs://bucket/x", "abfs://bucket/x", "x://y",
     "/dev", "/proc/self", "~", ".", "..", "", "shards", "snapshots", "a\x00b", *ESCAPES)
):  # fmt: skip

    @case(f"shards.json names place {_number}")
    def _(ground: Ground, entry: str = _entry) -> None:
        named = {"place": entry.replace("CANARY", str(ground.canary))}
        (ground.folder / "shards.json").write_text(json.dumps(named))


for _number, _named in enumerate(
    ("../canary/data.duckdb", "CANARY/data.duckdb", "snapshots/../../canary/data.duckdb", "/dev/zero", "", ".", "snapshots/",
     "nothing.duckdb", "snapshots/" + "a" * 5000, "snapshots/\x00", *(f"snapshots/{text}" for text in ESCAPES), 1, None, [], {})
):  # fmt: skip

    @case(f"current.json names snapshot {_number}")
    def _(ground: Ground, named: object = _named) -> None:
        pointer = json.loads((ground.folder / "current.json").read_text())
        if isinstance(named, str):
            named = named.replace("CANARY", str(ground.canary))
        (ground.folder / "current.json").write_text(json.dumps(pointer | {"snapshot": named}))


for _number, _value in enumerate((0, -1, 2**31, 2**70, 10**9 - 1, True, "7", None, 1.5, [])):

    @case(f"current.json has number {_number}")
    def _(ground: Ground, value: object = _value) -> None:
        pointer = json.loads((ground.folder / "current.json").read_text())
        (ground.folder / "current.json").write_text(json.dumps(pointer | {"number": value}))


# What the records say: texts that a terminal would obey, and values of other kinds.


def changed(values: object, path: tuple, value: object) -> object:
    copy = json.loads(json.dumps(values))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return copy


RECORD = {
    "study.json": (
        ("code_schema_version",), ("spec",), ("spec", "name"), ("spec", "title"), ("spec", "description"), ("spec", "seeds"),
        ("spec", "model"), ("spec", "model", 0, "name"), ("spec", "model", 0, "label"), ("spec", "model", 0, "source"),
        ("spec", "model", 0, "steps"), ("spec", "run", "unit_prompts"), ("spec", "scorer", "source"), ("revisions", "models"),
        ("revisions", "scorer"), ("concepts",), ("concepts", 0, "name"), ("concepts", 0, "family"), ("duplicates_dropped",),
    ),
    "workers.json": (("models",), ("models", "scenes-unet", "parameters"), ("models", "scenes-unet", "family"), ("environment",),
                     ("environment", "python"), ("environments",)),
}  # fmt: skip
for _file, _paths in RECORD.items():
    for _path in _paths:
        for _number, _value in enumerate((ESCAPES[0], "../../x", None, 2**70, [])):

            @case(f"{_file} {'.'.join(map(str, _path))} is value {_number}")
            def _(ground: Ground, file: str = _file, path: tuple = _path, value: object = _value) -> None:  # fmt: skip
                record = json.loads((ground.folder / file).read_text())
                (ground.folder / file).write_text(json.dumps(changed(record, path, value)))


# Columns of shards and of extra/ that are not what they should be; the ledger says that the shard is as it was written.


def rewrite_shard(ground: Ground, table: pa.Table) -> None:
    results = Results(ground.folder)
    entries = results.read_ledger().entries
    work_unit = next(iter(entries))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    data = sink.getvalue().to_pybytes()
    path = ground.folder / "shards" / f"{work_unit}.parquet"
    path.write_bytes(data)
    entry = replace(
        entries[work_unit],
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        mtime_ns=path.stat().st_mtime_ns,
    )
    results.append([entry])


def read_first(ground: Ground) -> pa.Table:
    work_unit = next(iter(Results(ground.folder).read_ledger().entries))
    return pq.read_table(ground.folder / "shards" / f"{work_unit}.parquet")


def ragged(value: object, rng: random.Random) -> object:
    """The same with lists of other lengths in it, wherever there are lists."""
    if isinstance(value, list):
        inner = [ragged(item, rng) for item in value]
        return inner[: rng.randint(0, len(inner))]
    if isinstance(value, dict):
        return {key: ragged(item, rng) for key, item in value.items()}
    return value


def hollow(value: object) -> object:
    """The same with None in place of every number, text and picture."""
    if isinstance(value, list):
        return [hollow(item) for item in value]
    return {key: hollow(item) for key, item in value.items()} if isinstance(value, dict) else None


def with_column(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)


def column_of(table: pa.Table, name: str, kind: str) -> pa.Table:
    values, field = table[name].to_pylist(), table.schema.field(name)
    if kind == "ragged":
        rng = random.Random(3)
        return with_column(table, name, pa.array([ragged(v, rng) for v in values], field.type))
    if kind == "hollow":
        return with_column(table, name, pa.array([hollow(v) for v in values], field.type))
    if kind == "null":
        return with_column(table, name, pa.nulls(len(values), field.type))
    if kind == "in lists":
        return with_column(table, name, pa.array([[v] for v in values], pa.list_(field.type)))
    if kind == "numbers":
        return with_column(table, name, pa.array(range(len(values)), pa.int64()))
    if kind == "texts":
        return with_column(table, name, pa.array(list(ESCAPES[: len(values)]), pa.string()))
    return table.drop_columns([name])


for _field in STORED:
    nested = pa.types.is_list(_field.type)
    for _kind in ("in lists", "gone", "null", *(("ragged", "hollow", "numbers") if nested else ("texts",))):  # fmt: skip
        case(f"shard column {_field.name} {_kind}")(
            lambda g, n=_field.name, k=_kind: rewrite_shard(g, column_of(read_first(g), n, k))
        )
for _table, _columns in {
    "localisation": ("model", "scene", "step", "method", "word", "pointing", "iou", "average_precision", "mask_share"),
    "randomisation": ("model", "method", "step", "layers", "share", "spearman", "samples"),
}.items():  # fmt: skip
    for _column in _columns:
        for _kind in ("in lists", "gone", "null", "texts"):

            @case(f"extra/{_table} column {_column} {_kind}")
            def _(ground: Ground, table: str = _table, column: str = _column, kind: str = _kind) -> None:  # fmt: skip
                path = ground.folder / "extra" / f"{table}.parquet"
                rows = pq.read_table(path).slice(0, 3)
                pq.write_table(column_of(rows, column, kind), path)


@case("prompts with escapes and newlines")
def _(ground: Ground) -> None:
    path = ground.folder / "prompts.parquet"
    rows = pq.read_table(path)
    texts = pa.array([f"a\ncat {escape}" for escape, _ in zip(ESCAPES, rows["text"], strict=False)])
    pq.write_table(with_column(rows, "text", texts), path)


for _column in ("prompt_key", "text", "source", "category", "roles"):
    for _kind in ("in lists", "gone", "null", "texts"):

        @case(f"prompts column {_column} {_kind}")
        def _(ground: Ground, column: str = _column, kind: str = _kind) -> None:
            path = ground.folder / "prompts.parquet"
            pq.write_table(column_of(pq.read_table(path), column, kind), path)
