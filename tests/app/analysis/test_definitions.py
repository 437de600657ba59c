"""Whether two snapshots measured alike: the scorer, phrasings, thresholds, scores of other programs, versions of tools."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

from app.analysis.definitions import Definitions, Redefined, redefined

METRIC = {
    "name": "hps", "title": "HPS", "lower_is_better": False, "source": "hpsv2 1.0", "preprocessing": "224 px", "level": "image",
}  # fmt: skip


def definitions(
    scorer: str = "ViT",
    environment: Any = None,
    metric: dict[str, Any] | None = None,
    **values: str,
) -> Definitions:
    phrasings = pd.DataFrame(
        [{"family": "object", "concept": "cat", "phrasings": values.get("phrasings", "a")}]
    )
    thresholds = phrasings[["family", "concept"]].assign(
        model="m", thresholds=values.get("thresholds", "a")
    )
    study = pd.Series(
        {
            "scorer": scorer,
            "environment": environment
            if isinstance(environment, str)
            else json.dumps(environment or {}),
        }
    )
    return Definitions(study, pd.DataFrame([{**METRIC, **(metric or {})}]), phrasings, thresholds)


def compared(then: Definitions, now: Definitions) -> Redefined:
    return redefined(then, now, {"m": "The model"})


def test_the_same_is_compared() -> None:
    same = compared(definitions(), definitions())
    assert same.table.empty and not (same.scorer or same.metrics or same.concepts or same.emergence)


def test_another_scorer_or_another_revision_of_it() -> None:
    first, second = ({"scorer_revisions": {"ViT": revision}} for revision in "ab")
    assert compared(definitions("ViT"), definitions("RN50")).scorer
    changed = compared(definitions(environment=first), definitions(environment=second))
    assert changed.scorer and changed.table["measure"].tolist() == [
        "CLIP score and every similarity"
    ]
    assert changed.table["now"].tolist() == ["ViT, revision b"]
    assert not compared(definitions(), definitions(environment=second)).scorer, (
        "an older snapshot does not say it"
    )


@pytest.mark.parametrize(
    ("metric", "differs"),
    [
        ({"source": "hpsv2 2.0"}, True),
        ({"preprocessing": ""}, True),
        ({"level": "prompt"}, True),
        ({"lower_is_better": True}, True),
        ({"title": "Another title"}, False),
    ],
)
def test_a_score_of_another_program(metric: dict[str, Any], differs: bool) -> None:
    changed = compared(definitions(), definitions(metric=metric))
    assert changed.metrics == ({"hps"} if differs else set()) and len(changed.table) == differs


def test_phrasings_and_thresholds() -> None:
    changed = compared(definitions(), definitions(phrasings="b", thresholds="b"))
    assert changed.concepts == {("object", "cat")} and changed.emergence == {("m", "object", "cat")}
    assert changed.table["measure"].tolist() == [
        "object: cat",
        "Emergence step, The model: 1 of 1 concepts",
    ]


def test_versions_of_tools() -> None:
    then, now = ({"definitions": {"df-rise": version}} for version in (1, 2))
    table = compared(definitions(environment=then), definitions(environment=now)).table
    assert table.to_numpy().tolist() == [["df-rise", "definition 1", "definition 2"]]
    assert compared(
        definitions(environment={"definitions": {}}), definitions(environment=then)
    ).table.empty, "1 is left out"
    assert compared(definitions(), definitions(environment=now)).table.empty, (
        "an older snapshot does not say them"
    )


def test_the_clip_score_of_unrounded_images_is_another_measure() -> None:
    """A snapshot that does not say its version has the first."""
    later = definitions(environment={"definitions": {"clip-score": 2}})
    for older in (definitions(), definitions(environment={"definitions": {}})):
        changed = compared(older, later)
        assert changed.metrics == {""} and not changed.scorer
        assert changed.table.to_numpy().tolist() == [["CLIP score", "definition 1", "definition 2"]]
    assert not compared(later, later).metrics


@pytest.mark.parametrize(
    "environment", ["", "[]", "{", "null", "[" * 5000, '{"scorer_revisions": 3, "definitions": []}']
)
def test_an_environment_of_any_kind_says_nothing(environment: str) -> None:
    assert compared(definitions(environment=environment), definitions()).table.empty
