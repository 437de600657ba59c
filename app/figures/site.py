"""A study as a static site: pages, data and images that open from a file or any web server.

    python -m app.figures.site SNAPSHOT --out FOLDER [--scorer NAME | --space WHEEL]

It is read-only and asks for nothing from the network. Every text of the study is escaped. With --space the folder is
a Hugging Face Space with the dashboard instead (app.figures.space).
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import vl_convert

from app.analysis import uncertainty
from app.charts import lettering
from app.charts.images import image_type
from app.database.snapshots import SnapshotError
from app.figures import export, kinds, pages, space, typeset
from app.figures.kinds import KINDS
from app.figures.source import Choice, FigureError, FigureStudy, open_study
from app.figures.whole_folder import BundleError, mark, write_whole

MOST_PROMPTS = 400
WIDTH = 620.0
LONGEST_CELL = 2000  # characters
POLICY = (
    "default-src 'none'; script-src 'self' file: 'unsafe-inline' 'unsafe-eval'; style-src 'self' file: "
    "'unsafe-inline'; img-src 'self' file: data:; font-src 'self' file: data:"
)
# Vega compiles its expressions, hence unsafe-eval; what it may load is limited all the same.


@dataclass(frozen=True)
class Section:
    """A page of the site: the figures of a group."""

    file: str
    title: str
    group: str


SECTIONS = (
    Section("concepts.html", "Concepts and models", kinds.STUDY),
    Section("images.html", "Images and words", kinds.IMAGES),
    Section("tools.html", "Tools and trust", kinds.TOOLS),
    Section("paper.html", "The paper's figures", kinds.PAPER),
)
PAGES = (
    ("index.html", "Overview"),
    *((s.file, s.title) for s in SECTIONS),
    ("prompts.html", "Prompts"),
)


def bundle(study: FigureStudy, out: Path) -> Path:
    """Write the site; the folder appears whole or stays as it was.

    Raises:
        BundleError: the folder holds something else.
    """
    return write_whole(out, lambda folder: _write(study, folder))


@cache
def _vega() -> str:
    """Vega's code as a browser runs it; packing it takes over a second."""
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def _write(study: FigureStudy, folder: Path) -> None:
    for name in ("assets", "data", "images"):
        (folder / name).mkdir()
    (folder / "assets" / "vega.js").write_text(_vega(), encoding="utf-8")
    for source, name in (("site.js", "start.js"), ("site.css", "style.css")):
        (folder / "assets" / name).write_text(pages.asset(source), encoding="utf-8")
    for font in (
        "stepscope-serif-regular.ttf",
        "stepscope-serif-bold.ttf",
        "StepscopeSerif-LICENSE.txt",
    ):
        shutil.copyfile(lettering.FONTS / font, folder / "assets" / font)
    first = [_figure(study, KINDS["scores"], folder)]
    _page(study, folder, PAGES[0], "section.html", facts=_facts(study), figures=first)
    for section in SECTIONS:
        figures = [
            _figure(study, kind, folder) for kind in KINDS.values() if kind.group == section.group
        ]
        _page(
            study,
            folder,
            (section.file, section.title),
            "section.html",
            facts=None,
            figures=figures,
        )
    _page(study, folder, PAGES[-1], "prompts.html", **_prompts(study, folder))
    mark(study, folder)


def _page(
    study: FigureStudy, folder: Path, page: tuple[str, str], template: str, **values: Any
) -> None:
    """Write a page.

    Args:
        study: the data.
        folder: of the site.
        page: file and title.
        template: of app/figures/templates.
        values: what the template shows.
    """
    file, title = page
    text = pages.rendered(
        template,
        policy=POLICY,
        pages=PAGES,
        shown=file,
        title=title,
        study=str(study.study["title"]),
        source=_source(study),
        **values,
    )
    (folder / file).write_text(text + "\n", encoding="utf-8")


def _source(study: FigureStudy) -> str:
    """Where a page's numbers come from, and whose they are where a scorer was chosen."""
    study.asked.clear()
    scorer = f"Scored by {study.choice.scorer}. " if study.choice.scorer else ""
    return scorer + study.source_line()


def _facts(study: FigureStudy) -> dict[str, Any]:
    """What the overview says of the study, its models and its failures."""
    row = study.study
    counts = (
        f"{int(row['done_samples']):,} of {int(row['planned_samples']):,} samples done, "
        f"{int(row['failed_samples']):,} failed. Published {row['published_at']:%d %b %Y %H:%M} UTC. "
        f"Scorer: {row['scorer']}."
    )
    names = [
        "label",
        "name",
        "pipeline",
        "scheduler",
        "schedule",
        "steps",
        "guidance",
        "parameters",
    ]
    failures = study.ask_scope("failures")
    return {
        "description": str(row["description"]),
        "counts": counts,
        "models": _table(study.every_model[names]),
        "failures": _table(failures) if len(failures) else None,
    }


def _figure(study: FigureStudy, kind: export.Kind, folder: Path) -> dict[str, Any]:
    """A figure as the site shows it; its data are written beside."""
    study.asked.clear()  # a caption names the scorer where its own questions depend on it
    try:
        figure = kind.build(study)
    except FigureError as error:
        return {"title": kind.title, "missing": str(error)}
    (folder / "data" / f"{kind.name}.csv").write_bytes(export.csv(figure.data))
    spec: dict[str, Any] = figure.draw((WIDTH - 60 * figure.panels) / figure.panels).to_dict()
    return {
        "title": kind.title,
        "missing": "",
        "name": kind.name,
        "spec": {**typeset.still(spec), "config": typeset.theme(11), "background": "white"},
        "caption": figure.caption,
        "table": None if figure.table is None else _table(figure.table),
    }


def _table(rows: pd.DataFrame) -> dict[str, list[Any]]:
    """Titles and cells of a table."""
    return {
        "columns": [str(column).replace("_", " ") for column in rows.columns],
        "rows": [[_cell(value) for value in row] for row in rows.itertuples(index=False)],
    }


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "–" if pd.isna(value) else uncertainty.significant(value, 4)
    return f"{value:,}" if isinstance(value, int) else str(value)[:LONGEST_CELL]


def _prompts(study: FigureStudy, folder: Path) -> dict[str, Any]:
    """What the page of prompts shows; its images are written beside."""
    prompts = study.ask_scope("figure_prompts")
    shown = prompts.head(MOST_PROMPTS)
    if shown.empty:
        return {"rows": []}
    seed = study.scope.seeds[0]
    ids = [int(i) for i in shown["prompt_id"]]
    images = _images(study.ask_scope("figure_images", prompts=ids, seed=seed), folder)
    models = [int(i) for i in study.models["model_id"]]
    return {
        "seed": seed,
        "shown_prompts": len(shown),
        "all_prompts": len(prompts),
        "labels": [study.label(model) for model in models],
        "rows": [
            {
                "text": str(text)[:LONGEST_CELL],
                "category": str(category),
                "images": [images.get((prompt, model)) for model in models],
            }
            for prompt, text, category in zip(ids, shown["text"], shown["category"], strict=True)
        ],
    }


def _images(images: pd.DataFrame, folder: Path) -> dict[tuple[int, int], dict[str, str]]:
    """File name and score of each image by (prompt_id, model_id); the files are written."""
    out = {}
    for prompt, model, image, score in zip(
        images["prompt_id"], images["model_id"], images["image"], images["score"], strict=True
    ):
        data = bytes(image)
        name = f"{int(prompt)}-{int(model)}.{image_type(data) or 'png'}"
        (folder / "images" / name).write_bytes(data)
        text = "–" if pd.isna(score) else f"{score:.3f}"
        out[int(prompt), int(model)] = {"name": name, "score": text}
    return out


def main(arguments: Sequence[str]) -> int:
    """Write a site; 2 where something given is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m app.figures.site", description="A published study as a static site."
    )
    parser.add_argument("snapshot", help="results folder or DuckDB file")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--scorer", default="", metavar="NAME", help="of a study with several")
    either.add_argument(
        "--space",
        type=Path,
        metavar="WHEEL",
        help="write a Hugging Face Space with the dashboard instead, which installs this wheel (make wheel)",
    )
    options = parser.parse_args(arguments)
    try:
        study = open_study(options.snapshot, Choice(scorer=options.scorer))
        if options.space:
            out = space.write(study, options.space, options.out)
        else:
            out = bundle(study, options.out)
    except SnapshotError as error:
        print(f"error: {error.title} {error.detail}", file=sys.stderr)
        return 2
    except (FigureError, BundleError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: --out {options.out}: {error.strerror or error}", file=sys.stderr)
        return 2
    size = sum(path.stat().st_size for path in _files(out)) / 1e6
    if options.space:
        print(f"{out}  ({size:.1f} MB; hf upload OWNER/NAME {out} . --repo-type space)")
    else:
        print(f"{out / 'index.html'}  ({size:.1f} MB; open it in a browser)")
    return 0


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
