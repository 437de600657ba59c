"""Cards about concepts over the steps: their curves, the share that has emerged, the heat map."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app.analysis import emergence, measures, trajectories
from app.charts import axes as axes_charts
from app.charts import curves as curves_charts
from app.charts import grids as grids_charts
from app.ui import cards, choices, drawing, queries
from app.ui.page import BIND, Page
from app.ui.text import count, legend, plain

SIMILARITY_HELP = (
    "Cosine between the CLIP embeddings of the predicted clean image (x0) at a step "
    "and of the concept's phrasings, "
    "-1 to 1. Higher means that the concept is seen more."
)
SCORE_HELP = "A score that another program computed at each step; `scores add` takes a column step."
SHARE_HELP = (
    "Share of a family's concepts that are present for good by this step, 0 to 100 %: their contrast to prompts that do not "
    "name them is above the 95th percentile of such prompts' own. "
    "A curve further left is a family that appears earlier."
)
PREDICT_HELP = (
    "Pearson correlation of the similarity to the whole prompt at a step with the final one: over prompts, or over the seeds "
    "within a prompt. The outcome is settled where it stays at 0.9 or more."
)
RISE = "Rise since its lowest"
MEASURES = {
    "Similarity": ("mean", "Mean similarity (cosine)"),
    RISE: ("rise", "Rise of mean similarity since its lowest"),
    "Predicts the final": ("r_final", "Correlation with the final similarity (r)"),
}
MOST_CURVES = 6
EMERGED = "Share of each family that has emerged"
MOST_FAMILIES = 6


def concept_curves(page: Page, axis: axes_charts.Axis, named: bool) -> None:
    """Similarity over steps for a few concepts, a chart each."""
    names = {
        int(i): name
        for i, name in zip(page.concepts["concept_id"], page.concepts["name"], strict=True)
    }
    names[0] = "(whole prompt)"
    labels = {i: names[i] for i in [0, *page.concepts["concept_id"].astype(int)]}
    chosen = st.multiselect(
        "Concepts",
        list(labels),
        format_func=lambda i: labels[i],
        key="concepts",
        bind=BIND,
        placeholder="The whole prompt, and the concept of each family that rises most",
        max_selections=MOST_CURVES,
    )
    data = every_curve(page, named)
    ids = [int(i) for i in chosen] or _default(page, data)
    table = page.placed(page.labelled(data[data["concept_id"].isin(ids)]))
    table["concept"] = table["concept_id"].map(labels)
    legend(page.models)
    grid = st.grid(min(3, len(ids)), min_column_width=250)
    for number, concept_id in enumerate(ids):
        rows = table[table["concept_id"] == concept_id]
        with grid.cell():
            _concept_card(page, rows, labels[concept_id], axis, number)
    cards.clip_note(rows for _, rows in table.groupby("concept_id"))


def _concept_card(
    page: Page, rows: pd.DataFrame, name: str, axis: axes_charts.Axis, number: int
) -> None:
    if rows.empty:
        with cards.card(plain(name), key=f"curve{number}"):
            st.caption(
                "No prompt within the filters names this concept. Choose All prompts "
                "above to show its curve."
            )
        return
    most = int(rows["prompts"].max())
    cards.figure(
        plain(name),
        curves_charts.curves(
            rows,
            page.models,
            axis,
            "Similarity (cosine)  ↑",
            marker=page.marker(axis),
            look=page.look,
            height=250,
        ),
        rows,
        f"Mean over {count(most, 'prompt')} × "
        f"{count(len(page.scope.seeds), 'seed')}; band: 95 % t interval over "
        f"prompts. {drawing.STEP_CLICK}",
        key=f"curve{number}",
        anchor=None if number else "curves",
        help=SIMILARITY_HELP,
        on_click=drawing.to_step(page),
    )


def score_curves(page: Page, axis: axes_charts.Axis) -> None:
    """Scores per step that other programs computed, a chart each; nothing where there are none."""
    scores = [score for score in measures.every_score(page) if score.level == "step"]
    if not scores:
        return
    table = page.placed(page.once(trajectories.score_steps))
    for number, score in enumerate(scores):
        rows = table[table["metric"] == score.metric]
        if rows.empty:
            continue
        arrow = "↓" if score.lower_is_better else "↑"
        cards.figure(
            f"{plain(score.title)} over the steps",
            curves_charts.curves(rows, page.models, axis, f"{score.title}  {arrow}", marker=page.marker(axis), look=page.look, height=250),
            rows,
            f"Mean over {count(int(rows['prompts'].max()), 'prompt')} × {count(len(page.scope.seeds), 'seed')}; band: 95 % t interval "
            f"over prompts. {plain(score.credit)} {drawing.STEP_CLICK}",
            key=f"score_steps{number}",
            help=SCORE_HELP,
            on_click=drawing.to_step(page),
            models=page.models,
        )  # fmt: skip


def every_curve(page: Page, named: bool) -> pd.DataFrame:
    """The curves of the whole prompt and of every concept: one question for the whole view."""
    return queries.curves(page.snapshot, page.scope, [0, *page.scope.concepts], named=named)


def _default(page: Page, curves: pd.DataFrame) -> list[int]:
    """The whole prompt, and of each family the concept that rises most."""
    known = page.every_concept["concept_id"].isin(curves["concept_id"].unique())
    families = page.every_concept["family"][known].nunique()
    return [0, *trajectories.risers(curves, page.concepts)[:families]][:MOST_CURVES]


def emerged(page: Page, axis: axes_charts.Axis, named: bool) -> None:
    """Share of each family that has emerged by a step."""
    shares = emergence.emerged(page, named=named)
    if shares.empty:
        return
    table = page.placed(shares)
    families = table.groupby("family")["mean"].mean().sort_values(ascending=False).index.tolist()
    with cards.card(EMERGED, key="emerged", anchor="emerged", data=table, help=SHARE_HELP):
        legend(page.models)
        grid = st.grid(min(4, len(families)), min_column_width=180)
        for number, family in enumerate(families[:MOST_FAMILIES]):
            with grid.cell():
                rows = table[table["family"] == family]
                st.markdown(f"**{plain(family)}**")
                drawing.draw(
                    curves_charts.curves(
                        rows,
                        page.models,
                        axis,
                        "Emerged",
                        marker=page.marker(axis),
                        height=200,
                        look=page.look,
                        domain=(0, 1),
                        format=".0%",
                    ),
                    key=f"emerged{number}",
                    on_click=drawing.to_step(page),
                    alt=f"Share of the family {family} that has emerged by each step",
                )
        st.caption(
            "Families in the order in which they emerge; "
            f"{count(int(table['prompts'].max()), 'prompt')} × "
            f"{count(len(page.scope.seeds), 'seed')}; band: 95 % t interval "
            f"over prompts. Concepts that never emerge keep the curve below 100 %. {drawing.STEP_CLICK}"
        )
        cards.clip_note((rows for _, rows in table.groupby("family")), domain=(0, 1))


def heat_map(page: Page, axis: axes_charts.Axis, named: bool) -> None:
    """The whole prompt and all concepts of one model over all steps."""
    curves = trajectories.with_rise(every_curve(page, named))
    table = page.labelled(page.with_whole_prompt(curves))
    with cards.card(
        "Every concept at every step",
        key="heat",
        anchor="heat",
        data=table,
        help="Top row: the whole prompt. Below, one row per concept, grouped by family; what reaches half of its rise first is on top.",
    ):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            model = choices.choose_model(page, "heat_model")
            measure = st.segmented_control(
                "Measure", list(MEASURES), default=RISE, required=True, key="measure", bind=BIND
            )
        column, title = MEASURES[measure or RISE]
        cells = table[table["model_id"] == model]
        if cells.empty:
            st.caption("This model has no trajectory within the filters.")
            return
        drawing.draw(
            grids_charts.heat(
                cells.assign(value=cells[column]),
                title,
                marker=round(page.progress * int(cells["step"].max())),
                order=trajectories.heat_order(cells),
                levels=axes_charts.levels(page.steps, model, axis.field),
                look=page.look,
                domain=(-1.0, 1.0) if column == "r_final" else None,
            ),
            key="heat",
            on_click=to_cell(page, model),
            alt=f"{title} per concept and step",
        )
        st.caption(
            f"Means over the prompts{', of a concept over those that name it' if named else ''} "
            f"({int(cells['prompts'].min())} to {int(cells['prompts'].max())} of them); the "
            "frame marks the chosen step. Click a cell to move to its step and show its concept's curve."
        )


def concept_ids(page: Page) -> dict[str, int]:
    """The ids of the concepts shown, by name."""
    return dict(zip(page.concepts["name"], page.concepts["concept_id"].astype(int), strict=True))


def to_cell(page: Page, model_id: int) -> drawing.Click:
    """A click on a cell: its step, and its concept's curve beside those already chosen."""
    step = drawing.to_step(page, model_id)
    ids = concept_ids(page)

    def act(picked: dict[str, Any]) -> None:
        step(picked)
        held = list(st.session_state.get("concepts") or [])
        clicked = ids.get(str(picked.get("concept")))
        if clicked is not None and clicked not in held:
            st.session_state["concepts"] = [*held, clicked][-MOST_CURVES:]

    return act
