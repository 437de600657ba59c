"""SQL: a statement of the reader's own, read-only, with a link to it."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app.database import console
from app.database.console import Answer, ConsoleError
from app.database.snapshots import Snapshot
from app.ui import cards, drawing, queries, text
from app.ui.page import BIND, Page, current, header

MOST_POINTS = 5000
RAN = "sql_ran"
"""In the session: the statement that the reader ran last."""


OFF = "This dashboard was started with --no-sql: it answers no statements of its readers."


def show(page: Page) -> None:
    """The whole view."""
    header(
        "SQL", "Query this snapshot. The address holds the statement; it runs when you press Run."
    )
    if console.turned_off():
        st.info(OFF, icon=":material/block:")
        return
    # The statement stands alone: cards stretch, and in a column with them it is squeezed to a line.
    sql = editor()
    left, right = st.columns([3, 1])
    with right:
        schema(page)
    with left:
        asked = st.session_state.get(RAN, "")
        if not asked.strip():
            st.caption("Press Run to run the statement, or choose an example.")
            return
        if asked != sql:
            st.caption(
                "This is the answer to the statement run before. Press Run to run the one above."
            )
        for example in console.EXAMPLES:
            if example.sql == asked:
                st.caption(f"{example.title}: {example.says}")
        answer_to(page.snapshot, asked)


def answer_to(snapshot: Snapshot, sql: str) -> None:
    """Wait for the answer and show it, or why there is none."""
    slot = st.empty()
    try:
        # Each caption lets Streamlit stop this page when its reader leaves or changes something, and the statement with it.
        answer = console.ANSWERS.of(snapshot, sql, lambda state: _tell(slot, state))
    except ConsoleError as error:
        with slot.container(border=True, key="sql_error"):
            st.markdown(":material/error: **The statement was not answered.**")
            st.code(str(error), language=None, wrap_lines=True)
        return
    slot.empty()
    result(answer)


def _tell(slot: DeltaGenerator, state: str) -> None:
    slot.caption(f":material/hourglass_top: {state} …")


def editor() -> str:
    """The statement, and examples to start from. A link fills it; only its reader runs it."""
    with st.container(horizontal=True, gap="small"):
        for number, example in enumerate(console.EXAMPLES):
            st.button(
                example.title, key=f"example_{number}", on_click=_take, args=(example.sql,),
                type="tertiary", icon=":material/lightbulb:", help=example.says,
            )  # fmt: skip
    with st.form("statement", border=False):
        sql = st.text_area(
            "Statement",
            value=console.EXAMPLES[0].sql,
            key="q",
            bind=BIND,
            height=150,
            max_chars=console.LONGEST,
            help="DuckDB's SQL: one SELECT, or EXPLAIN of one. It reads this snapshot and no file; at most "
            f"{console.SECONDS:g} s, {console.MEMORY >> 30} GB and {console.ROWS:,} rows. Ctrl + Enter runs it.",
        )
        st.form_submit_button("Run", key="run", icon=":material/play_arrow:", on_click=_run)
    return str(sql or "")


def _take(sql: str) -> None:
    st.session_state["q"] = sql
    _run()


def _run() -> None:
    """What the reader asks for; kept, so that the answer stays while its chart is changed."""
    st.session_state[RAN] = st.session_state["q"] or ""


def result(answer: Answer) -> None:
    """The rows as table, chart and CSV."""
    with cards.card("Answer", key="answer", data=answer.rows):
        more = f"; the first {len(answer.rows):,} of more" if answer.cut else ""
        st.caption(f"{text.count(len(answer.rows), 'row')}{more}, {answer.seconds:.2f} s")
        st.dataframe(answer.rows, hide_index=True, alt="The answer's rows")
    numbers = [c for c in answer.rows if pd.api.types.is_numeric_dtype(answer.rows[c])]
    if numbers and len(answer.rows) > 1:
        chart(answer.rows, numbers)


def chart(rows: pd.DataFrame, numbers: list[str]) -> None:
    """The rows as lines, bars or points."""
    names = list(rows.columns)
    with cards.card("Chart", key="chart"):
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
        fields = {name: f"c{i}" for i, name in enumerate(names)}
        drawn = rows.head(MOST_POINTS).rename(columns=fields)
        encodings: dict[str, Any] = {
            "x": alt.X(
                f"{fields[x]}:{'Q' if x in numbers and kind != 'Bars' else 'N'}", title=x, sort=None
            ),
            "y": alt.Y(f"{fields[y]}:Q", title=y),
            "tooltip": [alt.Tooltip(f"{fields[n]}:N", title=n) for n in names[:8]],
        }
        if by != "(none)":
            encodings["color"] = alt.Color(f"{fields[by]}:N", title=by)
        base = alt.Chart(drawn)
        marked = {"Bars": base.mark_bar, "Lines": base.mark_line, "Points": base.mark_point}
        drawn_chart = marked[kind or "Bars"]().encode(**encodings).properties(height=300)
        drawing.draw(drawn_chart, key="sql", alt="Chart of the answer")


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
    with cards.card(
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
        rows = columns[columns["table_name"] == table]
        st.dataframe(
            rows[["column_name", "data_type"]],
            hide_index=True,
            alt="Columns of the table",
            column_config={"column_name": "Column", "data_type": "Type"},
        )
        if page.scorers:
            schemas = ", ".join(f"{_schema(n)} = {name}" for name, n in page.scorers.items())
            st.caption(
                f"Names without a schema mean the scorer chosen. All of them: {text.plain(schemas)}."
            )


def _schema(scorer: int) -> str:
    return "main" if scorer == 1 else f"scorer_{scorer}"


show(current())
