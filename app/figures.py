"""Figures for papers, from the shell: PDF, SVG, PNG, data, table, caption and how to make them again.

    python app/figures.py SNAPSHOT --figure NAME --venue neurips --columns 1 --out DIR [filters]

SNAPSHOT is a results folder or a DuckDB file. The same functions make the Figures view. SVG, PNG and
CSV come out the same to the byte on every run.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import io
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import figure_kinds as kinds
import figure_maps as maps
import pandas as pd
import snapshots
import spreadsheet
import typeset
from figure_study import Choice, Figure, FigureError, FigureStudy, NotMeasured, open_study
from PIL import Image
from snapshots import SnapshotError
from typeset import VENUES, Printed

PACKAGES = ("altair", "duckdb", "fonttools", "pandas", "scipy", "vl-convert-python")


@dataclass(frozen=True)
class Kind:
    """A figure that can be made.

    Attributes:
        name: on the command line and of its files.
        title: what it shows, in a few words.
        group: of the gallery.
        build: makes it from a study.
        columns: how many columns suit it.
    """

    name: str
    title: str
    group: str
    build: Callable[[FigureStudy], Figure]
    columns: int = 1


STUDY, IMAGES, TOOLS, PAPER = (
    "Concepts and models",
    "Images and words",
    "Tools and trust",
    "Park et al. 2024",
)
RISE = "df-rise = { steps = [5, 10, 15, 20], prompts = 8 }"
CAM = "df-cam = { steps = [5, 10, 15, 20], prompts = 8 }"
KINDS = {
    kind.name: kind
    for kind in (
        Kind("scores", "CLIP scores with tied ranks", STUDY, kinds.scores_table),
        Kind("concept-curves", "Concept curves", STUDY, kinds.concept_curves),
        Kind("concept-heat-map", "Concept x step heat map", STUDY, kinds.concept_heatmap),
        Kind("emergence", "Emergence ranking", STUDY, kinds.emergence),
        Kind("paired-differences", "Paired differences", STUDY, kinds.paired_differences),
        Kind("difference-heat-map", "Where two models differ", STUDY, kinds.difference_heatmap),
        Kind("spectra", "Power spectra", STUDY, kinds.spectra, 2),
        Kind("paths", "Embedding paths", STUDY, kinds.paths),
        Kind("film-strip", "Film strip", IMAGES, maps.film_strip, 2),
        Kind("region-maps", "Region maps", IMAGES, maps.region_maps),
        Kind("word-heat-maps", "Word heat maps", IMAGES, maps.word_heat_maps),
        Kind("word-roles", "Role curves under schedules", IMAGES, maps.word_roles, 2),
        Kind("auc-table", "Areas under insertion and deletion", TOOLS, kinds.auc_table, 2),
        Kind("auc-curves", "Insertion and deletion curves", TOOLS, kinds.auc_curves, 2),
        Kind("agreement", "Agreement of the tools", TOOLS, kinds.agreement, 2),
        Kind("trust", "Which tool to believe", TOOLS, kinds.trust),
        Kind("paper-3", "Figure 3: tools against LIME", PAPER, kinds.against_lime, 2),
        Kind("paper-5", "Figure 5: DF-RISE by similarity", PAPER, maps.similarities),
        Kind("paper-6", "Figure 6: images by schedule", PAPER, maps.schedule_images),
        Kind("paper-7", "Figure 7: DF-RISE over steps", PAPER, maps.over_steps("df-rise", RISE)),
        Kind("paper-8", "Figure 8: DF-CAM over steps", PAPER, maps.over_steps("df-cam", CAM)),
        Kind("paper-9", "Figure 9: relevance peaks", PAPER, maps.relevance_peaks),
        Kind("paper-10", "Figure 10: gamma varied", PAPER, maps.gammas),
        Kind("paper-11", "Figure 11: words by schedule", PAPER, maps.words_by_schedule, 2),
    )
}


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
        return maps.similarities_of([study, *others])
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
    """What the figure was made from and the command that makes it again."""
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
    row = study.row
    return {
        "study": str(row["name"]),
        "snapshot": int(row["snapshot"]),
        "content_hash": str(row["content_hash"]),
        "file": Path(study.snapshot.path).name,
        **({"scorer": study.scorer} if study.scorer else {}),
    }


def _queries(study: FigureStudy) -> list[dict[str, Any]]:
    seen: dict[str, dict[str, Any]] = {}
    for name, parameters in study.asked:
        text = snapshots.statement(name)[0]
        entry = {
            "file": f"app/sql/{name}.sql",
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "parameters": parameters,
        }
        seen.setdefault(json.dumps(entry, sort_keys=True, default=str), entry)
    return list(seen.values())


def command(
    study: FigureStudy, kind: Kind, venue: str, columns: int, others: Sequence[FigureStudy] = ()
) -> list[str]:
    """The command that makes the figure again."""
    also = ["--also", *(other.place for other in others)] if others else []
    return [
        "python",
        "app/figures.py",
        study.place,
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


def write(made: Export, folder: Path) -> list[Path]:
    """Write a figure's files; each appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    out = []
    for name, data in made.files.items():
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
        names made, and name -> what is missing.
    """
    made, missing = [], {}
    pictures: dict[str, str] = {}
    for name in names:
        try:
            one = _first_export((study, *others), KINDS[name], venue)
        except NotMeasured as error:
            missing[name] = str(error)
            continue
        write(one, folder)
        (folder / f"{name}.screen.png").write_bytes(for_screens(one.printed.png))
        made.append(name)
        pictures[name] = one.figure.caption
        print(f"{name}: {one.printed.width:.2f} x {one.printed.height:.2f} in")
    (folder / "README.md").write_text(_index(study, venue, pictures, missing), encoding="utf-8")
    return made, missing


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


def for_screens(png: bytes) -> bytes:
    """A printed figure at half its resolution and in 256 colours: a tenth of the bytes, for a page on the web."""
    with Image.open(io.BytesIO(png)) as picture:
        size = (picture.width // 2, picture.height // 2)
        small = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.quantize(256, kmeans=2, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def _index(
    study: FigureStudy, venue: str, captions: dict[str, str], missing: dict[str, str]
) -> str:
    lines = [
        "# Figures of the demo study" if study.row["name"] == "demo" else "# Figures",
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
        prog="python app/figures.py",
        description="Figures for papers from a published study.",
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
        help="text=cat fewest=3 by=final top=20",
    )
    chosen.add_argument("--baseline", default="", metavar="MODEL")
    chosen.add_argument("--scorer", default="", metavar="NAME", help="of a study with several")
    chosen.add_argument("--score", default="", choices=["clip", "structure", "fid"])
    chosen.add_argument("--source", default="", choices=["attention", "relevance"])
    chosen.add_argument("--rows", type=int, default=0, metavar="N")
    return parser.parse_args(arguments)


def choice_of(given: argparse.Namespace) -> Choice:
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
        **{name: tuple(getattr(given, name)) for name in lists},
        baseline=given.baseline,
        score=given.score,
        source=given.source,
        scorer=given.scorer,
        rows=max(given.rows, 0),
    )


def main(arguments: Sequence[str]) -> int:
    """Make figures; 2 where something given is wrong or not measured."""
    given = parse(arguments)
    try:
        study = open_study(given.snapshot, choice_of(given))
        if given.list:
            return _list(study)
        others = [open_study(place, study.choice) for place in given.also]
        if given.all:
            gallery(study, given.out, given.venue, others=others)
            return 0
        made = export(study, KINDS[given.figure], given.venue, given.columns, others)
        paths = write(made, given.out)
    except SnapshotError as error:
        print(f"error: {error.title} {error.detail}", file=sys.stderr)
        return 2
    except FigureError as error:
        print(f"error: {given.figure or 'figures'}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # who reads it, such as head, has seen enough
        return 1
    except OSError as error:
        print(f"error: --out {given.out}: {error.strerror or error}", file=sys.stderr)
        return 2
    print(f"{made.kind.title}: {made.printed.width:.2f} x {made.printed.height:.2f} in")
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
