"""Prompts: find a prompt, and see how every model builds its image."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from app.analysis import shipped
from app.analysis.measures import CLIP, Measure
from app.analysis.search import terms
from app.charts import axes as axes_charts
from app.charts import curves as curves_charts
from app.charts import images as images_charts
from app.ui import (
    cards,
    choices,
    drawing,
    image_map_panel,
    links,
    pictures,
    prompt_order,
    prompt_tags,
    step_pictures,
    tables,
)
from app.ui.page import BIND, Page, current, header
from app.ui.text import count, legend, model_name, plain, shorten

PAGE_SIZE = 12
SORTS = {
    "Order of the set": ("order", 1),
    "CLIP score, lowest first": ("score", 1),
    "CLIP score, highest first": ("score", -1),
    "Difference between models, largest first": ("gap", -1),
    "Candidate better, most first": ("difference", -1),
    "Baseline better, most first": ("difference", 1),
    "Emergence, earliest first": ("emergence", 1),
    "Emergence, latest first": ("emergence", -1),
    "Longest text first": ("words", -1),
    "Most failures first": ("failed", -1),
}
MOST_CURVES = 6
UNNAMED = " Of most prompts the similarities of concepts that they do not name are not shipped."


def show(page: Page) -> None:
    """The table, or the one prompt that the URL names."""
    key = st.query_params.get("prompt")
    prompt = page.ask("prompt", key=key) if key else pd.DataFrame()
    if key and prompt.empty:
        st.toast("The link names a prompt that is not in this study.", icon=":material/link_off:")
    if len(prompt):
        one_prompt(page, prompt.iloc[0])
    else:
        all_prompts(page)


def all_prompts(page: Page) -> None:
    """The searchable, sortable, paged table."""
    header(
        "Prompts",
        "Find a prompt, and see how every model builds its image. Select a row to open it.",
    )
    search, sort, direction, mapped = _search_row(page)
    if sort == "difference" and page.score.lower_is_better:
        direction = -direction
    if mapped:
        image_map_panel.show(page)
    baseline, candidate = _sides(page)
    asked = terms(search)
    total = int(page.ask_scope("prompt_count", search=asked)["prompts"].iloc[0])
    if not total:
        cards.empty(
            "No prompt matches.",
            "Search for another word, or clear the filters.",
            icon=":material/search_off:",
        )
        return
    slot = st.container()
    number = _pager(page, total)
    question: dict[str, Any] = {"search": asked, "sort": sort, "direction": direction}
    question |= {"baseline": baseline, "candidate": candidate}
    st.session_state["_table"] = question
    start = (number - 1) * PAGE_SIZE
    rows = page.ask_scope("prompt_page", size=PAGE_SIZE, start=start, **question)

    everything = partial(page.ask_scope, "prompt_page", size=1_000_000, start=0, **question)
    with (
        slot,
        cards.card(
            "All prompts",
            key="prompts",
            data=everything,
            help="The CSV holds all prompts that match the search and the filters, not only this page.",
        ),
    ):
        _table(page, rows, baseline, candidate)


def _question(page: Page) -> dict[str, Any]:
    """What the table was asked last; by a link to a prompt, all prompts in the order of the set."""
    first = int(page.models["model_id"].iloc[0])
    asked = {"search": [], "sort": "order", "direction": 1, "baseline": first, "candidate": first}
    return {**asked, **st.session_state.get("_table", {})}


def _pager(page: Page, total: int) -> int:
    """The number of the table's page, from 1, below the table."""
    pages = -(-total // PAGE_SIZE)
    if st.session_state.get("page", 1) > pages:
        st.session_state["page"] = 1
    with st.container(
        horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"
    ):
        st.caption(
            f"{count(total, 'prompt')}; scores are means over "
            f"{count(len(page.scope.seeds), 'seed')}."
        )
        return st.pagination(pages, key="page", bind=links.bound("page")) if pages > 1 else 1


def _search_row(page: Page) -> tuple[str, str, int, bool]:
    """What is searched for, the sort and its direction, and whether the map of images is shown."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        search = st.text_input(
            "Search",
            key="search",
            bind=BIND,
            type="search",
            live="300ms",
            icon=":material/search:",
            placeholder='Words of the prompt, "a phrase"',
            help="Each word and each phrase in quotation marks must be in the prompt, in any order.",
            max_chars=200,
        )
        sort = st.selectbox(
            "Sort",
            list(SORTS),
            format_func=lambda name: name.replace(CLIP.title, page.score.title),
            key="sort",
            bind=BIND,
            width=330,
        )
        has_map = not page.ask("projection").empty
        mapped = has_map and st.toggle("Map of images", key="map", bind=BIND)
    name, direction = SORTS.get(sort or "", ("order", 1))
    return search or "", name, direction, mapped


def _sides(page: Page) -> tuple[int, int]:
    """The two models whose images and scores the table shows; one twice where no other is shown."""
    ids: list[int] = page.models["model_id"].astype(int).tolist()
    baseline = page.baseline if page.baseline in ids else ids[0]
    others = [i for i in (*page.candidates, *ids) if i in ids and i != baseline]
    return baseline, others[0] if others else baseline


def _table(page: Page, rows: pd.DataFrame, baseline: int, candidate: int) -> None:
    table = rows.assign(text=[shorten(text, 400) for text in rows["text"]])
    images = page.ask_scope(
        "final_images", prompts=rows["prompt_id"].tolist(), seed=page.scope.seeds[0]
    )
    shown = page.of(*dict.fromkeys((baseline, candidate)))
    labels = dict(zip(shown["model_id"].astype(int), shown["label"], strict=True))
    for model_id in labels:
        pictures = images[images["model_id"] == model_id]
        urls = dict(
            zip(pictures["prompt_id"], map(images_charts.data_url, pictures["image"]), strict=True)
        )
        table[f"image_{model_id}"] = table["prompt_id"].map(urls)
    scores = ["baseline", "candidate", "difference"] if baseline != candidate else ["score"]
    order = [
        "text",
        *(f"image_{model_id}" for model_id in labels),
        *scores,
        "emergence",
        "category",
    ]
    tagged = prompt_tags.by_prompt(page.path)
    table["tags"] = [", ".join(map(str, tagged.get(key, []))) for key in table["prompt_key"]]
    order += ["tags"] if table["tags"].any() else []
    order += ["failed"] if table["failed"].any() else []
    key = f"rows_{st.session_state.get('_opened', 0)}"
    tables.show(
        table[["prompt_key", *order]],
        column_order=order,
        row_height=64,
        height="content",
        on_select=lambda: _open(table["prompt_key"].tolist(), key),
        selection_mode="single-row",
        key=key,
        alt="Prompts with their images and scores",
        column_config=_columns(page.score, labels, page.label(baseline), page.label(candidate)),
    )


def _columns(
    score: Measure, labels: dict[int, str], baseline: str, candidate: str
) -> dict[str, Any]:
    """How the table's columns are shown: images of some models, scores, counts."""
    number = st.column_config.NumberColumn
    return {
        "text": st.column_config.TextColumn("Prompt", width=190),
        **{
            f"image_{model_id}": st.column_config.ImageColumn(label, width=72)
            for model_id, label in labels.items()
        },
        "category": st.column_config.TextColumn("Category", width=96),
        "tags": st.column_config.TextColumn("Tags", width=50),
        "score": number(
            plain(score.title),
            format="%.3f",
            help=f"Mean over the models and seeds shown; {score.better} is better. {plain(score.credit)}",
        ),
        "baseline": number(baseline, format="%.3f", width=76),
        "candidate": number(candidate, format="%.3f", width=76),
        "difference": number(
            "Difference",
            width=76,
            format="%+.3f",
            help=f"Candidate minus baseline; {'below' if score.lower_is_better else 'above'} 0 the candidate is better.",
        ),
        "emergence": number(
            "Emergence",
            width=72,
            format="%.0f",
            help="Mean step at which the concepts that the prompt names emerge, never = the last step; lower is earlier.",
        ),
        "failed": number("Failed", format="%d", width=50),
    }


def _open(keys: list[str], widget: str) -> None:
    rows = st.session_state[widget].selection.rows
    if rows and rows[0] < len(keys):
        st.query_params["prompt"] = keys[rows[0]]
        st.session_state["_opened"] = st.session_state.get("_opened", 0) + 1


def _close() -> None:
    st.query_params.pop("prompt", None)


def one_prompt(page: Page, prompt: pd.Series) -> None:
    """One prompt: pictures, film strips, curves and scores, all models side by side."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "All prompts",
            icon=":material/arrow_back:",
            type="tertiary",
            on_click=_close,
            key="back",
        )
        prompt_order.steps(page, str(prompt["prompt_key"]), _question(page))
    header(
        f"Prompt {int(prompt['prompt_id'])}",
        f"{plain(str(prompt['source']))}, {count(int(prompt['words']), 'word')}",
    )
    prompt_tags.choose(page.path, str(prompt["prompt_key"]))
    _text(prompt)
    samples = page.ask_scope("prompt_samples", prompt=int(prompt["prompt_id"]))
    if samples.empty:
        cards.empty("No sample of this prompt within these filters.", "Show more models or seeds.")
        return
    seed = choices.choose_seed(page)
    frames = page.ask_scope("prompt_frames", prompt=int(prompt["prompt_id"]), seed=seed)
    side_by_side(page, samples, frames, seed)
    if len(frames):
        with cards.card(
            "Over the steps",
            key="strip",
            data=page.labelled(frames),
            help="The predicted clean image x0 at each step. Click a frame to go to its step.",
        ):
            step_pictures.strip(page, frames, "prompt_strip")
            st.caption(
                f"Seed {seed}; at most 12 of the recorded steps. The outlined frame is "
                "nearest to the chosen step; click another to go there."
            )
    concept_curves(page, int(prompt["prompt_id"]))
    seeds(page, samples)


def _text(prompt: pd.Series) -> None:
    """The prompt's text and category."""
    with st.container(border=True, key="prompt_text"):
        st.text(shorten(str(prompt["text"]), 600))
        if len(str(prompt["text"])) > 600:
            with st.expander("The whole text", icon=":material/notes:"):
                st.code(str(prompt["text"]), language=None, wrap_lines=True, height=200)
        if prompt["category"]:
            st.badge(plain(str(prompt["category"])), icon=":material/sell:", color="gray")


def side_by_side(page: Page, samples: pd.DataFrame, frames: pd.DataFrame, seed: int) -> None:
    """Every model's picture at the chosen step and at the end."""
    at_seed = samples[samples["seed"] == seed].set_index("model_id")
    with cards.card(
        "At the step",
        key="side",
        help="Above: the predicted clean image at the chosen step. Below: the final image.",
    ):
        done = at_seed[at_seed["status"] == "done"]
        models = page.models[page.models["model_id"].isin(done.index)]
        _absent(page, at_seed)
        if models.empty:
            return
        cells = [
            cell
            for column, model in enumerate(models["model_id"].astype(int))
            for cell in _cells(
                column, page.last_of(model), done.loc[model], frames[frames["model_id"] == model]
            )
        ]
        groups = [{"title": "At the step", "text": ""}, {"title": "Final image", "text": ""}]
        step_pictures.show(
            step_pictures.Sheet(
                step_pictures.model_layers(models), groups, cells, "columns", 190, notes=True
            ),
            "side_pictures",
        )
        if frames.empty:
            absent = shipped.left_out(str(page.study["environment"]))
            st.caption(absent or "No frame was recorded.")
        st.caption(
            f"{cards.step_text(page)}; seed {seed}. Similarity: cosine to "
            f"the prompt, higher is better. Final: {plain(page.score.definition)}"
        )


def _cells(
    column: int, last: int, sample: pd.Series, frames: pd.DataFrame
) -> list[step_pictures.Cell]:
    """A model's picture at the chosen step, and its final image."""
    image = bytes(sample["image"]) if pictures.is_image(sample["image"]) else b""
    score = f"{sample['score']:.3f}" if pd.notna(sample["score"]) else "no score"
    final = step_pictures.Frame(last, image, f"Final: {score}")
    return [
        step_pictures.Cell(column, 0, last, step_pictures.frames_of(frames)),
        step_pictures.Cell(column, 1, last, [final]),
    ]


def _absent(page: Page, samples: pd.DataFrame) -> None:
    """Which models have no image of the prompt, and why; what was noticed about those that have one."""
    for model_id, label in zip(
        page.models["model_id"].astype(int), page.models["label"], strict=True
    ):
        sample = samples.loc[model_id] if model_id in samples.index else None
        if sample is None:
            model_name(model_id, label)
            st.caption(":material/pending: This sample is missing: it has not been sampled yet.")
        elif sample["status"] != "done":
            model_name(model_id, label)
            st.caption(":material/error: This sample failed:")
            st.text(shorten(str(sample["error"]), 300))
        elif sample["notice"]:
            st.caption(f":material/info: {plain(label)}: {plain(str(sample['notice']))}")


def _choose_concepts(concepts: pd.DataFrame, labels: dict[int, str]) -> list[int]:
    """The concepts that the reader chose, else the whole prompt and those that it names."""
    named = concepts[concepts["named"]] if concepts["named"].any() else concepts
    chosen = st.multiselect(
        "Concepts",
        list(labels),
        format_func=lambda i: labels[i],
        key="concepts",
        bind=BIND,
        max_selections=MOST_CURVES,
        placeholder="The whole prompt, and the concepts that it names",
    )
    return [int(i) for i in chosen] or [0, *named["concept_id"].astype(int)][:MOST_CURVES]


def concept_curves(page: Page, prompt_id: int) -> None:
    """Similarity of this prompt's images to its concepts, over the steps."""
    concepts = page.ask_scope("prompt_concepts", prompt=prompt_id)
    if concepts.empty:
        return
    labels = {
        0: "(whole prompt)",
        **dict(zip(concepts["concept_id"].astype(int), concepts["name"], strict=True)),
    }
    ids = _choose_concepts(concepts, labels)
    rows = page.ask_scope("prompt_curves", prompt=prompt_id, concepts=ids)
    table = page.placed(page.labelled(rows))
    table["concept"] = table["concept_id"].map(labels)
    with cards.card(
        "Concepts over the steps",
        key="curves",
        data=table,
        help="Cosine between the predicted clean image and the concept, -1 to 1. Higher "
        "means that the concept is seen more.",
    ):
        legend(page.models)
        grid = st.grid(3, min_column_width=260)
        for number, concept_id in enumerate(ids):
            curves = table[table["concept_id"] == concept_id]
            if len(curves):
                with grid.cell():
                    _curve(page, curves, labels[concept_id], number)
        st.caption(
            f"One prompt: mean of {count(len(page.scope.seeds), 'seed')}, band "
            f"from the lowest to the highest seed (no confidence interval). {drawing.STEP_CLICK}"
            f"{UNNAMED if page.named_only else ''}"
        )


def _curve(page: Page, rows: pd.DataFrame, concept: str, number: int) -> None:
    axis = axes_charts.AXES["Step"]
    st.markdown(f"**{plain(concept)}**")
    drawing.draw(
        curves_charts.curves(
            rows.rename(columns={"seeds": "prompts"}),
            page.models,
            axis,
            "Similarity  ↑",
            marker=page.marker(axis),
            look=page.look,
            height=210,
            spread="seeds",
        ),
        key=f"curve{number}",
        on_click=drawing.to_step(page),
        alt=f"Similarity to {concept} over the steps",
    )


def seeds(page: Page, samples: pd.DataFrame) -> None:
    """Every sample of the prompt, seed by seed."""
    with cards.card("Every seed", key="seeds", data=samples):
        table = samples.assign(
            picture=[
                images_charts.data_url(bytes(image)) if pictures.is_image(image) else None
                for image in samples["image"]
            ],
        )
        tables.show(
            table[["picture", "model", "seed", "score", "status", "error", "notice", "seconds"]],
            row_height=64,
            alt="Samples of this prompt",
            column_config={
                "picture": st.column_config.ImageColumn("Image", width=72),
                "model": "Model",
                "seed": "Seed",
                "score": st.column_config.NumberColumn(plain(page.score.title), format="%.4f"),
                "status": "Status",
                "error": "Error",
                "notice": "Notice",
                "seconds": st.column_config.NumberColumn("Seconds", format="%.2f"),
            },
        )


show(current())
