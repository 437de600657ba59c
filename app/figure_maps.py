"""The figures made of images, maps and words, among them the paper's figures 5 to 11."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import altair as alt
import charts
import charts_paper as paper
import pandas as pd
import uncertainty
from charts_paper import Cell, Row
from figure_kinds import SEEDS_FIRST, keyed, methods_frame, sizes
from figure_study import Figure, FigureError, FigureStudy, NotMeasured, spec_of
from typeset import stack

FONT = 8.0
SCHEDULES = ("uniform", "early", "late")
NO_WORDS = NotMeasured(
    "This study has no word values within these filters.",
    'Add attention = { steps = "all" } or relevance = { steps = { stride = 2 }, prompts = 20 } under '
    "[measures] of the study file, then run it again: what is done is kept.",
)


def _no_maps(what: str, line: str) -> NotMeasured:
    return NotMeasured(
        f"This study has no {what} within these filters.",
        f"Add {line} under [measures] of the study file, then run it again: what is done is kept.",
    )


def _sheet(
    cells: Sequence[Cell], rows: Sequence[Row], columns: Sequence[str], largest: float = 100.0
) -> Callable[[float], alt.TopLevelMixin]:
    tall = min(largest, max(430.0 / max(len(rows), 1), 28.0))
    return lambda width: paper.sheet(cells, rows, columns, width, FONT, largest=tall)


def _plain(text: str) -> tuple[tuple[str, bool], ...]:
    return ((" ".join(text.split()), False),)


def _without(data: pd.DataFrame) -> pd.DataFrame:
    return data.drop(columns=[c for c in ("image", "map") if c in data])


def _prompts(study: FigureStudy, most: int) -> pd.DataFrame:
    prompts = study.ask_scope("figure_prompts")
    if prompts.empty:
        raise NotMeasured(
            "There is no finished image within these filters.",
            "Leave a filter out, or run the study: python -m pipeline run STUDY.toml",
        )
    return study.pick_prompts(prompts, most)


def film_strip(study: FigureStudy) -> Figure:
    """Predicted clean images over the steps: rows are models, for one or more prompts."""
    prompts = _prompts(study, 1)
    seed = study.scope.seeds[0]
    frames = pd.concat(
        [
            study.ask_scope("prompt_frames", prompt=int(i), seed=seed).assign(prompt_id=int(i))
            for i in prompts["prompt_id"]
        ]
    )
    if frames.empty:
        raise _no_maps("frames", "frames = { stride = 2, size = 128 }")
    steps = study.pick_steps(frames["step"].unique().tolist(), 9)
    shown = study.labelled(frames[frames["step"].isin(steps)])
    rows: list[Row] = []
    cells: list[Cell] = []
    for prompt_id, text in zip(prompts["prompt_id"], prompts["text"], strict=True):
        own = shown[shown["prompt_id"] == prompt_id]
        for place, model in enumerate(dict.fromkeys(own["model"])):
            cells += _cells(own[own["model"] == model], len(rows), steps)
            rows.append(Row(model, _plain(text) if place == 0 else ()))
    caption = (
        "Predicted clean image at several denoising steps (0 is the noisiest; above the columns), "
        f"seed {seed}. Scores beside the data are the cosine similarity (CLIP) with the whole prompt; "
        f"examples, not a mean. {study.source_line()}"
    )
    columns = [f"{step}" for step in steps]
    return Figure(_sheet(cells, rows, columns), _without(shown.drop(columns="sample_id")), caption)


def _cells(own: pd.DataFrame, row: int, steps: Sequence[int]) -> list[Cell]:
    place = {step: i for i, step in enumerate(steps)}
    return [
        Cell(row, place[int(step)], paper.square(bytes(image)))
        for step, image in zip(own["step"], own["image"], strict=True)
    ]


def region_maps(study: FigureStudy) -> Figure:
    """Which region is recovered when: every method's map over the image, by step."""
    found = study.ask_scope("figure_explained")
    found = found[found["whole"] > 0]
    if found.empty:
        raise _no_maps("region maps", "df-cam = { steps = [5, 15, 25], prompts = 8 }")
    return _region_maps(study, found, 2, {})


def _region_maps(
    study: FigureStudy, found: pd.DataFrame, most: int, red: dict[int, set[str]]
) -> Figure:
    known = list(dict.fromkeys(found["method"]))
    for method in study.choice.methods:
        if method not in known:
            raise FigureError(f"--methods: {method!r} has no map. Allowed: {', '.join(known)}.")
    methods = [m for m in known if m in study.choice.methods] or [m for m in known if m != "random"]
    model = study.baseline()
    own = found[(found["model_id"] == model) & found["method"].isin(methods)]
    if own.empty:
        raise NotMeasured(
            f"There is no such map of {study.label(model)}.",
            f"Models with maps: {', '.join(study.label(i) for i in found['model_id'].unique())} "
            "(--baseline chooses one).",
        )
    prompts = study.pick_prompts(own, most if len(methods) < 3 else 1)
    steps = study.pick_steps(_shared_steps(study, own), 4)
    seed = int(own["seed"].iloc[0])
    maps = study.ask_scope(
        "figure_maps",
        models=[model],
        prompts=[int(i) for i in prompts["prompt_id"]],
        seed=seed,
        methods=methods,
        steps=steps,
    )
    maps = maps[maps["word"] == ""]
    rows: list[Row] = []
    cells: list[Cell] = []
    for prompt_id, text in zip(prompts["prompt_id"], prompts["text"], strict=True):
        for place, method in enumerate(methods):
            each = maps[(maps["prompt_id"] == prompt_id) & (maps["method"] == method)]
            if len(each):
                cells += _overlaid(each, len(rows), steps)
                words = _marked(text, red.get(int(prompt_id), set())) if place == 0 else ()
                rows.append(Row(method if len(methods) > 1 else "", words))
    caption = (
        f"Saliency over the predicted clean image of {study.label(model)} at several denoising steps, "
        f"by {', '.join(methods)}; each map is scaled to its own range, from dark (least) to bright "
        f"(most). Seed {seed}; examples, not a mean. {study.source_line()}"
    )
    columns = [f"Step {step}" for step in steps]
    data = _without(maps.assign(model=study.label(model)))
    return Figure(_sheet(cells, rows, columns), data, caption)


def _shared_steps(study: FigureStudy, own: pd.DataFrame) -> list[int]:
    """The steps that most methods have a map of: others would leave holes; all, if the author names some."""
    methods = own.groupby("step")["method"].nunique()
    kept = methods if study.choice.steps else methods[methods == methods.max()]
    return [int(step) for step in kept.index]


def _overlaid(own: pd.DataFrame, row: int, steps: Sequence[int]) -> list[Cell]:
    place = {step: i for i, step in enumerate(steps)}
    out = []
    for record in own.itertuples(index=False):
        r: Any = record
        saliency = paper.read_map(bytes(r.map), int(r.height), int(r.width))
        image = bytes(r.image) if isinstance(r.image, bytes | bytearray) else None
        out.append(Cell(row, place[int(r.step)], paper.overlay(image, saliency)))
    return out


def _marked(text: str, red: set[str]) -> tuple[tuple[str, bool], ...]:
    """The words of a prompt, each with whether it is one of the red ones."""
    return tuple((word, word.strip(".,;:!?\"'").lower() in red) for word in text.split()[:200])


def over_steps(method: str, line: str) -> Callable[[FigureStudy], Figure]:
    """The paper's figures 7 and 8: one method over four steps, a row per prompt, attended words red."""

    def build(study: FigureStudy) -> Figure:
        found = study.ask_scope("figure_explained")
        found = found[(found["method"] == method) & (found["whole"] > 0)]
        if found.empty:
            raise _no_maps(f"map of {method}", line)
        red = _attended(study, study.baseline(), found)
        figure = _region_maps(study, found, 3, red)
        note = " Words in bold red get more attention than the mean of the prompt's words with a role, over all steps."
        return Figure(figure.draw, figure.data, figure.caption + (note if red else ""))

    return build


def _attended(study: FigureStudy, model: int, found: pd.DataFrame) -> dict[int, set[str]]:
    """Per prompt the words with a role that get more than the mean of such words."""
    source = _source(study, must=False)
    if not source:
        return {}
    prompts = [int(i) for i in found["prompt_id"].unique()[:50]]
    words = study.ask_scope("figure_words", models=[model], prompts=prompts, source=source)
    out: dict[int, set[str]] = {}
    for prompt_id, own in words.groupby("prompt_id"):
        mean = own[own["role"] != ""].groupby("word")["value"].mean()
        above = mean[mean >= mean.mean()]
        out[int(cast(Any, prompt_id))] = {str(word).lower() for word in above.index}
    return out


def _source(study: FigureStudy, *, must: bool = True) -> str:
    known = list(dict.fromkeys(study.ask_scope("figure_word_sources")["source"]))
    wanted = study.choice.source
    if wanted and wanted not in known:
        allowed = ", ".join(known) or "none is measured"
        raise FigureError(f"--source: {wanted!r} is not measured. Allowed: {allowed}.")
    if not known and must:
        raise NO_WORDS
    return wanted or ("relevance" if "relevance" in known else known[0] if known else "")


def word_heat_maps(study: FigureStudy) -> Figure:
    """Where each word of a prompt looks, by step."""
    found = study.ask_scope("figure_explained")
    found = found[found["words"] > 0]
    if study.choice.source:
        found = found[found["method"] == study.choice.source]
    model = study.baseline()
    found = found[found["model_id"] == model]
    if found.empty:
        raise _no_maps(
            f"word maps of {study.label(model)}",
            'attention = { steps = "all", maps = true, map_steps = [5, 15, 25] }',
        )
    method = str(found["method"].iloc[0])
    own = found[found["method"] == method]
    prompts = study.pick_prompts(own, 1)
    steps = study.pick_steps(own["step"].unique().tolist(), 6)
    seed = int(own["seed"].iloc[0])
    ids = [int(i) for i in prompts["prompt_id"]]
    maps = study.ask_scope(
        "figure_maps", models=[model], prompts=ids, seed=seed, methods=[method], steps=steps
    )
    rows: list[Row] = []
    cells: list[Cell] = []
    for prompt_id, text in zip(prompts["prompt_id"], prompts["text"], strict=True):
        each = maps[(maps["prompt_id"] == prompt_id) & (maps["word"] != "")]
        for place, word in enumerate(_content_words(text, each)):
            cells += _overlaid(each[each["word"] == word], len(rows), steps)
            rows.append(Row(word, _plain(text) if place == 0 else ()))
    caption = (
        f"Where each word looks in {study.label(model)} ({method}), over the predicted clean image, at "
        "several denoising steps; each map is scaled to its own range, from dark (least) to bright "
        f"(most). Seed {seed}; examples, not a mean. {study.source_line()}"
    )
    data = _without(maps.assign(model=study.label(model)))
    return Figure(_sheet(cells, rows, [f"Step {s}" for s in steps]), data, caption)


def _content_words(text: str, maps: pd.DataFrame, most: int = 6) -> list[str]:
    """The prompt's words with a map, in its order, articles and prepositions left out."""
    known = set(maps["word"])
    order = [w for w in dict.fromkeys(text.split()) if w in known]
    rest = [w for w in dict.fromkeys(maps["word"]) if w not in order]
    small = {"a", "an", "the", "of", "on", "in", "and", "with", "to", "at", "by"}
    # A word that comes twice is stored as "a" and "a (2)".
    return [w for w in order + rest if w.lower().split(" (")[0] not in small][:most]


def word_roles(study: FigureStudy) -> Figure:
    """Word values summed up by role over the steps, a panel per model or schedule."""
    source = _source(study)
    data = study.ask_scope("figure_roles", source=source)
    if data.empty:
        raise NotMeasured(
            "The prompts of this study have no roles (subject, relation, object, attribute).",
            "Name their columns under prompts.columns, as data/prompts/scenes.csv does.",
        )
    low, high = uncertainty.t_limits(data["mean"], data["sd"], data["prompts"])
    table = study.labelled(data.assign(low=low, high=high)).rename(columns={"model": "entry"})
    table = table.assign(model=table["role"])
    roles = [r for r in ("subject", "relation", "object", "attribute") if r in set(table["role"])]
    lines = methods_frame(roles)
    shown = list(dict.fromkeys(table["entry"]))[: study.choice.rows or 6]
    y = _value_title(source)
    drawn = charts.without_vast_bands(table)
    domain = paper.limits(drawn)
    columns = min(len(shown), 3)
    parts = [
        _line_part(
            drawn[drawn["entry"] == e],
            lines,
            "step",
            "mean",
            e,
            "Step",
            y if i % columns == 0 else None,
            domain,
        )
        for i, e in enumerate(shown)
    ]
    caption = (
        f"{_value_caption(source)} by the role of the words, over the denoising steps, for each model and "
        f"timestep schedule. Lines: mean over prompts; bands: 95 % t interval. {charts.VAST} Words of a role are "
        f"averaged first. {SEEDS_FIRST} {sizes(study, table['prompts'])} {study.source_line()}"
    )
    kept = table[["entry", "role", "step", "mean", "low", "high", "prompts"]]
    return Figure(
        keyed(lines, parts, columns), kept.rename(columns={"entry": "model"}), caption, columns
    )


def _value_title(source: str) -> str:
    return "Relevance (scaled)" if source == "relevance" else "Share of attention"


def _value_caption(source: str) -> str:
    if source == "relevance":
        return "Relevance (Chefer et al. 2021, scaled over the prompt's words within a step)"
    return "Share of cross-attention among the prompt's words"


def _line_part(
    own: pd.DataFrame,
    lines: pd.DataFrame,
    x: str,
    y: str,
    title: str,
    x_title: str,
    y_title: str | None,
    domain: tuple[float, float],
    peaks: pd.DataFrame | None = None,
    most: float = 100.0,
) -> Callable[[float], Any]:
    return lambda width: paper.line_panel(
        own,
        lines,
        x,
        y,
        title,
        x_title,
        y_title,
        width,
        min(width * 0.75, most),
        domain=domain,
        peaks=peaks,
    )


def similarities(study: FigureStudy) -> Figure:
    """The paper's figure 5: DF-RISE under each similarity function, its map and its curves."""
    return similarities_of([study])


def similarities_of(studies: Sequence[FigureStudy]) -> Figure:
    """The same over several studies that differ in df-rise.similarity, a row each."""
    rows, tables = [], []
    for study in studies:
        for method, name in _rise_variants(study):
            row = _similarity_row(study, method, name)
            if row is not None:
                rows.append(row)
                tables.append(row[2])
    if not rows:
        raise NotMeasured(
            "This study has no DF-RISE map with insertion and deletion curves.",
            'Add df-rise = { steps = [15], prompts = 8, similarity = "structure" } and faithfulness = '
            "{ steps = [15], prompts = 8 } under [measures]; give one results folder per similarity "
            "(structure, ssim, contrast, luminance, cosine, fid).",
        )
    table = pd.concat(tables)
    domain = paper.limits(table)

    def draw(width: float) -> alt.TopLevelMixin:
        lines = []
        for place, (name, cell, curves) in enumerate(rows):
            side = min(width, 84.0)
            image = paper.sheet([Cell(0, 0, cell)], [Row()], [name], side, FONT, largest=side)
            games = [
                _game_panel(curves, game, place == len(rows) - 1, domain, width, side - FONT)
                for game in ("deletion", "insertion")
            ]
            lines.append(alt.hconcat(image, *games, spacing=10))
        return stack(lines) if len(lines) > 1 else lines[0]

    first = studies[0]
    missing = (
        ""
        if len(rows) > 1
        else (
            " Further similarity functions appear as rows when the results folders of studies that use "
            "them are given too."
        )
    )
    caption = (
        "DF-RISE under different similarity functions: map of one sample over the predicted clean "
        "image, and deletion (lower is better) and insertion (higher is better) curves with 95 % t "
        f"intervals over prompts. {SEEDS_FIRST} {sizes(first, table['prompts'])} "
        f"{' '.join(s.source_line() for s in studies)}{missing}"
    )
    return Figure(draw, table.drop(columns="model"), caption, 2)


def _rise_variants(study: FigureStudy) -> list[tuple[str, str]]:
    """The study's DF-RISE methods with the similarity that each uses."""
    found = study.ask_scope("figure_auc_curves")
    measures = spec_of(study).get("measures", {})
    options = measures.get("df-rise") if isinstance(measures, dict) else None
    own = str((options or {}).get("similarity", "structure"))
    methods = [m for m in dict.fromkeys(found["method"]) if str(m).startswith("df-rise")]
    return [
        (m, own if m == "df-rise" else m.removeprefix("df-rise").strip("-:/ ")) for m in methods
    ]


def _similarity_row(
    study: FigureStudy, method: str, name: str
) -> tuple[str, bytes, pd.DataFrame] | None:
    data = study.ask_scope("figure_auc_curves")
    model = study.baseline()
    data = data[(data["method"] == method) & (data["model_id"] == model)]
    found = study.ask_scope("figure_explained", models=[model])
    found = found[found["method"] == method]
    if data.empty or found.empty:
        return None
    score = "clip" if "clip" in set(data["score"]) else str(data["score"].iloc[0])
    data = data[data["score"] == score]
    one = study.pick_prompts(found, 1).iloc[0]
    step = study.pick_steps(found["step"].unique().tolist(), 99)[-1]
    maps = study.ask_scope(
        "figure_maps",
        models=[model],
        prompts=[int(one["prompt_id"])],
        seed=int(found["seed"].iloc[0]),
        methods=[method],
        steps=[step],
    )
    if maps.empty:
        return None
    low, high = uncertainty.t_limits(data["mean"], data["sd"], data["prompts"])
    curves = data.assign(low=low, high=high, model="curve", similarity=name)
    return name, _overlaid(maps.head(1), 0, [step])[0].image, curves


def _game_panel(
    curves: pd.DataFrame,
    game: str,
    last: bool,
    domain: tuple[float, float],
    width: float,
    height: float,
) -> Any:
    own = curves[curves["game"] == game]
    x_title = "Share of pixels" if last else ""
    one = methods_frame(["curve"])
    return paper.line_panel(
        own,
        one,
        "fraction",
        "mean",
        game.capitalize(),
        x_title,
        None,
        width,
        max(height - 26, 30),
        domain=domain,
    )


def _schedules(study: FigureStudy) -> pd.DataFrame:
    """The models that differ in their schedule only: the largest group with the same source."""
    models = study.models.assign(
        kind=study.models["schedule"].where(study.models["schedule"] != "default", "uniform")
    )
    best = models.iloc[:0]
    for _, own in models.groupby(["source", "revision", "steps"], sort=False):
        if own["kind"].nunique() > best["kind"].nunique():
            best = own
    return best.assign(place=best["kind"].map({k: i for i, k in enumerate(SCHEDULES)})).sort_values(
        ["place", "gamma", "model_id"], na_position="last"
    )


def _three(study: FigureStudy) -> pd.DataFrame:
    """One model entry per schedule: uniform, early, late."""
    own = _schedules(study)
    three = own[own["kind"].isin(SCHEDULES)].sort_values(
        ["place", "gamma"], ascending=[True, False], na_position="first"
    )
    three = three.drop_duplicates("kind")
    if three["kind"].nunique() < 2:
        raise NotMeasured(
            "This study has no model under several timestep schedules.",
            'Add the same [[model]] again with schedule = "uniform", "early" and "late" (gamma = 60) '
            "and a scheduler that takes custom timesteps, such as DPMSolverMultistepScheduler.",
        )
    return three


def schedule_images(study: FigureStudy) -> Figure:
    """The paper's figure 6: one prompt's image under uniform, early and late sampling."""
    three = _three(study)
    titles = [str(kind).capitalize() for kind in three["kind"]]
    return _image_rows(study, three, titles, "under different timestep schedules")


def gammas(study: FigureStudy) -> Figure:
    """The paper's figure 10: exponential sampling with gamma varied."""
    own = _schedules(study)
    own = own[own["gamma"].notna() & own["kind"].isin(["early", "late"])]
    counted = own.groupby("kind")["gamma"].nunique()
    if own.empty or counted.max() < 2:
        raise NotMeasured(
            "This study has no exponential schedule with more than one gamma.",
            'Add the same [[model]] again with schedule = "late" and gamma = 0, 10, 60, 200 (each with '
            "a name and label of its own), then run it again.",
        )
    own = own.sort_values(["kind", "gamma"])
    titles = [
        f"{kind.capitalize()}, γ = {gamma:g}"
        for kind, gamma in zip(own["kind"], own["gamma"], strict=True)
    ]
    return _image_rows(study, own, titles, "under exponential timestep sampling with γ varied")


def _image_rows(
    study: FigureStudy, models: pd.DataFrame, titles: Sequence[str], what: str
) -> Figure:
    prompts = _prompts(study, 3)
    seed = study.scope.seeds[0]
    ids = [int(i) for i in models["model_id"]]
    images = study.ask_scope(
        "figure_images", models=ids, prompts=[int(i) for i in prompts["prompt_id"]], seed=seed
    )
    column = {model: i for i, model in enumerate(ids)}
    rows: list[Row] = []
    cells: list[Cell] = []
    for row, (prompt_id, text) in enumerate(
        zip(prompts["prompt_id"], prompts["text"], strict=True)
    ):
        rows.append(Row(above=_plain(text)))
        own = images[images["prompt_id"] == prompt_id]
        for model, image in zip(own["model_id"], own["image"], strict=True):
            cells.append(Cell(row, column[int(model)], paper.square(bytes(image))))
    steps = int(models["steps"].max())
    caption = (
        f"Final image of the same prompt and noise {what}, {steps} steps, seed {seed}; examples, not "
        f"a mean. {study.source_line()}"
    )
    return Figure(_sheet(cells, rows, titles), _without(study.labelled(images)), caption)


def relevance_peaks(study: FigureStudy) -> Figure:
    """The paper's figure 9: relevance curves with their peaks marked, beside the maps at the peaks."""
    source = _source(study)
    model = study.baseline()
    known = study.ask_scope("figure_word_sources", models=[model])
    known = known[known["source"] == source]
    found = study.ask_scope("figure_explained", models=[model])
    mapped = found[(found["method"] == source) & (found["words"] > 0)]
    both = mapped[mapped["prompt_id"].isin(known["prompt_id"])]
    if both.empty:
        raise _no_maps(
            f"word maps of {source}",
            f"{source} = {{ steps = {{ stride = 2 }}, maps = true, map_steps = [2, 6, 10, 15] }}",
        )
    prompt = study.pick_prompts(both, 1).iloc[0]
    prompt_id, seed = int(prompt["prompt_id"]), int(both["seed"].iloc[0])
    words = study.ask_scope(
        "figure_words", models=[model], prompts=[prompt_id], source=source, seeds=[seed]
    )
    maps = study.ask_scope(
        "figure_maps",
        models=[model],
        prompts=[prompt_id],
        seed=seed,
        methods=[source],
        steps=[int(s) for s in both["step"].unique()],
    )
    order = _content_words(str(prompt["text"]), maps, study.choice.rows or 4)
    table = words[words["word"].isin(order)].assign(model=lambda t: t["word"])
    table = table.drop_duplicates(["word", "step"])
    peaks = table.loc[table.groupby("word")["value"].idxmax()]
    at = [int(peaks[peaks["word"] == w]["step"].iloc[0]) for w in order]
    nearest = [_nearest(maps[maps["word"] == w], s) for w, s in zip(order, at, strict=True)]
    cells = [
        Cell(0, i, _overlaid(rows.head(1), 0, [int(rows["step"].iloc[0])])[0].image)
        for i, rows in enumerate(nearest)
    ]
    titles = [f"{w}: {int(r['step'].iloc[0])}" for w, r in zip(order, nearest, strict=True)]
    lines = methods_frame(order)
    line = _line_part(
        table, lines, "step", "value", "", "Step  (noise → image)", _value_title(source),
        paper.limits(table, "value"), peaks, 120.0,
    )  # fmt: skip

    def draw(width: float) -> alt.TopLevelMixin:
        row = Row(above=_plain(str(prompt["text"])))
        sheet = paper.sheet(cells, [row], titles, width, FONT, largest=110)
        return stack([paper.key(lines, width, FONT), line(width), sheet])

    caption = (
        f"{_value_caption(source)} of single words over the denoising steps in {study.label(model)}, "
        "peaks marked; below, where each word looks at the mapped step nearest to its peak (word: "
        f"step). One prompt, seed {seed}; an example, not a mean. {study.source_line()}"
    )
    kept = table.assign(model=study.label(model), peak=table.index.isin(peaks.index))
    return Figure(draw, kept, caption)


def _nearest(rows: pd.DataFrame, step: int) -> pd.DataFrame:
    return rows.loc[(rows["step"] - step).abs().sort_values(kind="stable").index]


def words_by_schedule(study: FigureStudy) -> Figure:
    """The paper's figure 11: word values under the three samplings, and their sums as bars."""
    three = _three(study)
    source = _source(study)
    ids = [int(i) for i in three["model_id"]]
    known = study.ask_scope("figure_word_sources", models=ids)
    known = known[(known["source"] == source) & (known["models"] == len(ids))]
    texts = study.ask_scope("figure_prompts", models=ids)
    prompts = study.pick_prompts(texts[texts["prompt_id"].isin(known["prompt_id"])], 1)
    if prompts.empty:
        raise NO_WORDS
    prompt = prompts.iloc[0]
    words = study.ask_scope(
        "figure_words", models=ids, prompts=[int(prompt["prompt_id"])], source=source
    )
    order = _content_words(str(prompt["text"]), words, study.choice.rows or 5)
    kinds = dict(zip(three["model_id"].astype(int), three["kind"], strict=True))
    table = words[words["word"].isin(order)].assign(schedule=words["model_id"].map(kinds))
    table = table.drop_duplicates(["schedule", "word", "step"]).assign(model=lambda t: t["word"])
    lines, domain = methods_frame(order), paper.limits(table, "value")
    shown = [k for k in SCHEDULES if k in set(table["schedule"])]
    parts = [
        _line_part(
            table[table["schedule"] == k], lines, "step", "value", k.capitalize(), "Step",
            _value_title(source) if i == 0 else None, domain,
        )
        for i, k in enumerate(shown)
    ]  # fmt: skip
    sums = table.groupby(["schedule", "word"], sort=False)["value"].sum().reset_index()
    sums["word"] = pd.Categorical(sums["word"], order, ordered=True)
    sums = sums.sort_values(["word", "schedule"]).assign(word=lambda t: t["word"].astype(str))
    bars = methods_frame(shown)

    def draw(width: float) -> alt.TopLevelMixin:
        whole = width * len(parts) + 24 * (len(parts) - 1)
        upper = paper.panels([part(width) for part in parts], len(parts))
        drawn = sums.assign(model=sums["schedule"])
        height = 7.0 * len(shown) * len(order)
        lower = paper.word_bars(drawn, bars, "Sum over the steps", whole, height)
        title = paper.sheet(
            [], [Row(above=_plain(str(prompt["text"])))], [], whole, FONT, largest=0
        )
        return stack(
            [
                title,
                paper.key(lines, whole, FONT),
                upper,
                paper.key(bars, whole, FONT, mark="point"),
                lower,
            ]
        )

    caption = (
        f"{_value_caption(source)} of single words over the denoising steps under "
        f"{', '.join(shown)} timestep sampling, and its sum over the steps. One prompt, seeds averaged "
        f"(n = {len(study.scope.seeds)}); an example, not a mean. {study.source_line()}"
    )
    return Figure(draw, table.drop(columns="model"), caption, len(parts))
