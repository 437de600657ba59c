"""A review as a document: HTML and Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

import pandas as pd

from app.analysis import uncertainty
from app.analysis.reviews import KINDS, Note, Review, Verdict, overall, when
from app.charts.images import data_url
from app.figures import pages


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

    def source(self) -> str:
        """Which study and snapshot was judged, who opened the review, and when."""
        review = self.review
        return (
            f"{self.study}, snapshot {self.snapshot} (sha256 {self.content_hash}). Opened by {review.author}, "
            f"{when(review.created_at)}, on snapshot {review.snapshot}. {self.judged_on()}"
        )


METHOD = (
    "Candidate minus baseline, paired by prompt (seeds averaged within a prompt); "
    f"{uncertainty.PAIRED}; p of the paired t test, corrected by Holm over the family of the measure's question; "
    "d_z = mean difference over its standard deviation. A criterion passes where the whole interval is within the margin, "
    "fails where it is beyond it, and is undecided otherwise; a verdict that claims a difference also needs corrected "
    f"p < {uncertainty.ALPHA}, and every verdict at least {uncertainty.LEAST_PROMPTS} shared prompts. A review passes when "
    "every criterion does."
)


def links(
    base: str, review: Review, labels: tuple[str, str], at: Mapping[str, str] | None = None
) -> tuple[tuple[str, str], ...]:
    """The views that show the evidence, with this review's filters.

    Args:
        base: address of the app, or '' for addresses relative to it.
        review: its filters are kept.
        labels: of baseline and candidate.
        at: parameters that name the study and the snapshot judged.
    """
    root = base.rstrip("/") + "/" if urlsplit(base).scheme in ("http", "https") else ""
    pair = urlencode({"baseline": labels[0], "candidate": labels[1]})
    rest = [each for each in (review.filters, urlencode(at or {})) if each]
    address = urlencode({"review": review.review_id})
    return (
        ("Models: differences, grid, prompts that differ most", f"{root}models?{'&'.join([pair, *rest])}"),
        ("Timesteps: when concepts appear", f"{root}timesteps?{'&'.join(rest)}"),
        ("Prompts: one by one", f"{root}prompts?{'&'.join([pair, *rest])}"),
        ("This review", f"{root}review?{'&'.join([address, *rest])}"),
    )  # fmt: skip


NO_ADDRESS = (
    "The server that made this file has no public address (STEPSCOPE_ADDRESS): these are pages below the dashboard's address."
)  # fmt: skip


def _is_address(address: str) -> bool:
    return urlsplit(address).scheme in ("http", "https")


def to_html(report: Report) -> str:
    """The review as one HTML file that needs nothing else; all texts are escaped."""
    notes = [
        {"author": n.author, "kind": KINDS[n.kind], "when": when(n.written_at),
         "snapshot": n.snapshot, "text": n.text}
        for n in report.notes
    ]  # fmt: skip
    rows = [
        {"sentence": v.criterion.sentence(), "why": v.why, "verdict": v.verdict, "cells": cells(v)}
        for v in report.verdicts
    ]
    return pages.rendered(
        "review.html",
        review=report.review,
        verdict=overall(report.verdicts),
        labels=report.labels,
        source=report.source(),
        rows=rows,
        method=METHOD,
        images=[(title, _url(first), _url(second)) for title, first, second in report.images],
        notes=notes,
        links=[each for each in report.links if _is_address(each[1])],
        paths=[each for each in report.links if not urlsplit(each[1]).scheme],
        no_address=NO_ADDRESS,
    )


def cells(verdict: Verdict) -> tuple[str, ...]:
    """Difference, interval, corrected p, d_z and prompts of a verdict, as texts."""
    gap = verdict.paired.difference
    if gap.n == 0:
        return ("–", "–", "–", "–", "0")
    effect = f"{verdict.paired.d_z:+.2f}" if pd.notna(verdict.paired.d_z) else "–"
    number, _, limits = uncertainty.interval_text(
        gap.estimate, gap.low, gap.high, signed=True
    ).partition(" ")
    return (
        number,
        limits or "–",
        uncertainty.p_text(verdict.q),
        effect,
        str(gap.n),
    )


def _url(image: bytes) -> str:
    return data_url(image)


def to_markdown(report: Report) -> str:
    """The review as Markdown; nothing in its texts is interpreted."""
    m = markdown
    verdict = overall(report.verdicts).capitalize()
    lines = [
        f"# {m(report.review.question)}",
        "",
        f"**{verdict}**: {m(report.labels[1])} against {m(report.labels[0])}",
        "",
        m(report.source()),
        "",
        "| criterion | verdict | difference | 95 % interval | p | d_z | prompts |",
        "|---|---|---|---|---|---|---|",
        *(_markdown_row(v) for v in report.verdicts),
        "",
        METHOD,
        "",
        *_markdown_notes(report),
        *_markdown_prompts(report),
        "## Evidence",
        "",
        *_markdown_links(report.links),
        "",
    ]
    return "\n".join(lines)


def _markdown_row(verdict: Verdict) -> str:
    values = [verdict.criterion.sentence(), verdict.verdict, *cells(verdict)]
    return "| " + " | ".join(markdown(value) for value in values) + " |"


def _markdown_notes(report: Report) -> list[str]:
    lines = ["## Notes", ""]
    for note in report.notes:
        kind = f"{KINDS[note.kind]}, {when(note.written_at)}, snapshot {note.snapshot}"
        lines += [f"**{markdown(note.author)}** ({kind})", ""]
        lines += [*(f"> {markdown(line)}" for line in note.text.split("\n")), ""]
    return lines if report.notes else [*lines, "There are no notes.", ""]


def _markdown_prompts(report: Report) -> list[str]:
    if report.prompts.empty:
        return []
    rows = [
        f"| {markdown(str(row['text'])[:300])} | {row['baseline']:.3f} | {row['candidate']:.3f} | "
        f"{row['difference']:+.3f} |"
        for row in report.prompts.to_dict("records")
    ]
    head = ["| prompt | baseline | candidate | difference |", "|---|---|---|---|"]
    return ["## Prompts that differ most", "", *head, *rows, ""]


def _markdown_links(links: Sequence[tuple[str, str]]) -> list[str]:
    lines = [f"- [{markdown(t)}](<{_address(a)}>)" for t, a in links if _is_address(a)]
    paths = [f"- {markdown(title)}: {markdown(a)}" for title, a in links if not urlsplit(a).scheme]
    return [*lines, *([NO_ADDRESS, "", *paths] if paths else [])]


def _address(address: str) -> str:
    return address.replace("<", "%3C").replace(">", "%3E").replace("\n", "")


def markdown(text: str) -> str:
    """Text on one line of Markdown, nothing of it interpreted."""
    line = " ".join(str(text).split())
    return "".join("\\" + c if c in "\\`*_{}[]<>#|~!$" else c for c in line)
