"""The address under which readers open the dashboard, for links that leave it."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

PUBLIC = "STEPSCOPE_ADDRESS"
"""Environment variable: the server's public address, such as https://stepscope.example.com/lab."""
LOCAL = ("localhost", "127.0.0.1", "::1")


def public() -> str:
    """The address of the setting, without a slash at its end; '' where it is not set, or is no http address."""
    text = os.environ.get(PUBLIC, "").strip()
    try:
        parts = urlsplit(text)
        named = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return ""
    plain = not (parts.query or parts.fragment or parts.username or parts.password)
    return text.rstrip("/") if named and plain else ""


def of_exports(opened: str) -> str:
    """The address that links in exports begin with.

    The setting decides. Without it, it is the address under which the reader has opened the dashboard, unless that is one
    of this machine: a link to localhost leads nobody else anywhere.

    Args:
        opened: address of a page of the dashboard, as the reader's browser has it.

    Returns: the dashboard's address without a slash at its end; '' where none is known.
    """
    if address := public():
        return address
    base = opened.split("?")[0].rsplit("/", 1)[0]
    try:
        parts = urlsplit(base)
        local = (parts.hostname or "").rstrip(".") in LOCAL
    except ValueError:
        return ""
    return "" if local or parts.scheme not in ("http", "https") else base
