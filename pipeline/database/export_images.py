"""Writes the final images of a published model as files, in the layouts that evaluators and data sets have."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath

import duckdb
from PIL import Image

from pipeline.database.snapshots import open_snapshot, read_pointer, sql_text
from pipeline.errors import StoreError
from pipeline.models.pictures import PictureError, decode_picture
from pipeline.results.folder import Results
from pipeline.results.safe_files import read_capped
from pipeline.results.storage import explain_os_error, fsync_folder

ROWS = 16  # images held at a time
MAX_METADATA = 2**26  # bytes
GRID = 4  # images in a file of DPG-Bench


@dataclass(frozen=True)
class Sample:
    """One image of the database, with what names it."""

    prompt_id: int
    prompt_key: str
    text: str
    source: str
    category: str
    seed: int
    image: bytes

    def picture(self) -> Image.Image:
        """The decoded image. Raises PictureError."""
        return Image.fromarray(decode_picture(self.image)[0])


@dataclass
class Written:
    """What was written, and what the layout has no place for.

    Attributes:
        images: how many.
        left_out: images, named.
        lines: of GenEval's own metadata, by prompt.
        seeds: of the study, in its order.
    """

    images: int = 0
    left_out: list[str] = field(default_factory=list)
    lines: Mapping[str, str] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=list)


Samples = Iterator[tuple[int, list[Sample]]]


def export_images(
    folder: Path, out: Path, layout: str, model: str, metadata: Path | None = None
) -> Written:
    """Writes every final image of a model. The folder appears whole or not at all.

    Args:
        folder: a published results folder.
        out: the folder to make; must not exist, or be empty.
        layout: a name of `LAYOUTS`.
        model: the model's name.
        metadata: GenEval's evaluation_metadata.jsonl, whose lines its evaluator wants beside the images.

    Raises:
        StoreError: not published, no such model, the folder is not empty, or it cannot be written.
    """
    snapshot, _, _ = read_pointer(Results(folder))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StoreError(f"{out}: exists and is not empty. Give another folder with --out.")
    temp = out.resolve().with_name(f".{out.resolve().name}.{secrets.token_hex(4)}.tmp")
    written = Written(lines=_metadata_lines(metadata) if metadata else {})
    try:
        temp.mkdir(parents=True)
        with open_snapshot(snapshot) as db:
            _refuse_unknown(db, model)
            written.seeds = [
                int(row[0]) for row in db.execute(sql_text("export_seeds.sql")).fetchall()
            ]
            LAYOUTS[layout](_by_prompt(db, model, written.seeds), temp, written)
        if out.exists():
            out.rmdir()
        temp.replace(out)
        fsync_folder(out.resolve().parent)
    except OSError as error:
        raise StoreError(explain_os_error(out, error)) from error
    except (duckdb.Error, PictureError, TypeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise StoreError(f"{snapshot}: images cannot be exported ({reason}).") from None
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    return written


def _metadata_lines(path: Path) -> dict[str, str]:
    """The lines of a JSON Lines file by their prompt. Raises StoreError where it cannot be read."""
    try:
        text = read_capped(path, MAX_METADATA).decode("utf-8-sig")
        lines = [line for line in text.split("\n") if line.strip()]
        return {str(json.loads(line)["prompt"]): line for line in lines}
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise StoreError(
            f"{path}: cannot be read as JSON Lines with prompts ({str(error)[:200]}). Give GenEval's evaluation_metadata.jsonl."
        ) from None


def _refuse_unknown(db: duckdb.DuckDBPyConnection, model: str) -> None:
    names = [str(row[0]) for row in db.execute(sql_text("export_models.sql")).fetchall()]
    if model not in names:
        raise StoreError(f"no model {model!r} in this study. Allowed: {', '.join(names)[:500]}.")


def _by_prompt(db: duckdb.DuckDBPyConnection, model: str, seeds: list[int]) -> Samples:
    """The images of each prompt in the order of prompts and seeds, with the prompt's number from 0."""
    result = db.execute(sql_text("export_images.sql"), {"model": model})

    def rows() -> Iterator[Sample]:
        while batch := result.fetchmany(ROWS):
            yield from (Sample(*row) for row in batch)

    for prompt_id, samples in groupby(rows(), key=lambda sample: sample.prompt_id):
        yield prompt_id - 1, sorted(samples, key=lambda sample: seeds.index(sample.seed))


def _imagefolder(samples: Samples, folder: Path, written: Written) -> None:
    """PNG files and metadata.jsonl, as Hugging Face's ImageFolder has them."""
    with (folder / "metadata.jsonl").open("w", encoding="utf-8") as lines:
        for number, group in samples:
            for sample in group:
                name = f"{number:05d}-{sample.seed}.png"
                sample.picture().save(folder / name)
                record = {"file_name": name, "prompt": sample.text, "category": sample.category,
                          "prompt_key": sample.prompt_key, "seed": sample.seed}  # fmt: skip
                lines.write(json.dumps(record) + "\n")
                written.images += 1


def _geneval(samples: Samples, folder: Path, written: Written) -> None:
    """`00000/samples/0000.png` and `00000/metadata.jsonl` with the prompt and its category as tag."""
    for number, group in samples:
        inner = folder / f"{number:05d}"
        (inner / "samples").mkdir(parents=True)
        plain = json.dumps({"tag": group[0].category, "prompt": group[0].text})
        line = written.lines.get(group[0].text, plain)
        (inner / "metadata.jsonl").write_text(line + "\n", encoding="utf-8")
        for sample in group:
            nth = written.seeds.index(sample.seed)  # results come back by this number
            sample.picture().save(inner / "samples" / f"{nth:04d}.png")
            written.images += 1


def _geneval2(samples: Samples, folder: Path, written: Written) -> None:
    """One image a prompt, and `image_paths.json`: prompt -> path."""
    (folder / "images").mkdir()
    paths: dict[str, str] = {}
    for number, (first, *more) in samples:
        name = f"images/{number:05d}.png"
        first.picture().save(folder / name)
        paths[first.text] = name
        written.images += 1
        written.left_out += [f"prompt {number}, seed {sample.seed}" for sample in more]
    (folder / "image_paths.json").write_text(json.dumps(paths, indent=1), encoding="utf-8")


def _compbench(samples: Samples, folder: Path, written: Written) -> None:
    """`samples/PROMPT_000000.png`; numbers run on over all images, and the prompt is what stands before the last "_"."""
    (folder / "samples").mkdir()
    number = 0
    for prompt, group in samples:
        text = group[0].text
        for sample in group:
            name = f"{text}_{number:06d}.png"
            if any(c in text for c in "/_\0\n\r") or len(name.encode()) > 255:
                written.left_out.append(f"prompt {prompt}, seed {sample.seed}")
                continue
            sample.picture().save(folder / "samples" / name)
            number += 1
            written.images += 1


def _dpg(samples: Samples, folder: Path, written: Written) -> None:
    """`ITEM.png`, grids of two by two images; ITEM is the name of the prompt's .txt file, else its number."""
    for number, group in samples:
        source = PurePosixPath(group[0].source)
        item = source.stem if source.suffix == ".txt" else f"{number:05d}"
        pictures = [sample.picture() for sample in group[:GRID]]
        path = folder / f"{item}.png"
        complete = len(pictures) == GRID and len({picture.size for picture in pictures}) == 1
        if not complete or path.exists():
            written.left_out += [f"prompt {number}, seed {sample.seed}" for sample in group]
            continue
        wide, high = pictures[0].size
        grid = Image.new("RGB", (2 * wide, 2 * high))
        for tile, picture in enumerate(pictures):
            grid.paste(picture, (tile % 2 * wide, tile // 2 * high))
        grid.save(path)
        written.images += GRID
        written.left_out += [f"prompt {number}, seed {sample.seed}" for sample in group[GRID:]]


LAYOUTS: Mapping[str, Callable[[Samples, Path, Written], None]] = {
    "imagefolder": _imagefolder,
    "geneval": _geneval,
    "geneval2": _geneval2,
    "t2i-compbench": _compbench,
    "dpg-bench": _dpg,
}
