"""The small pictures of the page Figures: one for each kind, cut from a gallery.

    python -m app.figures.thumbnails GALLERY [GALLERY ...]

GALLERY is a folder that `python -m app.figures STUDY --all --out GALLERY` has filled, such as docs/gallery; a figure that
the first lacks is taken from the next. The pictures are shipped with the app, since making every figure of a study takes
more than a minute, and a page that waits for it is not looked at.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from app.figures.kinds import KINDS

FOLDER = Path(__file__).resolve().parents[1] / "static" / "figures"
SIZE = (320, 200)  # px
MOST_PIXELS = 40_000_000


def thumbnail(picture: bytes) -> bytes:
    """A picture of a figure as WebP of SIZE: as wide as it, cut below, white where it is lower.

    Raises:
        ValueError: it is larger than a page.
    """
    with Image.open(io.BytesIO(picture)) as image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"{image.width} x {image.height} px is larger than a figure.")
        height = max(1, round(image.height * SIZE[0] / image.width))
        small = image.convert("RGB").resize((SIZE[0], height), Image.Resampling.LANCZOS)
    sheet = Image.new("RGB", SIZE, "white")
    sheet.paste(small, (0, max(0, (SIZE[1] - height) // 2)))
    out = io.BytesIO()
    sheet.save(out, "WEBP", quality=70, method=6)
    return out.getvalue()


def of_kind(name: str, folder: Path = FOLDER) -> bytes | None:
    """The picture of a kind of figure; None where none was made."""
    path = folder / f"{name}.webp"
    return path.read_bytes() if name in KINDS and path.is_file() else None


def make(galleries: Sequence[Path], folder: Path = FOLDER) -> list[str]:
    """Writes the picture of every kind that some gallery has; the names of those that none has."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = []
    for name in KINDS:
        known = (gallery / f"{name}.screen.png" for gallery in galleries)
        source = next((path for path in known if path.is_file()), None)
        if source is None:
            missing.append(name)
        else:
            (folder / f"{name}.webp").write_bytes(thumbnail(source.read_bytes()))
    return missing


def main(arguments: Sequence[str]) -> int:
    """The command; 2 where no gallery is named."""
    if not arguments or any(each.startswith("-") for each in arguments):
        print(__doc__, file=sys.stderr)
        return 2
    if missing := make([Path(each) for each in arguments]):
        print(f"without a picture: {', '.join(missing)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
