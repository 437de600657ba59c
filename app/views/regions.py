"""Regions: where each tool says that a denoising step looks, and whether the tools agree."""

from __future__ import annotations

from collections.abc import Sequence

import charts_explain
import controls
import numpy as np
import pandas as pd
import queries
import streamlit as st
import uncertainty
from controls import BIND, Page

MOST_STEPS = 11
MOST_WORDS = 10
TOOL_HELP = (
    "DF-RISE: regions whose own content keeps the prediction alike when the rest is masked. DF-CAM: regions "
    "that the denoiser's inner features stand for. LIME: superpixels that move the prediction. Attention, "
    "relevance: where the prompt's words act. Random: what chance looks like."
)
AGREEMENT_HELP = (
    "Spearman: rank correlation of two maps over the pixels, -1 to 1. IoU: overlap of their top 20 % of pixels, "
    "0 to 1; two random maps have about 0.11. Higher means that the tools point to the same regions."
)
SCALES = ("One per row", "Each map its own")


def show(page: Page) -> None:
    """The whole view."""
    controls.header("Regions", "Where does each step look, and do the tools agree about it?")
    prompts = queries.ask_scope(page.snapshot, "explained_prompts", page.scope)
    if prompts.empty:
        controls.empty(
            "No saliency maps within these filters.",
            "Clear a filter in the sidebar, or add df-cam, df-rise, lime, attention or relevance (with "
            "maps = true) to the measures of the study file and run it again.",
        )
        return
    prompt, seed = choose(page, prompts)
    overlay, scale = display()
    maps = _read(page, prompt, seed, words=False)
    if maps.empty:
        controls.empty(
            "No maps of this prompt and seed.",
            "Tools can be limited to some seeds and models: choose another seed or prompt.",
            icon=":material/image_not_supported:",
        )
    else:
        frames = queries.ask_scope(
            page.snapshot, "prompt_frames", page.scope, prompt=prompt, seed=seed
        )
        at_the_step(page, maps, frames, overlay, scale)
        over_the_steps(page, maps, frames, overlay, scale)
        words(page, prompt, seed, frames, overlay)
    agreement(page)


def choose(page: Page, prompts: pd.DataFrame) -> tuple[int, int]:
    """The prompt and the seed whose maps are shown."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        prompt = controls.choose_prompt(prompts)
        seed = controls.choose_seed(page)
    return prompt, seed


def display() -> tuple[bool, str]:
    """Whether maps lie over the picture, and what a colour means."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        shown = st.segmented_control(
            "Draw",
            ["Over the image", "Map alone"],
            default="Over the image",
            required=True,
            key="draw",
            bind=BIND,
        )
        scale = st.segmented_control(
            "Colour scale",
            list(SCALES),
            default=SCALES[0],
            required=True,
            key="scale",
            bind=BIND,
            help="One scale across a row makes its maps comparable; a scale for each map shows weak ones.",
        )
    return shown != "Map alone", scale or SCALES[0]


def _read(page: Page, prompt: int, seed: int, *, words: bool) -> pd.DataFrame:
    table = queries.ask_scope(
        page.snapshot, "region_maps", page.scope, prompt=prompt, seed=seed, words=words
    )
    table = page.labelled(table)
    return table.assign(values=[charts_explain.read_map(row) for _, row in table.iterrows()])


def _nearest(page: Page, table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Of each group the rows of the recorded step that is nearest to the chosen place."""
    wanted = page.wanted_steps(table)
    gap = (table["step"] - wanted).abs()
    best = gap.groupby([table[key] for key in keys]).transform("min")
    near = table[gap == best]
    first = near.groupby(keys)["step"].transform("min")
    return near[near["step"] == first]


def _under(frames: pd.DataFrame) -> dict[tuple[int, int], bytes]:
    """The picture at each model and step."""
    return {
        (int(model), int(step)): bytes(image)
        for model, step, image in zip(
            frames["model_id"], frames["step"], frames["image"], strict=True
        )
    }


def draw(
    table: pd.DataFrame, row: str, column: str, frames: pd.DataFrame, overlay: bool, scale: str
) -> pd.DataFrame:
    """Tiles for a chart: one colour scale across each row, or one for each map.

    Args:
        table: maps as `values`, and the columns that `row` and `column` name.
        row: column whose value is the tile's row.
        column: column whose value is the tile's column.
        frames: pictures per model and step.
        overlay: whether to lay the map over its picture.
        scale: one of SCALES.

    Returns:
        row, column, url, note, step, range.
    """
    under = _under(frames)
    own = scale == SCALES[1]
    low = table["values"].map(np.min)
    high = table["values"].map(np.max)
    if not own:
        low, high = (
            low.groupby(table[row]).transform("min"),
            high.groupby(table[row]).transform("max"),
        )
    urls = [
        charts_explain.draw_map(
            values, first, last, under.get((int(model), int(step))) if overlay else None
        )
        for values, first, last, model, step in zip(
            table["values"], low, high, table["model_id"], table["step"], strict=True
        )
    ]
    spans = [f"{v.min():.3g} to {v.max():.3g}" for v in table["values"]]
    return pd.DataFrame(
        {
            "row": table[row].to_numpy(),
            "column": table[column].to_numpy(),
            "url": urls,
            "note": table["note"].to_numpy(),
            "step": table["step"].to_numpy(),
            "range": spans,
        }
    )


def pictures(frames: pd.DataFrame, row: str, column: str) -> pd.DataFrame:
    """The pictures themselves, as a row of tiles."""
    return pd.DataFrame(
        {
            "row": row,
            "column": frames[column].to_numpy(),
            "url": [charts_explain.data_url(bytes(image)) for image in frames["image"]],
            "note": "Predicted clean image",
            "step": frames["step"].to_numpy(),
            "range": "",
        }
    )


def _row_names(table: pd.DataFrame, scale: str) -> pd.Series:
    """A tool's name, and under it the values of its colour scale."""
    title = table["method"].map(charts_explain.tool_title)
    if scale == SCALES[1]:
        return title
    low = table["values"].map(np.min).groupby(table["method"]).transform("min")
    high = table["values"].map(np.max).groupby(table["method"]).transform("max")
    return title + [f"\n{a:.2g} to {b:.2g}" for a, b in zip(low, high, strict=True)]


def _rows_in_order(table: pd.DataFrame, column: str) -> list[str]:
    names = table.drop_duplicates("method").set_index("method")[column]
    return [names[method] for method in charts_explain.tool_order(list(names.index))]


def at_the_step(
    page: Page, maps: pd.DataFrame, frames: pd.DataFrame, overlay: bool, scale: str
) -> None:
    """Every tool's map at the chosen step, a column for each model."""
    near = _nearest(page, maps, ["model_id", "method"]).copy()
    near["name"] = _row_names(near, scale)
    near["note"] = near["method"].map(charts_explain.tool_title) + ", " + near["model"]
    shown = page.labelled(_nearest(page, frames, ["model_id"])) if len(frames) else frames
    image = "Image x0"
    parts = [draw(near, "name", "model", frames, overlay, scale)]
    if len(shown):
        parts.insert(0, pictures(shown, image, "model"))
    columns = [label for label in page.models["label"] if label in set(near["model"])]
    rows = ([image] if len(shown) else []) + _rows_in_order(near, "name")
    data = pd.concat(parts, ignore_index=True)
    data = data[data["column"].isin(columns)]
    with controls.card(
        "Every tool at the step",
        key="regions_step",
        data=_numbers(near),
        help=TOOL_HELP,
    ):
        controls.draw(
            charts_explain.tiles(
                data,
                rows,
                columns=columns,
                bar="Saliency",
                cell=108,
                look=page.look,
            ),
            key="regions_step",
            alt="Saliency maps of every tool and model at the chosen step",
        )
        steps = sorted({int(s) for s in near["step"]})
        st.caption(
            f"{controls.place(page)}; the maps are of the nearest explained "
            f"{'step' if len(steps) == 1 else 'steps'} ({', '.join(map(str, steps))}). "
            f"{_scale_text(scale)} A blank tile: the tool was not run on this model."
        )


def _scale_text(scale: str) -> str:
    if scale == SCALES[1]:
        return "Each map from its own lowest (dark) to its own highest value (bright)."
    return "One colour scale across each row; its values stand under the tool's name."


def _numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Maps as rows of numbers, for the CSV."""
    kept = [c for c in ("model", "step", "method", "word") if c in table]
    flat = [
        {**dict(zip(kept, key, strict=True)), "y": y, "x": x, "value": values[y, x]}
        for *key, values in table[[*kept, "values"]].itertuples(index=False)
        for y, x in np.ndindex(values.shape)
    ]
    return pd.DataFrame(flat, columns=[*kept, "y", "x", "value"])


def over_the_steps(
    page: Page, maps: pd.DataFrame, frames: pd.DataFrame, overlay: bool, scale: str
) -> None:
    """One model's maps over all explained steps, a row for each tool."""
    with controls.card(
        "Over the steps",
        key="regions_steps",
        help="Click a tile to go to its step. " + TOOL_HELP,
        data=lambda: _numbers(maps),
    ):
        model = controls.choose_model(page, "regions_model")
        own = maps[maps["model_id"] == model].copy()
        if own.empty:
            st.caption("No tool was run on this model, prompt and seed.")
            return
        kept = charts_explain.thin([int(s) for s in own["step"].unique()], MOST_STEPS)
        own = own[own["step"].isin(kept)]
        own["name"] = _row_names(own, scale)
        own["note"] = own["method"].map(charts_explain.tool_title)
        seen = frames[(frames["model_id"] == model) & frames["step"].isin(kept)]
        image = "Image x0"
        parts = [draw(own, "name", "step", frames, overlay, scale)]
        if len(seen):
            parts.insert(0, pictures(seen, image, "step"))
        rows = ([image] if len(seen) else []) + _rows_in_order(own, "name")
        nearest = min(kept, key=lambda s: abs(s - page.progress * page.last_of(model)))
        controls.draw(
            charts_explain.tiles(
                pd.concat(parts, ignore_index=True),
                rows,
                columns=kept,
                column_title="Step  (noise → image)",
                bar="Saliency",
                marker=nearest,
                look=page.look,
                clickable=True,
                cell=82,
            ),
            key="regions_steps",
            on_click=controls.to_step(page, model),
            alt="Saliency maps of every tool over the steps",
        )
        st.caption(
            f"{controls.plain(page.label(model))}. {_scale_text(scale)} Click a tile to go to its step."
        )


def words(page: Page, prompt: int, seed: int, frames: pd.DataFrame, overlay: bool) -> None:
    """Where each word of the prompt acts at the chosen step."""
    maps = _read(page, prompt, seed, words=True)
    if maps.empty:
        return
    with controls.card(
        "Where each word acts",
        key="regions_words",
        data=lambda: _numbers(maps),
        help="Attention: the softmax weight that image positions give to the word, averaged over heads and layers. "
        "Relevance: attention weighted by its gradient and followed through the layers (Chefer et al. 2021).",
    ):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            sources = charts_explain.tool_order(list(maps["method"]))
            method = st.segmented_control(
                "Source",
                sources,
                format_func=charts_explain.tool_title,
                default=sources[0],
                required=True,
                key="word_method",
                bind=BIND,
            )
        near = _nearest(page, maps[maps["method"] == method], ["model_id"]).copy()
        near["note"] = near["word"]
        order = _words_in_order(page, prompt, near)
        near = near[near["word"].isin(order)]
        near["name"] = near["model"]
        rows = [label for label in page.models["label"] if label in set(near["model"])]
        controls.draw(
            charts_explain.tiles(
                draw(near, "name", "word", frames, overlay, SCALES[0]),
                rows,
                columns=order,
                bar=f"{charts_explain.tool_title(str(method))} per word",
                look=page.look,
                cell=92,
            ),
            key="regions_words",
            alt="Map of every word at the chosen step",
        )
        steps = sorted({int(s) for s in near["step"]})
        st.caption(
            f"Nearest recorded step: {', '.join(map(str, steps))}. One colour scale across each row, so that a "
            "dark tile is a word that gets little."
        )


def _words_in_order(page: Page, prompt: int, near: pd.DataFrame) -> list[str]:
    """The words with a map in the prompt's order; articles last to go where there is no room."""
    text = queries.ask(page.snapshot, "prompt_texts", prompts=[prompt])["text"].iloc[0].split()
    present = list(dict.fromkeys(near["word"]))
    bare = [word.strip(".,;:!?\"'()").lower() for word in text]

    def place(word: str) -> int:
        base = word.split(" (")[0].lower()
        return bare.index(base) if base in bare else len(bare)

    ordered = sorted(present, key=place)
    small = {"a", "an", "the", "of", "on", "in", "and", "with", "to", "at"}
    telling = [word for word in ordered if word.split(" (")[0].lower() not in small]
    return (telling or ordered)[:MOST_WORDS]


def agreement(page: Page) -> None:
    """How far the tools' maps agree at the chosen step, over the prompt set."""
    data = queries.ask_scope(page.snapshot, "agreement", page.scope)
    if data.empty:
        return
    with controls.card(
        "Do the tools agree?",
        key="agreement",
        data=lambda: page.labelled(data),
        help=AGREEMENT_HELP,
    ):
        model = controls.choose_model(page, "agreement_model")
        own = data[data["model_id"] == model]
        if own.empty:
            st.caption("No two tools were run on the same step of this model.")
            return
        near = _nearest(page, own, ["model_id", "method_a", "method_b"])
        left, right = st.columns(2)
        for place, measure, title, domain in (
            (left, "spearman", "Spearman  ↑", (-0.2, 1.0)),
            (right, "iou", "IoU of the top 20 %  ↑", (0.0, 1.0)),
        ):
            with place:
                controls.draw(
                    charts_explain.matrix(
                        _pairs(near, measure), title, domain=domain, look=page.look
                    ),
                    key=f"agreement_{measure}",
                    alt=f"Agreement of the tools' maps: {title}",
                )
        steps = _listed(near["step"])
        st.caption(
            f"Nearest explained step: {steps}. Mean over {int(near['n'].min())} to {int(near['n'].max())} prompts, "
            "seeds averaged; 95 % t interval over prompts in the tooltip and the CSV."
        )


def _listed(steps: Sequence[int] | pd.Series) -> str:
    return ", ".join(str(int(step)) for step in sorted(set(steps)))


def _pairs(near: pd.DataFrame, measure: str) -> pd.DataFrame:
    low, high = uncertainty.t_limits(near[measure], near[f"{measure}_sd"], near["n"])
    return pd.DataFrame(
        {
            "first": near["method_a"].map(charts_explain.tool_title),
            "second": near["method_b"].map(charts_explain.tool_title),
            "value": near[measure],
            "low": low,
            "high": high,
            "n": near["n"],
        }
    ).dropna(subset=["value"])


show(controls.current())
