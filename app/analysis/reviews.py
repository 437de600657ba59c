"""Reviews: may a candidate replace the baseline? Criteria, verdicts, notes, exports. No Streamlit.

A criterion names a measure and how much worse than the baseline the candidate may be (its margin).
It passes where the whole 95 % interval of the paired difference is within the margin, fails where the
whole interval is beyond it, and is undecided otherwise, and below 6 shared prompts. A verdict that claims a
difference (worse than the margin allows, or better by as much as was asked) also needs that the difference is
separable, by the same corrected p as on every other page. A review passes when all of its criteria do;
since each must pass by itself, no further correction for their number is needed.

Notes and criteria live in `reviews.sqlite` beside the study, never in the snapshot.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from app.analysis import comparison, faithfulness, uncertainty
from app.analysis import measures as measures_
from app.analysis.questions import Question
from app.analysis.reading import StudyView
from app.database import notebook
from app.database.notebook import ReviewError, printable

PASS, FAIL, UNDECIDED = "pass", "fail", "undecided"
CLIP, SECONDS = comparison.SCORE.title, "Seconds per image"
LONGEST = {"question": 500, "author": 80, "text": 10_000}
MOST_CRITERIA = 20
LARGEST_MARGIN = 1e12
MOST_PROMPTS = 1e9  # a verdict that needs more is on its margin
KINDS = {"note": "Note", "accept": "Accepted", "reject": "Rejected"}


@dataclass(frozen=True)
class Criterion:
    """What the candidate must do.

    Attributes:
        measure: a key of `measures`.
        direction: higher or lower: which is better.
        margin: how much worse is tolerated, in the measure's unit; negative: how much better is asked.
        threshold: where there is one, what the candidate's own mean must reach; the baseline does not count.
    """

    measure: str
    direction: str
    margin: float
    threshold: float | None = None

    def sentence(self) -> str:
        """The criterion in words."""
        if self.threshold is not None:
            bound = "at least" if self.direction == "higher" else "at most"
            return f"{self.measure} of the candidate {bound} {self.threshold:g}"
        if self.margin < 0:
            return (
                f"{self.measure} better by at least {-self.margin:g} ({self.direction} is better)"
            )
        if self.margin == 0:
            return f"{self.measure} not worse ({self.direction} is better)"
        return f"{self.measure} not worse by more than {self.margin:g} ({self.direction} is better)"


@dataclass(frozen=True)
class Verdict:
    """A criterion with its evidence.

    Attributes:
        criterion: what was asked.
        verdict: pass, fail or undecided.
        paired: candidate minus baseline (minus the threshold, where there is one); a win is in the criterion's direction.
        why: one sentence.
        q: p corrected over the family of the measure's question.
        more: prompts that would decide an undecided criterion, beside those there; NaN where no number does.
    """

    criterion: Criterion
    verdict: str
    paired: uncertainty.Paired
    why: str
    q: float
    more: float = float("nan")


@dataclass(frozen=True)
class Note:
    """What a reviewer wrote, or decided (kind accept or reject)."""

    kind: str
    author: str
    written_at: str
    text: str
    snapshot: int
    content_hash: str


@dataclass(frozen=True)
class Review:
    """A question with its criteria. Models are named, since numbers may change with a snapshot."""

    review_id: str
    created_at: str
    author: str
    question: str
    baseline: str
    candidate: str
    filters: str
    snapshot: int
    content_hash: str
    criteria: tuple[Criterion, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """A measure to judge by.

    Attributes:
        better: higher or lower.
        values: one row per prompt, a column per model_id.
        q: p of the difference, corrected over the family of its question; None = the test stands alone.
        limits: of each prompt's difference, as in `Question`.
        credit: of a score, its scorer and preprocessing in a sentence; '' of what the study measures itself.
    """

    better: str
    values: pd.DataFrame
    q: float | None = None
    credit: str = ""
    limits: tuple[np.ndarray, np.ndarray] | None = None


Measures = dict[str, Evidence]


def measures(view: StudyView, pair: tuple[int, int], *, named: bool = True) -> Measures:
    """Measures to judge by, by name, of which both models have a value; emergence in log-SNR.

    Args:
        view: the study and its filters.
        pair: model_id of baseline and candidate, which the filters may leave out.
        named: concepts only in prompts that name them, where any prompt does.
    """
    named = view.counts_named(named)
    models = tuple(dict.fromkeys([*view.scope.models, *pair]))
    # No metric: a verdict does not depend on the score that is chosen.
    view = replace(view, scope=replace(view.scope, models=models, metric=""))
    others = [each for each in comparison.shown_with(view, pair[0]) if each != pair[0]]
    scores = comparison.score_values(view, comparison.shown_with(view, pair[0]))
    families = comparison.family_values(
        view, pair[0], others, named=named, axis="log_snr", area=True
    )
    every = comparison.corrected(view, pair[0], scores, families)
    corrected = {title: q for (model, title), q in every.items() if model == pair[1]}
    measured = _measured(view, pair, scores, families)
    out = {name: e for name, e in measured.items() if set(pair) <= set(e.values)}
    alone = {name: each.values for name, each in out.items() if name not in corrected}
    p = [uncertainty.paired_p(each[pair[0]], each[pair[1]]) for each in alone.values()]
    corrected |= dict(zip(alone, uncertainty.holm(p), strict=True))
    return {name: replace(each, q=float(corrected[name])) for name, each in out.items()}


def _measured(
    view: StudyView,
    pair: tuple[int, int],
    scores: Mapping[str, pd.DataFrame],
    families: Sequence[Question],
) -> Measures:
    models = list(pair)
    out = {
        score.title: Evidence(
            score.better,
            scores[score.metric].filter(items=models).dropna(how="all"),
            credit=score.credit,
        )
        for score in measures_.every_score(view)
    }
    for question in families:
        if question.model_id == pair[1]:
            values = question.values(pair[0]).dropna(axis=1, how="all")
            out[question.title] = Evidence(question.measure.better, values, limits=question.limits)
    seconds = comparison.by_prompt(view.ask_scope("review_seconds", models=models), "seconds")
    return {**out, **_areas(view, models), SECONDS: Evidence("lower", seconds)}


def _areas(view: StudyView, models: list[int]) -> Measures:
    """Areas under insertion and deletion, of a study that has any."""
    if view.ask("faithfulness_baselines", models=models).empty:
        return {}
    areas, out = view.ask_scope("figure_auc", models=models), {}
    groups = areas.groupby(["method", "game", "score", "baseline"], sort=False)
    for (method, game, score, baseline), group in groups:
        lower = not faithfulness.higher_is_better(str(game), str(score))
        removed = "" if baseline == "zero" else f", {baseline}"
        title = f"{str(game).capitalize()} area: {method}, {score}{removed}"
        out[title] = Evidence("lower" if lower else "higher", comparison.by_prompt(group, "auc"))
    return out


def judge(
    criterion: Criterion,
    measured: Measures,
    pair: tuple[int, int],
    alpha: float = uncertainty.ALPHA,
) -> Verdict:
    """Whether the candidate meets a criterion, by the interval of the paired difference.

    Args:
        criterion: what is asked.
        measured: of `measures`.
        pair: model_id of baseline and candidate.
        alpha: two-sided level of this look: the interval covers 1 - alpha, and a separable q lies below it.
    """
    lower = criterion.direction == "lower"
    if criterion.measure not in measured:
        nothing = uncertainty.compare([], [], lower_is_better=lower)
        missing = "This measure is not in the snapshot, or is named differently since its definition changed: see Measures."
        return Verdict(criterion, UNDECIDED, nothing, missing, nothing.p)
    evidence = measured[criterion.measure]
    first, second = evidence.values[pair[0]], evidence.values[pair[1]]
    limits = evidence.limits
    if criterion.threshold is not None:
        first, limits = pd.Series(criterion.threshold, second.index), None
    paired = uncertainty.compare(first, second, lower_is_better=lower, level=1 - alpha, limits=limits)  # fmt: skip
    alone = evidence.q is None or criterion.threshold is not None
    q = paired.p if alone or evidence.q is None else evidence.q
    verdict, why = rule(criterion, paired.difference, q, alpha)
    more = float("nan") if verdict != UNDECIDED else more_prompts(criterion, paired, q, alpha)
    return Verdict(criterion, verdict, paired, f"{why} {evidence.credit}".strip(), q, more)


def rule(
    criterion: Criterion, gap: uncertainty.Interval, q: float, alpha: float = uncertainty.ALPHA
) -> tuple[str, str]:
    """The verdict on an interval of level 1 - alpha, and why."""
    if gap.n < uncertainty.LEAST_PROMPTS or not pd.notna(gap.low):
        needed = uncertainty.LEAST_PROMPTS
        return UNDECIDED, f"Too few prompts: {gap.n} are shared, a verdict needs {needed}."
    sign = 1 if criterion.direction == "higher" else -1
    worst, best = sorted((sign * gap.low, sign * gap.high))
    separable = q < alpha
    if worst >= -criterion.margin and (separable or criterion.margin >= 0):
        return PASS, "The whole interval is within the margin."
    if best < -criterion.margin and (separable or criterion.margin < 0):
        return FAIL, "The whole interval is beyond the margin."
    if worst >= -criterion.margin or best < -criterion.margin:
        return UNDECIDED, "The difference is not separable after correction."
    return UNDECIDED, "The interval crosses the margin: too few prompts to decide."


def more_prompts(
    criterion: Criterion,
    paired: uncertainty.Paired,
    q: float,
    alpha: float = uncertainty.ALPHA,
) -> float:
    """Prompts that would decide a criterion with a power of 80 %, beside those there, if difference and deviation stay.

    The interval must clear the margin; a verdict that claims a difference must also be separable, at the level that the
    correction has left. NaN where no number would: the difference is on the margin, or unknown. See docs/methods.md,
    "Paired difference".
    """
    gap, (below, above) = paired.difference, paired.slack
    sd = uncertainty.deviation(replace(gap, low=gap.low + below, high=gap.high - above), 1 - alpha)
    if not pd.notna(sd):
        return float("nan")
    sign, sides = (1, (below, above)) if criterion.direction == "higher" else (-1, (above, below))
    room = uncertainty.sure_part(sign * gap.estimate + criterion.margin, sides)
    needed = _needed(room, sd, alpha)
    if (room >= 0) == (criterion.margin < 0):  # better as was asked, or worse than allowed
        left = alpha * min(paired.p / q, 1.0) if q > 0 else alpha
        needed = max(needed, _needed(uncertainty.sure_part(gap.estimate, paired.slack), sd, left))
    return max(needed - gap.n, 1.0) if needed < MOST_PROMPTS else float("nan")


def _needed(distance: float, sd: float, alpha: float) -> float:
    if sd == 0:
        return float(uncertainty.LEAST_PROMPTS) if distance else float("nan")
    return uncertainty.prompts_needed(distance / sd, alpha)


def overall(verdicts: Sequence[Verdict]) -> str:
    """Pass where all pass, fail where any fails, undecided otherwise."""
    results = [v.verdict for v in verdicts]
    if FAIL in results:
        return FAIL
    return PASS if results and all(v == PASS for v in results) else UNDECIDED


_REVIEW = dict.fromkeys(
    ("review_id", "created_at", "author", "question", "baseline", "candidate", "filters"), str
) | {"snapshot": int, "content_hash": str}
_CRITERION = {"review_id": str, "measure": str, "direction": str, "margin": float}
_NOTE = {"kind": str, "author": str, "written_at": str, "text": str, "snapshot": int, "content_hash": str}  # fmt: skip


def table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """One row per criterion, with its evidence."""
    return pd.DataFrame(
        [
            {
                "criterion": v.criterion.sentence(),
                "measure": v.criterion.measure,
                "verdict": v.verdict,
                "difference": v.paired.difference.estimate,
                "low": v.paired.difference.low,
                "high": v.paired.difference.high,
                "p": v.paired.p,
                "q": v.q,
                "wilcoxon": v.paired.wilcoxon,
                "d_z": v.paired.d_z,
                "cliffs_delta": v.paired.cliffs_delta,
                "win_rate": v.paired.win_rate,
                "needed": v.paired.needed,
                "more": v.more,
                "prompts": v.paired.difference.n,
            }
            for v in verdicts
        ]
    )


def most_different(values: pd.DataFrame, pair: tuple[int, int], each: int = 3) -> pd.DataFrame:
    """The prompts on which two models differ most, at either end: baseline, candidate, difference by prompt_id."""
    rows = pd.DataFrame({"baseline": values[pair[0]], "candidate": values[pair[1]]}).dropna()
    rows = rows.assign(difference=rows["candidate"] - rows["baseline"]).sort_values("difference")
    top = pd.concat([rows.head(each), rows.tail(each)])
    return top[~top.index.duplicated()]


def all_reviews(store: Path) -> list[Review]:
    """Every readable review of a study, the newest first; none where nobody has written one.

    Raises:
        ReviewError: the file cannot be read.
    """
    return readable_reviews(store)[0]


def readable_reviews(store: Path) -> tuple[list[Review], int]:
    """The reviews that can be shown, and how many cannot; one with a single bad criterion is not judged by the rest.

    Raises:
        ReviewError: the file cannot be read.
    """
    rows, unreadable = notebook.rows(store, "review", "reviews", _REVIEW)
    cells, _ = notebook.rows(store, "criterion", "criteria", dict.fromkeys(_CRITERION, object))
    criteria: dict[str, list[Criterion | None]] = defaultdict(list)
    for each in cells:
        criteria[str(each["review_id"])].append(_criterion(each))
    out = []
    for row in rows:
        listed = criteria[row["review_id"]]
        if listed and None not in listed and len(listed) <= MOST_CRITERIA:
            out.append(Review(**row, criteria=tuple(each for each in listed if each)))
    return out, unreadable + len(rows) - len(out)


def _criterion(cells: dict[str, object]) -> Criterion | None:
    """A criterion, or None where a cell says nothing that can be judged."""
    measure, direction, margin = cells["measure"], cells["direction"], cells["margin"]
    if not isinstance(measure, str) or not isinstance(margin, int | float):
        return None
    if direction not in ("higher", "lower") or not abs(margin) < LARGEST_MARGIN:
        return None
    return Criterion(printable(measure), str(direction), float(margin))


def notes_of(store: Path, review_id: str) -> list[Note]:
    """The readable notes of a review, in the order written.

    Raises:
        ReviewError: the file cannot be read.
    """
    return readable_notes(store, review_id)[0]


def readable_notes(store: Path, review_id: str) -> tuple[list[Note], int]:
    """The notes of a review that can be shown, in the order written, and how many cannot.

    Raises:
        ReviewError: the file cannot be read.
    """
    rows, unreadable = notebook.rows(store, "note", "notes", _NOTE, review_id=review_id)
    out = [Note(**{**row, "text": row["text"][: LONGEST["text"]]}) for row in rows]
    known = [note for note in out if note.kind in KINDS]
    return known, unreadable + len(out) - len(known)


def keep(store: Path, review: Review, frozen: Mapping[str, Any] | None = None) -> Review:
    """Keep a new review; returns it with its id and time.

    Args:
        store: the file.
        review: without id and time.
        frozen: what it says now, as `decisions.record` gives it; kept in the same transaction.

    Raises:
        ReviewError: a text is missing or too long, there is no criterion, or it cannot be written.
    """
    if not review.criteria or len(review.criteria) > MOST_CRITERIA:
        raise ReviewError(
            f"A review needs 1 to {MOST_CRITERIA} criteria; this has {len(review.criteria)}."
        )
    for criterion in review.criteria:
        if (
            criterion.direction not in ("higher", "lower")
            or not abs(criterion.margin) < LARGEST_MARGIN
        ):
            raise ReviewError(f"{criterion.measure}: the margin must be a number.")
        if criterion.threshold is not None:
            raise ReviewError(
                f"{criterion.measure}: a review has margins; a threshold is judged by `stepscope gate` alone."
            )
    kept = replace(
        review,
        review_id=uuid.uuid4().hex[:16],
        created_at=_now(),
        author=_clean("author", review.author),
        question=_clean("question", review.question),
    )
    values = {k: v for k, v in vars(kept).items() if k != "criteria"}
    criteria = [
        ("add_criterion", {"review_id": kept.review_id, "place": number, **vars(criterion)})
        for number, criterion in enumerate(kept.criteria)
    ]
    notebook.write(store, ("add_review", values), *criteria, *_decision(kept.review_id, frozen))
    return kept


def _decision(review_id: str, frozen: Mapping[str, Any] | None) -> list[notebook.Statement]:
    return [("add_decision", {**frozen, "review_id": review_id})] if frozen else []


def add_note(
    store: Path,
    review_id: str,
    kind: str,
    author: str,
    text: str,
    snapshot: int,
    content_hash: str,
    frozen: Mapping[str, Any] | None = None,
) -> None:
    """Keep a note or a decision, with the time and the snapshot that its author saw.

    Args:
        store: the file.
        review_id: of the review.
        kind: a key of KINDS.
        author: a name.
        text: what is said.
        snapshot: number of the one seen.
        content_hash: of that.
        frozen: of a decision: what the review says now, as `decisions.record` gives it.

    Raises:
        ReviewError: a text is missing or too long, or it cannot be written.
    """
    if kind not in KINDS:
        raise ReviewError(f"A note is one of {', '.join(KINDS)}, not {kind!r}.")
    values = {
        "review_id": review_id,
        "kind": kind,
        "author": _clean("author", author),
        "written_at": _now(),
        "text": _clean("text", text),
        "snapshot": snapshot,
        "content_hash": content_hash,
    }
    notebook.write(store, ("add_note", values), *_decision(review_id, frozen))


def _clean(name: str, text: str) -> str:
    """Text without control characters; lines are kept."""
    shown = printable(text).strip()
    if not shown:
        raise ReviewError(f"The {'name' if name == 'author' else name} is missing.")
    if len(shown) > LONGEST[name]:
        raise ReviewError(f"The {name} has {len(shown):,} signs; {LONGEST[name]:,} are allowed.")
    return shown


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def when(written_at: str) -> str:
    """A time for a reader; who wrote the file may have written no time."""
    try:
        return f"{datetime.fromisoformat(written_at):%d %b %Y %H:%M} UTC"
    except ValueError:
        return "time unknown"
