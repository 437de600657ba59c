"""Image files of strangers without anything but their pixels, so that they can be kept and shown as they are.

What is left out: EXIF and its orientation, XMP, colour profiles, comments, thumbnails, unknown chunks, whatever follows the image.
Nothing is decoded here: the caller decodes the bare file, and keeps it only if that works.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

PNG = b"\x89PNG\r\n\x1a\n"
_IEND = b"\0\0\0\0IEND\xaeB`\x82"
_IHDR = struct.Struct(">IIBBBBB")
_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_SOS, _APP0, _APP14, _COM = 0xDA, 0xE0, 0xEE, 0xFE
_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive; 8 bits, Huffman
_TABLES = {0xC4, 0xDB, 0xDD}  # DHT, DQT, DRI
_JFIF = (
    b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"  # decides the colour space; here without a thumbnail
)
_ADOBE = b"Adobe"  # the same, by its 12th byte
# In compressed data 0xff is followed by 0 or a restart marker, or is a filling byte.
_MARKER = re.compile(rb"\xff[^\0\xff\xd0-\xd7]")
_ANIMATED, _ALPHA = 0x02, 0x10  # of a WebP's flags
MAX_SCANS = (
    100  # of a JPEG; encoders write about 10, and each costs its reader a pass over all pixels
)


def bare_file(data: bytes) -> bytes | None:
    """The same image in the same format, without metadata.

    Args:
        data: a PNG, JPEG or WebP, of any content.

    Returns: the file; None where it is not plainly of RGB with 8 bits a channel and one frame, or damaged, so that its pixels must
        be decoded and encoded anew.
    """
    for start, form in _FORMS.items():
        if data.startswith(start):
            try:
                return form(data)
            except (struct.error, IndexError):  # cut short
                return None
    return None


def _png(data: bytes) -> bytes | None:
    """IHDR and the run of IDAT."""
    parts, last, start = [PNG], b"", len(PNG)
    while last != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + length + 12
        if (kind == b"IHDR") != (last == b"") or end > len(data):
            return None
        if kind == b"IHDR" and not _is_plain(data[start + 8 : end]):
            return None
        if kind == b"IDAT" and len(parts) > 2 and last != kind:
            return None  # a second run, which decoders do not read
        if kind in (b"IHDR", b"IDAT"):
            parts.append(data[start:end])
        elif kind != b"IEND" and (not kind[0] & 0x20 or kind in (b"tRNS", b"acTL")):
            return None  # a chunk that a decoder must know, transparency, an animation
        last, start = kind, end
    return b"".join([*parts, _IEND])


def _is_plain(header: bytes) -> bool:
    _, _, bits, colour, *_ = _IHDR.unpack_from(header)
    return (bits, colour) == (8, 2)


def _jpeg(data: bytes) -> bytes | None:
    """Frame, tables, scans, and the two segments that say which colours the components are."""
    parts, start, scans = [_SOI], 2, 0
    while scans <= MAX_SCANS:
        while data[start + 1] == 0xFF:
            start += 1
        kind = data[start + 1]
        if data[start] != 0xFF:
            return None
        if kind == _EOI[1]:
            return b"".join([*parts, _EOI])
        end = start + 2 + struct.unpack_from(">H", data, start + 2)[0]
        segment = _segment(kind, data[start:end])
        if segment is None:
            return None
        if kind == _SOS:
            marker = _MARKER.search(data, end)
            if marker is None:
                return None
            segment, end, scans = data[start : marker.start()], marker.start(), scans + 1
        parts.append(segment)
        start = end
    return None


def _segment(kind: int, segment: bytes) -> bytes | None:
    """A segment as it is kept, empty where it is left out; None where the file is not a plain one."""
    if kind in _FRAMES:
        bits, count = segment[4], segment[9]
        return segment if (bits, count) == (8, 3) else None
    if kind == _SOS or kind in _TABLES:
        return segment
    if kind == _APP0 and segment[4:9] == b"JFIF\0" and len(segment) >= 18:
        return _JFIF
    if kind == _APP14 and segment[4:9] == _ADOBE and len(segment) >= 16:
        return b"\xff\xee\0\x0e" + segment[4:16]
    return b"" if _APP0 <= kind < 0xF0 or kind == _COM else None


def _webp(data: bytes) -> bytes | None:
    """The one chunk of the bitstream."""
    if data[8:12] != b"WEBP":
        return None
    start = 12
    while True:
        kind, length = struct.unpack_from("<4sI", data, start)
        end = start + 8 + length
        chunk = data[start:end]
        if kind in (b"VP8 ", b"VP8L"):
            break
        if kind == b"ALPH" or (kind == b"VP8X" and chunk[8] & (_ANIMATED | _ALPHA)):
            return None
        start = end + length % 2
    if end > len(data) or (kind == b"VP8L" and chunk[12] & 0x10):  # of its header the bit of alpha
        return None
    chunk += b"\0" * (length % 2)
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk


_FORMS: dict[bytes, Callable[[bytes], bytes | None]] = {PNG: _png, _SOI: _jpeg, b"RIFF": _webp}
