"""Timesteps: which concept appears when, and what the image looks like then."""

from __future__ import annotations

from typing import Any

import charts
import controls
import pandas as pd
import queries
import streamlit as st
import uncertainty
from controls import BIND, Page

SIMILARITY_HELP = (
    "Cosine between the CLIP embeddings of the predicted clean image (x0) at a step "
    "and of the concept's phrasings, "
    "-1 to 1. Higher means that the concept is seen more."
)
SHARE_HELP = (
    "Share of a family's concepts whose similarity has passed half of its total rise "
    "for good by this step, 0 to 100 %. "
    "A curve further left is a family that appears earlier."
)
PREDICT_HELP = (
    "Pearson correlation, over prompts, of the similarity to the whole prompt at a "
    "step with the final one. Where it "
    "stays above 0.9 the outcome is settled."
)
MEASURES = {
    "Similarity": ("mean", "Mean similarity (cosine)", SIMILARITY_HELP),
    "Change since step 0": ("change", "Change of mean similarity since step 0", SIMILARITY_HELP),
    "Predicts the final": ("r_final", "Correlation with the final similarity (r)", PREDICT_HELP),
}
MOST_CURVES = 6
MOST_RANKED = 16


def show(page: Page) -> None:
    """The whole view."""
    controls.header("Timesteps", "Which concept appears when, and what the image looks like then.")
    if queries.ask_scope(page.snapshot, "any_trajectory", page.scope).empty:
        controls.empty(
            "No trajectory within these filters.",
            "Clear a filter in the sidebar. A study whose samples all failed has none: "
            "see the Overview.",
        )
        return
    images(page)
    named = bool(queries.ask_scope(page.snapshot, "named_pairs", page.scope)["pairs"].iloc[0])
    axis, only_named = options(named)
    concept_curves(page, axis, only_named)
    emerged(page, axis, only_named)
    heat_map(page, only_named)
    ranking(page, only_named)


def options(named: bool) -> tuple[charts.Axis, bool]:
    """What the horizontal axis shows, and which prompts count."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        axis = st.segmented_control(
            "Horizontal axis",
            list(charts.AXES),
            default="Step",
            required=True,
            key="axis",
            bind=BIND,
            help="Models with other schedules stand at other places on the noise scale: "
            "log-SNR lines them up.",
        )
        if not named:
            return charts.AXES[axis or "Step"], False
        which = st.segmented_control(
            "Prompts that count",
            ["Naming the concept", "All"],
            default="Naming the concept",
            required=True,
            key="which",
            bind=BIND,
            help="A concept's similarity rises where the prompt asks for it; over all "
            "prompts it shows what leaks in unasked.",
        )
    return charts.AXES[axis or "Step"], which != "All"


def images(page: Page) -> None:
    """Predicted clean images: many prompts at the chosen step, or one prompt over all steps."""
    prompts = queries.ask_scope(page.snapshot, "prompt_options", page.scope)
    texts = {
        int(i): f"{i}: {controls.shorten(t, 70)}"
        for i, t in zip(prompts["prompt_id"], prompts["text"], strict=True)
    }
    seed = page.scope.seeds[0]
    with controls.card(
        "What the models see",
        key="frames",
        help="The predicted clean image x0 at a step: what the image would be if the model "
        "stopped guessing here.",
    ):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            mode = st.segmented_control(
                "Show",
                ["At the step", "Over the steps"],
                default="At the step",
                required=True,
                key="mode",
                bind=BIND,
            )
            if len(page.scope.seeds) > 1:
                seed = int(
                    st.segmented_control(
                        "Seed", page.scope.seeds, default=seed, required=True, key="seed", bind=BIND
                    )
                    or seed
                )
            chosen = st.multiselect(
                "Prompts",
                list(texts),
                format_func=lambda i: texts[i],
                key="shown",
                bind=BIND,
                placeholder=f"{min(8, len(texts))} spread over the set",
                max_selections=12,
            )
        ids = [int(i) for i in chosen] or [
            list(texts)[i] for i in _spread(len(texts), 8 if mode == "At the step" else 1)
        ]
        if mode == "At the step":
            _at_the_step(page, ids, texts, seed)
        else:
            for prompt_id in ids[:4]:
                _over_the_steps(page, prompt_id, texts[prompt_id], seed)


def _spread(total: int, number: int) -> list[int]:
    return charts.thin(range(total), number) if number > 1 else [0] * (total > 0)


def _at_the_step(page: Page, ids: list[int], texts: dict[int, str], seed: int) -> None:
    frames = queries.ask_scope(
        page.snapshot, "frames", page.scope, prompts=ids, seed=seed, progress=page.progress
    )
    if frames.empty:
        controls.empty(
            "No frames of these prompts and this seed.",
            "Choose other prompts, or record frames in the study's measures.",
        )
        return
    table = page.labelled(frames)
    table["text"] = table["prompt_id"].map(texts)
    event = controls.draw(
        charts.contact_sheet(table, page.models, look=page.look),
        key="sheet",
        on_select="rerun",
        alt="Predicted clean images at the chosen step",
    )
    controls.open_prompt(event)
    st.caption(
        f"{controls.place(page)}. {controls.count(len(ids), 'prompt')}, seed {seed}. "
        "Move the step at the bottom of the page; click an image to open its prompt."
    )


def _over_the_steps(page: Page, prompt_id: int, text: str, seed: int) -> None:
    frames = queries.ask_scope(
        page.snapshot, "prompt_frames", page.scope, prompt=prompt_id, seed=seed
    )
    st.text(text)
    if frames.empty:
        st.caption(
            "No frames of this prompt and seed: its samples failed, or the study records none."
        )
        return
    controls.strip(page, frames, key=f"strip_{prompt_id}")


def concept_curves(page: Page, axis: charts.Axis, named: bool) -> None:
    """Similarity over steps for a few concepts, a chart each."""
    names = {
        int(i): name
        for i, name in zip(page.concepts["concept_id"], page.concepts["name"], strict=True)
    }
    names[0] = "(whole prompt)"
    labels = {i: names[i] for i in [0, *page.concepts["concept_id"].astype(int)]}
    default = _telling(page, named)
    chosen = st.multiselect(
        "Concepts",
        list(labels),
        format_func=lambda i: labels[i],
        key="concepts",
        bind=BIND,
        placeholder="The whole prompt, and the concept of each family that rises most",
        max_selections=MOST_CURVES,
    )
    ids = [int(i) for i in chosen] or default
    data = every_curve(page, named)
    table = page.placed(page.labelled(data[data["concept_id"].isin(ids)]))
    table["concept"] = table["concept_id"].map(labels)
    controls.legend(page.models)
    grid = st.grid(2, min_column_width=380)
    for number, concept_id in enumerate(ids):
        own = table[table["concept_id"] == concept_id]
        with grid.cell():
            _concept_card(page, own, labels[concept_id], axis, number)
    controls.vast_note(own for _, own in table.groupby("concept_id"))


def _concept_card(page: Page, own: pd.DataFrame, name: str, axis: charts.Axis, number: int) -> None:
    if own.empty:
        with controls.card(controls.plain(name), key=f"curve{number}"):
            st.caption(
                "No prompt within the filters names this concept: let all prompts "
                "count to see its curve."
            )
        return
    most = int(own["prompts"].max())
    controls.figure(
        controls.plain(name),
        charts.curves(
            own,
            page.models,
            axis,
            "Similarity (cosine)  ↑",
            marker=page.marker(axis),
            look=page.look,
            height=250,
        ),
        own,
        f"Mean over {controls.count(most, 'prompt')} × "
        f"{controls.count(len(page.scope.seeds), 'seed')}; band: 95 % t interval over "
        f"prompts. {controls.STEP_CLICK}",
        key=f"curve{number}",
        help=SIMILARITY_HELP,
        on_click=controls.to_step(page),
    )


def every_curve(page: Page, named: bool) -> pd.DataFrame:
    """The curves of the whole prompt and of every concept: one question for the whole view."""
    return queries.curves(page.snapshot, page.scope, [0, *page.scope.concepts], named=named)


def _telling(page: Page, named: bool) -> list[int]:
    """The whole prompt, and of each family the concept that rises most over many prompts."""
    data = every_curve(page, named)
    own = data.sort_values("step").groupby(["model_id", "concept_id"])
    ends = own.agg(first=("mean", "first"), last=("mean", "last"), prompts=("prompts", "min"))
    ends["weight"] = (ends["last"] - ends["first"]) * ends["prompts"] ** 0.5
    weight = ends.groupby("concept_id")["weight"].mean().reset_index()
    ranked = weight.merge(page.concepts, on="concept_id").sort_values("weight", ascending=False)
    return [0, *ranked.drop_duplicates("family")["concept_id"].astype(int)][:MOST_CURVES]


def emerged(page: Page, axis: charts.Axis, named: bool) -> None:
    """Share of each family that has emerged by a step."""
    data = queries.ask_scope(page.snapshot, "emerged_share", page.scope, named=named)
    if data.empty:
        return
    low, high = uncertainty.t_limits(data["mean"], data["sd"], data["prompts"])
    table = page.placed(page.labelled(data.assign(low=low.clip(0, 1), high=high.clip(0, 1))))
    families = table.groupby("family")["mean"].mean().sort_values(ascending=False).index.tolist()
    with controls.card(
        "How much of each family has emerged", key="emerged", data=table, help=SHARE_HELP
    ):
        controls.legend(page.models)
        grid = st.grid(3, min_column_width=250)
        for number, family in enumerate(families[:6]):
            with grid.cell():
                own = table[table["family"] == family]
                st.markdown(f"**{controls.plain(family)}**")
                controls.draw(
                    charts.curves(
                        own,
                        page.models,
                        axis,
                        "Emerged",
                        marker=page.marker(axis),
                        height=200,
                        look=page.look,
                        domain=(0, 1),
                        format=".0%",
                    ),
                    key=f"emerged{number}",
                    on_click=controls.to_step(page),
                    alt=f"Share of the family {family} that has emerged by each step",
                )
        st.caption(
            "Families in the order in which they emerge; "
            f"{controls.count(int(table['prompts'].max()), 'prompt')} × "
            f"{controls.count(len(page.scope.seeds), 'seed')}; band: 95 % t interval "
            f"over prompts. What never emerges keeps a curve below 100 %. {controls.STEP_CLICK}"
        )
        controls.vast_note((own for _, own in table.groupby("family")), domain=(0, 1))


def heat_map(page: Page, named: bool) -> None:
    """All concepts of one model over all steps."""
    data = every_curve(page, named)
    table = page.labelled(data).merge(
        page.concepts.rename(columns={"name": "concept"}), on="concept_id"
    )
    with controls.card(
        "Every concept at every step",
        key="heat",
        data=table,
        help="One row per concept, grouped by family, earliest riser on top.",
    ):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            model = controls.choose_model(page, "heat_model")
            measure = st.segmented_control(
                "Measure",
                list(MEASURES),
                default="Change since step 0",
                required=True,
                key="measure",
                bind=BIND,
            )
        column, title, _ = MEASURES[measure or "Similarity"]
        own = table[table["model_id"] == model].copy()
        if own.empty:
            st.caption("This model has no trajectory within the filters.")
            return
        own["change"] = own["mean"] - own.sort_values("step").groupby("concept_id")[
            "mean"
        ].transform("first")
        own["value"] = own[column]
        nearest = round(page.progress * int(own["step"].max()))
        limits = (-1.0, 1.0) if column == "r_final" else None
        controls.draw(
            charts.heat(
                own, title, marker=nearest, order=_by_family(own), look=page.look, domain=limits
            ),
            key="heat",
            on_click=to_cell(page, model),
            alt=f"{title} per concept and step",
        )
        st.caption(
            f"Means over the {'prompts that name the concept' if named else 'prompts'} "
            f"({int(own['prompts'].min())} to {int(own['prompts'].max())} of them); the "
            "frame marks the chosen step. Click a cell to go to its step and see its concept's curve."
        )


def concept_ids(page: Page) -> dict[str, int]:
    """The ids of the concepts shown, by name."""
    return dict(zip(page.concepts["name"], page.concepts["concept_id"].astype(int), strict=True))


def to_cell(page: Page, model_id: int) -> controls.Click:
    """A click on a cell: its step, and its concept's curve beside those already chosen."""
    step = controls.to_step(page, model_id)
    ids = concept_ids(page)

    def act(picked: dict[str, Any]) -> None:
        step(picked)
        held = list(st.session_state.get("concepts") or [])
        clicked = ids.get(str(picked.get("concept")))
        if clicked is not None and clicked not in held:
            st.session_state["concepts"] = [*held, clicked][-MOST_CURVES:]

    return act


def _by_family(own: pd.DataFrame) -> list[str]:
    """Concepts grouped by family, in each the one that crosses half of its rise first on top."""
    wide = own.pivot_table(index="concept", columns="step", values="mean")
    rise = wide.sub(wide.iloc[:, 0], axis=0)
    half = rise.ge(rise.iloc[:, -1] / 2, axis=0).idxmax(axis=1).rename("half").reset_index()
    order = half.merge(own[["concept", "family"]].drop_duplicates(), on="concept")
    first = order.groupby("family")["half"].transform("mean")
    return (
        order.assign(first=first)
        .sort_values(["first", "family", "half", "concept"])["concept"]
        .tolist()
    )


def ranking(page: Page, named: bool) -> None:
    """Which concepts emerge first, and from when on the outcome is settled."""
    data = queries.ask_scope(page.snapshot, "emergence", page.scope, named=named)
    data = data[data["n"] > 0]
    left, right = st.columns([3, 2])
    with left:
        _ranking_card(page, data)
    with right:
        predictability(page, named)


def _ranking_card(page: Page, data: pd.DataFrame) -> None:
    if data.empty:
        with controls.card("Which concept emerges first", key="ranking"):
            st.caption(
                "No concept emerges within these filters: no similarity rises by more "
                "than the noise between seeds."
            )
        return
    low, high = uncertainty.t_limits(data["mean"], data["sd"], data["n"])
    table = page.labelled(data.assign(low=low, high=high)).rename(columns={"mean": "estimate"})
    table["rank"] = ""
    for model in table["model_id"].unique():
        mask = table["model_id"] == model
        table.loc[mask, "rank"] = uncertainty.tied_ranks(table[mask])
    table = table.rename(columns={"estimate": "mean"})
    order = table.groupby("concept")["mean"].mean().sort_values().index.tolist()
    shown = table[table["concept"].isin(order[:MOST_RANKED])].copy()
    shown["place"] = shown["concept"].map({name: i for i, name in enumerate(order)})
    shown = shown.sort_values(["place", "model_id"])
    with controls.card(
        "Which concept emerges first",
        key="ranking",
        data=table,
        help="Earlier is further left. Thick bar: 95 % interval of the mean over prompts; "
        "thin line: quartiles over samples.",
    ):
        controls.legend(page.models)
        controls.draw(
            charts.emergence(
                shown,
                page.models,
                "concept",
                last_step=page.last_step,
                look=page.look,
                marker=page.step,
                row_height=28,
            ),
            key="ranking",
            on_click=controls.to_filter("concepts", "concept", concept_ids(page), MOST_CURVES),
            alt="Emergence step per concept and model",
        )
        st.caption(
            f"{'The first ' + str(MOST_RANKED) + ' of ' if len(order) > MOST_RANKED else ''}{controls.count(len(order), 'concept')}; "
            "95 % t interval over the prompts in which it emerges. All ranks are in the table and the CSV. Click a "
            "concept to see its curve above, again to take it away."
        )
        _rank_table(table)


def _rank_table(table: pd.DataFrame) -> None:
    with st.expander("Ranks, with ties where intervals overlap", icon=":material/leaderboard:"):
        st.dataframe(
            table.sort_values(["model_id", "mean"])[
                [
                    "model",
                    "rank",
                    "concept",
                    "family",
                    "mean",
                    "low",
                    "high",
                    "median",
                    "q1",
                    "q3",
                    "emerged_share",
                    "n",
                ]
            ],
            hide_index=True,
            alt="Emergence ranks",
            column_config={
                "model": "Model",
                "rank": st.column_config.TextColumn(
                    "Rank", help="= marks a tie: the intervals overlap, or limits are unknown"
                ),
                "concept": "Concept",
                "family": "Family",
                **{
                    c: st.column_config.NumberColumn(t, format="%.1f")
                    for c, t in {
                        "mean": "Mean step",
                        "low": "95 % low",
                        "high": "95 % high",
                        "median": "Median",
                        "q1": "Q1",
                        "q3": "Q3",
                    }.items()
                },
                "emerged_share": st.column_config.NumberColumn("Emerges in", format="percent"),
                "n": "Prompts",
            },
        )


def predictability(page: Page, named: bool) -> None:
    """From which step on the final similarity to the prompt can be told."""
    data = every_curve(page, named)
    data = data[data["concept_id"] == 0].dropna(subset=["r_final"])
    table = page.placed(page.labelled(data))
    table["mean"] = table["r_final"]
    if table.empty:
        with controls.card("When the outcome is settled", key="predict", help=PREDICT_HELP):
            st.caption(
                "A correlation over prompts needs at least two prompts whose similarities differ."
            )
        return
    table = uncertainty.correlation_limits(table, "mean", "prompts")
    settled = [
        f"{controls.plain(page.label(int(m)))}: {_settled(own)}"
        for m, own in table.groupby("model_id")
    ]
    axis = charts.AXES["Step"]
    with controls.card("When the outcome is settled", key="predict", data=table, help=PREDICT_HELP):
        controls.legend(page.models)
        controls.draw(
            charts.predictability(
                table, page.models, axis, marker=page.marker(axis), look=page.look
            ),
            key="predict",
            on_click=controls.to_step(page),
            alt="Correlation with the final similarity to the prompt, per step",
        )
        st.caption(
            f"Over {controls.count(int(table['prompts'].max()), 'prompt')} (seeds averaged); "
            "band: 95 % interval (Fisher z). "
            f"From r = 0.9 on, for good: {'; '.join(settled)}. {controls.STEP_CLICK}"
        )


def _settled(own: pd.DataFrame) -> str:
    below = own[own["mean"] < 0.9]["step"]
    first = int(below.max()) + 1 if len(below) else int(own["step"].min())
    return f"step {first}" if first <= int(own["step"].max()) else "never"


show(controls.current())
