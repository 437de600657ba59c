"""Review: may the candidate replace the baseline? Criteria, verdicts, notes, and the file to send."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlencode

import altair as alt
import charts
import controls
import pandas as pd
import queries
import reviews
import slices
import streamlit as st
import uncertainty
from controls import BIND, Page
from reviews import FAIL, PASS, Criterion, Measures, Report, Review, ReviewError, Verdict

ICONS = {PASS: ":material/check_circle:", FAIL: ":material/cancel:"}
HUES = {PASS: "green", FAIL: "red"}
# How much worse is tolerated unless the reviewers say otherwise, by the start of the measure's name.
MARGINS = {reviews.CLIP: 0.005, "Final": 0.005}
NEW = "new"
FILTERS = ("models", "families", "seeds", "scorer", *slices.KEYS)


def show(page: Page) -> None:
    """The whole view."""
    controls.header(
        "Review",
        "May the candidate replace the baseline? Say what it must do, and see whether it does.",
    )
    if len(page.every_model) < 2:
        controls.empty(
            "A review compares two models.",
            "This study has one: add another model to the study file and run it again.",
            icon=":material/gavel:",
        )
        return
    store = reviews.store_of(page.place)
    try:
        known = reviews.all_reviews(store)
    except ReviewError as error:
        st.error(controls.plain(str(error)), icon=":material/error:")
        known = []
    chosen = choose(known)
    if chosen is None:
        draft(page)
    else:
        kept(page, chosen)


def choose(known: list[Review]) -> Review | None:
    """One of the reviews of this study, or None for a new one."""
    if not known:
        return None
    titles = {NEW: "New review"} | {
        r.review_id: f"{controls.shorten(r.question, 70)} ({reviews.when(r.created_at)})"
        for r in known
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
    """A new review: it is judged while it is written, and kept when it is saved."""
    labels = page.every_model["label"].tolist()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        baseline = st.selectbox("Baseline", labels, key="baseline", bind=BIND, width=260)
        others = [label for label in labels if label != baseline]
        candidate = st.selectbox("Candidate", others, key="candidate", bind=BIND, width=260)
    pair = (_id(page, str(baseline)), _id(page, str(candidate)))
    found = measures(page, pair)
    criteria = write_criteria(found)
    verdicts = [reviews.judge(c, found, pair) for c in criteria]
    if not verdicts or not any(v.paired.difference.n for v in verdicts):
        controls.empty(
            "These models share no finished prompt.",
            "A review needs prompts that both have done. Clear a filter, or run the rest of the study.",
        )
        return
    judged(page, verdicts, (str(baseline), str(candidate)))
    save(page, criteria, pair)


def _id(page: Page, label: str) -> int:
    return int(page.every_model.set_index("label")["model_id"][label])


def measures(page: Page, pair: tuple[int, int]) -> Measures:
    """What can be judged."""
    ask = partial(queries.ask, page.snapshot)
    return reviews.measures(ask, page.scope, page.concepts, pair)


def write_criteria(found: Measures) -> tuple[Criterion, ...]:
    """Which measures count, and how much worse each may be."""
    names = list(found)
    wanted = [reviews.CLIP, "Emergence step: object"]
    default = [name for name in wanted if name in names] or names[:1]
    with controls.card(
        "Criteria",
        key="criteria",
        help="A criterion passes where the whole 95 % interval of the difference is within the margin.",
    ):
        chosen = st.multiselect(
            "Measures", names, default=default, key="criteria", bind=BIND, max_selections=12
        )
        out = []
        with st.container(horizontal=True, vertical_alignment="bottom"):
            for name in chosen:
                direction = found[name][0]
                tolerated = next((v for k, v in MARGINS.items() if name.startswith(k)), 0.0)
                margin = st.number_input(
                    f"{name}: worse by at most",
                    value=tolerated,
                    step=0.001,
                    format="%.4f",
                    key=f"margin_{controls.slug(name)}",
                    bind=BIND,
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
    first, second = (controls.plain(label) for label in labels)
    told = "Candidate minus baseline with its 95 % interval; where the green band is, the margin is kept."
    with controls.card("Verdict", key="judged", data=table(verdicts), help=told):
        st.markdown(f"{mark}: {second} against {first}")
        for place, each in enumerate(verdicts):
            left, right = st.columns([2, 3], vertical_alignment="center")
            colour = HUES.get(each.verdict, "gray")
            left.markdown(
                f"{ICONS.get(each.verdict, ':material/help:')} :{colour}[**{each.verdict}**] "
                f"{controls.plain(each.criterion.sentence())}"
            )
            left.caption(controls.plain(f"{evidence(each)} {each.why}"))
            if pd.notna(each.paired.difference.low):
                with right:
                    controls.draw(
                        interval(each, page.look),
                        key=f"interval_{place}",
                        alt=f"Interval: {each.criterion.measure}",
                    )
        st.caption(controls.plain(reviews.METHOD))


def evidence(verdict: Verdict) -> str:
    """The numbers of a verdict, in a line."""
    gap = verdict.paired.difference
    if not gap.n:
        return ""
    return (
        f"{gap.estimate:+.4g} [{gap.low:+.4g}, {gap.high:+.4g}], {uncertainty.p_text(verdict.paired.p)}, "
        f"wins {verdict.paired.win_rate:.0%}, {controls.count(gap.n, 'prompt')}."
    )


def interval(verdict: Verdict, look: charts.Look) -> alt.LayerChart:
    """The interval of the difference, and the side of the margin on which it passes."""
    gap, criterion = verdict.paired.difference, verdict.criterion
    sign = 1 if criterion.direction == "higher" else -1
    edge = -sign * criterion.margin
    low, high = min(gap.low, edge, 0.0), max(gap.high, edge, 0.0)
    pad = 0.12 * (high - low) or 0.01
    domain = [low - pad, high + pad]
    side = (edge, domain[1]) if sign > 0 else (domain[0], edge)
    scale = alt.Scale(domain=domain, nice=False)
    data = pd.DataFrame(
        [
            {
                "mean": gap.estimate,
                "low": gap.low,
                "high": gap.high,
                "from": side[0],
                "to": side[1],
                "zero": 0.0,
            }
        ]
    )
    base = alt.Chart(data)
    title = f"Difference; {'right' if sign > 0 else 'left'} is better"
    x = alt.X("from:Q", scale=scale, title=title, axis=alt.Axis(grid=False, tickCount=5))
    allowed = base.mark_rect(color="#009E73", opacity=0.13).encode(x=x, x2=alt.X2("to:Q"))
    zero = base.mark_rule(color=look.ink, strokeDash=[2, 2]).encode(x=alt.X("zero:Q", scale=scale))
    bar = base.mark_bar(height=7, cornerRadius=3, color="#0072B2", opacity=0.8).encode(
        x=alt.X("low:Q", scale=scale), x2=alt.X2("high:Q")
    )
    point = base.mark_point(
        size=80, filled=True, color="#0072B2", stroke="white", opacity=1
    ).encode(
        x=alt.X("mean:Q", scale=scale),
        tooltip=[
            alt.Tooltip("mean:Q", title="Difference", format="+.4f"),
            alt.Tooltip("low:Q", title="95 % low", format="+.4f"),
            alt.Tooltip("high:Q", title="95 % high", format="+.4f"),
        ],
    )
    return charts.layered(allowed, zero, bar, point, height=84)


def table(verdicts: list[Verdict]) -> pd.DataFrame:
    """One row per criterion."""
    return pd.DataFrame(
        [
            {
                "criterion": v.criterion.sentence(),
                "verdict": v.verdict,
                "difference": v.paired.difference.estimate,
                "low": v.paired.difference.low,
                "high": v.paired.difference.high,
                "p": v.paired.p,
                "d_z": v.paired.d_z,
                "cliffs_delta": v.paired.cliffs_delta,
                "win_rate": v.paired.win_rate,
                "prompts": v.paired.difference.n,
            }
            for v in verdicts
        ]
    )


def save(page: Page, criteria: tuple[Criterion, ...], pair: tuple[int, int]) -> None:
    """Keep the draft, so that others can find it, note and decide."""
    with st.form("save_review", border=True):
        question = st.text_input(
            "Question", placeholder="May the new checkpoint go into production?", max_chars=500
        )
        author = st.text_input("Your name", key="reviewer", max_chars=80)
        if not st.form_submit_button("Save the review", icon=":material/save:"):
            return
    names = page.every_model.set_index("model_id")["name"]
    review = Review(
        "", "", author, question, str(names[pair[0]]), str(names[pair[1]]), filters(),
        int(page.study["snapshot"]), str(page.study["content_hash"]), criteria,
    )  # fmt: skip
    try:
        saved = reviews.keep(reviews.store_of(page.place), review)
    except ReviewError as error:
        st.error(controls.plain(str(error)), icon=":material/error:")
        return
    st.switch_page("views/review.py", query_params={"review": saved.review_id})


def filters() -> str:
    """The filters in force, as a query string."""
    kept = {key: st.query_params.get_all(key) for key in FILTERS if key in st.query_params}
    return urlencode(kept, doseq=True)


def kept(page: Page, review: Review) -> None:
    """A review that was saved, judged on the snapshot shown."""
    ids = dict(zip(page.every_model["name"], page.every_model["model_id"].astype(int), strict=True))
    gone = [name for name in (review.baseline, review.candidate) if name not in ids]
    if gone:
        controls.empty(
            "This snapshot no longer has a model of this review.",
            f"Missing: {controls.plain(', '.join(gone))}. Notes are kept.",
            icon=":material/gavel:",
        )
        notes(page, review)
        return
    pair = (ids[review.baseline], ids[review.candidate])
    labels = (page.label(pair[0]), page.label(pair[1]))
    st.subheader(controls.plain(review.question), anchor=False)
    st.caption(
        f"Opened by {controls.plain(review.author)}, {reviews.when(review.created_at)}, on snapshot "
        f"{review.snapshot}; judged on snapshot {int(page.study['snapshot'])}"
        f"{f' by the scorer {controls.plain(page.scorer)}' if page.scorer else ''}."
    )
    if review.filters != filters():
        st.caption(
            ":material/filter_alt: It was opened with other filters: "
            + (controls.plain(review.filters) if review.filters else "none")
        )
    found = measures(page, pair)
    verdicts = [reviews.judge(c, found, pair) for c in review.criteria]
    judged(page, verdicts, labels)
    left, right = st.columns(2)
    with left:
        notes(page, review)
    with right:
        take_away(page, review, verdicts, found, pair, labels)


def notes(page: Page, review: Review) -> None:
    """What reviewers wrote, and a place to write."""
    store = reviews.store_of(page.place)
    with controls.card("Notes", key="notes"):
        for note in reviews.notes_of(store, review.review_id):
            st.caption(
                f"**{controls.plain(note.author)}**, {reviews.KINDS[note.kind].lower()}, "
                f"{reviews.when(note.written_at)}, snapshot {note.snapshot}"
            )
            st.text(note.text)
        with st.form("note", border=False, clear_on_submit=True):
            author = st.text_input("Your name", key="note_author", max_chars=80)
            text = st.text_area("Note", max_chars=10_000)
            kind = st.segmented_control(
                "It is", list(reviews.KINDS), default="note", required=True,
                format_func=lambda k: reviews.KINDS[k], key="note_kind",
            )  # fmt: skip
            if st.form_submit_button("Add", icon=":material/add_comment:"):
                try:
                    reviews.add_note(
                        store, review.review_id, str(kind or "note"), author, text,
                        int(page.study["snapshot"]), str(page.study["content_hash"]),
                    )  # fmt: skip
                except ReviewError as error:
                    st.error(controls.plain(str(error)), icon=":material/error:")
                else:
                    st.rerun()


def take_away(
    page: Page,
    review: Review,
    verdicts: list[Verdict],
    found: Measures,
    pair: tuple[int, int],
    labels: tuple[str, str],
) -> None:
    """The evidence, and the review as a file."""
    with controls.card("Evidence and export", key="export"):
        chosen = {"baseline": labels[0], "candidates": labels[1]}
        for view, title, extra in (
            ("models", "Differences, grid, prompts that differ most", chosen),
            ("timesteps", "When concepts appear", {}),
            ("prompts", "Prompts one by one", {}),
        ):
            kept_filters = {k: st.query_params.get_all(k) for k in FILTERS if k in st.query_params}
            st.page_link(
                f"views/{view}.py", label=title, icon=":material/open_in_new:",
                query_params={**kept_filters, **extra},
            )  # fmt: skip

        judged_on, address = (
            filters(),
            st.context.url or "",
        )  # both are unknown where a download is made
        base = address.split("?")[0].rsplit("/", 1)[0]

        def report() -> Report:
            return make_report(page, review, verdicts, found, pair, labels, base, judged_on)

        with st.container(horizontal=True):
            st.download_button(
                "HTML", lambda: reviews.to_html(report()), f"review-{review.review_id}.html",
                "text/html", on_click="ignore", icon=":material/download:", key="export_html",
                help="One file that needs nothing else.",
            )  # fmt: skip
            st.download_button(
                "Markdown", lambda: reviews.to_markdown(report()), f"review-{review.review_id}.md",
                "text/markdown", on_click="ignore", icon=":material/download:", key="export_markdown",
            )  # fmt: skip


def make_report(
    page: Page,
    review: Review,
    verdicts: list[Verdict],
    found: Measures,
    pair: tuple[int, int],
    labels: tuple[str, str],
    base: str,
    judged_on: str,
) -> Report:
    """All that an export shows; its links lead to the app at `base`, with the filters it was judged with."""
    store = reviews.store_of(page.place)
    prompts, images = most_different(page, found, pair)
    return Report(
        review, tuple(verdicts), tuple(reviews.notes_of(store, review.review_id)),
        page.title, int(page.study["snapshot"]), str(page.study["content_hash"]),
        labels, prompts, images, reviews.links(base, replace(review, filters=judged_on), labels),
        judged_on,
    )  # fmt: skip


def most_different(
    page: Page, found: Measures, pair: tuple[int, int]
) -> tuple[pd.DataFrame, tuple[tuple[str, bytes, bytes], ...]]:
    """The prompts whose scores differ most, with both images."""
    if reviews.CLIP not in found:
        return pd.DataFrame(), ()
    wide = found[reviews.CLIP][1]
    rows = pd.DataFrame({"baseline": wide[pair[0]], "candidate": wide[pair[1]]}).dropna()
    rows["difference"] = rows["candidate"] - rows["baseline"]
    ends = rows.sort_values("difference")
    top = pd.concat([ends.head(3), ends.tail(3)])
    top = top[~top.index.duplicated()]
    ids = [int(i) for i in top.index]
    texts = queries.ask(page.snapshot, "prompt_texts", prompts=ids).set_index("prompt_id")["text"]
    images = queries.ask(
        page.snapshot, "figure_images", prompts=ids, models=list(pair), seed=page.scope.seeds[0]
    )
    pictures: dict[Any, bytes] = {
        (int(p), int(m)): bytes(i)
        for p, m, i in zip(images["prompt_id"], images["model_id"], images["image"], strict=True)
    }
    shown = tuple(
        (f"{controls.shorten(str(texts.get(i, '')), 200)} ({top['difference'][i]:+.3f})",
         pictures[i, pair[0]], pictures[i, pair[1]])
        for i in ids
        if (i, pair[0]) in pictures and (i, pair[1]) in pictures
    )  # fmt: skip
    return top.assign(text=[texts.get(i, "") for i in ids]).reset_index(), shown


show(controls.current())
