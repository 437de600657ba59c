"""The SQL files of the dashboard, the macros that they use, and how a cursor runs one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

SQL = Path(__file__).resolve().parent / "sql"
BATCH = 50_000  # rows


@lru_cache(maxsize=256)
def statement(name: str) -> tuple[str, frozenset[str]]:
    """The text of `app/database/sql/<name>.sql` and the names of its parameters."""
    text = (SQL / f"{name}.sql").read_text(encoding="utf-8")
    return text, frozenset(re.findall(r"\$([a-z_]+)", text))


@lru_cache(maxsize=256)
def macros(name: str) -> tuple[str, ...]:
    """The macros of `app/database/sql/macros` that a statement uses, in the order in which they are created.

    Temporary macros belong to one cursor, not to the read-only file, and creating one takes 0.5 ms: each cursor
    creates those that its statement uses and no other.
    """
    names: list[str] = []
    for macro in sorted(path.stem for path in (SQL / "macros").glob("*.sql")):
        if f"macros/{macro}" != name and re.search(rf"\b{macro}\(", statement(name)[0]):
            names += [*macros(f"macros/{macro}"), f"macros/{macro}"]
    return tuple(dict.fromkeys(names))


def every_macro() -> tuple[str, ...]:
    """All macros of `app/database/sql/macros`, each after those that it uses."""
    each = (f"macros/{path.stem}" for path in sorted((SQL / "macros").glob("*.sql")))
    return tuple(dict.fromkeys(name for macro in each for name in (*macros(macro), macro)))


def use_scorer(connection: duckdb.DuckDBPyConnection, scorer: int) -> None:
    """Let a connection's, or a cursor's, table names mean a scorer's; 1 is what they mean anyway."""
    if scorer > 1:
        connection.execute(statement("settings/use_scorer")[0], {"schema": f"scorer_{scorer:d}"})


def prepared(
    cursor: duckdb.DuckDBPyConnection, name: str, parameters: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """A statement's text and those of the parameters that it uses; the macros that it needs are created, once a cursor."""
    for text, _ in map(statement, macros(name)):
        cursor.execute(text)
    text, wanted = statement(name)
    values = {key: value for key, value in parameters.items() if key in wanted}
    if values.get(
        "slice"
    ):  # the macro casts it: thousands of numbers take half of the time as one text
        values["slice"] = f"[{','.join(str(int(each)) for each in values['slice'])}]"
    return text, values


class Fetch:
    """Reads files of `app/database/sql/arrays` by one cursor.

    Args:
        cursor: without macros yet.
    """

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor
        self._macros: set[str] = set()

    def __call__(self, name: str, **parameters: Any) -> pa.RecordBatchReader:
        """The rows of a file, in batches."""
        name = f"arrays/{name}"
        for macro in macros(name):
            if macro not in self._macros:
                text, _ = statement(macro)
                self._cursor.execute(text)
                self._macros.add(macro)
        text, wanted = statement(name)
        values = {key: value for key, value in parameters.items() if key in wanted}
        return self._cursor.sql(text, params=values).to_arrow_reader(BATCH)
