"""Figures for papers, from the shell: PDF, SVG, PNG, data, table, caption and how to reproduce them.

    python -m app.figures SNAPSHOT --figure NAME --venue neurips --columns 1 --out DIR [filters]

SNAPSHOT is a results folder or a DuckDB file. The same functions make the Figures view. SVG, PNG and
CSV come out the same to the byte on every run.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from app.analysis.numbers import Range
from app.charts import spreadsheet
from app.database import statements
from app.database.snapshots import SnapshotError
from app.figures import similarities, tools, typeset
from app.figures.kinds import KINDS, Kind
from app.figures.source import (
    AXIS_NAMES,
    BARS,
    LAYOUTS,
    SCALES,
    Choice,
    Figure,
    FigureError,
    FigureStudy,
    NotMeasured,
    open_study,
)
from app.figures.typeset import VENUES, Printed

COMMAND = "python -m app.figures"
THRESHOLD = Range(0, 1e6, whole=False)
PACKAGES = ("altair", "duckdb", "fonttools", "pandas", "scipy", "vl-convert-python")


@dataclass(frozen=True)
class Export:
    """A figure with all its files.

    Attributes:
        kind: what was made.
        figure: chart, data and caption.
        printed: as the venue prints it.
        files: name -> content, the manifest among them.
    """

    kind: Kind
    figure: Figure
    printed: Printed
    files: dict[str, bytes]


def build(study: FigureStudy, kind: Kind, others: Sequence[FigureStudy] = ()) -> Figure:
    """A figure of a study; of several studies where the kind compares them.

    Raises:
        NotMeasured: the study lacks what it shows.
        FigureError: the choice names something that the study does not have.
    """
    if kind.name == "paper-5":
        return similarities.similarities_of([study, *others])
    if others:
        raise FigureError(
            f"--also: {kind.name} is made from one study; paper-5 alone takes several."
        )
    return kind.build(study)


def export(
    study: FigureStudy, kind: Kind, venue: str, columns: int, others: Sequence[FigureStudy] = ()
) -> Export:
    """Make a figure and everything that belongs to it.

    Args:
        study: the data and the author's choice.
        kind: which figure.
        venue: a key of VENUES.
        columns: 1 or 2.
        others: further studies, for paper-5.
    """
    figure = build(study, kind, others)
    printed = typeset.typeset(figure.draw, VENUES[venue], columns, figure.panels)
    name = kind.name
    files = {
        f"{name}.pdf": printed.pdf,
        f"{name}.svg": printed.svg.encode(),
        f"{name}.png": printed.png,
        f"{name}.csv": csv(figure.data),
        f"{name}.vl.json": _json(printed.spec),
        f"{name}.caption.txt": (figure.caption + "\n").encode(),
        f"{name}.tex": typeset.figure_tex(
            name,
            figure.caption,
            printed.width,
            columns == 2 and VENUES[venue].two > VENUES[venue].one,
        ).encode(),
    }
    if figure.table is not None:
        files[f"{name}.table.tex"] = typeset.booktabs(figure.table, figure.caption, name).encode()
    files[f"{name}.manifest.json"] = _json(
        manifest(study, kind, venue, columns, printed, files, others)
    )
    return Export(kind, figure, printed, files)


def csv(data: pd.DataFrame) -> bytes:
    """The rows as CSV in UTF-8, numbers to nine digits; no cell is a formula."""
    rows = spreadsheet.harmless(data)
    return rows.to_csv(index=False, float_format="%.9g", lineterminator="\n").encode()


def manifest(
    study: FigureStudy,
    kind: Kind,
    venue: str,
    columns: int,
    printed: Printed,
    files: dict[str, bytes],
    others: Sequence[FigureStudy] = (),
) -> dict[str, Any]:
    """What the figure was made from and the command that reproduces it."""
    return {
        "figure": kind.name,
        "title": kind.title,
        "command": shlex.join(command(study, kind, venue, columns, others)),
        "venue": VENUES[venue].name,
        "columns": columns,
        "width_in": round(printed.width, 4),
        "height_in": round(printed.height, 4),
        "font_pt": VENUES[venue].font,
        "snapshots": [_snapshot(each) for each in (study, *others)],
        "queries": [q for each in (study, *others) for q in _queries(each)],
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        "same_on_every_run": [n for n in files if not n.endswith(".pdf")],
    }


def _snapshot(study: FigureStudy) -> dict[str, Any]:
    row = study.study
    return {
        "study": str(row["name"]),
        "snapshot": int(row["snapshot"]),
        "content_hash": str(row["content_hash"]),
        "file": Path(study.snapshot.path).name,
        **({"scorer": study.credited_scorer} if study.credited_scorer else {}),
    }


def _queries(study: FigureStudy) -> list[dict[str, Any]]:
    seen: dict[str, dict[str, Any]] = {}
    for name, parameters in study.asked:
        macros = [_sql_file(macro) for macro in statements.macros(name)]
        entry = {
            **_sql_file(name),
            **({"macros": macros} if macros else {}),
            "parameters": parameters,
        }
        seen.setdefault(json.dumps(entry, sort_keys=True, default=str), entry)
    return list(seen.values())


def _sql_file(name: str) -> dict[str, str]:
    text = statements.statement(name)[0]
    return {
        "file": f"app/database/sql/{name}.sql",
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def command(
    study: FigureStudy, kind: Kind, venue: str, columns: int, others: Sequence[FigureStudy] = ()
) -> list[str]:
    """The command that makes the figure again."""
    also = ["--also", *(other.path for other in others)] if others else []
    return [
        *COMMAND.split(),
        study.path,
        "--figure",
        kind.name,
        "--venue",
        venue,
        "--columns",
        str(columns),
        "--out",
        "figures",
        *also,
        *study.choice.arguments(),
    ]


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n").encode()


def write(figure: Export, folder: Path) -> list[Path]:
    """Write a figure's files; each appears whole or not at all."""
    return write_files(figure.files, folder)


def write_files(files: dict[str, bytes], folder: Path) -> list[Path]:
    """Write files into a folder, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    out = []
    for name, data in files.items():
        temporary = folder / f".{name}.part"
        temporary.write_bytes(data)
        out.append(temporary.replace(folder / name))
    return out


def gallery(
    study: FigureStudy,
    folder: Path,
    venue: str = "neurips",
    names: Iterable[str] = KINDS,
    others: Sequence[FigureStudy] = (),
) -> tuple[list[str], dict[str, str]]:
    """Every figure that the study has data for, and an index of them with small pictures.

    Args:
        study: the data and the author's choice.
        folder: where they go.
        venue: a key of VENUES.
        names: of the figures.
        others: studies to make those of that the first has no data for.

    Returns:
        names of those made, and name -> what is missing.
    """
    exported, missing = [], {}
    pictures: dict[str, str] = {}
    for name in names:
        try:
            one = _first_export((study, *others), KINDS[name], venue)
        except NotMeasured as error:
            missing[name] = str(error)
            continue
        write(one, folder)
        (folder / f"{name}.screen.png").write_bytes(typeset.for_screens(one.printed.png))
        exported.append(name)
        pictures[name] = one.figure.caption
        print(f"{name}: {one.printed.width:.2f} x {one.printed.height:.2f} in")
    (folder / "README.md").write_text(_index(study, venue, pictures, missing), encoding="utf-8")
    return exported, missing


def _first_export(studies: Sequence[FigureStudy], kind: Kind, venue: str) -> Export:
    """A figure of the first study that has data for it. Raises NotMeasured with what the first lacks."""
    reason: NotMeasured | None = None
    for study in studies:
        study.asked.clear()
        try:
            return export(study, kind, venue, kind.columns)
        except NotMeasured as error:
            reason = reason or error
    raise reason or NotMeasured("No study was given.", "Name one.")


def _index(
    study: FigureStudy, venue: str, captions: dict[str, str], missing: dict[str, str]
) -> str:
    lines = [
        "# Figures of the demo study" if study.study["name"] == "demo" else "# Figures",
        "",
        f"Made by `make figures` for {VENUES[venue].name}: {study.source_line()}",
        "",
    ]
    for group in dict.fromkeys(kind.group for kind in KINDS.values()):
        lines += [f"## {group}", ""]
        for kind in KINDS.values():
            if kind.group == group and kind.name in captions:
                lines += [
                    f"### {kind.title} (`{kind.name}`)",
                    "",
                    f"![{kind.title}]({kind.name}.screen.png)",
                    "",
                ]
                lines += [_markdown(captions[kind.name]), ""]
    if missing:
        lines += ["## Not in this study", ""]
        lines += [f"- `{name}`: {_markdown(why)}" for name, why in missing.items()]
        lines += [""]
    return "\n".join(lines)


def _markdown(text: str) -> str:
    return "".join("\\" + c if c in "\\`*_{}[]<>#|~" else c for c in " ".join(text.split()))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description="Figures for papers from a published study. --again MANIFEST [SNAPSHOT]: one made again.",
        epilog="Figures: " + ", ".join(KINDS),
    )
    parser.add_argument("snapshot", help="results folder or DuckDB file")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--figure", choices=list(KINDS), metavar="NAME", help="which one; see below")
    which.add_argument("--all", action="store_true", help="all of them, with an index")
    which.add_argument("--list", action="store_true", help="what this study has data for")
    parser.add_argument("--venue", choices=list(VENUES), default="neurips")
    parser.add_argument("--columns", type=int, choices=(1, 2), default=1)
    parser.add_argument("--out", type=Path, default=Path("figures"), metavar="DIR")
    parser.add_argument(
        "--also",
        nargs="+",
        default=[],
        metavar="SNAPSHOT",
        help="for paper-5; with --all, for figures that SNAPSHOT has no data for",
    )
    _add_filters(parser)
    return parser.parse_args(arguments)


def _add_filters(parser: argparse.ArgumentParser) -> None:
    """The options of a choice: what is shown, and how it is laid out."""
    chosen = parser.add_argument_group("filters")
    for name in ("models", "families", "categories", "concepts", "prompts", "methods"):
        chosen.add_argument(f"--{name}", nargs="+", default=[], metavar="NAME")
    for name in ("seeds", "steps"):
        chosen.add_argument(f"--{name}", nargs="+", type=int, default=[], metavar="N")
    chosen.add_argument(
        "--slice",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="text=cat fewest=3 by=final top=20 x_low=0.1 (a limit of the map of images)",
    )
    chosen.add_argument("--rows", type=int, default=0, metavar="N")
    for name, metavar, text in TEXTS:
        chosen.add_argument(f"--{name}", default="", metavar=metavar, help=text)
    chosen.add_argument("--threshold", type=_threshold, default=0.0, metavar="X", help="of that distance, from which two images count as different")  # fmt: skip
    for name, options, text in OPTIONS:
        chosen.add_argument(f"--{name}", default="", choices=options, help=text)


def _threshold(text: str) -> float:
    """A number of a command line. Raises ArgumentTypeError."""
    value = THRESHOLD.parse(text)
    if value is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {THRESHOLD.low:g} to {THRESHOLD.high:g}")  # fmt: skip
    return float(value)


TEXTS = (
    ("baseline", "MODEL", None),
    ("scorer", "NAME", "of a study with several"),
    ("metric", "NAME", "score in place of CLIP's, as `scores add` named it"),
    ("distance", "NAME", "to a reference entry, as the study file names it"),
)
OPTIONS: tuple[tuple[str, Sequence[str], str | None], ...] = (
    ("score", list(tools.SCORES), None),
    ("source", ["attention", "relevance"], None),
    ("axis", list(AXIS_NAMES), "of curves, emergence and comparisons; log-snr where several models are shown"),
    ("pairs", ["named", "all"], "prompts that count for a concept"),
    ("layout", LAYOUTS, "of strips: the steps across (the default) or down the page"),
    ("scale", SCALES, "of maps: one colour scale for each row (the default), each map, or the figure"),
    ("bar", BARS, "colour bar of maps"),
)  # fmt: skip


def choice_of(options: argparse.Namespace) -> Choice:
    """The filters of a command line."""
    lists = (
        "models",
        "families",
        "categories",
        "seeds",
        "concepts",
        "prompts",
        "methods",
        "steps",
        "slice",
    )
    return Choice(
        **{name: tuple(getattr(options, name)) for name in lists},
        baseline=options.baseline,
        score=options.score,
        source=options.source,
        scorer=options.scorer,
        metric=options.metric,
        axis=options.axis,
        pairs=options.pairs,
        layout=options.layout,
        scale=options.scale,
        bar=options.bar,
        distance=options.distance,
        threshold=options.threshold,
        rows=max(options.rows, 0),
    )


def main(arguments: Sequence[str]) -> int:
    """Make figures; 2 where something given is wrong or not measured."""
    options = parse(arguments)
    try:
        study = open_study(options.snapshot, choice_of(options))
        if options.list:
            return _list(study)
        others = [open_study(path, study.choice) for path in options.also]
        if options.all:
            gallery(study, options.out, options.venue, others=others)
            return 0
        figure = export(study, KINDS[options.figure], options.venue, options.columns, others)
        paths = write(figure, options.out)
    except SnapshotError as error:
        print(f"error: {error.title} {error.detail}", file=sys.stderr)
        return 2
    except FigureError as error:
        print(f"error: {options.figure or 'figures'}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # who reads it, such as head, has seen enough
        return 1
    except OSError as error:
        print(f"error: --out {options.out}: {error.strerror or error}", file=sys.stderr)
        return 2
    print(f"{figure.kind.title}: {figure.printed.width:.2f} x {figure.printed.height:.2f} in")
    print("\n".join(f"  {path}" for path in paths))
    return 0


def _list(study: FigureStudy) -> int:
    for kind in KINDS.values():
        try:
            kind.build(study)
            print(f"{kind.name:20} {kind.title}")
        except FigureError as error:
            print(f"{kind.name:20} not in this study: {error}")
    return 0
