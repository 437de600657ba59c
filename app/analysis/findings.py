"""What a study found, as sentences: what is best, what ties, what is worse and where, when, what failed. No Streamlit.

Each sentence has its interval and verdict from the function that its page shows them by, and says which page with which
filters that is. The overview says these sentences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from app.analysis import comparison, emergence, measures, switching, uncertainty
from app.analysis.reading import StudyView, default_axis
from app.analysis.uncertainty import NOT_SEPARABLE, SEPARABLE, TOO_FEW, interval_text

BEST, TIE, ONE, NONE, WORSE, WHERE, EMERGES, DECIDED, FAILED, MISSING = (
    "best", "tie", "one model", "no sample", "worse", "where", "emerges", "decided", "failed", "missing",
)  # fmt: skip
MOST_WORSE, MOST_WHERE = 3, 2  # sentences
MOST_NAMES = 4  # of tied models in a sentence
LONGEST_NAME, LONGEST_REASON = 60, 120  # characters of a label, and of a failure's reason
AXES = {"log_snr": "log-SNR", "step": "step", "progress": "share of the steps"}
COLUMNS = ["kind", "sentence", "verdict", "view", "filters"]


@dataclass(frozen=True)
class Finding:
    """One sentence.

    Attributes:
        kind: what it says: best, tie, one model, no sample, worse, where, emerges, decided, failed or missing.
        sentence: plain text; labels and reasons in it are the study's own.
        verdict: by the rule of `uncertainty`; '' where nothing is tested.
        view: the page that shows it.
        filters: of that page: the value of each filter or option, by its key in the link.
    """

    kind: str
    sentence: str
    verdict: str
    view: str
    filters: Mapping[str, Any] = field(default_factory=dict)


def findings(view: StudyView) -> pd.DataFrame:
    """The findings within the filters, the answer to "which model is best" first, then the strongest first.

    Args:
        view: the study and its filters.

    Returns:
        kind, sentence, verdict, view, filters: as `Finding`, never empty.
    """
    ranks = comparison.ranking(view)
    if ranks.empty:
        lines = [_nothing(view)]
    else:
        leaders = _leaders(ranks)
        leader = int(leaders["model_id"].iloc[0])
        lines = [_first(view, ranks, leaders)]
        lines += _differences(view, leader, set(leaders["model_id"].astype(int)))
        lines += [*_emerges(view, leader), *_decided(view, leader)]
    lines += _failed(view)
    return pd.DataFrame([asdict(each) for each in lines], columns=COLUMNS)


def _leaders(ranks: pd.DataFrame) -> pd.DataFrame:
    """The models that no other one is separably better than, the highest mean first."""
    return ranks[ranks["rank"].str.lstrip("=") == "1"]


def _nothing(view: StudyView) -> Finding:
    sentence = "No sample is done within these filters, so that nothing can be compared."
    return Finding(NONE, sentence, "", "prompts")


def _first(view: StudyView, ranks: pd.DataFrame, leaders: pd.DataFrame) -> Finding:
    """Which model is best by the chosen score, or which ones tie."""
    if len(ranks) == 1:
        row = ranks.iloc[0]
        score = interval_text(row["mean"], row["low"], row["high"])
        sentence = (
            f"Only one model is shown: {_name(row['model'])} has a {_score(view)} of {score} over "
            f"{int(row['prompts']):,} {_noun(row['prompts'])}."
        )
        return Finding(ONE, sentence, "", "timesteps", {"models": [row["model"]]})
    pairs = comparison.clearest(view)
    top = leaders.iloc[0]
    ahead = pairs[(pairs["better"] == top["model_id"]) & (pairs["verdict"] == SEPARABLE)]
    if len(ahead) == len(ranks) - 1:
        return _best(view, ranks, ahead)
    return _tie(view, ranks, leaders, pairs)


def _best(view: StudyView, ranks: pd.DataFrame, ahead: pd.DataFrame) -> Finding:
    """The model that is separably better than every other one, and by how much than the next."""
    best, second = (int(i) for i in ranks["model_id"].head(2))
    pair = ahead[ahead["worse"] == second].iloc[0]
    others = len(ranks) - 1
    every = (
        f"separably ahead of all {others} others, and of" if others > 1 else "separably ahead of"
    )
    after = ", the next," if others > 1 else ""
    sentence = (
        f"{_label(view, best)} is best by {_score(view)}: {every} {_label(view, second)}{after} by {_gap(pair)}, on "
        f"{pair['win_rate']:.0%} of {int(pair['prompts']):,} prompts ({uncertainty.p_text(pair['q'])})."
    )
    filters = {"baseline": view.label(best), "candidate": view.label(second)}
    return Finding(BEST, sentence, SEPARABLE, "models", filters)


def _tie(
    view: StudyView, ranks: pd.DataFrame, leaders: pd.DataFrame, pairs: pd.DataFrame
) -> Finding:
    """The models that tie for the best score, with the largest difference between any two of them."""
    if (
        len(leaders) == 1
    ):  # ahead of nobody for sure, behind nobody either: it ties with some others
        top = leaders["model_id"].iloc[0]
        open_ = pairs[
            (pairs["verdict"] != SEPARABLE) & pairs[["better", "worse"]].eq(top).any(axis=1)
        ]
        tied = ranks[ranks["model_id"].isin({*open_["better"], *open_["worse"]})]
    else:
        tied = leaders
    ids = set(tied["model_id"])
    among = pairs[pairs["better"].isin(ids) & pairs["worse"].isin(ids)]
    pair = among.loc[among["difference"].idxmax()] if among["difference"].notna().any() else None
    names = _list([_name(label) for label in tied["model"]])
    if len(tied) == len(ranks) and not (pairs["verdict"] == SEPARABLE).any():
        head = f"No model is separably best: {'both' if len(tied) == 2 else f'all {len(tied)}'} tie by {_score(view)}"
        head += f" ({names})" if len(tied) <= MOST_NAMES else ""
    else:
        head = f"No single model is best: {names} tie for the best {_score(view)}"
    return Finding(TIE, head + _largest(view, pair), _undecided(pair), "models", _sides(view, pair))


def _largest(view: StudyView, pair: pd.Series | None) -> str:
    """The end of a tie's sentence: the pair that is furthest apart."""
    if pair is None:
        return "; they share no finished prompt."
    better, worse = (_label(view, int(pair[side])) for side in ("better", "worse"))
    why = (
        f", but {int(pair['prompts'])} shared {_noun(pair['prompts'])} are too few to decide"
        if pair["verdict"] == TOO_FEW
        else ""
    )
    return f"; at most, {better} is ahead of {worse} by {_gap(pair)} ({uncertainty.p_text(pair['q'])}){why}."


def _undecided(pair: pd.Series | None) -> str:
    return TOO_FEW if pair is None else str(pair["verdict"])


def _sides(view: StudyView, pair: pd.Series | None) -> dict[str, Any]:
    if pair is None:
        return {}
    return {
        "baseline": view.label(int(pair["better"])),
        "candidate": view.label(int(pair["worse"])),
    }


def _differences(view: StudyView, leader: int, leaders: set[int]) -> list[Finding]:
    """What is separably worse than the leader, and where models differ from it, the largest effect first."""
    if len(view.models) < 2:
        return []
    tests = comparison.what_differs(view, leader, named=True, axis=default_axis(view.models))
    sure = tests[tests["verdict"] == SEPARABLE]
    effect = sure["d_z"].abs().fillna(np.inf)  # no spread: every prompt differs by the same
    sure = sure.loc[effect.sort_values(ascending=False, kind="stable").index]
    scores = sure[sure["measure"] == measures.chosen_score(view).title]
    worse = [_worse(view, leader, row, sure) for row in scores.to_dict("records")]
    if leaders == {leader} and worse and len(view.models) > 2:
        second = comparison.ranking(view)["model_id"].iloc[1]  # the first sentence has it already
        worse = [each for each in worse if each.filters["candidate"] != view.label(int(second))]
    parts = sure[sure["measure"].str.startswith(comparison.CONCEPT_TITLES)]
    where = [_where(view, leader, row) for row in parts.head(MOST_WHERE).to_dict("records")]
    if len(view.models) == 2 and leaders == {leader}:
        worse = [each for each in worse if "; most" in each.sentence]
    return [*worse[:MOST_WORSE], *where]


def _worse(view: StudyView, leader: int, row: Mapping[Any, Any], sure: pd.DataFrame) -> Finding:
    """A model that is separably worse than the leader, and in which category of prompts most."""
    head = f"{measures.chosen_score(view).title}: "
    parts = sure[
        (sure["model_id"] == row["model_id"])
        & sure["measure"].str.startswith(head)
        & (sure["said"] == "worse")
    ]
    filters = {"baseline": view.label(leader), "candidate": row["model"]}
    most = ""
    if len(parts):
        part = parts.loc[parts["difference"].abs().idxmax()]
        category = str(part["measure"]).removeprefix(head)
        most = f"; most on prompts of the category {_name(category)}, by {_size(part)}"
    sentence = (
        f"{_name(row['model'])} is worse than {_label(view, leader)} by {_size(row)} "
        f"({uncertainty.p_text(row['q'])}){most}."
    )
    return Finding(WORSE, sentence, SEPARABLE, "models", filters)


def _where(view: StudyView, leader: int, row: Mapping[Any, Any]) -> Finding:
    """A measure of a concept family in which a model differs from the leader for sure."""
    title, _, family = str(row["measure"]).partition(": ")
    name, other = _name(row["model"]), _label(view, leader)
    which = f"concepts of the family {_name(family)}"
    if title.startswith("Emergence"):
        axis = AXES[default_axis(view.models)]
        what = f"In {name}, {which} emerge {row['said']} than in {other} by {_size(row)} in {axis}"
    else:
        what = f"{title} to {which} is {row['said']} in {name} than in {other} by {_size(row)}"
    filters = {"baseline": view.label(leader), "candidate": row["model"], "families": [family]}
    sentence = f"{what} ({uncertainty.p_text(row['q'])})."
    return Finding(WHERE, sentence, SEPARABLE, "models", filters)


def _emerges(view: StudyView, leader: int) -> Iterator[Finding]:
    """Which concept family emerges first in the leading model, and which last."""
    axis = default_axis(view.models)
    named = view.names_concepts
    rows = emergence.ranked(view, emergence.FAMILY, named=named, axis=axis)
    rows = rows[rows["model_id"] == leader].dropna(subset=["mean"]).sort_values("mean")
    if len(rows) > 1:
        yield _order(view, leader, rows, axis, "emerge", "timesteps", EMERGES)


def _decided(view: StudyView, leader: int) -> Iterator[Finding]:
    """Which concept family is decided first in the leading model, by prompts that were switched."""
    known = switching.measured(switching.rows_of(view))
    if not known:
        return
    axis = default_axis(view.models)
    rows = switching.decided(view, known[0], axis)
    rows = rows[rows["model_id"] == leader].dropna(subset=["mean"]).sort_values("mean")
    if len(rows) > 1:
        yield _order(view, leader, rows, axis, "are decided", "causes", DECIDED)


def _order(
    view: StudyView, leader: int, rows: pd.DataFrame, axis: str, verb: str, page: str, kind: str
) -> Finding:
    """The first and the last family of one model, and whether a test tells the last from an earlier one.

    Args:
        view: the study and its filters.
        leader: model_id.
        rows: family, mean, low, high, rank of that model, the earliest first.
        axis: what the means are on.
        verb: emerge, are decided.
        page: that shows it.
        kind: of the finding.
    """
    first, last = rows.iloc[0], rows.iloc[-1]
    intervals = [interval_text(each["mean"], each["low"], each["high"]) for each in (first, last)]
    later = int(str(last["rank"]).lstrip("=")) > 1
    said = "separably later" if later else "not separable from the first"
    sentence = (
        f"In {_label(view, leader)}, concepts of the family {_name(first['family'])} {verb} first, at {AXES[axis]} "
        f"{intervals[0]}, and of {_name(last['family'])} last, at {intervals[1]} ({said})."
    )
    return Finding(kind, sentence, SEPARABLE if later else NOT_SEPARABLE, page)


def _failed(view: StudyView) -> list[Finding]:
    """How many samples failed, most often why, and how many are missing."""
    counts = view.ask_scope("coverage")
    planned, failed, missing = (int(counts[key].sum()) for key in ("planned", "failed", "missing"))
    out = []
    if failed:
        reasons = view.ask_scope("failures")
        why = ""
        if len(reasons):
            top = reasons.iloc[0]
            why = f", most often ({int(top['samples']):,}) by {_shorten(str(top['error']), LONGEST_REASON)}"
        sentence = f"{failed:,} of {planned:,} samples failed{why}."
        out.append(Finding(FAILED, sentence, "", "prompts", {"sort": "Most failures first"}))
    if missing:
        sentence = (
            f"{missing:,} of {planned:,} samples are missing: they have not been sampled yet."
        )
        out.append(Finding(MISSING, sentence, "", "prompts"))
    return out


def _gap(pair: pd.Series) -> str:
    return interval_text(pair["difference"], pair["low"], pair["high"])


def _size(row: Mapping[Any, Any] | pd.Series) -> str:
    """A difference without its sign, which a word beside it says, and its interval in the same direction."""
    if row["difference"] >= 0:
        return interval_text(row["difference"], row["low"], row["high"])
    return interval_text(-row["difference"], -row["high"], -row["low"])


def _score(view: StudyView) -> str:
    return _name(measures.chosen_score(view).title)


def _label(view: StudyView, model_id: int) -> str:
    return _name(view.label(model_id))


def _name(text: Any) -> str:
    return _shorten(str(text), LONGEST_NAME)


def _shorten(text: str, length: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def _list(names: list[str]) -> str:
    """'A and B', 'A, B and C', 'A, B, C and 4 others'."""
    if len(names) > MOST_NAMES:
        names = [*names[: MOST_NAMES - 1], f"{len(names) - MOST_NAMES + 1} others"]
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _noun(prompts: float) -> str:
    return "prompt" if prompts == 1 else "prompts"
