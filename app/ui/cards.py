"""What every view shares: filters, the step control, cards, pictures, downloads, empty states.

Filters and the step are widgets bound to the query string, so that they live in the URL: they
survive page changes and reloads, and a link shows what its sender saw. An empty filter means all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from app.analysis import slices, uncertainty
from app.charts import bands, spreadsheet
from app.database.snapshots import PROGRAM
from app.ui import slice_panel, watch_panel
from app.ui.drawing import Click, draw
from app.ui.page import Page
from app.ui.queries import SnapshotError
from app.ui.text import legend, plain, slug

# A chart's parts are not checked against Vega-Lite's schema as they are made, which the tests do: see _Trusted.
alt.utils.schemapi.disable_debug_mode()


DEFINITIONS = PROGRAM / "docs" / "methods.md"
# Where a card's measure is defined: its key -> the heading's anchor in DEFINITIONS; others lead to the page's top.
DEFINED = {
    "agreement": "agreement",
    "auc": "insertion-and-deletion",
    "baseline_ranks": "insertion-and-deletion",
    "baseline_rho": "insertion-and-deletion",
    "causes": "prompt-switching",
    "causes_windows": "critical-windows",
    "causes_kept": "critical-windows",
    "causes_difference": "paired-difference",
    "causes_images": "prompt-switching",
    "causes_judge": "prompt-switching",
    "causes_order": "prompt-switching",
    "causes_success": "prompt-switching",
    "changes_concepts": "paired-difference",
    "changes_definitions": "paired-difference",
    "changes_models": "paired-difference",
    "changes_prompts": "paired-difference",
    "concept_shares": "conceptattention",
    "concept_trust": "conceptattention",
    "costs": "what-a-variant-costs",
    "criteria": "paired-difference",
    "curve": "concept-similarity",
    "curves": "concept-similarity",
    "difference": "paired-difference",
    "emerged": "emergence-step",
    "emergence": "emergence-step",
    "findings": "paired-difference",
    "forest": "paired-difference",
    "frames": "predicted-clean-image",
    "gain": "insertion-and-deletion",
    "gain_steps": "insertion-and-deletion",
    "heat": "concept-similarity",
    "image_map": "embedding-path",
    "image_sets": "sets-of-images",
    "information_maps": "information-per-word",
    "information_roles": "information-per-word",
    "information_scorer": "information-per-word",
    "information_totals": "information-per-word",
    "information_word": "information-per-word",
    "judged": "paired-difference",
    "layers": "randomised-weights",
    "localisation_layers": "localisation",
    "localisation": "localisation",
    "localisation_steps": "localisation",
    "measures": "paired-difference",
    "most": "paired-difference",
    "over": "paired-difference",
    "paths": "embedding-path",
    "predict": "predictable-from",
    "prompt_strip": "predicted-clean-image",
    "prompts": "clip-score",
    "randomisation": "randomised-weights",
    "ranking": "emergence-step",
    "ranks": "clip-score",
    "regions_step": "df-rise",
    "regions_steps": "df-rise",
    "regions_words": "attention",
    "role_sums": "attention",
    "roles": "attention",
    "scatter": "clip-score",
    "schedule_concepts": "concept-similarity",
    "schedule_images": "predicted-clean-image",
    "schedule_roles": "relevance",
    "schedule_scores": "clip-score",
    "score": "clip-score",
    "score_steps": "scores-of-other-programs",
    "scorers": "agreement-of-scorers",
    "seeds": "clip-score",
    "sheet": "predicted-clean-image",
    "spectra": "power-spectrum",
    "spectrum": "power-spectrum",
    "timesteps": "predicted-clean-image",
    "training_differences": "training-runs",
    "training_forgotten": "training-runs",
    "training_images": "predicted-clean-image",
    "training_learned": "training-runs",
    "training_scores": "training-runs",
    "trust": "localisation",
    "trust_grid": "localisation",
    "verdict": "clip-score",
    "word_heat": "attention",
    "word_lines": "attention",
}


RULED = (
    f"Differences: mean over shared prompts, {uncertainty.PAIRED}, paired t test, p corrected by Holm over the family of the "
    f"question. {uncertainty.RULE}"
)
"""The rule behind every verdict, as a tooltip."""

# A page asks for the same tests on every rerun, and two dozen of them take a quarter of a second.
compare = st.cache_data(max_entries=1024, show_spinner=False)(uncertainty.compare)


@contextmanager
def card(
    title: str,
    *,
    key: str,
    data: pd.DataFrame | Callable[[], pd.DataFrame] | None = None,
    help: str | None = None,
    anchor: str | None = None,
) -> Iterator[None]:
    """A bordered card with a title; its data can be downloaded as CSV.

    Args:
        title: sentence case.
        key: unique on the page; names the CSV file too.
        data: what is shown, or a function that makes it when the button is clicked.
        help: what the measure means and which way is better.
        anchor: by which a link leads to the card, where there is one.
    """
    with st.container(border=True, key=f"card_{key}", height="stretch"):
        with st.container(
            horizontal=True,
            vertical_alignment="center",
            horizontal_alignment="distribute",
            wrap=False,
        ):
            st.subheader(title, anchor=anchor or False, help=with_definition(help, key))
            if data is not None:
                download(data, key)
        yield


def with_definition(help: str | None, key: str) -> str | None:
    """A tooltip with a link to the definition of what its card shows, where that is a measure.

    Args:
        help: the tooltip.
        key: of the card; of one of several alike, such as curve3 or gain_deletion, the part that they share.
    """
    anchor = DEFINED.get(key) or DEFINED.get(re.sub(r"(\d+|_[a-z]+)$", "", key))
    return f"{help} [How it is defined](measures#{anchor})" if help and anchor else help


def download(data: pd.DataFrame | Callable[[], pd.DataFrame], name: str) -> None:
    """A quiet button that gives the rows as CSV, written when it is clicked."""
    st.download_button(
        "CSV",
        data=lambda: csv(data() if callable(data) else data),
        file_name=f"stepscope-{name}.csv",
        mime="text/csv",
        key=f"csv_{name}",
        help="Download the data of this card as CSV",
        on_click="ignore",
        type="tertiary",
        icon=":material/download:",
    )


def csv(data: pd.DataFrame) -> bytes:
    """The rows as CSV in UTF-8; images are left out, and no cell is a formula."""
    drawn = [column for column in data.columns if column in {"image", "url"}]
    return spreadsheet.harmless(data.drop(columns=drawn)).to_csv(index=False).encode("utf-8")


def figure(
    title: str,
    chart: alt.TopLevelMixin,
    data: pd.DataFrame | Callable[[], pd.DataFrame],
    caption: str,
    *,
    key: str,
    help: str | None = None,
    on_select: Any = "ignore",
    on_click: Click | None = None,
    width: Any = None,
    models: pd.DataFrame | None = None,
    anchor: str | None = None,
) -> Any:
    """A card with one chart, its caption and its CSV.

    Args:
        title: sentence case.
        chart: an Altair chart.
        data: the chart's rows, or a function that makes them when the button is clicked.
        caption: n, interval and method.
        key: unique on the page.
        help: what the measure means and which way is better.
        on_select: "rerun", where the page acts on the event that comes back.
        on_click: as in `draw`.
        width: of the chart, where it must not stretch.
        models: model_id and label of the models to name above the chart.
        anchor: as in `card`.
    """
    with card(title, key=key, data=data, help=help, anchor=anchor):
        if models is not None:
            legend(models)
        spoken = _read_aloud(title)
        event = draw(
            chart, key=key, on_select=on_select, on_click=on_click, width=width, alt=spoken
        )
        st.caption(caption)
    return event


def _read_aloud(title: str) -> str:
    """A title without the backslashes that keep it from being read as Markdown."""
    return re.sub(r"\\(.)", r"\1", title)


def empty(what: str, advice: str, *, icon: str = ":material/filter_alt_off:") -> None:
    """An empty state: what is not there, and what to do."""
    with st.container(border=True, horizontal_alignment="center", key=f"empty_{slug(what)}"):
        st.space("small")
        st.markdown(f"{icon} **{what}**", text_alignment="center")
        st.caption(advice, text_alignment="center")
        offer_to_clear(slug(what))
        st.space("small")


def offer_to_clear(key: str) -> None:
    """A button that clears the filters, where there are any."""
    filters = ("models", "families", "categories", "seeds", "search")
    chosen = {each: st.session_state.get(each) for each in (*filters, *slices.KEYS)}
    if any(chosen[each] for each in filters) or slices.question(chosen):
        st.button(
            "Clear the filters",
            icon=":material/restart_alt:",
            on_click=clear_filters,
            key=f"clear_{key}",
        )


def clear_filters() -> None:
    """Let every filter show everything again."""
    for key in ("models", "families", "categories", "seeds"):
        if key in st.session_state:
            st.session_state[key] = []
    if "search" in st.session_state:
        st.session_state["search"] = ""
    slice_panel.clear()


def trouble(error: SnapshotError) -> None:
    """A page for a study that cannot be shown: what is wrong, and what to do."""
    st.space("large")
    _, middle, _ = st.columns([1, 3, 1])
    with middle, st.container(border=True, key="trouble"):
        st.subheader(f":material/database_off: {plain(error.title)}", anchor=False)
        st.text(error.detail)
        if error.advice:
            st.caption("What to do, in the project's folder:")
            st.code("\n".join(error.advice), language=None)
        st.button("Look again", icon=":material/refresh:", key="look_again")
        if path := st.session_state.get("_place"):
            watch_panel.follow(path)


def step_text(page: Page) -> str:
    """Where the chosen step stands, for a caption."""
    steps = page.steps[page.steps["model_id"] == page.models["model_id"].iloc[0]]
    if steps.empty:
        return f"Step {page.step}"
    row = steps.loc[(steps["progress"] - page.progress).abs().idxmin()]
    return (
        f"Step {page.step} of 0 to {page.last_step} "
        f"(timestep {row['timestep']:.0f}, log-SNR {row['log_snr']:+.1f})"
    )


def clip_note(tables: Iterable[pd.DataFrame], domain: Sequence[float] | None = None) -> None:
    """Say so under charts of which some clip an interval at the panel's edge.

    Args:
        tables: mean, low and high of each panel.
        domain: the limits that the panels share; those of `bands.limits_of` where they do not.
    """
    if any(bands.clips(each, domain) for each in tables):
        st.caption(bands.CLIPPED)
