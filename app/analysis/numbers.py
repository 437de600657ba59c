"""Numbers that strangers write, in links, saved slices and on command lines: one parser, each number with a range."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

# Digits of ASCII only, no underscores, no "inf" or "nan"; the length bounds what `int` and `float` are given.
WHOLE = re.compile(r"([+-]?[0-9]{1,15})(\.0{0,15})?", re.ASCII)
DECIMAL = re.compile(r"[+-]?([0-9]{1,15}(\.[0-9]{0,17})?|\.[0-9]{1,17})([eE][+-]?[0-9]{1,2})?", re.ASCII)  # fmt: skip


@dataclass(frozen=True)
class Range:
    """Which numbers are meant.

    Attributes:
        low: the least.
        high: the greatest.
        whole: whether only whole numbers are.
    """

    low: float
    high: float
    whole: bool = True

    def parse(self, text: str) -> float | int | None:
        """The number that a text says, or None where it says none, or one that is out of range."""
        text = text.strip(" ")
        if self.whole:
            match = WHOLE.fullmatch(text)
            return self.check(int(match.group(1))) if match else None
        return self.check(float(text)) if DECIMAL.fullmatch(text) else None

    def check(self, value: Any) -> float | int | None:
        """The value, or None where it is no number, or one that is out of range."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if not self.low <= value <= self.high or not math.isfinite(value):
            return None
        if not self.whole:
            return float(value)
        return int(value) if value == int(value) else None
