"""Makes a small copy of a published study, to be shipped: the same results, fewer pictures and, where that is asked for, fewer curves.

The copy is a folder with a snapshot, the pointer to it and a note of what it is; it has no shards, and is read like any
results folder.
"""

from __future__ import annotations

import io
import json
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
from PIL import Image
from tqdm import tqdm

from pipeline.database.build import first_line, of_scorer
from pipeline.database.snapshots import open_snapshot, point_to, read_pointer, sql_text, sync
from pipeline.errors import StoreError
from pipeline.results import safe_files
from pipeline.results.folder import Results
from pipeline.results.storage import explain_os_error
from pipeline.tables import markdown_table

LIMIT = 25_000_000  # bytes that a copy may take in git, which keeps files deflated
BLOCK = 65_536  # bytes; of 16, 64 and 256 KB the one whose files are the smallest


CUT = ("prompts_with_pictures", "decimals_of_curves", "quality_of_images", "prompts_with_unnamed", "prompts_with_spectra")  # fmt: skip


@dataclass(frozen=True)
class Cuts:
    """What a copy does without.

    Attributes:
        prompts: how many of the first prompts keep their frames, maps and lossless final images.
        decimals: to which the per-step similarities are rounded; None = as they are.
        quality: of the WebP that the final images of further prompts become, 1 to 100; None = as they are.
        unnamed: how many of the first prompts keep the curves of concepts that they do not name; None = all.
        spectra: how many of the first prompts keep their power spectra; None = all.
    """

    prompts: int
    decimals: int | None = None
    quality: int | None = None
    unnamed: int | None = None
    spectra: int | None = None


@dataclass(frozen=True)
class Compacted:
    """The copy: where it is, its bytes, those that git takes for it, and per table that was cut the rows kept and the rows there were."""

    path: Path
    size: int
    deflated: int
    content_hash: str
    rows: Mapping[str, tuple[int, int]]


def compact(folder: Path, out: Path, cuts: Cuts, command: str = "") -> Compacted:
    """Writes the current snapshot of a results folder without most of its frames and maps.

    Args:
        folder: a published results folder.
        out: the folder to write; what an earlier call wrote there is replaced.
        cuts: what the copy does without.
        command: what makes it, for the record.

    Raises:
        StoreError: not published, or it cannot be written.
    """
    snapshot, number, _ = read_pointer(Results(folder))
    target = Results(out)
    try:
        target.snapshots.mkdir(parents=True, exist_ok=True)
        build = safe_files.make_build_folder(target.snapshots)
    except OSError as error:
        raise StoreError(explain_os_error(out, error)) from None
    try:
        staged, temp = build / "staged.duckdb", build / snapshot.name
        _copy(snapshot, staged)
        rows, facts = _cut(staged, cuts, command)
        _copy(staged, temp)
        path = target.snapshots / snapshot.name
        sha256, size = sync(temp), temp.stat().st_size
        safe_files.move(temp, path)
        point_to(target, path, number, sha256)
        for old in target.snapshots.glob("*.duckdb"):
            if old != path:
                safe_files.remove(old)
        deflated = _deflated(path)
        (out / "README.md").write_text(note(facts, rows, size, deflated), encoding="utf-8")
    except duckdb.Error as error:
        raise StoreError(f"{snapshot}: cannot be copied: {first_line(error)}") from error
    except OSError as error:
        raise StoreError(explain_os_error(out, error)) from error
    finally:
        shutil.rmtree(build, ignore_errors=True)
    return Compacted(path, size, deflated, str(facts["content_hash"]), rows)


def _deflated(path: Path) -> int:
    """Bytes of a file as git keeps it."""
    packer, total = zlib.compressobj(), 0
    with path.open("rb") as stream:
        while piece := stream.read(2**20):
            total += len(packer.compress(piece))
    return total + len(packer.flush())


def _copy(source: Path, target: Path) -> None:
    """Copies a database row by row, so that the room of what was deleted is not copied."""
    open_snapshot(source).close()  # refuses what is no snapshot
    with duckdb.connect(config={"autoinstall_known_extensions": False}) as db:
        db.execute("ATTACH $path AS source (READ_ONLY)", {"path": str(source)})
        db.execute(
            "ATTACH $path AS target (BLOCK_SIZE $size)", {"path": str(target), "size": BLOCK}
        )
        db.execute("COPY FROM DATABASE source TO target")
        db.execute("CHECKPOINT target")


def _cut(path: Path, cuts: Cuts, command: str) -> tuple[dict[str, tuple[int, int]], dict]:
    with duckdb.connect(str(path)) as db:
        before = _counts(db)
        count = db.execute(sql_text("scorers.sql")).fetchall()[0][0]
        present = db.execute(sql_text("compact_present.sql")).fetchall()
        _leave_out(db, cuts, count)
        if cuts.quality is not None:
            _shrink_images(db, cuts.quality)
        after = _counts(db)
        pictures = ("frame", "explanation")
        rows = {t: (after[t], n) for t, n in before.items() if after[t] < n or t in pictures}
        cursor = db.execute(sql_text("export_study.sql"))
        facts = dict(zip([c[0] for c in cursor.description], cursor.fetchone() or (), strict=True))
        facts["shipped"] = _record(facts, rows, cuts, command)
        if facts["shipped"]["prompts_with_unnamed"] is not None:
            facts["shipped"].setdefault("unnamed_present", {m: round(s, 4) for m, s in present})
        environment = json.dumps(
            json.loads(str(facts["environment"])) | {"shipped": facts["shipped"]}
        )
        for scorer in range(1, count + 1):
            with of_scorer(db, scorer):
                db.execute("UPDATE study SET environment = $text", {"text": environment})
                if cuts.decimals is not None:
                    db.execute("SET VARIABLE decimals = $decimals", {"decimals": cuts.decimals})
                    db.execute(sql_text("compact_curves.sql"))
        db.execute("CHECKPOINT")
    return rows, facts


def _leave_out(db: duckdb.DuckDBPyConnection, cuts: Cuts, scorers: int) -> None:
    """Removes the rows that the copy does without."""
    db.execute("SET VARIABLE kept_prompts = $prompts", {"prompts": cuts.prompts})
    db.execute(sql_text("compact.sql"))
    if cuts.spectra is not None:
        db.execute("SET VARIABLE spectrum_prompts = $prompts", {"prompts": cuts.spectra})
        db.execute(sql_text("compact_spectra.sql"))
    if cuts.unnamed is not None:
        db.execute("SET VARIABLE unnamed_prompts = $prompts", {"prompts": cuts.unnamed})
        for scorer in range(1, scorers + 1):
            with of_scorer(db, scorer):
                db.execute(sql_text("compact_unnamed.sql"))


def _shrink_images(db: duckdb.DuckDBPyConnection, quality: int) -> None:
    """Encodes the final images of the prompts without pictures anew, as WebP with losses, where that is smaller."""
    images = db.execute(sql_text("compact_images.sql")).fetchall()
    for sample, image in tqdm(images, desc="images", disable=None):
        buffer = io.BytesIO()
        with Image.open(io.BytesIO(image)) as picture:
            picture.convert("RGB").save(buffer, "WEBP", quality=quality, method=6)
        smaller = min(image, buffer.getvalue(), key=len)
        db.execute(sql_text("compact_image.sql"), {"image": smaller, "sample_id": sample})


def _counts(db: duckdb.DuckDBPyConnection) -> dict[str, int]:
    return dict(db.execute(sql_text("compact_counts.sql")).fetchall())


def _record(
    facts: Mapping[str, Any], rows: Mapping[str, tuple[int, int]], cuts: Cuts, command: str
) -> dict[str, Any]:
    """What the snapshot says of its making: no paths and no names of hosts."""
    environment = json.loads(str(facts["environment"]))
    earlier = environment.get("shipped", {})
    threads = environment.get("cpu_threads", "?")
    record: dict[str, Any] = {
        "made_on": datetime.now(UTC).date().isoformat(),
        "machine": f"{environment.get('processor') or environment.get('machine', '?')}, "
        f"{threads} thread{'' if threads == 1 else 's'} a worker, device {environment.get('device') or 'cpu'}",
        "command": command,
        "prompts_with_pictures": cuts.prompts,
        "decimals_of_curves": cuts.decimals,
        "quality_of_images": cuts.quality,
        "prompts_with_unnamed": cuts.unnamed,
        "prompts_with_spectra": cuts.spectra,
        "left_out": {table: total - copied for table, (copied, total) in rows.items()},
    }
    for key in CUT:  # a copy of a copy lacks what the first one lacked
        known = [int(each) for each in (record[key], earlier.get(key)) if each is not None]
        record[key] = min(known, default=None)
    if "unnamed_present" in earlier:  # of all pairs, which this copy's source did not have
        record["unnamed_present"] = earlier["unnamed_present"]
    return record


def note(
    facts: Mapping[str, Any], rows: Mapping[str, tuple[int, int]], size: int, deflated: int
) -> str:
    """The README.md of the copy: what it is, what made it, what it has not."""
    shipped = facts["shipped"]
    cut = [(table, f"{copied:,}", f"{total:,}") for table, (copied, total) in rows.items()]
    lines = [
        "# The reference study",
        "",
        "A published study that is shipped with Stepscope, so that the dashboard shows something before any model was loaded. It is read-only:",
        "reviews and slices of it are kept in `data/results`.",
        "",
        f"- study: `{facts['name']}`, {facts['done_samples']:,} of {facts['planned_samples']:,} images done, {facts['failed_samples']:,} failed",
        f"- content hash: `{facts['content_hash']}`",
        f"- made on {shipped['made_on']} on {shipped['machine']}",
        f"- by `{shipped['command'] or 'python -m pipeline compact'}`",
        f"- size: {size / 1e6:.1f} MB, {deflated / 1e6:.1f} MB in git (at most {LIMIT / 1e6:.0f} MB)",
        "",
        f"Not shipped: the shards, and the frames and maps of prompts after the first {shipped['prompts_with_pictures']}.",
        *_losses(shipped),
        "",
        markdown_table(["table", "rows here", "rows made"], cut),
    ]
    return "\n".join(lines) + "\n"


def _shares(shipped: Mapping[str, Any]) -> str:
    present = shipped.get("unnamed_present", {})
    return ", ".join(f"{model} {share:.1%}" for model, share in present.items())


def _losses(shipped: Mapping[str, Any]) -> list[str]:
    """What became less exact, a line each."""
    decimals, quality = shipped["decimals_of_curves"], shipped["quality_of_images"]
    unnamed, spectra = shipped["prompts_with_unnamed"], shipped["prompts_with_spectra"]
    cut = [
        f"The similarities of concepts that a prompt does not name are those of the first {unnamed} prompts; means and correlations of all "
        "pairs over the whole study are there (tables `cell_curve`, `cell_pair`, `rollup_step`, `correlation_concept`), and pages show named pairs. "
        f"Of all pairs that a prompt does not name, these shares are present at the last step: {_shares(shipped)}."
        if unnamed is not None
        else "",
        f"Power spectra are those of the first {spectra} prompts." if spectra is not None else "",
    ]
    return [
        *filter(None, cut),
        f"Similarities per step are rounded to {decimals} decimals; every other number is as it was computed."
        if decimals is not None
        else "Every number is there, as it was computed."
        if not any(cut)
        else "Every other number is there, as it was computed.",
        f"Every final image is there, those of the further prompts as WebP of quality {quality} instead of lossless."
        if quality is not None
        else "Every final image is there, as it was stored.",
    ]
