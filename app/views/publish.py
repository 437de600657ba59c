"""Figures: what is seen here, as a paper prints it, with all that belongs to it."""

from __future__ import annotations

import io
import zipfile
from functools import partial
from typing import Any

import controls
import figures
import pandas as pd
import queries
import slices
import streamlit as st
import typeset
from controls import BIND, Page
from figure_study import Choice, FigureError, FigureStudy, NotMeasured
from figures import KINDS
from snapshots import Snapshot

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
    """The whole view."""
    controls.header(
        "Figures", "The figure that goes into the paper, and the command that makes it again."
    )
    name, venue, columns = options()
    choice = chosen(page, name)
    try:
        made = make(page.snapshot, str(page.place), name, venue, columns, choice)
    except NotMeasured as error:
        controls.empty(
            controls.plain(error.what), controls.plain(error.advice), icon=":material/science_off:"
        )
        return
    except FigureError as error:
        controls.empty(controls.plain(str(error)), "Change a filter or a choice above.")
        return
    left, right = st.columns([3, 2])
    with left:
        preview(made, name)
    with right:
        downloads(made, name)
        again(made)
    numbers(made, name)


def options() -> tuple[str, str, int]:
    """Which figure, for whom, how wide."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        titles = {f"{kind.group}: {kind.title}": name for name, kind in KINDS.items()}
        names = {name: title for title, name in titles.items()}
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


def chosen(page: Page, name: str) -> Choice:
    """The filters of the sidebar, and what else this figure can be told."""
    labels = page.models["label"].tolist()
    texts = queries.ask_scope(page.snapshot, "prompt_options", page.scope)
    prompts = {
        str(i): f"{i}: {controls.shorten(t, 60)}"
        for i, t in zip(texts["prompt_id"], texts["text"], strict=True)
    }
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        baseline = st.selectbox(
            "Baseline, or the model shown", labels, key="baseline", bind=BIND, width=240
        )
        shown = st.multiselect(
            "Prompts",
            list(prompts),
            format_func=lambda i: prompts[i],
            key="prompts",
            bind=BIND,
            placeholder="The first that have what is shown",
            help="For figures made of images and maps.",
            width=380,
        )
        concepts = st.multiselect(
            "Concepts",
            page.concepts["name"].tolist(),
            key="concept_names",
            bind=BIND,
            placeholder="Those that rise most",
            help="For curves, heat map and emergence.",
            width=300,
        )
    whole = (len(page.models) == len(page.every_model), set(page.concepts["family"]))
    families = tuple(dict.fromkeys(page.concepts["family"]))
    every = set(queries.ask(page.snapshot, "concepts").query("concept_id > 0")["family"])
    return Choice(
        models=() if whole[0] else tuple(labels),
        families=() if whole[1] == every else families,
        categories=()
        if len(page.scope.categories) == page.scope.total_categories
        else page.scope.categories,
        seeds=() if len(page.scope.seeds) == page.scope.total_seeds else page.scope.seeds,
        concepts=tuple(concepts),
        prompts=tuple(shown),
        baseline=str(baseline) if baseline and baseline != labels[0] else "",
        scorer=page.scorer,
        slice=slices.tokens({key: st.session_state.get(key) for key in slices.KEYS}),
    )


@st.cache_data(max_entries=64, max_size="128MB", show_spinner="Setting the figure …")
def make(
    snapshot: Snapshot, place: str, name: str, venue: str, columns: int, choice: Choice
) -> dict[str, Any]:
    """The files of a figure, its rows, its table and its size."""
    study = FigureStudy(place, snapshot, partial(queries.ask, snapshot), choice)
    made = figures.export(study, KINDS[name], venue, columns)
    return {
        "files": made.files,
        "data": made.figure.data,
        "table": made.figure.table,
        "caption": made.figure.caption,
        "command": figures.command(study, KINDS[name], venue, columns),
        "size": (made.printed.width, made.printed.height),
    }


def preview(made: dict[str, Any], name: str) -> None:
    """The figure as it prints, with its caption."""
    width, height = made["size"]
    with controls.card(KINDS[name].title, key="figure"):
        st.image(made["files"][f"{name}.png"], alt=KINDS[name].title, width="stretch")
        st.caption(controls.plain(made["caption"]))
        st.caption(f"{width:.2f} × {height:.2f} in, white as paper is.")


def downloads(made: dict[str, Any], name: str) -> None:
    """Every file by itself, and all of them."""
    with controls.card(
        "Files", key="files", help="SVG, PNG and CSV are the same to the byte on every run."
    ):
        st.download_button(
            "All files",
            data=lambda: zipped(made["files"]),
            file_name=f"{name}.zip",
            mime="application/zip",
            on_click="ignore",
            icon=":material/folder_zip:",
            key="all_files",
        )
        with st.container(horizontal=True, gap="small"):
            for ending, (label, mime) in FILES.items():
                data = made["files"].get(f"{name}.{ending}")
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


def again(made: dict[str, Any]) -> None:
    """How to make it from the shell."""
    import shlex

    with controls.card("Make it again", key="again"):
        st.code(shlex.join(made["command"]), language=None, wrap_lines=True)


def numbers(made: dict[str, Any], name: str) -> None:
    """The table that the figure is, or the rows that it shows."""
    table: pd.DataFrame | None = made["table"]
    with controls.card("The numbers", key="numbers", data=made["data"]):
        st.dataframe(
            made["data"] if table is None else table, hide_index=True, alt="The figure's numbers"
        )


show(controls.current())
