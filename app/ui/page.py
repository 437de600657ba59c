"""The page of a view: the study as its reader filters it, the chosen step, and the controls that set them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import pandas as pd
import streamlit as st

from app.analysis import measures
from app.analysis.measures import Measure
from app.analysis.reading import StudyView, with_unique_labels
from app.analysis.shipped import name_of
from app.charts.axes import Axis
from app.charts.style import Look
from app.ui import access, pins, queries, said, sides, step_bar, texts, top_bar, watch_panel
from app.ui.answers import Answers
from app.ui.queries import Snapshot

BIND: Any = "query-params"
Answer = TypeVar("Answer")
IMAGES = "images"  # the family of models whose images exist


@dataclass(frozen=True)
class Page(StudyView):
    """What a view has to know: the study with its filters, and the chosen step.

    Attributes:
        path: results folder or file that the reader chose.
        steps: model_id, step, timestep, log_snr, progress of the models shown.
        step: the chosen step, of the model with the most steps.
        last_step: that model's last step.
        look: the page's theme.
        of_steps: whether the view is about steps.
        baseline: model_id of the model that others are compared with.
        candidates: model_id of those that are compared with it; none where the study has one model.
    """

    path: Path
    steps: pd.DataFrame
    step: int
    last_step: int
    look: Look
    of_steps: bool = False
    baseline: int = 0
    candidates: tuple[int, ...] = ()

    def ask(self, name: str, **parameters: Any) -> pd.DataFrame:
        """The rows of `app/database/sql/<name>.sql`, cached."""
        return queries.ask(self.snapshot, name, **parameters)

    def once(self, function: Callable[..., Answer], **arguments: Any) -> Answer:
        """What an analysis of this page gives, computed once for the same snapshot, filters and arguments.

        27 tests of 25,000 prompts take 0.2 s, and every rerun asks for them again.
        """
        asked = tuple((key, type(each), each) for key, each in sorted(arguments.items()))
        name = f"{function.__module__}.{function.__qualname__}"
        question = (self.snapshot, queries.key(self.scope), name, asked)
        return RESULTS.get(question, lambda: function(self, **arguments))

    @property
    def title(self) -> str:
        """The study's title, with the scorer where it is not the primary one."""
        return f"{self.study['title']}{f' (scorer {self.scorer})' if self.scorer else ''}"

    @cached_property
    def score(self) -> Measure:
        """The score by which images are compared: the CLIP score, or the chosen one."""
        return measures.chosen_score(self)

    @property
    def progress(self) -> float:
        """The chosen step as a share of the way from noise (0) to image (1)."""
        return self.step / max(self.last_step, 1)

    def placed(self, data: pd.DataFrame) -> pd.DataFrame:
        """The rows of known steps with their step's place on the noise schedule (looked up in half of the time of a merge)."""
        at = pd.Index(_step_keys(self.steps)).get_indexer(_step_keys(data))
        steps = self.steps.iloc[at[at >= 0]]
        columns = {name: steps[name].array for name in ("timestep", "log_snr", "progress")}
        return data[at >= 0].reset_index(drop=True).assign(**columns)

    def last_of(self, model_id: int) -> int:
        """The last step of a model."""
        steps = self.steps.loc[self.steps["model_id"] == model_id, "step"]
        return int(steps.max()) if len(steps) else self.last_step

    def wanted_steps(self, data: pd.DataFrame) -> pd.Series:
        """For each row the step, not rounded, at which its model is as far as the chosen step."""
        last = {int(i): self.last_of(int(i)) for i in data["model_id"].unique()}
        return cast(pd.Series, data["model_id"].map(last) * self.progress)

    @cached_property
    def _marked(self) -> dict[str, float]:
        """The chosen step of the first model shown, by the fields of the axes: ten charts of a page mark it."""
        steps = self.steps[self.steps["model_id"] == self.models["model_id"].iloc[0]]
        nearest = steps.loc[(steps["progress"] - self.progress).abs().idxmin()]
        return {
            field: float(nearest[field]) for field in ("step", "timestep", "log_snr", "progress")
        }

    def marker(self, axis: Axis) -> float:
        """Where the chosen step stands on an axis, by the first model shown."""
        return self._marked[axis.field]


def _step_keys(rows: pd.DataFrame) -> np.ndarray:
    """A number for each model and step, to look rows up by."""
    model, step = (rows[name].to_numpy(float) for name in ("model_id", "step"))
    return model * 2.0**32 + step


RESULTS = Answers(128, 128 * 2**20)


def current() -> Page:
    """The page that `main.py` has set up for this rerun."""
    return cast(Page, st.session_state["_page"])


def set_up(arguments: Sequence[str], *, scrubber: bool) -> Page:
    """Draw the bar at the top and the step control, and remember the page for the view.

    Raises:
        SnapshotError: there is no study to show.
    """
    bar = top_bar.make()
    path = _choose_study(bar, access.readable(queries.find_studies(arguments)))
    st.session_state["_place"] = path
    newest = queries.find(path, older=True)
    snapshot = watch_panel.held(path, newest.snapshot, pins.pinned(path))
    queries.check(snapshot)
    if newest.stands_in:
        st.warning(
            "The current snapshot of this study is missing; the previous one is shown. Publish again to make a new "
            "snapshot of all finished samples.",
            icon=":material/history:",
        )
    pins.warn(path, snapshot, newest.snapshot)
    said.tell()
    page = _filtered(bar, path, snapshot, scrubber)
    _sidebar_foot(page)
    st.session_state["_page"] = page
    return page


def _filtered(bar: top_bar.Bar, path: Path, snapshot: Snapshot, scrubber: bool) -> Page:
    """The page of a snapshot, by the filters and the step control that it draws."""
    scorers = queries.scorers(snapshot)
    snapshot = replace(snapshot, scorer=top_bar.choose_scorer(bar, scorers))
    every_model = with_unique_labels(queries.ask(snapshot, "models"))
    concepts = queries.ask(snapshot, "concepts").query("concept_id > 0")
    scope = top_bar.choose_scope(bar, snapshot, path, every_model, concepts)
    metric, usual = top_bar.choose_score(bar, snapshot)
    scope = replace(scope, metric=metric)
    baseline, candidates = top_bar.choose_sides(bar, scope, every_model)
    first = {key: value for key, value in (("scorer", next(iter(scorers), "")), ("metric", usual)) if value}  # fmt: skip
    top_bar.finish(bar, path, snapshot, first, scope)
    steps = queries.ask(snapshot, "steps", models=every_model["model_id"].tolist())
    last_step = int(steps["step"].max()) if len(steps) else 0
    return Page(
        snapshot=snapshot,
        study=queries.ask(snapshot, "study").iloc[0],
        every_model=every_model,
        every_concept=concepts,
        scope=scope,
        scorers=scorers,
        path=path,
        steps=steps[steps["model_id"].isin(scope.models)],
        step=step_bar.choose_step(last_step, shown=scrubber and last_step > 0),
        last_step=last_step,
        look=Look(dark=st.context.theme.type == "dark"),
        of_steps=scrubber,
        baseline=baseline,
        candidates=candidates,
    )


def _choose_study(bar: top_bar.Bar, paths: Sequence[Path]) -> Path:
    if len(paths) == 1:
        return paths[0]
    names = _distinct([name_of(path) for path in paths])
    # No default: a default is left out of the link, and which study is the newest changes.
    if "study" not in st.session_state and st.query_params.get("study") not in names:
        st.query_params["study"] = st.session_state["study"] = names[0]
    elif "study" in st.session_state and st.session_state["study"] not in names:
        st.session_state["study"] = names[0]
    with bar.pair:
        chosen = st.selectbox("Study", names, index=None, key="study", bind=BIND, width=sides.WIDTH)
    return paths[names.index(chosen)] if chosen in names else paths[0]


def _distinct(names: Sequence[str]) -> list[str]:
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return out


def _sidebar_foot(page: Page) -> None:
    study = page.study
    with st.sidebar:
        st.caption(
            f":material/database: Snapshot {int(study['snapshot'])}, "
            f"{study['published_at']:%d %b %Y %H:%M} UTC  \n"
            f":material/image: {int(study['done_samples']):,} of "
            f"{int(study['planned_samples']):,} samples"
        )
        watch_panel.offer(page.path)


def header(title: str, question: str) -> None:
    """A view's title, which may be a study's own and stays text, and the question that it answers."""
    st.title(texts.plain(title), anchor=False)
    st.caption(question)
    page = st.session_state.get("_page")
    if page is not None and page.of_steps:
        _say_unrecorded(page)


def _say_unrecorded(page: Page) -> None:
    """Names the models that have no steps: their images exist and were not sampled."""
    imported = page.models[page.models["family"] == IMAGES]["label"].tolist()
    if imported:
        st.caption(
            f":material/image: Steps not recorded: {', '.join(map(texts.plain, imported))}. These images exist and were not "
            "sampled here, so they have no curve over the steps."
        )
