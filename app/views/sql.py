"""SQL: a question of one's own, read-only, with a link to it."""

from __future__ import annotations

from typing import Any

import altair as alt
import console
import controls
import pandas as pd
import queries
import streamlit as st
from console import Answer, ConsoleError
from controls import BIND, Page
from snapshots import Snapshot

MOST_POINTS = 5000


def show(page: Page) -> None:
    """The whole view."""
    controls.header(
        "SQL", "A question of your own to the snapshot. The link in the address bar holds it."
    )
    # The statement stands alone: cards stretch, and in a column with them it is squeezed to a line.
    sql = editor()
    left, right = st.columns([3, 1])
    with right:
        schema(page)
    with left:
        if not sql.strip():
            st.caption("Write a statement, or take an example.")
            return
        try:
            answer = run(page.snapshot, sql)
        except ConsoleError as error:
            with st.container(border=True, key="sql_error"):
                st.markdown(":material/error: **The statement was not answered.**")
                st.code(str(error), language=None, wrap_lines=True)
            return
        result(answer)


@st.cache_data(max_entries=64, max_size="64MB", show_spinner="Asking …")
def run(snapshot: Snapshot, sql: str) -> Answer:
    """The answer; the same question to the same snapshot is asked once."""
    return console.run(snapshot, sql)


def editor() -> str:
    """The statement, and examples to start from."""
    with st.container(horizontal=True, gap="small"):
        for place, example in enumerate(console.EXAMPLES):
            st.button(
                example.title, key=f"example_{place}", on_click=_take, args=(example.sql,),
                type="tertiary", icon=":material/lightbulb:",
            )  # fmt: skip
    sql = st.text_area(
        "Statement",
        value=console.EXAMPLES[0].sql,
        key="q",
        bind=BIND,
        height=150,
        max_chars=console.LONGEST,
        help=f"DuckDB's SQL: one SELECT. Read-only, no files, no network; {console.SECONDS:g} s, 1 GB and "
        f"{console.ROWS:,} rows at most. Ctrl + Enter runs it.",
    )
    return str(sql or "")


def _take(sql: str) -> None:
    st.session_state["q"] = sql


def result(answer: Answer) -> None:
    """The rows as table, chart and CSV."""
    with controls.card("Answer", key="answer", data=answer.rows):
        more = f"; the first {len(answer.rows):,} of more" if answer.cut else ""
        st.caption(f"{controls.count(len(answer.rows), 'row')}{more}, {answer.seconds:.2f} s")
        st.dataframe(answer.rows, hide_index=True, alt="The answer's rows")
    numbers = [c for c in answer.rows if pd.api.types.is_numeric_dtype(answer.rows[c])]
    if numbers and len(answer.rows) > 1:
        chart(answer.rows, numbers)


def chart(rows: pd.DataFrame, numbers: list[str]) -> None:
    """The rows as lines, bars or points."""
    names = list(rows.columns)
    with controls.card("Chart", key="chart"):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            kind = st.segmented_control(
                "Marks",
                ["Bars", "Lines", "Points"],
                default="Bars",
                required=True,
                key="marks",
                bind=BIND,
            )
            x = _pick("Horizontal", names, "chart_x")
            y = _pick("Vertical", numbers[::-1], "chart_y")
            by = _pick("Colour", ["(none)", *names], "chart_by")
        # Columns are numbered for Vega-Lite: a name such as "a.b[0]" means something to it.
        places = {name: f"c{i}" for i, name in enumerate(names)}
        drawn = rows.head(MOST_POINTS).rename(columns=places)
        encodings: dict[str, Any] = {
            "x": alt.X(
                f"{places[x]}:{'Q' if x in numbers and kind != 'Bars' else 'N'}", title=x, sort=None
            ),
            "y": alt.Y(f"{places[y]}:Q", title=y),
            "tooltip": [alt.Tooltip(f"{places[n]}:N", title=n) for n in names[:8]],
        }
        if by != "(none)":
            encodings["color"] = alt.Color(f"{places[by]}:N", title=by)
        base = alt.Chart(drawn)
        marked = {"Bars": base.mark_bar, "Lines": base.mark_line, "Points": base.mark_point}
        drawn_chart = marked[kind or "Bars"]().encode(**encodings).properties(height=300)
        controls.draw(drawn_chart, key="sql", alt="Chart of the answer")


def _pick(label: str, options: list[str], key: str) -> str:
    """One of the answer's columns, kept in the link; the first where another answer lacks the one chosen."""
    if key in st.session_state and st.session_state[key] not in options:
        # Set, not dropped: the browser would go on showing the old one.
        st.session_state[key] = options[0]
    chosen = st.selectbox(label, options, key=key, bind=BIND, width=180)
    return chosen if chosen in options else options[0]


def schema(page: Page) -> None:
    """Tables and their columns."""
    columns = queries.ask(page.snapshot, "columns")
    with controls.card(
        "Tables", key="schema", data=columns, help="Units are in pipeline/database/schema.sql."
    ):
        tables = columns.drop_duplicates("table_name").set_index("table_name")["rows"]
        table = st.selectbox(
            "Table",
            list(tables.index),
            format_func=lambda t: f"{t} ({int(tables[t]):,} rows)",
            key="table",
            bind=BIND,
        )
        own = columns[columns["table_name"] == table]
        st.dataframe(
            own[["column_name", "data_type"]],
            hide_index=True,
            alt="Columns of the table",
            column_config={"column_name": "Column", "data_type": "Type"},
        )
        if page.scorers:
            places = ", ".join(f"{_schema(n)} = {name}" for name, n in page.scorers.items())
            st.caption(
                f"Names without a schema mean the scorer chosen. All of them: {controls.plain(places)}."
            )


def _schema(scorer: int) -> str:
    return "main" if scorer == 1 else f"scorer_{scorer}"


show(controls.current())
