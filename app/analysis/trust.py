"""Which tool to believe: does its map find what is known to be there, and depend on the weights?

Localisation against the known masks of the bundled scenes, and similarity to the maps of a model whose
weights are shuffled (Adebayo et al. 2018). The unit is the scene: steps and words are averaged within it.
Maps of single words (attention, relevance, information) are held against the object that the word names, and are never
averaged with maps of the whole image, which are held against all objects.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from app.analysis import chance, uncertainty

Ask = Callable[..., pd.DataFrame]
# A denoiser that returns its input: no weights decide its map, so that only the masks tell two of its maps apart.
COPY = "copy"
CONTROLS = ("random", "area", COPY)
"""Maps beside which tools are judged; they explain nothing."""
PASSES, FAILS, UNDECIDED = "passes", "fails", "undecided"
SURVIVES = "no: the map survives randomised weights"
UNSURE = "not separable from the copy"
VALUES = ["average_precision", "gain", "pointing", "iou", "chance"]


def scene_gains(ask: Ask) -> pd.DataFrame:
    """One row per (model, method, of_word, scene, step): means over the scene's steps, and the step's gain.

    Returns:
        model_id, method, of_word (whether maps of words), scene, step; average_precision, pointing, iou in
        [0, 1], chance (a random map's average precision) and gain (average_precision - chance), averaged over
        the scene's steps; step_gain, the gain at the step.
    """
    return of_scenes(ask("localisation"))


def of_scenes(localised: pd.DataFrame) -> pd.DataFrame:
    """`scene_gains` of the rows of localisation.sql."""
    keys = ["model_id", "method", "of_word", "scene"]
    steps = localised[[*keys, "step", "gain"]].rename(columns={"gain": "step_gain"})
    return localised.groupby(keys, as_index=False)[VALUES].mean().merge(steps, on=keys)


def intervals(gains: pd.DataFrame, by: list[str], column: str) -> pd.DataFrame:
    """Mean over scenes with its 95 % t limits, per group.

    Args:
        gains: as `scene_gains` returns them.
        by: columns that name a group.
        column: that is averaged.

    Returns:
        the columns of `by`, mean, sd, n (scenes), low, high.
    """
    scenes = gains.drop_duplicates([*by, "scene"])
    table = scenes.groupby(by, as_index=False).agg(
        mean=(column, "mean"), sd=(column, "std"), n=(column, "count")
    )
    return chance.intervals(table, "mean", "sd", "n")


def randomisation(ask: Ask) -> pd.DataFrame:
    """Similarity to the trained model's map as its weights are shuffled, with 95 % t limits over maps.

    Returns:
        model_id, method, layers, share (of the weights that are shuffled, 0..1), spearman in [-1, 1], sd,
        samples (maps), low, high; limits are unknown where the snapshot holds means only.
    """
    return chance.intervals(ask("randomisation"), "spearman", "sd", "samples")


def from_trained(shuffled: pd.DataFrame) -> pd.DataFrame:
    """The rows of `randomisation` and, at share 0, the trained model, whose map is its own; as mean and n."""
    trained = shuffled[["model_id", "method"]].drop_duplicates()
    trained = trained.assign(layers="none", share=0.0, spearman=1.0, low=1.0, high=1.0, samples=0)
    table = pd.concat([trained, shuffled], ignore_index=True).dropna(subset=["spearman"])
    return table.assign(mean=table["spearman"], n=table["samples"])


def summary(gains: pd.DataFrame, shuffled: pd.DataFrame) -> pd.DataFrame:
    """Localisation and randomisation side by side, one row per (model, method).

    Args:
        gains: as `scene_gains` returns them.
        shuffled: as `randomisation` returns them.

    Returns:
        model_id, method, of_word, scenes, average_precision, chance, gain with low, high, p, q and verdict
        (one family: all models and tools), pointing, iou with iou_low and iou_high, kept (Spearman with the
        trained model's map where most of the weights are shuffled), depends (yes, SURVIVES, UNSURE, not known).
    """
    words = set(gains.loc[gains["of_word"], "method"])
    best = gains[gains["of_word"] == gains["method"].isin(words)]
    by = ["model_id", "method", "of_word"]
    table = intervals(best, by, "gain").rename(columns={"mean": "gain", "n": "scenes"})
    table = chance.judged(table, "gain", "sd", "scenes", "scenes").drop(columns="sd")
    iou = intervals(best, by, "iou")[[*by, "low", "high"]]
    means = best.drop_duplicates([*by, "scene"]).groupby(by, as_index=False)
    table = table.merge(
        means[["average_precision", "chance", "pointing", "iou"]].mean(), on=by
    ).merge(iou.rename(columns={"low": "iou_low", "high": "iou_high"}), on=by)
    table = table.merge(_kept(shuffled), how="outer", on=["model_id", "method"])
    return table.assign(
        verdict=table["verdict"].fillna("not known"), depends=table["depends"].fillna("not known")
    )


def believed(table: pd.DataFrame) -> pd.DataFrame:
    """Whether a tool is to be believed on a model, by both tests.

    A tool passes where its map finds the objects better than chance and depends on the weights; it fails where it is worse
    than chance or survives randomised weights; otherwise it is undecided, which is no fault of the tool.

    Args:
        table: as `summary` returns it.

    Returns:
        model_id, method, believed (PASSES, FAILS or UNDECIDED) and why; without the controls.
    """
    rows = table[~table["method"].isin(CONTROLS)]
    both = [_believed(v, d) for v, d in zip(rows["verdict"], rows["depends"], strict=True)]
    return rows[["model_id", "method"]].assign(
        believed=[each[0] for each in both], why=[each[1] for each in both]
    )


def _believed(verdict: str, depends: str) -> tuple[str, str]:
    worse, survives = verdict == chance.WORSE, depends == SURVIVES
    if worse or survives:
        said = ["worse than chance"] * worse + ["survives randomised weights"] * survives
        return FAILS, ", ".join(said)
    if verdict == chance.BETTER and depends == "yes":
        return PASSES, "finds objects, depends on weights"
    objects = "finds objects" if verdict == chance.BETTER else f"objects: {verdict}"
    known = {"yes": "depends on weights", UNSURE: "weights: not separable"}
    weights = known.get(depends, "weights: not known")
    return UNDECIDED, f"{objects}, {weights}"


def layers(ask: Ask) -> pd.DataFrame:
    """Localisation by maps of words of one layer alone, with 95 % t limits over scenes; `all` = the mean over layers.

    Returns:
        model_id, method, layer, mean (average precision over chance), sd, n (scenes), low, high.
    """
    return intervals(ask("localisation_layers"), ["model_id", "method", "layer"], "gain")


def against(gains: pd.DataFrame, method: str, other: str) -> pd.DataFrame:
    """Average precision of one method's maps of words less that of another's, paired by scene.

    Args:
        gains: as `scene_gains` returns them.
        method: the one.
        other: the one that it is compared with.

    Returns:
        model_id, first, second (mean average precision), mean (their difference, positive where the first is better), sd, n
        (scenes), low, high, p, q, verdict (one family: all models).
    """
    keys = ["model_id", "scene"]
    of_words = gains[gains["of_word"]].drop_duplicates([*keys, "method"])
    pair = [of_words[of_words["method"] == name].set_index(keys) for name in (method, other)]
    both = pair[0][["average_precision"]].join(
        pair[1]["average_precision"].rename("second"), how="inner"
    )
    both = both.assign(difference=both["average_precision"] - both["second"]).reset_index()
    table = both.groupby("model_id", as_index=False).agg(
        first=("average_precision", "mean"),
        second=("second", "mean"),
        mean=("difference", "mean"),
        sd=("difference", "std"),
        n=("difference", "count"),
    )
    p = uncertainty.paired_t_p(table["mean"], table["sd"], table["n"])
    q = uncertainty.holm(p)
    verdict = uncertainty.verdicts(q, table["n"])
    return chance.intervals(table, "mean", "sd", "n").assign(p=p, q=q, verdict=verdict)


def _kept(shuffled: pd.DataFrame) -> pd.DataFrame:
    """Where most of the weights are shuffled: the similarity to the trained map, and whether the map depends on them."""
    if shuffled.empty:
        return pd.DataFrame(columns=["model_id", "method", "kept", "depends"])
    last = shuffled.loc[shuffled.groupby(["model_id", "method"])["share"].idxmax()]
    floors = last[last["method"] == COPY].set_index("model_id")["low"]
    floor = last["model_id"].map(floors)
    depends = [_depends(*each) for each in zip(last["low"], last["high"], floor, strict=True)]
    table = last[["model_id", "method", "spearman"]].rename(columns={"spearman": "kept"})
    return table.assign(depends=depends)


def _depends(low: float, high: float, floor: float) -> str:
    """A map depends on the weights where its interval lies below that of the copy of the input, and does not where it begins in it or above."""
    if pd.isna(high) or pd.isna(floor):
        return "not known"
    if high < floor:
        return "yes"
    return SURVIVES if low >= floor else UNSURE
