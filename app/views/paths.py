"""Paths: how images move through CLIP's space, and how their spatial frequencies fill up."""

from __future__ import annotations

import altair as alt
import charts
import charts_explain
import controls
import pandas as pd
import queries
import streamlit as st
import uncertainty
from controls import BIND, Page

MOST_PATHS = 40
MOST_GROUPS = 6
PATH_HELP = (
    "CLIP embeddings of the predicted clean image at each step, on the two principal components of the whole "
    "study (fitted once). A path runs from noise to the image; images that CLIP takes for alike lie close together."
)
SPECTRUM_HELP = (
    "Radial power spectrum of the predicted clean image's brightness: log10 of the mean power in a band of spatial "
    "frequencies. Low bands are layout, high bands are fine detail. 0.5 cycles per pixel is the finest."
)
COLOURS = ("Model", "Category", "Concept")


def show(page: Page) -> None:
    """The whole view."""
    controls.header(
        "Paths", "Which way does an image take from noise, and when does its detail come?"
    )
    means = queries.ask_scope(page.snapshot, "path_means", page.scope)
    bands = queries.ask_scope(page.snapshot, "spectrum", page.scope)
    if means.empty and bands.empty:
        controls.empty(
            "No paths or spectra within these filters.",
            "Clear a filter in the sidebar, or add embeddings = true and spectrum = true to the measures of "
            "the study file and run it again.",
        )
        return
    if len(means):
        paths(page, means)
    if len(bands):
        spectra(page, bands)


def paths(page: Page, means: pd.DataFrame) -> None:
    """Paths on the two principal components."""
    with controls.card(
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
            seed = controls.choose_seed(page)
        points = queries.ask_scope(
            page.snapshot, "path_points", page.scope, seed=seed, most=MOST_PATHS
        )
        if points.empty:
            st.caption("No path of this seed within the filters.")
            return
        points = page.labelled(points)
        points["nearest"] = page.wanted_steps(points).round().astype(int)
        points, bold, scale = _coloured(page, points, page.labelled(means), by or "Model", family)
        event = controls.draw(
            charts_explain.paths(
                points,
                bold,
                "group",
                None if by == "Model" else (by or ""),
                scale,
                _axes(page),
                marker=page.step,
                look=page.look,
            ),
            key="paths",
            on_select="rerun",
            alt="Paths of the predicted clean images on two principal components",
        )
        controls.open_prompt(event)
        st.caption(
            f"Seed {seed}; {controls.count(points['prompt_id'].nunique(), 'prompt')} "
            f"({controls.count(points['sample_id'].nunique(), 'path')}). Points: {controls.place(page)}; click one to "
            "open its prompt. Bold: mean path"
            f" over {controls.count(int(means['prompts'].max()), 'prompt') if by == 'Model' else 'the drawn prompts'}, "
            "from the square at step 0."
        )


def _family(page: Page) -> str:
    families = list(dict.fromkeys(page.concepts["family"]))
    return str(
        st.selectbox("Family", families, key="path_family", bind=BIND, width=180) or families[0]
    )


def _axes(page: Page) -> tuple[str, str]:
    found = queries.ask(page.snapshot, "projection").set_index("component")["explained_variance"]
    names = ("First", "Second")
    shares = [f" ({share:.0%} of the variance)" for share in found.tolist()[:2]] or ["", ""]
    return f"{names[0]} component{shares[0]}", f"{names[1]} component{shares[-1]}"


def _coloured(
    page: Page, points: pd.DataFrame, means: pd.DataFrame, by: str, family: str
) -> tuple[pd.DataFrame, pd.DataFrame, alt.Scale | None]:
    """The points with their group, the bold lines, and the colours."""
    if by == "Model":
        scale = charts.model_scales(page.models)["color"]
        return points.assign(group=points["model"]), means.assign(group=means["model"]), scale
    if by == "Category":
        group = points["category"].replace("", controls.NO_CATEGORY)
    else:
        names = page.concepts.loc[page.concepts["family"] == family, "name"].tolist()
        group = points["text"].map(lambda text: _first_named(text, names))
    common = group.value_counts().index[:MOST_GROUPS].tolist()
    points = points.assign(group=group.where(group.isin(common), "(other)"))
    bold = points.groupby(["group", "step"], as_index=False)[["x", "y"]].mean()
    shown = [*common, "(other)"] if (points["group"] == "(other)").any() else common
    hues = [*charts.COLOURS[: len(common)], "#8a949e"][: len(shown)]
    return points, bold[bold["group"] != "(other)"], alt.Scale(domain=shown, range=hues)


def _first_named(text: str, names: list[str]) -> str:
    """The first of the concepts that a prompt names."""
    words = f" {' '.join(text.lower().split())} "
    return next((name for name in names if f" {name.lower()} " in words), "(none)")


def spectra(page: Page, bands: pd.DataFrame) -> None:
    """Power per band of spatial frequencies over the steps, or its change at each step."""
    with controls.card(
        "Spatial frequencies over the steps",
        key="spectra",
        data=lambda: page.labelled(bands),
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
                list(charts.AXES),
                default="Step",
                required=True,
                key="axis",
                bind=BIND,
            )
        controls.legend(page.models)
        _band_grid(page, bands, shown != "Power", charts.AXES[axis or "Step"])
        st.caption(
            f"Mean over {controls.count(int(bands['prompts'].max()), 'prompt')}, seeds averaged; band: 95 % t "
            f"interval over prompts. Every chart has its own scale. {controls.STEP_CLICK}"
        )


def _band_grid(page: Page, bands: pd.DataFrame, change: bool, axis: charts.Axis) -> None:
    column, spread = ("change", "change_sd") if change else ("mean", "sd")
    own = bands.dropna(subset=[column])
    low, high = uncertainty.t_limits(own[column], own[spread], own["prompts"])
    named = own.rename(columns={"low": "from", "high": "to"})
    table = page.placed(page.labelled(named.assign(mean=own[column], low=low, high=high)))
    grid = st.grid(3, min_column_width=230)
    for number, (_, band) in enumerate(table.groupby("band")):
        first = band.iloc[0]
        with grid.cell():
            st.markdown(f"**{first['from']:.2g} to {first['to']:.2g} cycles per pixel**")
            controls.draw(
                charts.curves(
                    band,
                    page.models,
                    axis,
                    "Change of log10 power" if change else "log10 power",
                    marker=page.marker(axis),
                    look=page.look,
                    height=200,
                    format=".2f",
                ),
                key=f"band{number}",
                on_click=controls.to_step(page),
                alt=f"Power in band {number} over the steps",
            )
    controls.vast_note(band for _, band in table.groupby("band"))


show(controls.current())
