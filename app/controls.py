"""What every view shares: filters, the step control, cards, pictures, downloads, empty states.

Filters and the step are widgets bound to the query string, so that they live in the URL: they
survive page changes and reloads, and a link shows what its sender saw. An empty filter means all.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import altair as alt
import charts
import pandas as pd
import queries
import slice_panel
import slices
import specs
import spreadsheet
import streamlit as st
import texts
import uncertainty
import watch_panel
from PIL import Image
from queries import Scope, Snapshot, SnapshotError

# A chart's parts are not checked against Vega-Lite's schema as they are made, which the tests do: see _Trusted.
alt.utils.schemapi.disable_debug_mode()

BIND: Any = "query-params"
Click = Callable[[dict[str, Any]], None]  # acts on what a click in a chart tells
STEP_CLICK = "Click a step to go there."
NO_CATEGORY = "(no category)"
# Pictures below this side are enlarged without smoothing, so that a 64 px scene shows its pixels,
# not a blur.
CRISP = 320
# What the theme calls the charts' colours, in their order; it has no name for the sixth and the
# seventh.
HUES = ("blue", "orange", "green", "violet", "yellow", "gray", "gray", "gray")
MARKS = "●■▲◆✚▼►◄"  # the charts' shapes, in their order


plain = texts.plain

DEFINITIONS = queries.ROOT / "docs" / "measures.md"
# Where a card's measure is defined: its key -> the heading's anchor in DEFINITIONS; others lead to the page's top.
DEFINED = {
    "agreement": "agreement",
    "auc": "insertion-and-deletion",
    "changes_models": "paired-difference",
    "criteria": "paired-difference",
    "curve": "concept-similarity",
    "curves": "concept-similarity",
    "difference": "paired-difference",
    "emerged": "emergence-step",
    "emergence": "emergence-step",
    "forest": "paired-difference",
    "frames": "predicted-clean-image",
    "gain": "insertion-and-deletion",
    "gain_steps": "insertion-and-deletion",
    "heat": "concept-similarity",
    "judged": "paired-difference",
    "layers": "randomised-weights",
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
    "scorers": "agreement-of-scorers",
    "seeds": "clip-score",
    "sheet": "predicted-clean-image",
    "spectra": "power-spectrum",
    "spectrum": "power-spectrum",
    "timesteps": "predicted-clean-image",
    "trust": "localisation",
    "verdict": "clip-score",
    "word_heat": "attention",
    "word_lines": "attention",
}


# A page asks for the same tests on every rerun, and two dozen of them take a quarter of a second.
compare = st.cache_data(max_entries=1024, show_spinner=False)(uncertainty.compare)
bootstrap_limits = st.cache_data(max_entries=64, show_spinner=False)(uncertainty.bootstrap_limits)


@dataclass(frozen=True)
class Page:
    """What a view has to know: the snapshot, the filters' scope, and the chosen step.

    Attributes:
        place: results folder or file that the reader chose.
        snapshot: the database version shown.
        study: the study's row.
        every_model: all models of the study; label is unique.
        models: the models that the filter leaves, in the study's order.
        concepts: concept_id, name and family of the concepts that the filter leaves.
        scope: the filters as ids, for queries.
        steps: model_id, step, timestep, log_snr, progress of the models shown.
        step: the chosen step, of the model with the most steps.
        last_step: that model's last step.
        look: the page's theme.
        scorers: name -> number of the study's scorers, the primary one first; none where there is only one.
    """

    place: Path
    snapshot: Snapshot
    study: pd.Series
    every_model: pd.DataFrame
    models: pd.DataFrame
    concepts: pd.DataFrame
    scope: Scope
    steps: pd.DataFrame
    step: int
    last_step: int
    look: charts.Look
    scorers: Mapping[str, int]

    @property
    def scorer(self) -> str:
        """The name of the scorer whose numbers are shown; '' for the primary one."""
        own = self.snapshot.scorer
        return next((n for n, number in self.scorers.items() if number == own > 1), "")

    @property
    def title(self) -> str:
        """The study's title, with the scorer where it is not the primary one."""
        return f"{self.study['title']}{f' (scorer {self.scorer})' if self.scorer else ''}"

    @property
    def progress(self) -> float:
        """The chosen step as a share of the way from noise (0) to image (1)."""
        return self.step / max(self.last_step, 1)

    @cached_property
    def labels(self) -> dict[int, str]:
        """Each model's label by its model_id: the Models page asks for 66, which took 0.45 ms each of pandas."""
        models = self.every_model
        return dict(zip(models["model_id"].astype(int), models["label"].astype(str), strict=True))

    def label(self, model_id: int) -> str:
        """The model's label."""
        return self.labels[model_id]

    def labelled(self, data: pd.DataFrame) -> pd.DataFrame:
        """The rows with their model's label as `model` (looked up in 0.5 ms, where a merge took 1.9)."""
        model = data["model_id"].map(self.labels)
        return data.assign(model=model)[model.notna()].reset_index(drop=True)

    def placed(self, data: pd.DataFrame) -> pd.DataFrame:
        """The rows with their step's place on the noise schedule."""
        return data.merge(
            self.steps[["model_id", "step", "timestep", "log_snr", "progress"]],
            on=["model_id", "step"],
        )

    def last_of(self, model_id: int) -> int:
        """The last step of a model."""
        own = self.steps.loc[self.steps["model_id"] == model_id, "step"]
        return int(own.max()) if len(own) else self.last_step

    def wanted_steps(self, data: pd.DataFrame) -> pd.Series:
        """For each row the step, not rounded, at which its model is as far as the chosen step."""
        last = {int(i): self.last_of(int(i)) for i in data["model_id"].unique()}
        return cast(pd.Series, data["model_id"].map(last) * self.progress)

    def marker(self, axis: charts.Axis) -> float:
        """Where the chosen step stands on an axis, by the first model shown."""
        own = self.steps[self.steps["model_id"] == self.models["model_id"].iloc[0]]
        nearest = (own["progress"] - self.progress).abs().idxmin()
        return float(own.loc[nearest, axis.field])


def current() -> Page:
    """The page that `main.py` has set up for this rerun."""
    return cast(Page, st.session_state["_page"])


def set_up(arguments: Sequence[str], *, scrubber: bool) -> Page:
    """Choose the study, draw the sidebar and the step control, and remember it for the view.

    Raises:
        SnapshotError: there is no study to show.
    """
    place = _choose_study(queries.find_studies(arguments))
    st.session_state["_place"] = place
    newest = queries.locate(place, older=True)
    snapshot = watch_panel.held(place, newest)
    queries.check(snapshot)
    if queries.stands_in(place, newest):
        st.warning(
            "The current snapshot of this study is gone: the one before it is shown. Publishing makes a new one of all "
            "finished samples.",
            icon=":material/history:",
        )
    scorers = queries.scorers(snapshot)
    snapshot = replace(snapshot, scorer=_choose_scorer(scorers))
    every_model = _with_unique_labels(queries.ask(snapshot, "models"))
    concepts = queries.ask(snapshot, "concepts").query("concept_id > 0")
    scope, models = _filters(snapshot, place, every_model, concepts)
    steps = queries.ask(snapshot, "steps", models=every_model["model_id"].tolist())
    last_step = int(steps["step"].max()) if len(steps) else 0
    step = _step_control(steps, last_step, shown=scrubber and last_step > 0)
    page = Page(
        place,
        snapshot,
        queries.ask(snapshot, "study").iloc[0],
        every_model,
        models,
        concepts[concepts["concept_id"].isin(scope.concepts)],
        scope,
        steps[steps["model_id"].isin(scope.models)],
        step,
        last_step,
        charts.Look(dark=st.context.theme.type == "dark"),
        scorers,
    )
    _sidebar_foot(page)
    st.session_state["_page"] = page
    return page


def _choose_study(places: Sequence[Path]) -> Path:
    if len(places) == 1:
        return places[0]
    names = _distinct([place.stem if place.suffix else place.name for place in places])
    # No default: a default is left out of the link, and which study is the newest changes.
    if "study" not in st.session_state and st.query_params.get("study") not in names:
        st.query_params["study"] = st.session_state["study"] = names[0]
    elif "study" in st.session_state and st.session_state["study"] not in names:
        st.session_state["study"] = names[0]
    with st.sidebar:
        chosen = st.selectbox(
            "Study", names, index=None, key="study", bind=BIND, icon=":material/science:"
        )
    return places[names.index(chosen)] if chosen in names else places[0]


def _choose_scorer(scorers: Mapping[str, int]) -> int:
    """The scorer whose numbers are shown; no choice where there is only one."""
    if not scorers:
        return 1
    with st.sidebar:
        chosen = st.selectbox(
            "Scorer",
            list(scorers),
            key="scorer",
            bind=BIND,
            icon=":material/straighten:",
            help="Whose similarities and scores are shown, and all that follows from them. Maps, insertion and "
            "deletion, and paths are the first scorer's, whatever is chosen.",
        )
    return scorers.get(str(chosen), 1)


def _distinct(names: Sequence[str]) -> list[str]:
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return out


def _with_unique_labels(models: pd.DataFrame) -> pd.DataFrame:
    shared = models["label"].duplicated(keep=False)
    return models.assign(
        label=models["label"].where(~shared, models["label"] + " (" + models["name"] + ")")
    )


def _filters(
    snapshot: Snapshot, place: Path, models: pd.DataFrame, concepts: pd.DataFrame
) -> tuple[Scope, pd.DataFrame]:
    categories = queries.ask(snapshot, "categories")["category"].tolist()
    seeds = [int(seed) for seed in queries.ask(snapshot, "study")["seeds"].iloc[0]]
    families = list(dict.fromkeys(concepts["family"]))
    named = {category or NO_CATEGORY: category for category in categories}
    with st.sidebar:
        chosen_models = _pick("Models", models["label"].tolist(), "models", ":material/neurology:")
        chosen_families = _pick("Concept families", families, "families", ":material/category:")
        chosen_categories = _pick("Prompt categories", list(named), "categories", ":material/sell:")
        chosen_seeds = _pick("Seeds", seeds, "seeds", ":material/casino:")
    shown = models[models["label"].isin(chosen_models)]
    model_ids = tuple(int(i) for i in shown["model_id"])
    left = tuple(named[name] for name in chosen_categories)
    scope = Scope(
        model_ids,
        tuple(int(i) for i in concepts[concepts["family"].isin(chosen_families)]["concept_id"]),
        left,
        tuple(chosen_seeds),
        len(categories),
        len(seeds),
        slice_panel.choose(snapshot, place, model_ids, left, list(named)),
    )
    return scope, shown


def _pick(label: str, options: list[Any], key: str, icon: str) -> list[Any]:
    """A filter in which nothing chosen means all; hidden where there is nothing to choose."""
    if len(options) < 2:
        return options
    chosen = st.multiselect(
        f"{icon} {label}", options, key=key, placeholder=f"All {len(options)}", bind=BIND
    )
    return [option for option in options if option in chosen] if chosen else options


def _step_control(steps: pd.DataFrame, last_step: int, *, shown: bool) -> int:
    """The step shared by every picture and marker of a page, docked at the bottom."""
    default = round(last_step * 0.4)
    if "step" in st.session_state and not 0 <= st.session_state["step"] <= last_step:
        st.session_state["step"] = default
    if not shown:
        return int(st.session_state.get("step", default))
    with (
        st.bottom,
        st.container(horizontal=True, vertical_alignment="center", gap="small", key="scrubber"),
    ):
        back, forward = "Shift+Left", "Shift+Right"
        st.button(
            "Back",
            icon=":material/chevron_left:",
            key="step_back",
            shortcut=back,
            on_click=_move_step,
            args=(-1, last_step),
        )
        step = st.slider(
            "Denoising step",
            0,
            last_step,
            default,
            key="step",
            bind=BIND,
            help="Moves every picture and marker on the page. Step 0 is the noisiest; Shift "
            "with the arrow keys moves it.",
        )
        st.button(
            "Forward",
            icon=":material/chevron_right:",
            key="step_forward",
            shortcut=forward,
            on_click=_move_step,
            args=(1, last_step),
        )
    return int(step)


def _move_step(by: int, last_step: int) -> None:
    st.session_state["step"] = min(max(int(st.session_state["step"]) + by, 0), last_step)


def go_to_step(step: int) -> None:
    """Set the step control; only from a callback, before the control is drawn."""
    st.session_state["step"] = int(step)


def _sidebar_foot(page: Page) -> None:
    study = page.study
    with st.sidebar:
        st.space("stretch")
        st.caption(
            f":material/database: Snapshot {int(study['snapshot'])}, "
            f"{study['published_at']:%d %b %Y %H:%M} UTC  \n"
            f":material/image: {int(study['done_samples']):,} of "
            f"{int(study['planned_samples']):,} samples"
        )
        watch_panel.offer(page.place)


def header(title: str, question: str) -> None:
    """A view's title and the question that it answers."""
    st.title(title, anchor=False)
    st.caption(question)


@contextmanager
def card(
    title: str,
    *,
    key: str,
    data: pd.DataFrame | Callable[[], pd.DataFrame] | None = None,
    help: str | None = None,
) -> Iterator[None]:
    """A bordered card with a title; its data can be downloaded as CSV.

    Args:
        title: sentence case.
        key: unique on the page; names the CSV file too.
        data: what is shown, or a function that makes it when the button is clicked.
        help: what the measure means and which way is better.
    """
    with st.container(border=True, key=f"card_{key}", height="stretch"):
        with st.container(
            horizontal=True,
            vertical_alignment="center",
            horizontal_alignment="distribute",
            wrap=False,
        ):
            st.subheader(title, anchor=False, help=with_definition(help, key))
            if data is not None:
                download(data, key)
        yield


def with_definition(help: str | None, key: str) -> str | None:
    """A tooltip with a link to the definition of what its card shows, where that is a measure.

    Args:
        help: the tooltip.
        key: of the card; of one of several alike, such as curve3 or gain_deletion, the part that they share.
    """
    place = DEFINED.get(key) or DEFINED.get(re.sub(r"(\d+|_[a-z]+)$", "", key))
    return f"{help} [How it is defined](measures#{place})" if help and place else help


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
    """
    with card(title, key=key, data=data, help=help):
        if models is not None:
            legend(models)
        event = draw(
            chart,
            key=key,
            on_select=on_select,
            on_click=on_click,
            width=width,
            alt=_read_aloud(title),
        )
        st.caption(caption)
    return event


def _read_aloud(title: str) -> str:
    """A title without the backslashes that keep it from being read as Markdown."""
    return re.sub(r"\\(.)", r"\1", title)


@dataclass(frozen=True)
class _Trusted:
    """A chart whose spec is not checked against Vega-Lite's schema on every rerun.

    The tests check every chart function; here the check took 0.6 of 1.4 s of the Timesteps view
    (15 charts, 2 cores).
    """

    chart: Any
    clicks: int = 0

    def to_dict(self) -> dict[str, Any]:
        return _numbered(specs.written(self.chart), self.clicks)


def _numbered(spec: dict[str, Any], clicks: int) -> dict[str, Any]:
    """The spec, in which a click tells its number too.

    The browser tells only clicks that differ from the last one. Without a number, a second click on
    step 5 did nothing after the slider had moved elsewhere.
    """
    for parameter in spec.get("params", []):
        if parameter.get("name") == charts.PICK:
            parameter["select"]["fields"].append("click")
            for layer in spec.get("layer", [spec]):
                number = {"calculate": str(clicks), "as": "click"}
                layer["transform"] = [*layer.get("transform", []), number]
            if parameter["select"].get("nearest"):
                hand = {
                    "name": "cursor",
                    "value": "pointer",
                }  # Vega's own name for the pointer's shape
                spec["params"] = [*spec["params"], hand]
    return spec


def draw(
    chart: Any,
    *,
    key: str,
    on_select: Any = "ignore",
    on_click: Click | None = None,
    width: Any = None,
    alt: str | None = None,
) -> Any:
    """A chart in the page's theme.

    Args:
        chart: an Altair chart.
        key: unique on the page.
        on_select: "rerun", where the page acts on the event that comes back.
        on_click: called with the values that a click tells, before the controls are drawn: it may set them.
        width: of the chart, where it must not stretch.
        alt: what it shows, for those who can't see it.
    """
    clicks = _clicks().get(key, 0)
    if on_click is not None:
        on_select = partial(_clicked, key, on_click)
    trusted: Any = _Trusted(chart, clicks)
    return st.altair_chart(trusted, key=f"chart_{key}", on_select=on_select, width=width, alt=alt)


def _clicks() -> dict[str, int]:
    """How many clicks each chart has told."""
    return cast(dict[str, int], st.session_state.setdefault("_clicks", {}))


def _clicked(key: str, act: Click) -> None:
    picked = st.session_state[f"chart_{key}"].selection.get(charts.PICK, [])
    if picked:  # a click on the background picks nothing, and changes nothing
        _clicks()[key] = _clicks().get(key, 0) + 1
        act(picked[0])


def to_step(page: Page, model_id: int | None = None) -> Click:
    """What a click on a step does: the step control goes there.

    Args:
        page: the page with the control.
        model_id: the model whose steps the chart shows, where it is one; else those of the longest.
    """
    last = page.last_step if model_id is None else page.last_of(model_id)

    def act(picked: dict[str, Any]) -> None:
        progress = picked.get("progress")
        if progress is None and picked.get("step") is not None:
            progress = picked["step"] / max(last, 1)
        if progress is not None:
            go_to_step(round(min(max(float(progress), 0.0), 1.0) * page.last_step))

    return act


def to_filter(key: str, column: str, values: dict[str, Any] | None = None, most: int = 1) -> Click:
    """What a click on a bar or row does: the filter holds it; clicked again, it lets go.

    Args:
        key: of the filter, a multiselect.
        column: whose value was clicked.
        values: what the filter calls the column's values, where that is not the same; others do nothing.
        most: how many it holds; the one clicked first makes room.
    """

    def act(picked: dict[str, Any]) -> None:
        clicked = picked.get(column)
        value = clicked if values is None else values.get(str(clicked))
        if value is None:
            return
        held = list(st.session_state.get(key) or [])
        if value in held and len(held) <= most:
            held.remove(value)
        else:
            held = [*held, value][-most:]
        st.session_state[key] = held

    return act


def empty(what: str, advice: str, *, icon: str = ":material/filter_alt_off:") -> None:
    """An empty state: what is not there, and what to do."""
    with st.container(border=True, horizontal_alignment="center", key=f"empty_{slug(what)}"):
        st.space("small")
        st.markdown(f"{icon} **{what}**", text_alignment="center")
        st.caption(advice, text_alignment="center")
        if any(
            st.session_state.get(key)
            for key in ("models", "families", "categories", "seeds", "search")
        ) or slices.question({key: st.session_state.get(key) for key in slices.KEYS}):
            st.button(
                "Clear the filters",
                icon=":material/restart_alt:",
                on_click=clear_filters,
                key=f"clear_{slug(what)}",
            )
        st.space("small")


def slug(text: str) -> str:
    """A text as a widget's key: lower-case letters, digits and underscores."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def clear_filters() -> None:
    """Let every filter show everything again."""
    for key in ("models", "families", "categories", "seeds"):
        if key in st.session_state:
            st.session_state[key] = []
    if "search" in st.session_state:
        st.session_state["search"] = ""
    slice_panel.clear()


def trouble(error: SnapshotError) -> None:
    """A page for a study that can't be shown: what is wrong, and what to do."""
    st.space("large")
    _, middle, _ = st.columns([1, 3, 1])
    with middle, st.container(border=True, key="trouble"):
        st.subheader(f":material/database_off: {plain(error.title)}", anchor=False)
        st.text(error.detail)
        if error.advice:
            st.caption("What to do, in the project's folder:")
            st.code("\n".join(error.advice), language=None)
        st.button("Look again", icon=":material/refresh:", key="look_again")
        if place := st.session_state.get("_place"):
            watch_panel.follow(place)


def shorten(text: str, length: int = 90) -> str:
    """Text on one line, cut with an ellipsis; it stays text."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def count(number: int, noun: str) -> str:
    """'1 prompt', '12 prompts'."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@st.cache_data(max_entries=2000, max_size="64MB", show_spinner=False)
def enlarge(image: bytes, side: int = CRISP) -> bytes:
    """A small picture enlarged by a whole factor without smoothing, as PNG; others as they are.

    Args:
        image: WebP or PNG.
        side: the least longest side in px to reach.
    """
    with Image.open(io.BytesIO(image)) as picture:
        factor = -(-side // max(picture.size))
        if factor <= 1:
            return image
        big = picture.convert("RGB").resize(
            (picture.width * factor, picture.height * factor), Image.Resampling.NEAREST
        )
    out = io.BytesIO()
    big.save(out, "PNG", optimize=False, compress_level=1)
    return out.getvalue()


def is_image(value: Any) -> bool:
    """Whether a database value holds an image; a failed sample has none."""
    return isinstance(value, bytes | bytearray | memoryview)


def picture(image: bytes | None, alt_text: str, *, width: Any = "stretch") -> None:
    """One picture, crisp; a quiet placeholder where there is none."""
    if not is_image(image):
        st.caption(":material/image_not_supported: no image")
        return
    st.image(enlarge(bytes(cast(bytes, image))), width=width, alt=alt_text)


def strip(page: Page, frames: pd.DataFrame, *, key: str) -> None:
    """A film strip of every model over the steps; a click on a frame sets the step."""
    steps = charts.thin([int(s) for s in frames["step"]], 12)
    table = page.placed(page.labelled(frames[frames["step"].isin(steps)]))
    draw(
        charts.film_strip(table, page.models, marker=page.step, look=page.look),
        key=key,
        on_click=to_step(page),
        alt="Predicted clean image per model and step",
    )


def place(page: Page) -> str:
    """Where the chosen step stands, for a caption."""
    own = page.steps[page.steps["model_id"] == page.models["model_id"].iloc[0]]
    if own.empty:
        return f"Step {page.step}"
    row = own.loc[(own["progress"] - page.progress).abs().idxmin()]
    return (
        f"Step {page.step} of 0 to {page.last_step} "
        f"(timestep {row['timestep']:.0f}, log-SNR {row['log_snr']:+.1f})"
    )


def choose_prompt(prompts: pd.DataFrame) -> int:
    """One of the prompts (prompt_id, text), the same one on every page; its id."""
    texts = {
        int(i): f"{i}: {shorten(text, 80)}"
        for i, text in zip(prompts["prompt_id"], prompts["text"], strict=True)
    }
    if st.session_state.get("of") not in texts:
        st.session_state.pop("of", None)
    chosen = st.selectbox(
        "Prompt", list(texts), format_func=lambda i: texts[i], key="of", bind=BIND, width=520
    )
    return int(chosen) if chosen in texts else next(iter(texts))


def choose_seed(page: Page) -> int:
    """One of the seeds shown."""
    seeds = page.scope.seeds
    if len(seeds) < 2:
        return seeds[0]
    chosen = st.segmented_control(
        "Seed", seeds, default=seeds[0], required=True, key="seed", bind=BIND
    )
    return int(chosen if chosen is not None else seeds[0])


def choose_model(page: Page, key: str) -> int:
    """One of the models shown."""
    labels = dict(zip(page.models["label"], page.models["model_id"].astype(int), strict=True))
    if len(labels) == 1:
        return next(iter(labels.values()))
    chosen = st.selectbox("Model", list(labels), key=key, bind=BIND, width=240)
    return labels.get(chosen, next(iter(labels.values())))


def model_hue(model_id: int) -> Any:
    """The theme's name for the model's colour (see .streamlit/config.toml)."""
    return HUES[(model_id - 1) % len(HUES)]


def model_mark(model_id: int) -> str:
    """A dot in the model's colour, as Markdown."""
    return f":{model_hue(model_id)}[●]"


def model_name(model_id: int, label: str) -> None:
    """A model's name beside its colour."""
    st.markdown(f"{model_mark(model_id)} **{plain(label)}**")


def vast_note(tables: Iterable[pd.DataFrame], domain: Sequence[float] | None = None) -> None:
    """Say so under charts of which some leave a band out; as `charts.curves` decides it."""
    for each in tables:
        drawn = charts.without_vast_bands(each, domain=domain)
        if drawn["low"].isna().sum() > each["low"].isna().sum():
            st.caption(charts.VAST)
            return


def legend(models: pd.DataFrame) -> None:
    """The models' shapes and colours above their charts, in as many lines as their names need."""
    if len(models) > 1:
        names = zip(models["model_id"].astype(int), models["label"], strict=True)
        st.markdown("&emsp; ".join(f"{_shape(i)}&nbsp;{_unbroken(label)}" for i, label in names))


def _unbroken(label: str) -> str:
    """A name that stays on one line; a line breaks between names."""
    return f":small[{plain(shorten(label, 32)).replace(' ', chr(0xA0))}]"


def _shape(model_id: int) -> str:
    return f":{model_hue(model_id)}[{MARKS[(model_id - 1) % len(MARKS)]}]"


def open_prompt(event: Any) -> None:
    """Go to the prompt that was clicked in a chart, if one was."""
    picked = event.selection.get(charts.PICK, []) if event else []
    if not picked:
        return
    key = picked[0].get("prompt_key")
    if key is None and picked[0].get("prompt_id") is not None:
        ids = [int(picked[0]["prompt_id"])]
        key = queries.ask(current().snapshot, "prompt_texts", prompts=ids)["prompt_key"].iloc[0]
    if key is not None:
        st.switch_page("views/prompts.py", query_params={"prompt": str(key)})
