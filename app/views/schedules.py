"""Schedules: what changes when the same model is sampled at other timesteps."""

from __future__ import annotations

from dataclasses import replace

import charts
import charts_explain
import controls
import pandas as pd
import queries
import role_panels
import slices
import streamlit as st
import uncertainty
from controls import BIND, Page

AXES = ("Timestep", "Log-SNR", "Step")
SCHEDULE_HELP = (
    "Uniform: evenly spaced timesteps. Early: exponentially dense near the noise, where the layout is made. Late: "
    "dense near the image, where detail is made (Park et al. 2024). The timesteps are those that the scheduler "
    "really used."
)
SIMILARITY_HELP = (
    "Cosine between the CLIP embeddings of the predicted clean image and of the concept's phrasings, -1 to 1. "
    "Higher means that the concept is seen more."
)
MOST_PROMPTS = 8


def show(page: Page) -> None:
    """The whole view."""
    controls.header(
        "Schedules", "What does a timestep stand for? The same model, sampled at other timesteps."
    )
    groups = comparable(page.models)
    if not groups:
        controls.empty(
            "No model was sampled under two schedules within these filters.",
            'Give the study a second entry of the same model with schedule = "early" or "late" (or another '
            "scheduler); data/studies/demo.toml shows how.",
            icon=":material/schedule:",
        )
        return
    page, axis = choose(page, groups)
    timesteps(page, axis)
    pictures(page)
    roles(page, axis)
    concepts(page, axis)
    scores(page)


def comparable(models: pd.DataFrame) -> dict[str, list[int]]:
    """Models (by their first entry's label) that stand in the study with two schedules or more."""
    groups = {}
    for _, own in models.groupby(["source", "revision"], sort=False):
        ways = own[["schedule", "scheduler", "gamma", "steps"]].astype(str).drop_duplicates()
        if len(ways) > 1:
            groups[str(own["label"].iloc[0])] = [int(i) for i in own["model_id"]]
    return groups


def choose(page: Page, groups: dict[str, list[int]]) -> tuple[Page, charts.Axis]:
    """The page, narrowed to the entries of one model, and the horizontal axis."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        name = next(iter(groups))
        if len(groups) > 1:
            name = st.selectbox("Model", list(groups), key="scheduled", bind=BIND, width=240)
        axis = st.segmented_control(
            "Horizontal axis",
            AXES,
            default=AXES[0],
            required=True,
            key="schedule_axis",
            bind=BIND,
            help="At the same timestep (or log-SNR) all schedules hold equally much noise.",
        )
    ids = groups.get(str(name)) or next(iter(groups.values()))
    scope = replace(page.scope, models=tuple(ids))
    narrowed = replace(
        page,
        models=page.models[page.models["model_id"].isin(ids)],
        steps=page.steps[page.steps["model_id"].isin(ids)],
        scope=scope,
    )
    return narrowed, charts.AXES[axis or AXES[0]]


def timesteps(page: Page, axis: charts.Axis) -> None:
    """Where the steps of each schedule stand on the noise scale."""
    data = page.steps.merge(
        page.models[["model_id", "label", "scheduler", "schedule", "gamma"]], on="model_id"
    ).rename(columns={"label": "model"})
    ways = [
        f"{controls.plain(row.label)}: {controls.plain(row.scheduler)}, {controls.plain(row.schedule)}"
        + (f" (gamma {row.gamma:g})" if pd.notna(row.gamma) else "")
        for row in page.models.itertuples()
    ]
    controls.figure(
        "Where the steps are",
        charts_explain.schedule_ticks(data, page.models, axis, look=page.look),
        data,
        f"One tick per denoiser call. {'; '.join(ways)}. {controls.STEP_CLICK}",
        key="timesteps",
        on_click=controls.to_step(page),
        help=SCHEDULE_HELP,
    )


def pictures(page: Page) -> None:
    """The same prompts and seed under each schedule: final images, or those at the chosen step."""
    with controls.card(
        "The same prompts under each schedule",
        key="schedule_images",
        help="Same prompt, same starting noise, other timesteps.",
    ):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            mode = st.segmented_control(
                "Show",
                ["Final image", "At the step"],
                default="Final image",
                required=True,
                key="schedule_mode",
                bind=BIND,
            )
            seed = controls.choose_seed(page)
        images = queries.ask_scope(
            page.snapshot, "gallery", page.scope, seed=seed, number=MOST_PROMPTS
        )
        if len(images) and mode == "At the step":
            ids = images["prompt_id"].unique().tolist()
            texts = dict(zip(images["prompt_id"], images["text"], strict=True))
            images = page.labelled(
                queries.ask_scope(
                    page.snapshot,
                    "frames",
                    page.scope,
                    prompts=ids,
                    seed=seed,
                    progress=page.progress,
                )
            )
            images["text"] = images["prompt_id"].map(texts)
        if images.empty:
            st.caption("No prompt that every schedule has done, or no frames were recorded.")
            return
        images = page.labelled(images.drop(columns="model", errors="ignore"))
        event = controls.draw(
            charts.contact_sheet(images, page.models, look=page.look),
            key="schedule_images",
            on_select="rerun",
            alt="Images of the same prompts under each schedule",
        )
        controls.open_prompt(event)
        where = "Final images" if mode != "At the step" else controls.place(page)
        st.caption(f"{where}, seed {seed}. Click an image to open its prompt.")


def roles(page: Page, axis: charts.Axis) -> None:
    """Word relevance per role, over the steps and in all."""
    sources = queries.ask_scope(page.snapshot, "word_sources", page.scope)
    if sources.empty:
        return
    source = "relevance" if "relevance" in set(sources["source"]) else "attention"
    group = sources.loc[sources["source"] == source, "layer_group"].iloc[0]
    asked = {"source": source, "layer_group": group}
    data = queries.ask_scope(page.snapshot, "role_curves", page.scope, **asked)
    sums = queries.ask_scope(page.snapshot, "role_sums", page.scope, **asked)
    if data.empty:
        return
    table = role_panels.role_table(page, data, "total")
    what = "Word relevance" if source == "relevance" else "Attention"
    with controls.card(
        f"{what} per role under each schedule", key="schedule_roles", data=table, help=ROLE_HELP
    ):
        controls.legend(page.models)
        role_panels.role_grid(page, table, source, axis)
        st.caption(
            f"Sum over a role's words within a prompt; mean over {controls.count(int(table['prompts'].max()), 'prompt')}, "
            f"seeds averaged; band: 95 % t interval over prompts. {controls.STEP_CLICK}"
        )
    low, high = uncertainty.t_limits(sums["mean"], sums["sd"], sums["prompts"])
    bars = page.labelled(sums.assign(low=low, high=high))
    controls.figure(
        f"{what} in all",
        charts_explain.role_bars(bars, page.models, f"{what}, mean over steps  ↑", look=page.look),
        bars,
        "Mean over the measured steps of what a role's words get together (the paper sums; a mean does not grow "
        "with the number of steps); 95 % t interval over prompts. Click a role to count only prompts that have it, "
        "again for all.",
        key="role_sums",
        on_click=controls.to_filter("slice_roles", "role", {role: role for role in slices.ROLES}),
        help=ROLE_HELP,
        models=page.models,
    )


ROLE_HELP = (
    "Words have roles: subject, relation, object, attribute; all others count as other. Relevance: attention "
    "weighted by its gradient (Chefer et al. 2021), scaled to 0..1 over the prompt's words within a step. Higher "
    "means that the role's words act more at that step."
)


def concepts(page: Page, axis: charts.Axis) -> None:
    """Concept similarity over the noise scale under each schedule, a chart per family."""
    data = queries.curves(page.snapshot, page.scope, [0, *page.scope.concepts], named=True)
    if data.empty:
        return
    table = page.placed(page.labelled(data)).merge(
        page.concepts[["concept_id", "name", "family"]], on="concept_id", how="left"
    )
    table["family"] = table["family"].fillna("whole prompt")
    kept = family_means(table)
    families = ["whole prompt", *dict.fromkeys(page.concepts["family"])]
    families = [f for f in families if f in set(kept["family"])][:6]
    with controls.card(
        "Concept similarity under each schedule",
        key="schedule_concepts",
        data=kept,
        help=SIMILARITY_HELP,
    ):
        controls.legend(page.models)
        grid = st.grid(3, min_column_width=230)
        for number, family in enumerate(families):
            own = kept[kept["family"] == family]
            with grid.cell():
                st.markdown(f"**{controls.plain(family.capitalize())}**")
                controls.draw(
                    charts.curves(
                        own,
                        page.models,
                        axis,
                        "Similarity  ↑",
                        marker=page.marker(axis),
                        look=page.look,
                        height=210,
                    ),
                    key=f"schedule_family{number}",
                    on_click=controls.to_step(page),
                    alt=f"Similarity to the family {family} under each schedule",
                )
        st.caption(
            "Mean over the concepts of a family that prompts name, weighted by their number of prompts, and over those "
            "prompts; whole prompt: band is a 95 % t interval over prompts. A family's band is left out: its "
            f"concepts share prompts. {controls.STEP_CLICK}"
        )
        controls.vast_note(own for _, own in kept.groupby("family"))


def family_means(table: pd.DataFrame) -> pd.DataFrame:
    """One row per (model, family, step): the concepts' means, weighted by their prompts."""
    weighted = table.assign(weight=table["mean"] * table["prompts"])
    keys = ["model_id", "model", "family", "step", "timestep", "log_snr", "progress"]
    out = weighted.groupby(keys, as_index=False, sort=False).agg(
        weight=("weight", "sum"),
        prompts=("prompts", "sum"),
        low=("low", "first"),
        high=("high", "first"),
    )
    whole = out["family"] == "whole prompt"
    return out.assign(
        mean=out["weight"] / out["prompts"],
        low=out["low"].where(whole),
        high=out["high"].where(whole),
    ).drop(columns="weight")


def scores(page: Page) -> None:
    """How well each schedule's final images follow the prompt, paired with the first."""
    data = queries.ask_scope(page.snapshot, "scores", page.scope)
    wide = data.pivot_table(index="prompt_id", columns="model_id", values="score")
    first = int(page.models["model_id"].iloc[0])
    others = [int(i) for i in page.models["model_id"].iloc[1:] if int(i) in wide]
    if first not in wide or not others:
        return
    rows = []
    for other in others:
        result = controls.compare(wide[first].to_numpy(), wide[other].to_numpy())
        gap = result.difference
        rows.append(
            {
                "model_id": other,
                "row": "CLIP score",
                "mean": gap.estimate,
                "low": gap.low,
                "high": gap.high,
                "p": result.p,
                "win_rate": result.win_rate,
                "d_z": result.d_z,
                "prompts": gap.n,
            }
        )
    table = page.labelled(pd.DataFrame(rows))
    table["q"] = uncertainty.holm(table["p"])
    table["significant"] = table["q"] < 0.05
    candidates = page.models[page.models["model_id"].isin(others)]
    said = "; ".join(
        f"{controls.plain(r.model)}: {r.mean:+.3f} ({uncertainty.p_text(r.q)})"
        for r in table.itertuples()
    )
    controls.figure(
        f"Does the schedule change the outcome? Against {controls.plain(page.label(first))}",
        charts.forest(
            table,
            candidates,
            "row",
            "Difference in CLIP score  (better →)",
            look=page.look,
            row_height=40,
        ),
        table,
        f"{said}. Paired over {controls.count(int(table['prompts'].max()), 'prompt')}; {uncertainty.PAIRED}; "
        "Wilcoxon signed-rank with Holm's correction; hollow: not significant.",
        key="schedule_scores",
        models=candidates,
        help="CLIP score: cosine of the final image and its prompt. Higher is better.",
    )


show(controls.current())
