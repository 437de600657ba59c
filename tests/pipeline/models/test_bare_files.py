"""Files of images without anything but their pixels: the same pixels to the bit, and nothing else left."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from pipeline.models.bare_files import MAX_SCANS, PNG, bare_file
from pipeline.models.pictures import (
    WEBP_SIDE,
    PictureError,
    decode_picture,
    encode_picture,
    load_picture,
)

SECRET = b"50.0755 N, 14.4378 E"
RNG = np.random.default_rng(0)


def pixels(side: int = 40) -> Image.Image:
    smooth = np.kron(RNG.integers(0, 256, (5, 5, 3)), np.ones((side // 5, side // 5, 1)))
    return Image.fromarray((smooth * 0.9 + RNG.normal(9, 4, smooth.shape)).clip(0, 255).astype(np.uint8))  # fmt: skip


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def exif() -> bytes:
    """GPS, a name, and an orientation that turns the image."""
    tags = Image.Exif()
    tags[0x0112], tags[0x013B] = 6, SECRET.decode()
    return tags.tobytes()


def text() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", SECRET.decode())
    return info


def by_pillow(data: bytes) -> np.ndarray:
    """The oracle: Pillow's pixels of the original file, metadata and all, without its orientation."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


ICC = b"\0" * 36 + b"acsp" + SECRET * 20
KEPT = {
    "png": lambda: saved(pixels(), "PNG", pnginfo=text(), exif=exif(), icc_profile=ICC, dpi=(72, 72)),
    "png, split into chunks": lambda: split(saved(pixels(), "PNG")),
    "jpeg 4:4:4": lambda: saved(pixels(), "JPEG", quality=95, subsampling=0, exif=exif(), comment=SECRET),
    "jpeg 4:2:0": lambda: saved(pixels(), "JPEG", subsampling=2, icc_profile=ICC, xmp=SECRET),
    "jpeg, progressive": lambda: saved(pixels(), "JPEG", progressive=True, exif=exif()),
    "jpeg, restarts": lambda: saved(pixels(), "JPEG", restart_marker_blocks=1, comment=SECRET),
    "jpeg of RGB components": lambda: saved(pixels(), "JPEG", keep_rgb=True, exif=exif()),
    "webp": lambda: saved(pixels(), "WEBP", quality=80, exif=exif(), icc_profile=ICC, xmp=SECRET),
    "webp, lossless": lambda: saved(pixels(), "WEBP", lossless=True, exif=exif()),
    "webp, plain": lambda: saved(pixels(), "WEBP"),
}  # fmt: skip


def split(data: bytes) -> bytes:
    """A PNG whose compressed pixels lie in chunks of 50 bytes, with an unknown chunk before them."""
    parts, start = [PNG], len(PNG)
    while start < len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        body = data[start + 8 : start + 8 + length]
        if kind == b"IDAT":
            parts.append(chunk(b"seCr", SECRET))
            parts += [chunk(b"IDAT", body[at : at + 50]) for at in range(0, length, 50)]
        else:
            parts.append(chunk(kind, body))
        start += length + 12
    return b"".join(parts)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("name", KEPT)
def test_a_plain_file_is_kept_with_its_pixels_and_without_the_rest(name: str) -> None:
    data = KEPT[name]() + b"trailing " + SECRET
    picture = load_picture(data)
    assert picture.file is not None and not picture.notice
    expected = by_pillow(data)
    assert np.array_equal(picture.pixels, expected)
    assert np.array_equal(by_pillow(picture.file), expected)
    assert np.array_equal(decode_picture(data)[0], expected)
    assert SECRET not in picture.file and len(picture.file) < len(data)
    opened = Image.open(io.BytesIO(picture.file))
    assert opened.format == Image.open(io.BytesIO(data)).format
    assert not opened.getexif() and not {"icc_profile", "xmp", "comment", "parameters"} & set(opened.info)  # fmt: skip
    assert bare_file(picture.file) == picture.file, "nothing is left to remove"


def test_a_thumbnail_in_a_jpegs_header_is_removed() -> None:
    data = saved(pixels(), "JPEG")
    thumb = b"JFIF\0\1\1\1\0\1\0\1\4\4" + SECRET[:16] * 3
    segment = b"\xff\xe0" + struct.pack(">H", len(thumb) + 2) + thumb
    before = data[:2] + segment + data[20:]
    picture = load_picture(before)
    assert picture.file is not None and SECRET[:16] not in picture.file
    assert np.array_equal(picture.pixels, by_pillow(data))


ENCODED = {
    "grey": lambda: saved(pixels().convert("L"), "PNG"),
    "grey jpeg": lambda: saved(pixels().convert("L"), "JPEG"),
    "palette": lambda: saved(pixels().convert("P"), "PNG"),
    "one bit": lambda: saved(pixels().convert("1"), "PNG"),
    "cmyk": lambda: saved(pixels().convert("CMYK"), "JPEG"),
    "alpha": lambda: saved(pixels().convert("RGBA"), "PNG"),
    "alpha webp": lambda: saved(with_alpha(), "WEBP", lossless=True),
    "one colour transparent": lambda: saved(pixels(), "PNG", transparency=(1, 2, 3)),
    "larger than its pixels": lambda: split(saved(pixels(), "PNG", compress_level=0)),
}  # fmt: skip


def with_alpha() -> Image.Image:
    image = pixels().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


@pytest.mark.parametrize("name", ENCODED)
def test_what_is_no_plain_file_is_encoded_anew(name: str) -> None:
    data = ENCODED[name]()
    picture = load_picture(data)
    assert picture.file is None
    assert picture.notice == ("transparency dropped" if "alpha" in name or "transparent" in name else "")  # fmt: skip
    assert np.array_equal(picture.pixels, by_pillow(data))
    assert np.array_equal(by_pillow(encode_picture(picture.pixels)), picture.pixels)


def test_a_tile_is_cut_and_encoded() -> None:
    data = saved(pixels(), "PNG")
    picture = load_picture(data, 3, 4)
    assert picture.file is None and np.array_equal(picture.pixels, by_pillow(data)[20:, 20:])


def test_an_image_too_long_for_webp_is_encoded_all_the_same() -> None:
    long = np.zeros((2, WEBP_SIDE + 1, 3), np.uint8)
    long[0, ::7] = 200
    assert np.array_equal(by_pillow(encode_picture(long)), long)


def test_a_jpeg_of_many_scans_is_no_plain_file() -> None:
    data = saved(pixels(), "JPEG", progressive=True)
    start = data.index(b"\xff\xda")
    end = data.index(b"\xff", start + 20)
    bomb = data[:start] + data[start:end] * (MAX_SCANS + 1) + data[start:]
    assert bare_file(data) is not None and bare_file(bomb) is None


def test_16_bits_a_channel_are_refused() -> None:
    header = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes(12) for _ in range(2)))
    data = PNG + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    with pytest.raises(PictureError, match="has 16 bits a channel; 8 are read"):
        load_picture(data)


@pytest.mark.parametrize("name", KEPT)
def test_a_damaged_file_is_read_as_it_was_or_refused_as_it_was(name: str) -> None:
    """400 files with bytes changed, cut or added: the answer is that of decoding the original, never an error of another kind."""
    data, rng = KEPT[name](), np.random.default_rng(1)
    for _ in range(40):
        harmed = bytearray(data)
        for at in rng.integers(0, len(harmed), 3):
            harmed[at] = rng.integers(0, 256)
        cut = bytes(harmed[: rng.integers(1, len(harmed))]) if rng.random() < 0.3 else bytes(harmed)
        try:
            expected: Any = decode_picture(cut)
        except PictureError as error:
            expected = str(error)
        try:
            picture = load_picture(cut)
        except PictureError as error:
            assert str(error) == expected
            continue
        assert np.array_equal(picture.pixels, expected[0]) and picture.notice == expected[1]
        if picture.file is not None:
            assert np.array_equal(by_pillow(picture.file), picture.pixels)
