"""What the browser is sent of a sheet, and what it may say of the step."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from PIL import Image

from app.ui import step_bar, step_pictures
from app.ui.step_pictures import Cell, Frame, Sheet


def picture(shade: int, kind: str = "WEBP", side: int = 8) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), (shade, 0, 255 - shade)).save(out, kind)
    return out.getvalue()


def unpacked(message: bytes) -> tuple[dict[str, Any], bytes]:
    end = 4 + int.from_bytes(message[:4], "little")
    return json.loads(message[4:end]), message[end:]


def sheet(*cells: Cell) -> Sheet:
    return Sheet([{"label": "<b>A</b>"}], [{"title": "</script>"}], cells)


def test_every_image_comes_whole_and_once():
    first, second, third = picture(10), picture(200, "PNG"), picture(90, "JPEG")
    frames = [Frame(0, first), Frame(4, second), Frame(7, third), Frame(9, first, "end")]
    cell = Cell(0, 0, 9, frames)
    head, images = unpacked(step_pictures.pack(sheet(cell)))
    frames = head["cells"][0]["frames"]
    assert [(f[0], images[f[1] : f[1] + f[2]], f[3]) for f in frames] == [
        (0, first, ""),
        (4, second, ""),
        (7, third, ""),
        (9, first, "end"),
    ]
    assert len(images) == len(first) + len(second) + len(third)
    assert head["layers"] == [{"label": "<b>A</b>"}], "texts stay texts: the browser escapes them"


@pytest.mark.parametrize(
    "image", [b"", b"<svg onload=alert(1)>", b"GIF89a" + bytes(20), b"RIFF____AVI ", b"RIFF"]
)
def test_what_is_no_webp_png_or_jpeg_is_not_sent(image):
    good = Frame(1, picture(3))
    head, images = unpacked(
        step_pictures.pack(sheet(Cell(0, 0, 1, [Frame(0, image), good]), Cell(0, 0, 1, [])))
    )
    assert images == good.image
    assert [frame[0] for cell in head["cells"] for frame in cell["frames"]] == [1]


def test_a_long_trajectory_is_thinned_to_the_limit_and_keeps_its_ends(monkeypatch):
    frames = [Frame(step, picture(step)) for step in range(200)]
    most = 40 * len(frames[0].image)
    monkeypatch.setattr(step_pictures, "MOST_BYTES", most)
    head, images = unpacked(step_pictures.pack(sheet(Cell(0, 0, 199, frames))))
    steps = [frame[0] for frame in head["cells"][0]["frames"]]
    assert steps[0] == 0
    assert steps[-1] == 199
    assert len(images) <= most
    assert len(steps) > 20, "no more is left out than the limit asks for"


def test_messages_tell_sheets_apart():
    one, other = (sheet(Cell(0, 0, 1, [Frame(0, picture(shade))])) for shade in (1, 2))
    assert step_pictures.pack(one) == step_pictures.pack(one)
    ids = {unpacked(step_pictures.pack(each))[0]["id"] for each in (one, other)}
    assert len(ids) == 2


@pytest.mark.parametrize(
    "message",
    [
        None,
        3,
        "3",
        [],
        {},
        {"step": 3},
        {"step": "3", "number": 1},
        {"step": -1, "number": 1},
        {"step": 1e9, "number": 1},
        {"step": float("nan"), "number": 1},
        {"step": True, "number": 1},
        {"step": 3, "number": -1},
    ],
)
def test_a_move_that_the_bar_does_not_make_is_not_heard(message):
    assert step_bar.checked(message) is None


def test_a_move_is_heard():
    assert step_bar.checked({"step": 3, "number": 2}) == (3, 2)
