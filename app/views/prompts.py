"""Prompts: find a prompt, and see how every model builds its image."""

from __future__ import annotations

from typing import Any

import charts
import controls
import pandas as pd
import queries
import streamlit as st
from controls import BIND, Page

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


def show(page: Page) -> None:
    """The table, or the one prompt that the URL names."""
    key = st.query_params.get("prompt")
    found = queries.ask(page.snapshot, "prompt", key=key) if key else pd.DataFrame()
    if key and found.empty:
        st.toast(
            "The link names a prompt that this study does not have.", icon=":material/link_off:"
        )
    if len(found):
        one_prompt(page, found.iloc[0])
    else:
        all_prompts(page)


def all_prompts(page: Page) -> None:
    """The searchable, sortable, paged table."""
    controls.header(
        "Prompts",
        "Find a prompt, and see how every model builds its image. Select a row to open it.",
    )
    search, sort, direction = _search_row()
    baseline, candidate = _sides(page)
    total = int(
        queries.ask_scope(page.snapshot, "prompt_count", page.scope, search=search)["prompts"].iloc[
            0
        ]
    )
    if not total:
        controls.empty(
            "No prompt matches.",
            "Search for another word, or clear the filters.",
            icon=":material/search_off:",
        )
        return
    pages = -(-total // PAGE_SIZE)
    place = st.session_state.get("page", 1)
    if place > pages:
        st.session_state["page"] = place = 1
    slot = st.container()
    with st.container(
        horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"
    ):
        st.caption(
            f"{controls.count(total, 'prompt')}; scores are means over "
            f"{controls.count(len(page.scope.seeds), 'seed')}."
        )
        place = st.pagination(pages, key="page", bind=BIND) if pages > 1 else 1
    question: dict[str, Any] = {
        "search": search,
        "sort": sort,
        "direction": direction,
        "baseline": baseline,
        "candidate": candidate,
    }
    rows = queries.ask_scope(
        page.snapshot,
        "prompt_page",
        page.scope,
        size=PAGE_SIZE,
        start=(place - 1) * PAGE_SIZE,
        **question,
    )

    def everything() -> pd.DataFrame:
        return queries.ask_scope(
            page.snapshot, "prompt_page", page.scope, size=1_000_000, start=0, **question
        )

    with (
        slot,
        controls.card(
            "All prompts",
            key="prompts",
            data=everything,
            help="The CSV holds every prompt that the search and the filters leave, not "
            "only this page.",
        ),
    ):
        _table(page, rows, baseline, candidate)


def _search_row() -> tuple[str, str, int]:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        search = st.text_input(
            "Search",
            key="search",
            bind=BIND,
            type="search",
            live="300ms",
            icon=":material/search:",
            placeholder="Words of the prompt",
            max_chars=200,
        )
        sort = st.selectbox("Sort", list(SORTS), key="sort", bind=BIND, width=330)
    name, direction = SORTS.get(sort or "", ("order", 1))
    return search or "", name, direction


def _sides(page: Page) -> tuple[int, int]:
    ids: list[int] = page.models["model_id"].astype(int).tolist()
    if len(ids) < 2:
        return ids[0], ids[0]
    labels = dict(zip(page.models["label"], ids, strict=True))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        baseline = st.selectbox("Baseline", list(labels), key="baseline", bind=BIND, width=240)
        others = [label for label in labels if label != baseline]
        candidate = st.selectbox("Candidate", others, key="candidate", bind=BIND, width=240)
    second: int = labels.get(candidate or "") or labels[others[0]]
    return int(labels[baseline]), second


def _table(page: Page, rows: pd.DataFrame, baseline: int, candidate: int) -> None:
    table = rows.copy()
    images = queries.ask_scope(
        page.snapshot,
        "final_images",
        page.scope,
        prompts=rows["prompt_id"].tolist(),
        seed=page.scope.seeds[0],
    )
    shown = page.models.head(4)
    columns: dict[str, Any] = {}
    for model_id, label in zip(shown["model_id"], shown["label"], strict=True):
        own = images[images["model_id"] == model_id]
        urls = dict(zip(own["prompt_id"], map(charts.data_url, own["image"]), strict=True))
        table[f"image_{model_id}"] = table["prompt_id"].map(urls)
        columns[f"image_{model_id}"] = st.column_config.ImageColumn(label, width=76)
    scores = ["baseline", "candidate", "difference"] if baseline != candidate else ["score"]
    order = [
        "text",
        *columns,
        *scores,
        "emergence",
        "category",
        *(["failed"] if table["failed"].any() else []),
    ]
    table["text"] = [controls.shorten(text, 400) for text in table["text"]]
    key = f"rows_{st.session_state.get('_opened', 0)}"
    st.dataframe(
        table[["prompt_key", *order]],
        hide_index=True,
        column_order=order,
        row_height=64,
        height="content",
        on_select=lambda: _open(table["prompt_key"].tolist(), key),
        selection_mode="single-row",
        key=key,
        alt="Prompts with their images and scores",
        column_config={
            "text": st.column_config.TextColumn("Prompt", width=280),
            **columns,
            "category": "Category",
            "score": st.column_config.NumberColumn(
                "CLIP score",
                format="%.3f",
                help="Mean over the models and seeds shown; higher is better.",
            ),
            "baseline": st.column_config.NumberColumn(
                page.label(baseline), format="%.3f", width=88
            ),
            "candidate": st.column_config.NumberColumn(
                page.label(candidate), format="%.3f", width=88
            ),
            "difference": st.column_config.NumberColumn(
                "Difference",
                width=88,
                format="%+.3f",
                help="Candidate minus baseline; above 0 the candidate is better.",
            ),
            "emergence": st.column_config.NumberColumn(
                "Emergence",
                format="%.0f",
                help="Median step at which concepts emerge; lower is earlier.",
            ),
            "failed": st.column_config.NumberColumn("Failed", format="%d"),
        },
    )


def _open(keys: list[str], widget: str) -> None:
    rows = st.session_state[widget].selection.rows
    if rows and rows[0] < len(keys):
        st.query_params["prompt"] = keys[rows[0]]
        st.session_state["_opened"] = st.session_state.get("_opened", 0) + 1


def _close() -> None:
    st.query_params.pop("prompt", None)


def one_prompt(page: Page, prompt: pd.Series) -> None:
    """One prompt: pictures, film strips, curves and scores, all models side by side."""
    st.button(
        "All prompts", icon=":material/arrow_back:", type="tertiary", on_click=_close, key="back"
    )
    controls.header(
        f"Prompt {int(prompt['prompt_id'])}",
        f"{controls.plain(str(prompt['source']))}, {controls.count(int(prompt['words']), 'word')}",
    )
    with st.container(border=True, key="prompt_text"):
        st.text(controls.shorten(str(prompt["text"]), 600))
        if len(str(prompt["text"])) > 600:
            with st.expander("The whole text", icon=":material/notes:"):
                st.code(str(prompt["text"]), language=None, wrap_lines=True, height=200)
        if prompt["category"]:
            st.badge(controls.plain(str(prompt["category"])), icon=":material/sell:", color="gray")
    samples = queries.ask_scope(
        page.snapshot, "prompt_samples", page.scope, prompt=int(prompt["prompt_id"])
    )
    if samples.empty:
        controls.empty(
            "No sample of this prompt within these filters.", "Show more models or seeds."
        )
        return
    seed = controls.choose_seed(page)
    frames = queries.ask_scope(
        page.snapshot, "prompt_frames", page.scope, prompt=int(prompt["prompt_id"]), seed=seed
    )
    side_by_side(page, samples, frames, seed)
    if len(frames):
        with controls.card(
            "Over the steps",
            key="strip",
            data=page.labelled(frames),
            help="The predicted clean image x0 at each step. Click a frame to go to its step.",
        ):
            controls.strip(page, frames, key="prompt_strip")
            st.caption(
                f"Seed {seed}; at most 12 of the recorded steps. The outlined frame is "
                "nearest to the chosen step; click another to go there."
            )
    concept_curves(page, int(prompt["prompt_id"]))
    seeds(page, samples)


def side_by_side(page: Page, samples: pd.DataFrame, frames: pd.DataFrame, seed: int) -> None:
    """Every model's picture at the chosen step and at the end."""
    own = samples[samples["seed"] == seed].set_index("model_id")
    with controls.card(
        "At the step",
        key="side",
        help="Left: the predicted clean image at the chosen step. Right: the final image.",
    ):
        grid = st.grid(min(len(page.models), 3), min_column_width=240)
        for model_id, label in zip(
            page.models["model_id"].astype(int), page.models["label"], strict=True
        ):
            with grid.cell():
                controls.model_name(model_id, label)
                _pictures(page, own, frames[frames["model_id"] == model_id], model_id, label)
        st.caption(
            f"{controls.place(page)}; seed {seed}. Similarity and CLIP score: cosine to "
            "the prompt, higher is better."
        )


def _pictures(
    page: Page, samples: pd.DataFrame, frames: pd.DataFrame, model_id: int, label: str
) -> None:
    if model_id not in samples.index:
        st.caption(":material/pending: This sample is missing: it was not made yet.")
        return
    sample = samples.loc[model_id]
    if sample["status"] != "done":
        st.caption(":material/error: This sample failed:")
        st.text(controls.shorten(str(sample["error"]), 300))
        return
    left, right = st.columns(2, gap="xsmall")
    with left:
        if len(frames):
            frame = frames.loc[
                (frames["step"] - page.progress * frames["step"].max()).abs().idxmin()
            ]
            controls.picture(frame["image"], f"{label} at step {frame['step']}")
            st.caption(f"Step {int(frame['step'])}: {frame['similarity']:.3f}")
        else:
            st.caption("No frame was recorded.")
    with right:
        controls.picture(sample["image"], f"{label}, final image")
        st.caption(f"Final: {sample['score']:.3f}")
    if sample["notice"]:
        st.caption(f":material/info: {controls.plain(str(sample['notice']))}")


def concept_curves(page: Page, prompt_id: int) -> None:
    """Similarity of this prompt's images to its concepts, over the steps."""
    concepts = queries.ask_scope(page.snapshot, "prompt_concepts", page.scope, prompt=prompt_id)
    if concepts.empty:
        return
    labels = {
        0: "(whole prompt)",
        **dict(zip(concepts["concept_id"].astype(int), concepts["name"], strict=True)),
    }
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
    ids = [int(i) for i in chosen] or [0, *named["concept_id"].astype(int)][:MOST_CURVES]
    data = queries.ask_scope(
        page.snapshot, "prompt_curves", page.scope, prompt=prompt_id, concepts=ids
    )
    table = page.placed(page.labelled(data)).rename(columns={"seeds": "prompts"})
    table["concept"] = table["concept_id"].map(labels)
    axis = charts.AXES["Step"]
    with controls.card(
        "Concepts over the steps",
        key="curves",
        data=table.rename(columns={"prompts": "seeds"}),
        help="Cosine between the predicted clean image and the concept, -1 to 1. Higher "
        "means that it is seen more.",
    ):
        controls.legend(page.models)
        grid = st.grid(3, min_column_width=260)
        for number, concept_id in enumerate(ids):
            own = table[table["concept_id"] == concept_id]
            if own.empty:
                continue
            with grid.cell():
                st.markdown(f"**{controls.plain(labels[concept_id])}**")
                controls.draw(
                    charts.curves(
                        own,
                        page.models,
                        axis,
                        "Similarity  ↑",
                        marker=page.marker(axis),
                        look=page.look,
                        height=210,
                        spread="seeds",
                    ),
                    key=f"curve{number}",
                    on_click=controls.to_step(page),
                    alt=f"Similarity to {labels[concept_id]} over the steps",
                )
        st.caption(
            f"One prompt: mean of {controls.count(len(page.scope.seeds), 'seed')}, band "
            f"from the lowest to the highest seed (no confidence interval). {controls.STEP_CLICK}"
        )


def seeds(page: Page, samples: pd.DataFrame) -> None:
    """Every sample of the prompt, seed by seed."""
    with controls.card("Every seed", key="seeds", data=samples):
        table = samples.assign(
            picture=[
                charts.data_url(bytes(image)) if controls.is_image(image) else None
                for image in samples["image"]
            ],
        )
        st.dataframe(
            table[["picture", "model", "seed", "score", "status", "error", "notice", "seconds"]],
            hide_index=True,
            row_height=64,
            alt="Samples of this prompt",
            column_config={
                "picture": st.column_config.ImageColumn("Image", width=76),
                "model": "Model",
                "seed": "Seed",
                "score": st.column_config.NumberColumn("CLIP score", format="%.4f"),
                "status": "Status",
                "error": "Error",
                "notice": "Notice",
                "seconds": st.column_config.NumberColumn("Seconds", format="%.2f"),
            },
        )


show(controls.current())
