"""Texts of a study, made fit to be shown."""

from __future__ import annotations

import re


def plain(text: str) -> str:
    """Text from a study, escaped for a place that reads Markdown: one line, nothing interpreted."""
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|<>$:~&])", r"\\\1", " ".join(str(text).split()))
