"""What a browser that has never been here fetches: Streamlit's scripts, from memory, and those named early that it asks for late.

The page is 59 scripts, and its first table and chart are 73 more, which the browser learns of once they are there. Each took the server
4 ms to find, look at and read in threads, and both groups together 0.6 s on two cores. Their names hold their hashes, so
that they never change: they are read once, before the server listens, and the page's head names the second group.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import streamlit
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

STATIC = Path(streamlit.__file__).parent / "static"
SHOWN = (
    *("ArrowVegaLiteChart", "BidiComponent", "Button", "DataFrame", "DownloadButton", "Selectbox"),
    *("embed", "vega-interpreter"),
)
"""Parts of Streamlit's page that nearly every view has, by the names of their files before the hash."""
IMPORT = re.compile(r"""(?:from|import)\s*["']\./([\w.$-]+\.js)["']""")
END = b"</head>"
JAVASCRIPT = "application/javascript"
LASTING = {"Cache-Control": "public, immutable, max-age=31536000"}  # as Streamlit sends them


@dataclass(frozen=True)
class Scripts:
    """Streamlit's scripts.

    Attributes:
        late: names of those that SHOWN import and the page's main script does not.
        texts: name -> text, of these and of the main script with what it imports.
    """

    late: tuple[str, ...]
    texts: Mapping[str, bytes]

    @property
    def links(self) -> bytes:
        """The elements for the page's head that name the late ones."""
        lines = (f'<link rel="modulepreload" href="./static/js/{name}">' for name in self.late)
        return "".join(lines).encode()


@cache
def scripts(static: Path = STATIC) -> Scripts:
    """The scripts of the installed Streamlit; what this version lacks, or what cannot be read, is left out."""
    folder = static / "static" / "js"
    try:
        page = (static / "index.html").read_text(encoding="utf-8")
        parts = [path.name for part in SHOWN for path in folder.glob(f"{part}.*.js")]
        main = _imported(folder, re.findall(r"static/js/([\w.$-]+\.js)", page))
        shown = _imported(folder, parts)
        return Scripts(tuple(sorted(set(shown) - set(main))), main | shown)
    except (OSError, ValueError):
        return Scripts((), {})


def _imported(folder: Path, files: list[str]) -> dict[str, bytes]:
    """The texts of files and of what they import, and so on, by name."""
    known: dict[str, bytes] = {}
    ahead = list(files)
    while ahead:
        name = ahead.pop()
        if name not in known and (folder / name).is_file():
            known[name] = (folder / name).read_bytes()
            ahead += IMPORT.findall(known[name].decode())
    return known


class Preloads:
    """ASGI middleware: answers with scripts from memory, and adds the late ones' links to Streamlit's page."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        folder, _, name = scope["path"].rpartition("/")
        text = scripts().texts.get(name) if folder.endswith("/static/js") else None
        if text is None:
            await self.app(scope, receive, Page(send).send)
        else:
            await Response(text, headers=LASTING, media_type=JAVASCRIPT)(scope, receive, send)


class Page:
    """An answer on its way; the start of a page is held until its text is known.

    Args:
        send: where it goes.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        """A message of the answer."""
        if message["type"] == "http.response.start" and _is_page(message):
            self._start = message
            return
        if self._start is not None:
            start, self._start = self._start, None
            body = message.get("body", b"")
            if END in body and not message.get("more_body"):
                body = body.replace(END, scripts().links + END, 1)
                MutableHeaders(scope=start)["content-length"] = str(len(body))
                message = {**message, "body": body}
            await self._send(start)
        await self._send(message)


def _is_page(message: Message) -> bool:
    """Whether the start of an answer is that of a page that is sent as it is."""
    headers = Headers(scope=message)
    plain = "content-encoding" not in headers
    return (
        message["status"] == 200
        and plain
        and headers.get("content-type", "").startswith("text/html")
    )


PRELOADS = Middleware(Preloads)
