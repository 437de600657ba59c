"""Charts as a venue prints them: its column width, its type, fonts inside the file.

Everything is measured in points, 72 to the inch; a chart's pixel is a point. SVG and PNG come out
the same to the byte on every run; a PDF has an identifier of its own.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import altair as alt
import pandas as pd
import vl_convert
from fontTools import subset
from fontTools.ttLib import TTFont
from PIL import Image

from app.charts.lettering import FILES, FONTS

FAMILY = "Stepscope Serif"
INCH = 72.0
PPI = 300
# What the width of a figure may be off, in points: a tenth of what a reader could measure.
CLOSE = 0.05
INK = "#1a1a1a"
# Vega measures a line of type a little lower than its ascenders and descenders reach.
PADDING = {"left": 1.0, "right": 1.0, "top": 3.0, "bottom": 4.0}
vl_convert.register_font_directory(str(FONTS))


@dataclass(frozen=True)
class Venue:
    """What a venue prints on.

    Attributes:
        name: of the conference.
        one: width of a column in inches.
        two: width of both columns in inches; the same where the text has one column.
        font: base size of the type in a figure, in points.
    """

    name: str
    one: float
    two: float
    font: float

    def width(self, columns: int) -> float:
        """The width of a figure over 1 or 2 columns, in inches."""
        return self.one if columns == 1 else self.two


VENUES = {
    "neurips": Venue("NeurIPS", 5.5, 5.5, 9),
    "iclr": Venue("ICLR", 5.5, 5.5, 9),
    "icml": Venue("ICML", 3.25, 6.75, 8),
    "cvpr": Venue("CVPR", 3.25, 6.875, 8),
    "aaai": Venue("AAAI", 3.3, 6.975, 8),
    "acl": Venue("ACL", 3.03, 6.3, 8),
}

Draw = Callable[[float], alt.TopLevelMixin]


@dataclass(frozen=True)
class Printed:
    """A figure ready to be written.

    Attributes:
        spec: the Vega-Lite spec.
        svg: with its fonts inside and its width in inches.
        png: at 300 pixels per inch.
        pdf: with its fonts inside.
        width: in inches, as it came out.
        height: in inches.
    """

    spec: dict[str, Any]
    svg: str
    png: bytes
    pdf: bytes
    width: float
    height: float


def typeset(draw: Draw, venue: Venue, columns: int, panels: int = 1) -> Printed:
    """Draw a figure as wide as the venue's column and convert it.

    Args:
        draw: makes the chart with the panels so many points wide.
        venue: where it will be printed.
        columns: 1 or 2.
        panels: number of panels side by side, which share what the axes leave.
    """
    spec, plain = fit(draw, venue.width(columns) * INCH, panels, theme(venue.font))
    width, height = size_of(plain)
    return Printed(
        spec,
        finish(plain),
        vl_convert.svg_to_png(plain, ppi=PPI),
        vl_convert.svg_to_pdf(plain),
        width / INCH,
        height / INCH,
    )


def fit(
    draw: Draw, width: float, panels: int, config: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    """The spec and SVG of a figure that is `width` points wide, axes and legends included.

    Vega-Lite's own fitting knows single views only, so the figure is drawn, measured and drawn
    again; axes keep their width, so that the second time is nearly always right.
    """
    panel, best = (width - 48 * panels) / panels, None
    tried: set[float] = set()
    while len(tried) < 8 and round(panel, 6) not in tried:  # else it goes in circles
        # Altair checks the chart once: another width changes nothing else.
        spec = slim(draw(max(panel, 20.0)).to_dict(validate=not tried))
        tried.add(round(panel, 6))
        spec["config"] = config
        spec["background"] = "white"
        spec["padding"] = dict(PADDING)
        svg = vl_convert.vegalite_to_svg(spec)
        off = width - size_of(svg)[0]
        if off >= -CLOSE and (best is None or off < best[0]):
            best = off, spec, svg
        if abs(off) <= CLOSE:
            return spec, svg
        panel += off / panels - (0.0 if off > 0 else 0.5)
    if best is None:
        return spec, svg
    # Labels that move with the width leave a point or two: white at the right fills them.
    best[1]["padding"]["right"] += best[0]
    return best[1], vl_convert.vegalite_to_svg(best[1])


def theme(font: float) -> dict[str, Any]:
    """The publication theme: the venue's type, thin lines, no frame."""
    small = max(font - 1, 6.5)
    words = {
        "labelFontSize": small,
        "titleFontSize": font,
        "titleFontWeight": "normal",
        "labelColor": INK,
        "titleColor": INK,
    }
    return {
        "font": FAMILY,
        "view": {"stroke": None},
        "title": {
            "fontSize": font,
            "fontWeight": "bold",
            "color": INK,
            "anchor": "start",
            "offset": 3,
        },
        "axis": {
            **words,
            "domainColor": "#555555",
            "tickColor": "#555555",
            "domainWidth": 0.6,
            "tickWidth": 0.6,
            "tickSize": 3,
            "gridColor": "#dddddd",
            "gridWidth": 0.4,
            "titlePadding": 3,
            "labelPadding": 2,
            "labelFlush": False,  # Vega would move the first and the last label away from their ticks
        },
        "legend": {**words, "symbolSize": 36, "rowPadding": 1, "columnPadding": 6},
        "text": {"fontSize": small, "color": INK},
        "concat": {"spacing": 8},
    }


def slim(spec: Any) -> Any:
    """A dashboard's spec for paper: marks and legends smaller, nothing that waits for a mouse."""
    if isinstance(spec, list):
        return [slim(each) for each in spec]
    if not isinstance(spec, dict):
        return spec
    out: dict[str, Any] = {}
    for key, value in spec.items():
        if key in {"tooltip", "params"}:
            continue
        if key == "data" or key == "datasets":
            out[key] = value
        elif key in {"mark", "legend"} and isinstance(value, dict):
            out[key] = _smaller(value)
        else:
            out[key] = slim(value)
    return out


def still(spec: Any) -> Any:
    """A dashboard's spec without its selections, which a page without a server cannot answer."""
    if isinstance(spec, list):
        return [still(each) for each in spec]
    if not isinstance(spec, dict):
        return spec
    return {
        k: v if k in {"data", "datasets"} else still(v) for k, v in spec.items() if k != "params"
    }


_SHRINK = {
    "strokeWidth": 0.55,
    "size": 0.3,
    "symbolSize": 0.35,
    "symbolStrokeWidth": 0.5,
    "gradientLength": 0.45,
    "gradientThickness": 0.7,
    "thickness": 0.6,
    "cornerRadius": 0.0,
}


def _smaller(part: dict[str, Any]) -> dict[str, Any]:
    if part.get("aria") is False:  # drawn for paper already
        return part
    heights = {"height": 0.5} if part.get("type") == "bar" else {}
    scale = {**_SHRINK, **heights}
    kept = {key: value for key, value in part.items() if key != "cursor"}
    return {
        key: value * scale[key] if key in scale and isinstance(value, int | float) else value
        for key, value in kept.items()
    }


def size_of(svg: str) -> tuple[float, float]:
    """Width and height of an SVG in points."""
    match = re.search(r'<svg[^>]*? width="([\d.]+)"[^>]*? height="([\d.]+)"', svg)
    if match is None:
        raise ValueError("an SVG without a size")
    return float(match[1]), float(match[2])


def finish(svg: str) -> str:
    """The SVG with its width in inches and its fonts inside, cut down to the characters it uses."""
    width, height = size_of(svg)
    svg = svg.replace(f' width="{_written(svg, "width")}"', f' width="{width / INCH:.6g}in"', 1)
    svg = svg.replace(f' height="{_written(svg, "height")}"', f' height="{height / INCH:.6g}in"', 1)
    svg = numbered(svg)
    start = svg.index(">", svg.index("<svg")) + 1
    return f"{svg[:start]}<style>{font_faces(svg)}</style>{svg[start:]}"


def numbered(svg: str) -> str:
    """The SVG with its clips and gradients numbered from 0: Vega counts on over all figures that a process draws."""
    numbers: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f"{match[1]}{numbers.setdefault(match[2], len(numbers))}"

    reference = re.compile(r'(\bid="(?:clip|gradient_)|url\(#(?:clip|gradient_))(\d+)')
    return re.sub("<[^>]*>", lambda tag: reference.sub(number, tag[0]), svg)


def _written(svg: str, name: str) -> str:
    match = re.search(rf'<svg[^>]*? {name}="([\d.]+)"', svg)
    return match[1] if match else ""


def font_faces(svg: str) -> str:
    """CSS that carries the fonts of a figure, cut down to the characters in it."""
    texts = "".join(re.findall(r"<text[^>]*>([^<]*)</text>", svg))
    characters = frozenset(texts) | {"&", "<", ">"}
    used = [("normal", "normal")]
    if 'font-weight="bold"' in svg:
        used.append(("bold", "normal"))
    if 'font-style="italic"' in svg:
        used.append(("normal", "italic"))
    return "".join(_font_face(weight, style, characters) for weight, style in used)


def _font_face(weight: str, style: str, characters: frozenset[str]) -> str:
    data = base64.b64encode(_subset(FILES[weight, style], characters)).decode("ascii")
    return (
        f'@font-face{{font-family:"{FAMILY}";font-weight:{weight};font-style:{style};'
        f"src:url(data:font/ttf;base64,{data})}}"
    )


@lru_cache(maxsize=64)
def _subset(file: str, characters: frozenset[str]) -> bytes:
    font = TTFont(FONTS / file, recalcTimestamp=False)
    options = subset.Options()
    options.name_IDs = ["*"]
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=sorted(ord(character) for character in characters))
    cutter.subset(font)
    out = io.BytesIO()
    font.save(out)
    return out.getvalue()


# What LaTeX would interpret, and what it writes instead.
_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "−": r"$-$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "±": r"$\pm$",
    "α": r"$\alpha$",
    "σ": r"$\sigma$",
    "ρ": r"$\rho$",
    "γ": r"$\gamma$",
    "²": r"$^2$",
    "▲": r"$\blacktriangle$",
    "▼": r"$\blacktriangledown$",
    "\u00a0": "~",
    "…": r"\ldots{}",
}


def tex(text: str) -> str:
    """Text for a LaTeX file: nothing of it is interpreted."""
    visible = "".join(c for c in " ".join(str(text).split()) if c.isprintable() or c == "\u00a0")
    return "".join(_TEX.get(character, character) for character in visible)


def booktabs(table: pd.DataFrame, caption: str, label: str) -> str:
    """A table in LaTeX with booktabs' rules; numbers are set flush right.

    Args:
        table: what is printed, numbers already formatted as text; columns are the header.
        caption: above the table.
        label: to refer to it.
    """
    sides = "".join("r" if _numeric(table[column]) else "l" for column in table.columns)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{tex(caption)}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{sides}}}",
        r"\toprule",
        " & ".join(tex(column) for column in table.columns) + r" \\",
        r"\midrule",
        *(" & ".join(tex(v) for v in row) + r" \\" for row in table.itertuples(index=False)),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _numeric(column: pd.Series) -> bool:
    texts = [str(value) for value in column]
    return bool(texts) and all(re.fullmatch(r"[-−+=<]?[\d.,]*[^A-Za-z]*", text) for text in texts)


def figure_tex(name: str, caption: str, width: float, star: bool) -> str:
    """LaTeX that places a figure with its caption.

    Args:
        name: of the PDF, without its ending.
        caption: below the figure.
        width: in inches.
        star: whether it spans both columns.
    """
    kind = "figure*" if star else "figure"
    return (
        f"\\begin{{{kind}}}\n\\centering\n"
        f"\\includegraphics[width={width:.4g}in]{{{name}.pdf}}\n"
        f"\\caption{{{tex(caption)}}}\n\\label{{fig:{name}}}\n\\end{{{kind}}}\n"
    )


def stack(charts: Sequence[Any], spacing: float = 6) -> alt.VConcatChart:
    """Charts below each other, each with scales of its own."""
    joined = alt.vconcat(*charts, spacing=spacing)
    return cast(alt.VConcatChart, joined.resolve_scale(color="independent", size="independent"))


def for_screens(png: bytes) -> bytes:
    """A printed figure at half its resolution and in 256 colours: a tenth of the bytes, for a page on the web."""
    with Image.open(io.BytesIO(png)) as picture:
        size = (picture.width // 2, picture.height // 2)
        small = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.quantize(256, kmeans=2, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()
