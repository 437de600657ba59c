"""Who may talk to the server: names of hosts, origins of pages, and what a browser may load.

A page on the internet can give its own name the address 127.0.0.1 (DNS rebinding) and would then read a
dashboard on localhost and write reviews. Such a request carries that page's name as its host.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import streamlit
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import config

LOCAL = ("localhost", "127.0.0.1", "::1")
HEALTH = "/_stcore/health"
PORTS = {"http": 80, "https": 443}


def name_and_port(text: str, scheme: str = "http") -> tuple[str, int] | None:
    """The host and port of a Host header, or of an origin without its scheme; None where it is neither."""
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname or parts.netloc != text or "@" in text:
        return None
    return parts.hostname.lower().rstrip("."), port or PORTS[scheme]


def is_named(name: str, allowed: list[str]) -> bool:
    """Whether a host's name is on the list, which may hold `*.example.com` and `*`."""
    for each in (entry.strip().lower().rstrip(".") for entry in allowed):
        if each in ("*", name) or (each.startswith("*.") and name.endswith(each[1:])):
            return True
    return False


def refusal(host: str | None, origin: str | None, allowed: list[str], origins: list[str]) -> str:
    """Why a request is refused; '' where it is not.

    Args:
        host: the Host header.
        origin: the Origin header; browsers leave it out of plain navigation and of most reading.
        allowed: names of hosts, `server.allowedHosts`.
        origins: other sites that may connect, `server.corsAllowedOrigins`.
    """
    name = name_and_port(host or "")
    if name is None or not is_named(name[0], allowed):
        return (
            f"Host {_shown(host)} is not allowed. Start the app with --server.allowedHosts NAME for each "
            "name or address under which readers open it (docs/sharing.md)."
        )
    if origin is None or origin in origins:
        return ""
    scheme, _, rest = origin.partition("://")
    # A proxy that ends TLS speaks http to the app: the same name without a port is the same site.
    same = scheme in PORTS and name_and_port(rest, scheme) == name_and_port(host or "", scheme)
    if not same:
        return f"Origin {_shown(origin)} is not the dashboard's own and not in server.corsAllowedOrigins."
    return ""


def _shown(text: str | None) -> str:
    return ascii((text or "")[:100])


@cache
def inline_scripts() -> str:
    """Streamlit's own inline scripts by their hashes, as a policy names them; any other is not run."""
    page = Path(streamlit.__file__).parent / "static" / "index.html"
    scripts = re.findall(r"<script>(.*?)</script>", page.read_text(encoding="utf-8"), re.DOTALL)
    hashes = (hashlib.sha256(each.encode()).digest() for each in scripts)
    return " ".join(f"'sha256-{base64.b64encode(each).decode()}'" for each in hashes)


def headers(host: str) -> dict[str, str]:
    """What every answer tells the browser: nothing from other hosts, no frame around the dashboard.

    Args:
        host: the Host header, which is on the list; older browsers need it to allow the websocket.
    """
    policy = {
        "default-src": "'self'",
        "script-src": f"'self' 'wasm-unsafe-eval' {inline_scripts()}",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": f"'self' ws://{host} wss://{host} data: blob:",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{key} {value}" for key, value in policy.items()),
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }


class Guard:
    """ASGI middleware: refuses foreign hosts and origins, of requests and of websockets, and adds the headers."""

    def __init__(self, app: ASGIApp, option: Callable[[str], Any] = config.get_option) -> None:
        self.app = app
        self.option = option

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or one websocket."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        sent = Headers(scope=scope)
        allowed = self.option("server.allowedHosts") or list(LOCAL)
        origins = self.option("server.corsAllowedOrigins") or []
        why = refusal(sent.get("host"), sent.get("origin"), allowed, origins)
        if scope["path"].endswith(HEALTH):  # it says "ok", to balancers that ask by address
            await self.app(scope, receive, send)
        elif not why:
            await self.app(scope, receive, _with(headers(sent["host"]), send))
        elif scope["type"] == "http":
            answer = PlainTextResponse(f"{why}\n", 400 if why.startswith("Host") else 403)
            await answer(scope, receive, send)
        else:  # closed before it is accepted, which the server answers with 403
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "host or origin"})


def _with(added: dict[str, str], send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(added)
        await send(message)

    return sent


GUARD = Middleware(Guard)
