"""Cards about a training run: scores, differences, what is learned and forgotten, images of checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from app.analysis import emergence, measures, training, uncertainty
from app.charts.training import panel
from app.ui import cards, choices, drawing, step_bar, step_pictures, tables
from app.ui.page import BIND, Page
from app.ui.text import plain, slug

COLUMNS = 3  # of small panels
MOST_IMAGES, MOST_PROMPTS = 8, 6
REFERENCES = {training.FIRST: "First", training.BEST: "Best"}
REFERENCE_HELP = (
    "The checkpoint that the others are compared with, prompt by prompt: the first of the run, or the one with the best mean "
    "score."
)
ROWS = {emergence.FAMILY: "Family", emergence.CONCEPT: "Concept"}
CHOICES = {"best": "best", "tied": "ties with the best", "worse": "separably worse", "unknown": "too few prompts"}  # fmt: skip


@dataclass(frozen=True)
class Panels:
    """The cards of one training run.

    Attributes:
        page: the page, with every model that the filters leave.
        run: name of the run.
        step: the chosen training step.
    """

    page: Page
    run: str
    step: int

    @property
    def narrowed(self) -> Page:
        """The page of the run's checkpoints alone."""
        return training.of_run(self.page, self.run)

    def scores(self) -> bool:
        """The chosen score of each checkpoint, and which are the best. Returns whether there is any."""
        table, score = (
            self.page.once(training.scores, run=self.run),
            measures.chosen_score(self.page),
        )
        if table.empty:
            cards.empty("No image of this run has a score within these filters.", "Clear a filter.")
            return False
        with cards.card(f"{score.title} of each checkpoint", key="training_scores", data=table, help=training.BEST_RULE):  # fmt: skip
            arrow = "←" if score.lower_is_better else "→"  # the title is turned: down, up
            self._draw(table, f"{score.title}  {arrow}", "training_scores")
            cards.clip_note([table])
            st.caption(
                f"Mean over {_span(table['prompts'])} prompts, seeds averaged; band: {uncertainty.PAIRED}. {training.best_text(table)}"
            )
        return True

    def differences(self) -> None:
        """Every measure against the first or the best checkpoint."""
        with cards.card(
            "Differences from a checkpoint",
            key="training_differences",
            data=lambda: self._differences(training.FIRST),
            help=uncertainty.RULE,
        ):
            which = choices.choose_one("Compared with", training.REFERENCES, REFERENCES, "reference", REFERENCE_HELP)  # fmt: skip
            table = self._differences(which)
            self._grid(table.rename(columns={"difference": "mean"}), "measure", "difference", zero=True)  # fmt: skip
            base = self.page.label(training.reference(self.page, self.run, which))
            st.caption(
                f"Difference from {plain(base)}, paired over shared prompts; band: {uncertainty.PAIRED}. {training.separable_text(table)} "
                f"Corrected by Holm: the score over all pairs of the run, the other measures over all of them. {uncertainty.RULE}"
            )

    def _differences(self, which: str) -> pd.DataFrame:
        return self.page.once(training.differences, run=self.run, which=which)

    def learned(self) -> None:
        """Whether each family is there at each checkpoint, and since when each concept is."""
        row = emergence.FAMILY
        table = self.page.once(training.contrasts, run=self.run, row=row)
        with cards.card("Learned", key="training_learned", data=table, help=training.LEARNED):
            if table.empty:
                st.caption(emergence.NOT_ENOUGH)
                return
            self._grid(table, row, "contrast", zero=True)
            st.caption(
                f"Contrast: final similarity to a concept of prompts that name it, less that of prompts that do not; n = "
                f"{_span(table['prompts'])} prompts, band: 95 % t interval with the error of both means."
            )
            rows = choices.choose_one("Rows", list(ROWS), ROWS, "learned_rows", training.LEARNED)
            at = self.page.once(training.learned, run=self.run, row=rows)
            tables.show(at.rename(columns={rows: "row"}), alt="When each row is learned", column_config=LEARNED)  # fmt: skip
            st.caption(
                f"{training.LEARNED} p at the last checkpoint, Benjamini-Hochberg over rows and checkpoints. Empty: not there at the end."
            )

    def forgotten(self) -> None:
        """What became separably worse."""
        row = st.session_state.get("learned_rows") or emergence.FAMILY
        row = row if row in ROWS else emergence.FAMILY
        table = self.page.once(training.forgotten, run=self.run, row=row)
        with cards.card("Forgotten", key="training_forgotten", data=table, help=training.FORGOTTEN):
            if table.empty:
                st.caption("Nothing is separably worse at the last checkpoint than at an earlier one.")  # fmt: skip
                return
            tables.show(table.rename(columns={row: "row"}), alt="What became worse", column_config=FORGOTTEN)  # fmt: skip
            title = measures.chosen_score(self.page).title
            st.caption(
                f"{training.FORGOTTEN} Final similarity over the prompts that name a concept, the whole prompt by its {title}; "
                "difference of the last checkpoint from the peak, paired, 95 % t interval; p by Benjamini-Hochberg over every row and "
                "every pair of an earlier and a later checkpoint."
            )

    def pictures(self) -> None:
        """The same prompts at several checkpoints, at the chosen denoising step."""
        page = self.narrowed
        with cards.card(
            "Images of the checkpoints",
            key="training_images",
            help="The same prompts and initial noise at every checkpoint.",
        ):
            seed = choices.choose_seed(page)
            models = self._pictured(page)
            images = page.ask_scope("gallery", seed=seed, number=MOST_PROMPTS)
            texts = dict(zip(images["prompt_id"], images["text"], strict=True))
            ids = models["model_id"].tolist()
            frames = page.ask_scope("frames_over", prompts=list(texts), seed=seed, models=ids)
            if frames.empty:
                st.caption("No prompt is finished at every checkpoint, or no frames were recorded.")
                return
            step_pictures.prompts_sheet(page, frames, texts, "training_sheet", models=models)
            st.caption(
                f"{cards.step_text(page)}, seed {seed}; at most {MOST_IMAGES} checkpoints, {self.step:,} among them. The controls at "
                "the bottom move the denoising step and the training step. Click an image to open its prompt."
            )

    def _pictured(self, page: Page) -> pd.DataFrame:
        ordered = training.with_steps(page, page.models[["model_id"]])
        (chosen,) = ordered.loc[ordered["training_step"] == self.step, "model_id"]
        ids = [int(i) for i in ordered["model_id"]]
        shown = training.shown_checkpoints(ids, int(chosen), MOST_IMAGES)
        return page.models.set_index("model_id").loc[shown].reset_index()

    def _grid(self, table: pd.DataFrame, by: str, name: str, *, zero: bool) -> None:
        """A small panel for each measure or family."""
        groups = list(table.groupby(by, sort=False))
        for start in range(0, len(groups), COLUMNS):
            parts = groups[start : start + COLUMNS]
            for column, (title, part) in zip(st.columns(COLUMNS), parts, strict=False):
                with column:
                    st.markdown(f":small[**{plain(str(title))}**]")
                    self._draw(part, name, f"training_{name}_{slug(str(title))}_{start}", zero=zero)
        cards.clip_note([part for _, part in groups])

    def _draw(self, part: pd.DataFrame, title: str, key: str, *, zero: bool = False) -> None:
        chart = panel(part, self.page.models, title, zero=zero, marker=self.step, look=self.page.look)  # fmt: skip
        drawing.draw(chart, key=key, alt=f"{title} against training step")


def choose(page: Page, runs: dict[str, list[int]]) -> Panels:
    """The panels of a run, at a training step that the control beside the denoising step moves."""
    run = next(iter(runs))
    if len(runs) > 1:
        chosen = st.selectbox("Training run", list(runs), key="training_run", bind=BIND, width=240)
        run = chosen if chosen in runs else run
    narrowed = training.of_run(page, run)
    steps = [int(i) for i in training.with_steps(page, narrowed.models)["training_step"]]
    if st.session_state.get("training_step", steps[-1]) not in steps:
        del st.session_state["training_step"]
    with step_bar.beside():
        step = st.select_slider(
            "Training step",
            steps,
            steps[-1],
            key="training_step",
            bind=BIND,
            width=320,
            help="The checkpoint that is marked in every panel and image.",
        )
    return Panels(page, run, int(step))


def _span(counts: pd.Series) -> str:
    low, high = int(counts.min()), int(counts.max())
    return f"{low}" if low == high else f"{low} to {high}"


def _number(title: str, format: str = "%.3f") -> Any:
    return st.column_config.NumberColumn(title, format=format)


LEARNED: dict[str, Any] = {
    "row": "Learned",
    "learned_at": _number("At training step", "localized"),
    "contrast": _number("Contrast at the end"),
    "low": _number("95 % low"),
    "high": _number("95 % high"),
    "q": _number("p (corrected)", "%.2g"),
    "prompts": "Prompts",
}
FORGOTTEN: dict[str, Any] = {
    "row": "Worse",
    "peak": _number("Peak at", "localized"),
    "forgotten_at": _number("Worse from", "localized"),
    "difference": _number("Difference", "%+.3f"),
    "low": _number("95 % low", "%+.3f"),
    "high": _number("95 % high", "%+.3f"),
    "q": _number("p (corrected)", "%.2g"),
    "prompts": "Prompts",
}
