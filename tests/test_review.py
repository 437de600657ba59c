"""Reviews: verdicts whose answer is known, notes that outlive snapshots, exports that stay text."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pytest
import queries
import reviews
from conftest import HOSTILE
from reviews import FAIL, PASS, UNDECIDED, Criterion, Report, Review, ReviewError
from test_views import Open, charts_of, open_view, shown  # noqa: F401


def found(differences: list[float]) -> reviews.Measures:
    base = np.linspace(0.2, 0.4, len(differences))
    wide = pd.DataFrame({1: base, 2: base + np.array(differences)})
    return {"m": ("higher", wide)}


@pytest.mark.parametrize(
    ("differences", "direction", "margin", "expected"),
    [
        ([0.01] * 20, "higher", 0.0, PASS),
        ([-0.01] * 20, "higher", 0.0, FAIL),
        ([-0.01] * 20, "higher", 0.02, PASS),
        ([-0.01] * 20, "lower", 0.0, PASS),
        ([0.01] * 20, "lower", 0.0, FAIL),
        ([0.01] * 20, "higher", -0.02, FAIL),
        ([0.03] * 20, "higher", -0.02, PASS),
        ([-0.5, 0.5] * 10, "higher", 0.0, UNDECIDED),
        ([0.0] * 20, "higher", 0.0, PASS),
        ([0.1], "higher", 0.0, UNDECIDED),
    ],
)
def test_a_verdict_follows_the_interval(
    differences: list[float], direction: str, margin: float, expected: str
) -> None:
    verdict = reviews.judge(Criterion("m", direction, margin), found(differences), (1, 2))
    assert verdict.verdict == expected


def test_the_whole_passes_only_when_all_do() -> None:
    good = reviews.judge(Criterion("m", "higher", 0), found([0.01] * 9), (1, 2))
    bad = reviews.judge(Criterion("m", "higher", 0), found([-0.01] * 9), (1, 2))
    open_ = reviews.judge(Criterion("no", "higher", 0), found([0.01] * 9), (1, 2))
    assert reviews.overall([good, good]) == PASS
    assert reviews.overall([good, open_]) == UNDECIDED
    assert reviews.overall([good, open_, bad]) == FAIL
    assert reviews.overall([]) == UNDECIDED


@pytest.fixture
def review() -> Review:
    return Review(
        "", "", "Ada", "May it?", "scenes-unet", "scenes-unet-short", "seeds=1", 1, "a" * 64,
        (Criterion("CLIP score", "higher", 0.005), Criterion("Emergence step: object", "lower", 0.0)),
    )  # fmt: skip


def test_reviews_and_notes_are_kept(tmp_path: Path, review: Review) -> None:
    store = reviews.store_of(tmp_path)
    assert reviews.all_reviews(store) == []
    kept = reviews.keep(store, review)
    for i, text in enumerate(HOSTILE[:3] + HOSTILE[4:]):
        kind = list(reviews.KINDS)[i % 3]
        reviews.add_note(store, kept.review_id, kind, "'; DROP TABLE note; --", text, 2, "b")
    assert reviews.all_reviews(store) == [kept]
    notes = reviews.notes_of(store, kept.review_id)
    assert len(notes) == len(HOSTILE) - 1
    assert notes[0].text == HOSTILE[0]
    assert notes[0].written_at.endswith("+00:00")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"author": " "}, "name is missing"),
        ({"question": ""}, "question is missing"),
        ({"question": "x" * 501}, "501 signs"),
        ({"criteria": ()}, "1 to 20 criteria"),
        ({"criteria": (Criterion("m", "higher", float("nan")),)}, "must be a number"),
        ({"criteria": (Criterion("m", "sideways", 0.0),)}, "must be a number"),
    ],
)
def test_what_cannot_be_kept_is_said(
    change: dict[str, object], message: str, tmp_path: Path, review: Review
) -> None:
    with pytest.raises(ReviewError, match=message):
        reviews.keep(reviews.store_of(tmp_path), replace(review, **change))
    assert reviews.all_reviews(reviews.store_of(tmp_path)) == []


def test_a_damaged_store_is_a_clear_error(tmp_path: Path, review: Review) -> None:
    store = reviews.store_of(tmp_path)
    store.write_bytes(b"not a database" * 100)
    with pytest.raises(ReviewError, match="can't be read"):
        reviews.all_reviews(store)
    with pytest.raises(ReviewError, match="can't be read"):
        reviews.keep(store, review)


def test_a_store_stands_beside_the_study_never_in_it(results: Path) -> None:
    assert reviews.store_of(results) == results / "reviews.sqlite"
    assert reviews.store_of(Path("/x/demo-1.duckdb")) == Path("/x/demo-1.reviews.sqlite")


@pytest.fixture
def own(results: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "demo"
    shutil.copytree(results, folder)
    return folder


def saved(app, question: str = "May it go live?", name: str = "Ada"):  # type: ignore[no-untyped-def]
    next(t for t in app.text_input if t.label == "Question").set_value(question)
    app.text_input(key="reviewer").set_value(name)
    next(b for b in app.button if b.label == "Save the review").click().run()
    return app


def test_a_review_from_start_to_end(open_view: Open, own: Path) -> None:  # noqa: F811
    app = open_view("review", own)
    assert not app.exception
    assert len(charts_of(app)) == 2
    assert "95 %" in shown(app)
    saved(app)
    assert not app.exception
    kept = reviews.all_reviews(own / "reviews.sqlite")
    assert [r.question for r in kept] == ["May it go live?"]
    opened = open_view("review", own, review=kept[0].review_id)
    assert not opened.exception
    assert "May it go live?" in shown(opened)
    opened.text_input(key="note_author").set_value("<b>Bob</b>")
    opened.text_area[0].set_value("<script>alert(1)</script> looks **fine**")
    next(b for b in opened.button if b.label == "Add").click().run()
    assert not opened.exception
    assert "<script>alert(1)</script> looks **fine**" in [t.value for t in opened.text]
    assert all("<b>Bob" not in str(c.value) for c in opened.caption)


def test_notes_survive_a_new_snapshot(open_view: Open, own: Path) -> None:  # noqa: F811
    saved(open_view("review", own))
    kept = reviews.all_reviews(own / "reviews.sqlite")[0]
    reviews.add_note(own / "reviews.sqlite", kept.review_id, "accept", "Ada", "Kept", 1, "x")
    pointer = json.loads((own / "current.json").read_text())
    old = own / pointer["snapshot"]
    new = old.with_name("demo-000099.duckdb")
    old.rename(new)
    (own / "current.json").write_text(
        json.dumps({**pointer, "snapshot": str(new.relative_to(own))})
    )
    app = open_view("review", own, review=kept.review_id)
    assert not app.exception
    assert "Kept" in [t.value for t in app.text]


def test_a_second_review_is_shown_once_it_is_saved(open_view: Open, own: Path) -> None:  # noqa: F811
    """The list of reviews held "New review", and the page showed the draft that had just been saved."""
    saved(open_view("review", own))
    app = open_view("review", own)
    assert app.selectbox(key="chosen_review").value == "new"
    saved(app, "And the other way round?")
    assert not app.exception
    kept = reviews.all_reviews(own / "reviews.sqlite")
    second = next(r.review_id for r in kept if r.question == "And the other way round?")
    assert app.query_params["review"] == second
    app.run()
    assert app.selectbox(key="chosen_review").value == second
    assert app.text_input(key="note_author")


def test_a_nameless_review_is_not_kept(open_view: Open, own: Path) -> None:  # noqa: F811
    app = saved(open_view("review", own), name="")
    assert not app.exception
    assert any("name is missing" in e.value for e in app.error)
    assert not (own / "reviews.sqlite").exists()


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


@pytest.mark.parametrize("text", HOSTILE)
def test_exports_are_self_contained_and_only_text(text: str, review: Review) -> None:
    verdict = reviews.judge(Criterion("m", "higher", 0), found([0.01] * 9), (1, 2))
    kept = replace(review, question=text, author=text, created_at="2026-01-02T03:04:05+00:00")
    report = Report(
        kept, (verdict,), (reviews.Note("note", text, kept.created_at, text, 1, "h"),), text, 1, "h" * 64,
        (text, text), pd.DataFrame([{"text": text, "baseline": 0.1, "candidate": 0.2, "difference": 0.1}]),
        ((text, b"RIFF0000WEBP", b"\x89PNG"),), (("x", "javascript:alert(1)"), ("Models", "models?a=1")),
        urlencode({"slice_text": text, "seeds": 1}),
    )  # fmt: skip
    page = reviews.to_html(report)
    tags = Tags()
    tags.feed(page)
    names = {tag for tag, _ in tags.seen}
    assert not names & {"script", "iframe", "object", "form"}
    for _tag, attributes in tags.seen:
        assert not any(name.startswith("on") for name in attributes)
        assert not (attributes.get("href") or "").startswith("javascript")
        assert (attributes.get("src") or "data:").startswith("data:")
    assert "pass" in page
    assert "seeds = 1" in page, "which part of the study was judged"
    told = reviews.to_markdown(report)
    assert "<script>" not in told.replace("\\<script\\>", "")
    assert "| criterion | verdict |" in told
    assert "seeds = 1" in told


def test_evidence_links_name_both_models_and_the_filters(review: Review) -> None:
    links = dict(reviews.links("http://localhost:8501", review, ("A & B", "C")))
    models = next(a for t, a in links.items() if t.startswith("Models"))
    assert models == "http://localhost:8501/models?baseline=A+%26+B&candidates=C&seeds=1"
    assert all(a.startswith("models?") for t, a in reviews.links("javascript:x", review, ("A", "B")) if t.startswith("Models"))  # fmt: skip


def test_measures_are_paired_by_prompt(results: Path) -> None:
    from functools import partial

    snapshot = queries.locate(results)
    ask = partial(queries.ask, snapshot)
    concepts = ask("concepts").query("concept_id > 0")
    scope = queries.Scope(
        (1, 2), tuple(concepts["concept_id"]), tuple(ask("categories")["category"]), (0, 1)
    )
    got = reviews.measures(ask, scope, concepts, (1, 2))
    assert {"CLIP score", "Final similarity: object", "Seconds per image"} <= set(got)
    assert any(name.startswith("Deletion area") for name in got)
    assert got["Emergence step: object"][0] == "lower"
    assert len(got["CLIP score"][1]) == 24
