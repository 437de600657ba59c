"""Cards of the page Changes: the prompts that became worse with their images, models, concepts, what is not compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from app.analysis import changes, tags, uncertainty
from app.analysis.definitions import Redefined
from app.charts import rows as rows_charts
from app.database.notebook import ReviewError, store_of
from app.ui import cards, drawing, links, pictures, queries, step_pictures, text
from app.ui.change_choice import Compared
from app.ui.page import BIND, Page
from app.ui.queries import Snapshot
from app.ui.step_pictures import Cell, Frame, Sheet

MOST = 100
SIDES = {"Worse": changes.WORSE, "Better": changes.BETTER}
SAID = "_change_tag_said"
HELP = (
    f"Newer minus older snapshot over the prompts and seeds that both have; {uncertainty.PAIRED}, paired t test, p corrected "
    f"by Holm over the models. {uncertainty.RULE} Adding prompts or seeds changes no shared sample: a difference means that "
    "they were sampled again with another model, scheduler or environment."
)


def findings(page: Page, table: pd.DataFrame, compared: Compared) -> None:
    """A line for each model, the largest loss first.

    Args:
        page: the newer snapshot's page.
        table: the rows of `changes.by_model`.
        compared: the measure.
    """
    gain = compared.measure.sign * table["difference"]
    rows = table.loc[gain.sort_values(kind="stable").index].to_dict("records")
    lines = [_sentence(page, {str(k): v for k, v in row.items()}, compared) for row in rows]
    st.markdown("  \n".join(lines))


def _sentence(page: Page, row: dict[str, Any], compared: Compared) -> str:
    """One model's finding in words, as Markdown."""
    label = text.plain(label_of(page, str(row["model"])))
    title = text.plain(compared.title)
    if not row["shared"]:
        return f"**{label}**: the snapshots share no sample with {title}."
    if not row["altered"]:
        return f"**{label}**: {title} is unaltered on all {text.count(row['shared'], 'shared prompt')}."
    return (
        f"**{label}**: {title} {interval(row)}, **{row['said']}** ({uncertainty.p_text(row['q'])}, Holm); "
        f"{row['worse']:,} of {text.count(row['shared'], 'shared prompt')} worse, {row['better']:,} better."
    )


def interval(row: dict[str, Any]) -> str:
    """A row's difference with its interval."""
    return uncertainty.interval_text(row["difference"], row["low"], row["high"], signed=True)


def label_of(page: Page, name: str) -> str:
    """A model's label by its name; the name where only the older snapshot has it."""
    rows = page.every_model[page.every_model["name"] == name]["label"]
    return str(rows.iloc[0]) if len(rows) else name


def worst(page: Page, before: Snapshot, table: pd.DataFrame, compared: Compared) -> None:
    """The prompts of one model that changed most: whole texts, values, images of both snapshots.

    Args:
        page: the newer snapshot's page.
        before: the older snapshot.
        table: the rows of `changes.prompts`.
        compared: the measure.
    """
    with cards.card(
        "Prompts that changed most", key="changes_prompts", data=table, help=_listed_help()
    ):
        if table.empty:
            st.caption("The snapshots share no sample within these filters.")
            return
        with st.container(horizontal=True, vertical_alignment="bottom"):
            model, side = _choose(page, table)
            number = st.number_input(
                "Prompts",
                1,
                MOST,
                6,
                key="changed_number",
                bind=links.bound("changed_number"),
                width=130,
            )
        listed = _listed(table, model, side, int(number))
        if listed.empty:
            st.caption(f"No prompt became {side.lower()} by more than the threshold.")
            return
        _sheet(page, before, listed, model, compared)
        _tagging(page, listed["prompt_key"].tolist())


def _listed_help() -> str:
    return (
        "Seeds that both snapshots have, averaged within a prompt. The images are of the seed whose value fell the most (or rose "
        "the most). One prompt has no verdict: the rule needs 6 prompts, and stands beside the model's name above."
    )


def _choose(page: Page, table: pd.DataFrame) -> tuple[str, str]:
    """The model, the one with the largest loss of a prompt first, and whether worse or better prompts are listed."""
    names = {label_of(page, name): name for name in dict.fromkeys(table["model"])}
    if st.session_state.get("changed_model") not in names:
        st.session_state.pop("changed_model", None)
    chosen = st.selectbox("Model", list(names), key="changed_model", bind=BIND, width=220)
    side = st.segmented_control(
        "Became", list(SIDES), default="Worse", required=True, key="changed_side", bind=BIND
    )
    return names.get(str(chosen), next(iter(names.values()))), str(side or "Worse")


def _listed(table: pd.DataFrame, model: str, side: str, number: int) -> pd.DataFrame:
    """The prompts of a model with a state, the largest change first."""
    rows = table[(table["model"] == model) & (table["state"] == SIDES[side])]
    return rows.sort_values("gain", ascending=side == "Worse", kind="stable").head(number)


def _sheet(
    page: Page, before: Snapshot, listed: pd.DataFrame, model: str, compared: Compared
) -> None:
    """A row per prompt: its whole text and values, its image before and after; two images can be laid on top of each other."""
    keys = listed["prompt_key"].tolist()
    seeds = sorted({int(seed) for seed in listed["seed"]})
    asked: dict[str, Any] = {"model": model, "keys": keys, "seeds": seeds}
    texts = dict(page.ask("change_texts", keys=keys)[["prompt_key", "text"]].to_numpy())
    rows = listed.to_dict("records")
    groups = [
        {"title": _title(str(texts.get(row["prompt_key"], "")), row), "text": str(texts.get(row["prompt_key"], "")), "key": str(row["prompt_key"])}
        for row in rows
    ]  # fmt: skip
    cells: list[Cell] = []
    for layer, (which, side) in enumerate(((before, "then"), (page.snapshot, "now"))):
        images = queries.ask(which, "change_images", **asked).set_index(["prompt_key", "seed"])[
            "image"
        ]
        cells += _cells(layer, rows, images, side)
    layers = [{"label": "Before", "colour": ""}, {"label": "After", "colour": ""}]
    if not cells:
        st.caption("These samples have no image in either snapshot.")
    step_pictures.show(Sheet(layers, groups, cells, "columns", 150, notes=True), "changed_pictures")
    st.caption(
        f"{text.plain(compared.title)}, mean over the seeds that both snapshots have; {compared.measure.better} is better. Click an "
        "image to open its prompt."
    )


def _title(prompt: str, row: dict[Any, Any]) -> str:
    """What stands beside a prompt's images: its whole text, and its values on a line of their own."""
    seeds = f"{row['seeds_worse']} of {text.count(row['seeds'], 'seed')} worse"
    values = f"{row['difference']:+.4f}: {row['then']:.4f} to {row['now']:.4f} ({seeds})"
    return f"{' '.join(prompt.split())}\n{values}"


def _cells(layer: int, rows: Sequence[dict[Any, Any]], images: pd.Series, side: str) -> list[Cell]:
    """The images of one snapshot, those that it has."""
    cells = []
    for group, row in enumerate(rows):
        image = images.get((row["prompt_key"], row["seed"]))
        if pictures.is_image(image):
            frame = Frame(0, bytes(image), f"Seed {row['seed']}: {row[f'seed_{side}']:.4f}")
            cells.append(Cell(layer, group, 0, [frame]))
    return cells


def _tagging(page: Page, keys: list[str]) -> None:
    """Give the prompts listed a tag, by which a slice can show them on every page."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        tag = st.selectbox("Tag", list(tags.TAGS), key="changed_tag", width=90)
        st.button(
            f"Tag {text.count(len(keys), 'prompt')}",
            icon=":material/sell:",
            key="changed_tag_give",
            on_click=_give,
            args=(page, keys, int(tag or 1)),
        )
        st.button(
            "Show this tag as a slice",
            icon=":material/filter_alt:",
            key="changed_tag_slice",
            on_click=_slice,
            args=(int(tag or 1),),
            help="Every page then counts the prompts with this tag only.",
        )
    if said := st.session_state.pop(SAID, ""):
        st.caption(said)


def _give(page: Page, keys: list[str], tag: int) -> None:
    try:
        tags.add(store_of(page.path), keys, tag)
    except ReviewError as error:
        st.session_state[SAID] = f":material/error: {text.plain(str(error))}"
    else:
        st.session_state[SAID] = f"{text.count(len(keys), 'prompt')} tagged {tag}."


def _slice(tag: int) -> None:
    st.session_state["slice_tags"] = [tag]


def models(page: Page, table: pd.DataFrame, compared: Compared) -> None:
    """Per model: the paired difference with its interval, and the counts of samples and prompts."""
    labels = [label_of(page, name) for name in table["model"]]
    with cards.card("By model", key="changes_models", data=table, help=HELP):
        drawn = table.assign(
            model=labels, mean=table["difference"], significant=table["verdict"] == uncertainty.SEPARABLE,
            prompts=table["shared"], measure=labels, win_rate=table["better"] / table["shared"].clip(lower=1), d_z=None,
        ).dropna(subset=["mean"])  # fmt: skip
        known = page.every_model[page.every_model["label"].isin(drawn["model"])]
        if len(known):
            drawn = drawn[drawn["model"].isin(known["label"])]
            title = f"{compared.title}: newer minus older ({compared.measure.better} is better)"
            drawing.draw(
                rows_charts.changes(drawn, known, title, look=page.look),
                key="changes_models",
                alt="Difference by model",
            )
        _models_table(table, labels)
        samples = "; ".join(
            f"{text.plain(label)} {then:,} → {now:,}"
            for label, then, now in zip(labels, table["done_then"], table["done_now"], strict=True)
        )
        st.caption(
            f"{text.plain(compared.title)}, newer minus older snapshot, {uncertainty.PAIRED}; hollow: not separable. Means are over the "
            f"shared prompts and seeds. Samples done: {samples}."
        )


def _models_table(table: pd.DataFrame, labels: list[str]) -> None:
    number = st.column_config.NumberColumn
    rows = table.to_dict("records")
    shown = pd.DataFrame({
        "model": labels,
        "said": table["said"],
        "difference": [interval({str(k): v for k, v in row.items()}) if row["shared"] else "" for row in rows],
        "q": table["q"].map(uncertainty.p_cell),
        "score_then": table["score_then"], "score_now": table["score_now"],
        "shared": table["shared"], "altered": table["altered"], "worse": table["worse"], "better": table["better"],
    })  # fmt: skip
    st.dataframe(
        shown,
        hide_index=True,
        alt="What changed by model",
        column_config={
            "model": st.column_config.TextColumn("Model", pinned=True, width=110),
            "said": st.column_config.TextColumn("Verdict", width=115),
            "difference": st.column_config.TextColumn("Difference, 95 %", width=175),
            "q": st.column_config.TextColumn("p (Holm)", width=65),
            "score_then": number("Then", format="%.4f", width=60),
            "score_now": number("Now", format="%.4f", width=60),
            "shared": number(
                "Shared", help="Prompts of which both have a sample of the same seed.", width=60
            ),
            "altered": number(
                "Altered",
                help="Of them, with a sample that differs by more than the threshold.",
                width=60,
            ),
            "worse": number("Worse", width=55),
            "better": number("Better", width=55),
        },
    )


def concepts(page: Page, table: pd.DataFrame) -> None:
    """Per model, concept and measure: the paired difference over the prompts that both have, the surest first."""
    if table.empty:
        return
    with cards.card(
        "By concept",
        key="changes_concepts",
        data=table,
        help=HELP.replace("Holm over the models", "Benjamini and Hochberg over the table"),
    ):
        top = table.head(500)
        number = st.column_config.NumberColumn
        shown = pd.DataFrame({
            "model": [label_of(page, name) for name in top["model"]],
            "concept": top["family"] + ": " + top["concept"], "measure": top["measure"], "said": top["said"],
            "difference": [interval({str(k): v for k, v in row.items()}) for row in top.to_dict("records")],
            "q": top["q"].map(uncertainty.p_cell), "shared": top["shared"],
        })  # fmt: skip
        st.dataframe(
            shown,
            hide_index=True,
            alt="What changed by concept",
            column_config={
                "model": st.column_config.TextColumn("Model", pinned=True, width=110),
                "concept": st.column_config.TextColumn("Concept", width=130),
                "measure": st.column_config.TextColumn("Measure", width=150),
                "said": st.column_config.TextColumn("Verdict", width=115),
                "difference": st.column_config.TextColumn("Difference, 95 %", width=175),
                "q": st.column_config.TextColumn("p (BH)", width=65),
                "shared": number("Prompts", width=65),
            },
        )
        which = "that name the concept" if page.names_concepts else "of the study"
        st.caption(
            f"Paired over the prompts {which} that both snapshots have, seeds averaged; {uncertainty.PAIRED}; p corrected by "
            f"Benjamini and Hochberg over {len(table):,} tests. The surest difference first."
            + (" The first 500 rows." if len(table) > 500 else "")
        )


def not_compared(changed: Redefined) -> None:
    """The measures that the snapshots define differently, by name."""
    if changed.table.empty:
        return
    with cards.card(
        "Not compared: measured differently", key="changes_definitions", data=changed.table
    ):
        lines = [
            f"- **{text.plain(row['measure'])}**: {text.plain(row['then'])}{'; now ' + text.plain(row['now']) if row['now'] else ''}"
            for row in changed.table.head(MOST).to_dict("records")
        ]
        st.markdown("\n".join(lines))
        st.caption(
            "A difference of these numbers would be one of the measures, not of the models. Thresholds of the emergence step are "
            "estimated from the prompts of each snapshot that do not name the concept."
        )
