"""Puts the shards of several results folders into one: machines that shared a study, or runs of other times.

A unit's id says what its content must be, so shards are taken as they are. What does not fit together is
never settled in silence: it is left out or kept from the first folder, and reported.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.errors import StoreError
from pipeline.results.diff import distance
from pipeline.results.folder import Results
from pipeline.results.ledger import LedgerEntry
from pipeline.results.origin import copy_origins
from pipeline.results.record import distinct, load_plan, load_workers, save_plan
from pipeline.results.rows import CONTENT, work_unit_hash
from pipeline.results.safe_files import is_regular, make_folder, read_capped, regular_files
from pipeline.results.scores import merge_scores
from pipeline.results.shards import parse_shard, stored_hashes
from pipeline.results.storage import write_whole
from pipeline.study.concepts import ConceptBank
from pipeline.study.plan import Plan
from pipeline.study.prompts import Prompt
from pipeline.study.spec import DESCRIPTIVE, ModelSpec, Study, measures_spec, model_spec

TABLE = re.compile(r"[A-Za-z0-9][\w-]*\.parquet")
MAX_TABLE = 2**30  # bytes of a table of extra/
BATCH = 256  # ledger entries written at once


@dataclass
class Merged:
    """What a merge did.

    Attributes:
        work_units: work units in the merged folder.
        copied: shards brought into it now.
        conflicts: what did not fit together, one line each.
    """

    work_units: int = 0
    copied: int = 0
    conflicts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Source:
    results: Results
    plan: Plan
    entries: dict[str, LedgerEntry]

    @property
    def name(self) -> str:
        return str(self.results.folder)


def merge(folders: Sequence[Path], out: Path) -> Merged:
    """Merges results folders into one, which may exist and may be one of a merge before.

    The merged study has the models, seeds and prompts of all. Models of one name must be the same model, and
    the scorers, concepts, measures and batch sizes must agree; otherwise the numbers could not stand in one table.

    Raises:
        StoreError: a folder holds no study, the studies cannot be one, or the output is in use.
    """
    sources = [_open(folder) for folder in folders]
    results = Results(out)
    if results.study.exists() and out.resolve() not in [f.resolve() for f in folders]:
        sources.insert(0, _open(out))  # what is there already counts as the first folder
    plan = join([source.plan for source in sources], [source.name for source in sources])
    results.create()
    merged = Merged()
    with results.locked():
        results.refuse_foreign_place()
        results.remove_stale()
        save_plan(results, plan)
        _merge_workers(results, sources)
        copy_origins(results, [source.results for source in sources])
        _merge_extra(results, sources, merged)
        merged.conflicts += merge_scores(results, [source.results for source in sources])
        _merge_work_units(results, plan, sources, merged)
    return merged


def _open(folder: Path) -> _Source:
    results = Results(folder)
    results.require_store()
    return _Source(results, load_plan(results), dict(results.read_ledger().entries))


def join(plans: Sequence[Plan], names: Sequence[str]) -> Plan:
    """One plan that holds the models, seeds and prompts of several.

    Raises:
        StoreError: names both folders and what differs.
    """
    first = plans[0]
    models: dict[str, ModelSpec] = {}
    revisions: dict[str, str] = {}  # of models, and of decoders and Inception's weights
    for plan, name in zip(plans, names, strict=True):
        _refuse_other(first, plan, names[0], name)
        for spec in plan.study.models:
            revision = plan.revisions.models[spec.name]
            if spec.name in models and (
                _same_for_pixels(models[spec.name]) != _same_for_pixels(spec)
                or revisions[spec.name] != revision
            ):
                raise StoreError(
                    f"{name}: model {spec.name!r} is not the model of that name in {names[0]} (other settings or "
                    "weights). Give it another name in the study file and run it again."
                )
            models.setdefault(spec.name, spec)
            revisions.setdefault(spec.name, revision)
        revisions = {**plan.revisions.models, **revisions}
    study = replace(
        first.study,
        models=tuple(_distinct_labels(list(models.values()))),
        seeds=tuple(dict.fromkeys(seed for plan in plans for seed in plan.study.seeds)),
    )
    prompts = _join_prompts(plans)
    joined = replace(first.revisions, models=revisions)
    duplicates = sum(plan.duplicates for plan in plans)
    return Plan(study, joined, prompts, first.bank, first.version, duplicates, first.definitions)


def _same_for_pixels(spec: ModelSpec) -> dict[str, Any]:
    return {
        k: v for k, v in model_spec(spec).items() if k not in (*DESCRIPTIVE, "source", "images")
    }


def _distinct_labels(models: list[ModelSpec]) -> list[ModelSpec]:
    """A label that two models share becomes their names: charts tell models apart by it."""
    labels = [model.label for model in models]
    return [replace(m, label=m.name) if labels.count(m.label) > 1 else m for m in models]


def _refuse_other(first: Plan, plan: Plan, name_a: str, name_b: str) -> None:
    """Raises where two studies' numbers could not stand in one table."""
    for what, a, b in (
        ("version of the code's schema", first.version, plan.version),
        ("number of scorers", len(first.study.scorers), len(plan.study.scorers)),
        *_scorers(first, plan),
        ("concepts", _concepts(first.bank), _concepts(plan.bank)),
        ("measures", _measures(first.study), _measures(plan.study)),
        ("definitions of measures", first.definitions, plan.definitions),
        ("run.batch_size", first.study.run.batch_size, plan.study.run.batch_size),
        ("run.unit_prompts", first.study.run.unit_prompts, plan.study.run.unit_prompts),
    ):
        if a != b:
            raise StoreError(
                f"{name_a} and {name_b} cannot be merged: other {what}. Compare them with "
                "`python -m pipeline diff`, or run one again with the other's settings."
            )


def _scorers(first: Plan, plan: Plan) -> list[tuple[str, Any, Any]]:
    """What decides the scores of each scorer: tag and revision. Names may differ: the first folder's are kept."""
    alone = not first.study.further_scorers
    return [
        (
            "scorer" if alone else f"scorer {spec.name!r} (scorer {position} of the list)",
            (spec.pretrained, revision),
            (other.pretrained, other_revision),
        )
        for position, (spec, revision, other, other_revision) in enumerate(
            zip(
                first.study.scorers,
                first.revisions.scorers,
                plan.study.scorers,
                plan.revisions.scorers,
                strict=False,  # another number of them is refused before
            ),
            start=1,
        )
    ]


def _concepts(bank: ConceptBank) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(c.family, c.name, c.phrasings) for c in bank.concepts]


def _measures(study: Study) -> dict[str, Any]:
    return measures_spec(study.measures)


def _join_prompts(plans: Sequence[Plan]) -> list[Prompt]:
    """The longest list first, so that work units of a shorter run of the same prompts keep their place."""
    longest = max(plans, key=lambda plan: len(plan.prompts))
    joined: dict[str, Prompt] = {}
    for plan in (longest, *plans):
        for prompt in plan.prompts:
            joined.setdefault(prompt.prompt_key, prompt)
    return [replace(prompt, position=at) for at, prompt in enumerate(joined.values())]


def _merge_workers(results: Results, sources: Sequence[_Source]) -> None:
    records = [load_workers(source.results) for source in sources]
    models: dict[str, Any] = {}
    for record in records:
        for name, description in record["models"].items():
            models.setdefault(name, description)
    environments = distinct([e for r in records for e in (r["environments"] or [r["environment"]])])
    record = {
        "models": models,
        "environment": environments[0] if environments else {},
        "environments": environments,
    }
    write_whole(results.workers, (json.dumps(record, indent=1) + "\n").encode())


def _merge_extra(results: Results, sources: Sequence[_Source], merged: Merged) -> None:
    """Tables that other commands leave in extra/: the first folder's, where several have one."""
    for source in sources:
        path = source.results.extra
        try:
            for path, _ in sorted(regular_files(source.results.extra, TABLE)):
                _merge_table(results.extra / path.name, path, source, merged)
        except OSError as error:
            merged.conflicts.append(f"{path}: left out: {error.strerror}")


def _merge_table(target: Path, path: Path, source: _Source, merged: Merged) -> None:
    make_folder(target.parent)
    if not is_regular(target):
        write_whole(target, read_capped(path, MAX_TABLE))
    elif read_capped(target, MAX_TABLE) != read_capped(path, MAX_TABLE):
        merged.conflicts.append(f"extra/{path.name}: {source.name} has another; kept the first")


def _merge_work_units(
    results: Results, plan: Plan, sources: Sequence[_Source], merged: Merged
) -> None:
    new: list[LedgerEntry] = []
    known = results.read_ledger().entries
    planned = set()
    for work_unit in plan:
        planned.add(work_unit.unit_id)
        entry = _best(results, work_unit.unit_id, sources, merged)
        if entry is None:
            continue
        merged.work_units += entry.has_shard
        if known.get(work_unit.unit_id) != entry:
            new.append(entry)
        if len(new) >= BATCH:
            results.append(new)
            new = []
    if new:
        results.append(new)
    for source in sources:
        foreign = sum(work_unit.unit_id not in planned for work_unit in source.plan)
        if foreign:
            merged.conflicts.append(
                f"{source.name}: {foreign:,} of its work units do not fit the merged plan, because its prompts fall into "
                "other blocks; they were left out. Merge folders whose prompt sets are the same, one the beginning "
                "of the other, or whole numbers of run.unit_prompts long"
            )


def _best(
    results: Results, unit_id: str, sources: Sequence[_Source], merged: Merged
) -> LedgerEntry | None:
    """The entry of a work unit that ended best, its shard copied; the first folder's among equals."""
    tried = [(s, s.entries[unit_id]) for s in sources if unit_id in s.entries]
    readable = [
        (source, entry, data)
        for source, entry in tried
        if entry.has_shard and (data := _read(source, entry, merged)) is not None
    ]
    if not readable:
        return next((entry for _, entry in tried if entry.status == "error"), None)
    # `min` takes the first of those with the fewest failed samples
    source, entry, data = min(readable, key=lambda item: item[1].failed)
    _report_conflicts(unit_id, source, entry, data, readable, merged)
    if source.results.folder.resolve() == results.folder.resolve():
        return entry  # merged into one of the folders: its shard is there already
    info = results.store.write(unit_id, data)
    merged.copied += 1
    return replace(entry, mtime_ns=info.changed_ns)


def _read(source: _Source, entry: LedgerEntry, merged: Merged) -> bytes | None:
    """The bytes of a shard that is what its ledger says; None, and a line, where it is not."""
    try:
        data = source.results.store.read(entry.unit_id)
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise StoreError("its bytes are not those that were written")
        stored, computed = stored_hashes(data, entry.unit_id)
        if stored != computed or work_unit_hash(computed) != entry.content_sha256:
            raise StoreError("its content is not that which was written")
    except StoreError as error:
        merged.conflicts.append(f"{source.name}: shard {entry.unit_id} left out: {error}")
        return None
    return data


def _report_conflicts(
    unit_id: str,
    source: _Source,
    entry: LedgerEntry,
    data: bytes,
    readable: Sequence[tuple[_Source, LedgerEntry, bytes]],
    merged: Merged,
) -> None:
    """One line for each folder whose shard of the work unit holds another content."""
    for other, its, theirs in readable:
        if its.content_sha256 == entry.content_sha256:
            continue
        gap = _largest(data, theirs)
        failures = f"{its.failed} failed samples against {entry.failed}" if its.failed else ""
        merged.conflicts.append(
            f"unit {unit_id}: {other.name} holds another content than {source.name} (largest difference "
            f"{gap:.3g}{'; ' + failures if failures else ''}); kept that of {source.name}"
        )


def _largest(a: bytes, b: bytes) -> float:
    rows = [parse_shard(data, "shard").to_pylist() for data in (a, b)]
    pairs = zip(*rows, strict=False)
    return max((distance(x[n], y[n], n) for x, y in pairs for n in CONTENT), default=0.0)


def as_record(merged: Merged) -> dict[str, Any]:
    """The merge as plain values, for scripts."""
    return {
        "units": merged.work_units,
        "copied": merged.copied,
        "conflicts": merged.conflicts,
    }
