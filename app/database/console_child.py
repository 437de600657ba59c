"""The process that answers one statement of the SQL page, then ends: `python -I console_child.py < request > answer`.

It trusts neither the statement nor the snapshot. Before it opens anything it takes away its own means: address space,
processor time, files to write. A statement is parsed by DuckDB, the parse tree is checked against lists of what is
allowed, and the cells are cut by DuckDB before they are converted. Whatever fails, at worst this process ends.

Imports only the standard library, DuckDB and Arrow, so that it starts in 0.2 s; `console` starts it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

if __name__ == "__main__":
    for optional in ("numpy", "pandas"):  # without them it starts in two thirds of the time
        sys.modules[optional] = None  # type: ignore[assignment]

import duckdb
import pyarrow as pa

USE_SCHEMA = "SET schema = $schema"
TREE = "SELECT json_serialize_sql(CAST($sql AS VARCHAR), skip_default := true)"
TABLES = """
SELECT table_name FROM duckdb_tables() WHERE NOT internal
UNION SELECT view_name FROM duckdb_views() WHERE NOT internal
"""
INTERNAL = "SELECT view_name FROM duckdb_views() WHERE internal"

ROWS_AT_ONCE = 256
"""Rows per batch: what is fetched beyond the limit of bytes is at most one batch."""
NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
"""Parts of a query that read."""
SHOWN = frozenset({"tables", "__show_tables_expanded"})
"""What `SHOW ...` may list: `SHOW TABLES` and `SHOW ALL TABLES`."""
AS_IT_IS = frozenset(
    {
        *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"),
        *("FLOAT", "DOUBLE", "HUGEINT"),
    }
)  # fmt: skip
EXACT = 2**53
"""Integers beyond it are shown as text: a browser has no exact number for them."""


class Refused(Exception):
    """A statement that is not run: what the reader is told."""


@dataclass(frozen=True)
class Request:
    """What the child is asked, read from its input as one JSON object.

    Attributes:
        folder: of the snapshot, which becomes the working folder, so that DuckDB never sees its path.
        file: the snapshot's name in it.
        scorer: number of the schema that unqualified names mean; 1 = `main`.
        sql: the reader's text.
        settings: of the connection.
        functions: names of functions that may be called, in lower case.
        views: names of DuckDB's own views that may be read.
        rows, cell, columns: most rows, characters of a cell, columns of the answer.
        answer_bytes: most bytes of the answer.
        memory, files: limits of the process: address space in bytes, open files.
        seconds: of the clock after which the process ends by itself, should nobody end it.
    """

    folder: str
    file: str
    scorer: int
    sql: str
    settings: dict[str, Any]
    functions: list[str]
    views: list[str]
    rows: int
    cell: int
    columns: int
    answer_bytes: int
    memory: int
    seconds: int
    files: int


def main() -> int:
    """Answer the request on the standard input; a refusal is an answer, too."""
    die_with_parent()
    request = Request(**json.load(sys.stdin.buffer))
    limit(request.memory, request.seconds, request.files)
    os.chdir(request.folder)
    sys.stdout.buffer.write(respond(request))
    sys.stdout.buffer.flush()
    return 0


def respond(request: Request) -> bytes:
    """A line of JSON, and the rows as an Arrow stream unless the line holds an error."""
    try:
        head, body = answer(request)
    except (Refused, duckdb.Error, pa.ArrowException, MemoryError, ValueError, OverflowError, RuntimeError) as error:  # fmt: skip
        head, body = {"error": explain(error, request)}, b""
    return json.dumps(head).encode() + b"\n" + body


def die_with_parent() -> None:
    """Let Linux end this process when the thread that started it ends."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 = PR_SET_PDEATHSIG


def limit(memory: int, seconds: int, files: int) -> None:
    """Give up what a statement has no need of, for good: soft and hard limits are set.

    Where a system has no such limits (Windows), DuckDB's own and the time limit of `console` are what is left; macOS
    takes RLIMIT_AS but does not keep to it.
    """
    try:
        import resource
    except ImportError:
        return
    os.nice(10)  # other pages come first
    signal.alarm(seconds)
    wanted = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: 4 * seconds,  # of all threads together
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: files,
        resource.RLIMIT_CORE: 0,
    }
    for which, value in wanted.items():
        try:
            resource.setrlimit(which, (value, value))
        except (ValueError, OSError):
            if sys.platform == "linux":
                raise


def answer(request: Request) -> tuple[dict[str, Any], bytes]:
    """The head (names, types, cut, seconds) and the rows as an Arrow stream.

    Raises:
        Refused: it is not one statement that reads, calls what is not allowed, or has too many columns.
        duckdb.Error: it failed.
    """
    with duckdb.connect(request.file, read_only=True, config=request.settings) as connection:
        if request.scorer > 1:
            connection.execute(USE_SCHEMA, {"schema": f"scorer_{request.scorer:d}"})
        sql = check(connection, request.sql, frozenset(request.functions), frozenset(request.views))
        start = time.perf_counter()
        names, batches = ask(connection, sql, request)
        rows, cut = collect(batches, request.rows, request.answer_bytes)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    head = {"names": names, "cut": cut, "seconds": time.perf_counter() - start}
    return head, sink.getvalue().to_pybytes()


def ask(
    connection: duckdb.DuckDBPyConnection, sql: str, request: Request
) -> tuple[list[str], pa.RecordBatchReader]:
    """Columns c0, c1, ... of a checked statement, with every cell cut; nothing is computed before it is read."""
    relation = connection.sql(sql)
    if len(relation.columns) > request.columns:
        raise Refused(
            f"The answer has {len(relation.columns):,} columns; {request.columns:,} are allowed. Name fewer in SELECT."
        )
    cells = (cut_cell(i, str(kind), request.cell) for i, kind in enumerate(relation.types))
    names = [str(name) for name in relation.columns]
    return names, relation.select(", ".join(cells)).limit(request.rows + 1).to_arrow_reader(ROWS_AT_ONCE)  # fmt: skip


def cut_cell(number: int, kind: str, most: int) -> str:
    """SQL of one cell: numbers as they are, bytes by their number, all else as text of limited length (dates
    too: DuckDB's reach further than Python's).

    Nothing of the reader's goes into this text: columns are named by their number.
    """
    column = f"#{number + 1:d}"
    if kind in AS_IT_IS:
        shown = column
    elif kind.startswith("DECIMAL") and kind.endswith(")"):
        shown = f"CAST({column} AS DOUBLE)"
    elif kind == "BLOB":
        shown = f"format('{{:,}} bytes', octet_length({column}))"
    else:
        # A list is cut before it is written out, which takes several times its memory.
        short = f"{column}[:200]" if kind.endswith("[]") else column
        text = f"CAST({short} AS VARCHAR)"
        shown = f"CASE WHEN length({text}) > {most:d} THEN left({text}, {most:d}) || '…' ELSE {text} END"
    return f"{shown} AS c{number:d}"


def collect(batches: Iterable[pa.RecordBatch], rows: int, most_bytes: int) -> tuple[pa.Table, bool]:
    """At most so many rows and bytes of the batches, and whether there are more."""
    kept: list[pa.RecordBatch] = []
    count = size = 0
    cut = False
    for batch in batches:
        room = fitting(batch, rows - count, most_bytes - size)
        kept.append(batch.slice(0, room))
        count, size = count + room, size + batch.slice(0, room).get_total_buffer_size()
        cut = room < len(batch)
        if cut:
            break
    table = pa.Table.from_batches(kept, batches.schema)  # type: ignore[attr-defined]
    return pa.table([plain(column) for column in table.columns], table.column_names), cut


def fitting(batch: pa.RecordBatch, rows: int, most_bytes: int) -> int:
    """How many of a batch's rows fit."""
    rows = min(len(batch), rows)
    while rows > 0 and batch.slice(0, rows).nbytes > most_bytes:
        rows //= 2
    return rows


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column that a table in a browser can hold: integers that have no exact number there become text."""
    if pa.types.is_decimal(column.type):  # DuckDB's HUGEINT, which sum() gives
        values = [None if v is None else int(v) for v in column.to_pylist()]
    elif pa.types.is_int64(column.type) or pa.types.is_uint64(column.type):
        values = column.to_pylist()
    else:
        return column
    if all(v is None or abs(v) <= EXACT for v in values):
        return pa.chunked_array([pa.array(values, pa.int64())])
    return pa.chunked_array(
        [pa.array([None if v is None else str(v) for v in values], pa.string())]
    )


# Checking


def check(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    functions: frozenset[str],
    views: frozenset[str],
) -> str:
    """The statement without what follows it, once its parse tree holds nothing but what is allowed.

    Args:
        connection: to the snapshot; its tables may be read.
        sql: the reader's text.
        functions: that may be called.
        views: of DuckDB's own that may be read.

    Raises:
        Refused: it is not one SELECT or EXPLAIN, or uses what is not in the lists.
        duckdb.Error: it cannot be parsed.
    """
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise Refused(f"One statement at a time; this has {len(statements)}.")
    words = list(tokens(sql))
    if not words:
        raise Refused("The statement is empty.")
    sql = sql.encode()[: words[-1].end].decode()
    explained = words[0].is_one_of("explain")
    if explained and words[1:] and (words[1].is_one_of("analyze") or words[1].text.startswith("(")):
        raise Refused("EXPLAIN has no options here: EXPLAIN SELECT ...")
    query = with_values(sql.encode()[words[explained].start :].decode())
    nodes = list(objects(parse(connection, query, statements[0].type.name)))
    tables = readable(connection, views) | named_parts(connection, nodes)
    for node in nodes:
        check_node(node, functions, tables)
    return sql


@dataclass(frozen=True)
class Token:
    """A word of a statement: its text as written, its place in bytes, and whether it is a keyword."""

    text: str
    start: int
    end: int
    keyword: bool

    def is_one_of(self, *words: str) -> bool:
        """Whether it is one of these keywords or operators, given in lower case."""
        return self.text.lower() in words


def tokens(sql: str) -> Iterator[Token]:
    """The words of a single statement up to its semicolon, without comments."""
    data = sql.encode()
    words = duckdb.tokenize(sql)
    kinds = duckdb.token_type
    for (start, kind), (end, _) in zip(
        words, [*words[1:], (len(data), kinds.comment)], strict=True
    ):
        text = data[start:end].decode().strip()
        if kind == kinds.operator and text == ";":
            return
        if kind != kinds.comment:
            yield Token(text, start, start + len(text.encode()), kind == kinds.keyword)


def with_values(sql: str) -> str:
    """The statement with values for each column of a `PIVOT ... ON column` that has none; others as they are.

    Without values PIVOT stands for two statements, which DuckDB gives no parse tree of. This text is what is checked:
    it holds all that the reader wrote, and is never run.
    """
    words = list(tokens(sql))
    data, done, parts = sql.encode(), 0, []
    for end in sorted({end for i in range(len(words)) for end in open_columns(words, i)}):
        parts += [data[done:end], b" IN ('')"]
        done = end
    return b"".join([*parts, data[done:]]).decode()


def open_columns(words: list[Token], start: int) -> Iterator[int]:
    """Where the columns without values of the PIVOT at word `start` end; none where another word stands."""
    if not (words[start].keyword and words[start].is_one_of("pivot", "pivot_wider")):
        return
    depth = 0
    last: Token | None = None  # of the column; None before ON
    valued = False
    for word in [*words[start + 1 :], Token(")", 0, 0, False)]:
        depth += word.text.count("(") - word.text.count(")") if not word.keyword else 0
        if depth < 0 or (depth == 0 and last and word.is_one_of(",", "using", "group", "order")):
            if last and not valued:
                yield last.end
            if not word.is_one_of(","):
                return
            valued = False
        elif depth == 0 and word.is_one_of("on"):
            last, valued = word, False
        elif last:
            last, valued = word, valued or (depth == 0 and word.is_one_of("in"))


def parse(connection: duckdb.DuckDBPyConnection, sql: str, kind: str) -> Any:
    """The parse tree of one SELECT, as DuckDB writes it.

    Raises:
        Refused: it is another kind of statement, or cannot be parsed.
    """
    row = connection.execute(TREE, {"sql": sql}).fetchone()
    tree: dict[str, Any] = json.loads(row[0]) if row else {"error": True}
    if not tree.get("error") and len(tree["statements"]) == 1:
        return tree
    if tree.get("error_type") == "not implemented":
        raise Refused(
            f"Only statements that read are run (SELECT, EXPLAIN, but not EXPLAIN ANALYZE); this is {kind}."
        )
    raise Refused(
        f"The statement cannot be parsed: {tree.get('error_message', 'not one statement')}."
    )


def objects(tree: Any) -> Iterator[Mapping[str, Any]]:
    """Every object in a JSON tree."""
    left = [tree]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            yield each
            left.extend(each.values())
        elif isinstance(each, list):
            left.extend(each)


def readable(connection: duckdb.DuckDBPyConnection, views: frozenset[str]) -> set[str]:
    """Names of the snapshot's tables and of DuckDB's own views that may be read, in lower case."""
    tables = connection.execute(TABLES).fetchall()
    return {str(name).lower() for (name,) in tables} | views


def named_parts(
    connection: duckdb.DuckDBPyConnection, nodes: Iterable[Mapping[str, Any]]
) -> set[str]:
    """Names that WITH gives to parts of a query; those of DuckDB's own views stay what they are."""
    parts = {str(node["key"]).lower() for node in nodes if "key" in node and "value" in node}
    if not parts:
        return parts
    internal = connection.execute(INTERNAL).fetchall()
    return parts - {str(name) for (name,) in internal}


def check_node(node: Mapping[str, Any], functions: frozenset[str], tables: set[str]) -> None:
    """Refuse a part of a statement that is not allowed: a function, a table, a parameter, a part that writes."""
    kind = str(node.get("type", ""))
    if kind.endswith("_NODE") and kind not in NODES:
        raise Refused("Only statements that read are run; a part of this one writes.")
    if kind == "VALUE_PARAMETER":
        raise Refused("Parameters ($name, ?) have no value here: write the value itself.")
    if "function_name" in node and str(node["function_name"]).lower() not in functions:
        raise Refused(
            f"The function {str(node['function_name'])[:60]} is not one that this page runs: "
            "it runs those that compute on the study's values."
        )
    if kind == "SHOW_REF" and node.get("show_type") == "SHOW_SPECIAL":
        if str(node.get("table_name", "")).strip('"') not in SHOWN:
            raise Refused("SHOW lists tables: SHOW TABLES, SHOW ALL TABLES, DESCRIBE table.")
    elif kind in {"BASE_TABLE", "SHOW_REF"} and node.get("table_name"):
        check_table(str(node["table_name"]), tables)


def check_table(name: str, tables: set[str]) -> None:
    """Refuse a table that is not the snapshot's, with the name that may have been meant."""
    if name.lower() not in tables:
        close = get_close_matches(name.lower(), tables, 1)
        meant = f' Did you mean "{close[0]}"?' if close else " SHOW TABLES lists them."
        raise Refused(f'This snapshot has no table "{name[:60]}".{meant}')


# Errors


def explain(error: BaseException, request: Request) -> str:
    """What is wrong, in at most six lines, without a path of this machine."""
    if isinstance(error, MemoryError | duckdb.OutOfMemoryException | pa.ArrowMemoryError):
        return "It needs more memory than a statement may use."
    if isinstance(error, RecursionError):
        return "It is nested too deeply."
    text = "\n".join(list(without_numbers(str(error).splitlines()))[:6]) or type(error).__name__
    return text if request.folder in request.sql else text.replace(request.folder, "")


def without_numbers(lines: Iterable[str]) -> Iterator[str]:
    """An error's lines; where one quotes the statement, without a line's number, which counts lines of DuckDB's own."""
    shift = 0
    for line in lines:
        if number := re.match(r"LINE \d+: ", line):
            shift = number.end()
            yield line[shift:]
        elif line.strip():
            yield line[shift:] if line.strip().strip("^") == "" else line


if __name__ == "__main__":
    sys.exit(main())
