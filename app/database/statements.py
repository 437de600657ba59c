"""The SQL files of the dashboard, the macros that they use, and how a cursor runs one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa

SQL = Path(__file__).resolve().parent / "sql"
BATCH = 50_000  # rows
LISTS = {
    "slice",
    "ids",
}  # of prompts, which statements cast: a long one takes half of the time as one text


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


class Cursor:
    """Runs the SQL files by one cursor, on which each macro is created when a statement first uses it.

    Args:
        cursor: without macros yet.
        scorer: whose numbers the names of tables mean.
    """

    def __init__(self, cursor: duckdb.DuckDBPyConnection, scorer: int = 1) -> None:
        self._cursor = cursor
        self._macros: set[str] = set()
        use_scorer(cursor, scorer)

    def frame(self, name: str, parameters: Mapping[str, Any]) -> pd.DataFrame:
        """The rows of `app/database/sql/<name>.sql`; parameters that it does not use are left out."""
        text, values = self._prepared(name, parameters)
        return self._cursor.execute(text, values).df()

    def batches(self, name: str, **parameters: Any) -> pa.RecordBatchReader:
        """The rows of `app/database/sql/arrays/<name>.sql`, in batches."""
        text, values = self._prepared(f"arrays/{name}", parameters)
        return self._cursor.sql(text, params=values).to_arrow_reader(BATCH)

    def table(self, name: str, **parameters: Any) -> pa.Table:
        """The rows of `app/database/sql/arrays/<name>.sql`."""
        return self.batches(name, **parameters).read_all()

    def _prepared(self, name: str, parameters: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        for macro in macros(name):
            if macro not in self._macros:
                text, _ = statement(macro)
                self._cursor.execute(text)
                self._macros.add(macro)
        text, wanted = statement(name)
        values = {key: value for key, value in parameters.items() if key in wanted}
        for name in LISTS & values.keys():
            if prompts := values[name]:
                values[name] = f"[{','.join(str(int(each)) for each in prompts)}]"
        return text, values
