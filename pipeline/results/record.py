"""What a results folder says of itself: the study, its prompts, its models, where it ran.

`publish`, `status` and `verify` need nothing but the folder, which may have been moved.
"""

import json
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StepscopeError, StoreError
from pipeline.results.folder import Results
from pipeline.results.safe_files import read_capped
from pipeline.results.shards import write_whole
from pipeline.study.concepts import Concept, ConceptBank
from pipeline.study.definitions import CLIP_SCORE, DEFINITIONS, describe_change, limits_of
from pipeline.study.pairs import judge_of
from pipeline.study.plan import (
    CODE_SCHEMA_VERSION,
    DISTANCE,
    INCEPTION,
    JUDGE,
    Plan,
    Revisions,
)
from pipeline.study.prompts import Prompt
from pipeline.study.reading import parse_study
from pipeline.study.settings import show
from pipeline.study.spec import MAX_COUNT, Study, study_spec
from pipeline.study.unpacking import refuse_bomb

PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "open_clip_torch",
    "duckdb",
    "pyarrow",
    "numpy",
    "scipy",
)
# What values of other shapes than were written can raise.
DAMAGED = (LookupError, TypeError, AttributeError, ValueError, RecursionError, StepscopeError)
MAX_PROMPTS = 2**30  # bytes of prompts.parquet; a million prompts have 0.1 GB
PROMPT_SCHEMA = pa.schema(
    {
        "prompt_key": pa.string(),
        "text": pa.string(),
        "source": pa.string(),
        "category": pa.string(),
        "roles": pa.string(),  # JSON
    }
)
BASES = (
    "bases"  # a column, JSON, only of prompts that have any, so that other files stay as they were
)


def save_plan(results: Results, plan: Plan) -> None:
    """Writes study.json and prompts.parquet.

    Raises:
        StoreError: they cannot be written.
    """
    rows = {
        "prompt_key": [p.prompt_key for p in plan.prompts],
        "text": [p.text for p in plan.prompts],
        "source": [p.source for p in plan.prompts],
        "category": [p.category for p in plan.prompts],
        "roles": [roles_json(p) for p in plan.prompts],
    }
    schema = PROMPT_SCHEMA
    if any(prompt.bases for prompt in plan.prompts):
        schema = schema.append(pa.field(BASES, pa.string()))
        rows[BASES] = [json.dumps(dict(prompt.bases)) for prompt in plan.prompts]
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table(rows, schema), buffer, compression="zstd")
    write_whole(results.prompts, buffer.getvalue())
    record = {
        "code_schema_version": plan.version,
        **({"definitions": plan.definitions} if plan.definitions else {}),
        "spec": study_spec(plan.study),
        "revisions": {
            "models": dict(plan.revisions.models),
            "scorer": plan.revisions.scorer,
            **_further(plan.revisions),
        },
        "bank": plan.bank.name,
        "concepts": [
            {"name": c.name, "family": c.family, "phrasings": list(c.phrasings)}
            for c in plan.bank.concepts
        ],
        "prompts": len(plan.prompts),
        "duplicates_dropped": plan.duplicates,
    }
    write_whole(results.study, (json.dumps(record, indent=1) + "\n").encode())


def _further(revisions: Revisions) -> dict[str, list[str]]:
    """Nothing for one scorer, so that its record stays as it always was."""
    further = list(revisions.further_scorers)
    return {"further_scorers": further} if further else {}


def load_plan(results: Results) -> Plan:
    """The plan of a results folder, as it was saved.

    An older version's results can still be published, compared and exported; a run makes them anew.

    Raises:
        StoreError: the folder is not a results folder, is damaged, or another version wrote it.
    """
    record = read_json(results.study)
    version = record.get("code_schema_version")
    if not isinstance(version, int) or not 1 <= version <= CODE_SCHEMA_VERSION:
        raise StoreError(
            f"{results.study}: written by version {version} of the code's schema, this is "
            f"{CODE_SCHEMA_VERSION}. Use a Stepscope at least as new as the one that wrote it."
        )
    try:
        study = parse_study(record["spec"], results.study, check_files=False)
        revisions = _revisions(record["revisions"])
        return Plan(
            study=_refuse_unknown(study, revisions),
            revisions=revisions,
            prompts=_load_prompts(results.prompts),
            bank=ConceptBank(_text(record["bank"]), tuple(map(_concept, record["concepts"]))),
            version=version,
            duplicates=_count(record.get("duplicates_dropped", 0)),
            definitions=_definitions(record.get("definitions", {}), results.study),
        )
    except DAMAGED as error:
        reason = " ".join(str(error).split())[:300]
        raise StoreError(f"{results.study}: damaged ({reason}). Run the study again.") from None


def _definitions(values: Any, path: Path) -> dict[str, int]:
    """The versions of the measures' definitions that results were measured under; those left out are 1.

    Raises:
        StoreError: a newer program wrote them.
    """
    latest = {name: version for one in DEFINITIONS.values() for name, version in one.items()}
    for name, version in values.items():
        if not isinstance(version, int) or not 1 <= version <= latest.get(name, 1):
            raise StoreError(
                f"{path}: measured under definition {show(version)} of {show(name)}, this program has "
                f"{latest.get(name, 1)}. Use a Stepscope at least as new as the one that wrote it."
            )
    return dict(values)


def with_clip_score_of(results: Results, plan: Plan) -> Plan:
    """The plan with the CLIP score as a results folder began with it: another version would take every image again.

    Raises:
        StoreError: the folder's record cannot be read.
    """
    if not results.study.is_file():
        return plan
    before = load_plan(results).definitions.get(CLIP_SCORE, 1)
    others = {name: each for name, each in plan.definitions.items() if name != CLIP_SCORE}
    definitions = others | ({CLIP_SCORE: before} if before > 1 else {})
    if definitions == plan.definitions:
        return plan
    return Plan(
        plan.study, plan.revisions, plan.prompts, plan.bank, plan.version, plan.duplicates, definitions
    )  # fmt: skip


def _older_clip_score(results: Results, plan: Plan) -> list[str]:
    """A line where a results folder continues with an older version of the CLIP score."""
    latest = DEFINITIONS[plan.study.measures.protocol][CLIP_SCORE]
    version = plan.definitions.get(CLIP_SCORE, 1)
    if version == latest:
        return []
    return [
        f"{results.folder}: continues with definition {version} of the CLIP score, with which it began. In a new results folder it "
        f"has definition {latest} ({describe_change(CLIP_SCORE, latest)})."
    ]


def redefined(results: Results, plan: Plan) -> list[str]:
    """What a run will measure anew in a results folder because its definition changed, one line for each measure.

    The shards of the old definition stay until `python -m pipeline gc`; no snapshot mixes the two.
    """
    if not results.study.is_file():
        return []
    before = load_plan(results)
    old = limits_of(before.study.measures)
    return _older_clip_score(results, plan) + [
        f"{results.folder}: {name} was measured under definition {before.definitions.get(name, 1)} and now has definition "
        f"{version} ({describe_change(name, version)}). Its work units are measured again."
        for name, version in plan.definitions.items()
        if name in old and before.definitions.get(name, 1) != version
    ]


def _revisions(values: Mapping[str, Any]) -> Revisions:
    models = {_text(name): _text(revision) for name, revision in values["models"].items()}
    further = tuple(_text(revision) for revision in values.get("further_scorers", ()))
    return Revisions(models, _text(values["scorer"]), further)


def _concept(values: Mapping[str, Any]) -> Concept:
    phrasings = tuple(_text(phrasing) for phrasing in values["phrasings"])
    return Concept(_text(values["name"]), _text(values["family"]), phrasings)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{show(value)} is not text")
    return value


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError(f"{show(value)} is not a count")
    return value


def _refuse_unknown(study: Study, revisions: Revisions) -> Study:
    """The study, if every model, decoder and scorer of it has its revision. Raises KeyError, ValueError."""
    if len(study.scorers) != len(revisions.scorers):
        raise ValueError(f"{len(study.scorers)} scorers, {len(revisions.scorers)} revisions")
    for model in study.models:
        revisions.models[model.name]
        if model.steps_decoder:
            revisions.models[f"{model.name}/steps_decoder"]
        if model.config:
            revisions.models[f"{model.name}/config"]
        for index, _ in enumerate(model.embeddings or ()):
            revisions.models[f"{model.name}/embeddings/{index}"]
    if study.measures.inception:
        revisions.models[INCEPTION]
    if judge_of(study.measures):
        revisions.models[JUDGE]
    for distance in study.distances:
        revisions.models[DISTANCE + distance.name]
    return study


def _load_prompts(path: Path) -> list[Prompt]:
    try:
        data = read_capped(path, MAX_PROMPTS)
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            refuse_bomb(file, data, MAX_COUNT)
            based = BASES in file.schema_arrow.names
            schema = PROMPT_SCHEMA.append(pa.field(BASES, pa.string())) if based else PROMPT_SCHEMA
            table = file.read(columns=schema.names, use_threads=False)
        rows = table.select(schema.names).cast(schema).to_pylist()
        if any(value is None for row in rows for value in row.values()):
            raise ValueError("a value is missing")
        return [
            Prompt(
                prompt_key=row["prompt_key"],
                text=row["text"],
                source=row["source"],
                category=row["category"],
                roles={role: tuple(words) for role, words in json.loads(row["roles"]).items()},
                position=position,
                bases=_load_bases(row.get(BASES, "{}")),
            )
            for position, row in enumerate(rows)
        ]
    except (pa.ArrowException, OSError, *DAMAGED) as error:
        raise StoreError(f"{path}: cannot be read ({error}). Run the study again.") from None


def _load_bases(text: str) -> dict[str, str]:
    return {_text(name): _text(base) for name, base in json.loads(text).items()}


def roles_json(prompt: Prompt) -> str:
    """The roles of a prompt's words as JSON."""
    return json.dumps({role: list(words) for role, words in prompt.roles.items()})


def read_json(path: Path) -> dict[str, Any]:
    """An object from a JSON file of a results folder.

    Raises:
        StoreError: it is missing or damaged.
    """
    try:
        value = json.loads(read_capped(path))
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate cannot be stored
    except FileNotFoundError:
        raise StoreError(
            f"{path.parent}: not a results folder (no {path.name}). Make one with "
            "`python -m pipeline run STUDY.toml`."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path}: cannot be read ({error}). Run the study again.") from None
    if not isinstance(value, dict):
        raise StoreError(f"{path}: damaged, not a JSON object. Run the study again.")
    return value


def load_workers(results: Results) -> dict[str, Any]:
    """What the workers said, those of parts too: {"models": {name: description}, "environment": {...}, "environments": [...]}.

    Nothing, where nothing was written.

    Raises:
        StoreError: a record has another shape.
    """
    workers = _load_workers(results.workers)
    for path in results.part_files("workers.json"):
        part = _load_workers(path)
        workers["models"] = part["models"] | workers["models"]
        workers["environment"] = workers["environment"] or part["environment"]
        workers["environments"] = distinct([*workers["environments"], *part["environments"]])
    return workers


def _load_workers(path: Path) -> dict[str, Any]:
    try:
        record = read_json(path)
    except StoreError:
        record = {}
    workers: dict[str, Any] = {"models": {}, "environment": {}, "environments": []} | record
    models, all_ = workers["models"], workers["environments"]
    well_formed = isinstance(models, dict) and isinstance(all_, list)
    if not well_formed or not all(
        isinstance(value, dict) for value in (workers["environment"], *all_, *models.values())
    ):
        raise StoreError(f"{path}: damaged. Remove it, and run the study again.")
    return workers


def save_worker(
    results: Results,
    model: str,
    description: Mapping[str, Any],
    where: Mapping[str, Any] | None = None,
) -> None:
    """Adds what a worker says of its model, and the environment it runs in.

    Args:
        results: the folder.
        model: the model's name.
        description: of the worker.
        where: the worker's environment; None = this process's.

    Raises:
        StoreError: it cannot be written.
    """
    record = _load_workers(results.workers)
    before = json.dumps(record, sort_keys=True, default=str)
    here = dict(where or environment(str(description.get("device", ""))))
    record["models"][model] = dict(description)
    record["environment"] = here
    record["environments"] = distinct([*record["environments"], here])
    if json.dumps(record, sort_keys=True, default=str) != before:
        write_whole(results.workers, (json.dumps(record, indent=1, default=str) + "\n").encode())


def distinct(environments: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Environments that differ in anything, in the order in which they came."""
    return list({json.dumps(e, sort_keys=True, default=str): e for e in environments}.values())


def environment(device: str = "") -> dict[str, Any]:
    """Versions, machine and source revision: what a number may depend on."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        **versions,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processor": processor(),
        "cpu_threads": _threads(),
        "device": device,
        **_accelerator(device),
        "git_commit": git_commit(),
    }


def differences(stored: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What differs between two environments, one line each."""
    return [
        f"{key}: {stored.get(key, 'unknown')!s} there, {here.get(key, 'unknown')!s} here"
        for key in dict.fromkeys([*stored, *here])
        if stored.get(key) != here.get(key)
    ]


def processor() -> str:
    """The processor's name: other ones add floats in another order."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(li.partition(":")[2].strip() for li in lines if li.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _accelerator(device: str) -> dict[str, str]:
    """Name, CUDA and cuDNN versions of the GPU where one is used."""
    torch = sys.modules.get("torch")
    if torch is None or not device.startswith("cuda"):
        return {}
    return {
        "gpu": torch.cuda.get_device_name(device),
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),
    }


def _threads() -> int:
    """The threads that torch computes with; 0 where torch is not loaded."""
    torch = sys.modules.get("torch")
    return int(torch.get_num_threads()) if torch is not None else 0


def git_commit() -> str:
    """The commit of the source, with "+" where files differ from it; "" outside a repository."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + ("+" if _git(root, "status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()
