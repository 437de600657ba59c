"""Three prompts decide nothing, on any page and in any figure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.figures.export import KINDS
from app.figures.source import Choice, open_study
from tests.support.downloads import Downloads
from tests.support.pages import Open

UNET, QUARTER = "UNet", "UNet (quarter)"


@pytest.fixture
def three_prompts(altered: Callable[..., Path]) -> Path:
    return altered(
        "DELETE FROM sample WHERE prompt_id > 3", "UPDATE sample SET clip_score = 0.1 * model_id"
    )


def test_three_prompts_decide_nothing_on_any_page(
    three_prompts: Path, open_view: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models said "not separable" of what Review called a fail, on the same three prompts."""
    from tests.support.pages import shown

    downloads = Downloads(monkeypatch)
    open_view("models", three_prompts, baseline=QUARTER)
    table = downloads.table("measures").query("measure == 'CLIP score'")
    assert set(table["verdict"]) == {"too few prompts"} and set(table["prompts"]) == {3}
    assert set(downloads.table("ranks")["rank"].str.strip("'")) == {"=1"}
    for pair in (
        {"baseline": QUARTER, "candidate": UNET},
        {"baseline": UNET, "candidate": QUARTER},
    ):
        open_view("review", three_prompts, criteria="CLIP score", **pair)
        assert downloads.table("judged")["verdict"].tolist() == ["undecided"]
    assert "too few to decide" in shown(open_view("overview", three_prompts))
    figure = KINDS["paired-differences"].build(open_study(str(three_prompts), Choice()))
    score = figure.data.query("measure == 'CLIP score'")
    assert set(score["verdict"]) == {"too few prompts"}
