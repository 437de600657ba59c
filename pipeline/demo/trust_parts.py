"""`demo trust` a batch of scenes at a time, by several processes: what is finished is on the disk, so that it can be stopped and taken up again."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path

import torch
from tqdm import tqdm

from pipeline.demo.trust import Trust, TrustOptions, firsts, run_batch, scene_steps
from pipeline.errors import StoreError
from pipeline.results import safe_files
from pipeline.results.storage import write_whole
from pipeline.study.plan import folder_hash

SPAWN = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
# Raise it when the same options give other rows.
VERSION = 1


@dataclass(frozen=True)
class Part:
    """One model and the batch of scenes from number `first` on; its rows are in `path` once it is finished."""

    name: str
    first: int
    path: Path


def run_parts(
    folder: Path,
    names: Sequence[str],
    options: TrustOptions,
    finished: Path,
    workers: int = 1,
) -> Trust:
    """Explains known scenes under each model, and again with its weights shuffled; a part that an earlier call finished is read.

    Args:
        folder: of the models.
        names: of the models.
        options: how much.
        finished: folder of the parts, made where it is not there.
        workers: processes, each with one thread.

    Raises:
        StoreError: a part cannot be written.
    """
    parts = [_part(folder, finished, *each, options) for each in product(names, firsts(options))]
    rows = {part: _read(part.path) for part in parts}
    missing = [part for part in parts if rows[part] is None]
    total = sum(scene_steps(options, part.first) for part in parts)
    there = total - sum(scene_steps(options, part.first) for part in missing)
    finished.parent.mkdir(parents=True, exist_ok=True)
    safe_files.make_folder(finished)
    with tqdm(total=total, initial=there, unit=" scene steps", desc="trust") as bar:
        if missing:
            with SPAWN.Pool(min(workers, len(missing)), _begin) as pool:
                for part, trust in pool.imap_unordered(partial(_run, folder, options), missing):
                    write_whole(part.path, json.dumps(asdict(trust), default=float).encode())
                    rows[part] = trust
                    bar.update(scene_steps(options, part.first))
    joined = Trust([], [], [])
    for part in parts:
        joined.add(rows[part] or Trust([], [], []))
    return joined


def _begin() -> None:
    """In a new process: one thread, and Ctrl-C is the first process's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def _run(folder: Path, options: TrustOptions, part: Part) -> tuple[Part, Trust]:
    return part, run_batch(folder, part.name, part.first, options)


def _part(folder: Path, finished: Path, name: str, first: int, options: TrustOptions) -> Part:
    weights = [folder_hash(folder / each) for each in (name, "scenes-clip")]
    key = json.dumps([VERSION, asdict(options), weights, first]).encode()
    return Part(name, first, finished / f"{hashlib.sha256(key).hexdigest()[:32]}.json")


def _read(path: Path) -> Trust | None:
    """The rows of a finished part; None where there are none, or they are damaged."""
    try:
        values = json.loads(safe_files.read_capped(path))
        return Trust(**{name: [dict(row) for row in rows] for name, rows in values.items()})
    except (OSError, StoreError, ValueError, TypeError, AttributeError):
        return None
