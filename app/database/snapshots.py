"""Studies and their snapshots, without Streamlit: find one, open it read-only, ask it.

A results folder holds versioned snapshots and `current.json`, which names the one to read. The
dashboard (through `queries`, which caches), figures and the static site all read through here.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from weakref import WeakKeyDictionary

import duckdb
import pandas as pd

from app.database import from_memory
from app.database.curve_arrays import CurveArrays
from app.database.plain_files import is_plain, read_plain
from app.database.statements import SQL, Cursor, statement

PROGRAM = Path(__file__).resolve().parents[2]
"""The clone, or the package of an installed wheel, where nothing is written."""
ROOT = PROGRAM if (PROGRAM / "pyproject.toml").is_file() else Path.cwd()
"""Where `data/results` is: the clone, or the folder in which an installation is started."""
SHIPPED = (
    ROOT / "data" / "reference"
)  # the study that comes with Stepscope; nothing is written there
SCHEMA_VERSION = 9
TABLES = frozenset((
    "study", "model", "prompt", "concept", "sample", "step", "trajectory", "contrast", "rollup_prompt", "rollup_step",
    "rollup_trajectory", "mention", "cell_curve", "cell_pair", "correlation_concept", "correlation_model", "frame",
    "failure", "token_attention", "explanation", "faithfulness", "agreement", "localisation", "randomisation",
    "spectrum", "switch", "switch_image", "redraw", "concept_attention", "information", "path", "projection",
    "metric", "score", "image_set",
))  # fmt: skip
Ask = Callable[..., pd.DataFrame]
# External access off and the configuration locked: SQL on this connection can read the snapshot
# and nothing else.
SANDBOX: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "memory_limit": "768MB",
    "temp_directory": "",  # what does not fit into memory fails; nothing is spilled beside the snapshot
    "threads": "4",
    "max_execution_time": "20000",
    "lock_configuration": "true",
}
READING = "96MB"
"""Memory limit of the instance that reads curves into arrays: it keeps nothing."""
CURVES: MutableMapping[duckdb.DuckDBPyConnection, CurveArrays] = WeakKeyDictionary()
"""The curves that are in memory, for each connection."""
# Of figures: several threads add up floats in another order each time.
ONE_THREAD = {"threads": "1"}


class SnapshotError(Exception):
    """A study that cannot be shown: what is wrong, and what to do about it.

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
        metric: name of the score by which images are compared; '' = the CLIP score.
    """

    models: tuple[int, ...]
    concepts: tuple[int, ...]
    categories: tuple[str, ...]
    seeds: tuple[int, ...]
    total_categories: int = 1
    total_seeds: int = 1
    prompts: tuple[int, ...] | None = None
    metric: str = ""

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

    def parameters(self) -> dict[str, list[Any] | str | None]:
        """The scope as SQL parameters."""
        return {
            "models": list(self.models),
            "concepts": list(self.concepts),
            "categories": list(self.categories),
            "seeds": list(self.seeds),
            "slice": None if self.prompts is None else list(self.prompts),
            "metric": self.metric,
        }


def find_studies(arguments: Sequence[str], root: Path = ROOT) -> tuple[Path, ...]:
    """Result folders and database files to choose from, the newest first and the shipped one last.

    Args:
        arguments: the paths given after `--`; a folder of result folders stands for all of them.
            None: data/results, and data/reference.
        root: the project's folder.

    Raises:
        SnapshotError: nothing was given and nothing was published yet.
    """
    if arguments:
        return tuple(path for argument in arguments for path in _expand(Path(argument)))
    folders = _published(root / "data" / "results")
    shipped = root / SHIPPED.relative_to(ROOT)
    if (shipped / "current.json").exists():
        folders += (shipped,)
    if not folders:
        raise SnapshotError(
            "No study has been published yet.",
            f"Looked for data/results/*/current.json in {root}.",
            ("make demo", "make app"),
        )
    return folders


def _expand(path: Path) -> tuple[Path, ...]:
    if path.is_dir() and not (path / "current.json").exists():
        return _published(path) or (path,)
    return (path,)


def _published(folder: Path) -> tuple[Path, ...]:
    pointers = sorted(folder.glob("*/current.json"), key=lambda p: p.stat().st_mtime, reverse=True)
    return tuple(pointer.parent for pointer in pointers)


@dataclass(frozen=True)
class Reading:
    """What one reading of a place gave; nothing of it is read a second time.

    Attributes:
        snapshot: the one to show.
        stands_in: whether it is an older one, because the one that the pointer names is gone.
    """

    snapshot: Snapshot
    stands_in: bool = False


MAX_POINTER = 64 * 1024  # bytes
READINGS = 5  # of a pointer that moves on each time before the file that it named is looked at


def locate(path: Path, *, older: bool = False) -> Snapshot:
    """The snapshot that a results folder points to, or the database file itself; as `find`."""
    return find(path, older=older).snapshot


def find(path: Path, *, older: bool = False) -> Reading:
    """The snapshot that a results folder points to, or the database file itself, by one reading of the pointer.

    A publisher moves the pointer and then removes old snapshots: a file that is missing is gone only if the
    pointer still names it.

    Args:
        path: the folder or file.
        older: whether the one published before may stand in for a snapshot that is gone.

    Raises:
        SnapshotError: the path, its pointer or the file it names is missing or unreadable.
    """
    if not path.exists():
        raise SnapshotError(
            "There is nothing at this path.",
            str(path),
            ("streamlit run app/main.py -- data/results/demo",),
        )
    file = _follow(path) if path.is_dir() else path
    for _ in range(READINGS):
        if (file == path or is_plain(file)) and (snapshot := _stamped(file)):
            return Reading(snapshot)
        named = _follow(path) if path.is_dir() else path
        if named == file:
            break
        file = named
    for other in numbered(file.parent) if older else ():
        if is_plain(other) and (snapshot := _stamped(other)):
            return Reading(snapshot, stands_in=True)
    raise SnapshotError(
        "The snapshot that current.json names is gone.",
        str(file),
        (f"python -m pipeline publish {path}",),
    )


def _stamped(file: Path) -> Snapshot | None:
    """A file as a snapshot, or None where there is none (any more)."""
    try:
        status = file.stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return Snapshot(str(file.resolve()), f"{status.st_mtime_ns}-{status.st_size}")


def numbered(folder: Path) -> list[Path]:
    """The snapshots in a folder of snapshots, the highest number first."""
    named = [path for path in folder.glob("*.duckdb") if re.fullmatch(r".+-\d{6,}", path.stem)]
    return sorted(named, key=number_of, reverse=True)


def number_of(file: Path) -> int:
    """The number in the name of a snapshot's file; 0 where its name has none."""
    number = file.stem.rpartition("-")[2]
    return int(number) if re.fullmatch(r"[0-9]{6,}", number) else 0


def _follow(folder: Path) -> Path:
    pointer = folder / "current.json"
    if not pointer.exists() and not pointer.is_symlink():
        if (folder / "manifest.json").exists() and (folder / "data").is_dir():
            raise SnapshotError(
                "This folder is a published data set, not a results folder.",
                f"{folder} holds Parquet files. Import it: `python -m app.database.importing`.",
                (f"python -m app.database.importing {folder} --out data/results/NAME",),
            )
        raise SnapshotError(
            "This folder holds no published snapshot.",
            f"{pointer} is missing. Shards may be there, but they are not a database yet.",
            (f"python -m pipeline publish {folder}",),
        )
    try:
        named = PurePosixPath(str(json.loads(read_plain(pointer, MAX_POINTER))["snapshot"]))
        if named.is_absolute() or ".." in named.parts:
            raise ValueError("it leads out of the folder")
        return folder / named
    except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
        raise SnapshotError(
            "The pointer to the current snapshot cannot be read.",
            f"{pointer}: {type(error).__name__}",
            (f"python -m pipeline publish {folder}",),
        ) from error


def connect(path: str, **settings: str) -> duckdb.DuckDBPyConnection:
    """A read-only, sandboxed connection.

    Args:
        path: the database file.
        settings: that differ from SANDBOX; without effect where this process has the file open.

    Raises:
        SnapshotError: the file cannot be read as a database, or is being written to.
    """
    _without_log(path)
    try:
        return duckdb.connect(path, read_only=True, config={**SANDBOX, **settings})
    except duckdb.Error as error:
        if "different configuration" not in str(error):
            raise explain(error, path) from error
    # This process has the file open, and DuckDB wants that one's settings: the app's, or a figure's.
    try:
        other = {} if settings else ONE_THREAD
        return duckdb.connect(path, read_only=True, config={**SANDBOX, **other})
    except duckdb.Error as error:
        raise explain(error, path) from error


def _without_log(path: str) -> None:
    if os.path.lexists(f"{path}.wal"):  # which DuckDB would replay, and wait for if it is a pipe
        raise SnapshotError(
            "A published snapshot has no write-ahead log beside it.",
            f"{path}.wal is not Stepscope's. Remove it, or publish again.",
            (_publish(path),),
        )


def _publish(path: str) -> str:
    """The command that publishes a snapshot's study again; its results folder holds a folder of snapshots."""
    folder = Path(path).parent
    return f"python -m pipeline publish {shlex.quote(str(folder.parent if folder.name == 'snapshots' else folder))}"  # fmt: skip


def explain(error: duckdb.Error, path: str) -> SnapshotError:
    """What is wrong with a database that DuckDB cannot read, for the reader."""
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
        "This file is not a readable DuckDB database.", f"{path}: {first}", (_publish(path),)
    )


def check(snapshot: Snapshot, ask: Ask) -> None:
    """Make sure that the snapshot has this app's schema.

    Args:
        snapshot: the database to check.
        ask: answers with the rows of app/database/sql/<name>.sql.

    Raises:
        SnapshotError: it is no study, its schema is older or newer, or it cannot be read.
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
            (_publish(snapshot.path),),
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
        (_publish(snapshot.path),),
    )


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


def answer(
    connection: duckdb.DuckDBPyConnection, name: str, parameters: dict[str, Any], scorer: int = 1
) -> pd.DataFrame:
    """The rows of `app/database/sql/<name>.sql`; parameters that it does not use are left out.

    Raises:
        SnapshotError: it needs more memory than a question may use.
    """
    try:
        with connection.cursor() as opened:
            cursor = Cursor(opened, scorer)
            table = None
            if name in from_memory.SUMS:
                arrays = CURVES.setdefault(connection, CurveArrays())
                table = from_memory.answer(arrays, cursor, name, parameters, scorer)
            return cursor.frame(name, parameters) if table is None else table
    except duckdb.OutOfMemoryException as error:
        raise SnapshotError(
            "A question of this page needs more memory than it may use.",
            f"{name}: limit {SANDBOX['memory_limit']}. Fewer models, categories or prompts (a slice) need less.",
        ) from error


def read_ahead() -> None:
    """Read the curves of every open database that was asked for some, so that no reader's first slice waits for them."""
    for connection, arrays in list(CURVES.items()):
        with suppress(duckdb.Error, SnapshotError):  # it may be closed meanwhile, or gone
            with connection.cursor() as cursor:
                path = str(Cursor(cursor).table("path")["path"][0])
            if is_plain(Path(path)):  # a link may have taken the file's place
                with _beside(path) as cursor:
                    from_memory.read_ahead(arrays, Cursor(cursor))


@contextmanager
def _beside(path: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A cursor of an instance of DuckDB that is closed again, in the same sandbox.

    DuckDB keeps what it read of a file while that is open: 230 MB after the curves of 50 million similarities, which
    nobody asks for again once they are arrays.
    """
    later = {name: SANDBOX[name] for name in ("enable_external_access", "lock_configuration")}
    config = {key: value for key, value in SANDBOX.items() if key not in later}
    _without_log(path)
    with duckdb.connect(config={**config, "memory_limit": READING, "threads": "1"}) as instance:
        instance.execute(statement("settings/attach")[0], {"path": path})
        instance.execute(statement("settings/seal")[0])
        with instance.cursor() as cursor:
            cursor.execute(statement("settings/use_attached")[0])
            yield cursor


def source(name: str, scope: Scope) -> str:
    """The file of app/database/sql that answers a question the soonest: from cells, or from trajectories.

    Files of one name in `cells` and beside it take the same parameters and give the same rows.

    Args:
        name: of the question.
        scope: the filters.
    """
    if scope.whole_categories and (SQL / "cells" / f"{name}.sql").exists():
        return f"cells/{name}"
    return name
