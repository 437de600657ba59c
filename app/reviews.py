"""Reviews: may a candidate replace the baseline? Criteria, verdicts, notes, exports. No Streamlit.

A criterion names a measure and how much worse than the baseline the candidate may be (its margin).
It passes where the whole 95 % interval of the paired difference is within the margin, fails where the
whole interval is beyond it, and is undecided otherwise. A review passes when all of its criteria do;
since each must pass by itself, no correction for their number is needed.

Notes and criteria live in `reviews.sqlite` beside the study, never in the snapshot.
"""

from __future__ import annotations

import base64
import html
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import pandas as pd
import uncertainty
from snapshots import SQL, Scope, source

PASS, FAIL, UNDECIDED = "pass", "fail", "undecided"
CLIP, SECONDS = "CLIP score", "Seconds per image"
LONGEST = {"question": 500, "author": 80, "text": 10_000}
MOST_CRITERIA = 20
KINDS = {"note": "Note", "accept": "Accepted", "reject": "Rejected"}


class ReviewError(Exception):
    """A review that can't be kept or made: what is wrong, and what is allowed."""


@dataclass(frozen=True)
class Criterion:
    """What the candidate must do.

    Attributes:
        measure: a key of `measures`.
        direction: higher or lower: which is better.
        margin: how much worse is tolerated, in the measure's unit; negative: how much better is asked.
    """

    measure: str
    direction: str
    margin: float

    def sentence(self) -> str:
        """The criterion in words."""
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
        paired: candidate minus baseline.
        why: one sentence.
    """

    criterion: Criterion
    verdict: str
    paired: uncertainty.Paired
    why: str


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


Measures = dict[str, tuple[str, pd.DataFrame]]


def measures(
    ask: Callable[..., pd.DataFrame], scope: Scope, concepts: pd.DataFrame, pair: tuple[int, int]
) -> Measures:
    """Measures to judge by: name -> (better direction, prompt x model values).

    Args:
        ask: answers (name, **parameters) with the rows of app/sql/<name>.sql.
        scope: the filters.
        concepts: concept_id and family.
        pair: model_id of baseline and candidate.
    """
    given = {**scope.parameters(), "models": list(pair)}
    out: Measures = {CLIP: ("higher", _wide(ask("scores", **given), "score"))}
    found = ask(
        source("paired_families", scope), **{**given, "baseline": pair[0], "candidates": [pair[1]]}
    )
    families = dict(list(found.groupby("family")))
    for column, title, direction in (
        ("final", "Final similarity", "higher"),
        ("emergence", "Emergence step", "lower"),
        ("auc", "Area under the curve", "higher"),
    ):
        for family in (f for f in dict.fromkeys(concepts["family"]) if f in families):
            out[f"{title}: {family}"] = (direction, _sides(families[family], column, pair))
    auc = ask("figure_auc", **given)
    for (method, game, score), own in auc.groupby(["method", "game", "score"], sort=False):
        lower = (game == "deletion") != (score == "fid")
        title = f"{str(game).capitalize()} area: {method}, {score}"
        out[title] = ("lower" if lower else "higher", _wide(own, "auc"))
    out[SECONDS] = ("lower", _wide(ask("review_seconds", **given), "seconds"))
    return {n: (d, w) for n, (d, w) in out.items() if set(pair) <= set(w.columns)}


def _wide(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    return rows.pivot_table(index="prompt_id", columns="model_id", values=value)


def _sides(rows: pd.DataFrame, column: str, pair: tuple[int, int]) -> pd.DataFrame:
    """What `_wide` gives, from rows that hold both models; a model without any value is left out."""
    sides = {pair[0]: rows[f"{column}_baseline"], pair[1]: rows[f"{column}_candidate"]}
    return pd.DataFrame(sides).set_index(rows["prompt_id"]).dropna(axis=1, how="all")


def judge(criterion: Criterion, found: Measures, pair: tuple[int, int]) -> Verdict:
    """Whether the candidate meets a criterion, by the 95 % interval of the paired difference."""
    if criterion.measure not in found:
        nothing = uncertainty.compare([], [])
        return Verdict(criterion, UNDECIDED, nothing, "This measure is not in the snapshot.")
    wide = found[criterion.measure][1]
    paired = uncertainty.compare(wide[pair[0]], wide[pair[1]])
    gap = paired.difference
    if gap.n < 2 or not pd.notna(gap.low):
        return Verdict(criterion, UNDECIDED, paired, f"{gap.n} shared prompts are too few.")
    sign = 1 if criterion.direction == "higher" else -1
    worst, best = sorted((sign * gap.low, sign * gap.high))
    if worst >= -criterion.margin:
        return Verdict(criterion, PASS, paired, "The whole interval is within the margin.")
    if best < -criterion.margin:
        return Verdict(criterion, FAIL, paired, "The whole interval is beyond the margin.")
    return Verdict(
        criterion, UNDECIDED, paired, "The interval crosses the margin: more prompts would tell."
    )


def overall(verdicts: Sequence[Verdict]) -> str:
    """Pass where all pass, fail where any fails, undecided otherwise."""
    found = [v.verdict for v in verdicts]
    if FAIL in found:
        return FAIL
    return PASS if found and all(v == PASS for v in found) else UNDECIDED


def store_of(place: Path) -> Path:
    """Where the reviews of a study are kept: beside its snapshots, or beside the database file."""
    if place.is_dir():
        return place / "reviews.sqlite"
    return place.with_name(f"{place.stem}.reviews.sqlite")


@lru_cache(maxsize=32)
def statement(name: str) -> str:
    """The text of `app/sql/reviews/<name>.sql`."""
    return (SQL / "reviews" / f"{name}.sql").read_text(encoding="utf-8")


@contextmanager
def opened(store: Path) -> Iterator[sqlite3.Connection]:
    """What people wrote about a study: one transaction on the database beside it, made if need be.

    Raises:
        ReviewError: the file can't be read or written.
    """
    try:
        connection = sqlite3.connect(store, timeout=10)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA foreign_keys = ON")
            connection.executescript(statement("schema"))
            with connection:
                yield connection
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise ReviewError(
            f"The reviews in {store} can't be read or written: {error}. Make the folder writable, or "
            "move the file away if it is damaged."
        ) from error


def all_reviews(store: Path) -> list[Review]:
    """Every review of a study, the newest first; none where nobody has written one.

    Raises:
        ReviewError: the file can't be read.
    """
    if not store.exists():
        return []
    with opened(store) as connection:
        rows = connection.execute(statement("reviews")).fetchall()
        return [_review(connection, row) for row in rows]


def _review(connection: sqlite3.Connection, row: sqlite3.Row) -> Review:
    found = connection.execute(statement("criteria"), {"review_id": row["review_id"]}).fetchall()
    return Review(**dict(row), criteria=tuple(Criterion(**dict(each)) for each in found))


def notes_of(store: Path, review_id: str) -> list[Note]:
    """The notes of a review, in the order written.

    Raises:
        ReviewError: the file can't be read.
    """
    if not store.exists():
        return []
    with opened(store) as connection:
        rows = connection.execute(statement("notes"), {"review_id": review_id}).fetchall()
    return [Note(**dict(row)) for row in rows]


def keep(store: Path, review: Review) -> Review:
    """Keep a new review; returns it with its id and time.

    Raises:
        ReviewError: a text is missing or too long, there is no criterion, or it can't be written.
    """
    if not review.criteria or len(review.criteria) > MOST_CRITERIA:
        raise ReviewError(
            f"A review needs 1 to {MOST_CRITERIA} criteria; this has {len(review.criteria)}."
        )
    for criterion in review.criteria:
        if criterion.direction not in ("higher", "lower") or not abs(criterion.margin) < 1e12:
            raise ReviewError(f"{criterion.measure}: the margin must be a number.")
    kept = replace(
        review,
        review_id=uuid.uuid4().hex[:16],
        created_at=_now(),
        author=_clean("author", review.author),
        question=_clean("question", review.question),
    )
    with opened(store) as connection:
        values = {k: v for k, v in vars(kept).items() if k != "criteria"}
        connection.execute(statement("add_review"), values)
        for place, criterion in enumerate(kept.criteria):
            connection.execute(
                statement("add_criterion"),
                {"review_id": kept.review_id, "place": place, **vars(criterion)},
            )
    return kept


def add_note(
    store: Path, review_id: str, kind: str, author: str, text: str, snapshot: int, content_hash: str
) -> None:
    """Keep a note or a decision, with the time and the snapshot that its author saw.

    Raises:
        ReviewError: a text is missing or too long, or it can't be written.
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
    with opened(store) as connection:
        connection.execute(statement("add_note"), values)


def _clean(name: str, text: str) -> str:
    """Text without control signs; lines are kept."""
    shown = "".join(c for c in text if c == "\n" or c.isprintable()).strip()
    if not shown:
        raise ReviewError(f"The {'name' if name == 'author' else name} is missing.")
    if len(shown) > LONGEST[name]:
        raise ReviewError(f"The {name} has {len(shown):,} signs; {LONGEST[name]:,} are allowed.")
    return shown


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def when(written_at: str) -> str:
    """A time for a reader."""
    return f"{datetime.fromisoformat(written_at):%d %b %Y %H:%M} UTC"


@dataclass(frozen=True)
class Report:
    """All that an export shows.

    Attributes:
        review: question and criteria.
        verdicts: one per criterion.
        notes: in the order written.
        study: its title.
        snapshot: number of the snapshot judged.
        content_hash: of that snapshot.
        labels: of baseline and candidate.
        prompts: text, baseline, candidate, difference of the prompts that differ most.
        images: (title, image bytes of baseline, of candidate) of those prompts.
        links: (title, address) of the evidence.
        filters: those that the verdicts were taken with, as a query string.
    """

    review: Review
    verdicts: tuple[Verdict, ...]
    notes: tuple[Note, ...]
    study: str
    snapshot: int
    content_hash: str
    labels: tuple[str, str]
    prompts: pd.DataFrame
    images: tuple[tuple[str, bytes, bytes], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    filters: str = ""

    def judged_on(self) -> str:
        """Which part of the study the verdicts are of."""
        held = "; ".join(f"{key} = {value}" for key, value in parse_qsl(self.filters))
        return f"Filters: {held or 'none'}."


METHOD = (
    "Candidate minus baseline, paired by prompt (seeds averaged within a prompt); "
    f"{uncertainty.PAIRED}, Wilcoxon signed-rank p, d_z = mean difference over its standard "
    "deviation. A criterion passes where the whole interval is within the margin, fails where it is "
    "beyond it, and is undecided otherwise; a review passes when every criterion does."
)


def links(base: str, review: Review, labels: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    """The views that show the evidence, with this review's filters.

    Args:
        base: address of the app, or '' for addresses relative to it.
        review: its filters are kept.
        labels: of baseline and candidate.
    """
    root = base.rstrip("/") + "/" if urlsplit(base).scheme in ("http", "https") else ""
    pair = urlencode({"baseline": labels[0], "candidates": labels[1]})
    filters = f"&{review.filters}" if review.filters else ""
    address = f"{urlencode({'review': review.review_id})}"
    return (
        ("Models: differences, grid, prompts that differ most", f"{root}models?{pair}{filters}"),
        ("Timesteps: when concepts appear", f"{root}timesteps?{review.filters}"),
        ("Prompts: one by one", f"{root}prompts?{review.filters}"),
        ("This review", f"{root}review?{address}{filters}"),
    )


_STYLE = """
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;
padding:0 1rem;color:#18212b;background:#fff}table{border-collapse:collapse;width:100%;margin:1rem 0}
th,td{text-align:left;padding:.4rem .6rem;border-bottom:1px solid #d5dbe1;vertical-align:top}
td.n,td.verdict{font-variant-numeric:tabular-nums;white-space:nowrap;overflow-wrap:normal}.pass{color:#00694d}.fail{color:#a83a00}
.undecided{color:#4d5863}.verdict{font-weight:650}.note{border-left:3px solid #c5ced6;padding-left:1rem;
margin:1rem 0;white-space:pre-wrap;overflow-wrap:anywhere}.quiet{color:#4d5863;font-size:.9rem}
td,h1,p{overflow-wrap:anywhere}img{image-rendering:pixelated;width:96px;height:96px}
@media(prefers-color-scheme:dark){body{color:#e4e9ee;background:#0f1419}th,td{border-color:#2a343e}
.pass{color:#4cc9a0}.fail{color:#f0a469}.undecided,.quiet{color:#a9b5c1}a{color:#7cc0ea}}
"""


def to_html(report: Report) -> str:
    """The review as one HTML file that needs nothing else; all texts are escaped."""
    e = html.escape
    review = report.review
    rows = "".join(_html_row(v) for v in report.verdicts)
    notes = "".join(
        f'<div class="note"><b>{e(n.author)}</b> <span class="quiet">{e(KINDS[n.kind])}, '
        f"{e(when(n.written_at))}, snapshot {n.snapshot}</span>\n{e(n.text)}</div>"
        for n in report.notes
    )
    evidence = "".join(
        f'<li><a href="{e(address, quote=True)}" rel="noreferrer">{e(title)}</a></li>'
        for title, address in report.links
        if urlsplit(address).scheme in ("http", "https", "")
    )
    verdict = overall(report.verdicts)
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{e(review.question)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{e(review.question)}</h1>"
        f'<p class="verdict {verdict}">{e(verdict.capitalize())}: {e(report.labels[1])} against '
        f"{e(report.labels[0])}</p>"
        f'<p class="quiet">{e(report.study)}, snapshot {report.snapshot} (sha256 '
        f"{e(report.content_hash)}). Opened by {e(review.author)}, {e(when(review.created_at))}, on "
        f"snapshot {review.snapshot}. {e(report.judged_on())}</p>"
        "<h2>Criteria</h2><table><thead><tr><th>Criterion</th><th>Verdict</th><th>Difference</th>"
        "<th>95 % interval</th><th>p</th><th>d_z</th><th>Prompts</th></tr></thead>"
        f'<tbody>{rows}</tbody></table><p class="quiet">{e(METHOD)}</p>'
        f"{_html_images(report)}"
        f"<h2>Notes</h2>{notes or '<p class=quiet>Nobody has written a note.</p>'}"
        f"<h2>Evidence</h2><ul>{evidence}</ul></body></html>\n"
    )


def _html_row(verdict: Verdict) -> str:
    e = html.escape
    cells = _cells(verdict)
    numbers = "".join(f'<td class="n">{e(value)}</td>' for value in cells)
    return (
        f"<tr><td>{e(verdict.criterion.sentence())}<br><span class=quiet>{e(verdict.why)}</span></td>"
        f'<td class="verdict {verdict.verdict}">{e(verdict.verdict)}</td>{numbers}</tr>'
    )


def _cells(verdict: Verdict) -> tuple[str, ...]:
    gap = verdict.paired.difference
    if gap.n == 0:
        return ("–", "–", "–", "–", "0")
    effect = f"{verdict.paired.d_z:+.2f}" if pd.notna(verdict.paired.d_z) else "–"
    limits = f"[{gap.low:+.4g}, {gap.high:+.4g}]" if pd.notna(gap.low) else "–"
    return (
        f"{gap.estimate:+.4g}",
        limits,
        uncertainty.p_text(verdict.paired.p),
        effect,
        str(gap.n),
    )


def _html_images(report: Report) -> str:
    if not report.images:
        return ""
    e = html.escape
    rows = "".join(
        f"<tr><td>{e(title)}</td><td>{_img(first)}</td><td>{_img(second)}</td></tr>"
        for title, first, second in report.images
    )
    return (
        "<h2>Prompts that differ most (CLIP score)</h2><table><thead><tr><th>Prompt</th>"
        f"<th>{e(report.labels[0])}</th><th>{e(report.labels[1])}</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _img(image: bytes) -> str:
    kind = "webp" if image[8:12] == b"WEBP" else "png"
    data = base64.b64encode(image).decode("ascii")
    return f'<img alt="" src="data:image/{kind};base64,{data}">'


def to_markdown(report: Report) -> str:
    """The review as Markdown; nothing in its texts is interpreted."""
    m = markdown
    review = report.review
    lines = [
        f"# {m(review.question)}",
        "",
        f"**{overall(report.verdicts).capitalize()}**: {m(report.labels[1])} against {m(report.labels[0])}",
        "",
        f"{m(report.study)}, snapshot {report.snapshot} (sha256 `{m(report.content_hash)}`). Opened by "
        f"{m(review.author)}, {when(review.created_at)}, on snapshot {review.snapshot}. {m(report.judged_on())}",
        "",
        "| criterion | verdict | difference | 95 % interval | p | d_z | prompts |",
        "|---|---|---|---|---|---|---|",
    ]
    for verdict in report.verdicts:
        values = [verdict.criterion.sentence(), verdict.verdict, *_cells(verdict)]
        lines.append("| " + " | ".join(m(value) for value in values) + " |")
    lines += ["", METHOD, "", "## Notes", ""]
    for note in report.notes:
        lines += [
            f"**{m(note.author)}** ({KINDS[note.kind]}, {when(note.written_at)}, snapshot {note.snapshot})",
            "",
        ]
        lines += [f"> {m(line)}" for line in note.text.split("\n")] + [""]
    if not report.notes:
        lines += ["Nobody has written a note.", ""]
    if len(report.prompts):
        lines += [
            "## Prompts that differ most",
            "",
            "| prompt | baseline | candidate | difference |",
            "|---|---|---|---|",
        ]
        for row in report.prompts.to_dict("records"):
            lines.append(
                f"| {m(str(row['text'])[:300])} | {row['baseline']:.3f} | {row['candidate']:.3f} | "
                f"{row['difference']:+.3f} |"
            )
        lines.append("")
    lines += [
        "## Evidence",
        "",
        *(f"- [{m(title)}](<{_address(a)}>)" for title, a in report.links),
        "",
    ]
    return "\n".join(lines)


def _address(address: str) -> str:
    return address.replace("<", "%3C").replace(">", "%3E").replace("\n", "")


def markdown(text: str) -> str:
    """Text on one line of Markdown, nothing of it interpreted."""
    line = " ".join(str(text).split())
    return "".join("\\" + c if c in "\\`*_{}[]<>#|~!$" else c for c in line)
