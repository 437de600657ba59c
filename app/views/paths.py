"""Paths: how images form in CLIP space, and at which steps their spatial frequencies gain power."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from app.analysis import paths as analysis
from app.analysis.reading import NO_CATEGORY
from app.charts.axes import AXES, Axis
from app.charts.curves import curves
from app.charts.paths import component_titles
from app.charts.paths import paths as path_chart
from app.charts.style import COLOURS as HUES
from app.charts.style import model_scales
from app.ui import cards, choices, drawing
from app.ui.page import BIND, Page, current, header
from app.ui.text import count, legend

MOST_PATHS = 40
MOST_GROUPS = 6
REST = "(other)"
PATH_HELP = (
    "CLIP embeddings of the predicted clean image at each step, on the two principal components of the whole "
    "study (fitted once). A path runs from noise to the image; images that CLIP finds similar are close together."
)
SPECTRUM_HELP = (
    "Radial power spectrum of the predicted clean image's brightness: log10 of the mean power in a band of spatial "
    "frequencies. Low bands are layout, high bands are fine detail. 0.5 cycles per pixel is the highest frequency."
)
COLOURS = ("Model", "Category", "Concept")


def show(page: Page) -> None:
    """The whole view."""
    header("Paths", "How do images form in CLIP space, and at which steps does detail form?")
    means, bands = analysis.means(page.ask_scope), analysis.spectrum(page.ask_scope)
    if means.empty and bands.empty:
        cards.empty(
            "No paths or spectra within these filters.",
            "Clear a filter, or add embeddings = true and spectrum = true to the measures of "
            "the study file and run it again.",
        )
        return
    if len(means):
        paths(page, means)
    if len(bands):
        spectra(page)


def paths(page: Page, means: pd.DataFrame) -> None:
    """Paths on the two principal components."""
    with cards.card(
        "From noise to image",
        key="paths",
        data=lambda: page.labelled(means),
        help=PATH_HELP,
    ):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            by = st.segmented_control(
                "Colour", COLOURS, default="Model", required=True, key="colour", bind=BIND
            )
            family = _family(page) if by == "Concept" else ""
            seed = choices.choose_seed(page)
        points = page.ask_scope("path_points", seed=seed, most=MOST_PATHS)
        if points.empty:
            st.caption("No path of this seed within the filters.")
            return
        points = page.labelled(points)
        points["nearest"] = page.wanted_steps(points).round().astype(int)
        grouped = _coloured(page, points, page.labelled(means), by or "Model", family)
        _draw_paths(page, *grouped, title=None if by == "Model" else (by or ""))
        over = (
            count(int(means["prompts"].max()), "prompt") if by == "Model" else "the drawn prompts"
        )
        st.caption(
            f"Seed {seed}; {count(points['prompt_id'].nunique(), 'prompt')} "
            f"({count(points['sample_id'].nunique(), 'path')}). Points: {cards.step_text(page)}; click one to "
            f"open its prompt. Bold: mean path over {over}, from the square at step 0."
        )


def _draw_paths(
    page: Page,
    points: pd.DataFrame,
    bold: pd.DataFrame,
    scale: alt.Scale | None,
    *,
    title: str | None,
) -> None:
    event = drawing.draw(
        path_chart(
            points,
            bold,
            "group",
            title,
            scale,
            component_titles(analysis.explained(page.ask_scope)),
            marker=page.step,
            look=page.look,
        ),
        key="paths",
        on_select="rerun",
        alt="Paths of the predicted clean images on two principal components",
    )
    drawing.open_prompt(event)


def _family(page: Page) -> str:
    families = list(dict.fromkeys(page.concepts["family"]))
    return str(
        st.selectbox("Family", families, key="path_family", bind=BIND, width=180) or families[0]
    )


def _coloured(
    page: Page, points: pd.DataFrame, means: pd.DataFrame, by: str, family: str
) -> tuple[pd.DataFrame, pd.DataFrame, alt.Scale | None]:
    """The points with their group, the bold lines, and the colours."""
    if by == "Model":
        scale = model_scales(page.models)["color"]
        return points.assign(group=points["model"]), means.assign(group=means["model"]), scale
    if by == "Category":
        group = points["category"].replace("", NO_CATEGORY)
    else:
        names = page.concepts.loc[page.concepts["family"] == family, "name"].tolist()
        group = points["text"].map(lambda text: analysis.first_named(text, names))
    group, shown = analysis.grouped(group, MOST_GROUPS)
    points = points.assign(group=group)
    bold = points.groupby(["group", "step"], as_index=False)[["x", "y"]].mean()
    named = [name for name in shown if name != REST]
    hues = [*HUES[: len(named)], "#8a949e"][: len(shown)]
    return points, bold[bold["group"] != REST], alt.Scale(domain=shown, range=hues)


def spectra(page: Page) -> None:
    """Power per band of spatial frequencies over the steps, or its change at each step."""
    with cards.card(
        "Spatial frequencies over the steps",
        key="spectra",
        data=lambda: page.labelled(analysis.spectrum(page.ask_scope)),
        help=SPECTRUM_HELP,
    ):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            shown = st.segmented_control(
                "Show",
                ["Power", "Change per step"],
                default="Power",
                required=True,
                key="spectrum",
                bind=BIND,
            )
            axis = st.segmented_control(
                "Horizontal axis",
                list(AXES),
                default="Step",
                required=True,
                key="axis",
                bind=BIND,
            )
        legend(page.models)
        change = shown != "Power"
        table = page.placed(page.labelled(analysis.spectrum(page.ask_scope, change=change)))
        title = "Change of log10 power" if change else "log10 power"
        _band_grid(page, table, title, AXES[axis or "Step"])
        st.caption(
            f"Mean over {count(int(table['prompts'].max()), 'prompt')}, seeds averaged; band: 95 % t "
            f"interval over prompts. Each chart has its own vertical scale. {drawing.STEP_CLICK}"
        )
        cards.clip_note(band for _, band in table.groupby("band"))


def _band_grid(page: Page, table: pd.DataFrame, title: str, axis: Axis) -> None:
    """A chart per band of spatial frequencies."""
    grid = st.grid(3, min_column_width=230)
    for number, (_, band) in enumerate(table.groupby("band")):
        first = band.iloc[0]
        with grid.cell():
            st.markdown(f"**{first['from']:.2g} to {first['to']:.2g} cycles per pixel**")
            drawing.draw(
                curves(
                    band,
                    page.models,
                    axis,
                    title,
                    marker=page.marker(axis),
                    look=page.look,
                    height=200,
                    format=".2f",
                ),
                key=f"band{number}",
                on_click=drawing.to_step(page),
                alt=f"{title} in band {number} over the steps",
            )


show(current())
