"""A gate's decision as documents: text for a terminal, Markdown for a pull request, JSON, JUnit XML."""

from __future__ import annotations

import json
import math
from typing import Any
from xml.etree import ElementTree

from app.analysis import reviews, uncertainty
from app.analysis.gates import Decision
from app.analysis.reviews import FAIL, PASS, UNDECIDED, Verdict
from app.database.notebook import printable
from app.figures.review import METHOD, cells, markdown

FORMAT = "stepscope-gate 1"
WORDS = {PASS: "Passed", FAIL: "Failed", UNDECIDED: "Undecided"}


def source(decision: Decision) -> str:
    """Which data were judged, and how."""
    held = "; ".join(f"{key} = {_listed(value)}" for key, value in decision.gate.filters.items())
    scorer = f", scorer {decision.scorer}" if decision.scorer else ""
    level = "" if decision.alpha == uncertainty.ALPHA else f" This look's level: {decision.alpha:.3g} (alpha spending); its intervals cover {1 - decision.alpha:.4%}."  # fmt: skip
    return (
        f"Study {decision.study}, snapshot {decision.snapshot} (sha256 {decision.content_hash}){scorer}. "
        f"Filters: {held or 'none'}.{level}"
    )


def _listed(value: Any) -> str:
    return ", ".join(str(each) for each in value) if isinstance(value, tuple) else str(value)


def needed(verdict: Verdict) -> str:
    """How many more prompts would decide an undecided criterion, as a sentence; '' for a decided one."""
    if verdict.verdict != UNDECIDED:
        return ""
    if not math.isfinite(verdict.more):
        return "No number of further prompts can be given: the difference is on the margin, or unknown."
    plural = "" if verdict.more == 1 else "s"
    return (
        f"About {verdict.more:,.0f} more prompt{plural} would decide it (power {uncertainty.POWER:.0%}, if difference and "
        "deviation stay)."
    )


def text(decision: Decision) -> str:
    """The decision for a terminal; no control characters."""
    first, second = decision.labels
    lines = [f"{WORDS[decision.verdict]}: {second} against {first}", source(decision)]
    for each in decision.verdicts:
        difference, interval, p, _, prompts = cells(each)
        lines += [
            "",
            f"{each.verdict:9}  {each.criterion.sentence()}",
            f"{'':9}  {difference} {interval}, {p}, prompts: {prompts}. {each.why} {needed(each)}".rstrip(),
        ]
    return "\n".join(printable(line) for line in lines)


def to_markdown(decision: Decision) -> str:
    """The decision for a pull request; nothing in its texts is interpreted."""
    m = markdown
    first, second = decision.labels
    head = ("criterion", "verdict", "difference", "interval", "p", "d_z", "prompts", "more prompts")
    rows = [
        (each.criterion.sentence(), each.verdict, *cells(each), _more(each)) for each in decision.verdicts
    ]  # fmt: skip
    return "\n".join(
        [
            f"### {m(decision.gate.question)}",
            "",
            f"**{WORDS[decision.verdict]}**: {m(second)} against {m(first)}",
            "",
            _row(head),
            "|" + "---|" * len(head),
            *(_row(tuple(m(cell) for cell in row)) for row in rows),
            "",
            *(f"- {m(each.criterion.sentence())}: {m(f'{each.why} {needed(each)}')}" for each in decision.verdicts),
            "",
            m(source(decision)),
            "",
            f"<details><summary>Method</summary>\n\n{m(METHOD)}\n\n</details>",
            "",
        ]
    )  # fmt: skip


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


def _more(verdict: Verdict) -> str:
    if verdict.verdict != UNDECIDED:
        return ""
    return f"about {verdict.more:,.0f}" if math.isfinite(verdict.more) else "unknown"


def to_json(decision: Decision, **further: Any) -> str:
    """The decision as JSON: everything that it rests on; numbers that are not known are null."""
    record = {
        "format": FORMAT,
        "verdict": decision.verdict,
        "exit_status": decision.exit_status,
        "question": decision.gate.question,
        "baseline": decision.gate.baseline,
        "candidate": decision.gate.candidate,
        "study": decision.study,
        "snapshot": decision.snapshot,
        "content_hash": decision.content_hash,
        "filters": dict(decision.gate.filters),
        "scorer": decision.scorer,
        "criteria_sha256": decision.gate.sha256(),
        "alpha": decision.alpha,
        "more_prompts": decision.more,
        "criteria": _criteria(decision),
        **further,
    }
    return json.dumps(_finite(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _criteria(decision: Decision) -> list[dict[str, Any]]:
    rows = reviews.table(decision.verdicts).to_dict("records")
    return [
        {
            **row,
            "direction": verdict.criterion.direction,
            "margin": verdict.criterion.margin,
            "threshold": verdict.criterion.threshold,
            "why": verdict.why,
        }
        for row, verdict in zip(rows, decision.verdicts, strict=True)
    ]


def _finite(value: Any) -> Any:
    """The value with null for NaN and infinity."""
    if isinstance(value, dict):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def to_junit(decision: Decision) -> str:
    """The decision as JUnit XML: a test case per criterion; an undecided one is skipped, with the reason."""
    results = [each.verdict for each in decision.verdicts]
    suite = ElementTree.Element(
        "testsuite",
        name=printable(decision.gate.question),
        tests=str(len(results)),
        failures=str(results.count(FAIL)),
        errors="0",
        skipped=str(results.count(UNDECIDED)),
    )
    for each in decision.verdicts:
        name = printable(each.criterion.sentence())
        case = ElementTree.SubElement(suite, "testcase", classname="stepscope.gate", name=name)
        if each.verdict != PASS:
            kind = "failure" if each.verdict == FAIL else "skipped"
            message = printable(f"{each.why} {needed(each)}".strip())
            ElementTree.SubElement(case, kind, message=message)
        difference, interval, p, _, prompts = cells(each)
        output = ElementTree.SubElement(case, "system-out")
        output.text = printable(
            f"{difference} {interval}, {p}, prompts: {prompts}. {source(decision)}"
        )
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"
