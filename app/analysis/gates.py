"""The gate: a review's verdict for a script, on a study as it stands. The rule is `reviews.judge`'s. No Streamlit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches

from app.analysis import comparison, reviews, uncertainty
from app.analysis.criteria import CriteriaError, Gate
from app.analysis.reading import StudyView
from app.analysis.reviews import Criterion, Measures, Verdict

EXITS = {reviews.PASS: 0, reviews.FAIL: 1, reviews.UNDECIDED: 3}
"""Exit status by verdict; 2 is a mistake in the input, as of every command."""


@dataclass(frozen=True)
class Decision:
    """A gate judged on one snapshot.

    Attributes:
        gate: what was asked.
        verdicts: one per criterion.
        study: its name.
        snapshot: its number.
        content_hash: of what is in it.
        labels: of baseline and candidate.
        scorer: whose numbers; '' in a study with one.
        alpha: two-sided level of this look.
    """

    gate: Gate
    verdicts: tuple[Verdict, ...]
    study: str
    snapshot: int
    content_hash: str
    labels: tuple[str, str]
    scorer: str = ""
    alpha: float = uncertainty.ALPHA

    @property
    def verdict(self) -> str:
        """Of the whole: pass, fail or undecided."""
        return reviews.overall(self.verdicts)

    @property
    def exit_status(self) -> int:
        """0 passed, 1 failed, 3 undecided."""
        return EXITS[self.verdict]

    @property
    def more(self) -> float:
        """Prompts that would decide every undecided criterion; NaN where no number does, 0 where none is undecided."""
        needed = [each.more for each in self.verdicts if each.verdict == reviews.UNDECIDED]
        return max(needed, key=lambda each: (each != each, each)) if needed else 0.0


def decide(view: StudyView, gate: Gate, alpha: float = uncertainty.ALPHA) -> Decision:
    """Judge every criterion on the study as its filters leave it.

    Args:
        view: the study, with the gate's filters.
        gate: what is asked.
        alpha: two-sided level of this look.

    Raises:
        CriteriaError: a model or a measure that the study does not have.
    """
    pair = pair_of(view, gate)
    measured = measures(view, gate, pair)
    criteria = [_directed(each, measured) for each in gate.criteria]
    return Decision(
        replace(gate, criteria=tuple(criteria)),
        tuple(reviews.judge(each, measured, pair, alpha) for each in criteria),
        str(view.study["name"]),
        int(view.study["snapshot"]),
        str(view.study["content_hash"]),
        (view.label(pair[0]), view.label(pair[1])),
        view.scorer,
        alpha,
    )


def pair_of(view: StudyView, gate: Gate) -> tuple[int, int]:
    """model_id of baseline and candidate.

    Raises:
        CriteriaError: a model that the study does not have, or one twice.
    """
    first = _model_id(view, "baseline", gate.baseline)
    second = _model_id(view, "candidate", gate.candidate)
    if first == second:
        raise CriteriaError(f"candidate: {gate.candidate!r} is the baseline. Name another model.")
    return first, second


def measures(view: StudyView, gate: Gate, pair: tuple[int, int]) -> Measures:
    """What the gate's criteria can be judged by: over all prompts where any of them says so, as on the page Review."""
    everywhere = any(comparison.ALL_PROMPTS in each.measure for each in gate.criteria)
    return reviews.measures(view, pair, named=not everywhere)


def _model_id(view: StudyView, key: str, name: str) -> int:
    """The model of a name or label; names first, since a review is saved with them."""
    models = view.every_model
    for column in ("name", "label"):
        rows = models[models[column] == name]
        if len(rows):
            return int(rows["model_id"].iloc[0])
    known = ", ".join(models["name"])
    raise CriteriaError(f"{key}: no model {name!r} in this study. Allowed: {known}.")


def _directed(criterion: Criterion, measured: Mapping[str, reviews.Evidence]) -> Criterion:
    """The criterion with a direction: its own, or the measure's."""
    if criterion.measure not in measured:
        close = get_close_matches(criterion.measure, list(measured), 1)
        meant = f" Did you mean {close[0]!r}?" if close else ""
        raise CriteriaError(
            f"measure: {criterion.measure!r} is not in this study for both models.{meant} --list prints all of them."
        )
    return replace(criterion, direction=criterion.direction or measured[criterion.measure].better)
