"""Writes a published study as a folder of Parquet files, plain or as a Hugging Face data set with a card."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.database.snapshots import open_snapshot, read_pointer
from pipeline.errors import StoreError
from pipeline.results.folder import Results
from pipeline.results.storage import explain_os_error, fsync_folder
from pipeline.tables import markdown_table

SQL = Path(__file__).parent
FORMATS = ("parquet", "huggingface")
ROWS = 2048  # read at a time
FILE_BYTES = 400 * 2**20  # a table goes on in another file beyond this
IMAGES = {"image"}  # columns of encoded images
JOINED = "samples"  # the table with names and texts in place of ids


@dataclass(frozen=True)
class Exported:
    """One table of the export."""

    table: str
    rows: int
    files: tuple[Path, ...]  # relative to the folder
    schema: pa.Schema


def export(folder: Path, out: Path, form: str = "parquet") -> list[Exported]:
    """Writes every table of the current snapshot. The folder appears whole or not at all.

    Args:
        folder: a published results folder.
        out: the folder to make; must not exist, or be empty.
        form: "parquet": one folder per table and a manifest; "huggingface": the same as a data set with a card,
            whose images a viewer shows.

    Raises:
        StoreError: not published, the folder is not empty, or it cannot be written.
    """
    snapshot, _, _ = read_pointer(Results(folder))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StoreError(f"{out}: exists and is not empty. Give another folder with --out.")
    temp = out.resolve().with_name(f".{out.resolve().name}.{secrets.token_hex(4)}.tmp")
    try:
        temp.mkdir(parents=True)
        with open_snapshot(snapshot) as db:
            tables = list(_tables(db, temp, form))
            facts = _facts(db)
        _write_text(temp / "manifest.json", _manifest(temp, tables, facts))
        if form == "huggingface":
            _write_text(temp / "README.md", card(tables, facts))
        if out.exists():
            out.rmdir()
        temp.replace(out)
        fsync_folder(out.resolve().parent)
    except OSError as error:
        raise StoreError(explain_os_error(out, error)) from error
    except (duckdb.Error, pa.ArrowException, ValueError, LookupError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise StoreError(f"{snapshot}: no snapshot of a study ({reason}). Publish again.") from None
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return tables


def _tables(db: duckdb.DuckDBPyConnection, folder: Path, form: str) -> Iterator[Exported]:
    names = db.execute(_sql("export_tables.sql")).fetchall()
    yield _write(db.sql(_sql("export_sample.sql")), JOINED, folder, form)
    for qualified, name in names:
        yield _write(db.table(qualified), name, folder, form)


def _sql(name: str) -> str:
    return (SQL / name).read_text()


def _write(relation: Any, name: str, folder: Path, form: str) -> Exported:
    """Writes a table batch by batch, so that memory does not grow with it."""
    reader = relation.to_arrow_reader(ROWS)
    schema = _schema(reader.schema, form)
    target = folder / "data" / name
    target.mkdir(parents=True)
    files: list[Path] = []
    writer, written, rows = None, 0, 0
    try:
        for batch in reader:
            if writer is None or written > FILE_BYTES:
                if writer is not None:
                    writer.close()
                files.append(target / f"train-{len(files):05d}.parquet")
                writer, written = pq.ParquetWriter(files[-1], schema, compression="zstd"), 0
            table = _shaped(pa.Table.from_batches([batch]), schema)
            writer.write_table(table)
            written += table.nbytes
            rows += len(table)
        if writer is None:  # an empty table still has columns
            files.append(target / "train-00000.parquet")
            writer = pq.ParquetWriter(files[-1], schema, compression="zstd")
    finally:
        if writer is not None:
            writer.close()
        relation.close()
    return Exported(name, rows, tuple(f.relative_to(folder) for f in files), schema)


_IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def _schema(schema: pa.Schema, form: str) -> pa.Schema:
    """The columns as they are written: images as Hugging Face stores them, where it is for them."""
    if form != "huggingface":
        return schema
    return pa.schema([pa.field(f.name, _IMAGE) if f.name in IMAGES else f for f in schema])


def _shaped(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        _as_images(column) if field.type == _IMAGE else column
        for field, column in zip(schema, table.columns, strict=True)
    ]
    return pa.table(columns, schema=schema)


def _as_images(column: pa.ChunkedArray) -> pa.Array:
    values = column.combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = values.chunk(0) if values.num_chunks else pa.array([], pa.binary())
    values = values.cast(pa.binary())
    names = pa.nulls(len(values), pa.string())
    return pa.StructArray.from_arrays([values, names], fields=list(_IMAGE), mask=values.is_null())


def _facts(db: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    result = db.execute(_sql("export_study.sql"))
    names = [column[0] for column in result.description]
    row = result.fetchone()
    if row is None:
        raise ValueError("the table `study` is empty")
    return dict(zip(names, row, strict=True))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _manifest(folder: Path, tables: list[Exported], facts: Mapping[str, Any]) -> str:
    record = {
        "study": facts["name"],
        "content_hash": facts["content_hash"],
        "schema_version": facts["schema_version"],
        "snapshot": facts["snapshot"],
        "tables": {
            t.table: {
                "rows": t.rows,
                "files": {f.as_posix(): _sha256(folder / f) for f in t.files},
            }
            for t in tables
        },
    }
    return json.dumps(record, indent=1) + "\n"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def card(tables: list[Exported], facts: Mapping[str, Any]) -> str:
    """The data set's README.md: settings for the viewer, then what a reader must know.

    Titles and descriptions are a user's text: they stand in JSON strings and in an indented block, where
    nothing interprets them.
    """
    lines = ["---", f"pretty_name: {json.dumps(facts['title'] or facts['name'])}"]
    lines += ["task_categories:", "- text-to-image", "tags:", "- diffusion", "- interpretability"]
    lines.append("configs:")
    for table in tables:
        lines += [f"- config_name: {table.table}", f"  data_files: data/{table.table}/*.parquet"]
        lines += ["  default: true"] if table.table == JOINED else []
    lines.append("dataset_info:")
    for table in tables:
        lines += [f"- config_name: {table.table}", "  features:"]
        lines += [line for f in table.schema for line in _feature(f)]
    lines += ["---", "", *_body(tables, facts)]
    return "\n".join(lines) + "\n"


def _feature(column: pa.Field) -> list[str]:
    name = f"  - name: {json.dumps(column.name)}"
    if column.type == _IMAGE:
        return [name, "    dtype: image"]
    if pa.types.is_list(column.type):
        return [name, f"    list: {_dtype(column.type.value_type)}"]
    return [name, f"    dtype: {_dtype(column.type)}"]


def _dtype(kind: pa.DataType) -> str:
    names = {pa.float32(): "float32", pa.float64(): "float64"}
    if pa.types.is_timestamp(kind):
        return f"timestamp[{kind.unit}]"
    return names.get(kind, str(kind))


def _body(tables: list[Exported], facts: Mapping[str, Any]) -> list[str]:
    notes = table_notes()
    title = [
        line for line in re.split(r"[\r\n]+", f"{facts['title']}\n{facts['description']}") if line
    ]
    joined = [
        JOINED,
        f"{tables[0].rows:,}",
        "One image, with the names and texts that ids stand for.",
    ]
    rows = [joined, *([t.table, f"{t.rows:,}", _note(t.table, notes)] for t in tables[1:])]
    lines = ["# A Stepscope study", "", *(f"    {line}" for line in title), ""]
    lines += [
        "How text-to-image diffusion models build images: the predicted clean image of every denoising step, its CLIP",
        "similarity to concepts and to the prompt, and what explains it. Step 0 is the noisiest; similarity is a cosine.",
        "",
        f"{facts['done_samples']:,} of {facts['planned_samples']:,} planned images, {facts['failed_samples']:,} failed. "
        f"Snapshot {facts['snapshot']}, schema version {facts['schema_version']}, content hash `{facts['content_hash']}`.",
        "The images and prompts are under the licences of the models and of the prompt set.",
        "",
        markdown_table(["table", "rows", "a row is"], rows),
    ]
    lines += [
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        f'load_dataset("FOLDER", "{JOINED}")',
        "```",
        "",
        "Stepscope opens it as a study: `stepscope import FOLDER --out DIR`, then `stepscope app DIR`.",
        "",
    ]
    lines += ["Where it was made:", "", *_indented(facts["environment"])]
    return [*lines, "", "The study, as it was run:", "", *_indented(facts["spec"])]


def _indented(text: str) -> list[str]:
    pretty = json.dumps(json.loads(text), indent=1)
    return [f"    {line}" for line in pretty.splitlines()]


def _note(table: str, notes: Mapping[str, str]) -> str:
    """What a row of a table is; those of a further scorer are like the first one's."""
    further = re.fullmatch(r"scorer_(\d)_(\w+)", table)
    if further is None:
        return notes.get(table, "")
    if further[2] == "clip_score":
        return (
            f"One row per done sample: the CLIP score that scorer {further[1]} of the study gives."
        )
    return f"As {further[2]}, by scorer {further[1]} of the study."


def table_notes() -> dict[str, str]:
    """What a row of each table is: the comment above it in schema.sql."""
    notes: dict[str, str] = {}
    above: list[str] = []
    for line in _sql("schema.sql").splitlines():
        if line.startswith("--"):
            above.append(line.removeprefix("--").strip())
        elif line.startswith("CREATE TABLE"):
            notes[line.split()[2]] = " ".join(above).replace("|", "\\|")
            above = []
        elif not line.strip():
            above = []
    return notes
