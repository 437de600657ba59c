"""Regions: the saliency maps of every tool at each denoising step, and whether the tools agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from app.analysis import agreement as agreements
from app.analysis import words as analysis
from app.analysis.uncertainty import significant
from app.charts import images, saliency, tools
from app.charts.axes import thin
from app.ui import cards, choices, drawing, map_pictures, queries
from app.ui.map_pictures import Asked
from app.ui.page import BIND, Page, current, header
from app.ui.text import plain

MOST_STEPS = 11
MOST_WORDS = 10
PICTURE = "Image x0"
TOOL_HELP = (
    "DF-RISE: regions that keep the prediction similar when the rest is masked. DF-CAM: regions that the denoiser's "
    "inner features respond to. LIME: superpixels that change the prediction. Attention, relevance: regions that the "
    "prompt's words act on. Random: a random map, for comparison."
)
AGREEMENT_HELP = (
    "Spearman: rank correlation of two maps over the pixels, -1 to 1. IoU: overlap of their top 20 % of pixels, "
    "0 to 1; two random maps have about 0.11. Higher means that the tools mark the same regions."
)
SCALES = (saliency.PER_MAP, saliency.PER_ROW)


def show(page: Page) -> None:
    """The whole view."""
    header("Regions", "Which regions does each step depend on, and do the tools agree?")
    prompts = queries.ask_scope(page.snapshot, "explained_prompts", page.scope)
    if prompts.empty:
        cards.empty(
            "No saliency maps within these filters.",
            "Clear a filter, or add df-cam, df-rise, lime, attention, relevance or concept-attention (with "
            "maps = true) to the measures of the study file and run it again.",
        )
        return
    prompt, seed = choose(page, prompts)
    overlay, scale = display()
    maps = _read(page, prompt, seed, words=False)
    of_words = _read(page, prompt, seed, words=True)
    if maps.empty and of_words.empty:
        cards.empty(
            "No maps of this prompt and seed.",
            "Tools can be limited to some seeds and models: choose another seed or prompt.",
            icon=":material/image_not_supported:",
        )
    else:
        frames = queries.ask_scope(
            page.snapshot, "prompt_frames", page.scope, prompt=prompt, seed=seed
        )
        asked = Asked(prompt, seed, overlay, scale)
        if len(maps):
            at_the_step(page, maps, frames, asked)
            over_the_steps(page, maps, frames, overlay, scale)
        words(page, of_words, frames, asked)
    agreement(page)


def choose(page: Page, prompts: pd.DataFrame) -> tuple[int, int]:
    """The prompt and the seed whose maps are shown."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        prompt = choices.choose_prompt(prompts)
        seed = choices.choose_seed(page)
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
            help="A scale for each map: weak maps are visible. One scale across a row: its maps are comparable.",
        )
    return shown != "Map alone", scale or SCALES[0]


def _read(page: Page, prompt: int, seed: int, *, words: bool) -> pd.DataFrame:
    table = queries.ask_scope(
        page.snapshot, "region_maps", page.scope, prompt=prompt, seed=seed, words=words
    )
    table = page.labelled(table)
    return table.assign(values=[saliency.read_map(row) for _, row in table.iterrows()])


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
    limits = saliency.colour_limits(
        table["values"], None if scale == saliency.PER_MAP else table[row]
    )
    keys = zip(table["model_id"].astype(int), table["step"].astype(int), strict=True)
    backgrounds = [under.get(key) if overlay else None for key in keys]
    urls = [
        images.data_url(saliency.paint(values, low, high, background))
        for values, low, high, background in zip(
            table["values"], limits["low"], limits["high"], backgrounds, strict=True
        )
    ]
    spans = [f"{significant(v.min(), 3)} to {significant(v.max(), 3)}" for v in table["values"]]
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
            "url": [images.data_url(bytes(image)) for image in frames["image"]],
            "note": "Predicted clean image",
            "step": frames["step"].to_numpy(),
            "range": "",
        }
    )


def _row_names(table: pd.DataFrame, scale: str) -> pd.Series:
    """A tool's name, and under it the values of its colour scale."""
    title = table["method"].map(tools.tool_title)
    if scale == saliency.PER_MAP:
        return title
    limits = saliency.colour_limits(table["values"], table["method"])
    return title + [
        f"\n{significant(a, 2)} to {significant(b, 2)}"
        for a, b in zip(limits["low"], limits["high"], strict=True)
    ]


def _rows_in_order(table: pd.DataFrame, column: str) -> list[str]:
    names = table.drop_duplicates("method").set_index("method")[column]
    return [names[method] for method in tools.tool_order(list(names.index))]


def at_the_step(page: Page, maps: pd.DataFrame, frames: pd.DataFrame, asked: Asked) -> None:
    """Every tool's map at the chosen step, a column for each model; the maps follow the step in the browser."""
    near = _nearest(page, maps, ["model_id", "method"])
    with cards.card(
        "Every tool at the chosen step",
        key="regions_step",
        data=lambda: _numbers(near),
        help=TOOL_HELP,
    ):
        map_pictures.at_the_step(page, maps, frames, asked)
        steps = sorted({int(s) for s in near["step"]})
        st.caption(
            f"{cards.step_text(page)}; the maps are of the nearest explained "
            f"{'step' if len(steps) == 1 else 'steps'} ({', '.join(map(str, steps))}). "
            f"{_scale_text(asked.scale, SHEET_SCALE)} A blank tile: the tool was not run on this model."
        )


BAR_OF = {saliency.PER_MAP: "each map", saliency.PER_ROW: "the row"}
"""Whose lowest and highest value the colour bar names."""
SHEET_SCALE = "One colour scale for each row, over all of its steps and models: its lowest and highest values are beside the tool's name."
ROW_SCALE = (
    "One colour scale across each row; its lowest and highest values are below the tool's name."
)


def _scale_text(scale: str, shared: str = ROW_SCALE) -> str:
    if scale == saliency.PER_MAP:
        return "Each map is scaled from its lowest (dark) to its highest value (bright)."
    return shared


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
    with cards.card(
        "Over the steps",
        key="regions_steps",
        help="Click a tile to go to its step. " + TOOL_HELP,
        data=lambda: _numbers(maps),
    ):
        model = choices.choose_model(page, "regions_model")
        model_maps = maps[maps["model_id"] == model]
        if model_maps.empty:
            st.caption("No tool was run on this model, prompt and seed.")
            return
        steps = thin([int(s) for s in model_maps["step"].unique()], MOST_STEPS)
        model_maps = model_maps[model_maps["step"].isin(steps)]
        model_maps = model_maps.assign(
            name=_row_names(model_maps, scale), note=model_maps["method"].map(tools.tool_title)
        )
        seen = frames[(frames["model_id"] == model) & frames["step"].isin(steps)]
        data, rows = _with_pictures(model_maps, seen, "step", frames, overlay, scale)
        drawing.draw(
            images.tiles(
                data,
                rows,
                columns=steps,
                column_title="noise → image",
                bar="Saliency",
                of=BAR_OF[scale],
                marker=min(steps, key=lambda s: abs(s - page.progress * page.last_of(model))),
                clickable=True,
                cell=82,
            ),
            key="regions_steps",
            on_click=drawing.to_step(page, model),
            alt="Saliency maps of every tool over the steps",
        )
        st.caption(f"{plain(page.label(model))}. {_scale_text(scale)} Click a tile to go there.")


def _with_pictures(
    maps: pd.DataFrame,
    seen: pd.DataFrame,
    column: str,
    frames: pd.DataFrame,
    overlay: bool,
    scale: str,
) -> tuple[pd.DataFrame, list[str]]:
    """The tiles of the maps below a row of their pictures, and the rows from top to bottom."""
    tiles, rows = draw(maps, "name", column, frames, overlay, scale), _rows_in_order(maps, "name")
    if seen.empty:
        return tiles, rows
    top = pictures(seen, PICTURE, column)
    return pd.concat([top, tiles], ignore_index=True), [PICTURE, *rows]


def words(page: Page, maps: pd.DataFrame, frames: pd.DataFrame, asked: Asked) -> None:
    """The map of each word of the prompt, or of each concept, at the chosen step."""
    if maps.empty:
        return
    prompt, overlay, scale = asked.prompt, asked.overlay, asked.scale
    with cards.card(
        "Map of each word or concept",
        key="regions_words",
        data=lambda: _numbers(maps),
        help="Attention: the softmax weight that image positions give to the word, averaged over heads and layers. "
        "Relevance: attention weighted by its gradient and propagated through the layers (Chefer et al. 2021). "
        "ConceptAttention: the softmax over the concepts of a family, where attention outputs are those of the concept "
        "(Helbling et al. 2025); also of concepts that the prompt does not name.",
    ):
        method = _choose_word_source(maps)
        near = _nearest(page, maps[maps["method"] == method], ["model_id"]).copy()
        order = _words_in_order(page, prompt, near)
        name = near["model"] + [f"\nstep {int(step)}" for step in near["step"]]
        near = near[near["word"].isin(order)].assign(note=near["word"], name=name)
        rows = list(near.sort_values("model_id")["name"].unique())
        drawing.draw(
            images.tiles(
                draw(near, "name", "word", frames, overlay, scale),
                rows,
                columns=order,
                bar=f"{tools.tool_title(method)} per word",
                of=BAR_OF[scale],
                cell=92,
            ),
            key="regions_words",
            alt="Map of every word at the chosen step",
        )
        st.caption(
            f"Nearest recorded step: {_listed(near['step'])}. "
            + (
                "One colour scale across each row: a dark tile is a word or concept with low values."
                if scale == saliency.PER_ROW
                else _scale_text(scale)
            )
        )


def _choose_word_source(maps: pd.DataFrame) -> str:
    """Attention, relevance or concepts."""
    sources = tools.tool_order(list(maps["method"]))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.segmented_control(
            "Source",
            sources,
            format_func=tools.tool_title,
            default=sources[0],
            required=True,
            key="word_method",
            bind=BIND,
        )
    return str(chosen or sources[0])


def _words_in_order(page: Page, prompt: int, near: pd.DataFrame) -> list[str]:
    """The words with a map in the prompt's order, without articles and prepositions."""
    text = queries.ask(page.snapshot, "prompt_texts", ids=[prompt])["text"].iloc[0]
    return analysis.telling(analysis.in_prompt_order(text, near["word"]), MOST_WORDS)


def agreement(page: Page) -> None:
    """How far the tools' maps agree, at the chosen step or over all steps, over the prompt set."""
    data = page.labelled(agreements.pairs(page.ask_scope))
    if data.empty:
        return
    with cards.card("Agreement of the tools", key="agreement", data=data, help=AGREEMENT_HELP):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            model = choices.choose_model(page, "agreement_model")
            steps = st.segmented_control(
                "Steps", STEPS, default=STEPS[0], required=True, key="agreement_steps", bind=BIND
            )
        rows = data[data["model_id"] == model]
        if rows.empty:
            st.caption("No two tools were run on the same step of this model.")
            return
        whole = rows["step"] == agreements.ALL_STEPS
        if steps == STEPS[1]:
            shown, where = rows[whole], "All explained steps, averaged"
        else:
            shown = _nearest(page, rows[~whole], ["model_id", "method_a", "method_b"])
            where = f"Nearest explained step: {_listed(shown['step'])}"
        _matrices(page, shown)
        st.caption(
            f"{where}. Mean over {int(shown['prompts'].min())} to {int(shown['prompts'].max())} prompts, "
            "seeds averaged; 95 % t interval over prompts in the tooltip and the CSV."
        )


STEPS = ("At the step", "All steps")
# Measure, its limits, the colour bar's title and the scale.
AGREEMENTS = (
    ("spearman", ("low", "high"), "Spearman  ↑", (-0.2, 1.0)),
    ("iou", ("iou_low", "iou_high"), "IoU of the top 20 %  ↑", (0.0, 1.0)),
)


def _matrices(page: Page, rows: pd.DataFrame) -> None:
    """Spearman and IoU of every pair of tools, side by side."""
    for column, (measure, limits, title, domain) in zip(st.columns(2), AGREEMENTS, strict=True):
        pairs = pd.DataFrame(
            {
                "first": rows["method_a"].map(tools.tool_title),
                "second": rows["method_b"].map(tools.tool_title),
                "value": rows[measure],
                "low": rows[limits[0]],
                "high": rows[limits[1]],
                "n": rows["prompts"],
            }
        ).dropna(subset=["value"])
        with column:
            drawing.draw(
                tools.matrix(pairs, title, domain=domain),
                key=f"agreement_{measure}",
                alt=f"Agreement of the tools' maps: {title}",
            )


def _listed(steps: Sequence[int] | pd.Series) -> str:
    return ", ".join(str(int(step)) for step in sorted(set(steps)))


show(current())
