"""Whether a measure is the same measure in two snapshots: its scorer, its phrasings, its thresholds, its version. No Streamlit.

A difference between two snapshots says something of the models only where both were measured alike.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from app.analysis.measures import Measure, of_metrics

NAME = ["family", "concept"]
TITLES = {"clip-score": "CLIP score"}


@dataclass(frozen=True)
class Definitions:
    """What the measures of one snapshot are.

    Attributes:
        study: the study's row.
        metrics: the rows of metrics.sql.
        phrasings: the rows of change_phrasings.sql.
        thresholds: the rows of change_thresholds.sql.
    """

    study: pd.Series
    metrics: pd.DataFrame
    phrasings: pd.DataFrame
    thresholds: pd.DataFrame

    @cached_property
    def environment(self) -> Mapping[str, Any]:
        """What the snapshot says of where it was measured; nothing where that cannot be read."""
        try:
            values = json.loads(str(self.study["environment"]))
        except (ValueError, RecursionError):
            return {}
        return values if isinstance(values, dict) else {}

    @cached_property
    def scorer(self) -> str:
        """The scorer, and its revision where the snapshot says it."""
        revisions = self.environment.get("scorer_revisions")
        revision = revisions.get(str(self.study["scorer"])) if isinstance(revisions, dict) else None
        return f"{self.study['scorer']}{f', revision {revision}' if revision else ''}"

    @cached_property
    def versions(self) -> Mapping[str, Any] | None:
        """The versions above 1 of measures, by name; None where the snapshot does not say them."""
        values = self.environment.get("definitions")
        return values if isinstance(values, dict) else None

    @cached_property
    def scores(self) -> dict[str, Measure]:
        """The scores of other programs, by name."""
        return {each.metric: each for each in of_metrics(self.metrics)}


def definitions_of(ask: Callable[..., pd.DataFrame]) -> Definitions:
    """Those of a snapshot.

    Args:
        ask: answers with the rows of app/database/sql/<name>.sql.
    """
    return Definitions(
        ask("study").iloc[0], ask("metrics"), ask("change_phrasings"), ask("change_thresholds")
    )


@dataclass(frozen=True)
class Redefined:
    """What two snapshots did not measure alike, and is not compared.

    Attributes:
        table: measure, then, now: in words.
        scorer: whether the scorer is another, so that no similarity is compared.
        metrics: scores whose definition is another, by name; "" is the CLIP score.
        concepts: (family, concept) of those with other phrasings.
        emergence: (model, family, concept) of those with other thresholds or noise levels.
    """

    table: pd.DataFrame
    scorer: bool
    metrics: frozenset[str]
    concepts: frozenset[tuple[str, ...]]
    emergence: frozenset[tuple[str, ...]]


def redefined(then: Definitions, now: Definitions, labels: Mapping[str, str]) -> Redefined:
    """What two snapshots did not measure alike.

    Args:
        then, now: the snapshots' definitions.
        labels: how a model is called on the pages, by its name.
    """
    lines: list[tuple[str, str, str]] = []
    scorer = _another_scorer(then, now)
    if scorer:
        lines.append(("CLIP score and every similarity", then.scorer, now.scorer))
    metrics = _other_clip_score(then.versions, now.versions)
    metrics |= {n for n in then.scores.keys() & now.scores.keys() if _said(then.scores[n]) != _said(now.scores[n])}  # fmt: skip
    lines += [
        (now.scores[n].title, _said(then.scores[n]), _said(now.scores[n]))
        for n in sorted(metrics - {""})
    ]
    concepts = _differing(then.phrasings, now.phrasings, NAME, "phrasings")
    lines += [
        (f"{family}: {concept}", "other phrasings", "") for family, concept in sorted(concepts)
    ]
    emergence = _differing(then.thresholds, now.thresholds, ["model", *NAME], "thresholds")
    lines += _emergence_lines(emergence, now.thresholds, labels)
    lines += _versions(then.versions, now.versions)
    table = pd.DataFrame(lines, columns=["measure", "then", "now"])
    return Redefined(table, scorer, frozenset(metrics), frozenset(concepts), frozenset(emergence))


def _other_clip_score(then: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> set[str]:
    """The name of the CLIP score among scores, where its definition is another; a snapshot that does not say it has the first."""
    before, after = ((each or {}).get("clip-score", 1) for each in (then, now))
    return {""} if before != after else set()


def _another_scorer(then: Definitions, now: Definitions) -> bool:
    """Whether the scorers differ by name, or by revision where both say it."""
    if then.study["scorer"] != now.study["scorer"]:
        return True
    return "," in then.scorer and "," in now.scorer and then.scorer != now.scorer


def _said(score: Measure) -> str:
    """The definition of another program's score, as it was stated."""
    return f"{score.source}; {score.preprocessing or 'preprocessing not stated'}; per {score.level}; {score.better} is better"


def _differing(
    then: pd.DataFrame, now: pd.DataFrame, keys: list[str], value: str
) -> set[tuple[str, ...]]:
    """The rows of both whose value is another."""
    both = then.merge(now, on=keys, suffixes=("_then", "_now"))
    changed = both[both[f"{value}_then"] != both[f"{value}_now"]]
    return {tuple(map(str, row)) for row in changed[keys].to_numpy()}


def _emergence_lines(
    changed: set[tuple[str, ...]], known: pd.DataFrame, labels: Mapping[str, str]
) -> list[tuple[str, str, str]]:
    """A line per model: of how many concepts the emergence step is judged by other thresholds."""
    lines = []
    for model, rows in known.groupby("model", sort=False):
        number = sum(each[0] == model for each in changed)
        if number:
            title = (
                f"Emergence step, {labels.get(str(model), model)}: {number} of {len(rows)} concepts"
            )
            lines.append((title, "judged by other thresholds", ""))
    return lines


def _versions(
    then: Mapping[str, Any] | None, now: Mapping[str, Any] | None
) -> list[tuple[str, str, str]]:
    """The measures whose definition has another version, where both snapshots say theirs; the CLIP score's in any case."""
    known = None not in (then, now)
    then, now = then or {}, now or {}
    names = sorted(map(str, {*then, *now} if known else {"clip-score"}))
    return [
        (
            TITLES.get(name, name),
            f"definition {then.get(name, 1)}",
            f"definition {now.get(name, 1)}",
        )
        for name in names
        if then.get(name, 1) != now.get(name, 1)
    ]
