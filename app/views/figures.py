"""Figures: what is seen here, as a paper prints it, with all that belongs to it."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from app.analysis import slices
from app.database.snapshots import Snapshot
from app.figures import typeset
from app.figures.kinds import KINDS
from app.figures.source import Choice, FigureError, FigureStudy, NotMeasured, study_of
from app.ui import cards, figure_controls, figure_gallery, links, queries, text
from app.ui.page import BIND, Page, current, header

FILES = {
    "pdf": ("PDF", "application/pdf"),
    "svg": ("SVG", "image/svg+xml"),
    "png": ("PNG, 300 ppi", "image/png"),
    "csv": ("Data as CSV", "text/csv"),
    "table.tex": ("Table (booktabs)", "text/plain"),
    "tex": ("LaTeX figure", "text/plain"),
    "vl.json": ("Vega-Lite", "application/json"),
    "caption.txt": ("Caption", "text/plain"),
    "manifest.json": ("Manifest", "application/json"),
}


def show(page: Page) -> None:
    """The gallery, or the figure that the link names."""
    if not any(key in st.query_params for key in ("figure", "venue", "columns")):
        header("Figures", "Figures for papers: choose one of those that this study has data for.")
        try:
            figure_gallery.show(study_by(page, filters(page)))
        except FigureError as error:
            cards.empty(text.plain(str(error)), "Change a filter.")
        return
    if st.button("All figures", icon=":material/arrow_back:", type="tertiary", key="all_figures"):
        links.switch_page("views/figures.py")
    header("Figures", "The figure that goes into the paper, and the command that reproduces it.")
    name, venue, columns = options()
    try:
        choice = choose(page, name)
        bundle = make(page.snapshot, str(page.path), name, venue, columns, choice)
    except NotMeasured as error:
        cards.empty(text.plain(error.what), text.plain(error.advice), icon=":material/science_off:")
        return
    except FigureError as error:
        cards.empty(text.plain(str(error)), "Change a filter or a choice above.")
        return
    left, right = st.columns([3, 2])
    with left:
        preview(bundle, name)
    with right:
        downloads(bundle, name)
        again(bundle)
    numbers(bundle, name)


def options() -> tuple[str, str, int]:
    """Which figure, for whom, how wide."""
    names = {name: figure_gallery.title_of(kind) for name, kind in KINDS.items()}
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        name = st.selectbox(
            "Figure",
            list(KINDS),
            index=list(KINDS).index("concept-curves"),
            format_func=lambda n: names[n],
            key="figure",
            bind=BIND,
            width=380,
        )
        venue = st.selectbox(
            "Venue",
            list(typeset.VENUES),
            format_func=lambda v: typeset.VENUES[v].name,
            key="venue",
            bind=BIND,
            width=140,
            help="Column width and base size of the type.",
        )
        columns = st.segmented_control(
            "Columns",
            [1, 2],
            default=1,
            required=True,
            key="columns",
            bind=BIND,
            help="How many columns of the page it spans. NeurIPS and ICLR have one: 5.5 in.",
        )
    return str(name), str(venue), int(columns or 1)


def filters(page: Page) -> Choice:
    """The filters of the bar at the top, as an author's choice."""
    scope = page.scope
    labels = page.models["label"].tolist()
    families = tuple(page.families)
    every_family = set(page.every_concept["family"])
    return Choice(
        models=() if len(page.models) == len(page.every_model) else tuple(labels),
        families=() if set(families) == every_family else families,
        categories=() if len(scope.categories) == scope.total_categories else scope.categories,
        seeds=() if scope.every_seed else scope.seeds,
        scorer=page.scorer,
        metric=scope.metric,
        slice=slices.tokens({key: st.session_state.get(key) for key in slices.KEYS}),
    )


def choose(page: Page, name: str) -> Choice:
    """The filters of the bar at the top, and what this figure can be told."""
    held = filters(page)
    chosen = figure_controls.choose(
        partial(study_by, page), KINDS[name], held, page.label(page.baseline)
    )
    return replace(held, **chosen)


def study_by(page: Page, choice: Choice) -> FigureStudy:
    """The page's study by a choice, whose questions are cached."""
    return study_of(str(page.path), page.snapshot, partial(queries.ask, page.snapshot), choice)


@st.cache_data(max_entries=64, max_size="128MB", show_spinner="Setting the figure …")
def make(
    snapshot: Snapshot, path: str, name: str, venue: str, columns: int, choice: Choice
) -> dict[str, Any]:
    """The files of a figure, its rows, its table and its size."""
    from app.figures import export  # the typesetter, which the gallery need not wait for

    study = study_of(path, snapshot, partial(queries.ask, snapshot), choice)
    figure = export.export(study, KINDS[name], venue, columns)
    return {
        "files": figure.files,
        "data": figure.figure.data,
        "table": figure.figure.table,
        "caption": figure.figure.caption,
        "command": export.command(study, KINDS[name], venue, columns),
        "size": (figure.printed.width, figure.printed.height),
    }


def preview(bundle: dict[str, Any], name: str) -> None:
    """The figure as it prints, with its caption."""
    width, height = bundle["size"]
    with cards.card(KINDS[name].title, key="figure"):
        st.image(bundle["files"][f"{name}.png"], alt=KINDS[name].title, width="stretch")
        st.caption(text.plain(bundle["caption"]))
        st.caption(f"{width:.2f} × {height:.2f} in, white as paper is.")


def downloads(bundle: dict[str, Any], name: str) -> None:
    """Every file by itself, and all of them."""
    with cards.card(
        "Files", key="files", help="SVG, PNG and CSV are the same to the byte on every run."
    ):
        st.download_button(
            "All files",
            data=lambda: zipped(bundle["files"]),
            file_name=f"{name}.zip",
            mime="application/zip",
            on_click="ignore",
            icon=":material/folder_zip:",
            key="all_files",
        )
        with st.container(horizontal=True, gap="small"):
            for ending, (label, mime) in FILES.items():
                data = bundle["files"].get(f"{name}.{ending}")
                if data is not None:
                    st.download_button(
                        label,
                        data=data,
                        file_name=f"{name}.{ending}",
                        mime=mime,
                        on_click="ignore",
                        key=f"file_{ending}",
                    )


def zipped(files: dict[str, bytes]) -> bytes:
    """The files in one archive, the same to the byte on every run but for the PDF."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def again(bundle: dict[str, Any]) -> None:
    """How to make it from the shell."""
    import shlex

    with cards.card("Reproduce", key="again"):
        st.code(shlex.join(bundle["command"]), language=None, wrap_lines=True)


def numbers(bundle: dict[str, Any], name: str) -> None:
    """The table that the figure is, or the rows that it shows."""
    table: pd.DataFrame | None = bundle["table"]
    with cards.card("The numbers", key="numbers", data=bundle["data"]):
        st.dataframe(
            bundle["data"] if table is None else table, hide_index=True, alt="The figure's numbers"
        )


show(current())
