"""Models: is a candidate better than the baseline, where, and how sure is that?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import charts
import controls
import numpy as np
import pandas as pd
import queries
import scorer_agreement
import streamlit as st
import uncertainty
from controls import BIND, Page

CLIP = "CLIP score"
SCORE_HELP = "CLIP score of the final image: cosine to its prompt, -1 to 1; higher is better."
GAP_HELP = (
    "Similarity of the predicted clean image with a concept (cosine, -1 to 1), candidate minus baseline, "
    "paired by prompt: above 0 the candidate is closer to the concept."
)
MOST_ROWS = 14
MOST_CATEGORIES = 16
MOST_MARKS = 28  # rows times candidates: a taller chart leaves its neighbour half empty
MOST_PROMPTS = 4
AGREEMENT = {
    scorer_agreement.AGREE: ":material/check_circle:",
    scorer_agreement.CONTRADICT: ":material/warning:",
    scorer_agreement.UNDECIDED: ":material/help:",
}


def show(page: Page) -> None:
    """The whole view."""
    controls.header(
        "Models", "Is a candidate better than the baseline, where, and how sure is that?"
    )
    if len(page.models) < 2:
        _needs_two(page)
        return
    baseline, candidates = sides(page)
    scores = queries.ask_scope(page.snapshot, "scores", page.scope)
    pairs = paired_scores(page, scores, baseline, candidates)
    if pairs.empty:
        controls.empty(
            "These models share no finished prompt.",
            "A paired comparison needs prompts that both have done. Clear a filter, or "
            "run the rest of the study.",
        )
        return
    shown = page.models[page.models["model_id"].isin(candidates)]
    found = tests(page, pairs, baseline, candidates)
    verdicts(page, found, baseline, candidates)
    measures(page, found, baseline)
    ranks(page, scores[scores["model_id"].isin([baseline, *candidates])])
    if page.scorers:
        scorers_agree(page, baseline, candidates)
    moments = paired_moments(page, baseline, candidates)
    grid = difference_grid(page, moments)
    if len(grid):
        heat_map(page, grid, shown, baseline)
        left, right = st.columns(2)
        with left:
            at_the_step(page, grid, shown, baseline)
        with right:
            over_the_steps(page, moments, shown, baseline)
    left, right = st.columns(2)
    with left:
        per_prompt(page, pairs, shown, baseline)
    with right:
        most_different(page, pairs, shown, baseline)


def _needs_two(page: Page) -> None:
    if len(page.every_model) < 2:
        controls.empty(
            "A comparison needs two models.",
            "This study has one. Add another [[model]] to the study file (another "
            "checkpoint, scheduler, schedule or guidance counts) and run it again: "
            "what is done is kept.".replace("[", "\\["),
            icon=":material/compare_arrows:",
        )
    else:
        controls.empty(
            "A comparison needs two models.",
            "The filter shows one: clear it in the sidebar.",
            icon=":material/compare_arrows:",
        )


def sides(page: Page) -> tuple[int, list[int]]:
    """The baseline and the candidates compared with it."""
    labels = dict(zip(page.models["label"], page.models["model_id"].astype(int), strict=True))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        baseline = st.selectbox("Baseline", list(labels), key="baseline", bind=BIND, width=260)
        others = [label for label in labels if label != baseline]
        chosen = st.multiselect(
            "Candidates",
            others,
            key="candidates",
            bind=BIND,
            placeholder="All others" if len(others) > 1 else others[0],
        )
    names = [label for label in others if label in chosen] or others
    return labels.get(baseline, next(iter(labels.values()))), [labels[name] for name in names]


def paired_scores(
    page: Page, scores: pd.DataFrame, baseline: int, candidates: list[int]
) -> pd.DataFrame:
    """One row per (candidate, prompt) that both models have done."""
    own = scores[scores["model_id"] == baseline][["prompt_id", "score"]].rename(
        columns={"score": "baseline"}
    )
    rest = scores[scores["model_id"].isin(candidates)].rename(columns={"score": "candidate"})
    both = rest.merge(own, on="prompt_id")
    return page.labelled(both.assign(difference=both["candidate"] - both["baseline"]))


def verdicts(page: Page, found: pd.DataFrame, baseline: int, candidates: list[int]) -> None:
    """A card per candidate: paired difference of the CLIP score, and whether it is separable."""
    own = found[found["measure"] == CLIP]
    corrected = own.assign(p=uncertainty.holm(own["p"])).set_index("model_id")
    results = corrected.to_dict("index")
    grid = st.grid(min(len(results), 3), min_column_width=300)
    for candidate in (c for c in candidates if c in results):
        result = results[candidate]
        gap, p = result["difference"], result["p"]
        sure = _sure(result)
        grid.metric(
            f"{controls.model_mark(candidate)} "
            f"{controls.plain(page.label(candidate))} vs "
            f"{controls.plain(page.label(baseline))}",
            f"{gap:+.3f}",
            f"{_word(gap) if sure else 'not separable'} [{result['low']:+.3f}, "
            f"{result['high']:+.3f}]",
            delta_color=("green" if gap > 0 else "red") if sure else "gray",
            delta_arrow=("up" if gap > 0 else "down") if sure else "off",
            delta_description=f"{result['win_rate']:.0%} wins, {uncertainty.p_text(p)}",
            border=True,
            help=controls.with_definition(
                SCORE_HELP + " Mean paired difference over shared prompts, "
                f"{uncertainty.PAIRED}; Wilcoxon p, Holm-corrected.",
                "measures",
            ),
        )


def _word(gap: float) -> str:
    return "better" if gap > 0 else "worse"


def measures(page: Page, found: pd.DataFrame, baseline: int) -> None:
    """Every headline measure, candidate by candidate, with its test."""
    table = measure_table(page, found)
    with controls.card(
        "What differs",
        key="measures",
        data=table,
        help="Paired over shared prompts, seeds averaged within a prompt. d_z: mean "
        "difference over its standard deviation. Cliff's delta: probability that a "
        "candidate's value is the higher of two drawn at random, minus that it is the "
        "lower.",
    ):
        st.dataframe(
            _with_p_text(table.drop(columns="model_id")),
            hide_index=True,
            alt="Paired differences per measure",
            column_config={
                "model": st.column_config.TextColumn("Candidate", pinned=True),
                "measure": st.column_config.TextColumn("Measure", pinned=True),
                "better": st.column_config.TextColumn("Verdict"),
                "difference": st.column_config.NumberColumn("Difference", format="%+.4f"),
                "low": st.column_config.NumberColumn("95 % low", format="%+.4f"),
                "high": st.column_config.NumberColumn("95 % high", format="%+.4f"),
                "p": "p (Holm)",
                "d_z": st.column_config.NumberColumn("d_z", format="%+.2f"),
                "cliffs_delta": st.column_config.NumberColumn("Cliff's delta", format="%+.2f"),
                "win_rate": st.column_config.NumberColumn("Candidate higher", format="percent"),
                "prompts": "Prompts",
            },
        )
        st.caption(
            f"Candidate minus {controls.plain(page.label(baseline))}; the CLIP score also within each "
            "category of prompts. Similarity and "
            "area are means over a family's concepts; emergence is in steps (lower is "
            "earlier). "
            f"{uncertainty.PAIRED}, Wilcoxon signed-rank, "
            "Holm over the table."
        )


def measure_table(page: Page, found: pd.DataFrame) -> pd.DataFrame:
    """One row per (candidate, measure), corrected over the table, with a verdict."""
    table = page.labelled(found).assign(p=uncertainty.holm(found["p"]))
    table["better"] = [_verdict(row) for row in table.to_dict("records")]
    return table[
        [
            "model_id",
            "model",
            "measure",
            "better",
            "difference",
            "low",
            "high",
            "p",
            "d_z",
            "cliffs_delta",
            "win_rate",
            "prompts",
        ]
    ]


def ranks(page: Page, scores: pd.DataFrame) -> None:
    """The models by their CLIP score; those whose intervals overlap share a rank."""
    table = rank_table(page, scores)
    with controls.card(
        "Which rank each model has",
        key="ranks",
        data=table,
        help=SCORE_HELP
        + " A model is ranked one plus the number of models that are separably better: = marks a tie.",
    ):
        number = st.column_config.NumberColumn
        st.dataframe(
            table.drop(columns=["model_id", "sd"]),
            hide_index=True,
            alt="Models by CLIP score, with ties where intervals overlap",
            column_config={
                "rank": "Rank",
                "model": st.column_config.TextColumn("Model", width="medium"),
                "mean": number("CLIP score", format="%.4f"),
                "low": number("95 % low", format="%.4f"),
                "high": number("95 % high", format="%.4f"),
                "prompts": "Prompts",
            },
        )
        st.caption(
            "Each model over its own prompts, seeds averaged; 95 % t interval over prompts. Overlapping intervals tie. "
            "Prompts differ more than models do, so the paired differences above may tell apart models that tie here."
        )


def rank_table(page: Page, scores: pd.DataFrame) -> pd.DataFrame:
    """One row per model, the best first: rank, mean, low, high, prompts."""
    own = scores.groupby("model_id")["score"].agg(mean="mean", sd="std", prompts="count")
    low, high = uncertainty.t_limits(own["mean"], own["sd"], own["prompts"])
    table = page.labelled(own.assign(low=low, high=high).reset_index())
    table = table.assign(rank=uncertainty.tied_ranks(table, ascending=False))
    table = table.sort_values(["mean", "model_id"], ascending=[False, True])
    return table[["model_id", "rank", "model", "mean", "low", "high", "sd", "prompts"]]


def tests(page: Page, pairs: pd.DataFrame, baseline: int, candidates: list[int]) -> pd.DataFrame:
    """One row per (candidate, measure) with its test, not corrected: for the same filters computed once.

    27 tests of 25,000 prompts take 0.2 s, and to find them by their values another 0.08 s.
    """
    key = (page.snapshot, queries.key(page.scope), baseline, tuple(candidates))
    return _tests(key, page, pairs)


@st.cache_data(max_entries=128, show_spinner=False)
def _tests(key: tuple[Any, ...], _page: Page, _pairs: pd.DataFrame) -> pd.DataFrame:
    _, _, baseline, candidates = key
    given = {"baseline": baseline, "candidates": list(candidates)}
    found = queries.ask_scope(_page.snapshot, "paired_families", _page.scope, **given)
    by_family = dict(list(found.groupby(["model_id", "family"])))
    rows = []
    for c in candidates:
        own = _pairs[_pairs["model_id"] == c]
        rows.append(_measure_row(CLIP, own["baseline"], own["candidate"], c))
        rows += _by_category(own, c)
        for column, title in (("final", "Final similarity"), ("emergence", "Emergence step")):
            for family in dict.fromkeys(_page.concepts["family"]):
                if (c, family) in by_family:
                    one = by_family[c, family]
                    first, second = one[f"{column}_baseline"], one[f"{column}_candidate"]
                    rows.append(_measure_row(f"{title}: {family}", first, second, c))
    return pd.DataFrame([row for row in rows if row["prompts"]])


def _by_category(pairs: pd.DataFrame, candidate: int) -> list[dict[str, Any]]:
    """The CLIP score within each category of prompts, where there are several."""
    groups = pairs.groupby("category", sort=True)
    if not 1 < len(groups) <= MOST_CATEGORIES:
        return []
    return [
        _measure_row(
            f"{CLIP}: {name or controls.NO_CATEGORY}", own["baseline"], own["candidate"], candidate
        )
        for name, own in groups
    ]


def scorers_agree(page: Page, baseline: int, candidates: list[int]) -> None:
    """Whether the study's scorers say the same: which model is better, and which prompts came out well."""
    scores = {
        name: queries.ask_scope(replace(page.snapshot, scorer=number), "scores", page.scope)
        for name, number in page.scorers.items()
    }
    table = page.labelled(scorer_agreement.verdicts(scores, baseline, candidates))
    ranks = page.labelled(scorer_agreement.rank_correlations(scores))
    with controls.card(
        "Do the scorers agree?",
        key="scorers",
        data=table,
        help="Each scorer's own verdict on the same images, whichever is chosen in the sidebar. Where scorers contradict "
        "each other, what they were trained on decides, not the models.",
    ):
        said = scorer_agreement.summary(table)
        against = controls.plain(page.label(baseline))
        for candidate, word in said.items():
            one = table.loc[table["model_id"] == candidate, "verdict"].iloc[0]
            what = f": {one}" if word == scorer_agreement.AGREE else ""
            st.markdown(
                f"{AGREEMENT[word]} {controls.plain(page.label(candidate))} vs {against}: "
                f"the scorers **{word}**{what}."
            )
        _agreement_table(table, "Mean differences per scorer", "difference", "Difference")
        _agreement_table(ranks, "Rank correlation of the scorers", "spearman", "Spearman")
        first = controls.plain(next(iter(page.scorers)))
        st.caption(
            f"Above: CLIP score, candidate minus {against}; {uncertainty.PAIRED}, Wilcoxon "
            f"p, Holm over the table. Scales differ from scorer to scorer: compare verdicts, not sizes. Below: Spearman's "
            f"correlation with {first} over a model's prompts, seeds averaged; 95 % by Fisher's z."
        )


def _agreement_table(table: pd.DataFrame, alt: str, measure: str, title: str) -> None:
    order = ["model", "scorer", "verdict", measure, "low", "high", "p", "prompts"]
    number = st.column_config.NumberColumn
    st.dataframe(
        _with_p_text(table[[name for name in order if name in table]]),
        hide_index=True,
        alt=alt,
        column_config={
            "model": st.column_config.TextColumn("Model", pinned=True),
            "scorer": "Scorer",
            "verdict": "Verdict",
            measure: number(title, format="%+.4f" if measure == "difference" else "%+.2f"),
            "low": number("95 % low", format="%+.4f" if measure == "difference" else "%+.2f"),
            "high": number("95 % high", format="%+.4f" if measure == "difference" else "%+.2f"),
            "p": "p (Holm)",
            "prompts": "Prompts",
        },
    )


def _with_p_text(table: pd.DataFrame) -> pd.DataFrame:
    """The rows with p as a text, where there is one: 0.00000155 filled its column and told no more than < 0.001."""
    return table.assign(p=table["p"].map(uncertainty.p_cell)) if "p" in table else table


def _measure_row(
    name: str, baseline: pd.Series, values: pd.Series, candidate: int
) -> dict[str, Any]:
    result = uncertainty.compare(baseline, values)
    return {
        "model_id": candidate,
        "measure": name,
        "difference": result.difference.estimate,
        "low": result.difference.low,
        "high": result.difference.high,
        "p": result.p,
        "d_z": result.d_z,
        "cliffs_delta": result.cliffs_delta,
        "win_rate": result.win_rate,
        "prompts": result.difference.n,
    }


def _sure(row: dict[Any, Any]) -> bool:
    """Whether the interval leaves out 0 and the corrected p is below 0.05."""
    return bool((row["low"] > 0 or row["high"] < 0) and row["p"] < 0.05)


def _verdict(row: dict[Any, Any]) -> str:
    if not _sure(row):
        return "not separable"
    if row["measure"].startswith("Emergence"):
        return "later" if row["difference"] > 0 else "earlier"
    return "higher" if row["difference"] > 0 else "lower"


def paired_moments(page: Page, baseline: int, candidates: list[int]) -> pd.DataFrame:
    """Moments of the paired differences per (candidate, concept, step), of the whole prompt too: one question for the view."""
    scope = replace(page.scope, concepts=(0, *page.scope.concepts))
    return queries.paired_grid(page.snapshot, scope, baseline, candidates)


def difference_grid(page: Page, moments: pd.DataFrame) -> pd.DataFrame:
    """One row per (candidate, concept, step): paired difference, and p corrected over the grid."""
    data = moments[moments["concept_id"] > 0]
    if data.empty:
        return data
    low, high = uncertainty.t_limits(data["mean"], data["sd"], data["prompts"])
    p = uncertainty.paired_t_p(data["mean"], data["sd"], data["prompts"])
    table = page.labelled(data.assign(low=low, high=high, p=p)).merge(
        page.concepts.rename(columns={"name": "concept"}), on="concept_id"
    )
    table["q"] = np.nan
    for candidate in table["model_id"].unique():
        mask = table["model_id"] == candidate
        table.loc[mask, "q"] = uncertainty.benjamini_hochberg(table.loc[mask, "p"])
    table["d_z"] = table["mean"] / table["sd"].where(table["sd"] > 0)
    return table.assign(significant=table["q"] < 0.05)


def heat_map(page: Page, grid: pd.DataFrame, shown: pd.DataFrame, baseline: int) -> None:
    """Where on the concept x step grid a candidate differs, as one picture."""
    with controls.card(
        "Where they differ",
        key="difference",
        data=grid,
        help="Blue: the candidate's images are closer to the concept; orange: the "
        "baseline's are. Dots stay significant after correction.",
    ):
        candidate = _candidate(shown, "difference_model")
        own = grid[grid["model_id"] == candidate]
        order = own.groupby(["family", "concept"], sort=False)["mean"].mean().reset_index()
        order = order.sort_values(["family", "mean"], ascending=[True, False])["concept"].tolist()
        controls.draw(
            charts.difference_heat(
                own,
                f"Similarity, {page.label(candidate)} minus {page.label(baseline)}",
                marker=page.step,
                order=order,
                look=page.look,
            ),
            key="difference",
            on_click=to_cell(page, baseline),
            alt="Paired difference per concept and step",
        )
        share = own["significant"].mean()
        st.caption(
            f"{share:.0%} of {len(own):,} cells differ (dots: paired t test, "
            "Benjamini-Hochberg, q < 0.05). "
            f"{controls.count(int(own['prompts'].max()), 'prompt')} × "
            f"{controls.count(len(page.scope.seeds), 'seed')}; models with other "
            "numbers of steps are matched by progress. Click a cell to go to its step and see its concept "
            "over the steps."
        )


def to_cell(page: Page, baseline: int) -> controls.Click:
    """A click on a cell: its step, and its concept over the steps."""
    step = controls.to_step(page, baseline)
    concept = to_concept(page)

    def act(picked: dict[str, Any]) -> None:
        step(picked)
        concept(picked)

    return act


def to_concept(page: Page) -> controls.Click:
    """A click on a concept: its difference over the steps."""
    ids = dict(zip(page.concepts["name"], page.concepts["concept_id"].astype(int), strict=True))

    def act(picked: dict[str, Any]) -> None:
        if str(picked.get("concept")) in ids:
            st.session_state["concept"] = ids[str(picked["concept"])]

    return act


def _candidate(shown: pd.DataFrame, key: str) -> int:
    labels = dict(zip(shown["label"], shown["model_id"].astype(int), strict=True))
    if len(labels) == 1:
        return next(iter(labels.values()))
    chosen = st.selectbox("Candidate", list(labels), key=key, bind=BIND, width=240)
    return labels.get(chosen, next(iter(labels.values())))


def at_the_step(page: Page, grid: pd.DataFrame, shown: pd.DataFrame, baseline: int) -> None:
    """The largest differences at the chosen step."""
    nearest = round(page.progress * int(grid["step"].max()))
    own = grid[grid["step"] == nearest]
    order = (
        own.groupby("concept")["mean"]
        .apply(lambda gap: gap.abs().max())
        .sort_values(ascending=False)
        .index[: min(MOST_ROWS, MOST_MARKS // len(shown))]
    )
    own = own[own["concept"].isin(order)].copy()
    own["place"] = own["concept"].map(own.groupby("concept")["mean"].mean())
    own = own.sort_values(["place", "model_id"], ascending=[False, True])
    controls.figure(
        f"At step {nearest}",
        charts.forest(
            own,
            shown,
            "concept",
            f"Similarity minus {page.label(baseline)}  (candidate higher →)",
            look=page.look,
        ),
        own,
        f"The {len(order)} concepts that differ most at the chosen step; 95 % t "
        f"interval over {controls.count(int(own['prompts'].max()), 'prompt')}. "
        "Hollow: not significant after Benjamini-Hochberg over the whole grid. "
        "Click a concept to see it over the steps.",
        key="forest",
        help=GAP_HELP,
        on_click=to_concept(page),
        models=shown,
    )


def over_the_steps(page: Page, moments: pd.DataFrame, shown: pd.DataFrame, baseline: int) -> None:
    """The paired difference of one concept over the steps."""
    labels = {
        0: "(whole prompt)",
        **dict(zip(page.concepts["concept_id"].astype(int), page.concepts["name"], strict=True)),
    }
    with controls.card("Over the steps", key="over", data=lambda: table, help=GAP_HELP):
        concept = st.selectbox(
            "Concept",
            list(labels),
            format_func=lambda i: labels[i],
            key="concept",
            bind=BIND,
            label_visibility="collapsed",
        )
        concept = int(concept) if concept is not None else 0
        table = difference_curve(page, moments, concept, baseline)
        if table.empty:
            st.caption("The models share no trajectory of this concept: choose another.")
            return
        axis = charts.AXES["Step"]
        controls.legend(shown)
        controls.draw(
            charts.difference_curves(
                table,
                shown,
                axis,
                f"Similarity minus that of {page.label(baseline)}",
                marker=page.marker(axis),
                look=page.look,
                height=330,
            ),
            key="over",
            on_click=controls.to_step(page, baseline),
            alt="Paired difference over the steps",
        )
        st.caption(
            "Mean paired difference over "
            f"{controls.count(int(table['prompts'].max()), 'prompt')}; band: "
            f"{uncertainty.PAIRED}, a prompt's steps kept together. Above zero the candidate is "
            f"closer to the concept. {controls.STEP_CLICK}"
        )


def difference_curve(
    page: Page, moments: pd.DataFrame, concept: int, baseline: int
) -> pd.DataFrame:
    """One row per (candidate, step): mean paired difference with its bootstrap interval.

    Above `uncertainty.MOST_BOOTSTRAPPED` prompts the moments are enough, and no prompt's curve is read.
    """
    table = moments[moments["concept_id"] == concept]
    low, high = uncertainty.t_limits(table["mean"], table["sd"], table["prompts"])
    table = table.assign(low=low, high=high)
    most = table.groupby("model_id")["prompts"].transform("max")
    few = [int(c) for c in table.loc[most <= uncertainty.MOST_BOOTSTRAPPED, "model_id"].unique()]
    if few:
        drawn = queries.ask_scope(
            page.snapshot,
            "paired_curve",
            page.scope,
            baseline=baseline,
            candidates=few,
            concept=concept,
        )
        for candidate, own in drawn.groupby("model_id"):
            limits = controls.bootstrap_limits(np.stack(own["difference"].tolist()))
            table.loc[table["model_id"] == candidate, ["low", "high"]] = np.stack(limits, axis=1)
    return page.labelled(table)


def per_prompt(page: Page, pairs: pd.DataFrame, shown: pd.DataFrame, baseline: int) -> None:
    """Every prompt: baseline against candidate; a click opens it."""
    drawn = pairs if len(pairs) <= 4000 else pairs.sample(4000, random_state=0)
    drawn = _with_texts(page, drawn)
    event = controls.figure(
        "Prompt by prompt",
        charts.scatter(
            drawn,
            shown,
            f"CLIP score, {page.label(baseline)}  →",
            "CLIP score, candidate  →",
            look=page.look,
        ),
        lambda: _with_texts(page, pairs),
        f"{controls.count(int(pairs['prompt_id'].nunique()), 'prompt')}, seeds averaged"
        + (f" ({len(drawn):,} of {len(pairs):,} points drawn)" if len(drawn) < len(pairs) else "")
        + "; above the line the candidate is better. Click a point to open its prompt.",
        key="scatter",
        help=SCORE_HELP,
        on_select="rerun",
        models=shown,
    )
    controls.open_prompt(event)


def _with_texts(page: Page, pairs: pd.DataFrame) -> pd.DataFrame:
    """The rows with their prompt's key and text."""
    asked = pairs["prompt_id"].unique().tolist()
    texts = queries.ask(page.snapshot, "prompt_texts", prompts=asked)
    table = pairs.merge(texts[["prompt_id", "prompt_key", "text"]], on="prompt_id")
    table["text"] = [controls.shorten(text) for text in table["text"]]
    return table


def most_different(page: Page, pairs: pd.DataFrame, shown: pd.DataFrame, baseline: int) -> None:
    """The prompts that differ most, with both models' images."""
    with controls.card("The prompts that differ most", key="most", help=SCORE_HELP):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            candidate = _candidate(shown, "most_model")
            side = st.segmented_control(
                "Where",
                ["Candidate better", "Baseline better"],
                default="Candidate better",
                required=True,
                key="side",
                bind=BIND,
            )
        own = pairs[pairs["model_id"] == candidate].sort_values(
            "difference", ascending=side != "Candidate better"
        )
        own = (
            own[own["difference"] > 0] if side == "Candidate better" else own[own["difference"] < 0]
        )
        top = own.head(MOST_PROMPTS)
        images = queries.ask(
            page.snapshot,
            "final_images",
            prompts=top["prompt_id"].tolist(),
            models=[baseline, candidate],
            seed=page.scope.seeds[0],
        )
        if images.empty:
            st.caption("There is no such prompt within these filters.")
            return
        sheet = page.labelled(images.drop(columns="model"))
        sheet["text"] = [controls.shorten(text) for text in sheet["text"]]
        pair = page.models[page.models["model_id"].isin([baseline, candidate])]
        event = controls.draw(
            charts.contact_sheet(
                sheet, pair, order=top["prompt_id"].tolist(), cell=88, look=page.look
            ),
            key="most",
            on_select="rerun",
            alt="Final images of the prompts that differ most",
        )
        _listing(top, images)
        st.caption(
            f"Largest difference on the left; images of seed {page.scope.seeds[0]}, "
            "scores over all seeds shown. Click an image to open its prompt."
        )
        controls.open_prompt(event)


def _listing(top: pd.DataFrame, images: pd.DataFrame) -> None:
    texts = images.drop_duplicates("prompt_id").set_index("prompt_id")["text"]
    table = top.assign(
        text=[controls.shorten(str(texts.get(i, "")), 200) for i in top["prompt_id"]]
    )
    st.dataframe(
        table[["text", "baseline", "candidate", "difference"]],
        hide_index=True,
        alt="The prompts that differ most",
        column_config={
            "text": st.column_config.TextColumn("Prompt", width="medium"),
            **{
                name: st.column_config.NumberColumn(
                    name.capitalize(), format="%+.3f" if name == "difference" else "%.3f"
                )
                for name in ("baseline", "candidate", "difference")
            },
        },
    )


show(controls.current())
