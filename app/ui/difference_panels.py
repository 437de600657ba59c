"""Cards about where two models differ: by concept and step, and prompt by prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from app.analysis import comparison, uncertainty
from app.analysis.reading import WHOLE
from app.charts import axes as axes_charts
from app.charts import curves as curves_charts
from app.charts import grids as grids_charts
from app.charts import points as points_charts
from app.charts import rows as rows_charts
from app.charts.axes import Axis
from app.ui import cards, choices, drawing, links, queries, step_pictures
from app.ui.page import BIND, Page
from app.ui.text import count, legend, plain, shorten

GAP_HELP = (
    "Similarity of the predicted clean image with a concept (cosine, -1 to 1), candidate minus baseline, "
    "paired by prompt: above 0 the candidate is closer to the concept."
)
MOST_ROWS = 14
MOST_MARKS = 28  # rows times candidates: a taller chart leaves its neighbour half empty
MOST_PROMPTS = 100  # of the largest differences
MOST_POINTS = 2000


@dataclass(frozen=True)
class Basis:
    """What models are compared with, and how.

    Attributes:
        baseline: model_id.
        axis: along which two models' curves are matched.
        named: whether a concept counts only in prompts that name it.
    """

    baseline: int
    axis: Axis
    named: bool

    def matched(self) -> str:
        """How steps are matched, for a caption."""
        if self.axis.field == "log_snr":
            return "the candidate's curves are interpolated to the log-SNR of the baseline's steps"
        return f"compared at the same {self.axis.field}"


def heat_map(
    page: Page, grid: pd.DataFrame, cells: pd.DataFrame, shown: pd.DataFrame, basis: Basis
) -> None:
    """Where on the concept x step grid a candidate differs, as one picture, the whole prompt on top."""
    with cards.card(
        "Where they differ",
        key="difference",
        data=comparison.with_whole_prompt(grid, cells),
        help="Blue: the candidate's images are closer to the concept; orange: the "
        "baseline's are. Dots: separable after correction. Top row: the whole prompt; its last step is the CLIP score.",
    ):
        candidate = _candidate(shown, "difference_model")
        rows = cells[cells["model_id"] == candidate]
        if rows.empty:
            st.caption(
                f"{plain(page.label(candidate))} has no steps in common with {plain(page.label(basis.baseline))}: nothing to compare here."
            )
            return
        _heat(page, grid[grid["model_id"] == candidate], rows, candidate, basis)


def _heat(page: Page, grid: pd.DataFrame, rows: pd.DataFrame, candidate: int, basis: Basis) -> None:
    """One candidate's picture, and what it counts."""
    drawing.draw(
        grids_charts.difference_heat(
            comparison.with_whole_prompt(grid, rows),
            f"Similarity, {page.label(candidate)} minus {page.label(basis.baseline)}",
            marker=page.step,
            order=[WHOLE, *comparison.difference_order(rows)],
            levels=axes_charts.levels(page.steps, basis.baseline, basis.axis.field),
            look=page.look,
        ),
        key="difference",
        on_click=to_cell(page, basis.baseline),
        alt="Paired difference per concept and step",
    )
    st.caption(
        f"{rows['significant'].mean():.0%} of {len(rows):,} cells of concepts differ (dots: paired t test, "
        f"Benjamini-Hochberg over the grid, q < 0.05, at least {uncertainty.LEAST_PROMPTS} prompts). Concepts "
        f"{choices.pairs_text(basis.named)} ({int(rows['prompts'].min())} to {int(rows['prompts'].max())}) × "
        f"{count(len(page.scope.seeds), 'seed')}; {basis.matched()}. {choices.axis_text(page, basis.axis)} Click a cell "
        "to move to its step and show its concept over the steps."
    )


def to_cell(page: Page, baseline: int) -> drawing.Click:
    """A click on a cell: its step, and its concept over the steps."""
    step = drawing.to_step(page, baseline)
    concept = to_concept(page)

    def act(picked: dict[str, Any]) -> None:
        step(picked)
        concept(picked)

    return act


def to_concept(page: Page) -> drawing.Click:
    """A click on a concept: its difference over the steps."""
    ids = dict(zip(page.concepts["name"], page.concepts["concept_id"].astype(int), strict=True))

    def act(picked: dict[str, Any]) -> None:
        if str(picked.get("concept")) in ids:
            st.session_state["concept"] = ids[str(picked["concept"])]

    return act


def _candidate(shown: pd.DataFrame, key: str) -> int:
    labels = dict(zip(shown["label"], shown["model_id"].astype(int), strict=True))
    if len(labels) == 1:
        return next(iter(labels.values()))
    chosen = st.selectbox("Candidate", list(labels), key=key, bind=BIND, width=240)
    return labels.get(chosen, next(iter(labels.values())))


def at_the_step(page: Page, cells: pd.DataFrame, shown: pd.DataFrame, basis: Basis) -> None:
    """The largest differences at the chosen step."""
    steps = cells["step"].unique()
    wanted = page.progress * page.last_of(basis.baseline)
    nearest = int(steps[abs(steps - wanted).argmin()])
    rows = cells[cells["step"] == nearest]
    kept = comparison.most_different(rows, min(MOST_ROWS, MOST_MARKS // len(shown)))
    rows = rows[rows["concept"].isin(kept)].copy()
    rows["place"] = rows["concept"].map(rows.groupby("concept")["mean"].mean())
    rows = rows.sort_values(["place", "model_id"], ascending=[False, True])
    cards.figure(
        f"At step {nearest}",
        rows_charts.forest(
            rows,
            shown,
            "concept",
            f"Similarity minus {page.label(basis.baseline)}  (candidate higher →)",
            look=page.look,
        ),
        rows,
        f"The {len(kept)} concepts that differ most at the chosen step, {choices.pairs_text(basis.named)} (at most "
        f"{int(rows['prompts'].max())}); 95 % t interval. "
        "Hollow: not separable (paired t test, Benjamini-Hochberg over the whole grid). "
        "Click a concept to show it over the steps.",
        key="forest",
        help=GAP_HELP,
        on_click=to_concept(page),
        models=shown,
    )


CHOICE = 56  # px of the list above the curves


def height_beside(shown: pd.DataFrame, concepts: int) -> int:
    """The height in px of the curves beside `at_the_step`, which shows up to so many concepts of the models shown."""
    rows = min(concepts, MOST_ROWS, MOST_MARKS // len(shown))
    return max(330, rows_charts.forest_height(rows, len(shown)) - CHOICE)


def over_the_steps(
    page: Page, grid: pd.DataFrame, shown: pd.DataFrame, basis: Basis, height: int
) -> None:
    """The paired difference of one concept over the steps, in a chart of a height in px."""
    grid = _at_the_baseline(page, grid, basis.baseline)
    labels = _concept_names(page)
    with cards.card("Over the steps", key="over", data=lambda: table, help=GAP_HELP):
        concept = st.selectbox(
            "Concept",
            list(labels),
            format_func=lambda i: labels[i],
            key="concept",
            bind=BIND,
            label_visibility="collapsed",
        )
        table = grid[grid["concept_id"] == (0 if concept is None else int(concept))]
        if table.empty:
            st.caption("The models share no trajectory of this concept. Choose another concept.")
            return
        legend(shown)
        drawing.draw(
            curves_charts.difference_curves(
                table,
                shown,
                basis.axis,
                f"Similarity minus that of {page.label(basis.baseline)}",
                marker=page.marker(basis.axis),
                look=page.look,
                height=height,
            ),
            key="over",
            on_click=drawing.to_step(page, basis.baseline),
            alt="Paired difference over the steps",
        )
        cards.clip_note([table])
        st.caption(
            f"Mean paired difference, {choices.pairs_text(basis.named)} ({int(table['prompts'].max())}); band: "
            f"{uncertainty.PAIRED}, step by step; {basis.matched()}. Above zero the candidate is "
            f"closer to the concept. {drawing.STEP_CLICK}"
        )


def _concept_names(page: Page) -> dict[int, str]:
    """The concepts that can be chosen: concept_id -> name."""
    numbers = page.concepts["concept_id"].astype(int)
    return {0: "(whole prompt)", **dict(zip(numbers, page.concepts["name"], strict=True))}


def _at_the_baseline(page: Page, grid: pd.DataFrame, baseline: int) -> pd.DataFrame:
    """The rows with the place of their step on the baseline's noise schedule."""
    steps = page.steps.loc[page.steps["model_id"] == baseline, ["step", "log_snr", "progress"]]
    return grid.merge(steps, on="step")


def per_prompt(page: Page, pairs: pd.DataFrame, shown: pd.DataFrame, baseline: int) -> None:
    """Every prompt: baseline against candidate; a click opens it."""
    drawn = pairs if len(pairs) <= MOST_POINTS else pairs.sample(MOST_POINTS, random_state=0)
    drawn = _with_texts(page, drawn)
    event = cards.figure(
        "Prompt by prompt",
        points_charts.scatter(
            drawn,
            shown,
            f"{page.score.title}, {page.label(baseline)}  →",
            f"{page.score.title}, candidate  →",
            look=page.look,
        ),
        lambda: _with_texts(page, pairs),
        f"{count(int(pairs['prompt_id'].nunique()), 'prompt')}, seeds averaged"
        + (f" ({len(drawn):,} of {len(pairs):,} points drawn)" if len(drawn) < len(pairs) else "")
        + f"; {'below' if page.score.lower_is_better else 'above'} the line the candidate is better. Click a point to open its prompt.",
        key="scatter",
        help=plain(page.score.definition),
        on_select="rerun",
        models=shown,
    )
    drawing.open_prompt(event)


def _with_texts(page: Page, pairs: pd.DataFrame) -> pd.DataFrame:
    """The rows with their prompt's key and text."""
    asked = pairs["prompt_id"].unique().tolist()
    texts = queries.ask(page.snapshot, "prompt_texts", ids=asked)
    texts = texts[["prompt_id", "prompt_key"]].assign(
        text=list(map(shorten, texts["text"].tolist()))
    )
    return pairs.merge(texts, on="prompt_id")


def most_different(page: Page, pairs: pd.DataFrame, shown: pd.DataFrame, baseline: int) -> None:
    """The prompts that differ most, with both models' images."""
    with cards.card(
        "Prompts with the largest differences", key="most", help=plain(page.score.definition)
    ):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            candidate = _candidate(shown, "most_model")
            number = st.number_input(
                "Prompts", 1, MOST_PROMPTS, 4, key="most_number", bind=links.bound("most_number")
            )
            side = st.segmented_control(
                "Where",
                ["Candidate better", "Baseline better"],
                default="Candidate better",
                required=True,
                key="side",
                bind=BIND,
            )
        higher = (side != "Baseline better") != page.score.lower_is_better
        rows = pairs[pairs["model_id"] == candidate]
        top = _largest(rows, higher, number)
        if top.empty:  # a card that says no more than this would be empty beside a tall one
            never = "baseline" if side == "Baseline better" else "candidate"
            st.caption(
                f"The {never} is never better within these filters; below, where it is worse."
            )
            top = _largest(rows, not higher, number)
        images = page.ask(
            "final_images",
            prompts=top["prompt_id"].tolist(),
            models=[baseline, candidate],
            seed=page.scope.seeds[0],
            metric=page.scope.metric,
        )
        if len(images):
            _sheet(page, top, images)


def _largest(pairs: pd.DataFrame, candidate_higher: bool, number: int) -> pd.DataFrame:
    """The prompts on which one side's score is higher by most, of one candidate's pairs."""
    sign = 1 if candidate_higher else -1
    higher = pairs[sign * pairs["difference"] > 0]
    return higher.sort_values("difference", ascending=not candidate_higher).head(number)


def _sheet(page: Page, top: pd.DataFrame, images: pd.DataFrame) -> None:
    _listing(top, images)
    st.caption(
        f"Largest difference first; images of seed {page.scope.seeds[0]}, "
        "scores over all seeds shown. Click an image to open its prompt."
    )
    step_pictures.finals_sheet(page, images, "most_images", top["prompt_id"].tolist())


def _listing(top: pd.DataFrame, images: pd.DataFrame) -> None:
    texts = images.drop_duplicates("prompt_id").set_index("prompt_id")["text"]
    table = top.assign(text=[str(texts.get(i, "")) for i in top["prompt_id"]])
    st.dataframe(
        table[["text", "baseline", "candidate", "difference"]],
        hide_index=True,
        alt="The prompts that differ most",
        column_config={
            "text": st.column_config.TextColumn("Prompt", width=150),
            **{
                name: st.column_config.NumberColumn(
                    plain(name.capitalize()),
                    width=74,
                    format="%+.3f" if name == "difference" else "%.3f",
                )
                for name in ("baseline", "candidate", "difference")
            },
        },
    )
