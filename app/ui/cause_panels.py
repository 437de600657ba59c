"""Cards about prompt switching: when concepts are visible and decided, success curves, images, differences of models."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app.analysis import emergence, switching, uncertainty, windows
from app.charts import causes as charts
from app.charts import curves as curves_charts
from app.charts.axes import Axis
from app.charts.style import OUTLINE as CHOSEN
from app.ui import cards, choices, drawing, tables
from app.ui.page import Page
from app.ui.step_pictures import Cell, Frame, Sheet, is_picture, show, side_of
from app.ui.text import legend, plain

OUTCOMES = {"judge": "Judge", "contrast": "Scorer's contrast", "preference": "Scorer's preference"}
OUTCOME_HELP = (
    "Who says whether the final image has the concept. Judge: scenes-judge reads it off the picture. Contrast: as in emergence, at "
    "the last step. Preference: the image is closer to the prompt than to its base."
)
DIRECTIONS = {"insert": "Insert the concept", "remove": "Take it away"}
DIRECTION_HELP = "Insert: sampled from the base until the step, from the prompt with the concept after it. Take away: the other way round."
HELP = (
    "Visible: emergence, the predicted clean image shows the concept. Decided: up to there a switch of the prompt still puts the "
    "concept into the final image. Visible before decided: it is seen, and can still be changed."
)
SWITCH_STEP = "switch_step"
PLACES = "Position between two measured switches: halfway; intervals of decided positions also cover that distance."


def visible_and_decided(page: Page, axis: Axis, outcome: str) -> None:
    """When each family is visible and when it is decided, per model."""
    table = page.once(windows.causes, outcome=outcome, axis=axis.field)
    if table.empty:
        return
    cards.figure(
        "Visible and decided",
        charts.timeline(table, page.models, axis),
        table,
        f"Hollow: visible ({emergence.RESTRICTED}; over prompts that name the concept). Filled: "
        f"decided. Seeds averaged within a prompt; 95 % t interval over prompts. {PLACES}{window_text(table)}",
        key="causes",
        help=HELP,
        models=page.models,
    )


def window_text(table: pd.DataFrame) -> str:
    """What a caption says of critical windows, where there are any."""
    if windows.IRREVERSIBLE not in set(table["kind"]):
        return ""
    return " Pale: irreversible, the end of the critical window, with its bootstrap interval."


def success(page: Page, axis: Axis, outcome: str, direction: str) -> None:
    """Success curves of a family, and the images of one prompt's switches."""
    table = page.once(switching.curves, outcome=outcome, direction=direction)
    families = list(dict.fromkeys(table["family"]))
    half = page.once(switching.half_points, outcome=outcome, direction=direction)
    with cards.card("Success of a switch", key="causes_success", data=table, help=HELP):
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            family = choices.choose_one(
                "Differs in", families, {}, "differs", "What the prompt and its base differ in."
            )
            rows = table[table["family"] == family]
            step = _choose_step(rows)
        legend(page.models)
        drawing.draw(
            curves_charts.curves(
                rows,
                page.models,
                axis,
                "Images with the concept",
                marker=float(rows.loc[(rows["step"] - step).abs().idxmin(), axis.field]),
                domain=(0, 1),
                format=".0%",
                look=page.look,
            ),
            key="causes_success",
            on_click=_to_switch,
            alt=f"Share of images with the concept per step of the switch, {family}",
        )
        st.caption(
            f"Share of images that have the concept, by the step from which the second prompt holds; n = {_span(rows['prompts'])} prompts, "
            f"band: 95 % t interval over prompts. {_halves(half[half['family'] == family], axis)} Click a step to see its images below."
        )
    _images(page, family, direction, step)


def _halves(half: pd.DataFrame, axis: Axis) -> str:
    name = axis.field
    said = [
        f"{plain(row['model'])}: {row[f'half_{name}']:.1f} [{row[f'low_{name}']:.1f}, {row[f'high_{name}']:.1f}]"
        if pd.notna(row[f"half_{name}"])
        else f"{plain(row['model'])}: none"
        for _, row in half.iterrows()
    ]
    scale = "log-SNR" if name == "log_snr" else "step"
    return f"Half point ({scale}, 95 % by test inversion): {'; '.join(said)}."


def _choose_step(rows: pd.DataFrame) -> int:
    """The switch that is marked: chosen or clicked, one in the middle to begin with; the link has it."""
    steps = [str(step) for step in sorted({int(step) for step in rows["step"]})]
    if st.session_state.get(SWITCH_STEP) not in steps:
        st.session_state.pop(SWITCH_STEP, None)
    middle = steps[len(steps) // 2]
    chosen = st.segmented_control(
        "Switched at step",
        steps,
        default=middle,
        required=True,
        key=SWITCH_STEP,
        bind=choices.BIND,
        help="The step from which the second prompt holds. A click in the chart chooses it too.",
    )
    return int(chosen or middle)


def _to_switch(picked: dict[str, Any]) -> None:
    if picked.get("step") is not None:
        st.session_state[SWITCH_STEP] = str(int(picked["step"]))


def _span(counts: pd.Series) -> str:
    low, high = int(counts.min()), int(counts.max())
    return f"{low}" if low == high else f"{low} to {high}"


def _images(page: Page, family: str, direction: str, step: int) -> None:
    """One prompt's images at every switch, a row per model, side by side."""
    rows = page.ask_scope("switches")
    rows = rows[(rows["family"] == family) & (rows["direction"] == direction)]
    texts = page.ask("prompt_texts", ids=sorted({int(i) for i in rows["prompt_id"]}))
    with cards.card("Images of the switches", key="causes_images", help=HELP):
        prompt = choices.choose_prompt(texts)
        seed = choices.choose_seed(page)
        images = page.ask_scope("switch_images", prompt=prompt, seed=seed, switched=direction)
        images = images[images["family"] == family]
        if images.empty:
            st.caption("This prompt was not switched with this seed.")
            return
        base = str(images["base"].iloc[0])
        first, second = ("base", "prompt") if direction == switching.INSERT else ("prompt", "base")
        st.text(f"Base: {base}")
        _sheet(page, images[images["base"] == base], step)
        st.caption(
            f"Until the step the {first}, from it on the {second}: at step 0 the image is that of the {second} alone, at the right end that of "
            f"the {first}. The dot marks the step chosen above. Two steps can be laid on top of each other."
        )


def _sheet(page: Page, images: pd.DataFrame, chosen: int) -> None:
    """A row per model, a column per step of the switch."""
    steps = sorted(int(each) for each in images["step"].unique())
    models = [int(each) for each in images["model_id"].unique()]
    layers = [{"label": f"Step {each}", "colour": CHOSEN if each == chosen else ""} for each in steps]  # fmt: skip
    groups = [{"title": page.label(model), "text": page.label(model)} for model in models]
    cells = [
        Cell(steps.index(int(row.step)), models.index(int(row.model_id)), 0, [Frame(0, bytes(row.image))])
        for row in images.itertuples()
        if is_picture(row.image)
    ]  # fmt: skip
    side = side_of(len(steps))
    show(Sheet(layers, groups, cells, "columns", side), "switch_sheet")


def order(page: Page, axis: Axis, outcome: str, direction: str) -> None:
    """Which family is decided first, per model."""
    table = page.once(switching.decided, outcome=outcome, axis=axis.field, direction=direction)
    with cards.card("Order of deciding", key="causes_order", data=table, help=emergence.RANKS):
        tables.show(
            table[list(ORDER)],
            alt="When each family is decided",
            column_config=ORDER,
        )
        st.caption(
            "Decided at: mean over prompts of the position up to which a switch succeeds, over pairs whose two ends differ as they should "
            f"(share). Rank: = where no test separates (paired t test, Holm within the model). {PLACES}"
        )


def differences(page: Page, axis: Axis, outcome: str, direction: str) -> None:
    """What differs between the baseline and the other models."""
    ids = page.models["model_id"].astype(int).tolist()
    baseline = page.baseline if page.baseline in ids else ids[0]
    table = page.once(
        switching.differences,
        outcome=outcome,
        axis=axis.field,
        direction=direction,
        baseline=baseline,
    )
    with cards.card("What differs between models", key="causes_difference", data=table, help=HELP):
        tables.show(
            table[list(GAPS)],
            alt="Differences of deciding between models",
            column_config=GAPS,
        )
        st.caption(
            f"Against {plain(page.label(baseline))}, paired over shared prompts; positive: decided later. 95 % t interval, p by the paired t "
            f"test, Holm over the table. {uncertainty.RULE} {choices.axis_text(page, axis)}"
        )


def against_judge(page: Page) -> None:
    """How often the scorer's views agree with the judge, who knows."""
    table = page.once(switching.agreement)
    if table.empty:
        return
    with cards.card("Scorer against judge", key="causes_judge", data=table, help=OUTCOME_HELP):
        tables.show(
            table.assign(outcome=table["outcome"].map(OUTCOMES))[list(AGREED)],
            alt="Agreement of the scorer with the judge",
            column_config=AGREED,
        )
        st.caption(
            "Share of switched images on which both say the same; 95 % t interval over prompts."
        )


def _number(title: str, format: str = "%.1f") -> Any:
    return st.column_config.NumberColumn(title, format=format)


ORDER: dict[str, Any] = {
    "model": "Model",
    "rank": "Rank",
    "family": "Differs in",
    "mean": _number("Decided at"),
    "low": _number("95 % low"),
    "high": _number("95 % high"),
    "share": _number("Share", "percent"),
    "prompts": "Prompts",
}
GAPS: dict[str, Any] = {
    "model": "Model",
    "family": "Differs in",
    "verdict": "Verdict",
    "difference": _number("Later by", "%+.1f"),
    "low": _number("95 % low", "%+.1f"),
    "high": _number("95 % high", "%+.1f"),
    "q": _number("p (Holm)", "%.2g"),
    "prompts": "Prompts",
}
AGREED: dict[str, Any] = {
    "model": "Model",
    "outcome": "Outcome",
    "mean": _number("Agreement", "percent"),
    "low": _number("95 % low", "percent"),
    "high": _number("95 % high", "percent"),
    "prompts": "Prompts",
}
