"""The measures that models are compared by: one list, each with its direction and where it comes from. No Streamlit.

A *score* is a measure of final images: the CLIP score, which the study computes itself, and every score that another program
computed and `python -m pipeline scores add` put beside the shards. Wherever one can be chosen, any can: `every_score` lists
them, `chosen_score` is the one that the reader chose, and `comparison.scores` gives its values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from app.analysis.reading import StudyView

NOT_STATED = "not stated"


@dataclass(frozen=True)
class Measure:
    """A measure that models are compared by.

    Attributes:
        title: what a reader sees.
        column: of the query's rows.
        lower_is_better: its direction.
        words: for a separable difference above zero, and below.
        metric: of a score, its name in commands and `Scope.metric`; '' = the CLIP score, and no score.
        source: of a score, the scorer: program, model, version.
        preprocessing: of a score, how images and texts were prepared; '' = not stated.
        level: of a score, image, prompt (whatever the seed) or step.
    """

    title: str
    column: str
    lower_is_better: bool
    words: tuple[str, str]
    metric: str = ""
    source: str = ""
    preprocessing: str = ""
    level: str = "image"

    @property
    def better(self) -> str:
        """The better direction, in a word."""
        return "lower" if self.lower_is_better else "higher"

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is."""
        return -1 if self.lower_is_better else 1

    @property
    def credit(self) -> str:
        """Where a score comes from, in a sentence: scores of one name differ by implementation."""
        return f"{self.title}: {self.source}; preprocessing: {self.preprocessing or NOT_STATED}."

    @property
    def definition(self) -> str:
        """What a score is, for a tooltip."""
        what = "cosine to its prompt, -1 to 1" if not self.metric else LEVELS[self.level]
        return f"{self.title} of the final image: {what}; {self.better} is better. {self.credit}"


LEVELS = {
    "image": "computed by another program",
    "prompt": "computed by another program for all images of a prompt together",
    "step": "computed by another program for each step, of which the last counts",
}
CLIP = Measure("CLIP score", "score", False, ("better", "worse"))
OWN_PREPROCESSING = "the scorer's own resizing and normalisation"


def clip_score(view: StudyView) -> Measure:
    """The CLIP score by the scorer whose numbers are shown."""
    source = str(view.study["scorer"])
    return Measure(CLIP.title, CLIP.column, False, CLIP.words, "", source, OWN_PREPROCESSING)


def every_score(view: StudyView) -> list[Measure]:
    """The scores of a study: the CLIP score, then those of other programs in the order in which they were added."""
    return [clip_score(view), *of_metrics(view.ask("metrics"))]


def of_metrics(rows: pd.DataFrame) -> list[Measure]:
    """The scores that the rows of metrics.sql describe."""
    return [_score(row) for row in rows.to_dict("records")] if len(rows) else []


def _score(row: dict[str, object]) -> Measure:
    lower = bool(row["lower_is_better"])
    level = str(row["level"]) if row["level"] in LEVELS else "image"
    words = ("worse", "better") if lower else ("better", "worse")
    title = _printable(str(row["title"])) or str(row["name"])
    title = f"{title} (added)" if title.casefold() == CLIP.title.casefold() else title
    source, preprocessing = (_printable(str(row[name])) for name in ("source", "preprocessing"))
    return Measure(title, "score", lower, words, str(row["name"]), source, preprocessing, level)


def _printable(text: str) -> str:
    """A stranger's text on one line, at most 200 characters."""
    return "".join(c if c.isprintable() else " " for c in text).strip()[:200]


def chosen_score(view: StudyView) -> Measure:
    """The score that the reader chose; the CLIP score where the study has no such metric."""
    return next((s for s in every_score(view) if s.metric == view.scope.metric), clip_score(view))


def scores_by_metric(scores: Iterable[Measure]) -> dict[str, Measure]:
    """The scores by their name in commands."""
    return {score.metric: score for score in scores}
