"""Checks that a results folder still is what its ledger says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.results.folder import Results
from pipeline.results.ledger import LedgerEntry
from pipeline.results.record import differences, environment, load_plan, load_workers
from pipeline.results.rows import work_unit_hash
from pipeline.results.safe_files import open_regular, read_capped
from pipeline.results.saved_sets import check_sets
from pipeline.results.scores import check_scores
from pipeline.results.shards import stored_hashes


def verify(folder: Path) -> list[str]:
    """What is damaged or missing in a results folder, one line each; empty when all is well.

    Every shard's sha256 and the content hash of each of its rows are computed again, and the sha256 of the
    files of scores and of the snapshot.

    Raises:
        StoreError: the folder holds no study, or names a place of shards that nobody has named on this machine.
    """
    results = Results(folder)
    results.require_store()
    plan = load_plan(results)
    ledger = results.read_ledger()
    problems = (
        [f"ledger.jsonl: {ledger.damaged_lines} damaged lines; gc removes them"]
        if ledger.damaged_lines
        else []
    )
    for work_unit in plan:
        entry = ledger.entries.get(work_unit.unit_id)
        if entry is not None and entry.has_shard:
            problem = _check_shard(results, entry)
            if problem:
                problems.append(
                    f"shards/{entry.unit_id}.parquet ({work_unit.model.name}, seed {work_unit.seed}, prompts from "
                    f"{work_unit.prompts[0].position}): {problem}"
                )
    return problems + check_scores(folder) + check_sets(folder) + _check_snapshot(results)


def _check_shard(results: Results, entry: LedgerEntry) -> str:
    try:
        data = results.store.read(entry.unit_id)
    except StoreError as error:
        return f"cannot be read ({error})"
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        return "its bytes are not those that were written"
    try:
        stored, computed = stored_hashes(data, entry.unit_id)
    except StoreError as error:
        return str(error)
    if stored != computed or work_unit_hash(computed) != entry.content_sha256:
        return "its content is not that which was written"
    return ""


def _check_snapshot(results: Results) -> list[str]:
    try:
        pointer = json.loads(read_capped(results.current))
        path = results.snapshots / Path(pointer["snapshot"]).name  # never a file elsewhere
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return [f"current.json: cannot be read ({error}). Publish again."]
    try:
        with open_regular(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        return [f"current.json: points to no readable snapshot ({error}). Publish again."]
    if digest != pointer.get("sha256"):
        return [
            f"snapshots/{path.name}: its bytes are not those that were published. Publish again."
        ]
    return []


def elsewhere(folder: Path) -> list[str]:
    """What differs between the machines that made a folder's results and this one, one line each.

    The number of threads and the GPU are known only where torch is loaded, and left out here.
    """
    unknown = ("cpu_threads", "device", "gpu", "cuda", "cudnn", "host")
    here = environment()
    lines = [
        line
        for stored in load_workers(Results(folder))["environments"]
        for line in differences(
            {k: v for k, v in stored.items() if k not in unknown},
            {k: v for k, v in here.items() if k not in unknown},
        )
    ]
    return list(dict.fromkeys(lines))


def mark_damaged(folder: Path) -> int:
    """Write the work units whose shard is damaged into the ledger as such, so that the next run makes them again.

    Returns: how many.
    """
    results = Results(folder)
    plan, ledger = load_plan(results), results.read_ledger()
    damaged = [
        LedgerEntry(work_unit.unit_id, status="damaged", tries=0)
        for work_unit in plan
        if (entry := ledger.entries.get(work_unit.unit_id)) is not None
        and entry.has_shard
        and _check_shard(results, entry)
    ]
    if damaged:
        results.append(damaged)
    return len(damaged)
