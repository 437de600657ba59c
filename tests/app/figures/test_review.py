"""Reviews: verdicts whose answer is known, notes that outlive snapshots, exports that stay text."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode

import duckdb
import numpy as np
import pandas as pd
import pytest

from app.analysis import comparison, criteria, decisions, reviews
from app.analysis.reviews import FAIL, PASS, UNDECIDED, Criterion, Review
from app.database import notebook
from app.database.notebook import ReviewError
from app.figures import review as review_
from app.figures.review import Report
from app.figures.source import Choice, open_study
from stepscope import __main__ as command
from tests.support.pages import Open, charts_of, shown
from tests.support.texts import HOSTILE


def measures_of(differences: list[float], q: float | None = None) -> reviews.Measures:
    base = np.linspace(0.2, 0.4, len(differences))
    wide = pd.DataFrame({1: base, 2: base + np.array(differences)})
    return {"m": reviews.Evidence("higher", wide, q)}


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
        ([-0.01] * 3, "higher", 0.0, UNDECIDED),
        ([0.01] * 5, "higher", 0.0, UNDECIDED),
    ],
)
def test_a_verdict_follows_the_interval(
    differences: list[float], direction: str, margin: float, expected: str
) -> None:
    verdict = reviews.judge(Criterion("m", direction, margin), measures_of(differences), (1, 2))
    assert verdict.verdict == expected


@pytest.mark.parametrize(
    ("difference", "margin", "expected"),
    [
        (-0.01, 0.0, UNDECIDED),  # "fail" would claim a difference that Models calls not separable
        (0.01, -0.005, UNDECIDED),  # so would "better by at least"
        (0.01, 0.0, PASS),  # "not worse" claims none
        (0.0, -0.005, FAIL),  # nor does "not as much better as was asked"
    ],
)
def test_a_verdict_claims_no_difference_that_is_not_separable(
    difference: float, margin: float, expected: str
) -> None:
    criterion = Criterion("m", "higher", margin)
    evidence = measures_of([difference] * 20, q=0.2)
    assert reviews.judge(criterion, evidence, (1, 2)).verdict == expected


@pytest.mark.parametrize(
    ("below", "above", "margin", "expected", "more"),
    [
        (0.02, 0.03, 0.0, UNDECIDED, False),  # zero is possible, however many the prompts
        (0.02, 0.03, 0.02, PASS, False),
        (0.004, 0.03, 0.0, PASS, False),
        (0.004, 0.03, -0.0055, UNDECIDED, True),  # 0.006 is claimed, and too few prompts to be sure
    ],
)
@pytest.mark.parametrize("direction", ["higher", "lower"])
def test_a_verdict_follows_what_steps_leave_open(
    direction: str, below: float, above: float, margin: float, expected: str, more: bool
) -> None:
    sign = 1 if direction == "higher" else -1
    gap = sign * np.array([0.0095, 0.0105] * 10 + [0.003, 0.017])
    ends = gap - sign * below, gap + sign * above
    limits = np.minimum(*ends), np.maximum(*ends)
    evidence = {"m": replace(measures_of(list(gap))["m"], limits=limits)}
    verdict = reviews.judge(Criterion("m", direction, margin), evidence, (1, 2))
    assert (verdict.verdict, bool(np.isfinite(verdict.more))) == (expected, more)


def test_wins_are_in_the_criterions_direction() -> None:
    earlier = measures_of([-1.0, -1.0, -1.0, -1.1, -1.0, -1.0, 0.9, -1.0])
    verdict = reviews.judge(Criterion("m", "lower", 0.0), earlier, (1, 2))
    assert verdict.verdict in (PASS, UNDECIDED)
    assert verdict.paired.win_rate == 7 / 8


def test_the_whole_passes_only_when_all_do() -> None:
    good = reviews.judge(Criterion("m", "higher", 0), measures_of([0.01] * 9), (1, 2))
    bad = reviews.judge(Criterion("m", "higher", 0), measures_of([-0.01] * 9), (1, 2))
    open_ = reviews.judge(Criterion("no", "higher", 0), measures_of([0.01] * 9), (1, 2))
    assert reviews.overall([good, good]) == PASS
    assert reviews.overall([good, open_]) == UNDECIDED
    assert reviews.overall([good, open_, bad]) == FAIL
    assert reviews.overall([]) == UNDECIDED


@pytest.fixture
def review() -> Review:
    return Review(
        "", "", "Ada", "May it?", "scenes-unet", "scenes-unet-short", "seeds=1", 1, "a" * 64,
        (Criterion("CLIP score", "higher", 0.005), Criterion("Emergence (log-SNR): object", "lower", 0.0)),
    )  # fmt: skip


def test_reviews_and_notes_are_kept(tmp_path: Path, review: Review) -> None:
    store = notebook.store_of(tmp_path)
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
        reviews.keep(notebook.store_of(tmp_path), replace(review, **change))
    assert reviews.all_reviews(notebook.store_of(tmp_path)) == []


def test_a_damaged_store_is_said_and_kept_under_another_name(
    tmp_path: Path, review: Review
) -> None:
    store = notebook.store_of(tmp_path)
    store.write_bytes(b"not a database" * 100)
    with pytest.raises(ReviewError, match="cannot be read. The file is kept"):
        reviews.all_reviews(store)
    assert [path.name for path in tmp_path.iterdir()] == ["reviews.sqlite"], (
        "reading renames nothing"
    )
    kept = reviews.keep(store, review)
    assert reviews.all_reviews(store) == [kept]
    (aside,) = tmp_path.glob("reviews.sqlite.damaged-*")
    assert aside.read_bytes() == b"not a database" * 100


def test_a_store_stands_beside_the_study_never_in_it(results: Path) -> None:
    assert notebook.store_of(results) == results / "reviews.sqlite"
    assert notebook.store_of(Path("/x/demo-1.duckdb")) == Path("/x/demo-1.reviews.sqlite")


def saved(app, question: str = "May it go live?", name: str = "Ada"):  # type: ignore[no-untyped-def]
    next(t for t in app.text_input if t.label == "Question").set_value(question)
    app.text_input(key="reviewer").set_value(name)
    next(b for b in app.button if b.label == "Save the review").click().run()
    return app


def test_a_review_from_start_to_end(open_view: Open, results_copy: Path) -> None:
    app = open_view("review", results_copy)
    assert not app.exception
    assert len(charts_of(app)) == 2
    assert "95 %" in shown(app)
    saved(app)
    assert not app.exception
    kept = reviews.all_reviews(results_copy / "reviews.sqlite")
    assert [r.question for r in kept] == ["May it go live?"]
    opened = open_view("review", results_copy, review=kept[0].review_id)
    assert not opened.exception
    assert "May it go live?" in shown(opened)
    opened.text_input(key="note_author").set_value("<b>Bob</b>")
    opened.text_area[0].set_value("<script>alert(1)</script> looks **fine**")
    next(b for b in opened.button if b.label == "Add").click().run()
    assert not opened.exception
    assert "<script>alert(1)</script> looks **fine**" in [t.value for t in opened.text]
    assert all("<b>Bob" not in str(c.value) for c in opened.caption)


def test_notes_survive_a_new_snapshot(open_view: Open, results_copy: Path) -> None:
    saved(open_view("review", results_copy))
    kept = reviews.all_reviews(results_copy / "reviews.sqlite")[0]
    reviews.add_note(
        results_copy / "reviews.sqlite", kept.review_id, "accept", "Ada", "Kept", 1, "x"
    )
    pointer = json.loads((results_copy / "current.json").read_text())
    old = results_copy / pointer["snapshot"]
    new = old.with_name("demo-000099.duckdb")
    old.rename(new)
    (results_copy / "current.json").write_text(
        json.dumps({**pointer, "snapshot": str(new.relative_to(results_copy))})
    )
    app = open_view("review", results_copy, review=kept.review_id)
    assert not app.exception
    assert "Kept" in [t.value for t in app.text]


def test_a_saved_review_shows_what_it_said_beside_todays_data(
    open_view: Open, results_copy: Path
) -> None:
    """A second snapshot, on which the candidate is worse by 0.3."""
    saved(open_view("review", results_copy, seeds="1"))
    kept = reviews.all_reviews(results_copy / "reviews.sqlite")[0]
    (before,), _ = decisions.of_review(results_copy / "reviews.sqlite", kept.review_id)
    assert before.filters == "seeds=1" and len(before.rows) == 2
    pointer = json.loads((results_copy / "current.json").read_text())
    new = results_copy / pointer["snapshot"].replace("-000001", "-000002")
    shutil.copyfile(results_copy / pointer["snapshot"], new)
    with duckdb.connect(str(new)) as connection:
        connection.execute("UPDATE study SET snapshot = 2, content_hash = 'feedbeef'")
        connection.execute("UPDATE sample SET clip_score = clip_score - 0.3 WHERE model_id = 2")
    changed = {**pointer, "snapshot": str(new.relative_to(results_copy))}
    (results_copy / "current.json").write_text(json.dumps(changed))
    app = open_view("review", results_copy, review=kept.review_id, seeds="1")
    assert not app.exception
    page = shown(app).replace("\\", "")  # what Markdown would interpret is escaped
    assert f"on snapshot {before.snapshot}" in page and "today's data differ (snapshot 2)" in page
    then = f"{before.rows[0]['difference']:+.4f}"
    now = f"{before.rows[0]['difference'] - 0.3:+.4f}"
    assert then in page and now in page and "Today: **fail**" in page
    assert f"Then: **{before.rows[0]['verdict']}**" in page
    app.text_input(key="note_author").set_value("Bob")
    app.text_area[0].set_value("Not any more")
    app.segmented_control(key="note_kind").set_value("reject")
    next(b for b in app.button if b.label == "Add").click().run()
    assert not app.exception
    last, first = decisions.of_review(results_copy / "reviews.sqlite", kept.review_id)[0]
    assert str(first) == str(before), "NaN, too, is kept"
    assert last.content_hash == "feedbeef" and last.verdict == FAIL


def test_the_page_saves_the_criteria_as_a_file_for_the_gate(
    open_view: Open, results_copy: Path, tmp_path: Path
) -> None:
    saved(open_view("review", results_copy, seeds="1"))
    kept = reviews.all_reviews(results_copy / "reviews.sqlite")[0]
    app = open_view("review", results_copy, review=kept.review_id, seeds="1")
    assert any(each.proto.label == "Criteria" for each in app.get("download_button"))
    file = tmp_path / "criteria.toml"
    file.write_text(criteria.written(criteria.of_review(kept)))
    status = command.main(["gate", str(results_copy), "--criteria", str(file), "--json"])
    said = {PASS: 0, FAIL: 1, UNDECIDED: 3}
    (frozen,), _ = decisions.of_review(results_copy / "reviews.sqlite", kept.review_id)
    assert status == said[frozen.verdict]


def test_a_second_review_is_shown_once_it_is_saved(open_view: Open, results_copy: Path) -> None:
    """The list of reviews held "New review", and the page showed the draft that had just been saved."""
    saved(open_view("review", results_copy))
    app = open_view("review", results_copy)
    assert app.selectbox(key="chosen_review").value == "new"
    saved(app, "And the other way round?")
    assert not app.exception
    kept = reviews.all_reviews(results_copy / "reviews.sqlite")
    second = next(r.review_id for r in kept if r.question == "And the other way round?")
    assert app.query_params["review"] == second
    app.run()
    assert app.selectbox(key="chosen_review").value == second
    assert app.text_input(key="note_author")


def test_a_nameless_review_is_not_kept(open_view: Open, results_copy: Path) -> None:
    app = saved(open_view("review", results_copy), name="")
    assert not app.exception
    assert any("name is missing" in e.value for e in app.error)
    assert not (results_copy / "reviews.sqlite").exists()


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


@pytest.mark.parametrize("text", HOSTILE)
def test_exports_are_self_contained_and_only_text(text: str, review: Review) -> None:
    verdict = reviews.judge(Criterion("m", "higher", 0), measures_of([0.01] * 9), (1, 2))
    kept = replace(review, question=text, author=text, created_at="2026-01-02T03:04:05+00:00")
    report = Report(
        kept, (verdict,), (reviews.Note("note", text, kept.created_at, text, 1, "h"),), text, 1, "h" * 64,
        (text, text), pd.DataFrame([{"text": text, "baseline": 0.1, "candidate": 0.2, "difference": 0.1}]),
        ((text, b"RIFF0000WEBP", b"\x89PNG"),), (("x", "javascript:alert(1)"), ("Models", "models?a=1")),
        urlencode({"slice_text": text, "seeds": 1}),
    )  # fmt: skip
    page = review_.to_html(report)
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
    report_text = review_.to_markdown(report)
    assert "<script>" not in report_text.replace("\\<script\\>", "")
    assert "| criterion | verdict |" in report_text
    assert "seeds = 1" in report_text


def test_evidence_links_name_both_models_and_the_filters(review: Review) -> None:
    links = dict(review_.links("http://localhost:8501", review, ("A & B", "C")))
    models = next(a for t, a in links.items() if t.startswith("Models"))
    assert models == "http://localhost:8501/models?baseline=A+%26+B&candidate=C&seeds=1"
    assert all(a.startswith("models?") for t, a in review_.links("javascript:x", review, ("A", "B")) if t.startswith("Models"))  # fmt: skip


def test_measures_are_paired_by_prompt(results: Path) -> None:
    study = open_study(str(results), Choice(models=("scenes-unet",)))
    got = reviews.measures(study, (1, 2))
    assert {"CLIP score", "Final similarity: object", "Seconds per image"} <= set(got)
    assert any(name.startswith("Deletion area") for name in got)
    assert got["Emergence (log-SNR): object"].better == "lower"
    assert len(got["CLIP score"].values) == 24
    assert all(0 <= each.q <= 1 for each in got.values() if each.q == each.q)


def test_a_review_gives_the_p_and_the_verdict_of_the_models_page(results: Path) -> None:
    study = open_study(str(results), Choice())
    table = comparison.what_differs(study, 1)
    results_copy = table[table["model_id"] == 2].set_index("measure")
    measures = reviews.measures(study, (1, 2))
    for name in ("CLIP score", "Emergence (log-SNR): object", "Final similarity: colour"):
        verdict = reviews.judge(Criterion(name, measures[name].better, 0.0), measures, (1, 2))
        assert verdict.q == results_copy.loc[name, "q"]
        assert verdict.paired.win_rate == results_copy.loc[name, "win_rate"]
        assert verdict.verdict != FAIL or results_copy.loc[name, "verdict"] == "separable"
