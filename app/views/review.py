"""Review: may the candidate replace the baseline? Criteria, verdicts, notes, and a report to send."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from app.analysis import comparison, decisions, reviews, slices, uncertainty
from app.analysis import criteria as criteria_files
from app.analysis.reviews import FAIL, PASS, Criterion, Measures, Review, Verdict
from app.charts.reviews import margin_chart
from app.database import addresses, notebook
from app.database.notebook import ReviewError
from app.database.snapshots import number_of
from app.figures.review import METHOD, Report, links, to_html, to_markdown
from app.ui import cards, choices, drawing, frozen_panel, queries, reader
from app.ui import links as page_links
from app.ui.page import BIND, Page, current, header
from app.ui.text import count, plain, shorten, slug

ICONS = {PASS: ":material/check_circle:", FAIL: ":material/cancel:"}
HUES = {PASS: "green", FAIL: "red"}
# How much worse is tolerated unless the reviewers say otherwise, by the start of the measure's name.
MARGINS = {reviews.CLIP: 0.005, "Final": 0.005}
NEW = "new"
FILTERS = ("models", "families", "seeds", "scorer", *slices.KEYS)


def show(page: Page) -> None:
    """The whole view."""
    header(
        "Review",
        "May the candidate replace the baseline? Set criteria and read the verdict on each.",
    )
    if len(page.every_model) < 2:
        cards.empty(
            "A review compares two models.",
            "This study has one model. Add another to the study file and run it again.",
            icon=":material/gavel:",
        )
        return
    store = notebook.store_of(page.path)
    try:
        known, unreadable = reviews.readable_reviews(store)
    except ReviewError as error:
        st.error(plain(str(error)), icon=":material/error:")
        known, unreadable = [], 0
    left_out(unreadable, "review")
    chosen = choose(known)
    if chosen is None:
        draft(page)
    else:
        kept(page, chosen)


def left_out(number: int, noun: str) -> None:
    """Say how many entries of the reviews' file cannot be shown."""
    if number:
        st.caption(
            f":material/warning: {count(number, noun)} in the file cannot be shown: a value is missing or "
            "of the wrong kind. The file is not changed."
        )


def choose(known: list[Review]) -> Review | None:
    """One of the reviews of this study, or None for a new one."""
    if not known:
        return None
    titles = {NEW: "New review"} | {
        r.review_id: f"{shorten(r.question, 70)} ({reviews.when(r.created_at)})" for r in known
    }
    # Bound widgets put an option's title into the URL; a link needs the id.
    linked = st.query_params.get("review", NEW)
    st.session_state["chosen_review"] = linked if linked in titles else NEW
    chosen = st.selectbox(
        "Reviews of this study",
        list(titles),
        format_func=lambda i: titles[i],
        key="chosen_review",
        on_change=_open,
        width=560,
    )
    return next((r for r in known if r.review_id == chosen), None)


def _open() -> None:
    chosen = st.session_state["chosen_review"]
    if chosen == NEW:
        st.query_params.pop("review", None)
    else:
        st.query_params["review"] = chosen


def draft(page: Page) -> None:
    """A new review: judged while it is written, and stored when it is saved."""
    pair = (page.baseline, page.candidates[0])
    labels = (page.label(pair[0]), page.label(pair[1]))
    first = " (the first of the others; choose one at the top)" if len(page.candidates) > 1 else ""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.markdown(f"**{plain(labels[1])}** against **{plain(labels[0])}**{first}")
        named = choices.choose_pairs(page)
    measured = page.once(reviews.measures, pair=pair, named=named)
    criteria = write_criteria(measured)
    verdicts = [reviews.judge(c, measured, pair) for c in criteria]
    if not verdicts or not any(v.paired.difference.n for v in verdicts):
        cards.empty(
            "These models share no finished prompt.",
            "A review needs prompts that both models have finished. Clear a filter, or run the rest of the study.",
        )
        return
    judged(page, verdicts, labels)
    save(page, verdicts, pair)


def write_criteria(measured: Measures) -> tuple[Criterion, ...]:
    """Which measures count, and how much worse each may be."""
    names = list(measured)
    wanted = [reviews.CLIP, "Emergence (log-SNR): object"]
    default = [name for name in wanted if name in names] or names[:1]
    with cards.card(
        "Criteria",
        key="criteria",
        help="A criterion passes where the whole 95 % interval of the difference is within the margin. A verdict "
        f"needs at least {uncertainty.LEAST_PROMPTS} shared prompts.",
    ):
        chosen = st.multiselect(
            "Measures", names, default=default, key="criteria", bind=BIND, max_selections=12
        )
        out = []
        with st.container(horizontal=True, vertical_alignment="bottom"):
            for name in chosen:
                direction = measured[name].better
                tolerated = next((v for k, v in MARGINS.items() if name.startswith(k)), 0.0)
                key = f"margin_{slug(name)}"
                margin = st.number_input(
                    f"{name}: worse by at most",
                    page_links.NUMBERS["margin_"].low,
                    page_links.NUMBERS["margin_"].high,
                    tolerated,
                    step=0.001,
                    format="%.4f",
                    key=key,
                    bind=page_links.bound(key),
                    width=300,
                    help=f"{direction.capitalize()} is better. 0: not worse. Below 0: better by at "
                    "least this much.",
                )
                out.append(Criterion(name, direction, float(margin)))
    return tuple(out)


def judged(page: Page, verdicts: list[Verdict], labels: tuple[str, str]) -> None:
    """The verdict of the whole, and of each criterion with its interval."""
    verdict = reviews.overall(verdicts)
    mark = f"{ICONS.get(verdict, ':material/help:')} :{HUES.get(verdict, 'gray')}[**{verdict.capitalize()}**]"
    first, second = (plain(label) for label in labels)
    explained = (
        "Candidate minus baseline with its 95 % interval; in the green band the criterion holds."
    )
    with cards.card("Verdict", key="judged", data=reviews.table(verdicts), help=explained):
        st.markdown(f"{mark}: {second} against {first}")
        for number, each in enumerate(verdicts):
            left, right = st.columns([2, 3], vertical_alignment="center")
            colour = HUES.get(each.verdict, "gray")
            left.markdown(
                f"{ICONS.get(each.verdict, ':material/help:')} :{colour}[**{each.verdict}**] "
                f"{plain(each.criterion.sentence())}"
            )
            left.caption(plain(f"{evidence(each)} {each.why}"))
            if pd.notna(each.paired.difference.low):
                with right:
                    drawing.draw(
                        margin_chart(each.paired.difference, each.criterion, page.look),
                        key=f"interval_{number}",
                        alt=f"Interval: {each.criterion.measure}",
                    )
        st.caption(plain(METHOD))
        if any(each.criterion.measure.startswith(comparison.CONCEPT_TITLES) for each in verdicts):
            st.caption(
                "Concepts count in the prompts that name them, unless a measure says all prompts; emergence is compared in "
                "log-SNR, never = the last noise level that both models reach."
            )


def evidence(verdict: Verdict) -> str:
    """The numbers of a verdict, in a line."""
    gap = verdict.paired.difference
    if not gap.n:
        return ""
    return (
        f"{uncertainty.interval_text(gap.estimate, gap.low, gap.high, signed=True)}, {uncertainty.p_text(verdict.q)}, "
        f"wins {verdict.paired.win_rate:.0%}, {count(gap.n, 'prompt')}."
    )


def save(page: Page, verdicts: list[Verdict], pair: tuple[int, int]) -> None:
    """Keep the draft and what it says now, so that others can find it, note and decide."""
    with st.form("save_review", border=True):
        question = st.text_input(
            "Question", placeholder="May the new checkpoint go into production?", max_chars=500
        )
        author = reader.author("reviewer")
        if not st.form_submit_button("Save the review", icon=":material/save:"):
            return
    names = page.every_model.set_index("model_id")["name"]
    review = Review(
        "", "", author, question, str(names[pair[0]]), str(names[pair[1]]), filters(),
        int(page.study["snapshot"]), str(page.study["content_hash"]), tuple(v.criterion for v in verdicts),
    )  # fmt: skip
    try:
        saved = reviews.keep(
            notebook.store_of(page.path), review, frozen(page, "saved", author, verdicts)
        )
    except ReviewError as error:
        st.error(plain(str(error)), icon=":material/error:")
        return
    # Not `switch_page`: it empties the link first, and the filters in it come back only with luck.
    st.query_params["review"] = saved.review_id
    st.rerun()


def frozen(page: Page, kind: str, author: str, verdicts: list[Verdict]) -> dict[str, Any]:
    """What a review says now, to be kept."""
    return decisions.record(
        kind, author, verdicts, int(page.study["snapshot"]), str(page.study["content_hash"]), page.scorer, filters()
    )  # fmt: skip


def filters() -> str:
    """The filters in force, as a query string."""
    kept = {key: st.query_params.get_all(key) for key in FILTERS if key in st.query_params}
    return urlencode(kept, doseq=True)


def kept(page: Page, review: Review) -> None:
    """A review that was saved, judged on the snapshot shown."""
    ids = dict(zip(page.every_model["name"], page.every_model["model_id"].astype(int), strict=True))
    gone = [name for name in (review.baseline, review.candidate) if name not in ids]
    if gone:
        cards.empty(
            "A model of this review is not in this snapshot.",
            f"Missing: {plain(', '.join(gone))}. Notes are kept.",
            icon=":material/gavel:",
        )
        frozen_panel.beside(notebook.store_of(page.path), review, [], page.study)
        notes(page, review, [])
        return
    pair = (ids[review.baseline], ids[review.candidate])
    labels = (page.label(pair[0]), page.label(pair[1]))
    st.subheader(plain(review.question), anchor=False)
    st.caption(
        f"Opened by {plain(review.author)}, {reviews.when(review.created_at)}, on snapshot "
        f"{review.snapshot}; judged on snapshot {int(page.study['snapshot'])}"
        f"{f' by the scorer {plain(page.scorer)}' if page.scorer else ''}."
    )
    if review.filters != filters():
        st.caption(
            ":material/filter_alt: It was opened with different filters: "
            + (plain(review.filters) if review.filters else "none")
        )
    measured = page.once(reviews.measures, pair=pair, named=not _over_all_prompts(review))
    verdicts = [reviews.judge(c, measured, pair) for c in review.criteria]
    frozen_panel.beside(notebook.store_of(page.path), review, verdicts, page.study)
    judged(page, verdicts, labels)
    left, right = st.columns(2)
    with left:
        notes(page, review, verdicts)
    with right:
        take_away(page, review, verdicts, measured, pair, labels)


def _over_all_prompts(review: Review) -> bool:
    """Whether a review's criteria are of all prompts, not only of those that name a concept."""
    return any(comparison.ALL_PROMPTS in criterion.measure for criterion in review.criteria)


def notes(page: Page, review: Review, verdicts: list[Verdict]) -> None:
    """What reviewers wrote, and a place to write; a decision keeps the verdicts that its author saw."""
    store = notebook.store_of(page.path)
    with cards.card("Notes", key="notes"):
        try:
            written, unreadable = reviews.readable_notes(store, review.review_id)
        except ReviewError as error:
            st.error(plain(str(error)), icon=":material/error:")
            written, unreadable = [], 0
        left_out(unreadable, "note")
        for note in written:
            st.caption(
                f"**{plain(note.author)}**, {reviews.KINDS[note.kind].lower()}, "
                f"{reviews.when(note.written_at)}, snapshot {note.snapshot}"
            )
            st.text(note.text)
        if st.session_state.pop("_note_kept", False):
            st.session_state["note_text"] = ""
        with st.form("note", border=False):
            author = reader.author("note_author")
            text = st.text_area("Note", key="note_text", max_chars=reviews.LONGEST["text"])
            kind = st.segmented_control(
                "It is", list(reviews.KINDS), default="note", required=True,
                format_func=lambda k: reviews.KINDS[k], key="note_kind",
            )  # fmt: skip
            if st.form_submit_button("Add", icon=":material/add_comment:"):
                try:
                    reviews.add_note(
                        store, review.review_id, str(kind or "note"), author, text,
                        int(page.study["snapshot"]), str(page.study["content_hash"]),
                        frozen(page, str(kind), author, verdicts) if verdicts and kind in ("accept", "reject") else None,
                    )  # fmt: skip
                except ReviewError as error:
                    st.error(plain(str(error)), icon=":material/error:")
                else:  # a note that could not be saved stays in its field
                    st.session_state["_note_kept"] = True
                    st.rerun()


def take_away(
    page: Page,
    review: Review,
    verdicts: list[Verdict],
    measured: Measures,
    pair: tuple[int, int],
    labels: tuple[str, str],
) -> None:
    """The evidence, and the review as a file."""
    with cards.card("Evidence and export", key="export"):
        _evidence_links(labels)
        # The link and the filters are unknown where a download is made.
        judged_on = filters()
        evidence = links(
            addresses.of_exports(st.context.url or ""), replace(review, filters=judged_on), labels, at(page)
        )  # fmt: skip

        def report() -> Report:
            return make_report(page, review, verdicts, measured, pair, labels, evidence, judged_on)

        with st.container(horizontal=True):
            st.download_button(
                "HTML", lambda: to_html(report()), f"review-{review.review_id}.html",
                "text/html", on_click="ignore", icon=":material/download:", key="export_html",
                help="One file that needs nothing else.",
            )  # fmt: skip
            st.download_button(
                "Markdown", lambda: to_markdown(report()), f"review-{review.review_id}.md",
                "text/markdown", on_click="ignore", icon=":material/download:", key="export_markdown",
            )  # fmt: skip
            _criteria_file(review)


def _criteria_file(review: Review) -> None:
    """The review's criteria as a file for `stepscope gate`."""
    try:
        text = criteria_files.written(criteria_files.of_review(review))
    except criteria_files.CriteriaError as error:  # filters that somebody else wrote
        st.caption(f":material/warning: No criteria file: {plain(str(error))}")
        return
    st.download_button(
        "Criteria", text, f"criteria-{review.review_id}.toml", "application/toml", on_click="ignore",
        icon=":material/download:", key="export_criteria",
        help="For `stepscope gate DIR --criteria FILE`, which gives these verdicts in a script.",
    )  # fmt: skip


def _evidence_links(labels: tuple[str, str]) -> None:
    """Links to the views that show the evidence, with the filters in force."""
    chosen = {"baseline": labels[0], "candidate": labels[1]}
    kept_filters = {k: st.query_params.get_all(k) for k in FILTERS if k in st.query_params}
    for view, title, extra in (
        ("models", "Differences, grid, prompts that differ most", chosen),
        ("timesteps", "When concepts appear", {}),
        ("prompts", "Prompts one by one", {}),
    ):
        st.page_link(
            f"views/{view}.py", label=title, icon=":material/open_in_new:",
            query_params={**kept_filters, **extra},
        )  # fmt: skip


def at(page: Page) -> dict[str, str]:
    """Which study and snapshot an exported link shows."""
    study = {"study": st.query_params["study"]} if "study" in st.query_params else {}
    number = number_of(Path(page.snapshot.path)) if page.path.is_dir() else 0
    return {**study, "snapshot": str(number)} if number else study


def make_report(
    page: Page,
    review: Review,
    verdicts: list[Verdict],
    measured: Measures,
    pair: tuple[int, int],
    labels: tuple[str, str],
    evidence: tuple[tuple[str, str], ...],
    judged_on: str,
) -> Report:
    """All that an export shows, with links to the evidence and the filters it was judged with."""
    store = notebook.store_of(page.path)
    prompts, images = most_different(page, measured, pair)
    return Report(
        review, tuple(verdicts), tuple(reviews.notes_of(store, review.review_id)),
        page.title, int(page.study["snapshot"]), str(page.study["content_hash"]),
        labels, prompts, images, evidence, judged_on,
    )  # fmt: skip


def most_different(
    page: Page, measured: Measures, pair: tuple[int, int]
) -> tuple[pd.DataFrame, tuple[tuple[str, bytes, bytes], ...]]:
    """The prompts whose scores differ most, with both images."""
    if reviews.CLIP not in measured:
        return pd.DataFrame(), ()
    top = reviews.most_different(measured[reviews.CLIP].values, pair)
    ids = [int(i) for i in top.index]
    texts = queries.ask(page.snapshot, "prompt_texts", ids=ids).set_index("prompt_id")["text"]
    images = queries.ask(
        page.snapshot,
        "figure_images",
        prompts=ids,
        models=list(pair),
        seed=page.scope.seeds[0],
        metric="",
    )
    pictures: dict[Any, bytes] = {
        (int(p), int(m)): bytes(i)
        for p, m, i in zip(images["prompt_id"], images["model_id"], images["image"], strict=True)
    }
    shown = tuple(
        (f"{shorten(str(texts.get(i, '')), 200)} ({top['difference'][i]:+.3f})",
         pictures[i, pair[0]], pictures[i, pair[1]])
        for i in ids
        if (i, pair[0]) in pictures and (i, pair[1]) in pictures
    )  # fmt: skip
    return top.assign(text=[texts.get(i, "") for i in ids]).reset_index(), shown


show(current())
