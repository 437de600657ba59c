"""Questions to a study's snapshot, cached for the dashboard: the SQL files of app/database/sql.

The pointer to the current snapshot is read anew on every rerun, so a new snapshot is picked up
without a restart; what is cached is keyed by the snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, cast

import duckdb
import numpy as np
import pandas as pd
import streamlit as st

from app.analysis import trajectories
from app.database import snapshots
from app.database.snapshots import (
    SANDBOX,
    SCHEMA_VERSION,
    TABLES,
    Scope,
    Snapshot,
    SnapshotError,
    find,
    find_studies,
    locate,
)
from app.database.statements import statement
from app.ui.answers import Answers

__all__ = [
    "SANDBOX",
    "SCHEMA_VERSION",
    "TABLES",
    "Scope",
    "Snapshot",
    "SnapshotError",
    "arrive",
    "ask",
    "ask_scope",
    "check",
    "curves",
    "find",
    "find_studies",
    "key",
    "locate",
    "paired_grid",
    "scorers",
]

# Rows are small (a page reads a few thousand); images make up most of the bytes, hence a bound on size too.
ANSWERS = Answers(512, 256 * 2**20)
LONG = 64  # ids in a list from which on it is kept as bytes


def _is_current(connection: tuple[duckdb.DuckDBPyConnection, Snapshot]) -> bool:
    path = Path(connection[1].path)
    if not path.is_file():
        return False
    status = path.stat()
    return connection[1].stamp == f"{status.st_mtime_ns}-{status.st_size}"


@st.cache_resource(
    max_entries=4,
    show_spinner=False,
    validate=_is_current,
    on_release=lambda connection: connection[0].close(),
)
def _connect(path: str) -> tuple[duckdb.DuckDBPyConnection, Snapshot]:
    status = Path(path).stat()
    return snapshots.connect(path), Snapshot(path, f"{status.st_mtime_ns}-{status.st_size}")


def check(snapshot: Snapshot) -> None:
    """Make sure that the snapshot has this app's schema.

    Raises:
        SnapshotError: it is no study, its schema is older or newer, or it cannot be read.
    """
    snapshots.check(snapshot, partial(ask, snapshot))


def scorers(snapshot: Snapshot) -> dict[str, int]:
    """The study's scorers, the primary one first: name -> number; none where there is only one."""
    return snapshots.scorers(partial(ask, snapshot))


def ask(snapshot: Snapshot, name: str, **parameters: Any) -> pd.DataFrame:
    """The rows of `app/database/sql/<name>.sql`.

    Args:
        snapshot: the database to ask, and whose scorer's numbers.
        name: the SQL file; its first comment says what a row is.
        parameters: values of its `$named` parameters; those it does not use are left out.
    """
    _, wanted = statement(name)
    values = {k: _frozen(v) for k, v in sorted(parameters.items()) if k in wanted}
    question = (snapshot, name, *((k, type(v), v) for k, v in values.items()))  # 1 is not True
    with _waiting():
        return cast(pd.DataFrame, ANSWERS.get(question, lambda: _ask(snapshot, name, values)))


def arrive(view: str) -> None:
    """Note which view the reader looks at, so that its first answers can be waited for."""
    st.session_state["_first_look"] = st.session_state.get("_view") != view
    st.session_state["_view"] = view


def _waiting() -> AbstractContextManager[None]:
    """A spinner where the answer will stand, if it takes half a second and nothing stands there yet.

    On later runs the old chart stays in its place, faded, until the new one replaces it: a spinner above
    it would push the page down and up again.
    """
    first = st.session_state.get("_first_look", False)
    return st.spinner("Asking the snapshot…") if first else nullcontext()


def _frozen(value: Any) -> Any:
    """A parameter as a key of the cache: a list as a tuple, a long one of ids (the prompts of a slice) as its bytes."""
    if not isinstance(value, list | tuple):
        return value
    if len(value) > LONG and isinstance(value[0], int):
        return np.asarray(value, np.int64).tobytes()
    return tuple(value)


def _thawed(value: Any) -> Any:
    """The inverse of `_frozen`: a list again."""
    if isinstance(value, bytes):
        return np.frombuffer(value, np.int64).tolist()
    return list(value) if isinstance(value, tuple) else value


def _ask(snapshot: Snapshot, name: str, parameters: Mapping[str, Any]) -> pd.DataFrame:
    connection, _ = _connect(snapshot.path)
    values = {key: _thawed(value) for key, value in parameters.items()}
    return snapshots.answer(connection, name, values, snapshot.scorer)


def ask_scope(snapshot: Snapshot, name: str, scope: Scope, **parameters: Any) -> pd.DataFrame:
    """Like `ask`, with the scope's filters as parameters, from the soonest source; `parameters` override them."""
    return ask(snapshot, snapshots.source(name, scope), **{**scope.parameters(), **parameters})


def key(scope: Scope) -> tuple[Any, ...]:
    """A scope as a key of the caches."""
    return tuple(_frozen(value) for value in scope.parameters().values())


def curves(
    snapshot: Snapshot, scope: Scope, concepts: Iterable[int], *, named: bool = False
) -> pd.DataFrame:
    """Mean similarity per (model, concept, step) with its interval over prompts.

    Seeds are averaged within a prompt first.

    Args:
        snapshot: the database to ask.
        scope: the filters.
        concepts: concept_id; 0 is the whole prompt.
        named: only prompts whose text names the concept.

    Returns:
        model_id, concept_id, step, prompts, samples, mean, sd, r_final; low and high are 95 % t
        intervals.
    """
    return trajectories.curves(partial(ask_scope, snapshot), scope, concepts, named=named)


def paired_grid(
    snapshot: Snapshot,
    scope: Scope,
    baseline: int,
    candidates: Iterable[int],
    *,
    named: bool = True,
    axis: str = "log_snr",
) -> pd.DataFrame:
    """Moments of the paired differences to the baseline per (candidate, concept, step); see the SQL."""
    study = ask(snapshot, "study").iloc[0]
    complete = bool(study["done_samples"] == study["planned_samples"])
    return trajectories.paired_grid(
        partial(ask_scope, snapshot),
        scope,
        baseline,
        list(candidates),
        complete=complete,
        named=named,
        axis=axis,
    )
