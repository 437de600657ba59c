"""A study as a static site: pages, data and images that open from a file or any web server.

    python app/bundle.py SNAPSHOT --out FOLDER [--scorer NAME]

It is read-only and asks for nothing from the network. Every text of the study is escaped.
"""

from __future__ import annotations

import argparse
import html
import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import figures
import pandas as pd
import typeset
import vl_convert
from figure_study import Choice, FigureError, FigureStudy, open_study
from figures import KINDS
from snapshots import SnapshotError

MOST_PROMPTS = 400
WIDTH = 620.0
MARK = "stepscope-bundle.json"
POLICY = (
    "default-src 'none'; script-src 'self' file: 'unsafe-inline' 'unsafe-eval'; style-src 'self' file: "
    "'unsafe-inline'; img-src 'self' file: data:; font-src 'self' file: data:"
)
# Vega compiles its expressions, hence unsafe-eval; what it may load is limited all the same.
START = """
for (const data of document.querySelectorAll('script[type="application/json"]')) {
  vegaEmbed(data.nextElementSibling, JSON.parse(data.textContent), {actions: false, renderer: 'svg'});
}
const search = document.getElementById('search');
if (search) search.addEventListener('input', () => {
  const wanted = search.value.toLowerCase();
  for (const row of document.querySelectorAll('tbody tr')) {
    row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
  }
});
"""
STYLE = """
@font-face{font-family:"Stepscope Serif";src:url(stepscope-serif-regular.ttf)}
@font-face{font-family:"Stepscope Serif";font-weight:bold;src:url(stepscope-serif-bold.ttf)}
*{box-sizing:border-box}body{font:16px/1.5 system-ui,sans-serif;margin:0;color:#18212b;background:#f4f6f8}
header{background:#fff;border-bottom:1px solid #e1e6eb;padding:.8rem 1.5rem}main{max-width:72rem;margin:0 auto;
padding:1rem 1.5rem}nav{display:flex;gap:1.2rem;flex-wrap:wrap}nav a{color:#0b6394;text-decoration:none;padding:.2rem 0}
nav a[aria-current]{font-weight:650;border-bottom:2px solid #0b6394}article{background:#fff;border:1px solid #e1e6eb;
border-radius:10px;padding:1rem 1.2rem;margin:1rem 0;overflow-x:auto}h1{font-size:1.5rem;margin:.3rem 0}
h2{font-size:1.1rem;margin:0 0 .5rem}p.quiet,td.quiet,figcaption{color:#4d5863;font-size:.9rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #e1e6eb;
vertical-align:top;overflow-wrap:anywhere}th{overflow-wrap:normal}td img{width:96px;height:96px;image-rendering:pixelated;display:block}
input{font:inherit;padding:.4rem .6rem;width:min(24rem,100%);border:1px solid #8795a1;border-radius:8px}
"""


@dataclass(frozen=True)
class Section:
    """A page of the site: the figures of a group."""

    file: str
    title: str
    group: str


SECTIONS = (
    Section("concepts.html", "Concepts and models", figures.STUDY),
    Section("images.html", "Images and words", figures.IMAGES),
    Section("tools.html", "Tools and trust", figures.TOOLS),
    Section("paper.html", "The paper's figures", figures.PAPER),
)
PAGES = (
    ("index.html", "Overview"),
    *((s.file, s.title) for s in SECTIONS),
    ("prompts.html", "Prompts"),
)


class BundleError(Exception):
    """A site that can't be written."""


def bundle(study: FigureStudy, out: Path) -> Path:
    """Write the site; the folder appears whole or stays as it was.

    Raises:
        BundleError: the folder holds something else.
    """
    if out.exists() and not (out / MARK).exists() and (not out.is_dir() or any(out.iterdir())):
        raise BundleError(f"--out {out} is not empty and no bundle. Name a new folder.")
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        folder.chmod(0o755)
        _write(study, folder)
        old = out.with_name(f".{out.name}-old")
        if out.exists():
            out.replace(old)
        folder.replace(out)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return out


def _write(study: FigureStudy, folder: Path) -> None:
    for name in ("assets", "data", "images"):
        (folder / name).mkdir()
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    (folder / "assets" / "vega.js").write_text(script, encoding="utf-8")
    (folder / "assets" / "start.js").write_text(START, encoding="utf-8")
    (folder / "assets" / "style.css").write_text(STYLE, encoding="utf-8")
    for font in (
        "stepscope-serif-regular.ttf",
        "stepscope-serif-bold.ttf",
        "StepscopeSerif-LICENSE.txt",
    ):
        shutil.copyfile(typeset.FONTS / font, folder / "assets" / font)
    overview = _overview(study) + _figure(study, KINDS["scores"], folder)
    _page(study, folder, "index.html", "Overview", overview)
    for section in SECTIONS:
        parts = [
            _figure(study, kind, folder) for kind in KINDS.values() if kind.group == section.group
        ]
        _page(study, folder, section.file, section.title, "".join(parts))
    _page(study, folder, "prompts.html", "Prompts", _prompts(study, folder))
    told = {"study": str(study.row["name"]), "content_hash": str(study.row["content_hash"])}
    (folder / MARK).write_text(json.dumps(told) + "\n", encoding="utf-8")


def _page(study: FigureStudy, folder: Path, file: str, title: str, body: str) -> None:
    e = html.escape
    links = "".join(
        f'<a href="{name}"{" aria-current=page" if name == file else ""}>{e(text)}</a>'
        for name, text in PAGES
    )
    text = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{e(title)} – {e(str(study.row['title']))}</title>"
        '<link rel="stylesheet" href="assets/style.css"></head><body><header>'
        f"<nav>{links}</nav></header><main><h1>{e(str(study.row['title']))}</h1>"
        f'<p class="quiet">{e(_source(study))}</p>{body}</main>'
        '<script src="assets/vega.js"></script><script src="assets/start.js"></script></body></html>\n'
    )
    (folder / file).write_text(text, encoding="utf-8")


def _source(study: FigureStudy) -> str:
    """Where a page's numbers come from, and whose they are where a scorer was chosen."""
    study.asked.clear()
    scorer = f"Scored by {study.choice.scorer}. " if study.choice.scorer else ""
    return scorer + study.source_line()


def _overview(study: FigureStudy) -> str:
    row = study.row
    facts = (
        f"<article><h2>What was studied</h2><p>{html.escape(str(row['description']))}</p>"
        f"<p>{int(row['done_samples']):,} of {int(row['planned_samples']):,} samples done, "
        f"{int(row['failed_samples']):,} failed. Published {row['published_at']:%d %b %Y %H:%M} UTC. "
        f"Scorer: {html.escape(str(row['scorer']))}.</p></article>"
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
    models = f"<article><h2>Models</h2>{_table(study.every_model[names])}</article>"
    failures = study.ask_scope("failures")
    lost = f"<article><h2>Failures</h2>{_table(failures)}</article>" if len(failures) else ""
    return facts + models + lost


def _figure(study: FigureStudy, kind: figures.Kind, folder: Path) -> str:
    e = html.escape
    study.asked.clear()  # a caption names the scorer where its own questions depend on it
    try:
        figure = kind.build(study)
    except FigureError as error:
        return f'<article><h2>{e(kind.title)}</h2><p class="quiet">{e(str(error))}</p></article>'
    (folder / "data" / f"{kind.name}.csv").write_bytes(figures.csv(figure.data))
    spec: dict[str, Any] = figure.draw((WIDTH - 60 * figure.panels) / figure.panels).to_dict()
    spec = {**typeset.still(spec), "config": typeset.theme(11), "background": "white"}
    table = _table(figure.table) if figure.table is not None else ""
    return (
        f"<article><h2>{e(kind.title)}</h2>"
        f'<script type="application/json">{_safe(spec)}</script><div></div>'
        f'<p class=quiet>{e(figure.caption)} <a href="data/{kind.name}.csv" download>CSV</a></p>{table}</article>'
    )


def _safe(value: Any) -> str:
    """JSON for a script element: nothing in it can end the element."""
    text = json.dumps(value, default=str)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _table(rows: pd.DataFrame) -> str:
    e = html.escape
    head = "".join(f"<th>{e(str(c).replace('_', ' '))}</th>" for c in rows.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{e(_cell(v))}</td>" for v in row) + "</tr>"
        for row in rows.itertuples(index=False)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "–" if pd.isna(value) else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)[:2000]


def _prompts(study: FigureStudy, folder: Path) -> str:
    prompts = study.ask_scope("figure_prompts")
    shown = prompts.head(MOST_PROMPTS)
    if shown.empty:
        return '<article><p class="quiet">No sample is finished.</p></article>'
    seed = study.scope.seeds[0]
    images = study.ask_scope(
        "figure_images", prompts=[int(i) for i in shown["prompt_id"]], seed=seed
    )
    cells = _images(images, folder)
    labels = study.models.set_index("model_id")["label"]
    head = "".join(f"<th>{html.escape(str(label))}</th>" for label in labels)
    rows = "".join(
        f"<tr><td>{html.escape(str(text)[:2000])}<br><span class=quiet>{html.escape(str(category))}</span></td>"
        + "".join(f"<td>{cells.get((int(i), int(m)), '–')}</td>" for m in labels.index)
        + "</tr>"
        for i, text, category in zip(
            shown["prompt_id"], shown["text"], shown["category"], strict=True
        )
    )
    more = f" The first {len(shown):,} of {len(prompts):,}." if len(shown) < len(prompts) else ""
    return (
        f'<article><label>Search <input id="search" type="search"></label><p class="quiet">Final images of '
        f"seed {seed} with their CLIP score.{more}</p><table><thead><tr><th>Prompt</th>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></article>"
    )


def _images(images: pd.DataFrame, folder: Path) -> dict[tuple[int, int], str]:
    out = {}
    for prompt, model, image, score in zip(
        images["prompt_id"], images["model_id"], images["image"], images["score"], strict=True
    ):
        data = bytes(image)
        name = f"{int(prompt)}-{int(model)}.{'webp' if data[8:12] == b'WEBP' else 'png'}"
        (folder / "images" / name).write_bytes(data)
        told = "–" if pd.isna(score) else f"{score:.3f}"
        out[int(prompt), int(model)] = f'<img src="images/{name}" alt="" loading="lazy">{told}'
    return out


def main(arguments: Sequence[str]) -> int:
    """Write a site; 2 where something given is wrong."""
    parser = argparse.ArgumentParser(
        prog="python app/bundle.py", description="A published study as a static site."
    )
    parser.add_argument("snapshot", help="results folder or DuckDB file")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--scorer", default="", metavar="NAME", help="of a study with several")
    given = parser.parse_args(arguments)
    try:
        out = bundle(open_study(given.snapshot, Choice(scorer=given.scorer)), given.out)
    except SnapshotError as error:
        print(f"error: {error.title} {error.detail}", file=sys.stderr)
        return 2
    except (FigureError, BundleError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: --out {given.out}: {error.strerror or error}", file=sys.stderr)
        return 2
    size = sum(path.stat().st_size for path in _files(out)) / 1e6
    print(f"{out / 'index.html'}  ({size:.1f} MB; open it in a browser)")
    return 0


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
