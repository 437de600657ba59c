"""Renders the demo's sprites from Fluent emoji (npm: `@iconify-json/fluent-emoji-flat`)."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

SPRITE_SIZE = 128
PACKAGE = "@iconify-json/fluent-emoji-flat"
VERSION = "1.2.6"

ICONS = {
    "dog": "dog-face",
    "cat": "cat-face",
    "apple": "red-apple",
    "banana": "banana",
    "car": "automobile",
    "umbrella": "umbrella",
    "mushroom": "mushroom",
    "sunflower": "sunflower",
    "rocket": "rocket",
    "fish": "fish",
    "elephant": "elephant",
    "pizza": "pizza",
    "house": "house",
    "cactus": "cactus",
    "frog": "frog",
    "penguin": "penguin",
    "key": "key",
    "heart": "heart-suit",
    "crown": "crown",
    "turtle": "turtle",
    "carrot": "carrot",
    "tree": "deciduous-tree",
    "train": "locomotive",
    "guitar": "guitar",
}

LICENSE = f"""\
The sprites in this folder are rendered, cropped and resized from the Fluent emoji (flat style) as
packaged by npm's {PACKAGE} {VERSION}. They are used under the MIT licence:

MIT License

Copyright (c) Microsoft Corporation.

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE
"""


def render_icon(body: str, size: int) -> Image.Image:
    """An icon's SVG body (32 x 32 units) as an RGBA image of size x size pixels."""
    import resvg_py

    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">{body}</svg>'
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size))
    return Image.open(io.BytesIO(png)).convert("RGBA")


def crop_to_square(image: Image.Image, size: int) -> Image.Image:
    """The visible part of an RGBA image, centred in a square, resized to size x size pixels."""
    opaque = np.asarray(image)[..., 3] > 8
    rows, columns = np.flatnonzero(opaque.any(1)), np.flatnonzero(opaque.any(0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    side = max(bottom - top, right - left)
    square = Image.new("RGBA", (side, side))
    offset = ((side - (right - left)) // 2, (side - (bottom - top)) // 2)
    square.paste(image.crop((left, top, right, bottom)), offset)
    return square.resize((size, size), Image.Resampling.LANCZOS)


def write_sprites(icons: Path, folder: Path) -> list[Path]:
    """Renders one PNG per object, and the licence text, into a folder.

    Args:
        icons: `icons.json` of the npm package.
        folder: where the PNGs go; made if missing.
    """
    bodies = json.loads(icons.read_text())["icons"]
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, icon in ICONS.items():
        sprite = crop_to_square(render_icon(bodies[icon]["body"], 4 * SPRITE_SIZE), SPRITE_SIZE)
        written.append(folder / f"{name}.png")
        sprite.save(written[-1], optimize=True)
    (folder / "LICENSE.txt").write_text(LICENSE)
    return written
