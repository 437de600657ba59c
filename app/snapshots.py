"""Studies and their snapshots, without Streamlit: find one, open it read-only, ask it.

A results folder holds versioned snapshots and `current.json`, which names the one to read. The
dashboard (through `queries`, which caches), `figures.py` and `bundle.py` all read through here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import duckdb
import pandas as pd
import uncertainty

ROOT = Path(__file__).resolve().parent.parent
SQL = Path(__file__).resolve().parent / "sql"
SCHEMA_VERSION = 2
TABLES = frozenset(
    [
        "study",
        "model",
        "prompt",
        "concept",
        "sample",
        "step",
        "trajectory",
        "rollup_prompt",
        "rollup_step",
        "rollup_trajectory",
        "rollup_family",
        "mention",
        "cell_curve",
        "cell_pair",
        "cell_emergence",
        "cell_family",
        "correlation_concept",
        "correlation_model",
        "frame",
        "failure",
        "token_attention",
        "explanation",
        "faithfulness",
        "agreement",
        "localisation",
        "randomisation",
        "spectrum",
        "path",
        "projection",
    ]
)
Ask = Callable[..., pd.DataFrame]
# External access off and the configuration locked: SQL on this connection can read the snapshot
# and nothing else.
SANDBOX: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "memory_limit": "1GB",
    "temp_directory": "",  # what does not fit into memory fails; nothing is spilled beside the snapshot
    "threads": "4",
    "max_execution_time": "20000",
    "lock_configuration": "true",
}


class SnapshotError(Exception):
    """A study that can't be shown: what is wrong, and what to do about it.

    Attributes:
        title: one sentence for the reader.
        detail: the place and value at fault.
        advice: commands or steps that help, one per line.
    """

    def __init__(self, title: str, detail: str, advice: Sequence[str] = ()) -> None:
        super().__init__(f"{title} {detail}")
        self.title = title
        self.detail = detail
        self.advice = tuple(advice)


@dataclass(frozen=True)
class Snapshot:
    """One version of one study's database.

    Attributes:
        path: the DuckDB file.
        stamp: its modification time and size; a file replaced in place is another snapshot.
        scorer: whose numbers are read, by its place in the study file; 1 = the first, the primary one.
    """

    path: str
    stamp: str
    scorer: int = 1


@dataclass(frozen=True)
class Scope:
    """What the filters leave: ids and values that every query is given, never empty by accident.

    Attributes:
        models: model_id of the models shown, in the study's order.
        concepts: concept_id of the concepts shown, without the whole prompt: of whole families.
        categories: prompt categories shown ('' where a set has none).
        seeds: seeds shown.
        total_categories: number of categories in the study.
        total_seeds: number of seeds in the study.
        prompts: prompt_id of the prompts in the slice; None = no slice, all of the categories.
    """

    models: tuple[int, ...]
    concepts: tuple[int, ...]
    categories: tuple[str, ...]
    seeds: tuple[int, ...]
    total_categories: int = 1
    total_seeds: int = 1
    prompts: tuple[int, ...] | None = None

    @property
    def every_seed(self) -> bool:
        """Whether all seeds count, over which publish has averaged."""
        return len(self.seeds) == self.total_seeds

    @property
    def whole_categories(self) -> bool:
        """Whether the scope is made of the cells that publish has summed up: all seeds of whole categories."""
        return self.every_seed and self.prompts is None

    @property
    def one_curve(self) -> bool:
        """Whether a prompt has one curve per model and concept: of one seed, or of all, which publish has averaged."""
        return len(self.seeds) in (1, self.total_seeds)

    def parameters(self) -> dict[str, list[Any] | None]:
        """The scope as SQL parameters."""
        return {
            "models": list(self.models),
            "concepts": list(self.concepts),
            "categories": list(self.categories),
            "seeds": list(self.seeds),
            "slice": None if self.prompts is None else list(self.prompts),
        }


def find_studies(arguments: Sequence[str], root: Path = ROOT) -> tuple[Path, ...]:
    """Result folders and database files to choose from, the newest first.

    Args:
        arguments: the paths given after `--`; a folder of result folders stands for all of them.
            None: data/results.
        root: the project's folder.

    Raises:
        SnapshotError: nothing was given and nothing was published yet.
    """
    if arguments:
        return tuple(place for given in arguments for place in _expand(Path(given)))
    found = _published(root / "data" / "results")
    if not found:
        raise SnapshotError(
            "No study has been published yet.",
            f"Looked for data/results/*/current.json in {root}.",
            ("make demo", "make app"),
        )
    return found


def _expand(place: Path) -> tuple[Path, ...]:
    if place.is_dir() and not (place / "current.json").exists():
        return _published(place) or (place,)
    return (place,)


def _published(folder: Path) -> tuple[Path, ...]:
    pointers = sorted(folder.glob("*/current.json"), key=lambda p: p.stat().st_mtime, reverse=True)
    return tuple(pointer.parent for pointer in pointers)


def locate(place: Path, *, older: bool = False) -> Snapshot:
    """The snapshot that a results folder points to, or the database file itself.

    Args:
        place: the folder or file.
        older: whether the one published before may stand in for a snapshot that is gone.

    Raises:
        SnapshotError: the place, its pointer or the file it names is missing or unreadable.
    """
    if not place.exists():
        raise SnapshotError(
            "There is nothing at this path.",
            str(place),
            ("streamlit run app/main.py -- data/results/demo",),
        )
    file = _follow(place) if place.is_dir() else place
    if older and not file.is_file():
        file = _newest(file.parent) or file
    if not file.is_file():
        raise SnapshotError(
            "The snapshot that current.json names is gone.",
            str(file),
            (f"python -m pipeline publish {place}",),
        )
    status = file.stat()
    return Snapshot(str(file.resolve()), f"{status.st_mtime_ns}-{status.st_size}")


def stands_in(place: Path, snapshot: Snapshot) -> bool:
    """Whether a snapshot is not the one that its results folder points to."""
    return place.is_dir() and _follow(place).resolve() != Path(snapshot.path)


def _newest(folder: Path) -> Path | None:
    """The snapshot of the highest number in a folder of snapshots."""
    return next(iter(numbered(folder)), None)


def numbered(folder: Path) -> list[Path]:
    """The snapshots in a folder of snapshots, the highest number first."""
    named = [path for path in folder.glob("*.duckdb") if re.fullmatch(r".+-\d{6,}", path.stem)]
    return sorted(named, key=lambda path: int(path.stem.rpartition("-")[2]), reverse=True)


def _follow(folder: Path) -> Path:
    pointer = folder / "current.json"
    if not pointer.exists():
        raise SnapshotError(
            "This folder holds no published snapshot.",
            f"{pointer} is missing. Shards may be there, but they are not a database yet.",
            (f"python -m pipeline publish {folder}",),
        )
    try:
        named = PurePosixPath(str(json.loads(pointer.read_text(encoding="utf-8"))["snapshot"]))
        if named.is_absolute() or ".." in named.parts:
            raise ValueError("it leads out of the folder")
        return folder / named
    except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
        raise SnapshotError(
            "The pointer to the current snapshot can't be read.",
            f"{pointer}: {type(error).__name__}",
            (f"python -m pipeline publish {folder}",),
        ) from error


def connect(path: str, **settings: str) -> duckdb.DuckDBPyConnection:
    """A read-only, sandboxed connection.

    Args:
        path: the database file.
        settings: that differ from SANDBOX; without effect where this process has the file open.

    Raises:
        SnapshotError: the file can't be read as a database, or is being written to.
    """
    try:
        return duckdb.connect(path, read_only=True, config={**SANDBOX, **settings})
    except duckdb.Error as error:
        if settings and "different configuration" in str(error):
            return connect(path)
        raise explain(error, path) from error


def explain(error: duckdb.Error, path: str) -> SnapshotError:
    """What is wrong with a database that DuckDB can't read, for the reader."""
    text = str(error)
    if "set lock on file" in text or "Conflicting lock" in text:
        return SnapshotError(
            "Another program is writing to this database.",
            f"{path} is locked. Published snapshots never are: open the results folder, "
            "or wait for the writer.",
            ("streamlit run app/main.py -- data/results/demo",),
        )
    first = text.splitlines()[0] if text else type(error).__name__
    return SnapshotError(
        "This file is not a readable DuckDB database.",
        f"{path}: {first}",
        ("python -m pipeline publish data/results/demo",),
    )


def check(snapshot: Snapshot, ask: Ask) -> None:
    """Make sure that the snapshot has this app's schema.

    Args:
        snapshot: the database to check.
        ask: answers with the rows of app/sql/<name>.sql.

    Raises:
        SnapshotError: it is no study, its schema is older or newer, or it can't be read.
    """
    try:
        tables = set(ask("tables")["table_name"])
    except duckdb.Error as error:
        raise explain(error, snapshot.path) from error
    if "study" not in tables:
        raise SnapshotError(
            "This database is not a Stepscope study.",
            f"{snapshot.path} has no table 'study' (found: "
            f"{', '.join(sorted(tables)[:6]) or 'none'}).",
            ("streamlit run app/main.py -- data/results/demo",),
        )
    versions = ask("schema_version")["schema_version"].tolist()
    missing = sorted(TABLES - tables)
    if not versions:
        raise SnapshotError(
            "The study in this database is empty.",
            f"Table 'study' of {snapshot.path} has no row: publishing did not finish.",
            ("python -m pipeline publish data/results/demo",),
        )
    if versions[0] != SCHEMA_VERSION or missing:
        raise _other_schema(snapshot, int(versions[0]), missing)


def _other_schema(snapshot: Snapshot, version: int, missing: Sequence[str]) -> SnapshotError:
    lacks = f" It lacks: {', '.join(missing)}." if missing else ""
    detail = f"{snapshot.path} has schema {version}; this app reads schema {SCHEMA_VERSION}.{lacks}"
    if version > SCHEMA_VERSION:
        return SnapshotError(
            "This snapshot was published by a newer Stepscope.", detail, ("git pull", "make app")
        )
    return SnapshotError(
        "This snapshot was published by an older Stepscope.",
        f"{detail} Publishing again keeps every sample: nothing has to be run anew.",
        ("python -m pipeline publish data/results/demo",),
    )


@lru_cache(maxsize=256)
def statement(name: str) -> tuple[str, frozenset[str]]:
    """The text of `app/sql/<name>.sql` and the names of its parameters."""
    text = (SQL / f"{name}.sql").read_text(encoding="utf-8")
    return text, frozenset(re.findall(r"\$([a-z_]+)", text))


def scorers(ask: Ask) -> dict[str, int]:
    """The study's scorers, the primary one first: name -> number; none where there is only one."""
    schemas = ask("scorers")["schema_name"].tolist()
    if len(schemas) < 2:
        return {}
    numbers = [1 if schema == "main" else int(schema.removeprefix("scorer_")) for schema in schemas]
    try:
        listed = json.loads(str(ask("study")["spec"].iloc[0]))["scorer"]
        names = [str(listed[number - 1]["name"]) for number in numbers]
    except (ValueError, LookupError, TypeError, RecursionError):
        names = []
    if len(set(names)) < len(numbers):  # a study file's names are distinct: this is another's work
        names = [f"scorer {number}" for number in numbers]
    return dict(zip(names, numbers, strict=True))


def use_scorer(connection: duckdb.DuckDBPyConnection, scorer: int) -> None:
    """Let a connection's, or a cursor's, table names mean a scorer's; 1 is what they mean anyway."""
    if scorer > 1:
        connection.execute(statement("settings/use_scorer")[0], {"schema": f"scorer_{scorer:d}"})


def answer(
    connection: duckdb.DuckDBPyConnection, name: str, parameters: dict[str, Any], scorer: int = 1
) -> pd.DataFrame:
    """The rows of `app/sql/<name>.sql`; parameters that it does not use are left out."""
    text, wanted = statement(name)
    with connection.cursor() as cursor:
        use_scorer(cursor, scorer)
        return cursor.execute(text, {k: v for k, v in parameters.items() if k in wanted}).df()


def source(name: str, scope: Scope) -> str:
    """The file of app/sql that answers a question the soonest: from cells, from means over seeds, or from trajectories.

    Files of one name in `cells`, in `means` and beside them take the same parameters and give the same rows.

    Args:
        name: of the question.
        scope: the filters.
    """
    for folder, fits in (("cells", scope.whole_categories), ("means", scope.every_seed)):
        if fits and (SQL / folder / f"{name}.sql").exists():
            return f"{folder}/{name}"
    return name


def curves(
    ask_scope: Ask, scope: Scope, concepts: Iterable[int], *, named: bool = False
) -> pd.DataFrame:
    """What `queries.curves` gives, through any way to ask.

    Args:
        ask_scope: answers (name, scope, **parameters).
        scope: the filters.
        concepts: concept_id; 0 is the whole prompt.
        named: only prompts whose text names the concept.
    """
    by_prompt = scope.one_curve and not scope.whole_categories
    name = "curves_prompts" if by_prompt else "curves"
    table = ask_scope(name, scope, concepts=list(concepts), named=named, whole=scope.every_seed)
    low, high = uncertainty.t_limits(table["mean"], table["sd"], table["prompts"])
    return table.assign(low=low, high=high)


def paired_grid(
    ask_scope: Ask, scope: Scope, baseline: int, candidates: Sequence[int], *, complete: bool
) -> pd.DataFrame:
    """Moments of the paired differences per (candidate, concept, step), over shared prompts and seeds.

    Args:
        ask_scope: answers (name, scope, **parameters).
        scope: the filters.
        baseline: model_id.
        candidates: model_id.
        complete: whether no sample of the study is missing; else two models may have other seeds of a prompt.
    """
    averaged = scope.one_curve and (complete or len(scope.seeds) == 1)
    by_prompt = averaged and not scope.whole_categories
    name = "paired_grid_prompts" if by_prompt else "paired_grid"
    given = {"baseline": baseline, "candidates": list(candidates), "whole": scope.every_seed}
    return ask_scope(name, scope, **given)
